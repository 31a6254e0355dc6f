//! One warp: its registers, which lanes are where, and what it knows of the other warps of its block.
//!
//! Beside each register stands a mask of the lanes in which it holds nothing that was ever written. It travels with the
//! values (an operation's result is uninitialised where an operand is) and becomes a fault only where it can change
//! what is seen: in an address, a branch, a guard, an atomic or global memory. So copies of padding are no fault, and a
//! value that matters is one at the latest when it leaves the block.

use crate::instr::{FULL, Guard, LANES, LOCAL_START, Place, Plane, PlaneFn, Slot, Special, Start, Wide};
use crate::kernel::Code;
use crate::memory::{Bytes, RAW};
use crate::race::Who;
use std::collections::VecDeque;

/// Lanes that stand at another place than the ones that run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    pub pc: u32,
    pub mask: u32,
    /// They wait for others at `pc`; with the lanes alive when they began to.
    pub parked: Option<u32>,
}

/// Whether a warp can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// At this barrier.
    Waiting(usize),
    Done,
}

/// A `cp.async` that is on its way.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub lane: u32,
    pub group: u32,
    /// Offset in the block's shared memory.
    pub to: usize,
    pub from: u64,
    pub bytes: usize,
    pub source: usize,
}

/// What a warp has to do with `wgmma`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// Words of shared memory, first and behind the last, that products read which are not committed.
    pub open: Vec<(usize, usize)>,
    /// Those of committed groups, the latest last.
    pub committed: VecDeque<Vec<(usize, usize)>>,
    /// Words that this warp stored and has not fenced.
    pub unfenced: Vec<(usize, usize)>,
    /// Tells the products that it has executed, in order.
    pub trail: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Warp {
    pub index: u32,
    pub registers: Vec<Plane>,
    /// Lanes in which a register, by its first plane, holds nothing written.
    pub vague: Vec<u32>,
    pub predicates: Vec<u32>,
    pub vague_predicates: Vec<u32>,
    pub pc: u32,
    pub active: u32,
    pub splits: Vec<Split>,
    pub alive: u32,
    /// Lanes that there were at the start.
    pub born: u32,
    pub state: State,
    /// What a barrier's reduction goes to.
    pub reduction: Option<Place>,
    pub carry: u32,
    pub clock: u32,
    pub seen: [u32; LANES],
    /// The least of `seen`.
    pub floor: u32,
    pub pending: Vec<Pending>,
    /// The group that each lane's copies now join.
    pub group: [u32; LANES],
    pub groups: Groups,
    pub local: Bytes,
    pub ticks: u32,
    /// Line of the last load that brought something uninitialised.
    pub source: u32,
}

/// Where a block stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub block: [u32; 3],
    pub grid: [u32; 3],
    pub size: [u32; 3],
    pub dynamic_shared: u32,
    pub total_shared: u32,
}

impl Warp {
    /// A warp for kernels of this code, with its constants filled in.
    pub fn new(code: &Code) -> Self {
        let mut registers = vec![[0; LANES]; code.planes];
        for &(plane, start) in &code.starts {
            if let Start::Constant(value) = start {
                registers[plane] = [value; LANES];
            }
        }
        Self {
            index: 0,
            registers,
            vague: vec![0; code.planes],
            predicates: vec![0; code.predicates],
            vague_predicates: vec![0; code.predicates],
            pc: 0,
            active: 0,
            splits: Vec::new(),
            alive: 0,
            born: 0,
            state: State::Ready,
            reduction: None,
            carry: 0,
            clock: 1,
            seen: [1; LANES],
            floor: 1,
            pending: Vec::new(),
            group: [0; LANES],
            groups: Groups::default(),
            local: Bytes::default(),
            ticks: 0,
            source: 0,
        }
    }

    /// Makes this warp number `index` of a block that has not begun.
    pub fn restart(&mut self, code: &Code, index: u32, at: &Position) {
        let threads = at.size.iter().product::<u32>();
        let lanes = (threads - index * LANES as u32).min(LANES as u32);
        self.index = index;
        self.alive = if lanes == LANES as u32 { FULL } else { (1 << lanes) - 1 };
        self.active = self.alive;
        self.born = self.alive;
        self.vague.fill(FULL);
        self.vague_predicates.fill(FULL);
        self.predicates[0] = FULL;
        self.vague_predicates[0] = 0;
        for &(plane, start) in &code.starts {
            self.vague[plane] = 0;
            if let Start::Special(special) = start {
                self.registers[plane] = std::array::from_fn(|lane| special.value(index, lane as u32, at));
            }
        }
        self.pc = 0;
        self.splits.clear();
        self.state = State::Ready;
        self.reduction = None;
        self.clock = 1;
        self.seen = [1; LANES];
        self.floor = 1;
        self.pending.clear();
        self.group = [0; LANES];
        self.groups = Groups::default();
        self.ticks = 0;
        self.source = 0;
        let local = (code.local as usize) * LANES;
        if self.local.data.len() != local {
            self.local = Bytes::new(local, RAW);
        } else {
            self.local.state.fill(RAW);
        }
    }

