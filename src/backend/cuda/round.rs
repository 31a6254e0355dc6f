//! A round: the tables of all models that take part, on the device, and the launches of one step.
//!
//! What does not change from round to round while the same models take part (models, layers, tiles) is sent once; runs
//! and the step counter each time. Everything lies in three buffers that grow and stay.

use super::descriptor::{Address, Layer, Model, Run, Tables, Tile, bytes_of};
use super::driver::{Driver, Launch};
use super::memory::amount;
use super::tables::{Network, Phase, Subject, order};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Every table begins at a multiple of this.
const ALIGN: usize = 256;

/// Memory on the device that grows.
#[derive(Debug, Default)]
pub struct Growing {
    address: Address,
    bytes: usize,
}

impl Growing {
    /// At least so many bytes, what was in them lost if they had to grow; zeros at first.
    ///
    /// # Errors
    /// The device failed or has no memory left.
    pub fn reserve(&mut self, driver: &mut dyn Driver, bytes: usize) -> Result<Address> {
        self.grow(driver, bytes, bytes.next_power_of_two().max(1 << 16))
    }

    /// As [`Growing::reserve`], and not a byte more: for what is planned.
    ///
    /// # Errors
    /// As there.
    pub fn reserve_exactly(&mut self, driver: &mut dyn Driver, bytes: usize) -> Result<Address> {
        self.grow(driver, bytes, bytes)
    }

    fn grow(&mut self, driver: &mut dyn Driver, bytes: usize, wanted: usize) -> Result<Address> {
        if bytes > self.bytes {
            if self.bytes > 0 {
                driver.release(self.address)?;
                self.bytes = 0;
            }
            let Some(address) = driver.allocate(wanted)? else {
                let device = &driver.limits().device;
                return Err(Error::Device(format!(
                    "{device}: {} for tables and outputs could not be had; other programs use the GPU",
                    amount(wanted)
                )));
            };
            driver.zero(address, wanted)?;
            (self.address, self.bytes) = (address, wanted);
        }
        Ok(self.address)
    }
}

/// The buffers of rounds.
#[derive(Debug, Default)]
pub struct Buffers {
    standing: Growing,
    /// What stands there.
    sent: Vec<u8>,
    changing: Growing,
    losses: Growing,
}

/// Tables under construction.
#[derive(Debug, Default)]
pub struct Round {
    models: Vec<Model>,
    layers: Vec<Layer>,
    runs: Vec<Run>,
    /// By order, kernel and shared memory.
    phases: BTreeMap<(u32, &'static str, u32), Vec<Tile>>,
    /// Most steps of a run …
    steps: usize,
    /// … and of one that is made step by step.
    launched: usize,
}

impl Round {
    /// Adds a model: `model` is the network's with the addresses of data. The losses' address is set later.
    pub fn add(&mut self, network: &Network, model: Model, run: Run) {
        let (index, first) = (self.models.len() as u32, self.layers.len() as u32);
        self.models.push(Model { first, ..model });
        self.layers.extend(network.layers.iter().map(|layer| Layer { model: index, ..*layer }));
        self.runs.push(run);
        self.steps = self.steps.max(run.steps as usize);
        if network.resident.is_none() {
            self.launched = self.launched.max(run.steps as usize);
        }
        for Phase { order, kernel, subject, shared, tiles } in &network.phases {
            let base = if *subject == Subject::Layer { first } else { index };
            let moved = tiles.iter().map(|tile| Tile { subject: tile.subject + base, place: tile.place });
            self.phases.entry((*order, kernel, *shared)).or_default().extend(moved);
        }
    }

    /// Makes the steps and returns the losses: for each model a row of as many as the longest run has.
    ///
    /// # Errors
    /// The device failed.
    pub fn run(mut self, driver: &mut dyn Driver, buffers: &mut Buffers) -> Result<Vec<f64>> {
        let count = self.models.len() * self.steps;
        let losses = buffers.losses.reserve(driver, count * size_of::<f64>())?;
        for (i, run) in self.runs.iter_mut().enumerate() {
            run.losses = losses + (i * self.steps * size_of::<f64>()) as Address;
        }
        let (step, whole) = self.send(driver, buffers)?;
        if !whole.is_empty() {
            driver.repeat(&whole, 1)?;
        }
        if step.len() > 1 {
            driver.repeat(&step, self.launched)?;
        }
        let mut bytes = vec![0; count * size_of::<f64>()];
        driver.read(losses, &mut bytes)?;
        Ok(bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .collect())
    }

    /// Puts the tables on the device; returns the launches of a step, and those that make all steps at once.
    ///
    /// # Errors
    /// The device failed.
    pub fn send(&self, driver: &mut dyn Driver, buffers: &mut Buffers) -> Result<(Vec<Launch>, Vec<Launch>)> {
        let mut standing = Vec::new();
        let mut put = |bytes: &[u8]| {
            standing.resize(standing.len().next_multiple_of(ALIGN), 0);
            let at = standing.len();
            standing.extend_from_slice(bytes);
            at as Address
        };
        let (models, layers) = (put(bytes_of(&self.models)), put(bytes_of(&self.layers)));
        let phases: Vec<_> = self.phases.iter().map(|(key, tiles)| (*key, tiles.len(), put(bytes_of(tiles)))).collect();
        let before = (buffers.standing.address, buffers.standing.bytes);
        let base = buffers.standing.reserve(driver, standing.len())?;
        if buffers.sent != standing || before != (buffers.standing.address, buffers.standing.bytes) {
            driver.write(base, &standing)?;
            buffers.sent = standing;
        }
        let mut changing = bytes_of(&self.runs).to_vec();
        let tick = changing.len() as Address;
        changing.extend_from_slice(&[0; 8]);
        let runs = buffers.changing.reserve(driver, changing.len())?;
        driver.write(runs, &changing)?;
        let tables = Tables { models: base + models, layers: base + layers, runs, tiles: 0, tick: runs + tick };
        let (mut step, mut whole) = (Vec::new(), Vec::new());
        for ((order, kernel, shared), blocks, tiles) in phases {
            let launches = if order == order::WHOLE { &mut whole } else { &mut step };
            let tables = Tables { tiles: base + tiles, ..tables };
            launches.push(Launch { kernel, blocks: blocks as u32, shared, tables });
        }
        step.push(Launch { kernel: "tick", blocks: 1, shared: 0, tables });
        Ok((step, whole))
    }
}
