//! A device held against the oracle: training steps of every activation, loss and optimizer, over shapes around the
//! edges of tiles, and whole trainings against the CPU's.
//!
//! What `hpt-engine check` runs on a machine with a GPU, and what tests run on an interpreter of the same kernels. Sums
//! of f32 have another order on every device, so numbers are near and not equal; how near is in one place, [`Bounds`].

mod cases;

pub use cases::{Case, Kind, cases, edges};

use crate::backend::{Backend, Cpu, Detail, Member, Precision, Reference, Run, Tally, UpdateRule};
use crate::data::Dataset;
use crate::model::{Init, Plan, initialise};
use crate::train::{Control, Metric, TrainSpec, Trained, Trainer, train};
use crate::{Error, Result};
use serde::Serialize;
use std::sync::Arc;

/// Seed and slot of everything.
const KEY: (u64, u64) = (5, 1);

/// How far numbers may be from the oracle's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// A step's loss, as a share of 1 + its size.
    pub loss: f64,
    /// A weight; Adam's and RMSprop's first steps divide by √v, which magnifies rounding where a gradient is near zero.
    pub weight: f64,
    /// The mean over the weights.
    pub mean: f64,
    /// An output.
    pub output: f64,
    /// A metric from what the device has counted, relative to the same from the outputs that it sent: only sums have
    /// another order.
    pub metric: f64,
}

impl Bounds {
    /// After some steps of networks as small as the cases', by what products are computed with: f32, or several
    /// products of terms, which round alike; one product of TF32 or bf16, with errors of up to 1e-3 or 8e-3.
    pub fn of(precision: Precision) -> Self {
        match precision {
            Precision::Highest | Precision::High => {
                Bounds { loss: 2e-5, weight: 2e-3, mean: 2e-6, output: 1e-3, metric: 1e-9 }
            }
            Precision::Medium | Precision::Bf16 => {
                Bounds { loss: 1e-2, weight: 5e-2, mean: 1e-3, output: 5e-2, metric: 1e-9 }
            }
        }
    }

    /// The name and the share of the bound of the worst of them, and whether all are kept.
    fn worst(&self, found: &Bounds) -> (&'static str, f64, bool) {
        let shares = [
            ("loss", found.loss / self.loss),
            ("weight", found.weight / self.weight),
            ("mean of the weights", found.mean / self.mean),
            ("output", found.output / self.output),
            ("metric", found.metric / self.metric),
        ];
        // What is not a number is beyond every bound.
        let kept = shares.iter().all(|share| share.1 <= 1.0);
        let worst = shares.into_iter().fold(("loss", 0.0), |a, b| if b.1 > a.1 || b.1.is_nan() { b } else { a });
        (worst.0, worst.1, kept)
    }
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was compared.
    pub name: String,
    /// What differs most …
    pub what: &'static str,
    /// … as a share of what it may.
    pub share: f64,
    /// Whether everything is near enough.
    pub agrees: bool,
    /// Why there is nothing to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What steps come to.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Each step's loss.
    pub losses: Vec<f64>,
    /// The weights after them.
    pub weights: Vec<f32>,
    /// Outputs of all rows …
    pub outputs: Vec<f32>,
    /// … and their loss.
    pub loss: f64,
    /// What the device counted of them, where it does.
    pub tally: Option<Tally>,
    /// How far metrics by that are from those by the outputs.
    pub metric: f64,
}

impl End {
    /// How far it is from another.
    fn from(&self, exact: &End) -> Bounds {
        let relative = |a: f64, b: f64| (a - b).abs() / (1.0 + b.abs());
        let largest = |offs: &mut dyn Iterator<Item = f64>| {
            offs.fold(0.0, |worst: f64, off| if off > worst || off.is_nan() { off } else { worst })
        };
        let off = |a: &[f32], b: &[f32]| -> Vec<f64> {
            a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).collect()
        };
        let weights = off(&self.weights, &exact.weights);
        let losses = self.losses.iter().zip(&exact.losses).map(|(a, b)| relative(*a, *b));
        Bounds {
            loss: largest(&mut losses.chain([0.2 * relative(self.loss, exact.loss)])),
            weight: largest(&mut weights.iter().copied()),
            mean: weights.iter().sum::<f64>() / weights.len().max(1) as f64,
            output: largest(&mut off(&self.outputs, &exact.outputs).into_iter()),
            metric: self.metric,
        }
    }
}

