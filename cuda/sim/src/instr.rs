//! What a decoded kernel is made of: a dense array of [`Instr`] whose operands are places in a warp's register file.
//!
//! A register file is an array of planes, 32 lanes of 32 bits each; a 64-bit register has two planes, low words first.
//! Constants and special registers are planes too, filled when a warp starts, so that an operation never asks what
//! kind of operand it has.

use crate::fault::FaultKind;
use crate::ops::convert::Convert;
use crate::ops::float::FloatOp;
use crate::ops::half::HalfOp;
use crate::ops::round::Format;
use crate::parse::syntax::Type;
use std::cmp::Ordering;

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;
/// All lanes.
pub(crate) const FULL: u32 = u32::MAX;
/// One 32-bit value a lane.
pub(crate) type Plane = [u32; LANES];
/// One 64-bit value a lane.
pub(crate) type Wide = [u64; LANES];

/// A register's place: its first plane and its width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    /// An unused operand: zero.
    pub const ZERO: Self = Self(0);
    const WIDE: u32 = 1 << 31;
    const HALF: u32 = 1 << 30;

    /// Of `bits` at `plane`; registers of 8 and 16 bits keep the rest of their plane zero.
    pub fn new(plane: usize, bits: u32) -> Self {
        let mark = match bits {
            64 => Self::WIDE,
            8 | 16 => Self::HALF,
            _ => 0,
        };
        Self(plane as u32 | mark)
    }

    #[inline(always)]
    pub fn plane(self) -> usize {
        (self.0 & !(Self::WIDE | Self::HALF)) as usize
    }

    #[inline(always)]
    pub fn is_wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }

    #[inline(always)]
    pub fn is_half(self) -> bool {
        self.0 & Self::HALF != 0
    }

    /// The same register at another plane.
    pub fn at(self, plane: usize) -> Self {
        Self(plane as u32 | self.0 & (Self::WIDE | Self::HALF))
    }

    pub fn bits(self) -> u32 {
        if self.is_wide() {
            64
        } else if self.is_half() {
            16
        } else {
            32
        }
    }
}

/// A predicate register and whether its negation is meant; index 0 is the constant true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guard(u32);

impl Guard {
    pub const ALWAYS: Self = Self(0);

    pub fn new(index: usize, negated: bool) -> Self {
        Self((index as u32) << 1 | u32::from(negated))
    }

    #[inline(always)]
    pub fn index(self) -> usize {
        (self.0 >> 1) as usize
    }

    #[inline(always)]
    pub fn flip(self) -> u32 {
        (self.0 & 1).wrapping_neg()
    }
}

/// An operation on 32-bit lanes: three operands (unused ones are zero), one result.
pub(crate) type PlaneFn = fn(&Plane, &Plane, &Plane, &mut Plane);
/// The same on 64-bit lanes; narrower operands arrive zero-extended, and the result is cut to its register.
pub(crate) type WideFn = fn(&Wide, &Wide, &Wide, &mut Wide);
/// An operation on one lane of four operands.
pub(crate) type FourFn = fn(u64, u64, u64, u64) -> u64;
/// What an arithmetic instruction runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Function {
    Plane(PlaneFn),
    Wide(WideFn),
}

/// A comparison: one bit a lane.
pub(crate) type CompareFn = fn(&Wide, &Wide) -> u32;
/// A comparison of 32-bit lanes.
pub(crate) type ComparePlaneFn = fn(&Plane, &Plane) -> u32;

/// What a comparison runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compare {
    Plane(ComparePlaneFn),
    Wide(CompareFn),
    /// Floats of 16 bits: the format, and which orders count; unordered ones have none.
    Half(Format, fn(Option<Ordering>) -> bool),
}

/// How a comparison's bit and a third predicate are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    Only,
    And,
    Or,
    Xor,
}

/// Predicate arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
    Not,
    Move,
}

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Shared,
    Local,
    Param,
    Generic,
}

/// What an access promises other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Plain: a conflict without synchronisation is a race.
    Weak,
    /// `.volatile`, `.relaxed`: never a race with its like.
    Relaxed,
    Acquire,
    Release,
    AcquireRelease,
}

