//! One trial: settings from parameters, a training that reports every epoch, its record, its model if it is good.

use super::Bridge;
use super::budget::Budget;
use super::kept::{Kept, Unfinished};
use super::measure::{self, Constraint, Measure};
use crate::backend::cores;
use crate::engine::{Engine, Fit, training_bytes, useful_threads};
use crate::history::Trial;
use crate::model::{Model, Plan};
use crate::prepared::Sets;
use crate::settings::{Config, Settings};
use crate::space::Params;
use crate::study::{Context, ObjectiveEnd, Study, Verdict};
use crate::train::{Checkpoint, Control, Epoch, Metric, Scores, Stopped, Trained};
use crate::{Error, Result};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Keys of a trial's user attributes.
pub(super) const EPOCHS: &str = "best_epoch";
/// What ended a trial that has a result before its time.
pub(super) const ENDED: &str = "ended_by";

/// How what [`ENDED`] says begins where the time of the whole search was up.
pub(super) const SEARCH_LIMIT: &str = "the search's time limit";

/// Whether the time limit of the whole search ended the trial: it is a result for want of a better one, not what its
/// configuration comes to.
pub(super) fn is_cut(trial: &Trial) -> bool {
    trial.user.get(ENDED).and_then(serde_json::Value::as_str).is_some_and(|why| why.starts_with(SEARCH_LIMIT))
}
/// Seconds from the end of its first training: scores of the validation rows, and the model's file where it was kept.
pub(super) const SCORING: &str = "scoring_seconds";
const SCORES: &str = "validation";
/// What was watched, in each of several trainings.
const VALUES: &str = "values";

/// Training p of slot s draws the numbers of slot s + p·2⁴⁰; plans are shorter than that.
const TRAINING: u64 = 1 << 40;

/// A trial's settings: the fixed ones and its parameters.
pub(super) fn settings_of(fixed: &Settings, params: &Params) -> Result<Settings> {
    let mut own = Settings::default();
    for (name, value) in params {
        own.set(&format!("parameter {name}"), name, value)?;
    }
    Ok(fixed.with(&own))
}

/// The metrics that a trial stored.
pub(super) fn scores_of(study: &Study, trial: &Trial) -> Result<Scores> {
    let scores = study.attributes_of(trial.number)?.remove(SCORES);
    Ok(scores.and_then(|scores| serde_json::from_value(scores).ok()).unwrap_or_default())
}

/// What each of a trial's trainings came to, where there are several.
pub(super) fn parts_of(study: &Study, trial: &Trial) -> Result<Vec<f64>> {
    let values = study.attributes_of(trial.number)?.remove(VALUES);
    Ok(values.and_then(|values| serde_json::from_value(values).ok()).unwrap_or_default())
}

/// What the study's workers run.
pub(super) struct Objective<'a> {
    pub bridge: &'a Bridge<'a>,
    pub budget: &'a Budget,
    pub kept: &'a Kept,
}

