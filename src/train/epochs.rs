//! The one training loop: epochs of runs of steps, the schedule, the metric, early stopping.

use super::metrics::Metric;
use super::{Checkpoint, Paused, Plateau, ScheduleKind, TrainSpec};
use crate::backend::{Backend, Detail, Member, Precision, Run, Tally, UpdateRule};
use crate::data::Dataset;
use crate::model::{Criterion, Plan};
use crate::random::{Purpose, Stream};
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// What is trained, and how.
#[derive(Clone, Copy)]
pub struct Trainer<'a> {
    /// Shapes and offsets.
    pub plan: &'a Plan,
    /// How to train.
    pub spec: &'a TrainSpec,
    /// Initial weights, in the order of the plan.
    pub weights: &'a [f32],
    /// Seed of shuffling and dropout.
    pub seed: u64,
    /// Place in the plan of a search; keys shuffling and dropout with the seed.
    pub slot: u64,
    /// End after this epoch, on a schedule that is laid out for all of `spec.epochs`.
    pub last_epoch: Option<usize>,
    /// Looked at between runs of steps; true ends the training with [`Stopped::Cancelled`].
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seed, slot) = (self.seed, self.slot);
        f.debug_struct("Trainer")
            .field("plan", self.plan)
            .field("spec", self.spec)
            .field("seed", &seed)
            .field("slot", &slot)
            .finish()
    }
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// The rate of its last step.
    pub learning_rate: f64,
    /// Mean loss of its steps, while they learned.
    pub train_loss: f64,
    /// Loss on the validation rows, where there are some.
    pub validation_loss: Option<f64>,
    /// The metric on the validation rows.
    pub metric: Option<f64>,
    /// The further metrics ([`TrainSpec::also`]), in their order; what is undefined is not a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "undefined")]
    pub also: Vec<f64>,
    /// Seconds of its training, validation excluded.
    pub seconds: f64,
}

/// JSON has no number for what is undefined.
fn undefined<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let values: Vec<Option<f64>> = serde::Deserialize::deserialize(from)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

/// Whether to go on after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Yes.
    Continue,
    /// No (a pruner's word).
    Stop,
}

/// Why a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Stopped {
    /// All epochs were run.
    Finished,
    /// The metric had stopped improving.
    Early,
    /// The callback said so.
    Asked,
    /// [`Trainer::cancelled`] said so.
    Cancelled,
}

/// A training that has ended.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Trained {
    /// The weights: of the best epoch with early stopping, else of the last, and of part of the next where it was
    /// cancelled in that and [`TrainSpec::keep_epochs`] did not say otherwise.
    #[serde(skip)]
    pub weights: Vec<f32>,
    /// Every epoch.
    pub history: Vec<Epoch>,
    /// The epoch whose weights these are, from 1; 0 where none was finished.
    pub epoch: usize,
    /// The metric of that epoch.
    pub metric: Option<f64>,
    /// Seconds of training, validation excluded.
    pub seconds: f64,
    /// Why it ended.
    pub stopped: Stopped,
}

/// Trains a network: `training` rows for learning, `validation` rows for the metric of every epoch.
///
/// `on_epoch` is told every epoch and may end the training. The numbers are a pure function of the trainer, the
/// data and the backend.
///
/// # Errors
/// A specification that is invalid or does not fit the data; a loss that is not finite ([`Error::Diverged`]); a
/// failing device.
pub fn train<B: Backend>(
    backend: &B,
    trainer: &Trainer<'_>,
    training: &B::Data,
    validation: Option<&B::Data>,
    on_epoch: &mut dyn FnMut(&Epoch) -> Control,
) -> Result<Trained> {
    let mut session = Session::start(backend, trainer, training, validation)?;
    let stopped = session.run(on_epoch)?;
    session.finish(stopped)
}

