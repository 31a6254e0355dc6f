//! Runs PTX on the CPU, to test kernels on machines that have no GPU, and to find what a GPU would hide.
//!
//! [`Module::parse`] decodes the text that ships; a [`Machine`] has device memory and launches kernels with seeded
//! random orders of warps and blocks. Integer and f32 arithmetic is exact, tensor cores compute exactly or bit for bit
//! as a generation does ([`Mma`]), and races, stray or misaligned addresses, values that nothing wrote, warps that part
//! where they must not, and copies that were not waited for end a launch with a [`Fault`]. An opcode, modifier or type
//! that is not known is a [`ParseError`]: nothing is skipped.
//!
//! What is a fault is decided so that correct kernels have none:
//! - A value that nothing wrote may be loaded, moved, computed with and kept in shared or local memory; it is a fault
//!   in an address, a guard or branch, an atomic, or a store to global memory. The host may not read it either.
//! - Two accesses of one word race if one is a write and neither a barrier, nor (within a warp) `bar.warp.sync`, nor
//!   (between blocks) a fence with an atomic or a flag orders them. Lanes of one store may write the same value to one
//!   place.
//! - `bar.sync` and what ends in `.aligned` need all lanes of the warp that there were at its start; `barrier.sync`
//!   without `.aligned`, shuffles and votes need those that have not left.
//! - Arrays in shared memory lie apart and are aligned as declared, not better, so that an overrun or a hidden
//!   assumption does not pass by luck.
//! - `cp.async` arrives when it is waited for, and until then its destination may be neither read nor written.
//! - `wgmma` needs its fences and waits: registers are followed on every way through the code, stores to shared memory
//!   by which warp fenced them when, and what a product reads may not be stored to before the wait.
//!
//! Approximations (`ex2.approx`, `rcp.approx`, `div.full`, …) are computed in f64 and rounded once: compare what
//! depends on them with a tolerance. TMA, clusters, textures and indirect calls are not known.

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
