//! The dispatcher: one thread a GPU, which owns the driver and makes rounds of what trainings ask for.
//!
//! A loop: take every request that is there; start waiting models that fit by now; compute all pending evaluations;
//! make one round of steps of every model that wants some. A round is as long as the shortest run in it, so that
//! whoever is through is answered and newcomers join the next one. While some model is away (its thread evaluates, or
//! has not asked yet), a round is short, so that it does not wait long for the others; while all are there it is as
//! long as the shortest run, and never so short that the way to the host and back would show. Nothing depends on a
//! clock.

use super::admission::Waiting;
use super::descriptor::{Address, bytes_of, bytes_of_mut};
use super::driver::Driver;
use super::evaluation::Pending;
use super::memory::{Budget, Layout};
use super::products::Products;
use super::request::{Arena, Reply, Request};
use super::round::{Buffers, Growing};
use super::steps::{Job, Pace};
use super::tables::{Blueprint, Network};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::Receiver;

/// A dataset on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub address: Address,
    /// Of the allocation.
    pub bytes: usize,
    pub features: Address,
    pub targets: Address,
    /// The factor of features that are bytes.
    pub scale: Option<f32>,
    pub rows: usize,
    pub inputs: usize,
    /// Bytes of a row's targets.
    pub target_bytes: usize,
}

/// A model on the device.
pub(super) struct Resident {
    pub base: Address,
    pub blueprint: Blueprint,
    pub network: Network,
    pub job: Option<Job>,
}

pub(super) struct Dispatcher {
    pub driver: Box<dyn Driver>,
    pub products: Products,
    pub budget: Budget,
    pub pace: Pace,
    /// In the order in which they began.
    pub models: BTreeMap<u64, Resident>,
    pub data: HashMap<u64, Placed>,
    pub waiting: VecDeque<Waiting>,
    pub evaluations: Vec<Pending>,
    pub buffers: Buffers,
    /// Of evaluations.
    pub arena: Growing,
}

/// The error for a model or data of another [`Cuda`](super::Cuda).
fn unknown() -> Error {
    Error::input("the model or the data are not on this device")
}

impl Dispatcher {
    pub fn new(driver: Box<dyn Driver>) -> Self {
        let (products, budget) = (Products::of(driver.as_ref()), Budget::new(driver.limits().free));
        Dispatcher {
            driver,
            products,
            budget,
            pace: Pace::default(),
            models: BTreeMap::new(),
            data: HashMap::new(),
            waiting: VecDeque::new(),
            evaluations: Vec::new(),
            buffers: Buffers::default(),
            arena: Growing::default(),
        }
    }

    /// Serves requests until nobody can ask any more.
    ///
    /// # Errors
    /// The device failed; nothing more can be asked of it.
    pub fn serve(&mut self, requests: &Receiver<Request>) -> Result<()> {
        loop {
            if self.is_idle() {
                match requests.recv() {
                    Ok(request) => self.accept(request)?,
                    Err(_) => return Ok(()),
                }
            }
            while let Ok(request) = requests.try_recv() {
                self.accept(request)?;
            }
            self.admit()?;
            self.evaluate()?;
            self.advance()?;
        }
    }

    /// Whether there is nothing to compute.
    fn is_idle(&self) -> bool {
        self.evaluations.is_empty() && self.models.values().all(|resident| resident.job.is_none())
    }

    fn accept(&mut self, request: Request) -> Result<()> {
        match request {
            Request::Upload(id, data, reply) => self.waiting.push_back(Waiting::Data(id, data, reply)),
            Request::Begin(models, reply) => self.waiting.push_back(Waiting::Models(models, reply)),
            Request::Forget(id) => {
                if let Some(placed) = self.data.remove(&id) {
                    self.driver.release(placed.address)?;
                    self.budget.taken -= placed.bytes;
                }
            }
            Request::End(models) => models.into_iter().try_for_each(|id| self.end(id))?,
            Request::Advance(steps, reply) => match self.models.get_mut(&steps.model) {
                Some(resident) if self.data.contains_key(&steps.data) => resident.job = Some(Job::new(steps, reply)),
                // Whoever asked may have gone; here and below.
                _ => drop(reply.send(Err(unknown()))),
            },
            Request::Evaluate(model, data, wanted, reply) => {
                match self.models.contains_key(&model) && self.data.contains_key(&data) {
                    true => self.evaluations.push(Pending { model, data, wanted, reply }),
                    false => drop(reply.send(Err(unknown()))),
                }
            }
            Request::Snapshot(id, reply) => self.keep(id, reply, |layout| (layout.kept, layout.weights))?,
            Request::Restore(id, reply) => self.keep(id, reply, |layout| (layout.weights, layout.kept))?,
            Request::Read(id, what, reply) => {
                if let Some(at) = self.place(id, what) {
                    let mut values = vec![0.0f32; self.models[&id].blueprint.plan.parameters];
                    self.driver.read(at, bytes_of_mut(&mut values))?;
                    let _ = reply.send(Ok(values));
                }
            }
            Request::Write(id, slot, values, reply) => {
                if let Some(at) = self.place(id, Arena::Slot(slot)) {
                    match values.as_slice() {
                        [] => self.driver.zero(at, 4 * self.models[&id].blueprint.plan.parameters)?,
                        values => self.driver.write(at, bytes_of(values))?,
                    }
                    let _ = reply.send(Ok(()));
                }
            }
            Request::Pace(pace) => self.pace = pace,
            Request::Time(timed, reply) => self.time(timed, &reply)?,
        }
        Ok(())
    }

    /// Where a model's arena lies. Who asks has begun the model and holds it, so it is there.
    fn place(&self, id: u64, what: Arena) -> Option<Address> {
        let resident = self.models.get(&id)?;
        let layout = &resident.blueprint.layout;
        let offset = match what {
            Arena::Weights => layout.weights,
            Arena::Slot(i) => layout.slots[i]?,
        };
        Some(resident.base + offset as Address)
    }

    /// Copies an arena of a model to another: (to, from).
    fn keep(&mut self, id: u64, reply: Reply<()>, offsets: impl Fn(&Layout) -> (usize, usize)) -> Result<()> {
        let Some(resident) = self.models.get(&id) else { return Ok(()) };
        let (to, from) = offsets(&resident.blueprint.layout);
        let (to, from) = (resident.base + to as Address, resident.base + from as Address);
        self.driver.copy(to, from, 4 * resident.blueprint.plan.parameters)?;
        let _ = reply.send(Ok(()));
        Ok(())
    }

    fn end(&mut self, id: u64) -> Result<()> {
        let Some(resident) = self.models.remove(&id) else { return Ok(()) };
        self.driver.release(resident.base)?;
        self.budget.taken -= resident.blueprint.layout.bytes;
        Ok(())
    }
}
