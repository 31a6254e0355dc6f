//! The GPU kernels without a GPU: the committed PTX, byte for byte, in the interpreter `hpt-ptxsim`, against the f64
//! oracle.
//!
//! Every launch runs with the race detector and a seeded random order of warps and blocks. What the interpreter cannot
//! tell is speed. `faults.rs` breaks the text on purpose, to see that a mistake would not go unseen.

mod epoch;
mod faults;
mod harness;
mod products;
mod sums;
mod updates;