/// Trains as [`train`] does and, where the training was cancelled, says what it takes to go on; `from` is what an
/// earlier call said. The two together compute bit for bit what one call would have computed. `on_epoch` is told the
/// epochs of the earlier call again, before those of this one.
///
/// Not every training can be paused ([`TrainSpec::pauses`]).
///
/// # Errors
/// As [`train`]; `from` is of another network or of other data.
pub fn go_on<B: Backend>(
    backend: &B,
    trainer: &Trainer<'_>,
    from: Option<&Paused>,
    training: &B::Data,
    validation: Option<&B::Data>,
    on_epoch: &mut dyn FnMut(&Epoch) -> Control,
) -> Result<(Trained, Option<Paused>)> {
    from.map_or(Ok(()), |from| from.checkpoint.check_lengths(trainer.plan))?;
    let weights = from.map_or(trainer.weights, |from| &from.checkpoint.weights);
    let trainer = Trainer { weights, ..*trainer };
    let mut session = Session::start(backend, &trainer, training, validation)?;
    let told = match from {
        Some(from) => session.take_up(from, on_epoch)?,
        None => Control::Continue,
    };
    let stopped = if told == Control::Stop { Stopped::Asked } else { session.run(on_epoch)? };
    let paused = if stopped == Stopped::Cancelled { session.pause()? } else { None };
    Ok((session.finish(stopped)?, paused))
}

/// Goes on where another training of the same network ended (none: from the start), to [`Trainer::last_epoch`], and
/// says where this one ended. The trainer's own weights are not looked at where there is a checkpoint.
///
/// Epochs and steps go on counting, on a schedule laid out for all of `spec.epochs`: with the same specification and
/// slot, pieces compute bit for bit what one training does. Any setting may differ from the other training's that
/// leaves shapes alone; the history is that of this piece.
///
/// # Errors
/// As [`train`]; early stopping or the plateau schedule, which look back on the whole training; a checkpoint of another
/// network, or one that has come to the last epoch.
pub fn resume<B: Backend>(
    backend: &B,
    trainer: &Trainer<'_>,
    from: Option<&Checkpoint>,
    training: &B::Data,
    validation: Option<&B::Data>,
    on_epoch: &mut dyn FnMut(&Epoch) -> Control,
) -> Result<(Trained, Checkpoint)> {
    let spec = trainer.spec;
    let looks_back = match spec.schedule.kind {
        _ if spec.early_stopping.is_some() => Some("early_stopping"),
        ScheduleKind::Plateau => Some("schedule plateau"),
        ScheduleKind::Hypergradient => Some("schedule hypergradient"),
        _ => None,
    };
    if let Some(what) = looks_back {
        return Err(Error::input(format!("{what} looks back on a whole training; this one is made in pieces")));
    }
    let trainer = match from {
        None => *trainer,
        Some(from) => {
            from.check(trainer.plan, trainer.last_epoch.unwrap_or(spec.epochs).min(spec.epochs))?;
            Trainer { weights: &from.weights, ..*trainer }
        }
    };
    let mut session = Session::start(backend, &trainer, training, validation)?;
    if let Some(from) = from {
        session.before = from.epochs;
        backend.set_moments(&mut session.cohort, 0, &from.moments)?;
    }
    let stopped = session.run(on_epoch)?;
    let moments = backend.moments(&session.cohort, 0)?;
    let trained = session.finish(stopped)?;
    let checkpoint = Checkpoint { epochs: trained.epoch, weights: trained.weights.clone(), moments };
    Ok((trained, checkpoint))
}

struct Session<'a, B: Backend> {
    backend: &'a B,
    trainer: &'a Trainer<'a>,
    training: &'a B::Data,
    validation: Option<&'a B::Data>,
    metric: Metric,
    cohort: B::Cohort,
    plateau: Plateau,
    /// Row numbers in the order of the epoch.
    order: Vec<u32>,
    rates: Vec<f32>,
    losses: Vec<f64>,
    /// Of the validation rows, where they are looked at.
    outputs: Vec<f32>,
    history: Vec<Epoch>,
    /// Epochs that were made before this session.
    before: usize,
    /// Epoch and loss-like metric of the best weights.
    best: Option<(usize, f64)>,
    /// Steps of the next epoch that were made in an earlier session, and their seconds.
    ahead: (usize, f64),
    /// The weights of the last snapshot, where that is not the device's.
    kept: Option<Vec<f32>>,
}

