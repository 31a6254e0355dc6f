//! One trial: settings from parameters, a training that reports every epoch, its record, its model if it is good.

use super::Bridge;
use crate::backend::cores;
use crate::engine::{Engine, Fit, training_bytes, useful_threads};
use crate::history::{Direction, State, Trial};
use crate::model::{Model, Plan};
use crate::prepared::Sets;
use crate::settings::{Config, Settings};
use crate::space::Params;
use crate::study::{Context, ObjectiveEnd, Study, Verdict};
use crate::train::{Checkpoint, Control, Scores, Stopped, Trained};
use crate::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys of a trial's user attributes.
pub(super) const EPOCHS: &str = "best_epoch";
const SCORES: &str = "validation";

/// Repetition r of slot s draws the numbers of slot s + r·2⁴⁰; plans are shorter than that.
const REPETITION: u64 = 1 << 40;

/// Wall-clock limits, the time kept back for the last training, and the user's wish to stop.
pub(super) struct Budget {
    deadline: Option<Instant>,
    trial_limit: Option<Duration>,
    /// Milliseconds that the last training of the best trial so far will take.
    reserve: AtomicU64,
    /// The user's.
    asked: Arc<AtomicBool>,
    /// The study's: set when either the user or the clock says so.
    stop: Arc<AtomicBool>,
}

