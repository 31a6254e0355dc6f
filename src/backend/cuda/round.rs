//! A round: the tables of all models that take part, on the device, and the launches of one step.
//!
//! What does not change from round to round while the same models take part (models, layers, tiles) is sent once; runs
//! and the step counter each time that steps are made. Everything lies in three buffers that grow and stay.

use super::descriptor::{Address, Layer, Model, Run, Tables, Tile, bytes_of, bytes_of_mut};
use super::driver::{Driver, Launch};
use super::memory::amount;
use super::tables::{Network, Phase, Subject, order};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Every table begins at a multiple of this.
const ALIGN: usize = 256;

/// Bytes of the counter of steps, which stands behind the runs.
const TICK: usize = 8;

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
    /// By order, kernel and shared memory.
    phases: BTreeMap<(u32, &'static str, u32), Vec<Tile>>,
}

/// Tables that are on the device.
#[derive(Debug)]
pub struct Sent {
    /// The launches of a step.
    pub step: Vec<Launch>,
    /// Those that make all steps at once.
    pub whole: Vec<Launch>,
    runs: Address,
}

impl Round {
    /// Adds a model: `model` is the network's with the addresses of data. Runs come in the order of the models.
    pub fn add(&mut self, network: &Network, model: Model) {
        let (index, first) = (self.models.len() as u32, self.layers.len() as u32);
        self.models.push(Model { first, ..model });
        self.layers.extend(network.layers.iter().map(|layer| Layer { model: index, ..*layer }));
        for Phase { order, kernel, subject, shared, tiles } in &network.phases {
            let base = if *subject == Subject::Layer { first } else { index };
            let moved = tiles.iter().map(|tile| Tile { subject: tile.subject + base, place: tile.place });
            self.phases.entry((*order, kernel, *shared)).or_default().extend(moved);
        }
    }

    /// Puts the tables on the device, all but the runs.
    ///
    /// # Errors
    /// The device failed.
    pub fn send(&self, driver: &mut dyn Driver, buffers: &mut Buffers) -> Result<Sent> {
        let mut standing = Vec::new();
        let mut put = |bytes: &[u8]| {
            standing.resize(standing.len().next_multiple_of(ALIGN), 0);
            let at = standing.len();
            standing.extend_from_slice(bytes);
            at as Address
        };
        let (models, layers) = (put(bytes_of(&self.models)), put(bytes_of(&self.layers)));
        let phases: Vec<_> = self.phases.iter().map(|(key, tiles)| (*key, tiles.len(), put(bytes_of(tiles)))).collect();
        let base = buffers.standing.reserve(driver, standing.len())?;
        // Where the buffer had to grow, these are longer than what was in it.
        if buffers.sent != standing {
            driver.write(base, &standing)?;
            buffers.sent = standing;
        }
        let bytes = self.models.len() * size_of::<Run>();
        let runs = buffers.changing.reserve(driver, bytes + TICK)?;
        let tick = runs + bytes as Address;
        let tables = Tables { models: base + models, layers: base + layers, runs, tiles: 0, tick };
        let (mut step, mut whole) = (Vec::new(), Vec::new());
        for ((order, kernel, shared), blocks, tiles) in phases {
            let launches = if order == order::WHOLE { &mut whole } else { &mut step };
            let tables = Tables { tiles: base + tiles, ..tables };
            launches.push(Launch { kernel, blocks: blocks as u32, shared, tables });
        }
        step.push(Launch { kernel: "tick", blocks: 1, shared: 0, tables });
        Ok(Sent { step, whole, runs })
    }
}

impl Sent {
    /// Sends the runs of all models, and the counter of steps at 0.
    ///
    /// # Errors
    /// The device failed.
    pub fn begin(&self, driver: &mut dyn Driver, runs: &[Run]) -> Result<()> {
        let mut changing = bytes_of(runs).to_vec();
        changing.extend_from_slice(&[0; TICK]);
        driver.write(self.runs, &changing)
    }

    /// Has these steps made: `launched` by launches, and at the same time those that are made at once.
    ///
    /// # Errors
    /// The device failed.
    pub fn make(&self, driver: &mut dyn Driver, runs: &[Run], launched: usize) -> Result<()> {
        self.begin(driver, runs)?;
        match (self.whole.is_empty(), launched) {
            (true, _) => {}
            (false, 0) => driver.repeat(&self.whole, 1)?,
            (false, _) => driver.beside(&self.whole)?,
        }
        if launched > 0 { driver.repeat(&self.step, launched) } else { Ok(()) }
    }
}

/// Room for losses of all models: a row of `columns` each.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    address: Address,
    columns: usize,
}

impl Losses {
    /// Memory for so many rows.
    ///
    /// # Errors
    /// The device failed.
    pub fn reserve(driver: &mut dyn Driver, buffers: &mut Buffers, rows: usize, columns: usize) -> Result<Self> {
        let address = buffers.losses.reserve(driver, rows * columns * size_of::<f64>())?;
        Ok(Losses { address, columns })
    }

    /// Where those of a model go from that step on.
    pub fn at(&self, row: usize, column: usize) -> Address {
        self.address + ((row * self.columns + column) * size_of::<f64>()) as Address
    }

    /// All of them, when everything before is done.
    ///
    /// # Errors
    /// The device failed.
    pub fn read(&self, driver: &mut dyn Driver, rows: usize) -> Result<Vec<f64>> {
        let mut losses = vec![0.0; rows * self.columns];
        driver.read(self.address, bytes_of_mut(&mut losses))?;
        Ok(losses)
    }
}
