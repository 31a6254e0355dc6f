//! A module's kernels, decoded and ready to run.

use crate::decode;
use crate::fault::ParseError;
use crate::instr::{Instr, Origin, Start};
use crate::parse;
use std::sync::Arc;

/// A parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// As written in the text.
    pub name: String,
    /// Bytes; a structure passed by value is one parameter.
    pub size: usize,
    /// Bytes.
    pub align: usize,
    /// From the start of the block of parameters.
    pub offset: usize,
}

/// A variable of a module that lives in global or constant memory.
#[derive(Clone, Debug)]
pub(crate) struct Global {
    pub name: String,
    pub size: usize,
    pub constant: bool,
    pub bytes: Vec<u8>,
}

/// What all kernels of a module share.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub globals: Vec<Global>,
    pub source: String,
}

/// What a kernel runs: see [`crate::instr`].
#[derive(Debug)]
pub(crate) struct Code {
    pub instructions: Vec<Instr>,
    pub origins: Vec<Origin>,
    pub planes: usize,
    pub predicates: usize,
    pub starts: Vec<(usize, Start)>,
    /// Planes that hold the address of a global once a machine has placed it: (first plane, global, offset).
    pub addresses: Vec<(usize, usize)>,
    /// Offset and bytes of each static variable of shared memory, as this interpreter lays them out: with gaps.
    pub shared: Vec<(u32, u32)>,
    /// Where dynamic shared memory begins.
    pub dynamic: u32,
    /// Bytes of local memory a thread.
    pub local: u32,
    /// Whether there is a `wgmma` in it.
    pub grouped: bool,
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) params: Vec<Param>,
    pub(crate) static_shared: u32,
    pub(crate) local_bytes: u32,
    pub(crate) max_threads: Option<u32>,
    pub(crate) code: Arc<Code>,
    pub(crate) shelf: Arc<Shelf>,
}

impl Kernel {
    /// Name of the entry, as written in the text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Parameters in order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Bytes of all parameters, the length of [`Launch::params`](crate::Launch::params).
    pub fn param_bytes(&self) -> usize {
        self.params.last().map_or(0, |last| last.offset + last.size)
    }

    /// Bytes of shared memory that the text declares.
    pub fn static_shared_bytes(&self) -> usize {
        self.static_shared as usize
    }

    /// Bytes of local memory a thread: an array that did not fit registers.
    pub fn local_bytes(&self) -> usize {
        self.local_bytes as usize
    }

    /// Threads a block may have at most, from `.maxntid`, where the text says so.
    pub fn max_threads(&self) -> Option<u32> {
        self.max_threads
    }

    /// Number of decoded instructions.
    pub fn instructions(&self) -> usize {
        self.code.instructions.len()
    }
}

/// A parsed and decoded PTX text.
#[derive(Clone, Debug)]
pub struct Module {
    version: (u32, u32),
    target: String,
    kernels: Vec<Kernel>,
}

impl Module {
    /// Parses and decodes a whole text.
    ///
    /// # Errors
    /// The first line that is no PTX, or that holds an opcode, a modifier or a type that is not known here: nothing is
    /// ever skipped.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let parsed = parse::module::text(text)?;
        let kernels = decode::kernels(&parsed, text)?;
        Ok(Self { version: parsed.version, target: parsed.target.to_owned(), kernels })
    }

    /// The kernel of this name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// All kernels in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter()
    }

    /// `.version` as (major, minor).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// `.target`, such as `sm_80`.
    pub fn target(&self) -> &str {
        &self.target
    }
}
