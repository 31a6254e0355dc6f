//! The end of a search: the best configuration trained once more on all development rows, or the best trial's own
//! model; tested once, saved.

use super::Bridge;
use super::budget::Costs;
use super::kept::Kept;
use super::population::Members;
use super::ready::settings_of;
use super::trial::{EPOCHS, SCORING, WEIGHTS};
use crate::backend::cores;
use crate::engine::{Engine, Fit, threads_gain, useful_threads};
use crate::history::Trial;
use crate::model::{Model, Plan};
use crate::prepared::Sets;
use crate::random::{Purpose, Stream};
use crate::train::{Control, Diagnostics, Scores, Stopped, hash_of, intervals, rehearse};
use crate::{Error, Result};
use indexmap::IndexMap;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::time::Instant;

pub use crate::train::Interval;

/// Attributes of a study: how its model came about, and what the test of it said.
const FINAL: &str = "final";
const TEST: &str = "test";

/// The test is rehearsed on a share of its rows, of some at least: fewer take no time that could be measured.
const REHEARSED: usize = 8;
const LEAST: usize = 500;

/// Metrics on the test rows, each with a 95 % interval where one was computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// The metrics.
    pub scores: Scores,
    /// By the metric's name: 95 % bootstrap percentile intervals over the test rows.
    pub intervals: IndexMap<String, Interval>,
}

pub(super) struct Finished {
    pub path: PathBuf,
    pub test: Option<Tested>,
}

/// What the end of the search takes if `best` stays the best: from what its own trial took.
pub(super) fn costs(bridge: &Bridge<'_>, best: &Trial) -> Costs {
    let number = |name: &str| best.user.get(name).and_then(Json::as_f64);
    let (_, validation, test) = bridge.prepared.rows();
    // Scored and saved: there the validation rows, here the test's.
    let scoring = number(SCORING).unwrap_or(0.0) * (test as f64 / validation.max(1) as f64).max(1.0);
    let own = bridge.ending + scoring;
    let retrained = |training: f64| {
        // Some noise either way, and threads that share it better than is counted on.
        [1.1, 0.8].map(|slower| own + bridge.prepared.encoding_seconds() + slower * training)
    };
    let is_there = || matches!(standing(bridge, best), Ok(Some(_)));
    let retrains = bridge.spec.retrain && !is_there();
    Costs { own, retrained: retrains.then(|| retrained(training_seconds(bridge, best))) }
}

/// Seconds that the last training takes: the trial's own, for more rows and fewer epochs, less where more threads share
/// it (two make a large training 1.8 times as fast; 1.5 is counted on, three quarters of their number, or what is
/// estimated where that is less).
fn training_seconds(bridge: &Bridge<'_>, best: &Trial) -> f64 {
    let number = |name: &str| best.user.get(name).and_then(Json::as_f64);
    let (Some(seconds), Some(run), Some(epochs)) = (number("train_seconds"), number("epochs_run"), number(EPOCHS))
    else {
        return 0.0;
    };
    let (train, validation, _) = bridge.prepared.rows();
    let rows = (train + validation) as f64 / train.max(1) as f64;
    let (threads, shared) = (number("threads").unwrap_or(1.0).max(1.0), bridge.spec.threads == 0);
    // A training that got fewer threads beside others may get more.
    let gain = || {
        let config = settings_of(&bridge.spec.fixed, &best.params)?.resolve()?;
        let sets = bridge.prepared.sets(config.preprocess)?;
        let plan = Plan::new(&config.model, sets.train.inputs, sets.train.targets.outputs())?;
        let (gain, useful) = threads_gain(&plan, &config.train, &sets.train, threads);
        Ok::<f64, Error>(gain.min(0.75 * useful as f64 / threads).max(1.0))
    };
    // A GPU that trained many at once has room for one alone.
    let faster = match bridge.engine.makes_cohorts() {
        true if bridge.jobs > 1 => 2.0,
        false if shared => gain().unwrap_or(1.0),
        _ => 1.0,
    };
    // More jobs than cores took turns; those that share have one core each then.
    let turns = (if shared { 1.0 } else { threads } * bridge.jobs as f64 / cores() as f64).max(1.0);
    let turns = if bridge.engine.makes_cohorts() { 1.0 } else { turns };
    // A member of a population trained its own piece only, up to an epoch of the whole.
    seconds * rows * (epochs / run.max(1.0)) / faster / turns
}

/// Seconds from the outputs for the test rows to all that is said of them, by a rehearsal with outputs that say
/// nothing, on a share of the rows: sorting them takes n·log n, all else n. Of two rehearsals the faster one counts.
pub(super) fn judging_seconds(sets: &Sets, seed: u64) -> f64 {
    let Some(test) = &sets.test else { return 0.0 };
    let rows = test.rows.div_ceil(REHEARSED).max(LEAST.min(test.rows));
    let targets = test.targets.first(rows);
    let mut stream = Stream::new(seed, 0, Purpose::Bootstrap, u64::MAX);
    let outputs: Vec<f32> = (0..rows * targets.outputs()).map(|_| stream.uniform() as f32).collect();
    let once = || {
        let started = Instant::now();
        drop((Scores::measure(&outputs, &targets, 0.0), Diagnostics::of(&outputs, &targets)));
        let sorted = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let share = rehearse(&outputs, &targets, seed, test.rows);
        let drawn = started.elapsed().as_secs_f64() * share;
        let more = test.rows as f64 / rows as f64;
        more * (sorted * (test.rows as f64).ln_1p() / (rows as f64).ln_1p() + drawn)
    };
    once().min(once())
}

