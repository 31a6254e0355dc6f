//! Loads and stores: addresses, alignment, bounds, what was written, who else was there.
//!
//! An access passes through a buffer of 16 bytes a lane, whatever its type; elements are cut from it, or put
//! together in it, at the registers' side. Memory is touched a piece at a time: one piece for all lanes where they read
//! the same place or places in a row, which most accesses do, and otherwise one for each lane.

use super::{Core, space_of};
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instr::{
    Access, FULL, LANES, LOCAL_START, LOCAL_WINDOW, Order, PARAM_WINDOW, SHARED_START, SHARED_WINDOW, Slot, Space, Wide,
};
use crate::memory::{OUTSIDE, PENDING, RAW, SET};
use crate::race::{Block, Other};
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
    pub pattern: Pattern,
}

/// How the addresses of a warp lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// All lanes at one place.
    Same,
    /// All 32 lanes, one behind the other.
    Row,
    /// A few places, each for several lanes.
    Groups,
    Any,
}

impl Pattern {
    fn of(addresses: &Wide, mask: u32, width: u64) -> Self {
        if mask != FULL {
            let start = addresses[mask.trailing_zeros() as usize & 31];
            return if lanes(mask).all(|lane| addresses[lane] == start) { Self::Same } else { Self::Any };
        }
        let start = addresses[0];
        let step = addresses[1].wrapping_sub(start);
        if step == 0 || step == width {
            let mut off = 0;
            for (lane, &address) in addresses.iter().enumerate() {
                off |= address ^ start.wrapping_add(lane as u64 * step);
            }
            if off == 0 {
                return if step == 0 { Self::Same } else { Self::Row };
            }
        }
        // What tiles of products look like: rows or columns of lanes read together.
        let twin = [1, 2, 4, 8, 16].into_iter().any(|lane| addresses[lane] == start);
        if twin { Self::Groups } else { Self::Any }
    }
}

/// Bytes that are touched as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// The first lane.
    pub lane: usize,
    /// All lanes that it is for.
    pub lanes: u32,
    pub address: u64,
    pub bytes: usize,
    /// One lane's bytes behind the other's; else all lanes have the same.
    pub row: bool,
}

impl<'a> Request<'a> {
    pub fn new(addresses: &'a Wide, mask: u32, strong: bool, width: usize, element: usize) -> Self {
        let pattern = Pattern::of(addresses, mask, width as u64);
        Self { addresses, mask, strong, width, element, pattern }
    }

    /// What these lanes read together, from the place of the first.
    fn shared(&self, lanes: u32) -> Piece {
        let lane = lanes.trailing_zeros() as usize;
        Piece { lane, lanes, address: self.addresses[lane], bytes: self.width, row: false }
    }

    fn row(&self) -> Piece {
        Piece { lane: 0, lanes: FULL, address: self.addresses[0], bytes: LANES * self.width, row: true }
    }

    pub fn piece(&self, lane: usize) -> Piece {
        self.shared(1 << lane)
    }

    /// Lanes of `among` at the place of its first.
    fn twins(&self, among: u32) -> u32 {
        let address = self.addresses[among.trailing_zeros() as usize];
        let mut found = 0;
        for (lane, &other) in self.addresses.iter().enumerate() {
            found |= u32::from(other == address) << lane;
        }
        found & among
    }

    /// Bytes of a piece of memory to the lanes that read it.
    #[inline(always)]
    fn deliver(&self, piece: Piece, data: &[u8], state: &[u8], buffer: &mut Buffer, vague: &mut [u32; 16]) {
        let known = is_set(state);
        if piece.row {
            for (lane, part) in data.chunks_exact(self.width).enumerate() {
                copy(&mut buffer[lane], part);
            }
            if !known {
                for (lane, part) in state.chunks_exact(self.width).enumerate() {
                    mark(vague, part, self.element, 1 << lane);
                }
            }
            return;
        }
        let mut one = [0; 16];
        copy(&mut one, data);
        if piece.lanes == FULL {
            *buffer = [one; LANES];
        } else {
            lanes(piece.lanes).for_each(|lane| buffer[lane] = one);
        }
        if !known {
            mark(vague, state, self.element, piece.lanes);
        }
    }
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
            let request = Request::new(addresses, mask, strong, width, element);
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
            let request = Request::new(addresses, mask, strong, width, element);
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