impl Case {
    /// The same with products of that precision.
    fn at(self, precision: Precision) -> Self {
        let name = format!("{}, {}", self.name, precision.name());
        Case { name, train: TrainSpec { precision, ..self.train }, ..self }
    }

    /// Steps in runs of `run`, the last step with fewer rows.
    ///
    /// # Errors
    /// The device failed.
    pub fn steps<B: Backend>(&self, backend: &B, steps: usize, run: usize) -> Result<End> {
        let (data, spec, batch) = (self.data(), &self.train, self.batch);
        let plan = Plan::new(&self.model, data.inputs, data.targets.outputs())?;
        let weights = initialise(&plan, Init::Torch, KEY.0, KEY.1);
        let uploaded = backend.upload(data.clone())?;
        let member = Member {
            plan: &plan,
            weights: &weights,
            batch_size: batch,
            criterion: spec.criterion(&data)?,
            update: UpdateRule {
                optimizer: spec.optimizer,
                weight_decay: spec.weight_decay as f32,
                l1: spec.l1 as f32,
                clip_norm: spec.clip_norm.map(|norm| norm as f32),
                hypergradient: None,
            },
            seed: KEY.0,
            slot: KEY.1,
            precision: spec.precision,
        };
        let mut cohort = backend.begin(&[member])?;
        let rows: Vec<u32> = (0..steps * batch - usize::from(batch > 1)).map(|i| (i * 7 % data.rows) as u32).collect();
        let rates = vec![spec.learning_rate as f32; steps];
        let mut losses = vec![0.0; steps];
        for start in (0..steps).step_by(run) {
            let part = start..steps.min(start + run);
            let run = Run {
                first_step: start as u64,
                rows: &rows[start * batch..rows.len().min(part.end * batch)],
                batch_size: batch,
                rates: &rates[part.clone()],
                losses: &mut losses[part],
            };
            backend.advance(&mut cohort, &uploaded, &mut [run])?;
        }
        let mut outputs = vec![0.0; data.rows * plan.outputs];
        let loss = backend.evaluate(&mut cohort, 0, &uploaded, &mut outputs)?;
        let counted = backend.tally(&mut cohort, 0, &uploaded, Detail::Columns)?;
        let metric = counted.as_ref().map_or(0.0, |counted| off_by_counts(&data, &outputs, loss, counted));
        let tally = counted.map(|(_, tally)| tally);
        Ok(End { losses, weights: backend.weights(&cohort, 0)?, outputs, loss, tally, metric })
    }

    /// Some steps against the oracle's.
    ///
    /// # Errors
    /// The device failed.
    pub fn compare<B: Backend>(&self, backend: &B) -> Result<Finding> {
        let steps = self.steps;
        let found = self.steps(backend, steps, steps)?.from(&self.steps(&Reference, steps, steps)?);
        let (what, share, agrees) = Bounds::of(self.train.precision).worst(&found);
        Ok(Finding { name: self.name.clone(), what, share, agrees, error: None })
    }
}

/// How far metrics by what was counted are from those by the outputs, at most: all that can be counted.
fn off_by_counts(data: &Dataset, outputs: &[f32], loss: f64, (its_loss, tally): &(f64, Tally)) -> f64 {
    let metrics = Metric::all().filter(|metric| metric.applies_to(&data.targets) && metric.detail().is_some());
    let off = |metric: Metric| {
        let exact = metric.score(outputs, &data.targets, loss);
        let counted = metric.of_tally(tally, &data.targets, *its_loss);
        if exact.is_nan() && counted.is_nan() { 0.0 } else { (counted - exact).abs() / (1.0 + exact.abs()) }
    };
    metrics.map(off).fold(0.0, |worst: f64, off| if off > worst || off.is_nan() { off } else { worst })
}

