//! `atom` and `red`, lane after lane in the order of the lanes.

use super::Core;
use super::memory::Request;
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instr::{Atomic, Change, LANES, Order, Space};
use crate::memory::SET;
use crate::ops::convert::format;
use crate::ops::round::Round;
use crate::parse::syntax::Type;
use crate::warp::lanes;

impl Core<'_> {
    pub(super) fn atomic(&mut self, atomic: &Atomic, mask: u32) -> Outcome<()> {
        if mask == 0 {
            return Ok(());
        }
        let addresses = self.addresses(atomic.base, atomic.offset, mask)?;
        let unknown = (self.warp.vague(atomic.value) | self.warp.vague(atomic.swap)) & mask;
        if unknown != 0 {
            return Err(self.uninitialised(unknown, "an operand of the atomic"));
        }
        let (values, swaps) = (self.warp.wide(atomic.value), self.warp.wide(atomic.swap));
        match format(atomic.ty) {
            Some(_) if atomic.change == Change::Add => self.counters.float_atomics += 1,
            _ => self.counters.integer_atomics += 1,
        }
        if matches!(atomic.order, Order::Release | Order::AcquireRelease) {
            self.block.epoch += 1;
        }
        let mut old = [0; LANES];
        let width = atomic.ty.bytes() as usize;
        self.by_space(atomic.space, &addresses, mask, |core, space, addresses, mask| {
            let request = Request::new(addresses, mask, true, width, width);
            core.aligned(&request)?;
            if space == Space::Global {
                core.count_sectors(&request);
            } else if space == Space::Shared {
                core.count_conflicts(&request);
            }
            for lane in lanes(mask) {
                let bytes = core.word(&request, space, lane)?;
                let mut eight = [0; 8];
                eight[..width].copy_from_slice(bytes);
                old[lane] = u64::from_le_bytes(eight);
                let new = changed(atomic.change, atomic.ty, old[lane], values[lane], swaps[lane]);
                bytes.copy_from_slice(&new.to_le_bytes()[..width]);
                if space == Space::Global {
                    core.acquire(addresses[lane]);
                    core.release(addresses[lane]);
                }
            }
            Ok(())
        })?;
        if let Some(slot) = atomic.result {
            self.warp.put_wide(slot, &old, mask, 0);
        }
        Ok(())
    }

    /// The bytes that a lane changes, all of them written before.
    fn word(&mut self, request: &Request<'_>, space: Space, lane: usize) -> Outcome<&mut [u8]> {
        let (address, width) = (request.addresses[lane], request.width);
        let (bytes, at) = match space {
            Space::Global => {
                let (index, at) = self.writable(address, width, lane)?;
                if self.options.races {
                    self.meet_global(request, request.piece(lane), index, at, true)?;
                }
                (&mut self.memory.allocations[index].bytes, at)
            }
            Space::Shared => {
                let at = self.shared_offset(request.piece(lane))?;
                if self.options.races {
                    self.meet_shared(request, request.piece(lane), at, true)?;
                }
                self.stored(at, width, lane)?;
                (&mut self.block.shared, at)
            }
            _ => {
                let detail = format!("an atomic at {address:#x}, which is neither global nor shared memory");
                return Err(Trouble::new(FaultKind::OutOfBounds, lane as u32, detail));
            }
        };
        if bytes.state[at..at + width].iter().any(|&state| state != SET) {
            let detail = format!("an atomic changes {width} bytes at {address:#x} that nothing wrote");
            return Err(Trouble::new(FaultKind::Uninitialised, lane as u32, detail));
        }
        Ok(&mut bytes.data[at..at + width])
    }
}

/// What an atomic leaves, of the width of its type.
fn changed(change: Change, ty: Type, old: u64, value: u64, swap: u64) -> u64 {
    if let (Some(format), Change::Add | Change::Min | Change::Max) = (format(ty), change) {
        let half = |x: u64, y: u64| {
            let sum = crate::ops::round::sum_to_odd(format.value(x), format.value(y));
            format.round(sum, Round::Nearest)
        };
        return if matches!(ty, Type::F16x2 | Type::Bf16x2) {
            half(old & 0xffff, value & 0xffff) | half(old >> 16, value >> 16 & 0xffff) << 16
        } else if ty == Type::F(64) {
            (f64::from_bits(old) + f64::from_bits(value)).to_bits()
        } else {
            half(old, value)
        };
    }
    let bits = ty.bits();
    let shift = 64 - bits;
    let signed = |x: u64| (x << shift) as i64 >> shift;
    let result = match (change, matches!(ty, Type::S(_))) {
        (Change::Add, _) => old.wrapping_add(value),
        (Change::And, _) => old & value,
        (Change::Or, _) => old | value,
        (Change::Xor, _) => old ^ value,
        (Change::Exchange, _) => value,
        (Change::CompareAndSwap, _) => {
            if old == value {
                swap
            } else {
                old
            }
        }
        (Change::Increment, _) => {
            if old >= value {
                0
            } else {
                old + 1
            }
        }
        (Change::Decrement, _) => {
            if old == 0 || old > value {
                value
            } else {
                old - 1
            }
        }
        (Change::Min, true) => signed(old).min(signed(value)) as u64,
        (Change::Max, true) => signed(old).max(signed(value)) as u64,
        (Change::Min, false) => old.min(value),
        (Change::Max, false) => old.max(value),
    };
    result & (u64::MAX >> shift)
}