impl<'a, B: Backend> Session<'a, B> {
    fn start(
        backend: &'a B,
        trainer: &'a Trainer<'a>,
        training: &'a B::Data,
        validation: Option<&'a B::Data>,
    ) -> Result<Self> {
        let (spec, data) = (trainer.spec, training.as_ref());
        spec.validate()?;
        check(trainer.plan, data, "training")?;
        if let Some(validation) = validation {
            check(trainer.plan, validation.as_ref(), "validation")?;
        }
        if spec.early_stopping.is_some() && validation.is_none() {
            let remedy = "give a validation split above 0 or leave it out";
            return Err(Error::input(format!(
                "early_stopping watches the validation rows, and there are none: {remedy}"
            )));
        }
        let batch_size = spec.batch_size.min(data.rows);
        let member = Member {
            plan: trainer.plan,
            weights: trainer.weights,
            batch_size,
            criterion: spec.criterion(data)?,
            update: UpdateRule {
                optimizer: spec.optimizer,
                weight_decay: spec.weight_decay as f32,
                l1: spec.l1 as f32,
                clip_norm: spec.clip_norm.map(|norm| norm as f32),
                hypergradient: spec.hypergradient()?,
            },
            seed: trainer.seed,
            slot: trainer.slot,
            precision: spec.precision,
        };
        let steps = data.rows.div_ceil(batch_size);
        let cohort = backend.begin(&[member])?;
        Ok(Session {
            backend,
            trainer,
            training,
            validation,
            metric: spec.metric_for(&data.targets)?,
            cohort,
            plateau: Plateau::new(&spec.schedule),
            order: (0..data.rows as u32).collect(),
            rates: vec![0.0; steps],
            losses: vec![0.0; steps],
            outputs: Vec::new(),
            history: Vec::with_capacity(spec.epochs.min(1000)),
            before: 0,
            best: None,
            ahead: (0, 0.0),
            kept: None,
        })
    }

    /// Goes back to where another session of the same training was paused, whose weights this one has begun with, and
    /// tells its epochs again.
    fn take_up(&mut self, from: &Paused, on_epoch: &mut dyn FnMut(&Epoch) -> Control) -> Result<Control> {
        from.check(self.trainer.plan, self.rates.len())?;
        self.backend.set_moments(&mut self.cohort, 0, &from.checkpoint.moments)?;
        self.losses[..from.losses.len()].copy_from_slice(&from.losses);
        self.ahead = (from.losses.len(), from.seconds);
        self.kept.clone_from(&from.kept);
        for record in &from.history {
            self.observe(record);
        }
        self.history.clone_from(&from.history);
        let mut told = self.history.iter().map(on_epoch);
        Ok(if told.any(|control| control == Control::Stop) { Control::Stop } else { Control::Continue })
    }

    /// What it takes to go on after the steps that were made.
    fn pause(&mut self) -> Result<Option<Paused>> {
        if !self.trainer.spec.pauses() {
            return Ok(None);
        }
        let checkpoint = Checkpoint {
            epochs: self.history.len(),
            weights: self.backend.weights(&self.cohort, 0)?,
            moments: self.backend.moments(&self.cohort, 0)?,
        };
        let (steps, seconds) = self.ahead;
        let kept = if self.keeps() { Some(self.kept()?.clone()) } else { None };
        Ok(Some(Paused {
            checkpoint,
            history: self.history.clone(),
            losses: self.losses[..steps].to_vec(),
            seconds,
            kept,
        }))
    }

    /// Runs the epochs up to the last and says why it ended.
    fn run(&mut self, on_epoch: &mut dyn FnMut(&Epoch) -> Control) -> Result<Stopped> {
        let last = self.trainer.last_epoch.unwrap_or(self.trainer.spec.epochs).min(self.trainer.spec.epochs);
        for epoch in self.before + self.history.len() + 1..=last {
            let Some(record) = self.epoch(epoch)? else { return Ok(Stopped::Cancelled) };
            let control = on_epoch(&record);
            if control == Control::Stop && epoch < last {
                return Ok(Stopped::Asked);
            }
            if self.has_stalled() && epoch < last {
                return Ok(Stopped::Early);
            }
        }
        Ok(Stopped::Finished)
    }