/// A training of some epochs on the device and on the CPU, epoch by epoch: rows are shuffled, there is dropout, weights
/// are validated.
///
/// # Errors
/// The device failed.
pub fn training<B: Backend>(backend: &B) -> Result<Finding> {
    follow(backend, &cases::training())
}

/// The training of a case against the CPU's.
fn follow<B: Backend>(backend: &B, case: &Case) -> Result<Finding> {
    let (data, validation) = (case.data(), Case { seed: 8, ..case.clone() }.data());
    let (on_device, on_cpu) = (run(backend, case, &data, &validation)?, run(&Cpu::new(1)?, case, &data, &validation)?);
    let off = |a: f64, b: f64| (a - b).abs() / (1.0 + b.abs()) / 1e-4;
    let pairs = on_device.history.iter().zip(&on_cpu.history);
    let validated = |epoch: &crate::train::Epoch| epoch.validation_loss.unwrap_or(f64::NAN);
    let offs = pairs.flat_map(|(a, b)| [off(a.train_loss, b.train_loss), off(validated(a), validated(b))]);
    let share = offs.fold(0.0, |worst: f64, off| if off > worst || off.is_nan() { off } else { worst });
    let name = format!("{}, {} epochs against the CPU", case.name, on_cpu.history.len());
    Ok(Finding { name, what: "loss of an epoch", share, agrees: share <= 1.0, error: None })
}

fn run<B: Backend>(backend: &B, case: &Case, data: &Arc<Dataset>, validation: &Arc<Dataset>) -> Result<Trained> {
    let plan = Plan::new(&case.model, data.inputs, data.targets.outputs())?;
    let weights = initialise(&plan, Init::Torch, KEY.0, KEY.1);
    let spec: &TrainSpec = &case.train;
    let (seed, slot) = KEY;
    let trainer = Trainer { plan: &plan, spec, weights: &weights, seed, slot, last_epoch: None, cancelled: &|| false };
    let (data, validation) = (backend.upload(data.clone())?, backend.upload(validation.clone())?);
    train(backend, &trainer, &data, Some(&validation), &mut |_| Control::Continue)
}

/// That the same network gives the same bits alone and among all the others that are at work at the same time.
///
/// # Errors
/// The device failed.
pub fn companions<B: Backend>(backend: &B) -> Result<Finding> {
    let cases: Vec<Case> = cases().into_iter().step_by(5).collect();
    let alone = cases.iter().map(|case| case.steps(backend, 6, 6)).collect::<Result<Vec<End>>>()?;
    let together = std::thread::scope(|scope| {
        let threads: Vec<_> =
            cases.iter().enumerate().map(|(i, case)| scope.spawn(move || case.steps(backend, 6, 1 + i % 4))).collect();
        let ends = threads.into_iter().map(|thread| thread.join());
        let failed = || Error::Device("a comparison failed".to_owned());
        ends.map(|end| end.unwrap_or_else(|_| Err(failed()))).collect::<Result<Vec<End>>>()
    })?;
    let others = alone.iter().zip(&together).filter(|(alone, together)| alone != together).count();
    let name = format!("{} networks at once, bit for bit", cases.len());
    Ok(Finding { name, what: "networks with other bits", share: others as f64, agrees: others == 0, error: None })
}

/// Steps of a network with large products by both kinds of kernels that the device has for them.
fn twins<B: Backend>(backend: &B, case: &Case) -> Result<Finding> {
    let of = |backend: &B| case.steps(backend, case.steps, case.steps);
    let simpler = backend.with_twins(of).unwrap_or_else(|| of(backend))?;
    let (what, share, agrees) = Bounds::of(case.train.precision).worst(&of(backend)?.from(&simpler));
    Ok(Finding { name: format!("{}, both kinds of kernels", case.name), what, share, agrees, error: None })
}

/// Something to be compared.
#[derive(Clone, Debug)]
enum Comparison {
    /// Steps with the oracle's.
    Steps(Case),
    /// Steps by both kinds of kernels.
    Twins(Case),
    /// Epochs with the CPU's.
    Training(Case),
    /// Networks alone and together.
    Companions,
}

impl Comparison {
    fn name(&self) -> &str {
        match self {
            Comparison::Steps(case) | Comparison::Twins(case) | Comparison::Training(case) => &case.name,
            Comparison::Companions => "companions",
        }
    }