    /// Calls `touch` for each piece of an access; lanes that read one place are one piece.
    fn pieces(
        &mut self,
        request: &Request<'_>,
        read: bool,
        mut touch: impl FnMut(&mut Self, Piece) -> Outcome<()>,
    ) -> Outcome<()> {
        let mask = request.mask;
        match request.pattern {
            Pattern::Same if read => return touch(self, request.shared(mask)),
            Pattern::Groups if read => {
                let mut left = mask;
                while left != 0 {
                    let together = request.twins(left);
                    touch(self, request.shared(together))?;
                    left &= !together;
                }
                return Ok(());
            }
            // A row that ends outside is gone through lane by lane, to name the first that is wrong.
            Pattern::Row if touch(self, request.row()).is_ok() => return Ok(()),
            _ => {}
        }
        lanes(mask).try_for_each(|lane| touch(self, request.piece(lane)))
    }

    fn load_global(&mut self, request: &Request<'_>, buffer: &mut Buffer, vague: &mut [u32; 16]) -> Outcome<()> {
        self.count_sectors(request);
        self.pieces(request, true, |core, piece| {
            let index = core.memory.find(piece.address, piece.bytes, piece.lane as u32)?;
            let found = &core.memory.allocations[index];
            let at = (piece.address - found.base) as usize;
            let (data, state) = (&found.bytes.data[at..at + piece.bytes], &found.bytes.state[at..at + piece.bytes]);
            request.deliver(piece, data, state, buffer, vague);
            if core.options.races && !found.constant {
                core.meet_global(request, piece, index, at, false)
            } else {
                Ok(())
            }
        })
    }

    fn store_global(&mut self, request: &Request<'_>, buffer: &Buffer, vague: &[u32; 16]) -> Outcome<()> {
        let unknown = vague.iter().fold(0, |all, lanes| all | lanes) & request.mask;
        if unknown != 0 {
            return Err(self.uninitialised(unknown, "what is stored to global memory"));
        }
        self.count_sectors(request);
        self.pieces(request, false, |core, piece| {
            let (index, at) = core.writable(piece.address, piece.bytes, piece.lane)?;
            if core.options.races {
                let met = core.meet_global(request, piece, index, at, true);
                met.or_else(|trouble| same(request, buffer, piece.lane, trouble))?;
            }
            let found = &mut core.memory.allocations[index].bytes;
            scatter(&mut found.data[at..at + piece.bytes], buffer, piece, request.width);
            found.state[at..at + piece.bytes].fill(SET);
            Ok(())
        })
    }

    /// Allocation and offset of bytes that may be written.
    pub(super) fn writable(&mut self, address: u64, bytes: usize, lane: usize) -> Outcome<(usize, usize)> {
        let index = self.memory.find(address, bytes, lane as u32)?;
        let found = &self.memory.allocations[index];
        if found.constant {
            return Err(Trouble::new(FaultKind::ReadOnly, lane as u32, format!("{address:#x} is constant memory")));
        }
        Ok((index, (address - found.base) as usize))
    }

    /// Looks for a race at the words of a piece of global memory.
    pub(super) fn meet_global(
        &mut self,
        request: &Request<'_>,
        piece: Piece,
        index: usize,
        at: usize,
        write: bool,
    ) -> Outcome<()> {
        let who = self.warp.who(request.strong);
        let (serial, epoch) = (self.block.serial, self.block.epoch);
        let here = Block { serial, first: self.first, epoch, acquired: &self.block.acquired };
        let found = &mut self.memory.allocations[index];
        let several = !piece.row && piece.lanes & (piece.lanes - 1) != 0;
        for (word, bytes, lane) in words(piece, at, request.width) {
            let cell = found.cell(word);
            let met = if write { cell.write(who, lane, bytes, here) } else { cell.read(who, lane, bytes, here) };
            if let Some(other) = met {
                let address = found.base + 4 * word as u64;
                return Err(self.race(other, lane, "global", address, write));
            }
            if several {
                cell.many_lanes();
            }
        }
        Ok(())
    }