impl Objective<'_> {
    pub fn run(&self, context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
        let Prepared { settings, config, sets: first_sets, parameters, threads, engine } = self.prepare(context)?;
        let of_parts = self.bridge.method.pruner()?.of_parts();
        let parts = self.bridge.parts;
        let (mut first, mut measured) = (None, Vec::<Measured>::with_capacity(parts));
        let mut scoring = 0.0;
        let inference_seconds = self.inference_seconds(&engine, &config, &first_sets)?;
        // What was measured now is the trial's value, however it is trained.
        self.price(context, parameters, inference_seconds)?;
        let started = Instant::now();
        for part in 0..parts {
            let slot = context.slot() + part as u64 * TRAINING;
            let sets = &self.bridge.prepared.sets_of(config.preprocess, part)?;
            let reports = part == 0 && !of_parts;
            let training = Training {
                settings: &settings,
                config: &config,
                sets,
                parameters,
                slot,
                threads,
                reports,
                started,
                inference_seconds,
                earlier: &measured,
            };
            let (model, trained, cut) = self.train(context, &engine, &training)?;
            let mut cut = cut;
            // Of several trainings those count that ran to their ends, and the last fold or the only repetition as it was.
            let in_folds = self.bridge.prepared.folds() > 0;
            let counts = if in_folds { part + 1 == parts && trained.metric.is_some() } else { part == 0 };
            if cut.is_none() || counts {
                let fixed = Fixed { parameters: parameters as f64, inference_seconds };
                let ended = Instant::now();
                measured.push(self.measure(&engine, &model, &trained, sets, fixed)?);
                if part == 0 {
                    scoring = ended.elapsed().as_secs_f64();
                    first = Some((model, trained));
                }
            }
            if cut.is_none() && of_parts {
                match self.report_part(context, part as u64 + 1, &measured) {
                    // The last one ends the trial anyhow.
                    _ if measured.len() == parts => {}
                    Verdict::Continue => {}
                    Verdict::Prune => {
                        if let Some((_, trained)) = &first {
                            record(context, trained, threads);
                        }
                        self.record_parts(context, &measured);
                        return Err(ObjectiveEnd::Pruned);
                    }
                    Verdict::Stop if self.budget.delivers() => cut = Some(Limit::Search),
                    Verdict::Stop => return Err(ObjectiveEnd::Stopped),
                }
            }
            if let Some(limit) = cut {
                self.end_early(context, limit, part, &mut measured)?;
                break;
            }
        }
        let mean = |measure: Measure| self.mean(measure, &measured);
        let values =
            self.bridge.objectives.iter().map(|objective| mean(*objective)).collect::<Result<Vec<f64>, _>>()?;
        let constraints = &self.bridge.spec.constraints;
        let mut violations = Vec::with_capacity(constraints.len());
        for constraint in constraints {
            violations.push(constraint.violation(mean(constraint.measure)?));
        }
        let Some((model, trained)) = first else { return Err(ObjectiveEnd::Failed("no training".to_owned())) };
        // Where a constraint is met, by how much does not matter.
        let violation = violations.iter().map(|violation| violation.max(0.0)).sum();
        let saving = Instant::now();
        self.keep(context, (&first_sets, &settings), model, &values, violation);
        context.set_user(SCORING, json!(scoring + saving.elapsed().as_secs_f64()));
        record(context, &trained, threads);
        context.set_user("parameters", json!(parameters));
        self.record_parts(context, &measured);
        if let Some(seconds) = inference_seconds {
            context.set_user("inference_seconds", json!(seconds));
        }
        if !violations.is_empty() {
            context.set_constraints(violations);
        }
        Ok(values)
    }

    /// Ends a trial in training `part` by a time limit: with the trainings that can be compared with those of other trials.
    fn end_early(
        &self,
        context: &mut Context<'_>,
        limit: Limit,
        part: usize,
        measured: &mut Vec<Measured>,
    ) -> Result<(), ObjectiveEnd> {
        let (parts, folds) = (self.bridge.parts, self.bridge.prepared.folds());
        let what = if parts > 1 { format!(" in training {} of {parts}", part + 1) } else { String::new() };
        let why = json!(format!("{}{what}", self.said(limit)));
        if folds > 0 && measured.len() < parts {
            // Some folds are easier than others: what a few of them came to is compared with nothing.
            match (measured.len() / folds * folds, limit) {
                (0, Limit::Search) => return Err(ObjectiveEnd::Stopped),
                (0, Limit::Trial) => {
                    context.set_user("pruned_because", why);
                    return Err(ObjectiveEnd::Pruned);
                }
                (whole, _) => measured.truncate(whole),
            }
        }
        context.set_user(ENDED, why);
        Ok(())
    }

    /// A time limit, for messages.
    fn said(&self, limit: Limit) -> String {
        match limit {
            Limit::Trial => format!("the trial's time limit of {} s", self.trial_limit()),
            Limit::Search => format!("{SEARCH_LIMIT} of {} s", self.budget.limit),
        }
    }

    /// What the trainings of a trial came to together: means, and the value and best epoch of each.
    fn record_parts(&self, context: &mut Context<'_>, measured: &[Measured]) {
        context.set_user(SCORES, json!(mean_scores(measured)));
        if measured.len() < 2 {
            return;
        }
        let watched: Vec<f64> = measured.iter().map(|one| one.watched).collect();
        context.set_user(VALUES, json!(watched));
        // They tell the error of the value where that is what was watched.
        if self.bridge.objectives == [Measure::Metric(self.bridge.watched)] {
            context.set_parts(&watched);
        }
        // The last training is for so many epochs.
        let mut epochs: Vec<usize> = measured.iter().map(|one| one.epoch).collect();
        epochs.sort_unstable();
        context.set_user(EPOCHS, json!(epochs[epochs.len() / 2]));
    }

    /// What a trial's parameters mean, and the device to train it on.
    fn prepare(&self, context: &mut Context<'_>) -> Result<Prepared, ObjectiveEnd> {
        let spec = self.bridge.spec;
        let settings = settings_of(&spec.fixed, context.params()).map_err(failed)?;
        let mut config = settings.resolve().map_err(failed)?;
        config.train.metric = Some(self.bridge.watched);
        let watched = Measure::Metric(self.bridge.watched);
        let further = self.bridge.objectives.iter().filter(|objective| **objective != watched);
        config.train.also = further.filter_map(|objective| objective.metric()).collect();
        // Whatever the clock may end leaves the model of its last whole epoch.
        config.train.keep_epochs =
            spec.trial_time_limit.is_some() || self.budget.is_limited() || self.budget.may_deliver();
        let sets = self.bridge.prepared.sets(config.preprocess)?;
        let plan = Plan::new(&config.model, sets.train.inputs, sets.train.targets.outputs()).map_err(failed)?;
        let batch = config.train.batch_size.min(sets.train.rows);
        check_memory(&plan, batch, spec.trial_memory_limit)?;
        let parameters = plan.parameters;
        self.price(context, parameters, None)?;
        let threads = match spec.threads {
            0 => self.bridge.threads.min(useful_threads(&plan, batch)),
            threads => threads,
        };
        let fit = Fit { validation: sets.validation.as_ref(), ..Fit::new(&sets.train, &config.model, &config.train) };
        let mut engine = self.bridge.engine_for(&fit, threads)?;
        let sharers = context.workers();
        let threads = match spec.threads {
            _ if engine.makes_cohorts() => 1,
            0 => (cores() / sharers.load(Relaxed).max(1)).clamp(1, threads),
            threads => threads,
        };
        if spec.threads == 0 {
            engine = engine.shared(sharers);
        }
        Ok(Prepared { settings, config, sets, parameters, threads, engine })
    }

    /// Writes into a model what it needs to be used, and where it comes from.
    fn sign(&self, model: &mut Model, sets: &Sets, settings: &Settings) {
        model.pipeline = Some(sets.pipeline.clone());
        model.training.settings = settings.to_json();
        model.training.seen = sets.seen.clone();
        model.training.study = Some(self.bridge.study.name().to_owned());
    }

    /// Keeps a trial's model if it is among the best.
    fn keep(
        &self,
        context: &Context<'_>,
        (sets, settings): (&Sets, &Settings),
        mut model: Model,
        values: &[f64],
        violation: f64,
    ) {
        self.sign(&mut model, sets, settings);
        // The trial is worth more than its model file.
        if let Err(error) = self.kept.offer(context.number(), values, violation, &model) {
            self.bridge.progress.note(&format!("the model of trial {} is not kept: {error}", context.number()));
        }
    }

    /// Keeps what a training has come to when the user interrupts it and there is no result yet.
    fn keep_interrupted(
        &self,
        context: &Context<'_>,
        (sets, settings): (&Sets, &Settings),
        mut model: Model,
        trained: &Trained,
    ) {
        if let (true, true, Some(value)) = (self.budget.asked(), self.budget.may_deliver(), trained.metric) {
            self.sign(&mut model, sets, settings);
            let loss = self.bridge.watched.as_loss(value);
            self.kept.interrupted(Unfinished { trial: context.number(), epoch: trained.epoch, value, loss, model });
        }
    }

    /// One member of a population for one generation: its value, and what it ended with; that is not known where the search's
    /// time limit ended it.
    pub fn segment(
        &self,
        context: &mut Context<'_>,
        segment: &Segment<'_>,
    ) -> Result<(f64, Option<Checkpoint>), ObjectiveEnd> {
        let Prepared { settings, config, sets, threads, engine, .. } = self.prepare(context)?;
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
        let cut = trained.stopped != Stopped::Finished;
        if cut {
            // Its moments may be those of a part of the next epoch.
            if !self.budget.delivers() || trained.history.is_empty() {
                if let Ok(model) = fit.model_of(&trained) {
                    self.keep_interrupted(context, (&sets, &settings), model, &trained);
                }
                return Err(ObjectiveEnd::Stopped);
            }
            context.set_user(ENDED, json!(self.said(Limit::Search)));
        }
        let value = trained.metric.ok_or_else(|| Error::input("the trial ran no epoch"))?;
        let model = fit.model_of(&trained)?;
        let ended = Instant::now();
        if let Some(validation) = &sets.validation {
            context.set_user(SCORES, json!(engine.scores(&model, validation)?));
        }
        self.keep(context, (&sets, &settings), model, &[value], 0.0);
        context.set_user(SCORING, json!(ended.elapsed().as_secs_f64()));
        record(context, &trained, threads);
        Ok((value, (!cut).then_some(checkpoint)))
    }

    /// Does not train a network whose size, or whose inference time where that is known by now, breaks a constraint: such a
    /// trial is stored as pruned, with what of its constraints is known (0 for the rest).
    fn price(
        &self,
        context: &mut Context<'_>,
        parameters: usize,
        inference_seconds: Option<f64>,
    ) -> Result<(), ObjectiveEnd> {
        let constraints = &self.bridge.spec.constraints;
        let value = |constraint: &Constraint| match constraint.measure {
            Measure::Parameters => Some(parameters as f64),
            Measure::InferenceSeconds => inference_seconds,
            _ => None,
        };
        let violation = |constraint: &Constraint| value(constraint).map_or(0.0, |value| constraint.violation(value));
        let known: Vec<f64> = constraints.iter().map(violation).collect();
        let Some(broken) = known.iter().position(|violation| *violation > 0.0) else { return Ok(()) };
        let broken = &constraints[broken];
        let found = match (broken.measure, inference_seconds) {
            (Measure::InferenceSeconds, Some(seconds)) => format!("takes {seconds:.3e} s for 1,000 rows"),
            _ => format!("has {parameters} parameters"),
        };
        context.set_user("parameters", json!(parameters));
        if let Some(seconds) = inference_seconds {
            context.set_user("inference_seconds", json!(seconds));
        }
        context.set_user("pruned_because", json!(format!("not trained: it {found}, against {broken}")));
        context.set_constraints(known);
        Err(ObjectiveEnd::Pruned)
    }

    /// What the search looks at in one training.
    fn measure(
        &self,
        engine: &Engine,
        model: &Model,
        trained: &Trained,
        sets: &Sets,
        fixed: Fixed,
    ) -> Result<Measured, ObjectiveEnd> {
        let scores = sets.validation.as_ref().map(|validation| engine.scores(model, validation));
        Ok(Measured {
            watched: trained.metric.ok_or_else(|| Error::input("the trial ran no epoch"))?,
            scores: scores.transpose()?.unwrap_or_default(),
            epoch: trained.epoch,
            parameters: fixed.parameters,
            training_seconds: trained.seconds,
            inference_seconds: fixed.inference_seconds,
        })
    }

    /// Seconds to evaluate 1,000 rows, where somebody wants to know. Measured before the training, since it does not depend
    /// on what the weights are: what is too slow need not be trained, and pruners compare it from the first epoch on.
    fn inference_seconds(&self, engine: &Engine, config: &Config, sets: &Sets) -> Result<Option<f64>, ObjectiveEnd> {
        let bridge = self.bridge;
        let wanted = bridge.spec.judges(Measure::InferenceSeconds);
        let (true, Some(validation)) = (wanted, &sets.validation) else {
            return Ok(None);
        };
        let model = Fit::new(&sets.train, &config.model, &config.train).untrained()?;
        let constraints = || bridge.spec.constraints.iter().filter(|one| one.measure == Measure::InferenceSeconds);
        let (mut least, mut passes) = (f64::INFINITY, 0);
        // Other trials run meanwhile: where a limit seems to be broken it is looked at longer.
        while passes < measure::PASSES
            || passes < measure::DOUBTFUL_PASSES && constraints().any(|one| one.violation(least) > 0.0)
        {
            let started = Instant::now();
            engine.outputs(&model, validation)?;
            least = least.min(started.elapsed().as_secs_f64() * 1000.0 / validation.rows.max(1) as f64);
            passes += 1;
        }
        Ok(Some(least))
    }

    /// What an epoch says of each objective; `seconds` are those of the training up to it. None where a metric of it was not
    /// measured.
    fn values_at(&self, epoch: &Epoch, also: &[Metric], seconds: f64, fixed: Fixed) -> Option<Vec<f64>> {
        let value = |objective: &Measure| match *objective {
            Measure::Metric(metric) if metric == self.bridge.watched => epoch.metric,
            Measure::Metric(metric) => {
                also.iter().position(|one| *one == metric).and_then(|place| epoch.also.get(place).copied())
            }
            Measure::Parameters => Some(fixed.parameters),
            Measure::TrainingSeconds => Some(seconds),
            Measure::InferenceSeconds => fixed.inference_seconds,
        };
        self.bridge.objectives.iter().map(value).collect()
    }

    /// Reports the last of the trainings of a trial as a part of it.
    fn report_part(&self, context: &mut Context<'_>, part: u64, measured: &[Measured]) -> Verdict {
        let Some((last, watched)) = measured.last().map(|last| (std::slice::from_ref(last), last.watched)) else {
            return Verdict::Continue;
        };
        let values: Result<Vec<f64>, _> = self.bridge.objectives.iter().map(|one| self.mean(*one, last)).collect();
        match values {
            Ok(values) if values.len() > 1 => context.report_values(part, &values),
            _ => context.report(part, watched),
        }
    }

    /// The trial's time limit in seconds, for messages.
    fn trial_limit(&self) -> f64 {
        self.budget.trial_limit.unwrap_or_default().as_secs_f64()
    }

    /// The mean over the trainings of a trial.
    fn mean(&self, measure: Measure, measured: &[Measured]) -> Result<f64, ObjectiveEnd> {
        let of = |one: &Measured| match measure {
            Measure::Metric(metric) if metric == self.bridge.watched => Some(one.watched),
            Measure::Metric(metric) => one.scores.get(metric),
            Measure::Parameters => Some(one.parameters),
            Measure::TrainingSeconds => Some(one.training_seconds),
            Measure::InferenceSeconds => one.inference_seconds,
        };
        let values: Option<Vec<f64>> = measured.iter().map(of).collect();
        let values =
            values.ok_or_else(|| ObjectiveEnd::Failed(format!("{measure} is undefined on the validation rows")))?;
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// One training of a trial, and the time limit that cut it off, if one did. The first one reports every epoch, and the
    /// pruner judges by it.
    fn train(
        &self,
        context: &mut Context<'_>,
        engine: &Engine,
        training: &Training<'_>,
    ) -> Result<(Model, Trained, Option<Limit>), ObjectiveEnd> {
        let Training { config, sets, parameters, slot, threads, reports, started, inference_seconds, .. } = *training;
        let late = || self.budget.trial_limit.is_some_and(|limit| started.elapsed() >= limit);
        let cancelled = || late() || self.budget.spent();
        let fit = Fit {
            validation: sets.validation.as_ref(),
            seed: self.bridge.spec.seed,
            slot,
            cancelled: &cancelled,
            ..Fit::new(&sets.train, &config.model, &config.train)
        };
        let several = self.bridge.objectives.len() > 1;
        let fixed = Fixed { parameters: parameters as f64, inference_seconds };
        let (mut verdict, mut seconds) = (Verdict::Continue, 0.0);
        let (_, validation, test) = self.bridge.prepared.rows();
        let mut began = Instant::now();
        let result = engine.train(&fit, &mut |epoch| {
            seconds += epoch.seconds;
            // What is not training is the evaluation of the validation rows: at the end it is made once more, and of the test
            // rows too.
            let evaluation = (began.elapsed().as_secs_f64() - epoch.seconds).max(0.0);
            let rows = 1.0 + test as f64 / validation.max(1) as f64;
            self.budget.keep_back(self.bridge.ending + evaluation * rows);
            began = Instant::now();
            let values = if several { self.values_at(epoch, &config.train.also, seconds, fixed) } else { None };
            verdict = match (reports, values, epoch.metric) {
                (true, Some(values), _) => context.report_values(epoch.epoch as u64, &values),
                (true, None, Some(value)) => context.report(epoch.epoch as u64, value),
                _ => verdict,
            };
            if verdict == Verdict::Continue && !cancelled() { Control::Continue } else { Control::Stop }
        });
        let (model, trained) = result?;
        let begun = !trained.history.is_empty() || slot != context.slot();
        // What ran to its end is complete, whatever was said after its last epoch.
        let ended = matches!(trained.stopped, Stopped::Finished | Stopped::Early);
        match verdict {
            _ if ended => Ok((model, trained, None)),
            Verdict::Prune => {
                record(context, &trained, threads);
                Err(ObjectiveEnd::Pruned)
            }
            // What it has learned by then is its result.
            _ if self.budget.spent() && begun && (self.budget.delivers() || self.leads(&trained, training.earlier)) => {
                Ok((model, trained, Some(Limit::Search)))
            }
            _ if self.budget.spent() => {
                self.keep_interrupted(context, (training.sets, training.settings), model, &trained);
                Err(ObjectiveEnd::Stopped)
            }
            _ if late() && begun => Ok((model, trained, Some(Limit::Trial))),
            _ if late() => {
                Err(ObjectiveEnd::Failed(format!("{} ended it in its first epoch", self.said(Limit::Trial))))
            }
            _ => Err(ObjectiveEnd::Stopped),
        }
    }

    /// Whether time is up and the trial is ahead of every complete one by the first objective, with the mean of its whole
    /// trainings or, in the first, what that came to. It is a result then: if it were put back, a longer limit could come to
    /// less than a shorter one.
    fn leads(&self, trained: &Trained, earlier: &[Measured]) -> bool {
        let Bridge { study, objectives, watched, prepared, .. } = self.bridge;
        let is_value = prepared.folds() == 0 && objectives[0].metric() == Some(*watched);
        let whole = earlier.iter().map(|one| one.watched).sum::<f64>() / earlier.len() as f64;
        let own = if earlier.is_empty() { trained.metric } else { Some(whole) };
        let direction = study.directions()[0];
        let is_ahead = |best: &Trial| {
            let first = best.values.first().copied();
            own.zip(first).is_some_and(|(own, best)| direction.better(own, best))
        };
        // Of a front all count; without a complete trial nobody is ahead of anything.
        let best = study.best().unwrap_or_default();
        self.budget.is_late() && is_value && !best.is_empty() && best.iter().all(is_ahead)
    }
}

