//! What GPUs there are, by the CUDA driver; training on them is still to be written.
//!
//! The driver is opened at run time, so the program builds and runs where there is none.

use crate::{Error, Result};
use cudarc::driver::{CudaContext, DriverError, sys};

/// A GPU that the driver reports.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Gpu {
    /// Its number, as in `cuda:0`.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Bytes of memory.
    pub memory: usize,
    /// Compute capability, as in `9.0`.
    pub compute_capability: String,
    /// CUDA version of the driver, as in `12.4`.
    pub driver: String,
}

/// The GPUs of this machine; none without a driver.
///
/// # Errors
/// There is a driver and it fails.
pub fn gpus() -> Result<Vec<Gpu>> {
    // SAFETY: the call only looks for the driver's library.
    if !unsafe { sys::is_culib_present() } {
        return Ok(Vec::new());
    }
    let failed = |e: DriverError| Error::Device(format!("the CUDA driver fails: {e}"));
    let count = match CudaContext::device_count() {
        Ok(count) => count,
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        Err(e) => return Err(failed(e)),
    };
    (0..count as usize).map(|index| describe(index).map_err(failed)).collect()
}

fn describe(index: usize) -> Result<Gpu, DriverError> {
    let context = CudaContext::new(index)?;
    let (major, minor) = context.compute_capability()?;
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(Gpu {
        index,
        name: context.name()?,
        memory: context.total_mem()?,
        compute_capability: format!("{major}.{minor}"),
        driver: format!("{}.{}", version / 1000, version % 1000 / 10),
    })
}
