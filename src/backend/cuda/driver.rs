//! What the backend needs of a GPU, and nothing else: memory, copies, launches in order.
//!
//! [`Nvidia`](super::nvidia::Nvidia) does it through the CUDA driver; tests do it with an interpreter of the kernels'
//! machine code, so that tables, plans of memory and the dispatcher run on machines without a GPU. One thread, the
//! dispatcher, owns a driver; everything happens in the order of the calls.

use super::descriptor::{Address, Tables};
use crate::Result;

/// One launch of a kernel. The number of threads of a block is the one that the kernel was compiled for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Launch {
    /// Its name in the module.
    pub kernel: &'static str,
    /// Blocks.
    pub blocks: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// The parameter.
    pub tables: Tables,
}

/// What a GPU is and has.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `cuda:0`.
    pub device: String,
    /// The name that its maker gave it.
    pub name: String,
    /// The module that its kernels come from.
    pub module: String,
    /// Bytes of memory that are free for us.
    pub free: usize,
    /// Bytes of shared memory that a block may have.
    pub shared: usize,
    /// How many blocks run at the same time at the least.
    pub multiprocessors: u32,
}

/// A GPU. Errors are [`Error::Device`](crate::Error::Device) and final: after one nothing else is asked of the device.
pub trait Driver {
    /// What it is and has.
    fn limits(&self) -> &Limits;

    /// Whether its module has a kernel.
    fn has(&self, kernel: &str) -> bool;

    /// Reserves memory at a multiple of 256; none where there is not enough.
    ///
    /// # Errors
    /// The device failed; here and below.
    fn allocate(&mut self, bytes: usize) -> Result<Option<Address>>;

    /// Gives back what [`Driver::allocate`] reserved.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn release(&mut self, address: Address) -> Result<()>;

    /// Copies to the device. The bytes may change when it returns.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()>;

    /// Copies from the device when all that was asked for before is done.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<()>;

    /// Copies on the device.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn copy(&mut self, to: Address, from: Address, bytes: usize) -> Result<()>;

    /// Writes zeros.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn zero(&mut self, at: Address, bytes: usize) -> Result<()>;

    /// Makes the launches one after the other, and all of that so many times.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn repeat(&mut self, launches: &[Launch], times: usize) -> Result<()>;

    /// Makes the launches, at the same time as what [`Driver::repeat`] is asked for next where the device can; every
    /// other call comes after both. They must have nothing to do with one another.
    ///
    /// # Errors
    /// As [`Driver::allocate`].
    fn beside(&mut self, launches: &[Launch]) -> Result<()> {
        self.repeat(launches, 1)
    }

    /// Waits until everything is done.
    ///
    /// # Errors
    /// As [`Driver::allocate`]; what a kernel did wrong shows here or in [`Driver::read`].
    fn synchronize(&mut self) -> Result<()>;
}