    /// Runs one epoch; none where the training was cancelled in it.
    fn epoch(&mut self, epoch: usize) -> Result<Option<Epoch>> {
        let start = Instant::now();
        let train_loss = self.learn(epoch)?;
        self.ahead.1 += start.elapsed().as_secs_f64();
        let Some(train_loss) = train_loss else { return Ok(None) };
        let (_, seconds) = std::mem::take(&mut self.ahead);
        let learning_rate = self.rate_at(self.rates.len().saturating_sub(1));
        let mut record =
            Epoch { epoch, learning_rate, train_loss, validation_loss: None, metric: None, also: Vec::new(), seconds };
        if let Some(validation) = self.validation {
            let (loss, tally) = self.validate(validation)?;
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch, learning_rate, loss });
            }
            let data = validation.as_ref();
            let score = |metric: Metric| match &tally {
                Some(tally) => metric.of_tally(tally, &data.targets, loss),
                None => metric.score(&self.outputs, &data.targets, loss),
            };
            let metric = score(self.metric);
            if metric.is_nan() {
                let name = self.metric;
                return Err(Error::input(format!(
                    "metric {name} is undefined on the validation rows: they are too few, or of one class only"
                )));
            }
            (record.validation_loss, record.metric) = (Some(loss), Some(metric));
            record.also = self.trainer.spec.also.iter().map(|&also| score(also)).collect();
        }
        let is_best = self.observe(&record);
        let spec = self.trainer.spec;
        let is_kept = if spec.early_stopping.is_some() { is_best } else { spec.keep_epochs };
        if is_kept {
            self.backend.snapshot(&mut self.cohort, 0)?;
            self.kept = None;
        }
        self.history.push(record.clone());
        Ok(Some(record))
    }

    /// The loss of the validation rows; what was counted of them, or else all outputs in their place.
    fn validate(&mut self, validation: &B::Data) -> Result<(f64, Option<Tally>)> {
        let mut metrics = [self.metric].into_iter().chain(self.trainer.spec.also.iter().copied());
        // All of them by counts, or none: whoever needs the outputs has them for all.
        if let Some(detail) = metrics.try_fold(Detail::Rows, |most, metric| Some(most.max(metric.detail()?)))
            && let Some((loss, tally)) = self.backend.tally(&mut self.cohort, 0, validation, detail)?
        {
            return Ok((loss, Some(tally)));
        }
        self.outputs.resize(validation.as_ref().rows * self.trainer.plan.outputs, 0.0);
        Ok((self.backend.evaluate(&mut self.cohort, 0, validation, &mut self.outputs)?, None))
    }

    /// Makes the steps of one epoch and returns their mean loss, weighted by rows.
    fn learn(&mut self, epoch: usize) -> Result<Option<f64>> {
        let Trainer { spec, seed, slot, .. } = *self.trainer;
        let (steps, first) = (self.rates.len(), (epoch - 1) as u64 * self.rates.len() as u64);
        // From the same order every time, so that an epoch's order is a function of its number.
        self.order.iter_mut().enumerate().for_each(|(i, row)| *row = i as u32);
        Stream::new(seed, slot, Purpose::Shuffle, epoch as u64).shuffle(&mut self.order);
        let total = (steps as u64).saturating_mul(spec.epochs as u64);
        for (i, rate) in self.rates.iter_mut().enumerate() {
            let step = first + i as u64;
            let rate_of = spec.schedule.rate(spec.learning_rate, step, total, steps as u64, self.plateau.factor());
            *rate = rate_of as f32;
        }
        let batch_size = spec.batch_size.min(self.order.len());
        let run_steps =
            ((self.backend.run_flops() / self.trainer.plan.step_flops(batch_size)) as usize).clamp(1, steps);
        for start in (self.ahead.0..steps).step_by(run_steps) {
            self.ahead.0 = start;
            if (self.trainer.cancelled)() {
                return Ok(None);
            }
            let part = start..steps.min(start + run_steps);
            let rows = start * batch_size..self.order.len().min(part.end * batch_size);
            let run = Run {
                first_step: first + start as u64,
                rows: &self.order[rows],
                batch_size,
                rates: &self.rates[part.clone()],
                losses: &mut self.losses[part.clone()],
            };
            self.backend.advance(&mut self.cohort, self.training, &mut [run])?;
            if let Some(i) = part.clone().find(|&i| !self.losses[i].is_finite()) {
                return Err(Error::Diverged { epoch, learning_rate: self.rate_at(i), loss: self.losses[i] });
            }
        }
        let rows_of = |i: usize| batch_size.min(self.order.len() - i * batch_size) as f64;
        let sum: f64 = self.losses.iter().enumerate().map(|(i, loss)| loss * rows_of(i)).sum();
        Ok(Some(sum / self.order.len() as f64))
    }

    /// The rate of a step of the epoch, with what the backend has added to it.
    fn rate_at(&self, step: usize) -> f64 {
        f64::from(self.rates[step]) + self.backend.rate_offset(&self.cohort, 0)
    }

    /// Takes what an epoch came to, for the schedule and early stopping; true where it is the best so far.
    fn observe(&mut self, record: &Epoch) -> bool {
        let loss = record.metric.map(|metric| self.metric.as_loss(metric));
        self.plateau.observe(loss.unwrap_or(record.train_loss));
        let best = loss.filter(|&loss| self.best.is_none_or(|(_, best)| loss < best));
        self.best = best.map(|loss| (record.epoch, loss)).or(self.best);
        best.is_some()
    }

    fn has_stalled(&self) -> bool {
        let (Some(patience), Some((best, _))) = (self.trainer.spec.early_stopping, self.best) else { return false };
        self.history.len() - best >= patience
    }

    /// Whether weights are kept that the training may have to go back to.
    fn keeps(&self) -> bool {
        let spec = self.trainer.spec;
        if spec.early_stopping.is_some() { self.best.is_some() } else { spec.keep_epochs && !self.history.is_empty() }
    }

    /// The weights of the last snapshot, to which the device goes back.
    fn kept(&mut self) -> Result<&Vec<f32>> {
        let kept = match self.kept.take() {
            Some(kept) => kept,
            None => {
                self.backend.restore(&mut self.cohort, 0)?;
                self.backend.weights(&self.cohort, 0)?
            }
        };
        Ok(self.kept.insert(kept))
    }

    fn finish(mut self, stopped: Stopped) -> Result<Trained> {
        let looks_back = self.trainer.spec.early_stopping.is_some();
        let weights = match self.keeps() && (looks_back || stopped == Stopped::Cancelled) {
            true => self.kept()?.clone(),
            false => self.backend.weights(&self.cohort, 0)?,
        };
        let made = self.before + self.history.len();
        let epoch = self.best.filter(|_| looks_back).map_or(made, |(best, _)| best);
        Ok(Trained {
            weights,
            epoch,
            metric: epoch.checked_sub(self.before + 1).and_then(|i| self.history[i].metric),
            seconds: self.history.iter().map(|epoch| epoch.seconds).sum(),
            history: self.history,
            stopped,
        })
    }
}