/// What an earlier call made of `best` by a last training and tested, where it is there as it was: it would come out
/// the same again.
pub(super) fn standing(bridge: &Bridge<'_>, best: &Trial) -> Result<Option<Finished>> {
    let (train, validation, _) = bridge.prepared.rows();
    let Some(record) = bridge.study.attribute(FINAL)?.filter(|_| bridge.spec.retrain) else { return Ok(None) };
    let path = model_path(bridge);
    if record["trial"] != best.number || record["rows"] != train + validation {
        return Ok(None);
    }
    // Whatever the file's name, these weights are no other study's.
    let is_ours = |model: &Model| record[WEIGHTS] == hash_of(&model.weights);
    if !Model::load(&path).is_ok_and(|model| is_ours(&model)) {
        return Ok(None);
    }
    let tested = bridge.study.attribute(TEST)?;
    let part = |name: &str| tested.as_ref().and_then(|tested| tested.get(name).cloned());
    let scores = part("scores").and_then(|scores| serde_json::from_value(scores).ok());
    let intervals = part("intervals").and_then(|intervals| serde_json::from_value(intervals).ok());
    let test = scores.zip(intervals).map(|(scores, intervals)| Tested { scores, intervals });
    let is_tested = test.is_some() || bridge.prepared.rows().2 == 0;
    Ok(is_tested.then_some(Finished { path, test }))
}

fn model_path(bridge: &Bridge<'_>) -> PathBuf {
    bridge.out.join("model.safetensors")
}

/// Trains `best` on training and validation rows for the epochs that were best for it, tests and saves the model.
///
/// # Errors
/// [`Error::Interrupted`] where `cancelled` said so.
pub(super) fn retrain(bridge: &Bridge<'_>, best: &Trial, cancelled: &(dyn Fn() -> bool + Sync)) -> Result<Finished> {
    let settings = settings_of(&bridge.spec.fixed, &best.params)?;
    let mut config = settings.resolve()?;
    config.train.metric = Some(bridge.watched);
    // There are no validation rows left to watch; the number of epochs is known.
    config.train.early_stopping = None;
    let epochs = best.user.get(EPOCHS).and_then(Json::as_u64).map(|epochs| epochs as usize);
    let sets = bridge.prepared.final_sets(config.preprocess)?;
    let plan = Plan::new(&config.model, sets.train.inputs, sets.train.targets.outputs())?;
    let threads = match bridge.spec.threads {
        0 => useful_threads(&plan, &config.train, &sets.train),
        threads => threads,
    };
    let fit = Fit {
        seed: bridge.spec.seed,
        slot: best.slot(),
        last_epoch: epochs,
        cancelled,
        ..Fit::new(&sets.train, &config.model, &config.train)
    };
    let engine = bridge.engine_for(&fit, threads)?;
    let threads = engine.caps().threads;
    let of = epochs.unwrap_or(config.train.epochs);
    bridge.progress.retraining(0, of);
    let (mut model, trained) = match Members::of(bridge)? {
        Some(members) => members.retrain(best, &sets, threads, cancelled)?,
        None => engine.train(&fit, &mut |epoch| {
            bridge.progress.retraining(epoch.epoch, of);
            Control::Continue
        })?,
    };
    if trained.stopped == Stopped::Cancelled {
        return Err(Error::Interrupted);
    }
    model.pipeline = Some(sets.pipeline.clone());
    model.training.settings = settings.to_json();
    model.training.seen = sets.seen.clone();
    model.training.study = Some(bridge.study.name().to_owned());
    let record = json!({
        "trial": best.number,
        "epochs": trained.epoch,
        "train_seconds": trained.seconds,
        "rows": sets.train.rows,
        "threads": threads,
        "schedule": model.training.schedule,
    });
    conclude(bridge, &engine, &model, &sets, record)
}

/// Tests and saves the model of `best` as its trial left it; none where that is not there.
pub(super) fn adopt(bridge: &Bridge<'_>, best: &Trial, kept: &Kept) -> Result<Option<Finished>> {
    let Some(model) = kept.model(best, &bridge.study) else { return Ok(None) };
    let preprocess = settings_of(&bridge.spec.fixed, &best.params)?.resolve()?.preprocess;
    let sets = bridge.prepared.sets(preprocess)?;
    let engine = bridge.engine.with_threads(cores())?;
    let record = json!({ "trial": best.number, "rows": sets.train.rows, "schedule": model.training.schedule });
    conclude(bridge, &engine, &model, &sets, record).map(Some)
}

/// Saves and tests the result, and stores `record` of how it came about.
fn conclude(bridge: &Bridge<'_>, engine: &Engine, model: &Model, sets: &Sets, mut record: Json) -> Result<Finished> {
    let path = model_path(bridge);
    model.save(&path)?;
    let test = test(bridge, engine, model, sets)?;
    record["model"] = path.display().to_string().into();
    record[WEIGHTS] = hash_of(&model.weights).into();
    bridge.study.set_attribute(FINAL, &record)?;
    Ok(Finished { path, test })
}

/// Looks at the test rows, once, and stores what a report draws.
fn test(bridge: &Bridge<'_>, engine: &Engine, model: &Model, sets: &Sets) -> Result<Option<Tested>> {
    let Some(test) = &sets.test else { return Ok(None) };
    let (outputs, loss) = engine.outputs(model, test)?;
    let scores = Scores::measure(&outputs, &test.targets, loss);
    let intervals = intervals(&outputs, &test.targets, bridge.spec.seed);
    let stored = json!({
        "scores": scores,
        "intervals": intervals,
        "rows": test.rows,
        "diagnostics": Diagnostics::of(&outputs, &test.targets),
        "task": sets.pipeline.task(),
    });
    bridge.study.set_attribute(TEST, &stored)?;
    Ok(Some(Tested { scores, intervals }))
}