impl Budget {
    pub fn new(
        started: Instant,
        limit: Option<Duration>,
        trial_limit: Option<Duration>,
        asked: Arc<AtomicBool>,
    ) -> Self {
        let deadline = limit.and_then(|limit| started.checked_add(limit));
        Budget { deadline, trial_limit, reserve: AtomicU64::new(1000), asked, stop: Arc::default() }
    }

    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Whether trials should stop now.
    pub fn spent(&self) -> bool {
        let reserve = Duration::from_millis(self.reserve.load(Ordering::Relaxed));
        let late = self.deadline.is_some_and(|deadline| Instant::now() + reserve >= deadline);
        if late || self.asked.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    /// Keeps back what the last training is expected to take, and a second for encoding, testing and saving.
    pub fn keep_back(&self, seconds: f64) {
        self.reserve.store((1000.0 * (1.0 + seconds)) as u64, Ordering::Relaxed);
    }
}

/// The models of the best trials so far, one file each.
pub(super) struct Kept {
    folder: PathBuf,
    count: usize,
    direction: Direction,
    best: Mutex<Vec<(f64, u64)>>,
}

impl Kept {
    /// Finds the models that an earlier part of the study left.
    pub fn new(folder: &Path, count: usize, study: &Study) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            let name = folder.display();
            return Err(Error::input(format!("{name}: is a file, and the models need a folder; name one with --out")));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let direction = study.directions().first().copied().unwrap_or(Direction::Minimize);
        let kept = Kept { folder: folder.to_owned(), count, direction, best: Mutex::default() };
        let trials = study.trials()?;
        // A file of that name may be another study's.
        let ours = |trial: &&Trial| {
            let training = Model::load(&kept.path(trial.number)).map(|model| model.training);
            training
                .is_ok_and(|training| training.study.as_deref() == Some(study.name()) && training.slot == trial.slot())
        };
        let found = trials.iter().filter(|trial| trial.state == State::Complete).filter(ours);
        let found = found.filter_map(|trial| Some((trial.value()?, trial.number)));
        kept.best.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Ok(kept)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("trial-{number}.safetensors"))
    }

    /// Saves a trial's model if it is among the best, in place of the worst of them.
    fn offer(&self, number: u64, value: f64, model: &Model) -> Result<()> {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let better = best.iter().filter(|(other, _)| !self.direction.better(value, *other)).count();
        if better >= self.count {
            return Ok(());
        }
        model.save(&self.path(number))?;
        best.push((value, number));
        best.sort_by(|a, b| self.direction.loss(a.0).total_cmp(&self.direction.loss(b.0)).then(a.1.cmp(&b.1)));
        let count = self.count.min(best.len());
        for (_, dropped) in best.drain(count..) {
            let path = self.path(dropped);
            match std::fs::remove_file(&path) {
                // Another process of the same study may have been first.
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path, e)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A trial's settings: the fixed ones and its parameters.
pub(super) fn settings_of(fixed: &Settings, params: &Params) -> Result<Settings> {
    let mut own = Settings::default();
    for (name, value) in params {
        own.set(&format!("parameter {name}"), name, value)?;
    }
    Ok(fixed.with(&own))
}

/// The metrics that a trial stored.
pub(super) fn scores_of(trial: &Trial) -> Scores {
    trial.user.get(SCORES).and_then(|scores| serde_json::from_value(scores.clone()).ok()).unwrap_or_default()
}

/// What the study's workers run.
pub(super) struct Objective<'a> {
    pub bridge: &'a Bridge<'a>,
    pub budget: &'a Budget,
    pub kept: &'a Kept,
}

impl Objective<'_> {
    pub fn run(&self, context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
        let spec = self.bridge.spec;
        let Prepared { settings, config, sets, threads, engine } = self.prepare(context)?;
        let of_parts = crate::pruner::entry(&spec.pruner)?.of_parts;
        let (mut values, mut first) = (Vec::with_capacity(spec.repeats), None);
        for repetition in 0..spec.repeats as u64 {
            let slot = context.slot() + repetition * REPETITION;
            let reports = repetition == 0 && !of_parts;
            let training = Repetition { config: &config, sets: &sets, slot, threads, reports };
            let (model, trained) = self.train(context, &engine, &training)?;
            let value = trained.metric.ok_or_else(|| Error::input("the trial ran no epoch"))?;
            values.push(value);
            if repetition == 0 {
                first = Some((model, trained));
            }
            if of_parts {
                match context.report(repetition + 1, value) {
                    // The last one ends the trial anyhow.
                    _ if values.len() == spec.repeats => {}
                    Verdict::Continue => {}
                    Verdict::Prune => return Err(ObjectiveEnd::Pruned),
                    Verdict::Stop => return Err(ObjectiveEnd::Stopped),
                }
            }
        }
        let value = values.iter().sum::<f64>() / values.len() as f64;
        let Some((model, trained)) = first else { return Err(ObjectiveEnd::Failed("no repetition".to_owned())) };
        if spec.repeats > 1 {
            context.set_user("values", json!(values));
        }
        self.store(context, &engine, (&sets, &settings), model, value)?;
        record(context, &trained, threads);
        Ok(vec![value])
    }

    /// What a trial's parameters mean, and the device to train it on.
    fn prepare(&self, context: &Context<'_>) -> Result<Prepared, ObjectiveEnd> {
        let spec = self.bridge.spec;
        let settings = settings_of(&spec.fixed, context.params()).map_err(failed)?;
        let mut config = settings.resolve().map_err(failed)?;
        config.train.metric = Some(self.bridge.metric);
        let sets = self.bridge.prepared.sets(config.preprocess)?;
        let plan = Plan::new(&config.model, sets.train.inputs, sets.train.targets.outputs()).map_err(failed)?;
        let batch = config.train.batch_size.min(sets.train.rows);
        check_memory(&plan, batch, spec.trial_memory_limit)?;
        let threads = match spec.threads {
            0 => self.bridge.threads.min(useful_threads(&plan, batch)),
            threads => threads,
        };
        let mut engine = Engine::new(spec.device, threads)?;
        let sharers = context.workers();
        let threads = match spec.threads {
            0 => (cores() / sharers.load(Relaxed).max(1)).clamp(1, threads),
            threads => threads,
        };
        if spec.threads == 0 {
            engine = engine.shared(sharers);
        }
        Ok(Prepared { settings, config, sets, threads, engine })
    }

    /// Measures a trial's model, and keeps it if it is among the best.
    fn store(
        &self,
        context: &mut Context<'_>,
        engine: &Engine,
        (sets, settings): (&Sets, &Settings),
        mut model: Model,
        value: f64,
    ) -> Result<(), ObjectiveEnd> {
        if let Some(validation) = &sets.validation {
            context.set_user(SCORES, json!(engine.scores(&model, validation)?));
        }
        model.pipeline = Some(sets.pipeline.clone());
        model.training.settings = settings.to_json();
        model.training.seen = sets.seen.clone();
        model.training.study = Some(self.bridge.study.name().to_owned());
        // The trial is worth more than its model file.
        if let Err(error) = self.kept.offer(context.number(), value, &model) {
            self.bridge.progress.note(&format!("the model of trial {} is not kept: {error}", context.number()));
        }
        Ok(())
    }

    /// One member of a population for one generation: its value, and what it ended with.
    pub fn segment(&self, context: &mut Context<'_>, segment: &Segment<'_>) -> Result<(f64, Checkpoint), ObjectiveEnd> {
        let Prepared { settings, config, sets, threads, engine } = self.prepare(context)?;
        let cancelled = || self.budget.spent();
        let fit = Fit {
            validation: sets.validation.as_ref(),
            seed: self.bridge.spec.seed,
            slot: context.slot(),
            last_epoch: Some(segment.last_epoch),
            cancelled: &cancelled,
            ..Fit::new(&sets.train, &config.model, &config.train)
        };
        let (trained, checkpoint) = engine.resume(&fit, segment.from, &mut |epoch| {
            let verdict = epoch.metric.map_or(Verdict::Continue, |value| context.report(epoch.epoch as u64, value));
            if verdict == Verdict::Continue && !cancelled() { Control::Continue } else { Control::Stop }
        })?;
        if trained.stopped != Stopped::Finished {
            return Err(ObjectiveEnd::Stopped);
        }
        let value = trained.metric.ok_or_else(|| Error::input("the trial ran no epoch"))?;
        self.store(context, &engine, (&sets, &settings), fit.model_of(&trained)?, value)?;
        record(context, &trained, threads);
        Ok((value, checkpoint))
    }

    /// One training of a trial. The first repetition reports every epoch, and the pruner judges by it.
    fn train(
        &self,
        context: &mut Context<'_>,
        engine: &Engine,
        repetition: &Repetition<'_>,
    ) -> Result<(Model, Trained), ObjectiveEnd> {
        let started = Instant::now();
        let late = || self.budget.trial_limit.is_some_and(|limit| started.elapsed() >= limit);
        let cancelled = || late() || self.budget.spent();
        let Repetition { config, sets, slot, threads, reports } = *repetition;
        let fit = Fit {
            validation: sets.validation.as_ref(),
            seed: self.bridge.spec.seed,
            slot,
            cancelled: &cancelled,
            ..Fit::new(&sets.train, &config.model, &config.train)
        };
        let mut verdict = Verdict::Continue;
        let result = engine.train(&fit, &mut |epoch| {
            if let (true, Some(value)) = (reports, epoch.metric) {
                verdict = context.report(epoch.epoch as u64, value);
            }
            if verdict == Verdict::Continue && !cancelled() { Control::Continue } else { Control::Stop }
        });
        let (model, trained) = result?;
        // What ran to its end is complete, whatever was said after its last epoch.
        let ended = matches!(trained.stopped, Stopped::Finished | Stopped::Early);
        match verdict {
            _ if ended => Ok((model, trained)),
            Verdict::Prune => {
                record(context, &trained, threads);
                Err(ObjectiveEnd::Pruned)
            }
            _ if late() && trained.history.is_empty() => {
                let limit = self.budget.trial_limit.unwrap_or_default().as_secs_f64();
                Err(ObjectiveEnd::Failed(format!("the trial's time limit of {limit} s ended it in its first epoch")))
            }
            _ if late() => {
                record(context, &trained, threads);
                Err(ObjectiveEnd::Pruned)
            }
            _ => Err(ObjectiveEnd::Stopped),
        }
    }
}

