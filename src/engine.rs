//! The numeric column's front: devices by name, training and predicting on them.
//!
//! The one `match` on the device stands here; what is behind it is generic.
//!
//! ```
//! use hpt_engine::data::Dataset;
//! use hpt_engine::engine::{Device, Engine, Fit};
//! use hpt_engine::model::{Activation, ModelSpec};
//! use hpt_engine::train::{Control, TrainSpec};
//! use ndarray::{Array1, Array2};
//! use std::sync::Arc;
//!
//! # fn main() -> hpt_engine::Result<()> {
//! // Is a point inside the unit circle?
//! let x = Array2::from_shape_fn((400, 2), |(i, j)| ((i * (37 + 18 * j)) % 200) as f32 / 100.0 - 1.0);
//! let inside = |i: usize| u32::from(x[[i, 0]].hypot(x[[i, 1]]) < 1.0);
//! let labels = Array1::from_shape_fn(400, inside);
//! let data = Arc::new(Dataset::from_classes(x.view(), labels.view(), 2)?);
//!
//! let network = ModelSpec::uniform(&[32, 32], Activation::Tanh, 0.0);
//! let training = TrainSpec { epochs: 100, batch_size: 32, learning_rate: 0.01, ..TrainSpec::default() };
//! let engine = Engine::new(Device::Cpu, 1)?;
//! // `on_epoch` may print, store, or end the training.
//! let fit = Fit::new(&data, &network, &training);
//! let (model, _) = engine.train(&fit, &mut |epoch| match epoch.train_loss < 0.02 {
//!     true => Control::Stop,
//!     false => Control::Continue,
//! })?;
//!
//! let points = ndarray::arr2(&[[0.1, 0.2], [0.9, -0.9]]);
//! let predictions = model.predict(&Arc::new(Dataset::from_array(points.view())?))?;
//! assert_eq!(predictions.classes(), [1, 0]);
//! # Ok(())
//! # }
//! ```

use crate::backend::cuda::{Cuda, Pace, Products, Timed, Took, data_bytes};
use crate::backend::{
    Backend, Caps, Cpu, Member, Precision, Reference, StepCost, UpdateRule, cores, gpus, training_bytes,
};
use crate::bench::{CohortRate, CohortRow};
use crate::check::{self, Choice, Finding, Findings};
use crate::data::{Dataset, Features, Sketch, Targets};
use crate::model::{Head, Model, ModelSpec, Plan, Training, initialise};
use crate::sharers::Sharers;
use crate::train::{
    Checkpoint, Control, Epoch, Paused, Scores, Stopped, TrainSpec, Trained, Trainer, evaluate, go_on, resume, train,
};
use crate::{Error, Result};
use hpt_kernels::isa::Isa;
use std::sync::Arc;

/// Where to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Device {
    /// The one that suits the work: see [`Engine::choose`].
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The f64 oracle, for tests.
    Reference,
    /// The GPU of this number, or all GPUs.
    Cuda(Option<usize>),
}

impl Device {
    /// `auto`, `cpu`, `cuda` or `cuda:1`.
    ///
    /// # Errors
    /// The name is none of them.
    pub fn by_name(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "reference" => Ok(Device::Reference),
            "cuda" => Ok(Device::Cuda(None)),
            _ => match name.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
                Some(index) => Ok(Device::Cuda(Some(index))),
                None => Err(Error::unknown("device", name, ["auto", "cpu", "cuda", "cuda:0"])),
            },
        }
    }
}

/// Threads of a CPU on which a training on that data is estimated to be the fastest: as many as save more than it costs
/// them to wait for each other, and at most one a core.
pub fn useful_threads(plan: &Plan, train: &TrainSpec, data: &Dataset) -> usize {
    step_cost(plan, train, data).map_or(1, |cost| cost.threads(cores()))
}

/// How many times as fast as on `threads`, a mean number of them, a training on that data is estimated to be on the
/// useful ones; the number of these, too.
pub fn threads_gain(plan: &Plan, train: &TrainSpec, data: &Dataset, threads: f64) -> (f64, usize) {
    step_cost(plan, train, data).map_or((1.0, 1), |cost| {
        let useful = cost.threads(cores());
        (cost.seconds(threads) / cost.seconds(useful as f64), useful)
    })
}

