//! CPU arithmetic of hpt-engine on plain slices.
//!
//! Every operation is written once, as a body generic over [`isa::Simd`], and runs on each instruction
//! set through [`isa::Isa::run`]; [`reference`](mod@reference) holds the naive f64 oracle of all of it. Nothing
//! here knows of layers, models, threads or files: the caller owns memory and threads, and calls the
//! operations on disjoint ranges of the output.
//!
//! Products have other methods too, most of lower precision ([`gemm::Method`]), on units that only some machines have.
//!
//! Numbers of one tier never depend on how the caller split the work: every output element is computed
//! by the same sequence of operations whatever the range it was asked for in.

pub mod activation;
pub mod dropout;
pub mod epilogue;
pub mod gather;
pub mod gemm;
pub mod isa;
pub mod loss;
pub mod math;
pub mod matrix;
pub mod optimizer;
pub mod philox;
pub mod reduce;
pub mod reference;