/// A load or a store of one to four (eight) elements.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub space: Space,
    pub order: Order,
    /// Bytes of an element.
    pub bytes: u32,
    /// Whether a narrower element is sign-extended.
    pub signed: bool,
    pub base: Slot,
    pub offset: i64,
    /// Destinations of a load, sources of a store; `None` for `_`.
    pub values: Vec<Option<Slot>>,
    /// Parameters of a device function: local memory that no device would have.
    pub hidden: bool,
}

/// `atom` and `red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareAndSwap,
    Increment,
    Decrement,
}

#[derive(Clone, Debug)]
pub(crate) struct Atomic {
    pub space: Space,
    pub order: Order,
    pub change: Change,
    pub ty: Type,
    pub base: Slot,
    pub offset: i64,
    pub value: Slot,
    /// The third operand of a compare-and-swap.
    pub swap: Slot,
    /// `None` for `red`.
    pub result: Option<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Debug)]
pub(crate) struct Shuffle {
    pub mode: ShuffleMode,
    pub result: Slot,
    pub inside: Option<usize>,
    pub value: Slot,
    pub lane: Slot,
    pub clamp: Slot,
    pub members: Slot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uniform,
    Ballot,
}

/// A destination that is a predicate or a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Predicate(usize),
    Register(Slot),
}

#[derive(Clone, Debug)]
pub(crate) struct Vote {
    pub mode: VoteMode,
    pub result: Place,
    pub value: Guard,
    pub members: Slot,
}

/// `match.any.sync` and `match.all.sync`.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub all: bool,
    pub result: Slot,
    pub equal: Option<usize>,
    pub value: Slot,
    pub members: Slot,
}

/// `redux.sync`.
#[derive(Clone, Debug)]
pub(crate) struct Redux {
    pub change: Change,
    pub signed: bool,
    pub result: Slot,
    pub value: Slot,
    pub members: Slot,
}

/// `bar.sync`, `bar.arrive`, `bar.red`.
#[derive(Clone, Debug)]
pub(crate) struct Barrier {
    pub id: Slot,
    /// `None`: all threads of the block.
    pub threads: Option<Slot>,
    /// Whole warps only: none of a warp's lanes may have left before.
    pub aligned: bool,
    pub arrive: bool,
    pub reduce: Option<(Reduce, Guard, Place)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduce {
    And,
    Or,
    Count,
}

/// `cp.async`: bytes to the shared address, of which all but the first `source` are zero.
#[derive(Clone, Debug)]
pub(crate) struct AsyncCopy {
    pub to: Slot,
    pub to_offset: i64,
    pub from: Slot,
    pub from_offset: i64,
    pub bytes: u32,
    pub source: Option<Slot>,
    /// `ignore-src`.
    pub ignore: Option<Guard>,
}

/// `ldmatrix` of `registers.len()` 8×8 matrices of 16 bits.
#[derive(Clone, Debug)]
pub(crate) struct Matrices {
    pub registers: Vec<Slot>,
    pub transposed: bool,
    pub space: Space,
    pub base: Slot,
    pub offset: i64,
}

/// What the operands of an `mma` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
}

/// `mma.sync` of shape m16n8k`k`.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub k: usize,
    pub element: Element,
    /// Whether C and D are f16 pairs instead of f32.
    pub half: bool,
    pub d: Vec<Slot>,
    pub a: Vec<Slot>,
    pub b: Vec<Slot>,
    pub c: Vec<Slot>,
}

/// `wgmma.mma_async` of shape m64nNkK on f32 accumulators: a warp's 16 rows of D += A · B.
#[derive(Clone, Debug)]
pub(crate) struct GroupProduct {
    pub columns: usize,
    pub k: usize,
    pub element: Element,
    /// Four registers a block of eight columns.
    pub d: Vec<Slot>,
    pub a: GroupA,
    /// Descriptor of B in shared memory.
    pub b: Slot,
    /// Whether D is added to; else it is overwritten.
    pub adds: Guard,
    /// Signs of A and B.
    pub negated: [bool; 2],
}

/// Where A is.
#[derive(Clone, Debug)]
pub(crate) enum GroupA {
    /// Fragments of the warp.
    Registers(Vec<Slot>),
    /// Descriptor of all 64 rows in shared memory.
    Shared(Slot),
}