/// A trial that is ready to train.
struct Prepared {
    settings: Settings,
    config: Config,
    sets: Arc<Sets>,
    threads: usize,
    engine: Engine,
}

/// A piece of a training: from where another one ended (none: from the start) to an epoch.
pub(super) struct Segment<'a> {
    pub from: Option<&'a Checkpoint>,
    pub last_epoch: usize,
}

#[derive(Clone, Copy)]
struct Repetition<'a> {
    config: &'a Config,
    sets: &'a Sets,
    slot: u64,
    threads: usize,
    reports: bool,
}

/// Fails a trial whose training would take more memory than one may.
fn check_memory(plan: &Plan, batch: usize, limit: Option<u64>) -> Result<(), ObjectiveEnd> {
    let needed = training_bytes(plan, batch);
    match limit {
        Some(limit) if needed > limit as f64 => {
            let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
            Err(ObjectiveEnd::Failed(format!(
                "not started: {} parameters with batches of {batch} take {}, above the trial's memory limit of {}",
                plan.parameters,
                mib(needed),
                mib(limit as f64)
            )))
        }
        _ => Ok(()),
    }
}

/// What is wrong with one configuration ends its trial, not the study.
fn failed(error: Error) -> ObjectiveEnd {
    ObjectiveEnd::Failed(error.to_string())
}

/// History and timing, as attributes of the trial.
fn record(context: &mut Context<'_>, trained: &Trained, threads: usize) {
    context.set_user("history", json!(trained.history));
    context.set_user("train_seconds", json!(trained.seconds));
    context.set_user("epochs_run", json!(trained.history.len()));
    context.set_user(EPOCHS, json!(trained.epoch));
    context.set_user("parameters", json!(trained.weights.len()));
    context.set_user("threads", json!(threads));
}
