//! A device in the interpreter, tables for it, and comparisons.

use hpt_engine::backend::cuda::descriptor::{Address, Layer, Model, Plain, Run, Tables, Tile, bytes_of};
use hpt_kernels::philox::{Key, philox4x32_10};
use hpt_ptxsim::{Counters, Fault, Generation, Launch, Machine, Mma, Module, Options};
use std::sync::OnceLock;

/// The module for every GPU.
pub const SIMT: &str = include_str!("../../cuda/ptx/simt.ptx");

/// The module for every GPU, parsed once.
pub fn simt() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::parse(SIMT).unwrap_or_else(|error| panic!("{error}")))
}

/// The module of tensor cores.
pub const MMA: &str = include_str!("../../cuda/ptx/mma80.ptx");

/// The module of tensor cores, parsed once.
pub fn mma() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::parse(MMA).unwrap_or_else(|error| panic!("{error}")))
}

/// The module of warpgroups.
pub const WGMMA: &str = include_str!("../../cuda/ptx/wgmma90a.ptx");

/// The module of warpgroups, parsed once.
pub fn wgmma() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::parse(WGMMA).unwrap_or_else(|error| panic!("{error}")))
}

/// What makes products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Simt,
    Mma,
    Wgmma,
}

/// How products are computed: what the names of kernels have of it, the largest error relative to the norm of the
/// result (measured with a model of the tensor cores on sums of this length; rounding alone gives f32 half of its own),
/// and by what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Method(pub &'static str, pub f64, pub Unit);

pub const F32: Method = Method("", 2e-6, Unit::Simt);
pub const TF32X3: Method = Method("tf32x3_", 2e-6, Unit::Mma);
pub const TF32: Method = Method("tf32_", 5e-4, Unit::Mma);
pub const BF16: Method = Method("bf16_", 5e-3, Unit::Mma);
/// Of the shape [`GROUP`] alone, or half of it.
pub const GROUP_TF32X3: Method = Method("tf32x3_", 2e-6, Unit::Wgmma);
pub const GROUP_TF32: Method = Method("tf32_", 5e-4, Unit::Wgmma);

/// Tile shapes: suffix, rows, columns; three products of warpgroups have half the columns.
pub const SHAPES: [(&str, usize, usize); 4] = [("s", 64, 64), ("l", 128, 128), ("n", 128, 16), ("g", 128, 256)];
pub const GROUP: usize = 3;

impl Method {
    /// A shape that it has kernels of.
    pub fn shape(self) -> usize {
        if self.2 == Unit::Wgmma { GROUP } else { 0 }
    }

    /// The tiles of a shape.
    pub fn tiles(self, shape: usize) -> (&'static str, usize, usize) {
        let (suffix, rows, columns) = SHAPES[shape];
        if self == GROUP_TF32X3 { (suffix, rows, columns / 2) } else { (suffix, rows, columns) }
    }
}

/// A device with a module.
pub struct Gpu {
    machine: Machine,
    module: &'static Module,
    /// Of the last launch.
    pub counters: Counters,
}

impl Gpu {
    pub fn new(module: &'static Module, options: Options) -> Self {
        Gpu { machine: Machine::new(options), module, counters: Counters::default() }
    }

    pub fn simt(seed: u64) -> Self {
        Gpu::new(simt(), Options { seed, ..Options::default() })
    }

    /// A device for products by that method; where it has tensor cores, they compute as that generation does.
    pub fn of(method: Method, seed: u64) -> Self {
        let (module, generation) = match method.2 {
            Unit::Simt => return Gpu::simt(seed),
            Unit::Mma => (mma(), [Generation::Hopper, Generation::Ampere, Generation::Ada][seed as usize % 3]),
            Unit::Wgmma => (wgmma(), Generation::Hopper),
        };
        Gpu::new(module, Options { seed, mma: Mma::Bits(generation), ..Options::default() })
    }

    /// Memory that nothing has written.
    pub fn room(&mut self, bytes: usize) -> Address {
        self.machine.alloc(bytes.max(1))
    }

