//! Loads and stores: addresses, alignment, bounds, what was written, who else was there.
//!
//! An access passes through a buffer of 16 bytes a lane, whatever its type; elements are cut from it, or put
//! together in it, at the registers' side.

use super::{Core, space_of};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instr::{
    Access, LANES, LOCAL_START, LOCAL_WINDOW, Order, PARAM_WINDOW, SHARED_START, SHARED_WINDOW, Slot, Space, Wide,
};
use crate::memory::{OUTSIDE, PENDING, RAW, SET};
use crate::race::{Block, Other, Who};
use crate::warp::lanes;

/// The bytes of each lane.
pub(super) type Buffer = [[u8; 16]; LANES];

/// One access of a warp.
pub(super) struct Request<'a> {
    pub addresses: &'a Wide,
    pub mask: u32,
    pub strong: bool,
    /// Bytes a lane.
    pub width: usize,
    /// Bytes of an element of it.
    pub element: usize,
}

impl Core<'_> {
    pub(super) fn load(&mut self, access: &Access, mask: u32) -> Outcome<()> {
        if mask == 0 {
            return Ok(());
        }
        let (addresses, element) = (self.addresses(access.base, access.offset, mask)?, access.bytes as usize);
        let width = element * access.values.len();
        let mut buffer = [[0; 16]; LANES];
        let mut vague = [0; 16];
        let strong = access.order != Order::Weak;
        self.by_space(access.space, &addresses, mask, |core, space, addresses, mask| {
            let request = Request { addresses, mask, strong, width, element };
            core.aligned(&request)?;
            match space {
                Space::Global => core.load_global(&request, &mut buffer, &mut vague),
                Space::Shared => core.load_shared(&request, &mut buffer, &mut vague),
                Space::Local => core.load_local(&request, &mut buffer, &mut vague, access.hidden),
                _ => core.load_param(&request, &mut buffer),
            }
        })?;
        if matches!(access.order, Order::Acquire | Order::Relaxed | Order::AcquireRelease) {
            lanes(mask).for_each(|lane| self.acquire(addresses[lane]));
        }
        for (index, slot) in access.values.iter().enumerate() {
            if vague[index] != 0 {
                self.warp.source = self.line();
            }
            if let Some(slot) = slot {
                self.take(*slot, &buffer, index, access, mask, vague[index]);
            }
        }
        Ok(())
    }

    /// Element `index` of each lane to a register.
    fn take(&mut self, slot: Slot, buffer: &Buffer, index: usize, access: &Access, mask: u32, vague: u32) {
        let (at, bytes) = (index * access.bytes as usize, access.bytes as usize);
        if bytes == 4 && !slot.is_wide() {
            let plane = std::array::from_fn(|lane| {
                u32::from_le_bytes([buffer[lane][at], buffer[lane][at + 1], buffer[lane][at + 2], buffer[lane][at + 3]])
            });
            return self.warp.put(slot, &plane, mask, vague);
        }
        let shift = 64 - 8 * bytes as u32;
        let values = std::array::from_fn(|lane| {
            let mut eight = [0; 8];
            eight[..bytes].copy_from_slice(&buffer[lane][at..at + bytes]);
            let value = u64::from_le_bytes(eight);
            if access.signed { ((value << shift) as i64 >> shift) as u64 } else { value }
        });
        self.warp.put_wide(slot, &values, mask, vague);
    }

    pub(super) fn store(&mut self, access: &Access, mask: u32) -> Outcome<()> {
        if mask == 0 {
            return Ok(());
        }
        let (addresses, element) = (self.addresses(access.base, access.offset, mask)?, access.bytes as usize);
        let width = element * access.values.len();
        let mut buffer = [[0; 16]; LANES];
        let mut vague = [0; 16];
        for (index, slot) in access.values.iter().enumerate() {
            let Some(slot) = *slot else { continue };
            vague[index] = self.warp.vague(slot) & mask;
            let values = self.warp.wide(slot);
            for lane in 0..LANES {
                buffer[lane][index * element..(index + 1) * element]
                    .copy_from_slice(&values[lane].to_le_bytes()[..element]);
            }
        }
        if matches!(access.order, Order::Release | Order::AcquireRelease) {
            self.block.epoch += 1;
        }
        if access.order != Order::Weak {
            lanes(mask).for_each(|lane| self.release(addresses[lane]));
        }
        let strong = access.order != Order::Weak;
        self.by_space(access.space, &addresses, mask, |core, space, addresses, mask| {
            let request = Request { addresses, mask, strong, width, element };
            core.aligned(&request)?;
            match space {
                Space::Global => core.store_global(&request, &buffer, &vague),
                Space::Shared => core.store_shared(&request, &buffer, &vague),
                Space::Local => core.store_local(&request, &buffer, &vague, access.hidden),
                _ => Err(Trouble::new(
                    FaultKind::ReadOnly,
                    mask.trailing_zeros(),
                    "parameters of a kernel are only read",
                )),
            }
        })
    }

    /// What a base register and an offset give; the base must be initialised.
    pub(super) fn addresses(&self, base: Slot, offset: i64, mask: u32) -> Outcome<Wide> {
        let vague = self.warp.vague(base) & mask;
        if vague != 0 {
            return Err(self.uninitialised(vague, "the address"));
        }
        let mut addresses = self.warp.wide(base);
        addresses.iter_mut().for_each(|address| *address = address.wrapping_add(offset as u64));
        Ok(addresses)
    }

    /// Calls `access` once for each space that the addresses lie in, with addresses of that space.
    pub(super) fn by_space(
        &mut self,
        space: Space,
        addresses: &Wide,
        mask: u32,
        mut access: impl FnMut(&mut Self, Space, &Wide, u32) -> Outcome<()>,
    ) -> Outcome<()> {
        if space != Space::Generic {
            return access(self, space, addresses, mask);
        }
        for space in [Space::Global, Space::Shared, Space::Local, Space::Param] {
            let part =
                lanes(mask).filter(|&lane| space_of(addresses[lane]) == space).fold(0, |part, lane| part | 1 << lane);
            if part != 0 {
                let window = match space {
                    Space::Shared => SHARED_WINDOW,
                    Space::Local => LOCAL_WINDOW,
                    Space::Param => PARAM_WINDOW,
                    _ => 0,
                };
                access(self, space, &addresses.map(|address| address.wrapping_sub(window)), part)?;
            }
        }
        Ok(())
    }

    pub(super) fn aligned(&self, request: &Request<'_>) -> Outcome<()> {
        let rest = request.width as u64 - 1;
        for lane in lanes(request.mask) {
            if request.addresses[lane] & rest != 0 {
                let detail = format!("{:#x} is no multiple of {} bytes", request.addresses[lane], request.width);
                return Err(Trouble::new(FaultKind::Misaligned, lane as u32, detail));
            }
        }
        Ok(())
    }

    fn load_global(&mut self, request: &Request<'_>, buffer: &mut Buffer, vague: &mut [u32; 16]) -> Outcome<()> {
        self.count_sectors(request);
        let width = request.width;
        for lane in lanes(request.mask) {
            let address = request.addresses[lane];
            let index = self.memory.find(address, width, lane as u32)?;
            let found = &self.memory.allocations[index];
            let at = (address - found.base) as usize;
            copy(&mut buffer[lane], &found.bytes.data[at..at + width]);
            mark(vague, &found.bytes.state[at..at + width], request.element, lane);
            if self.options.races && !found.constant {
                self.meet_global(request, lane, index, at, false)?;
            }
        }
        Ok(())
    }

    fn store_global(&mut self, request: &Request<'_>, buffer: &Buffer, vague: &[u32; 16]) -> Outcome<()> {
        let unknown = vague.iter().fold(0, |all, lanes| all | lanes) & request.mask;
        if unknown != 0 {
            return Err(self.uninitialised(unknown, "what is stored to global memory"));
        }
        self.count_sectors(request);
        let width = request.width;
        for lane in lanes(request.mask) {
            let address = request.addresses[lane];
            let index = self.memory.find(address, width, lane as u32)?;
            let found = &mut self.memory.allocations[index];
            if found.constant {
                return Err(Trouble::new(FaultKind::ReadOnly, lane as u32, format!("{address:#x} is constant memory")));
            }
            let at = (address - found.base) as usize;
            if self.options.races {
                self.meet_global(request, lane, index, at, true)
                    .or_else(|trouble| same(request, buffer, lane, trouble))?;
            }
            let found = &mut self.memory.allocations[index].bytes;
            found.data[at..at + width].copy_from_slice(&buffer[lane][..width]);
            found.state[at..at + width].fill(SET);
        }
        Ok(())
    }

    /// Looks for a race at the words of an access in global memory.
    pub(super) fn meet_global(
        &mut self,
        request: &Request<'_>,
        lane: usize,
        index: usize,
        at: usize,
        write: bool,
    ) -> Outcome<()> {
        let who = Who { warp: self.warp.index, clock: self.warp.clock, seen: &self.warp.seen, strong: request.strong };
        let here = Block {
            serial: self.block.serial,
            first: self.first,
            epoch: self.block.epoch,
            acquired: &self.block.acquired,
        };
        let found = &mut self.memory.allocations[index];
        for (word, bytes) in words(at, request.width) {
            let cell = found.cell(word);
            let other = if write {
                cell.write(who, lane as u32, bytes, here)
            } else {
                cell.read(who, lane as u32, bytes, here)
            };
            if let Some(other) = other {
                let address = found.base + 4 * word as u64;
                return Err(self.race(other, lane, "global", address, write));
            }
        }
        Ok(())
    }

    /// Looks for a race at the words of an access in shared memory.
    pub(super) fn meet_shared(
        &mut self,
        lane: usize,
        at: usize,
        width: usize,
        strong: bool,
        write: bool,
    ) -> Outcome<()> {
        let who = Who { warp: self.warp.index, clock: self.warp.clock, seen: &self.warp.seen, strong };
        for (word, bytes) in words(at, width) {
            let cell = &mut self.block.cells[word];
            let other = if write { cell.write(who, lane as u32, bytes) } else { cell.read(who, lane as u32, bytes) };
            if let Some(other) = other {
                return Err(self.race(other, lane, "shared", u64::from(SHARED_START) + 4 * word as u64, write));
            }
        }
        Ok(())
    }

    #[cold]
    fn race(&self, other: Other, lane: usize, space: &str, address: u64, write: bool) -> Box<Trouble> {
        let did = if other.wrote { "written" } else { "read" };
        let doing = if write { "write" } else { "read" };
        let block = match other.block {
            0 => "this block".to_owned(),
            serial => {
                let grid = self.block.at.grid;
                let number = serial - self.first;
                format!("block [{}, {}, {}]", number % grid[0], number / grid[0] % grid[1], number / grid[0] / grid[1])
            }
        };
        let thread = other.thread.map_or("several threads".to_owned(), |thread| format!("thread {thread}"));
        let detail =
            format!("{doing} of {space} word {address:#x}, {did} by {thread} of {block}, and nothing orders the two");
        Trouble::new(FaultKind::Race, lane as u32, detail)
    }

    fn load_shared(&mut self, request: &Request<'_>, buffer: &mut Buffer, vague: &mut [u32; 16]) -> Outcome<()> {
        self.count_conflicts(request);
        for lane in lanes(request.mask) {
            let at = self.shared_offset(request, lane)?;
            let shared = &self.block.shared;
            copy(&mut buffer[lane], &shared.data[at..at + request.width]);
            mark(vague, &shared.state[at..at + request.width], request.element, lane);
            if self.options.races {
                self.meet_shared(lane, at, request.width, request.strong, false)?;
            }
        }
        Ok(())
    }

    fn store_shared(&mut self, request: &Request<'_>, buffer: &Buffer, vague: &[u32; 16]) -> Outcome<()> {
        self.count_conflicts(request);
        for lane in lanes(request.mask) {
            let at = self.shared_offset(request, lane)?;
            if self.options.races {
                let met = self.meet_shared(lane, at, request.width, request.strong, true);
                met.or_else(|trouble| same(request, buffer, lane, trouble))?;
            }
            let shared = &mut self.block.shared;
            shared.data[at..at + request.width].copy_from_slice(&buffer[lane][..request.width]);
            settle(&mut shared.state[at..at + request.width], vague, request.element, lane);
        }
        Ok(())
    }

    /// Offset of a lane's access in the block's shared memory: inside one variable, and not under way.
    pub(super) fn shared_offset(&self, request: &Request<'_>, lane: usize) -> Outcome<usize> {
        let shared = &self.block.shared.state;
        let address = request.addresses[lane];
        let at = address.wrapping_sub(u64::from(SHARED_START));
        let size = shared.len() as u64;
        if at >= size || request.width as u64 > size - at {
            let detail = format!("{} bytes at shared address {address:#x}: the block has {size} bytes", request.width);
            return Err(Trouble::new(
                FaultKind::OutOfBounds,
                lane as u32,
                format!("{detail} from {SHARED_START:#x} on"),
            ));
        }
        let at = at as usize;
        let state = &shared[at..at + request.width];
        if state.iter().any(|&state| state == OUTSIDE || state == PENDING) {
            return Err(self.unfit(state, address, lane));
        }
        Ok(at)
    }

    #[cold]
    fn unfit(&self, state: &[u8], address: u64, lane: usize) -> Box<Trouble> {
        if state.contains(&OUTSIDE) {
            let detail = format!("shared address {address:#x} lies between two variables");
            Trouble::new(FaultKind::OutOfBounds, lane as u32, detail)
        } else {
            let detail = format!("a cp.async to shared address {address:#x} has not been waited for");
            Trouble::new(FaultKind::Asynchronous, lane as u32, detail)
        }
    }

    fn local_offset(&self, request: &Request<'_>, lane: usize) -> Outcome<usize> {
        self.warp.local_offset(lane, request.addresses[lane], request.width).ok_or_else(|| {
            let (address, size) = (request.addresses[lane], self.code.local);
            let detail = format!("local address {address:#x}: the thread has {size} bytes from {LOCAL_START:#x} on");
            Trouble::new(FaultKind::OutOfBounds, lane as u32, detail)
        })
    }

    fn load_local(
        &mut self,
        request: &Request<'_>,
        buffer: &mut Buffer,
        vague: &mut [u32; 16],
        hidden: bool,
    ) -> Outcome<()> {
        self.counters.local_requests += u64::from(!hidden);
        for lane in lanes(request.mask) {
            let at = self.local_offset(request, lane)?;
            let local = &self.warp.local;
            copy(&mut buffer[lane], &local.data[at..at + request.width]);
            mark(vague, &local.state[at..at + request.width], request.element, lane);
        }
        Ok(())
    }

    fn store_local(&mut self, request: &Request<'_>, buffer: &Buffer, vague: &[u32; 16], hidden: bool) -> Outcome<()> {
        self.counters.local_requests += u64::from(!hidden);
        for lane in lanes(request.mask) {
            let at = self.local_offset(request, lane)?;
            let local = &mut self.warp.local;
            local.data[at..at + request.width].copy_from_slice(&buffer[lane][..request.width]);
            settle(&mut local.state[at..at + request.width], vague, request.element, lane);
        }
        Ok(())
    }

    fn load_param(&mut self, request: &Request<'_>, buffer: &mut Buffer) -> Outcome<()> {
        for lane in lanes(request.mask) {
            let at = request.addresses[lane] as usize;
            let Some(bytes) = self.params.get(at..at.saturating_add(request.width)) else {
                let detail = format!("byte {at} of {} bytes of parameters", self.params.len());
                return Err(Trouble::new(FaultKind::OutOfBounds, lane as u32, detail));
            };
            copy(&mut buffer[lane], bytes);
        }
        Ok(())
    }

    pub(super) fn count_sectors(&mut self, request: &Request<'_>) {
        self.counters.global_requests += 1;
        let mut sectors = [0; 2 * LANES];
        let (mut count, mut sorted) = (0, true);
        for lane in lanes(request.mask) {
            let sector = request.addresses[lane] >> 5;
            if count == 0 || sectors[count - 1] != sector {
                sorted &= count == 0 || sectors[count - 1] < sector;
                sectors[count] = sector;
                count += 1;
            }
        }
        if !sorted {
            sectors[..count].sort_unstable();
            let mut distinct = 1;
            for index in 1..count {
                distinct += usize::from(sectors[index] != sectors[index - 1]);
            }
            count = distinct;
        }
        self.counters.global_sectors += count as u64;
    }

    /// Passes over the 32 banks: lanes go in groups of as many as 128 bytes hold, and a bank gives one word a pass.
    pub(super) fn count_conflicts(&mut self, request: &Request<'_>) {
        self.counters.shared_requests += 1;
        let group = match request.width {
            16 => 8,
            8 => 16,
            _ => 32,
        };
        for start in (0..LANES).step_by(group) {
            let part = request.mask & (((1u64 << group) - 1) << start) as u32;
            if part == 0 {
                continue;
            }
            self.counters.shared_conflicts += extra_passes(request, part);
        }
    }
}