    /// Looks for a race at the words of a piece of shared memory.
    pub(super) fn meet_shared(&mut self, request: &Request<'_>, piece: Piece, at: usize, write: bool) -> Outcome<()> {
        let who = self.warp.who(request.strong);
        let several = !piece.row && piece.lanes & (piece.lanes - 1) != 0;
        for (word, bytes, lane) in words(piece, at, request.width) {
            let cell = &mut self.block.cells[word];
            let met = if write { cell.write(who, lane, bytes) } else { cell.read(who, lane, bytes) };
            if let Some(other) = met {
                return Err(self.race(other, lane, "shared", u64::from(SHARED_START) + 4 * word as u64, write));
            }
            if several {
                cell.many_lanes();
            }
        }
        Ok(())
    }

    #[cold]
    pub(super) fn race(&self, other: Other, lane: u32, space: &str, address: u64, write: bool) -> Box<Trouble> {
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
        Trouble::new(FaultKind::Race, lane, detail)
    }

    fn load_shared(&mut self, request: &Request<'_>, buffer: &mut Buffer, vague: &mut [u32; 16]) -> Outcome<()> {
        self.count_conflicts(request);
        self.pieces(request, true, |core, piece| {
            let at = core.shared_offset(piece)?;
            let shared = &core.block.shared;
            let (data, state) = (&shared.data[at..at + piece.bytes], &shared.state[at..at + piece.bytes]);
            request.deliver(piece, data, state, buffer, vague);
            if core.options.races { core.meet_shared(request, piece, at, false) } else { Ok(()) }
        })
    }

    fn store_shared(&mut self, request: &Request<'_>, buffer: &Buffer, vague: &[u32; 16]) -> Outcome<()> {
        self.count_conflicts(request);
        let known = vague.iter().all(|&lanes| lanes == 0);
        self.pieces(request, false, |core, piece| {
            let at = core.shared_offset(piece)?;
            core.stored(at, piece.bytes, piece.lane)?;
            if core.options.races {
                let met = core.meet_shared(request, piece, at, true);
                met.or_else(|trouble| same(request, buffer, piece.lane, trouble))?;
            }
            let shared = &mut core.block.shared;
            scatter(&mut shared.data[at..at + piece.bytes], buffer, piece, request.width);
            let state = &mut shared.state[at..at + piece.bytes];
            state.fill(SET);
            if !known {
                for (step, part) in state.chunks_mut(request.width).enumerate() {
                    unset(part, vague, request.element, piece.lane + step);
                }
            }
            Ok(())
        })
    }

    /// Offset of a piece in the block's shared memory: inside one variable, and not under way.
    #[inline(always)]
    pub(super) fn shared_offset(&self, piece: Piece) -> Outcome<usize> {
        let shared = &self.block.shared.state;
        let at = piece.address.wrapping_sub(u64::from(SHARED_START));
        let size = shared.len() as u64;
        if at >= size || piece.bytes as u64 > size - at {
            let detail =
                format!("{} bytes at shared address {:#x}: the block has {size} bytes", piece.bytes, piece.address);
            let detail = format!("{detail} from {SHARED_START:#x} on");
            return Err(Trouble::new(FaultKind::OutOfBounds, piece.lane as u32, detail));
        }
        let at = at as usize;
        let state = &shared[at..at + piece.bytes];
        if !is_set(state) && state.iter().any(|&state| state == OUTSIDE || state == PENDING) {
            return Err(self.unfit(state, piece));
        }
        Ok(at)
    }