/// That a dataset fits a plan.
fn check(plan: &Plan, data: &Dataset, name: &str) -> Result<()> {
    let outputs = data.targets.outputs();
    if data.rows == 0 {
        return Err(Error::input(format!("there are no {name} rows")));
    }
    if data.rows > u32::MAX as usize {
        return Err(Error::input(format!("{} {name} rows; at most {} can be trained on", data.rows, u32::MAX)));
    }
    if data.inputs != plan.inputs || outputs != plan.outputs {
        return Err(Error::input(format!(
            "the {name} rows have {} features and {outputs} outputs; the network has {} and {}",
            data.inputs, plan.inputs, plan.outputs
        )));
    }
    Ok(())
}

/// Outputs and loss of weights that are trained already, over a whole dataset.
///
/// # Errors
/// The data do not fit the plan, or the device failed.
pub fn evaluate<B: Backend>(
    backend: &B,
    plan: &Plan,
    weights: &[f32],
    criterion: Criterion,
    data: &Arc<Dataset>,
) -> Result<(Vec<f32>, f64)> {
    if data.inputs != plan.inputs {
        let (found, expected) = (data.inputs, plan.inputs);
        return Err(Error::input(format!("the rows have {found} features; the network was trained on {expected}")));
    }
    let optimizer = super::Optimizer::Sgd;
    let update = UpdateRule { optimizer, weight_decay: 0.0, l1: 0.0, clip_norm: None, hypergradient: None };
    let precision = Precision::Highest;
    let member = Member { plan, weights, batch_size: 1, criterion, update, seed: 0, slot: 0, precision };
    // The data first: whoever holds memory of a device for a model must not wait for more.
    let uploaded = backend.upload(data.clone())?;
    let mut cohort = backend.begin(&[member])?;
    let mut outputs = vec![0.0; data.rows * plan.outputs];
    let loss = backend.evaluate(&mut cohort, 0, &uploaded, &mut outputs)?;
    Ok((outputs, loss))
}