/// Passes beyond the first that the lanes of a group need.
fn extra_passes(request: &Request<'_>, part: u32) -> u64 {
    // The words seen in each bank, as chains through `next`.
    let (mut head, mut next, mut seen) = ([u8::MAX; 32], [u8::MAX; 32], [0u64; 32]);
    let (mut used, mut most, mut depth) = (0u8, 1u8, [0u8; 32]);
    for lane in lanes(part) {
        for step in 0..request.width.div_ceil(4) as u64 {
            let word = (request.addresses[lane] >> 2) + step;
            let bank = (word & 31) as usize;
            let mut at = head[bank];
            while at != u8::MAX && seen[at as usize] != word {
                at = next[at as usize];
            }
            if at == u8::MAX {
                (seen[used as usize], next[used as usize], head[bank]) = (word, head[bank], used);
                used += 1;
                depth[bank] += 1;
                most = most.max(depth[bank]);
            }
        }
    }
    u64::from(most - 1)
}

/// A store that met a lane of the same instruction is none if both store the same bytes to the same place.
fn same(request: &Request<'_>, buffer: &Buffer, lane: usize, trouble: Box<Trouble>) -> Outcome<()> {
    let twin = lanes(request.mask & ((1 << lane) - 1)).any(|other| {
        request.addresses[other] == request.addresses[lane]
            && buffer[other][..request.width] == buffer[lane][..request.width]
    });
    if twin { Ok(()) } else { Err(trouble) }
}

