//! Runs PTX on the CPU, to test kernels on machines that have no GPU, and to find what a GPU would hide.
//!
//! [`Module::parse`] decodes the text that ships; a [`Machine`] has device memory and launches kernels with seeded random
//! orders of warps and blocks. Integer and f32 arithmetic is exact, tensor cores compute exactly or bit for bit as a
//! generation does ([`Mma`]), and races, stray or misaligned addresses, values that nothing wrote, warps that part where they
//! must not, and copies that were not waited for end a launch with a [`Fault`]. An opcode, modifier or type that is not
//! known is a [`ParseError`]: nothing is skipped.
//!
//! Approximations (`ex2.approx`, `rcp.approx`, `div.full`, …) are computed in f64 and rounded once: compare what depends
//! on them with a tolerance. `wgmma`, TMA, clusters, textures and indirect calls are not known.

mod block;
mod decode;
mod exec;
mod fault;
mod instr;
mod kernel;
mod machine;
mod memory;
mod ops;
mod parse;
mod race;
mod warp;

pub use fault::{Fault, FaultKind, ParseError};
pub use kernel::{Kernel, Module, Param};
pub use machine::{Counters, Launch, Machine, Options};
pub use ops::mma::{Generation, Mma};