    /// What it comes to; an error of the device is a finding too.
    fn finding<B: Backend>(&self, backend: &B) -> (Finding, bool) {
        let made = match self {
            Comparison::Steps(case) => case.compare(backend),
            Comparison::Twins(case) => twins(backend, case),
            Comparison::Training(case) => follow(backend, case),
            Comparison::Companions => companions(backend),
        };
        let lost = matches!(made, Err(Error::Device(_)));
        let failed = |error: Error| {
            let (name, error) = (self.name().to_owned(), Some(error.to_string()));
            Finding { name, what: "failure", share: f64::NAN, agrees: false, error }
        };
        (made.unwrap_or_else(failed), lost)
    }
}

/// Everything that is compared on a device: f32, the precisions below it that the device has kernels of and the kinds
/// of those, trainings, many networks at once.
fn comparisons<B: Backend>(backend: &B) -> Vec<Comparison> {
    let mut list: Vec<Comparison> = cases().into_iter().chain(edges()).map(Comparison::Steps).collect();
    let has_twins = backend.with_twins(|_| ()).is_some();
    for precision in [Precision::High, Precision::Medium, Precision::Bf16] {
        for case in edges().into_iter().filter(|_| backend.precision(precision) == precision) {
            let case = case.at(precision);
            list.push(Comparison::Steps(case.clone()));
            if has_twins && case.is_large() && precision != Precision::Bf16 {
                list.push(Comparison::Twins(case));
            }
        }
    }
    list.extend([cases::training(), cases::adapting()].map(Comparison::Training));
    list.push(Comparison::Companions);
    list
}

/// Which of all comparisons are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// The number of the first, from 0.
    pub from: usize,
    /// Those whose name has one of these in it; all where there are none.
    pub only: &'a [String],
}

/// What a choice of comparisons came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// One a comparison that was made.
    pub list: Vec<Finding>,
    /// How many there are in all, with those that were not chosen.
    pub comparisons: usize,
    /// The number of the comparison after which the device was lost, where it was; those after it are not made, and may
    /// be asked for in a new process.
    pub lost: Option<usize>,
}

/// The chosen comparisons in their order; each is told, with its number, when it is made.
pub fn all<B: Backend>(backend: &B, choice: Choice<'_>, on_finding: &mut dyn FnMut(usize, &Finding)) -> Findings {
    let all = comparisons(backend);
    let mut findings = Findings { list: Vec::new(), comparisons: all.len(), lost: None };
    let chosen = |name: &str| choice.only.is_empty() || choice.only.iter().any(|part| name.contains(part.as_str()));
    for (i, comparison) in all.iter().enumerate().skip(choice.from).filter(|(_, it)| chosen(it.name())) {
        let (finding, lost) = comparison.finding(backend);
        on_finding(i, &finding);
        findings.list.push(finding);
        if lost {
            findings.lost = Some(i);
            break;
        }
    }
    findings
}

/// Three networks and a training: whether a device can be trusted at all, in some milliseconds. One of them is large
/// enough for products of their own, at the precision that trainings have where none is asked for.
///
/// # Errors
/// [`Error::Device`] where it computes other numbers than the oracle; the device failed.
pub fn quick<B: Backend>(backend: &B) -> Result<()> {
    let usual = backend.precision(TrainSpec::default().precision);
    let small = cases().into_iter().filter(|case| matches!(case.name.as_str(), "gelu" | "adam, clipped"));
    let large = cases().into_iter().filter(|case| case.name.starts_with("momentum, ") && case.batch > 19);
    let large = large.take(1).map(|case| case.at(usual));
    let findings = small.chain(large).map(|case| case.compare(backend)).chain([training(backend)]);
    let findings = findings.collect::<Result<Vec<_>>>()?;
    match findings.iter().find(|finding| !finding.agrees) {
        Some(Finding { name, what, share, .. }) => Err(Error::Device(format!(
            "{}: {name}: the {what} is {share:.0} times as far from the CPU's as rounding explains; `hpt-engine check` compares everything",
            backend.caps().device
        ))),
        None => Ok(()),
    }
}