/// The words of `width` bytes at `at`, and which of their bytes.
#[inline(always)]
fn words(at: usize, width: usize) -> impl Iterator<Item = (usize, u32)> {
    let bytes = if width >= 4 { 0xf } else { ((1 << width) - 1) << (at & 3) };
    (at / 4..(at + width).div_ceil(4)).map(move |word| (word, bytes))
}

#[inline(always)]
fn copy(into: &mut [u8; 16], from: &[u8]) {
    match from.len() {
        4 => into[..4].copy_from_slice(&from[..4]),
        8 => into[..8].copy_from_slice(&from[..8]),
        16 => into.copy_from_slice(&from[..16]),
        _ => into[..from.len()].copy_from_slice(from),
    }
}

/// Marks the elements of a lane that hold something not written.
#[inline(always)]
fn mark(vague: &mut [u32; 16], state: &[u8], element: usize, lane: usize) {
    if state.iter().any(|&state| state != SET) {
        for (index, part) in state.chunks(element).enumerate() {
            vague[index] |= u32::from(part.iter().any(|&state| state != SET)) << lane;
        }
    }
}

/// The state of what a lane stored.
#[inline(always)]
fn settle(state: &mut [u8], vague: &[u32; 16], element: usize, lane: usize) {
    state.fill(SET);
    for (index, part) in state.chunks_mut(element).enumerate() {
        if vague[index] >> lane & 1 == 1 {
            part.fill(RAW);
        }
    }
}
