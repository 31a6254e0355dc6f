//! Hundreds of networks on one GPU, behind the same [`Backend`] as the CPU.
//!
//! Trainings keep their threads and their loop; each asks its GPU's dispatcher (`dispatch.rs`), which owns the device
//! and makes rounds of steps of all models at once. What kernels read stands in `descriptor.rs`, made from members by
//! `tables.rs`, put together by `round.rs`; `memory.rs` plans memory, `admission.rs` lets in what fits; `driver.rs` is
//! what is needed of a device. A model's numbers depend on itself alone: tiles follow from shapes, sums have one order.

mod admission;
pub mod descriptor;
mod devices;
mod dispatch;
pub mod driver;
mod evaluation;
mod memory;
pub mod modules;
mod nvidia;
pub mod persistent;
mod products;
mod request;
mod round;
mod staging;
mod steps;
mod tables;
#[cfg(test)]
mod tests;
mod timing;

pub use devices::{Gpu, gpus};
pub use nvidia::Nvidia;
pub use products::{Products, Shape};
pub use steps::Pace;

use super::{Backend, Caps, Detail, Member, Precision, Run, Tally, UpdateRule};
use crate::data::{Dataset, Targets};
use crate::model::Criterion;
use crate::{Error, Result};
use dispatch::Dispatcher;
use driver::{Driver, Limits};
use memory::{Budget, Layout, amount};
use rayon::prelude::*;
use request::{Arena, Line, Outputs, Request, Steps, Wanted};
use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use tables::Blueprint;
pub use timing::{Timed, Took};

/// Operations of a request's steps a multiprocessor, of all models together: some seconds in f32 (an H200's 132 make
/// about 2e11 a second each). An epoch of MNIST of 512 networks 784-256-128-10, 4e13 operations, is a run.
const MULTIPROCESSOR_FLOPS: f64 = 6e11;

/// Makes a driver, in the thread that will use it.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn Driver>> + Send>;

/// One or several GPUs as a device.
#[derive(Debug)]
pub struct Cuda {
    gpus: Vec<Arc<Station>>,
    next: AtomicU64,
    /// Datasets that are on the devices, by their address on the host.
    uploaded: Mutex<HashMap<usize, Weak<Placement>>>,
}

/// A GPU's dispatcher, seen from outside.
#[derive(Debug)]
struct Station {
    /// None when it is being given back.
    line: Option<Line>,
    limits: Limits,
    products: Products,
    /// Bytes of the models that train there …
    load: AtomicUsize,
    /// … and their number.
    models: AtomicUsize,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Station {
    fn drop(&mut self) {
        self.line = None;
        if let Some(thread) = self.thread.take() {
            // What it died of has been told to whoever asked.
            let _ = thread.join();
        }
    }
}

impl Station {
    fn open(opener: Opener) -> Result<Self> {
        let (queue, requests) = channel();
        let failure = Arc::new(OnceLock::new());
        let (ready, opened) = channel();
        let ended = Arc::clone(&failure);
        let work = move || {
            let made = catch_unwind(AssertUnwindSafe(|| opener().map(Dispatcher::new)));
            let mut dispatcher = match made.unwrap_or_else(|panic| Err(failed(panic.as_ref()))) {
                Ok(dispatcher) => dispatcher,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok((dispatcher.driver.limits().clone(), dispatcher.products.clone())));
            let served = catch_unwind(AssertUnwindSafe(|| dispatcher.serve(&requests)));
            let why = match served.unwrap_or_else(|panic| Err(failed(panic.as_ref()))) {
                Ok(()) => "the GPU was given back".to_owned(),
                Err(error) => error.to_string(),
            };
            let _ = ended.set(why);
        };
        let thread = std::thread::Builder::new().name("cuda".to_owned()).spawn(work);
        let thread = thread.map_err(|e| Error::Device(format!("cannot start the GPU's thread: {e}")))?;
        let opened = opened.recv().unwrap_or_else(|_| Err(Error::Device("the GPU's thread has ended".to_owned())));
        let (limits, products) = opened?;
        let line = Some(Line { queue, failure });
        Ok(Station {
            line,
            limits,
            products,
            load: AtomicUsize::new(0),
            models: AtomicUsize::new(0),
            thread: Some(thread),
        })
    }

    fn line(&self) -> Result<&Line> {
        self.line.as_ref().ok_or_else(|| Error::Device("the GPU was given back".to_owned()))
    }