    #[cold]
    fn unfit(&self, state: &[u8], piece: Piece) -> Box<Trouble> {
        let (address, lane) = (piece.address, piece.lane as u32);
        if state.contains(&OUTSIDE) {
            let detail = format!("shared address {address:#x} lies between two variables");
            Trouble::new(FaultKind::OutOfBounds, lane, detail)
        } else {
            let detail = format!("a cp.async to shared address {address:#x} has not been waited for");
            Trouble::new(FaultKind::Asynchronous, lane, detail)
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
            let (data, state) = (&local.data[at..at + request.width], &local.state[at..at + request.width]);
            request.deliver(request.piece(lane), data, state, buffer, vague);
        }
        Ok(())
    }

    fn store_local(&mut self, request: &Request<'_>, buffer: &Buffer, vague: &[u32; 16], hidden: bool) -> Outcome<()> {
        self.counters.local_requests += u64::from(!hidden);
        for lane in lanes(request.mask) {
            let at = self.local_offset(request, lane)?;
            let local = &mut self.warp.local;
            local.data[at..at + request.width].copy_from_slice(&buffer[lane][..request.width]);
            let state = &mut local.state[at..at + request.width];
            state.fill(SET);
            unset(state, vague, request.element, lane);
        }
        Ok(())
    }

    fn load_param(&mut self, request: &Request<'_>, buffer: &mut Buffer) -> Outcome<()> {
        self.pieces(request, true, |core, piece| {
            let at = piece.address as usize;
            let Some(bytes) = core.params.get(at..at.saturating_add(piece.bytes)) else {
                let detail = format!("byte {at} of {} bytes of parameters", core.params.len());
                return Err(Trouble::new(FaultKind::OutOfBounds, piece.lane as u32, detail));
            };
            request.deliver(piece, bytes, &[], buffer, &mut [0; 16]);
            Ok(())
        })
    }
}

/// A store that met a lane of the same instruction is none if both store the same bytes to the same place.
fn same(request: &Request<'_>, buffer: &Buffer, lane: usize, trouble: Box<Trouble>) -> Outcome<()> {
    let twin = lanes(request.mask & ((1 << lane) - 1)).any(|other| {
        request.addresses[other] == request.addresses[lane]
            && buffer[other][..request.width] == buffer[lane][..request.width]
    });
    if twin { Ok(()) } else { Err(trouble) }
}

/// The words of a piece at `at`: which of their bytes, and by which lane.
#[inline(always)]
fn words(piece: Piece, at: usize, width: usize) -> impl Iterator<Item = (usize, u32, u32)> {
    let first = piece.lane;
    let lane = move |offset: usize| if piece.row { offset / width } else { first } as u32;
    // Lanes narrower than a word are told apart in it.
    let step = width.min(4);
    let ones = (1 << step) - 1;
    (0..piece.bytes.div_ceil(step)).map(move |index| {
        let offset = index * step;
        ((at + offset) / 4, ones << ((at + offset) & 3), lane(offset))
    })
}

/// Whether everything was written: the states' bits tell by themselves.
#[inline(always)]
pub(super) fn is_set(state: &[u8]) -> bool {
    state.iter().fold(SET, |all, &state| all & state) == SET
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

/// What the lanes of a piece store.
#[inline(always)]
fn scatter(into: &mut [u8], buffer: &Buffer, piece: Piece, width: usize) {
    for (step, part) in into.chunks_exact_mut(width).enumerate() {
        part.copy_from_slice(&buffer[piece.lane + step][..width]);
    }
}

/// Marks the elements that hold something not written, for the lanes of a mask.
fn mark(vague: &mut [u32; 16], state: &[u8], element: usize, lanes: u32) {
    for (index, part) in state.chunks(element).enumerate() {
        vague[index] |= if is_set(part) { 0 } else { lanes };
    }
}

/// Takes back the state of elements that a lane stored without knowing them.
fn unset(state: &mut [u8], vague: &[u32; 16], element: usize, lane: usize) {
    for (index, part) in state.chunks_mut(element).enumerate() {
        if vague[index] >> lane & 1 == 1 {
            part.fill(RAW);
        }
    }
}
