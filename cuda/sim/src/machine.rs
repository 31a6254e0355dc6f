//! The device: memory that outlives launches, and the launch itself.
//!
//! A few blocks are resident at a time. Warps and blocks run in slices of a seeded random length, in a seeded random
//! order: the same seed gives the same order, another one a different one, and no order that the fences and barriers do
//! not ask for can be relied on.

use crate::block::Block;
use crate::exec::Core;
use crate::fault::{Fault, FaultKind, Outcome, Trouble};
use crate::instr::LANES;
use crate::kernel::{Code, Kernel, Shelf};
use crate::memory::Memory;
use crate::ops::mma::Mma;
use crate::warp::{Position, State, Warp};
use std::collections::HashMap;
use std::sync::Arc;

/// How a machine behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Chooses the order of warps and blocks.
    pub seed: u64,
    /// Arithmetic of `mma.sync`.
    pub mma: Mma,
    /// Warp instructions a launch may execute.
    pub step_limit: u64,
    /// Whether to look for races.
    pub races: bool,
    /// Blocks that run at the same time; a kernel whose blocks wait for each other needs all of them.
    pub resident_blocks: usize,
    /// Shared memory a block may have in all, in bytes.
    pub shared_limit: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            mma: Mma::Exact,
            step_limit: 1 << 32,
            races: true,
            resident_blocks: 4,
            shared_limit: 227 * 1024,
        }
    }
}

/// What a launch is given.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// The parameters, each at its offset, little-endian.
    pub params: &'a [u8],
}

/// What a launch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions of warps.
    pub instructions: u64,
    /// Instructions of single threads: those that the guard let through.
    pub lane_instructions: u64,
    /// Loads, stores and atomics of warps in global memory.
    pub global_requests: u64,
    /// Sectors of 32 bytes they touched.
    pub global_sectors: u64,
    /// Loads, stores and matrix loads of warps in shared memory.
    pub shared_requests: u64,
    /// Passes over shared memory that they took beyond the least for their width: bank conflicts.
    pub shared_conflicts: u64,
    /// Loads and stores of warps in local memory: spilled arrays.
    pub local_requests: u64,
    /// Atomic operations of warps on integers.
    pub integer_atomics: u64,
    /// Atomic operations of warps on floats: their order is not fixed.
    pub float_atomics: u64,
    /// Arrivals of warps at barriers of a block.
    pub barriers: u64,
    /// Branches that split a warp.
    pub divergences: u64,
    /// `mma.sync` of warps.
    pub products: u64,
    /// `cp.async` of warps.
    pub asynchronous: u64,
    /// Blocks that ran.
    pub blocks: u64,
}

impl Counters {
    /// Sectors a request touched on average; 4 is a full warp of consecutive f32.
    pub fn sectors_per_request(&self) -> f64 {
        self.global_sectors as f64 / (self.global_requests.max(1)) as f64
    }
}

/// A seeded generator for schedules (SplitMix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// Instructions of a slice: often a few, sometimes many.
    fn slice(&mut self) -> u32 {
        let bits = self.next();
        1 + (bits >> 8) as u32 % [8, 64, 512, 512][bits as usize & 3]
    }
}

/// A device with its memory.
#[derive(Debug)]
pub struct Machine {
    options: Options,
    memory: Memory,
    dice: Dice,
    /// Number of the next block ever to run, from 1.
    serial: u32,
    /// Addresses of the globals of modules that have been launched.
    placed: Vec<(Arc<Shelf>, Vec<u64>)>,
    /// Warps of earlier launches of each kernel, to be used again.
    idle: Vec<(Arc<Code>, Vec<Warp>)>,
}

impl Machine {
    /// An empty device.
    pub fn new(options: Options) -> Self {
        let dice = Dice(options.seed);
        Self { options, memory: Memory::default(), dice, serial: 1, placed: Vec::new(), idle: Vec::new() }
    }

