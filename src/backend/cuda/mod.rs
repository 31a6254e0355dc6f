//! Hundreds of networks on one GPU: the tables that kernels read, and what GPUs there are.

pub mod descriptor;
mod devices;

pub use devices::{Gpu, gpus};