/// What a step costs on this CPU. Whoever asks for an instruction set that is not there hears of it when the device is
/// opened.
fn step_cost(plan: &Plan, train: &TrainSpec, data: &Dataset) -> Option<StepCost> {
    let (batch, bytes) = (train.batch_size.min(data.rows), matches!(data.features, Features::U8 { .. }));
    let isa = Isa::detect().ok()?;
    Some(StepCost::new(isa, plan, batch, bytes, train.precision))
}

/// Operations of a step from which [`Device::Auto`] gives a single training to a GPU: below, its launches take as long
/// as the step on a CPU.
pub const GPU_STEP: f64 = 1e8;

/// What is to be done, where [`Device::Auto`] has to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Many trainings, of which a GPU makes hundreds at once.
    Search,
    /// One training, with so many operations a step.
    Training(f64),
    /// Outputs of a trained model.
    Outputs,
}

/// A device that is ready to train.
#[derive(Debug)]
pub struct Engine(Ready);

#[derive(Debug)]
enum Ready {
    Cpu(Cpu),
    Reference(Reference),
    Cuda(Arc<Cuda>),
}

/// A training: data, network, how, and who listens.
pub struct Fit<'a> {
    /// Rows to learn from.
    pub training: &'a Arc<Dataset>,
    /// Rows that the metric is measured on after every epoch.
    pub validation: Option<&'a Arc<Dataset>>,
    /// The network.
    pub model: &'a ModelSpec,
    /// How to train it.
    pub train: &'a TrainSpec,
    /// Seed of everything.
    pub seed: u64,
    /// Place in the plan of a search; 0 otherwise.
    pub slot: u64,
    /// End after this epoch, on a schedule laid out for all.
    pub last_epoch: Option<usize>,
    /// Looked at between runs of steps; true ends the training.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Fit<'a> {
    /// A training with this network and specification, seed 0, without validation rows.
    pub fn new(training: &'a Arc<Dataset>, model: &'a ModelSpec, train: &'a TrainSpec) -> Self {
        Fit { training, validation: None, model, train, seed: 0, slot: 0, last_epoch: None, cancelled: &|| false }
    }
}

impl std::fmt::Debug for Fit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fit").field("model", self.model).field("train", self.train).finish_non_exhaustive()
    }
}

/// Outputs for rows: probabilities of classes or labels, or numbers in the target's own units.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// rows × width, row-major.
    pub values: Vec<f64>,
    /// Classes, labels or targets.
    pub width: usize,
}

impl Predictions {
    /// The values of each row.
    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// The most probable class of each row.
    pub fn classes(&self) -> Vec<usize> {
        let most = |row: &[f64]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        self.rows().map(most).collect()
    }
}

/// Runs the same generic body on whichever device is ready.
macro_rules! on_device {
    ($engine:expr, $backend:ident => $body:expr) => {
        match &$engine.0 {
            Ready::Cpu($backend) => $body,
            Ready::Reference($backend) => $body,
            Ready::Cuda(shared) => {
                let $backend: &Cuda = shared;
                $body
            }
        }
    };
}

impl Engine {
    /// Makes a device ready; on the CPU with `threads` workers (0: one a core), at most one a core: they wait for each
    /// other by spinning. [`Device::Auto`] is the CPU here, where the work is not known.
    ///
    /// # Errors
    /// The device is not there, or this program cannot train on it.
    pub fn new(device: Device, threads: usize) -> Result<Self> {
        match device {
            Device::Auto | Device::Cpu => Ok(Engine(Ready::Cpu(Cpu::new(threads.min(cores()))?))),
            Device::Reference => Ok(Engine(Ready::Reference(Reference))),
            Device::Cuda(index) => Ok(Engine(Ready::Cuda(Arc::new(Cuda::open(index)?)))),
        }
    }

