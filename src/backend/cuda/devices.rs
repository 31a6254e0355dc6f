//! What GPUs there are, by the CUDA driver, and opening them.
//!
//! The driver is opened at run time, so the program builds and runs where there is none.

use super::modules::suitable;
use super::nvidia::{Nvidia, Presence, capability, presence, text_of};
use super::{Cuda, Opener};
use crate::{Error, Result};
use cudarc::driver::{DriverError, result};

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
    /// The module of kernels that it would use; none where none suits it.
    pub module: Option<String>,
}

/// The GPUs of this machine; none without a driver.
///
/// # Errors
/// There is a driver and it fails.
pub fn gpus() -> Result<Vec<Gpu>> {
    match presence() {
        Presence::Absent => Ok(Vec::new()),
        Presence::Useless(why) => Err(Error::Device(why)),
        Presence::Ready { version, count } => {
            let failed = |e: DriverError| Error::Device(format!("the CUDA driver fails: {}", text_of(e)));
            (0..count).map(|index| describe(index, version).map_err(failed)).collect()
        }
    }
}

fn describe(index: usize, version: i32) -> Result<Gpu, DriverError> {
    let device = result::device::get(index as i32)?;
    let (major, minor) = capability(device)?;
    Ok(Gpu {
        index,
        name: result::device::get_name(device)?,
        // SAFETY: the device is the driver's.
        memory: unsafe { result::device::total_mem(device) }?,
        compute_capability: format!("{major}.{minor}"),
        driver: format!("{}.{}", version / 1000, version % 1000 / 10),
        module: suitable((major, minor), version).next().map(|module| module.name.to_owned()),
    })
}

impl Cuda {
    /// All GPUs of this machine that a module suits, or the one of that number.
    ///
    /// # Errors
    /// [`Error::Input`] where there is no driver or no such GPU; [`Error::Device`] where they fail.
    pub fn open(index: Option<usize>) -> Result<Self> {
        let asked = index.map_or_else(|| "cuda".to_owned(), |index| format!("cuda:{index}"));
        let found = gpus()?;
        let chosen: Vec<&Gpu> = match index {
            Some(index) => found.get(index).into_iter().collect(),
            None => found.iter().filter(|gpu| gpu.module.is_some()).collect(),
        };
        if chosen.is_empty() {
            let why = match (presence(), found.len()) {
                (Presence::Absent, _) => "no CUDA driver is on this machine; use cpu or auto".to_owned(),
                (_, 0) => "the CUDA driver knows no GPU on this machine; use cpu or auto".to_owned(),
                (_, 1) if index.is_some() => "there is one GPU, cuda:0".to_owned(),
                (_, n) if index.is_some() => format!("there are {n} GPUs, cuda:0 to cuda:{}", n - 1),
                _ => format!("{} is too old; compute capability 7.5 is the least", found[0].name),
            };
            return Err(Error::input(format!("device {asked}: {why}")));
        }
        let opener = |gpu: &Gpu| -> Opener {
            let index = gpu.index;
            Box::new(move || Ok(Box::new(Nvidia::open(index)?)))
        };
        Cuda::with(chosen.into_iter().map(opener).collect())
    }
}
