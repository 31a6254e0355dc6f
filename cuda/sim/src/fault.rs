//! What can be wrong: with a text ([`ParseError`]) and with a run ([`Fault`]).
//!
//! A fault names the place three ways: the line of the PTX, the instruction's text, and the thread that met it.
//! The first fault ends a launch; memory is left as it was at that moment.

/// A PTX text that this interpreter does not run: where, and what was found there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line of the text, counted from 1.
    pub line: u32,
    /// What was found and what was expected.
    pub what: String,
}

impl ParseError {
    pub(crate) fn new(line: u32, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// An address outside every allocation, variable or parameter.
    OutOfBounds,
    /// An address inside an allocation that was freed.
    UseAfterFree,
    /// A value that nothing has written decides an address, a branch, a predicate, an atomic or global memory.
    Uninitialised,
    /// An address that is no multiple of the width of the access.
    Misaligned,
    /// Two accesses of one word, one of them a write, that nothing orders.
    Race,
    /// Threads of a warp that do not arrive together where they must (`bar.sync`, `shfl.sync`, `mma.sync`, …).
    BarrierDivergence,
    /// Every warp waits and none can arrive.
    Deadlock,
    /// More instructions than [`Options::step_limit`](crate::Options::step_limit).
    StepLimit,
    /// A launch that no device would accept: too many threads, too much shared memory, parameters of the wrong size.
    Launch,
    /// Shared memory that a `cp.async` still writes or a `wgmma` still reads, or registers that a `wgmma` still uses,
    /// were touched before the matching wait.
    Asynchronous,
    /// A `wgmma` on registers or shared memory that ordinary instructions wrote without the fence that makes it see
    /// them.
    Unfenced,
    /// A write to constant memory or to parameters.
    ReadOnly,
    /// `trap` or a failed device assertion.
    Trap,
}

/// What a launch or an access from the host met, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?} in {kernel} at line {line} `{instruction}`, block {block:?}, thread {thread:?}: {detail}")]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The kernel, or `host` for an access through [`Machine`](crate::Machine).
    pub kernel: String,
    /// Line of the PTX text, counted from 1; 0 where no instruction is to blame.
    pub line: u32,
    /// The instruction's text.
    pub instruction: String,
    /// Index of the block in the grid.
    pub block: [u32; 3],
    /// Index of the thread in the block.
    pub thread: [u32; 3],
    /// Addresses, values and the other party, in words.
    pub detail: String,
}

/// A fault before its place is known: what memory and operations return.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub kind: FaultKind,
    /// Lane of the warp that met it.
    pub lane: u32,
    pub detail: String,
}

impl Trouble {
    #[cold]
    pub fn new(kind: FaultKind, lane: u32, detail: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, lane, detail: detail.into() })
    }

    /// As a fault of the host's own access.
    pub fn of_host(self) -> Fault {
        Fault {
            kind: self.kind,
            kernel: "host".to_owned(),
            line: 0,
            instruction: String::new(),
            block: [0; 3],
            thread: [0; 3],
            detail: self.detail,
        }
    }
}

/// The result of anything that may fault; boxed, since faults are rare and results are everywhere.
pub(crate) type Outcome<T> = Result<T, Box<Trouble>>;