/// What ends a training before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// The trial's time limit.
    Trial,
    /// The search's, where there is no other result, or none as good.
    Search,
}

/// A trial that is ready to train.
struct Prepared {
    settings: Settings,
    config: Config,
    sets: Arc<Sets>,
    parameters: usize,
    threads: usize,
    engine: Engine,
}

/// A piece of a training: from where another one ended (none: from the start) to an epoch.
pub(super) struct Segment<'a> {
    pub from: Option<&'a Checkpoint>,
    pub last_epoch: usize,
}

/// What one training showed.
struct Measured {
    watched: f64,
    scores: Scores,
    /// That of the weights that it ended with.
    epoch: usize,
    parameters: f64,
    training_seconds: f64,
    /// For 1,000 rows.
    inference_seconds: Option<f64>,
}

#[derive(Clone, Copy)]
struct Training<'a> {
    settings: &'a Settings,
    config: &'a Config,
    sets: &'a Sets,
    parameters: usize,
    slot: u64,
    threads: usize,
    reports: bool,
    /// When the trial's first training began.
    started: Instant,
    inference_seconds: Option<f64>,
    /// The trial's trainings before this one.
    earlier: &'a [Measured],
}

/// What is known of a network before its training.
#[derive(Clone, Copy)]
struct Fixed {
    parameters: f64,
    inference_seconds: Option<f64>,
}

/// Each metric's mean over the trainings, where all have it.
fn mean_scores(measured: &[Measured]) -> Scores {
    let of = |name: &String| measured.iter().map(|one| one.scores.0.get(name).copied()).sum::<Option<f64>>();
    let names = measured.iter().take(1).flat_map(|one| one.scores.0.keys());
    Scores(names.filter_map(|name| Some((name.clone(), of(name)? / measured.len() as f64))).collect())
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
