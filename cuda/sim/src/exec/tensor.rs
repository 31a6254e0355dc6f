//! What feeds and runs tensor cores: `cp.async`, `ldmatrix`, `mma.sync`.
//!
//! An asynchronous copy takes as long as it may: its bytes arrive when the thread waits for its group, and until then
//! nobody may read or write the destination.

use super::Core;
use super::memory::{Piece, Request};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instr::{AsyncCopy, LANES, Matrices, Product, SHARED_START, Space};
use crate::memory::{PENDING, SET};
use crate::ops::mma;
use crate::warp::{Pending, lanes};

impl Core<'_> {
    pub(super) fn begin_copy(&mut self, copy: &AsyncCopy, mask: u32) -> Outcome<()> {
        if mask == 0 {
            return Ok(());
        }
        let to = self.addresses(copy.to, copy.to_offset, mask)?;
        let from = self.addresses(copy.from, copy.from_offset, mask)?;
        let width = copy.bytes as usize;
        self.counters.asynchronous += 1;
        let sizes = match copy.source {
            None => [copy.bytes; LANES],
            Some(slot) => {
                let vague = self.warp.vague(slot) & mask;
                if vague != 0 {
                    return Err(self.uninitialised(vague, "the number of bytes"));
                }
                *self.warp.plane(slot)
            }
        };
        let ignored = copy.ignore.map_or(0, |guard| self.warp.guard(guard).0);
        let target = Request::new(&to, mask, false, width, width);
        let source = Request::new(&from, mask, false, width, width);
        self.aligned(&target)?;
        self.aligned(&source)?;
        self.count_conflicts(&target);
        let mut reading = 0;
        for lane in lanes(mask) {
            let size = if ignored >> lane & 1 == 1 { 0 } else { sizes[lane] as usize };
            if size > width {
                let detail = format!("{size} bytes of a copy of {width}");
                return Err(Trouble::new(FaultKind::OutOfBounds, lane as u32, detail));
            }
            let at = self.shared_offset(target.piece(lane))?;
            if self.options.races {
                self.meet_shared(&target, target.piece(lane), at, true)?;
            }
            if size > 0 {
                reading |= 1 << lane;
                let index = self.memory.find(from[lane], size, lane as u32)?;
                if self.options.races {
                    let part = Piece { bytes: size, ..source.piece(lane) };
                    let offset = (from[lane] - self.memory.allocations[index].base) as usize;
                    self.meet_global(&source, part, index, offset, false)?;
                }
            }
            self.stored(at, width, lane)?;
            self.block.shared.state[at..at + width].fill(PENDING);
            let group = self.warp.group[lane];
            self.warp.pending.push(Pending {
                lane: lane as u32,
                group,
                to: at,
                from: from[lane],
                bytes: width,
                source: size,
            });
        }
        if reading != 0 {
            self.count_sectors(&Request::new(&from, reading, false, width, width));
        }
        Ok(())
    }

    /// Copies of all groups but the latest `open` arrive; `None`: all copies, committed or not.
    pub(super) fn land(&mut self, mask: u32, open: Option<u32>) -> Outcome<()> {
        let pending = std::mem::take(&mut self.warp.pending);
        for copy in pending {
            let last = self.warp.group[copy.lane as usize];
            let due = open.is_none_or(|open| copy.group + open < last);
            if mask >> copy.lane & 1 == 0 || !due {
                self.warp.pending.push(copy);
                continue;
            }
            let shared = &mut self.block.shared;
            let (data, state) =
                (&mut shared.data[copy.to..copy.to + copy.bytes], &mut shared.state[copy.to..copy.to + copy.bytes]);
            data.fill(0);
            state.fill(SET);
            if copy.source > 0 {
                let index = self.memory.find(copy.from, copy.source, copy.lane)?;
                let found = &self.memory.allocations[index];
                let at = (copy.from - found.base) as usize;
                data[..copy.source].copy_from_slice(&found.bytes.data[at..at + copy.source]);
                state[..copy.source].copy_from_slice(&found.bytes.state[at..at + copy.source]);
            }
            if self.options.races {
                let places = [u64::from(SHARED_START) + copy.to as u64; LANES];
                let request = Request::new(&places, 1 << copy.lane, false, copy.bytes, copy.bytes);
                self.meet_shared(&request, request.piece(copy.lane as usize), copy.to, true)?;
            }
        }
        Ok(())
    }

    /// `ldmatrix`: lane 8m + r gives the address of row r of matrix m; lane l gets two elements of row l/4.
    pub(super) fn matrices(&mut self, matrices: &Matrices) -> Outcome<()> {
        let count = matrices.registers.len();
        let mask = if count == 4 { u32::MAX } else { (1 << (8 * count)) - 1 };
        let addresses = self.addresses(matrices.base, matrices.offset, mask)?;
        let mut rows = [[0u8; 16]; LANES];
        let mut vague = [0u8; LANES];
        let transposed = matrices.transposed;
        self.by_space(matrices.space, &addresses, mask, |core, space, addresses, mask| {
            if space != Space::Shared {
                let detail =
                    format!("a matrix at {:#x}, which is not shared memory", addresses[mask.trailing_zeros() as usize]);
                return Err(Trouble::new(FaultKind::OutOfBounds, mask.trailing_zeros(), detail));
            }
            let request = Request::new(addresses, mask, false, 16, 2);
            core.aligned(&request)?;
            core.count_conflicts(&request);
            for lane in lanes(mask) {
                let at = core.shared_offset(request.piece(lane))?;
                let shared = &core.block.shared;
                rows[lane].copy_from_slice(&shared.data[at..at + 16]);
                for element in 0..8 {
                    let state = &shared.state[at + 2 * element..at + 2 * element + 2];
                    vague[lane] |= u8::from(state != [SET, SET]) << element;
                }
                if core.options.races {
                    core.meet_shared(&request, request.piece(lane), at, false)?;
                }
            }
            Ok(())
        })?;
        for (m, &slot) in matrices.registers.iter().enumerate() {
            let mut unknown = 0;
            let mut element = |lane: usize, half: usize| {
                let (row, column) =
                    if transposed { (2 * (lane % 4) + half, lane / 4) } else { (lane / 4, 2 * (lane % 4) + half) };
                let row = 8 * m + row;
                unknown |= u32::from(vague[row] >> column & 1) << lane;
                u32::from(u16::from_le_bytes([rows[row][2 * column], rows[row][2 * column + 1]]))
            };
            let plane = std::array::from_fn(|lane| element(lane, 0) | element(lane, 1) << 16);
            if unknown != 0 {
                self.warp.source = self.line();
            }
            self.warp.put(slot, &plane, u32::MAX, unknown);
        }
        Ok(())
    }

    pub(super) fn product(&mut self, product: &Product) -> Outcome<()> {
        self.counters.products += 1;
        let read = |slots: &[crate::instr::Slot]| -> (Vec<crate::instr::Plane>, Vec<u32>) {
            slots.iter().map(|&slot| (*self.warp.plane(slot), self.warp.vague(slot))).unzip()
        };
        let (a, b, c) = (read(&product.a), read(&product.b), read(&product.c));
        let values = mma::multiply(product, self.options.mma, &a.0, &b.0, &c.0);
        let vague = mma::vague(product, &a.1, &b.1, &c.1);
        for (index, &slot) in product.d.iter().enumerate() {
            self.warp.put(slot, &values[index], u32::MAX, vague[index]);
        }
        Ok(())
    }
}
