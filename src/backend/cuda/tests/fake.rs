//! A device that computes next to nothing: it keeps bytes, checks that every access lies in an allocation, and writes
//! losses that say which step of which model they belong to.

use crate::backend::cuda::descriptor::{Address, COLUMNS, Model, Plain, Run, Tile, bytes_of, bytes_of_mut};
use crate::backend::cuda::driver::{Driver, Launch, Limits};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What was asked of the device.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of each round: models that train, those evaluated, steps.
    pub rounds: Vec<(usize, usize, usize)>,
    /// Allocations that are held, in bytes, and the most there were at once.
    pub held: usize,
    pub most: usize,
    /// Bytes of the largest writes that were not tables.
    pub allocations: usize,
}

pub struct Fake {
    limits: Limits,
    memory: BTreeMap<Address, Vec<u8>>,
    next: Address,
    seen: Arc<Mutex<Seen>>,
    /// Rounds until it fails: with an error, or a panic.
    fails_after: Option<(usize, bool)>,
    /// Waits for a word before each round, where tests want to see who comes together.
    gate: Option<std::sync::mpsc::Receiver<()>>,
    /// Kernels that it has.
    has: fn(&str) -> bool,
}

/// The kernels of f32 and none that makes all steps at once.
fn plain(kernel: &str) -> bool {
    !kernel.contains("tf32") && !kernel.ends_with("_g") && kernel != "epoch"
}

impl Fake {
    pub fn new(free: usize, seen: &Arc<Mutex<Seen>>) -> Self {
        let limits = Limits {
            device: "cuda:0".into(),
            name: "Fake".into(),
            module: "none".into(),
            free,
            shared: 1 << 16,
            multiprocessors: 1,
        };
        Fake {
            limits,
            memory: BTreeMap::new(),
            next: 1 << 32,
            seen: seen.clone(),
            fails_after: None,
            gate: None,
            has: plain,
        }
    }

    /// So much of the memory that it says is free is not, since another program has taken it meanwhile.
    pub fn shared(self, bytes: usize) -> Self {
        self.seen.lock().unwrap().held += bytes;
        self
    }

    pub fn failing(self, rounds: usize, panics: bool) -> Self {
        Fake { fails_after: Some((rounds, panics)), ..self }
    }

    pub fn having(self, has: fn(&str) -> bool) -> Self {
        Fake { has, ..self }
    }

    pub fn gated(self, gate: std::sync::mpsc::Receiver<()>) -> Self {
        Fake { gate: Some(gate), ..self }
    }

    fn part(&mut self, at: Address, bytes: usize) -> &mut [u8] {
        let (start, held) = self.memory.range_mut(..=at).next_back().expect("an allocation");
        let offset = (at - start) as usize;
        assert!(offset + bytes <= held.len(), "{bytes} bytes at {offset} of {}", held.len());
        &mut held[offset..offset + bytes]
    }

    fn get<T: Plain + Default>(&mut self, table: Address, i: usize) -> T {
        let mut value = T::default();
        let bytes = bytes_of_mut(std::slice::from_mut(&mut value));
        let part = self.part(table + (i * size_of::<T>()) as Address, bytes.len());
        bytes.copy_from_slice(part);
        value
    }

    /// The loss of a step: its number, its first row, its rate, the model's size.
    fn step(&mut self, launch: &Launch, tile: Tile, tick: u32, trains: bool) {
        let run: Run = self.get(launch.tables.runs, tile.subject as usize);
        let model: Model = self.get(launch.tables.models, tile.subject as usize);
        if tick >= run.steps {
            return;
        }
        assert!(tick * run.batch < run.row_count, "a step without rows");
        let loss = if trains {
            let row: u32 = self.get(run.rows, (tick * run.batch) as usize);
            let rate: crate::backend::cuda::descriptor::Rate = self.get(run.rates, tick as usize);
            let step = run.first_step + u64::from(tick);
            step as f64 + 1e6 * f64::from(row) + f64::from(rate.rate) / 64.0 + 1e12 * model.parameters as f64
        } else {
            f64::from(run.row_count.min((tick + 1) * run.batch) - tick * run.batch)
        };
        if trains {
            self.part(run.losses + 8 * Address::from(tick), 8).copy_from_slice(bytes_of(&[loss]));
        } else {
            // Every row is right.
            self.part(run.losses + 16 * Address::from(tick), 16).copy_from_slice(bytes_of(&[loss, loss]));
        }
    }