    /// As [`Engine::new`], where [`Device::Auto`] is the GPUs if there are some that are worth it for this work, and if
    /// they compute some steps as the CPU does ([`check::quick`]); else it is the CPU. The text says why GPUs that are
    /// there are not taken.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn choose(device: Device, threads: usize, work: Work) -> Result<(Self, Option<String>)> {
        let worth = match work {
            Work::Search => true,
            Work::Training(flops) => flops >= GPU_STEP,
            Work::Outputs => false,
        };
        if device != Device::Auto || !worth {
            return Ok((Engine::new(device, threads)?, None));
        }
        let cuda = match gpus() {
            Ok(found) if found.is_empty() => return Ok((Engine::new(Device::Cpu, threads)?, None)),
            Ok(_) => Cuda::open(None).and_then(|cuda| check::quick(&cuda).map(|()| cuda)),
            Err(error) => Err(error),
        };
        match cuda {
            Ok(cuda) => Ok((Engine(Ready::Cuda(Arc::new(cuda))), None)),
            Err(why) => Ok((Engine::new(Device::Cpu, threads)?, Some(format!("the CPU is used, no GPU: {why}")))),
        }
    }

    /// These GPUs.
    pub fn cuda(cuda: Cuda) -> Self {
        Engine(Ready::Cuda(Arc::new(cuda)))
    }

    /// The same device, on the CPU with so many threads. GPUs are shared: their trainings go together.
    ///
    /// # Errors
    /// Threads could not be started.
    pub fn with_threads(&self, threads: usize) -> Result<Self> {
        match &self.0 {
            Ready::Cpu(_) => Engine::new(Device::Cpu, threads),
            Ready::Reference(_) => Engine::new(Device::Reference, threads),
            Ready::Cuda(cuda) => Ok(Engine(Ready::Cuda(Arc::clone(cuda)))),
        }
    }

    /// Whether trainings of several threads go together on the device.
    pub fn makes_cohorts(&self) -> bool {
        matches!(self.0, Ready::Cuda(_))
    }

    /// How many GPUs it is.
    pub fn gpus(&self) -> usize {
        if let Ready::Cuda(cuda) = &self.0 { cuda.limits().count() } else { 0 }
    }

    /// Sees that a training fits the memory of the device.
    ///
    /// # Errors
    /// [`Error::TooLarge`] where it does not; a specification that is invalid.
    pub fn check(&self, fit: &Fit<'_>) -> Result<()> {
        let plan = fit.shape()?;
        match &self.0 {
            Ready::Cuda(cuda) => cuda.check(&fit.sized(&plan)?, fit.data_bytes()),
            _ => self.check_memory(fit, &plan),
        }
    }

    /// Refuses a network that does not fit the memory that is free, where the system says how much that is.
    fn check_memory(&self, fit: &Fit<'_>, plan: &Plan) -> Result<()> {
        let batch = fit.train.batch_size.min(fit.training.rows);
        let needed = training_bytes(plan, batch, self.caps().threads);
        let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let free =
            line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()).map(|kib| kib * 1024.0);
        match free {
            Some(free) if needed > free => {
                let gib = |bytes: f64| format!("{:.1} GiB", bytes / f64::from(1 << 30));
                Err(Error::TooLarge(format!(
                    "a network of {} parameters with batches of {batch} needs {} to train; {} are free: fewer units or layers, or a smaller batch, help",
                    plan.parameters,
                    gib(needed),
                    gib(free)
                )))
            }
            _ => Ok(()),
        }
    }

    /// How many trainings like these fit a GPU's memory at once; none on other devices.
    ///
    /// # Errors
    /// As [`Engine::check`].
    pub fn room(&self, fits: &[Fit<'_>]) -> Result<Option<usize>> {
        let (Ready::Cuda(cuda), Some(first)) = (&self.0, fits.first()) else { return Ok(None) };
        let mut bytes = 0;
        for fit in fits {
            bytes += Cuda::model_bytes(&fit.sized(&fit.shape()?)?);
        }
        Ok(Some((cuda.capacity(first.data_bytes()) / (bytes / fits.len()).max(1)).max(1)))
    }

    /// The same device as one of those that share the cores: a CPU takes its share at each run of steps, and at most
    /// the threads that it was made with.
    #[must_use]
    pub fn shared(self, sharers: Arc<Sharers>) -> Self {
        match self.0 {
            Ready::Cpu(cpu) => Engine(Ready::Cpu(cpu.shared(sharers))),
            other => Engine(other),
        }
    }

    /// How many threads the steps of its trainings had on average, those of the share that the device had at the time;
    /// 1 on other devices than the CPU.
    pub fn mean_threads(&self) -> f64 {
        if let Ready::Cpu(cpu) = &self.0 { cpu.mean_workers() } else { 1.0 }
    }

    /// What the device is.
    pub fn caps(&self) -> Caps {
        on_device!(self, backend => backend.caps())
    }

    /// The precision that products run in where `wanted` is asked for: never a lower one.
    pub fn precision(&self, wanted: Precision) -> Precision {
        on_device!(self, backend => backend.precision(wanted))
    }

    /// What else than [`Caps::isa`] the bits of products depend on where that precision is asked for: the kind of unit,
    /// of a set whose machines have different ones.
    pub fn unit(&self, wanted: Precision) -> Option<&'static str> {
        on_device!(self, backend => backend.unit(wanted))
    }

    /// Compares the device with the oracle; see [`check::all`].
    pub fn compare(&self, choice: Choice<'_>, on_finding: &mut dyn FnMut(usize, &Finding)) -> Findings {
        on_device!(self, backend => check::all(backend, choice, on_finding))
    }

    /// Operations a second of the product m × n over k on a GPU, the median of several rounds, and the error of its
    /// rows as a share of their norm; none on other devices.
    ///
    /// # Errors
    /// It does not fit the GPU; the GPU failed.
    pub fn product_rate(&self, [m, n, k]: [usize; 3], precision: Precision) -> Result<Option<(f64, f64)>> {
        let Ready::Cuda(cuda) = &self.0 else { return Ok(None) };
        let flops = 2.0 * m as f64 * n as f64 * k as f64;
        // Tens of milliseconds a round, at what a large GPU reaches: the way to the host and back does not show.
        let times = ((2e12 / flops) as usize).clamp(1, 1000);
        let took = median(cuda, Timed { shape: [m, n, k], precision, times, models: 1, tiles: None }, 9)?;
        Ok(took.map(|Took { seconds, error }| (flops / seconds, error)))
    }

    /// Operations a second of `models` networks' products m × n over k in one launch on a GPU, by every shape of tiles
    /// that it has kernels of: what decides the limits of `Shape::of`. Empty on other devices.
    ///
    /// # Errors
    /// They do not fit the GPU; the GPU failed.
    pub fn tile_rates(
        &self,
        shape: [usize; 3],
        models: usize,
        precision: Precision,
    ) -> Result<Vec<(&'static str, f64)>> {
        let Ready::Cuda(cuda) = &self.0 else { return Ok(Vec::new()) };
        let flops = 2.0 * shape.iter().map(|&n| n as f64).product::<f64>() * models as f64;
        let times = ((3e11 / flops) as usize).clamp(1, 300);
        let mut rates = Vec::new();
        for (name, tiles) in Products::SHAPES {
            let timed = Timed { shape, precision, times, models, tiles: Some(tiles) };
            rates.extend(median(cuda, timed, 3)?.map(|took| (name, flops / took.seconds)));
        }
        Ok(rates)
    }

    /// What lengths of rounds and legs make of a cohort's rate on a GPU; see [`CohortRow::paces`]. Empty on other
    /// devices.
    ///
    /// # Errors
    /// Those of [`CohortRow::paces`].
    pub fn pace_rates(&self, cohort: &CohortRow, precision: Precision, paces: &[Pace]) -> Result<Vec<[f64; 2]>> {
        let Ready::Cuda(cuda) = &self.0 else { return Ok(Vec::new()) };
        cohort.paces(cuda, precision, paces)
    }

    /// Measures a cohort on the device; see [`CohortRow::rate`].
    ///
    /// # Errors
    /// Those of [`CohortRow::rate`].
    pub fn measure(&self, cohort: &CohortRow, precision: Precision, rounds: usize) -> Result<CohortRate> {
        on_device!(self, backend => cohort.rate(backend, precision, rounds))
    }

    /// Trains a network and returns how that went; see [`train`] for `on_epoch` and the errors.
    ///
    /// # Errors
    /// Those of [`train`].
    pub fn fit(&self, fit: &Fit<'_>, on_epoch: &mut dyn FnMut(&Epoch) -> Control) -> Result<Trained> {
        let plan = fit.plan(self)?;
        let weights = initialise(&plan, fit.model.init, fit.seed, fit.slot);
        let trainer = fit.trainer(&plan, &weights);
        on_device!(self, backend => {
            let training = backend.upload(fit.training.clone())?;
            let validation = fit.validation.map(|validation| backend.upload(validation.clone())).transpose()?;
            train(backend, &trainer, &training, validation.as_ref(), on_epoch)
        })
    }

    /// Trains a network, from where an earlier call was cancelled or from the start, and says what it takes to go on
    /// where this one was; see [`go_on`].
    ///
    /// # Errors
    /// Those of [`go_on`].
    pub fn go_on(
        &self,
        fit: &Fit<'_>,
        from: Option<&Paused>,
        on_epoch: &mut dyn FnMut(&Epoch) -> Control,
    ) -> Result<(Trained, Option<Paused>)> {
        let plan = fit.plan(self)?;
        let weights = match from {
            None => initialise(&plan, fit.model.init, fit.seed, fit.slot),
            Some(_) => Vec::new(),
        };
        let trainer = fit.trainer(&plan, &weights);
        on_device!(self, backend => {
            let training = backend.upload(fit.training.clone())?;
            let validation = fit.validation.map(|validation| backend.upload(validation.clone())).transpose()?;
            go_on(backend, &trainer, from, &training, validation.as_ref(), on_epoch)
        })
    }

    /// Trains on from where another training of the same network ended (none: from the start), and says where this one
    /// ended; see [`resume`].
    ///
    /// # Errors
    /// Those of [`resume`].
    pub fn resume(
        &self,
        fit: &Fit<'_>,
        from: Option<&Checkpoint>,
        on_epoch: &mut dyn FnMut(&Epoch) -> Control,
    ) -> Result<(Trained, Checkpoint)> {
        let plan = fit.plan(self)?;
        let weights = match from {
            None => initialise(&plan, fit.model.init, fit.seed, fit.slot),
            Some(_) => Vec::new(),
        };
        let trainer = fit.trainer(&plan, &weights);
        on_device!(self, backend => {
            let training = backend.upload(fit.training.clone())?;
            let validation = fit.validation.map(|validation| backend.upload(validation.clone())).transpose()?;
            resume(backend, &trainer, from, &training, validation.as_ref(), on_epoch)
        })
    }

    /// Trains a network and returns it as a model.
    ///
    /// # Errors
    /// Those of [`train`].
    pub fn train(&self, fit: &Fit<'_>, on_epoch: &mut dyn FnMut(&Epoch) -> Control) -> Result<(Model, Trained)> {
        let trained = self.fit(fit, on_epoch)?;
        Ok((fit.model_of(&trained)?, trained))
    }

    /// A model's outputs for every row, as its backend writes them (standardised numbers), and the mean loss.
    ///
    /// # Errors
    /// The rows do not fit the model.
    pub fn outputs(&self, model: &Model, data: &Arc<Dataset>) -> Result<(Vec<f32>, f64)> {
        if !matches!(data.targets, Targets::None) && data.targets.outputs() != model.plan.outputs {
            let (found, expected) = (data.targets.outputs(), model.plan.outputs);
            return Err(Error::input(format!("the rows have {found} target outputs; the model has {expected}")));
        }
        on_device!(self, backend => evaluate(backend, &model.plan, &model.weights, model.criterion.clone(), data))
    }

    /// A model's predictions for every row.
    ///
    /// # Errors
    /// The rows do not fit the model.
    pub fn predict(&self, model: &Model, data: &Arc<Dataset>) -> Result<Predictions> {
        let (outputs, _) = self.outputs(model, data)?;
        let width = model.plan.outputs;
        let values = match &model.head {
            Head::Classes(_) | Head::Binary(_) => outputs.into_iter().map(f64::from).collect(),
            Head::Real { mean, deviation } => {
                let own = |(i, y): (usize, f32)| f64::from(y) * deviation[i % width] + mean[i % width];
                outputs.into_iter().enumerate().map(own).collect()
            }
        };
        Ok(Predictions { values, width })
    }

    /// Every metric of a model on rows with targets.
    ///
    /// # Errors
    /// The rows do not fit the model.
    pub fn scores(&self, model: &Model, data: &Arc<Dataset>) -> Result<Scores> {
        let (outputs, loss) = self.outputs(model, data)?;
        Ok(Scores::measure(&outputs, &data.targets, loss))
    }
}

