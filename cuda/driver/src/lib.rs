//! The part of CUDA's driver API that hpt-engine calls, over an interpreter of PTX.
//!
//! As `libcuda.so` on the library path it gives the unchanged program GPUs, so that what talks to the driver (loading,
//! contexts, streams, pinned memory, graphs, errors) is tested without one. It is as unhelpful as a real driver may be:
//! what is asked of a stream happens when somebody waits for it, bytes of the host are read and written only then, and
//! a kernel's fault shows there and stays. What a driver need not notice and a GPU would (pinned memory that changes
//! under a copy, downloads to memory that is slow to read, what is left behind) is an error or said on the standard
//! error. Nothing of CUDA's own code or headers is in it; names and numbers are those of NVIDIA's documentation of the
//! driver API.
//!
//! The environment says what the GPUs are: `HPT_SIM_GPUS` (number, 1), `HPT_SIM_MEMORY` (MiB, 1024), `HPT_SIM_DRIVER`
//! (12040 is CUDA 12.4), `HPT_SIM_CAPABILITY` (90 is 9.0), `HPT_SIM_FAILS` (launches after which a kernel fails),
//! `HPT_SIM_BUSY` (1: another program has them), `HPT_SIM_POOLS` (0: no pools of memory), `HPT_SIM_RACES` (1 looks for
//! races), `HPT_SIM_TELLS` (1 says which modules are loaded).

mod calls;
mod state;
#[cfg(test)]
mod tests;