    /// Says something that has no answer.
    fn tell(&self, request: Request) {
        if let Some(line) = &self.line {
            // Where nobody listens any more there is nothing to end.
            let _ = line.queue.send(request);
        }
    }
}

/// The error that a panic of the dispatcher becomes.
fn failed(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Error::Device(format!("the GPU's dispatcher failed: {text}"))
}

/// A dataset on every GPU of a [`Cuda`], for as long as somebody holds it.
#[derive(Debug)]
pub struct Placement {
    dataset: Arc<Dataset>,
    id: u64,
    gpus: Vec<Arc<Station>>,
}

impl AsRef<Dataset> for Placement {
    fn as_ref(&self) -> &Dataset {
        &self.dataset
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.gpus.iter().for_each(|gpu| gpu.tell(Request::Forget(self.id)));
    }
}

/// A dataset on the devices; copies share it.
#[derive(Clone, Debug)]
pub struct Data(Arc<Placement>);

impl AsRef<Dataset> for Data {
    fn as_ref(&self) -> &Dataset {
        &self.0.dataset
    }
}

/// Models in training on one GPU.
#[derive(Debug)]
pub struct Cohort {
    gpu: Arc<Station>,
    models: Vec<Enrolled>,
    bytes: usize,
}

/// What the host keeps of a model.
#[derive(Debug)]
struct Enrolled {
    id: u64,
    update: UpdateRule,
    criterion: Criterion,
    outputs: usize,
    offset: f64,
}

impl Cohort {
    /// What rows came to, and their mean loss.
    fn evaluated(&self, member: usize, data: &Data, wanted: Wanted) -> Result<(Outputs, f64)> {
        let (model, dataset) = (&self.models[member], data.as_ref());
        if dataset.rows == 0 {
            let columns = vec![[0.0; 4]; if wanted == Wanted::Tally(Detail::Columns) { model.outputs } else { 0 }];
            return Ok((Outputs { tally: Tally { right: 0, columns }, ..Outputs::default() }, 0.0));
        }
        let found = self.gpu.line()?.call(|reply| Request::Evaluate(model.id, data.0.id, wanted, reply))?;
        let labels = if let Targets::Classes { labels, .. } = &dataset.targets { labels.as_slice() } else { &[] };
        let loss = match dataset.targets {
            Targets::None => 0.0,
            _ => found.sum * model.criterion.scale(labels, dataset.rows, model.outputs),
        };
        Ok((found, loss))
    }
}

impl Drop for Cohort {
    fn drop(&mut self) {
        self.gpu.load.fetch_sub(self.bytes, Ordering::Relaxed);
        self.gpu.models.fetch_sub(self.models.len(), Ordering::Relaxed);
        self.gpu.tell(Request::End(self.models.iter().map(|model| model.id).collect()));
    }
}

impl Cuda {
    /// The devices that these make, each with a dispatcher of its own.
    ///
    /// # Errors
    /// One cannot be opened, or there is none.
    pub fn with(openers: Vec<Opener>) -> Result<Self> {
        let gpus = openers.into_iter().map(|opener| Station::open(opener).map(Arc::new)).collect::<Result<Vec<_>>>()?;
        if gpus.is_empty() {
            return Err(Error::input("no GPU was named"));
        }
        Ok(Cuda { gpus, next: AtomicU64::new(0), uploaded: Mutex::default() })
    }

    /// What the devices are.
    pub fn limits(&self) -> impl Iterator<Item = &Limits> {
        self.gpus.iter().map(|gpu| &gpu.limits)
    }

    /// Sees that a member and data of so many bytes could train here.
    ///
    /// # Errors
    /// They fit none of the devices.
    pub fn check(&self, member: &Member<'_>, data: usize) -> Result<()> {
        let needed = Layout::new(member).bytes + data;
        let Some(limits) = self.limits().max_by_key(|limits| limits.free) else { return Ok(()) };
        let budget = Budget::new(limits.free);
        let (largest, outputs) = (budget.capacity, evaluation::least_bytes(member.plan));
        if needed <= largest && outputs <= budget.evaluation {
            return Ok(());
        }
        if needed <= largest {
            let what = format!("a network of {} parameters", member.plan.parameters);
            return Err(admission::outputs_too_large(&what, outputs, limits, budget));
        }
        let (parameters, batch) = (member.plan.parameters, member.batch_size);
        Err(Error::TooLarge(format!(
            "a network of {parameters} parameters with batches of {batch} and its data need {} of a GPU that has {} for them",
            amount(needed),
            amount(largest)
        )))
    }