    pub fn put<T: Plain>(&mut self, table: &[T]) -> Address {
        self.bytes(bytes_of(table))
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Address {
        let address = self.room(bytes.len());
        self.machine.write(address, bytes).unwrap();
        address
    }

    pub fn f32s(&mut self, values: &[f32]) -> Address {
        self.bytes(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
    }

    pub fn u32s(&mut self, values: &[u32]) -> Address {
        self.bytes(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
    }

    pub fn read_f32s(&self, address: Address, n: usize) -> Vec<f32> {
        let mut bytes = vec![0; 4 * n];
        self.machine.read(address, &mut bytes).unwrap_or_else(|fault| panic!("{fault}"));
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn read_u32s(&self, address: Address, n: usize) -> Vec<u32> {
        self.read_f32s(address, n).into_iter().map(f32::to_bits).collect()
    }

    /// None of them may be unwritten.
    pub fn try_read_u32s(&self, address: Address, n: usize) -> Result<Vec<u32>, String> {
        let mut bytes = vec![0; 4 * n];
        self.machine.read(address, &mut bytes).map_err(|fault| fault.to_string())?;
        Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect())
    }

    /// Launches a kernel on these tables at that tick.
    pub fn launch(&mut self, kernel: &str, job: &Job, tick: u32) {
        self.try_launch(kernel, job, tick).unwrap_or_else(|fault| panic!("{kernel}: {fault}"));
    }

    pub fn try_launch(&mut self, kernel: &str, job: &Job, tick: u32) -> Result<(), Fault> {
        let tables = Tables {
            models: self.put(&job.models),
            layers: self.put(&job.layers),
            runs: self.put(&job.runs),
            tiles: self.put(&job.tiles),
            tick: self.u32s(&[tick]),
        };
        self.start(kernel, job.tiles.len(), 0, tables)
    }

    pub fn start(&mut self, kernel: &str, blocks: usize, shared: u32, tables: Tables) -> Result<(), Fault> {
        let kernel = self.module.kernel(kernel).unwrap_or_else(|| panic!("no kernel {kernel}"));
        let threads = kernel.max_threads().expect("kernels say how many threads they were compiled for");
        let (grid, block) = ([blocks as u32, 1, 1], [threads, 1, 1]);
        let params = bytes_of(std::slice::from_ref(&tables));
        self.counters = self.machine.launch(kernel, Launch { grid, block, shared_bytes: shared, params })?;
        Ok(())
    }
}

/// Tables of one launch.
#[derive(Clone, Default)]
pub struct Job {
    pub models: Vec<Model>,
    pub layers: Vec<Layer>,
    pub runs: Vec<Run>,
    pub tiles: Vec<Tile>,
}

impl Job {
    /// Adds all tiles of an m × n matrix of that layer.
    pub fn tile(&mut self, layer: usize, [m, n]: [usize; 2], shape: &(&str, usize, usize)) {
        let count = m.div_ceil(shape.1) * n.div_ceil(shape.2);
        self.tiles.extend((0..count as u32).map(|place| Tile { subject: layer as u32, place }));
    }

    /// Adds `parts` tiles of that model.
    pub fn parts(&mut self, model: usize, parts: usize) {
        self.tiles.extend((0..parts as u32).map(|place| Tile { subject: model as u32, place }));
    }
}

/// Keyed random numbers.
pub struct Random(u64, u32);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed, 0)
    }

    pub fn word(&mut self) -> u32 {
        self.1 += 1;
        philox4x32_10([self.1, 0, 0, 1], Key::new(self.0).0)[0]
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    /// Between −1 and 1.
    pub fn unit(&mut self) -> f32 {
        self.word() as i32 as f32 / 2_147_483_648.0
    }

    pub fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Fails unless the difference of the two, as vectors, is at most `tolerance` times the expected one, and no element of
/// it stands out: what is right is off everywhere a little, what is wrong is off somewhere.
pub fn close(what: &str, got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: length");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut expected.iter().copied()).max(1e-6);
    let off = norm(&mut got.iter().zip(expected).map(|(&got, &expected)| f64::from(got) - expected));
    assert!(off <= tolerance * size, "{what}: off by {} of its norm", off / size);
    let typical = size / (expected.len() as f64).sqrt();
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(got) - expected).abs();
        assert!(error <= 8.0 * tolerance * (typical + expected.abs()), "{what}: element {i} is {got}, not {expected}");
    }
}