    /// How it behaves.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Reserves memory that holds nothing yet; the address is a multiple of 256 and is never given again.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        self.memory.alloc(bytes)
    }

    /// Gives memory back.
    ///
    /// # Errors
    /// `address` is not what [`alloc`](Self::alloc) returned, or was freed before.
    pub fn free(&mut self, address: u64) -> Result<(), Fault> {
        self.memory.free(address).map_err(|trouble| trouble.of_host())
    }

    /// Copies to the device.
    ///
    /// # Errors
    /// Outside one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.memory.write(address, bytes).map_err(|trouble| trouble.of_host())
    }

    /// Copies from the device.
    ///
    /// # Errors
    /// Outside one allocation, or bytes that nothing wrote.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.memory.read(address, bytes, true).map_err(|trouble| trouble.of_host())
    }

    /// Copies from the device, whether or not the bytes were written.
    ///
    /// # Errors
    /// Outside one allocation.
    pub fn read_raw(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.memory.read(address, bytes, false).map_err(|trouble| trouble.of_host())
    }

    /// Sets bytes.
    ///
    /// # Errors
    /// Outside one allocation.
    pub fn fill(&mut self, address: u64, bytes: usize, value: u8) -> Result<(), Fault> {
        self.memory.write(address, &vec![value; bytes]).map_err(|trouble| trouble.of_host())
    }

    /// Copies on the device; bytes that were never written stay so.
    ///
    /// # Errors
    /// Outside one allocation on either side.
    pub fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Result<(), Fault> {
        self.memory.copy(to, from, bytes).map_err(|trouble| trouble.of_host())
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// The first fault; memory stays as it was then.
    pub fn launch(&mut self, kernel: &Kernel, launch: Launch<'_>) -> Result<Counters, Fault> {
        let blocks = self.check(kernel, &launch)?;
        let addresses = self.place(&kernel.shelf);
        if self.serial.checked_add(blocks).is_none() {
            // Block numbers are used up: nothing older than this launch matters to it.
            self.memory.forget();
            self.serial = 1;
        }
        let first = self.serial;
        self.serial += blocks;
        let mut grid = Grid {
            kernel,
            launch: &launch,
            first,
            addresses,
            next: 0,
            blocks,
            idle: self.idle_of(&kernel.code),
            counters: Counters::default(),
            released: HashMap::new(),
        };
        let outcome = grid.run(&mut self.memory, &self.options, &mut self.dice);
        let (counters, idle) = (grid.counters, grid.idle);
        self.idle.push((kernel.code.clone(), idle));
        outcome.map(|()| counters)
    }

    fn idle_of(&mut self, code: &Arc<Code>) -> Vec<Warp> {
        let found = self.idle.iter().position(|(other, _)| Arc::ptr_eq(other, code));
        found.map_or_else(Vec::new, |index| self.idle.swap_remove(index).1)
    }

    /// Refuses what a device would; returns the number of blocks.
    fn check(&self, kernel: &Kernel, launch: &Launch<'_>) -> Result<u32, Fault> {
        let refuse = |detail: String| {
            let mut fault = Trouble { kind: FaultKind::Launch, lane: 0, detail }.of_host();
            fault.kernel.clone_from(&kernel.name);
            Err(fault)
        };
        let threads = launch.block.iter().map(|&n| u64::from(n)).product::<u64>();
        let blocks = launch.grid.iter().map(|&n| u64::from(n)).product::<u64>();
        let limit = u64::from(kernel.max_threads.unwrap_or(1024)).min(1024);
        if threads == 0 || threads > limit || launch.block[2] > 64 {
            return refuse(format!(
                "{:?} are {threads} threads a block, allowed are 1 to {limit} (z: 64)",
                launch.block
            ));
        }
        let wide = launch.grid[1].max(launch.grid[2]) > 65_535 || launch.grid[0] > i32::MAX as u32;
        if blocks == 0 || wide || blocks >= u64::from(u32::MAX) {
            return refuse(format!("a grid of {:?} blocks; allowed are 1 to 2³¹−1, 65535, 65535", launch.grid));
        }
        let shared = u64::from(kernel.static_shared) + u64::from(launch.shared_bytes);
        if shared > u64::from(self.options.shared_limit) || kernel.static_shared > 48 * 1024 {
            let (fixed, dynamic, limit) = (kernel.static_shared, launch.shared_bytes, self.options.shared_limit);
            return refuse(format!(
                "{fixed} + {dynamic} bytes of shared memory; allowed are {limit}, 49152 of them static"
            ));
        }
        if launch.params.len() != kernel.param_bytes() {
            return refuse(format!(
                "{} bytes of parameters, the kernel has {}",
                launch.params.len(),
                kernel.param_bytes()
            ));
        }
        Ok(blocks as u32)
    }

    /// Addresses of the module's own variables, placed at its first launch.
    fn place(&mut self, shelf: &Arc<Shelf>) -> Vec<u64> {
        if let Some((_, found)) = self.placed.iter().find(|(other, _)| Arc::ptr_eq(other, shelf)) {
            return found.clone();
        }
        let mut addresses = Vec::new();
        for global in &shelf.globals {
            let address = self.memory.alloc(global.size.max(1));
            self.memory.initialise(address, &global.bytes, global.constant);
            addresses.push(address);
        }
        self.placed.push((shelf.clone(), addresses.clone()));
        addresses
    }
}

/// A warp that has not executed the `wgmma` of the first of its warpgroup.
fn astray(warps: &[Warp]) -> Option<usize> {
    (0..warps.len()).find(|&at| warps[at].groups.trail != warps[at / 4 * 4].groups.trail)
}

/// Fences and flags between blocks: what each address has published of whose epochs.
pub(crate) type Released = HashMap<u64, HashMap<u32, u32>>;