    /// Bytes for models on all devices together, each of which has data of so many bytes.
    pub fn capacity(&self, data: usize) -> usize {
        self.limits().map(|limits| Budget::new(limits.free).capacity.saturating_sub(data)).sum()
    }

    /// Bytes that a model takes.
    pub fn model_bytes(member: &Member<'_>) -> usize {
        Layout::new(member).bytes
    }

    /// What a product takes on the first device, and its error; none where it has no kernel with such tiles.
    ///
    /// # Errors
    /// It does not fit the memory; the device failed.
    pub fn time_product(&self, timed: Timed) -> Result<Option<Took>> {
        self.gpus[0].line()?.call(|reply| Request::Time(timed, reply))
    }

    /// Rounds and legs are of these lengths from the next request on; no number depends on them.
    pub fn set_pace(&self, pace: Pace) {
        self.gpus.iter().for_each(|gpu| gpu.tell(Request::Pace(pace)));
    }

    /// Where the next model goes: to the least loaded device.
    fn least_loaded(&self) -> &Arc<Station> {
        let load = |gpu: &&Arc<Station>| gpu.load.load(Ordering::Relaxed) as f64 / gpu.limits.free.max(1) as f64;
        let least = self.gpus.iter().min_by(|a, b| load(a).total_cmp(&load(b)));
        least.unwrap_or(&self.gpus[0])
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// Bytes that a dataset takes on a GPU.
pub fn data_bytes(data: &Dataset) -> usize {
    admission::data_bytes(data)
}

impl Backend for Cuda {
    type Data = Data;
    type Cohort = Cohort;

    fn caps(&self) -> Caps {
        let join = |each: fn(&Limits) -> &str| {
            let mut names: Vec<&str> = self.limits().map(each).collect();
            names.dedup();
            names.join("+")
        };
        Caps { device: join(|limits| &limits.device), isa: join(|limits| &limits.module), threads: 1 }
    }

    /// A whole epoch at once, as long as all models together keep the devices busy for some seconds at most: between
    /// runs a device waits for the host, and in one a request to stop is not heard.
    fn run_flops(&self) -> f64 {
        let of = |gpu: &Arc<Station>| f64::from(gpu.limits.multiprocessors) * MULTIPROCESSOR_FLOPS;
        let models: usize = self.gpus.iter().map(|gpu| gpu.models.load(Ordering::Relaxed)).sum();
        self.gpus.iter().map(of).sum::<f64>() / models.max(1) as f64
    }

    fn with_twins<T>(&self, work: impl FnOnce(&Self) -> T) -> Option<T> {
        let all: Vec<&Products> = self.gpus.iter().map(|gpu| &gpu.products).collect();
        if !all.iter().any(|products| products.has_groups()) {
            return None;
        }
        all.iter().for_each(|products| products.take_groups(false));
        let done = work(self);
        all.iter().for_each(|products| products.take_groups(true));
        Some(done)
    }

    fn precision(&self, wanted: Precision) -> Precision {
        let of = |gpu: &Arc<Station>| gpu.products.precision(wanted);
        // Of several modules the most exact counts.
        self.gpus.iter().map(of).min_by_key(|precision| *precision as u8).unwrap_or(Precision::Highest)
    }

    fn upload(&self, dataset: Arc<Dataset>) -> Result<Data> {
        let mut uploaded = self.uploaded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Arc::as_ptr(&dataset) as usize;
        if let Some(placement) = uploaded.get(&key).and_then(Weak::upgrade) {
            return Ok(Data(placement));
        }
        uploaded.retain(|_, placement| placement.strong_count() > 0);
        let id = self.number();
        let placement = Arc::new(Placement { dataset, id, gpus: self.gpus.clone() });
        for gpu in &self.gpus {
            gpu.line()?.call(|reply| Request::Upload(id, Arc::clone(&placement.dataset), reply))?;
        }
        uploaded.insert(key, Arc::downgrade(&placement));
        Ok(Data(placement))
    }

    fn begin(&self, members: &[Member<'_>]) -> Result<Cohort> {
        let gpu = Arc::clone(self.least_loaded());
        let blueprints: Vec<(u64, Blueprint)> =
            members.iter().map(|member| (self.number(), Blueprint::new(member))).collect();
        let enrol = |(member, (id, _)): (&Member<'_>, &(u64, Blueprint))| Enrolled {
            id: *id,
            update: member.update,
            criterion: member.criterion.clone(),
            outputs: member.plan.outputs,
            offset: 0.0,
        };
        let models: Vec<Enrolled> = members.iter().zip(&blueprints).map(enrol).collect();
        let bytes = blueprints.iter().map(|(_, blueprint)| blueprint.layout.bytes).sum();
        gpu.load.fetch_add(bytes, Ordering::Relaxed);
        gpu.models.fetch_add(members.len(), Ordering::Relaxed);
        // Dropped on an error, it takes its load back.
        let cohort = Cohort { gpu, models, bytes };
        cohort.gpu.line()?.call(|reply| Request::Begin(blueprints, reply))?;
        Ok(cohort)
    }

    fn advance(&self, cohort: &mut Cohort, data: &Data, runs: &mut [Run<'_>]) -> Result<()> {
        let line = cohort.gpu.line()?;
        let steps = |(model, run): (&Enrolled, &Run<'_>)| Steps {
            model: model.id,
            data: data.0.id,
            first_step: run.first_step,
            rows: run.rows.to_vec(),
            batch: run.batch_size,
            rates: Blueprint::rates(&model.update, run.first_step, run.rates),
        };
        let asked = cohort.models.iter().zip(runs.iter()).filter(|(_, run)| !run.rates.is_empty());
        // The rows of hundreds of models are a hundred MB: they are copied by all cores.
        let asked: Vec<Steps> = asked.collect::<Vec<_>>().into_par_iter().map(steps).collect();
        let answers: Vec<_> = asked.into_iter().map(|steps| line.ask(|reply| Request::Advance(steps, reply))).collect();
        let asked = cohort.models.iter_mut().zip(runs).filter(|(_, run)| !run.rates.is_empty());
        for ((model, run), answer) in asked.zip(&answers) {
            let done = line.answer(answer)?;
            run.losses.copy_from_slice(&done.losses);
            model.offset = done.offset;
        }
        Ok(())
    }

    fn evaluate(&self, cohort: &mut Cohort, member: usize, data: &Data, outputs: &mut [f32]) -> Result<f64> {
        let (found, loss) = cohort.evaluated(member, data, Wanted::Outputs)?;
        outputs[..found.values.len()].copy_from_slice(&found.values);
        Ok(loss)
    }

    fn tally(&self, cohort: &mut Cohort, member: usize, data: &Data, detail: Detail) -> Result<Option<(f64, Tally)>> {
        let (found, loss) = cohort.evaluated(member, data, Wanted::Tally(detail))?;
        Ok(Some((loss, found.tally)))
    }

    fn snapshot(&self, cohort: &mut Cohort, member: usize) -> Result<()> {
        let id = cohort.models[member].id;
        cohort.gpu.line()?.call(|reply| Request::Snapshot(id, reply))
    }

    fn restore(&self, cohort: &mut Cohort, member: usize) -> Result<()> {
        let id = cohort.models[member].id;
        cohort.gpu.line()?.call(|reply| Request::Restore(id, reply))
    }

    fn weights(&self, cohort: &Cohort, member: usize) -> Result<Vec<f32>> {
        let id = cohort.models[member].id;
        cohort.gpu.line()?.call(|reply| Request::Read(id, Arena::Weights, reply))
    }

    fn moments(&self, cohort: &Cohort, member: usize) -> Result<Vec<Vec<f32>>> {
        let Enrolled { id, update, .. } = &cohort.models[member];
        let line = cohort.gpu.line()?;
        let slots = 0..update.optimizer.slots();
        slots.map(|slot| line.call(|reply| Request::Read(*id, Arena::Slot(slot), reply))).collect()
    }

    fn set_moments(&self, cohort: &mut Cohort, member: usize, moments: &[Vec<f32>]) -> Result<()> {
        let Enrolled { id, update, .. } = &cohort.models[member];
        let line = cohort.gpu.line()?;
        (0..update.optimizer.slots()).try_for_each(|slot| {
            let values = moments.get(slot).cloned().unwrap_or_default();
            line.call(|reply| Request::Write(*id, slot, values, reply))
        })
    }

    fn rate_offset(&self, cohort: &Cohort, member: usize) -> f64 {
        cohort.models[member].offset
    }
}