    /// The sums of a block of columns: what rows they are of, the column, and 1.
    fn count(&mut self, launch: &Launch, tile: Tile, tick: u32) {
        let run: Run = self.get(launch.tables.runs, tile.subject as usize);
        let model: Model = self.get(launch.tables.models, tile.subject as usize);
        if tick >= run.steps {
            return;
        }
        let rows = f64::from(run.row_count.min((tick + 1) * run.batch) - tick * run.batch);
        let first = COLUMNS as u32 * tile.place;
        for column in first..model.width.min(first + COLUMNS as u32) {
            let sums = [rows, rows * f64::from(column), model.parameters as f64, 1.0];
            let at = model.partials + 32 * Address::from(tick * model.width + column);
            self.part(at, 32).copy_from_slice(bytes_of(&sums));
        }
    }
}

impl Driver for Fake {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn has(&self, kernel: &str) -> bool {
        (self.has)(kernel)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Option<Address>> {
        let mut seen = self.seen.lock().unwrap();
        if seen.held + bytes > self.limits.free {
            return Ok(None);
        }
        seen.held += bytes;
        seen.most = seen.most.max(seen.held);
        seen.allocations += 1;
        let at = self.next;
        // Far apart: what lies behind one is no other.
        self.next += (bytes as Address).next_multiple_of(256) + (1 << 30);
        self.memory.insert(at, vec![0xa5; bytes]);
        Ok(Some(at))
    }

    fn release(&mut self, address: Address) -> Result<()> {
        let gone = self.memory.remove(&address).expect("an allocation");
        self.seen.lock().unwrap().held -= gone.len();
        Ok(())
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.part(to, bytes.len()).copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(self.part(from, bytes.len()));
        Ok(())
    }

    fn copy(&mut self, to: Address, from: Address, bytes: usize) -> Result<()> {
        let copied = self.part(from, bytes).to_vec();
        self.write(to, &copied)
    }

    fn zero(&mut self, at: Address, bytes: usize) -> Result<()> {
        self.part(at, bytes).fill(0);
        Ok(())
    }

    fn repeat(&mut self, launches: &[Launch], times: usize) -> Result<()> {
        if let Some(gate) = &self.gate {
            gate.recv().expect("a word");
        }
        let count = |name: &str| {
            launches.iter().filter(|launch| launch.kernel == name).map(|launch| launch.blocks as usize).sum()
        };
        self.seen.lock().unwrap().rounds.push((count("finish"), count("total"), times));
        if let Some((left, panics)) = &mut self.fails_after {
            if *left == 0 {
                assert!(!*panics, "on purpose");
                return Err(Error::Device("cuda:0: the fake has failed".into()));
            }
            *left -= 1;
        }
        let mut orders = launches.iter().map(|launch| launch.kernel).collect::<Vec<_>>();
        assert_eq!(orders.pop(), Some("tick"));
        for tick in 0..times as u32 {
            for launch in launches.iter().filter(|launch| launch.kernel != "tick") {
                for block in 0..launch.blocks as usize {
                    let tile: Tile = self.get(launch.tables.tiles, block);
                    match launch.kernel {
                        "finish" | "total" => self.step(launch, tile, tick, launch.kernel == "finish"),
                        "count" => self.count(launch, tile, tick),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn synchronize(&mut self) -> Result<()> {
        Ok(())
    }
}