/// The median of some measurements of a product.
fn median(cuda: &Cuda, timed: Timed, rounds: usize) -> Result<Option<Took>> {
    let took = (0..rounds).map(|_| cuda.time_product(timed)).collect::<Result<Option<Vec<Took>>>>()?;
    Ok(took.map(|mut took| {
        took.sort_unstable_by(|a, b| a.seconds.total_cmp(&b.seconds));
        took[rounds / 2]
    }))
}

impl Fit<'_> {
    /// The network's plan.
    fn shape(&self) -> Result<Plan> {
        Plan::new(self.model, self.training.inputs, self.training.targets.outputs())
    }

    /// The network's plan, where it fits the memory; a GPU says so itself when the training begins.
    fn plan(&self, engine: &Engine) -> Result<Plan> {
        let plan = self.shape()?;
        if !engine.makes_cohorts() {
            engine.check_memory(self, &plan)?;
        }
        Ok(plan)
    }

    /// A member that takes as much memory as this training.
    fn sized<'a>(&self, plan: &'a Plan) -> Result<Member<'a>> {
        let spec = self.train;
        let update = UpdateRule {
            optimizer: spec.optimizer,
            weight_decay: 0.0,
            l1: 0.0,
            clip_norm: spec.clip_norm.map(|norm| norm as f32),
            hypergradient: spec.hypergradient()?,
        };
        Ok(Member {
            plan,
            weights: &[],
            batch_size: spec.batch_size.min(self.training.rows),
            criterion: spec.criterion(self.training)?,
            update,
            seed: 0,
            slot: 0,
            precision: Precision::Highest,
        })
    }

    /// Bytes of its data on a GPU.
    fn data_bytes(&self) -> usize {
        data_bytes(self.training) + self.validation.map_or(0, |validation| data_bytes(validation))
    }

    fn trainer<'a>(&'a self, plan: &'a Plan, weights: &'a [f32]) -> Trainer<'a> {
        let Fit { train: spec, seed, slot, last_epoch, cancelled, .. } = *self;
        Trainer { plan, spec, weights, seed, slot, last_epoch, cancelled }
    }

    /// The model as it is before its training.
    ///
    /// # Errors
    /// As [`Fit::model_of`]; a network that no plan can be made of.
    pub fn untrained(&self) -> Result<Model> {
        let head = Head::of(&self.training.targets).ok_or_else(|| Error::input("the data have no target"))?;
        let plan = Plan::new(self.model, self.training.inputs, head.outputs())?;
        let weights = initialise(&plan, self.model.init, self.seed, self.slot);
        let (epoch, metric, seconds, history) = (0, None, 0.0, Vec::new());
        self.model_of(&Trained { weights, history, epoch, metric, seconds, stopped: Stopped::Finished })
    }

    /// The model that a training came to; without a pipeline and a record of settings, which the caller adds.
    ///
    /// # Errors
    /// Those of [`TrainSpec::criterion`].
    pub fn model_of(&self, trained: &Trained) -> Result<Model> {
        let head = Head::of(&self.training.targets).ok_or_else(|| Error::input("the data have no target"))?;
        Ok(Model {
            spec: self.model.clone(),
            plan: Plan::new(self.model, self.training.inputs, head.outputs())?,
            weights: trained.weights.clone(),
            pipeline: None,
            head,
            criterion: self.train.criterion(self.training)?,
            training: Training {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                seed: self.seed,
                slot: self.slot,
                epoch: trained.epoch,
                rows: self.training.rows,
                settings: serde_json::Map::new(),
                study: None,
                schedule: Vec::new(),
                seen: Sketch::default(),
            },
        })
    }
}

impl Model {
    /// Predictions on the CPU for rows of features, as [`Engine::predict`].
    ///
    /// # Errors
    /// The rows do not fit the model.
    pub fn predict(&self, data: &Arc<Dataset>) -> Result<Predictions> {
        Engine::new(Device::Cpu, if data.rows > 10_000 { cores() } else { 1 })?.predict(self, data)
    }
}