/// `setp`: predicate destinations, and how the bit is joined with a third operand.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub compare: Compare,
    pub p: Option<usize>,
    pub q: Option<usize>,
    pub join: Join,
    pub other: Guard,
    /// `set`: the register that gets all ones (or 1.0) where the bit is set.
    pub register: Option<(Slot, u32)>,
}

/// `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carry {
    pub subtract: bool,
    pub read: bool,
    pub write: bool,
    /// The product's half that is added to c, for mad: `Some(true)` is the high one.
    pub product: Option<bool>,
    pub signed: bool,
}

/// What an instruction does. Operands `d a b c` stand in [`Instr`].
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Plane(PlaneFn),
    Wide(WideFn),
    Float(FloatOp),
    Half(HalfOp),
    Convert(Convert),
    /// Two values to a pair of halves.
    ConvertPair(Convert),
    /// A function of four values, a lane at a time; the fourth stands here.
    Four(FourFn, Slot),
    /// `d = p ? a : b`.
    Select(Guard),
    /// `slct`: `d = c >= 0 ? a : b`; the flag says that c is a float.
    SelectSign(bool),
    Test(Box<Test>),
    Logic(Logic, usize, Guard, Guard),
    Carry(Carry),
    /// Parts of a register to registers, low first: (bits of a part, destinations).
    Unpack(u32, Vec<Option<Slot>>),
    /// Registers to parts of `d`.
    Pack(u32, Vec<Slot>),
    Load(Box<Access>),
    Store(Box<Access>),
    Atomic(Box<Atomic>),
    Shuffle(Box<Shuffle>),
    Vote(Box<Vote>),
    Match(Box<Match>),
    Redux(Box<Redux>),
    ActiveMask,
    Barrier(Box<Barrier>),
    /// `bar.warp.sync`: a is the mask of members.
    WarpSync,
    /// `membar`, `fence`; the flag says that other blocks see it.
    Fence(bool),
    Copy(Box<AsyncCopy>),
    Commit,
    /// `cp.async.wait_group n`.
    Wait(u32),
    WaitAll,
    Matrices(Box<Matrices>),
    Product(Box<Product>),
    GroupProduct(Box<GroupProduct>),
    /// `wgmma.fence`.
    GroupFence,
    /// `wgmma.commit_group`.
    GroupCommit,
    /// `wgmma.wait_group n`.
    GroupWait(u32),
    /// `fence.proxy.async` over shared memory.
    ProxyFence,
    /// What must not be executed where it stands.
    Wrong(Box<(FaultKind, String)>),
    Branch(u32),
    /// `brx.idx`: a is the index.
    Table(Vec<u32>),
    Exit,
    Trap(String),
    /// `isspacep`: whether a lies in the space.
    IsSpace(Space, usize),
    Clock,
    /// `prefetch` and other hints.
    Nothing,
}

/// One decoded instruction.
#[derive(Clone, Debug)]
pub(crate) struct Instr {
    pub op: Op,
    pub guard: Guard,
    pub d: Slot,
    pub a: Slot,
    pub b: Slot,
    pub c: Slot,
}

/// A value that is the same all the time a thread lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    ThreadId(usize),
    BlockSize(usize),
    BlockId(usize),
    GridSize(usize),
    Lane,
    WarpId,
    WarpCount,
    LaneMaskEqual,
    LaneMaskLess,
    LaneMaskLessEqual,
    LaneMaskGreater,
    LaneMaskGreaterEqual,
    DynamicShared,
    TotalShared,
}

/// What stands in a plane when a warp starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Constant(u32),
    Special(Special),
}

/// Where an instruction stands in the source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub line: u32,
    pub start: u32,
    pub end: u32,
}

/// Address of shared memory's first byte in its own space: as on devices, not 0.
pub(crate) const SHARED_START: u32 = 1024;
/// Generic addresses of the spaces that are not global.
pub(crate) const SHARED_WINDOW: u64 = 0x7ff1_0000_0000;
pub(crate) const LOCAL_WINDOW: u64 = 0x7ff2_0000_0000;
pub(crate) const PARAM_WINDOW: u64 = 0x7ff3_0000_0000;
/// Bytes of a window.
pub(crate) const WINDOW: u64 = 1 << 32;
/// First byte of local memory in its own space.
pub(crate) const LOCAL_START: u32 = 64;
