//! A GPU that is an interpreter of the kernels' machine code: the very texts that ship, on the CPU.
//!
//! Whatever a kernel does wrong (a race, a stray address, a value that nothing wrote) is an error of the device. Only
//! what a GPU's speed and its driver are is missing.

use hpt_engine::backend::cuda::descriptor::{Address, Tables, bytes_of};
use hpt_engine::backend::cuda::driver::{Driver, Launch, Limits};
use hpt_engine::backend::cuda::modules::MODULES;
use hpt_engine::backend::cuda::{Cuda, Opener};
use hpt_engine::{Error, Result};
use hpt_ptxsim::{Fault, Kernel, Machine, Module, Options};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};

/// How the device is.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Chooses the order of warps and blocks.
    pub seed: u64,
    /// Bytes of memory.
    pub memory: usize,
    /// Whether to look for races, which takes time.
    pub races: bool,
    /// Only kernels of the last module, which computes in f32.
    pub plain: bool,
}

impl Default for Look {
    fn default() -> Self {
        Look { seed: 1, memory: 256 << 20, races: false, plain: true }
    }
}

/// One or several such devices as a backend.
pub fn simulated(looks: &[Look]) -> Cuda {
    let opener = |(i, look): (usize, &Look)| -> Opener {
        let look = *look;
        Box::new(move || Ok(Box::new(Simulated::new(i, look)) as Box<dyn Driver>))
    };
    Cuda::with(looks.iter().enumerate().map(opener).collect()).unwrap()
}

struct Simulated {
    limits: Limits,
    machine: Machine,
    kernels: HashMap<&'static str, (Kernel, u32)>,
    sizes: HashMap<Address, usize>,
    held: usize,
}

/// The modules, decoded once a process.
fn decoded() -> &'static [Module] {
    static DECODED: OnceLock<Vec<Module>> = OnceLock::new();
    DECODED.get_or_init(|| MODULES.iter().map(|module| Module::parse(module.ptx).unwrap()).collect())
}

/// Names of kernels that have been launched in this process.
static USED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// Whether a kernel has been launched.
pub fn is_used(kernel: &str) -> bool {
    USED.lock().unwrap().contains(kernel)
}

/// All kernels of the module that computes in f32.
pub fn kernels() -> impl Iterator<Item = &'static str> {
    MODULES[MODULES.len() - 1].kernels().into_keys()
}

impl Simulated {
    fn new(index: usize, look: Look) -> Self {
        let limits = Limits {
            device: format!("cuda:{index}"),
            name: "Simulated".into(),
            module: if look.plain { "simt".into() } else { MODULES[0].name.into() },
            free: look.memory,
            shared: 227 << 10,
            multiprocessors: 4,
        };
        let mut kernels = HashMap::new();
        let skipped = if look.plain { MODULES.len() - 1 } else { 0 };
        for (source, module) in MODULES.iter().zip(decoded()).skip(skipped) {
            for (name, threads) in source.kernels() {
                let kernel = module.kernel(name).unwrap_or_else(|| panic!("{name} is in no module"));
                kernels.entry(name).or_insert((kernel.clone(), threads));
            }
        }
        let machine = Machine::new(Options { seed: look.seed, races: look.races, ..Options::default() });
        Simulated { limits, machine, kernels, sizes: HashMap::new(), held: 0 }
    }

    fn fault(fault: Fault) -> Error {
        Error::Device(format!("{fault}"))
    }
}

impl Driver for Simulated {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn has(&self, kernel: &str) -> bool {
        self.kernels.contains_key(kernel)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Option<Address>> {
        if self.held + bytes > self.limits.free {
            return Ok(None);
        }
        self.held += bytes;
        let address = self.machine.alloc(bytes);
        self.sizes.insert(address, bytes);
        Ok(Some(address))
    }

    fn release(&mut self, address: Address) -> Result<()> {
        self.held -= self.sizes.remove(&address).unwrap_or(0);
        self.machine.free(address).map_err(Self::fault)
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.machine.write(to, bytes).map_err(Self::fault)
    }

    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.machine.read(from, bytes).map_err(Self::fault)
    }

    fn copy(&mut self, to: Address, from: Address, bytes: usize) -> Result<()> {
        self.machine.copy(to, from, bytes).map_err(Self::fault)
    }

    fn zero(&mut self, at: Address, bytes: usize) -> Result<()> {
        self.machine.fill(at, bytes, 0).map_err(Self::fault)
    }

    fn repeat(&mut self, launches: &[Launch], times: usize) -> Result<()> {
        USED.lock().unwrap().extend(launches.iter().map(|launch| launch.kernel));
        for launch in std::iter::repeat_n(launches, times).flatten() {
            let (kernel, threads) = self.kernels.get(launch.kernel).unwrap_or_else(|| panic!("{}", launch.kernel));
            let tables: [Tables; 1] = [launch.tables];
            let launch = hpt_ptxsim::Launch {
                grid: [launch.blocks, 1, 1],
                block: [*threads, 1, 1],
                shared_bytes: launch.shared,
                params: bytes_of(&tables),
            };
            self.machine.launch(kernel, launch).map_err(Self::fault)?;
        }
        Ok(())
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }
}