/// A launch under way.
struct Grid<'a> {
    kernel: &'a Kernel,
    launch: &'a Launch<'a>,
    /// Serial of the first block.
    first: u32,
    addresses: Vec<u64>,
    next: u32,
    blocks: u32,
    /// Warps of blocks that ended, to be used again.
    idle: Vec<Warp>,
    counters: Counters,
    released: Released,
}

impl Grid<'_> {
    fn run(&mut self, memory: &mut Memory, options: &Options, dice: &mut Dice) -> Result<(), Fault> {
        let mut resident: Vec<(Block, Vec<Warp>)> = Vec::new();
        loop {
            while resident.len() < options.resident_blocks.max(1) && self.next < self.blocks {
                resident.push(self.start());
            }
            if resident.is_empty() {
                return Ok(());
            }
            let chosen = dice.below(resident.len());
            let (block, warps) = &mut resident[chosen];
            let ready = warps.iter().filter(|warp| warp.state == State::Ready).count();
            if ready == 0 {
                return Err(self.deadlock(block, warps));
            }
            let turn = dice.below(ready);
            let index = (0..warps.len()).filter(|&index| warps[index].state == State::Ready).nth(turn).unwrap_or(0);
            let outcome = self.slice(memory, options, block, &mut warps[index], dice.slice());
            outcome.map_err(|trouble| self.fault(*trouble, block, &warps[index]))?;
            block.settle(warps);
            if warps.iter().all(|warp| warp.state == State::Done) {
                if let Some(astray) = astray(warps) {
                    let detail = "the four warps of a warpgroup have not executed the same wgmma".to_owned();
                    let trouble = Trouble { kind: FaultKind::BarrierDivergence, lane: 0, detail };
                    return Err(self.fault(trouble, block, &warps[astray]));
                }
                let (_, warps) = resident.swap_remove(chosen);
                self.idle.extend(warps);
                self.counters.blocks += 1;
            }
        }
    }

    fn slice(
        &mut self,
        memory: &mut Memory,
        options: &Options,
        block: &mut Block,
        warp: &mut Warp,
        budget: u32,
    ) -> Outcome<()> {
        let code = &self.kernel.code;
        let mut core = Core {
            code,
            block,
            warp,
            memory,
            counters: &mut self.counters,
            options,
            params: self.launch.params,
            first: self.first,
            released: &mut self.released,
        };
        core.run(budget)
    }

    /// The next block with its warps.
    fn start(&mut self) -> (Block, Vec<Warp>) {
        let grid = self.launch.grid;
        let index = [self.next % grid[0], self.next / grid[0] % grid[1], self.next / grid[0] / grid[1]];
        let code = &self.kernel.code;
        let at = Position {
            block: index,
            grid,
            size: self.launch.block,
            dynamic_shared: self.launch.shared_bytes,
            total_shared: self.launch.shared_bytes + self.kernel.static_shared,
        };
        let count = at.size.iter().product::<u32>().div_ceil(LANES as u32);
        let mut warps = Vec::new();
        for number in 0..count {
            let mut warp = self.idle.pop().unwrap_or_else(|| Warp::new(code));
            warp.restart(code, number, &at);
            for &(plane, global) in &code.addresses {
                let address = self.addresses[global];
                warp.registers[plane] = [address as u32; LANES];
                warp.registers[plane + 1] = [(address >> 32) as u32; LANES];
                warp.vague[plane] = 0;
            }
            warps.push(warp);
        }
        let block = Block::new(code, at, self.first + self.next);
        self.next += 1;
        (block, warps)
    }

    fn deadlock(&self, block: &Block, warps: &[Warp]) -> Fault {
        let waiting: Vec<_> = warps.iter().filter(|warp| matches!(warp.state, State::Waiting(_))).collect();
        let list: Vec<_> =
            waiting.iter().map(|warp| format!("warp {} at line {}", warp.index, self.line(warp.pc))).collect();
        let lane = waiting[0].active.trailing_zeros();
        let detail = format!("nobody else can arrive: {}", list.join(", "));
        self.fault(Trouble { kind: FaultKind::Deadlock, lane, detail }, block, waiting[0])
    }

    fn line(&self, pc: u32) -> u32 {
        self.kernel.code.origins[pc as usize].line
    }

    fn fault(&self, trouble: Trouble, block: &Block, warp: &Warp) -> Fault {
        let origin = self.kernel.code.origins[(warp.pc as usize).min(self.kernel.code.origins.len() - 1)];
        let text = &self.kernel.shelf.source[origin.start as usize..origin.end as usize];
        let thread = warp.index * LANES as u32 + trouble.lane.min(31);
        let [x, y, _] = self.launch.block;
        Fault {
            kind: trouble.kind,
            kernel: self.kernel.name.clone(),
            line: origin.line,
            instruction: text.split_whitespace().collect::<Vec<_>>().join(" "),
            block: block.at.block,
            thread: [thread % x, thread / x % y, thread / (x * y)],
            detail: trouble.detail,
        }
    }
}