    /// Offset in `local` of a local address of a lane.
    pub fn local_offset(&self, lane: usize, address: u64, bytes: usize) -> Option<usize> {
        let size = self.local.data.len() / LANES;
        let offset = address.checked_sub(u64::from(LOCAL_START))? as usize;
        (offset <= size && bytes <= size - offset).then_some(lane * size + offset)
    }

    /// This warp as one that accesses memory.
    #[inline(always)]
    pub fn who(&self, strong: bool) -> Who<'_> {
        Who { warp: self.index, clock: self.clock, seen: &self.seen, floor: self.floor, strong }
    }

    #[inline(always)]
    pub fn plane(&self, slot: Slot) -> &Plane {
        &self.registers[slot.plane()]
    }

    #[inline(always)]
    pub fn wide(&self, slot: Slot) -> Wide {
        let low = &self.registers[slot.plane()];
        let mut wide = [0; LANES];
        if slot.is_wide() {
            let high = &self.registers[slot.plane() + 1];
            for lane in 0..LANES {
                wide[lane] = u64::from(high[lane]) << 32 | u64::from(low[lane]);
            }
        } else {
            for lane in 0..LANES {
                wide[lane] = u64::from(low[lane]);
            }
        }
        wide
    }

    #[inline(always)]
    pub fn vague(&self, slot: Slot) -> u32 {
        self.vague[slot.plane()]
    }

    /// Writes the lanes of `mask`, of which those in `vague` are not initialised.
    #[inline(always)]
    pub fn put(&mut self, slot: Slot, values: &Plane, mask: u32, vague: u32) {
        let at = slot.plane();
        blend(&mut self.registers[at], values, mask);
        self.vague[at] = self.vague[at] & !mask | vague & mask;
    }

    /// Runs an operation on 32-bit registers.
    #[inline(always)]
    pub fn run(&mut self, function: PlaneFn, d: Slot, sources: [Slot; 3], mask: u32) {
        let vague = sources.iter().fold(0, |all, &slot| all | self.vague(slot));
        let at = d.plane();
        let [a, b, c] = sources.map(Slot::plane);
        if mask == FULL && at != a && at != b && at != c {
            let (below, rest) = self.registers.split_at_mut(at);
            let Some((out, above)) = rest.split_first_mut() else { return };
            let source = |index: usize| if index < at { &below[index] } else { &above[index - at - 1] };
            function(source(a), source(b), source(c), out);
            self.vague[at] = vague;
            return;
        }
        let mut out = [0; LANES];
        function(&self.registers[a], &self.registers[b], &self.registers[c], &mut out);
        self.put(d, &out, mask, vague);
    }

    /// The same for a register of any width; what does not fit it is cut.
    #[inline(always)]
    pub fn put_wide(&mut self, slot: Slot, values: &Wide, mask: u32, vague: u32) {
        let mut plane = [0; LANES];
        for lane in 0..LANES {
            plane[lane] = values[lane] as u32;
        }
        if slot.is_half() {
            plane.iter_mut().for_each(|value| *value &= 0xffff);
        }
        self.put(slot, &plane, mask, vague);
        if slot.is_wide() {
            for lane in 0..LANES {
                plane[lane] = (values[lane] >> 32) as u32;
            }
            blend(&mut self.registers[slot.plane() + 1], &plane, mask);
        }
    }

    /// Lanes where the guard holds, and lanes where it is not known.
    #[inline(always)]
    pub fn guard(&self, guard: Guard) -> (u32, u32) {
        (self.predicates[guard.index()] ^ guard.flip(), self.vague_predicates[guard.index()])
    }

    #[inline(always)]
    pub fn put_predicate(&mut self, index: usize, bits: u32, mask: u32, vague: u32) {
        self.predicates[index] = self.predicates[index] & !mask | bits & mask;
        self.vague_predicates[index] = self.vague_predicates[index] & !mask | vague & mask;
    }
}

#[inline(always)]
fn blend(into: &mut Plane, values: &Plane, mask: u32) {
    if mask == FULL {
        *into = *values;
    } else {
        for lane in 0..LANES {
            into[lane] = if mask >> lane & 1 == 1 { values[lane] } else { into[lane] };
        }
    }
}

impl Special {
    fn value(self, warp: u32, lane: u32, at: &Position) -> u32 {
        let thread = warp * LANES as u32 + lane;
        let [x, y, _] = at.size;
        match self {
            Self::ThreadId(0) => thread % x,
            Self::ThreadId(1) => thread / x % y,
            Self::ThreadId(_) => thread / (x * y),
            Self::BlockSize(axis) => at.size[axis],
            Self::BlockId(axis) => at.block[axis],
            Self::GridSize(axis) => at.grid[axis],
            Self::Lane => lane,
            Self::WarpId => warp,
            Self::WarpCount => at.size.iter().product::<u32>().div_ceil(LANES as u32),
            Self::LaneMaskEqual => 1 << lane,
            Self::LaneMaskLess => (1 << lane) - 1,
            Self::LaneMaskLessEqual => FULL >> (31 - lane),
            Self::LaneMaskGreater => !(FULL >> (31 - lane)),
            Self::LaneMaskGreaterEqual => FULL << lane,
            Self::DynamicShared => at.dynamic_shared,
            Self::TotalShared => at.total_shared,
        }
    }
}

/// The lanes of a mask.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        (left != 0).then(|| {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            lane
        })
    })
}
