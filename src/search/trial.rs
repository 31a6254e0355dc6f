//! One trial: settings from parameters, a training that reports every epoch, its record, its model if it is good.

use super::Bridge;
use super::budget::Budget;
use super::kept::{Kept, Unfinished};
use super::measure::Measure;
use super::parts::{self, Measured, Parts, Place, mean_scores};
use super::ready::{Fixed, Ready};
use crate::engine::{Engine, Fit};
use crate::history::Trial;
use crate::model::Model;
use crate::prepared::Sets;
use crate::settings::{Config, Settings};
use crate::study::{Context, ObjectiveEnd, Study, Verdict};
use crate::train::{Checkpoint, Control, Epoch, Metric, Scores, Stopped, Trained, hash_of};
use crate::{Error, Result};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Keys of a trial's user attributes.
pub(super) const EPOCHS: &str = "best_epoch";
/// What ended a trial that has a result before its time.
pub(super) const ENDED: &str = "ended_by";

/// Of a trial in folds that was ended so: how many it had trained on whole.
pub(super) const FOLDS_SEEN: &str = "folds_seen";

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
/// Hash of the weights of its model: a file of that name may be another study's.
pub(super) const WEIGHTS: &str = "weights_hash";
/// What was watched, in each of several trainings.
const VALUES: &str = "values";

/// Training p of slot s draws the numbers of slot s + p·2⁴⁰; plans are shorter than that.
const TRAINING: u64 = 1 << 40;

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
    /// Runs the trial's trainings, from where an earlier run of it was stopped.
    pub fn run(&self, context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
        let bridge = self.bridge;
        let ready = self.prepare(context)?;
        let place = self.place(context.slot(), &ready);
        let earlier = place.load();
        let (number, path) = (context.number(), place.path().display());
        match &earlier {
            Some(parts) => {
                let so_far = parts.describe(bridge.parts);
                bridge.progress.note(&format!("trial {number} goes on where it was stopped: {so_far}"));
            }
            None if place.path().exists() => {
                bridge.progress.note(&format!("trial {number} begins again: {path} is damaged, or of another training"))
            }
            None if context.is_repetition() => {
                bridge.progress.note(&format!("trial {number} begins again: there is no {path}"));
            }
            None => {}
        }
        let mut parts = earlier.unwrap_or_default();
        if parts.seconds > 0.0 {
            context.goes_on_after(parts.seconds);
        }
        parts.written = Some(Instant::now());
        let ended = self.trainings(context, &ready, &place, &mut parts);
        let is_stopped = match &ended {
            Ok((_, cut)) => *cut == Some(Limit::Search),
            Err(end) => matches!(end, ObjectiveEnd::Stopped),
        };
        if is_stopped {
            self.save(context, &place, &mut parts);
        } else {
            place.clear();
        }
        ended.map(|(values, _)| values)
    }

    /// Writes what the trial has come to, for whoever goes on with it.
    fn save(&self, context: &Context<'_>, place: &Place, parts: &mut Parts) {
        if let Err(error) = place.save(parts) {
            let number = context.number();
            self.bridge.progress.note(&format!("what trial {number} has come to is not kept: {error}"));
        }
    }

    /// Where what a stopped trial has come to waits.
    fn place(&self, slot: u64, ready: &Ready) -> Place {
        let Bridge { study, prepared, spec, parts, watched, objectives, .. } = self.bridge;
        let trial = json!({
            "study": study.name(),
            "slot": slot,
            "seed": spec.seed,
            "data": format!("{:016x}", prepared.fingerprint()),
            "rows": prepared.rows(),
            "folds": prepared.folds(),
            "trainings": parts,
            "inputs": ready.sets.train.inputs,
            "settings": ready.settings.to_json(),
            "metric": watched.to_string(),
            "objectives": objectives.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        Place::new(&self.bridge.out, study.name(), slot, trial)
    }

    /// The trial's values, and the limit that ended it early.
    fn trainings(
        &self,
        context: &mut Context<'_>,
        ready: &Ready,
        place: &Place,
        parts: &mut Parts,
    ) -> Result<(Vec<f64>, Option<Limit>), ObjectiveEnd> {
        let Ready { config, sets: first_sets, parameters, engine, .. } = ready;
        let of_parts = self.bridge.method.pruner()?.of_parts();
        let inference_seconds = self.inference_seconds(engine, config, first_sets)?;
        // What was measured now is the trial's value, however it is trained.
        self.price(context, *parameters, inference_seconds)?;
        let fixed = Fixed { parameters: *parameters as f64, inference_seconds };
        match self.tell_again(context, config, parts, fixed)? {
            Verdict::Continue => {}
            verdict => return Err(self.ended_by(context, verdict, parts, engine)),
        }
        let of = self.bridge.parts;
        let (mut cut, mut partial) = (None, None);
        for part in parts.measured.len()..of {
            let sets = &self.bridge.prepared.sets_of(config.preprocess, part)?;
            let slot = context.slot() + part as u64 * TRAINING;
            let training = Training { ready, place, sets, slot, reports: part == 0 && !of_parts, fixed };
            let (model, trained, limit) = self.train(context, &training, parts)?;
            cut = limit;
            if cut.is_none() || self.counts(part, &trained, cut) {
                let ended = Instant::now();
                let measured = self.measure(engine, &model, &trained, sets, fixed)?;
                if part == 0 {
                    parts.scoring = ended.elapsed().as_secs_f64();
                }
                if cut.is_some() {
                    partial = Some((measured, trained));
                } else {
                    parts.measured.push(measured);
                    parts.first.get_or_insert(trained);
                }
            }
            if cut.is_none() && of_parts {
                match self.report_part(context, &parts.measured) {
                    // The last one ends the trial anyhow.
                    _ if parts.measured.len() == of => {}
                    Verdict::Continue => parts.passed = parts.measured.len(),
                    Verdict::Stop if self.budget.delivers() => cut = Some(Limit::Search),
                    verdict => return Err(self.ended_by(context, verdict, parts, engine)),
                }
            }
            if cut.is_some() {
                break;
            }
        }
        let shown = parts.measured.iter().chain(partial.iter().map(|(measured, _)| measured)).cloned();
        let mut shown: Vec<Measured> = shown.collect();
        if let Some(limit) = cut {
            self.end_early(context, limit, parts.measured.len(), &mut shown)?;
        }
        let first = parts.first.as_ref().or(partial.as_ref().map(|(_, trained)| trained));
        let Some(first) = first else { return Err(ObjectiveEnd::Failed("no training".to_owned())) };
        let values = self.conclude(context, ready, first, &shown, parts.scoring)?;
        if let Some(seconds) = inference_seconds {
            context.set_user("inference_seconds", json!(seconds));
        }
        Ok((values, cut))
    }

    /// Keeps what a trial came to, and its model; returns its values.
    fn conclude(
        &self,
        context: &mut Context<'_>,
        ready: &Ready,
        first: &Trained,
        shown: &[Measured],
        scoring: f64,
    ) -> Result<Vec<f64>, ObjectiveEnd> {
        let mean = |measure: Measure| {
            let mean = parts::mean(measure, self.bridge.watched, shown);
            mean.ok_or_else(|| ObjectiveEnd::Failed(format!("{measure} is undefined on the validation rows")))
        };
        let objectives = &self.bridge.objectives;
        let values = objectives.iter().map(|objective| mean(*objective)).collect::<Result<Vec<f64>, _>>()?;
        let constraints = &self.bridge.spec.constraints;
        let violations = constraints.iter().map(|one| Ok(one.violation(mean(one.measure)?)));
        let violations = violations.collect::<Result<Vec<f64>, ObjectiveEnd>>()?;
        // Where a constraint is met, by how much does not matter.
        let violation = violations.iter().map(|violation| violation.max(0.0)).sum();
        let saving = Instant::now();
        let fit = Fit {
            seed: self.bridge.spec.seed,
            slot: context.slot(),
            ..Fit::new(&ready.sets.train, &ready.config.model, &ready.config.train)
        };
        self.keep(context, (&ready.sets, &ready.settings), fit.model_of(first)?, &values, violation);
        context.set_user(SCORING, json!(scoring + saving.elapsed().as_secs_f64()));
        record(context, first, &ready.engine);
        context.set_user("parameters", json!(ready.parameters));
        self.record_parts(context, shown);
        if !violations.is_empty() {
            context.set_constraints(violations);
        }
        Ok(values)
    }

    /// Reports what the trial came to before it was stopped, and hears what to do.
    fn tell_again(&self, context: &mut Context<'_>, config: &Config, parts: &Parts, fixed: Fixed) -> Result<Verdict> {
        let (of_parts, passed) = (self.bridge.method.pruner()?.of_parts(), self.passed(parts));
        let epochs = parts.first.as_ref().map_or(&[][..], |first| &first.history);
        let reports = if of_parts { parts.measured.len() } else { epochs.len() };
        let mut seconds = 0.0;
        for report in 0..reports {
            let verdict = match epochs.get(report) {
                Some(epoch) if !of_parts => {
                    seconds += epoch.seconds;
                    let also = &config.train.also;
                    self.report_epoch(context, epoch, also, seconds, fixed).unwrap_or(Verdict::Continue)
                }
                _ => self.report_part(context, &parts.measured[..=report]),
            };
            // After its last epoch a training has ended, whatever is said then.
            let is_judged = report >= passed && (of_parts || report + 1 < reports);
            if verdict == Verdict::Stop || verdict == Verdict::Prune && is_judged {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Continue)
    }

    /// How many reports are not judged again: what others came to since does not undo that the pruner let them pass. In
    /// a fixed order that is the same at any time, and what it was is asked again.
    fn passed(&self, parts: &Parts) -> usize {
        if self.bridge.spec.deterministic.is_some() { 0 } else { parts.passed }
    }

    /// How a trial ends that a verdict ends between trainings.
    fn ended_by(&self, context: &mut Context<'_>, verdict: Verdict, parts: &Parts, engine: &Engine) -> ObjectiveEnd {
        if verdict != Verdict::Prune {
            return ObjectiveEnd::Stopped;
        }
        if let Some(first) = &parts.first {
            record(context, first, engine);
        }
        self.record_parts(context, &parts.measured);
        ObjectiveEnd::Pruned
    }

    /// Whether a training that a limit ended counts: the last fold or the only repetition as it was, and what there is
    /// of a first fold where there is no other result.
    fn counts(&self, part: usize, trained: &Trained, limit: Option<Limit>) -> bool {
        let in_folds = self.bridge.prepared.folds() > 0;
        let is_last = part + 1 == self.bridge.parts;
        let is_needed = part == 0 && (!in_folds || limit == Some(Limit::Search) && self.budget.delivers());
        trained.metric.is_some() && (is_needed || in_folds && is_last)
    }

    /// Ends a trial in training `part` by a time limit: with the trainings that can be compared with those of other
    /// trials, or with what there is where the search needs it.
    fn end_early(
        &self,
        context: &mut Context<'_>,
        limit: Limit,
        part: usize,
        shown: &mut Vec<Measured>,
    ) -> Result<(), ObjectiveEnd> {
        let (parts, folds) = (self.bridge.parts, self.bridge.prepared.folds());
        let what = if parts > 1 { format!(" in training {} of {parts}", part + 1) } else { String::new() };
        let why = json!(format!("{}{what}", self.said(limit)));
        if folds > 0 {
            context.set_user(FOLDS_SEEN, json!(part));
        }
        if folds > 0 && shown.len() < parts {
            // Some folds are easier than others: what a few of them came to is compared with nothing.
            match (shown.len() / folds * folds, limit) {
                (0, Limit::Search) if shown.is_empty() => return Err(ObjectiveEnd::Stopped),
                (0, Limit::Search) => {}
                (0, Limit::Trial) => {
                    context.set_user("pruned_because", why);
                    return Err(ObjectiveEnd::Pruned);
                }
                (whole, _) => shown.truncate(whole),
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
        context: &mut Context<'_>,
        (sets, settings): (&Sets, &Settings),
        mut model: Model,
        values: &[f64],
        violation: f64,
    ) {
        self.sign(&mut model, sets, settings);
        context.set_user(WEIGHTS, json!(hash_of(&model.weights)));
        // The trial is worth more than its model file.
        if let Err(error) = self.kept.offer(context.number(), values, violation, &model) {
            self.bridge.progress.note(&format!("the model of trial {} is not kept: {error}", context.number()));
        }
    }

    /// Keeps what a training has come to when the user interrupts it and there is no result yet.
    fn keep_interrupted(
        &self,
        context: &mut Context<'_>,
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

    /// One member of a population for one generation: its value, and what it ended with; that is not known where the
    /// search's time limit ended it.
    pub fn segment(
        &self,
        context: &mut Context<'_>,
        segment: &Segment<'_>,
    ) -> Result<(f64, Option<Checkpoint>), ObjectiveEnd> {
        let Ready { settings, config, sets, engine, .. } = self.prepare(context)?;
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
        record(context, &trained, &engine);
        Ok((value, (!cut).then_some(checkpoint)))
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

    /// What an epoch says of each objective; `seconds` are those of the training up to it. None where a metric of it
    /// was not measured.
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

    /// Reports an epoch of the first training; none where nothing of it was measured.
    fn report_epoch(
        &self,
        context: &mut Context<'_>,
        epoch: &Epoch,
        also: &[Metric],
        seconds: f64,
        fixed: Fixed,
    ) -> Option<Verdict> {
        let several = self.bridge.objectives.len() > 1;
        let values = if several { self.values_at(epoch, also, seconds, fixed) } else { None };
        match (values, epoch.metric) {
            (Some(values), _) => Some(context.report_values(epoch.epoch as u64, &values)),
            (None, Some(value)) => Some(context.report(epoch.epoch as u64, value)),
            _ => None,
        }
    }

    /// Reports the last of the trainings of a trial as a part of it.
    fn report_part(&self, context: &mut Context<'_>, measured: &[Measured]) -> Verdict {
        let Bridge { objectives, watched, .. } = self.bridge;
        let Some(last) = measured.last() else { return Verdict::Continue };
        let part = measured.len() as u64;
        let values = objectives.iter().map(|one| parts::mean(*one, *watched, std::slice::from_ref(last)));
        match values.collect::<Option<Vec<f64>>>() {
            Some(values) if values.len() > 1 => context.report_values(part, &values),
            _ => context.report(part, last.watched),
        }
    }

    /// The trial's time limit in seconds, for messages.
    fn trial_limit(&self) -> f64 {
        self.budget.trial_limit.unwrap_or_default().as_secs_f64()
    }

    /// One training of a trial, from where it was paused, and the time limit that cut it off, if one did. The first one
    /// reports every epoch, and the pruner judges by it.
    fn train(
        &self,
        context: &mut Context<'_>,
        training: &Training<'_>,
        parts: &mut Parts,
    ) -> Result<(Model, Trained, Option<Limit>), ObjectiveEnd> {
        let Training { ready, place, sets, slot, reports, fixed } = *training;
        let Ready { config, engine, .. } = ready;
        // The study stops by a rule of its own.
        let told = AtomicBool::new(false);
        let (mut verdict, mut from) = (Verdict::Continue, parts.paused.take());
        // Epochs that the pruner has let pass before, and those that it has heard of in this run of the trial.
        let (passed, mut heard) = (self.passed(parts), 0);
        let (_, validation, test) = self.bridge.prepared.rows();
        let (spent, began) = (parts.spent(), Instant::now());
        let late = || self.budget.trial_limit.is_some_and(|limit| spent + began.elapsed() >= limit);
        let ends = || late() || self.budget.spent() || told.load(Relaxed);
        let fit = Fit {
            validation: sets.validation.as_ref(),
            seed: self.bridge.spec.seed,
            slot,
            ..Fit::new(&sets.train, &config.model, &config.train)
        };
        let trained = loop {
            let (since, resumed, looks) = (parts.since(), Instant::now(), AtomicU64::new(0));
            // Something is done between one checkpoint and the next, however soon that is.
            let is_due = || {
                let is_first = looks.fetch_add(1, Relaxed) == 0;
                !is_first && config.train.pauses() && since + resumed.elapsed() >= self.bridge.spec.checkpoint_every
            };
            let cancelled = || ends() || is_due();
            let (mut seconds, mut before) = (0.0, Instant::now());
            let result = engine.go_on(&Fit { cancelled: &cancelled, ..fit }, from.as_ref(), &mut |epoch| {
                seconds += epoch.seconds;
                // What is not training is the evaluation of the validation rows: at the end it is made once more, and
                // of the test rows too.
                let evaluation = (before.elapsed().as_secs_f64() - epoch.seconds).max(0.0);
                let rows = 1.0 + test as f64 / validation.max(1) as f64;
                self.budget.keep_back(self.bridge.ending + evaluation * rows);
                before = Instant::now();
                if reports && epoch.epoch > heard {
                    heard = epoch.epoch;
                    let also = &config.train.also;
                    verdict = self.report_epoch(context, epoch, also, seconds, fixed).unwrap_or(verdict);
                    if verdict == Verdict::Prune && heard <= passed {
                        verdict = Verdict::Continue;
                    }
                    if verdict == Verdict::Continue {
                        parts.passed = parts.passed.max(heard);
                    }
                }
                told.store(verdict == Verdict::Stop, Relaxed);
                if verdict == Verdict::Prune { Control::Stop } else { Control::Continue }
            });
            let (trained, paused) = result?;
            parts.paused = paused;
            if parts.paused.is_none() || ends() {
                break trained;
            }
            self.save(context, place, parts);
            from = parts.paused.take();
        };
        let model = fit.model_of(&trained)?;
        let begun = !trained.history.is_empty() || slot != context.slot();
        // What ran to its end is complete, whatever was said after its last epoch.
        let ended = matches!(trained.stopped, Stopped::Finished | Stopped::Early);
        match verdict {
            _ if ended => Ok((model, trained, None)),
            Verdict::Prune => {
                record(context, &trained, engine);
                Err(ObjectiveEnd::Pruned)
            }
            // What it has learned by then is its result.
            _ if self.budget.spent() && begun && (self.budget.delivers() || self.leads(&trained, &parts.measured)) => {
                Ok((model, trained, Some(Limit::Search)))
            }
            _ if self.budget.spent() => {
                self.keep_interrupted(context, (training.sets, &training.ready.settings), model, &trained);
                Err(ObjectiveEnd::Stopped)
            }
            _ if late() && begun => Ok((model, trained, Some(Limit::Trial))),
            _ if late() => {
                Err(ObjectiveEnd::Failed(format!("{} ended it in its first epoch", self.said(Limit::Trial))))
            }
            _ => Err(ObjectiveEnd::Stopped),
        }
    }

    /// Whether time is up and the trial is ahead of every complete one by the first objective, with the mean of its
    /// whole trainings or, in the only one, what that came to. It is a result then: if it were put back, a longer limit
    /// could come to less than a shorter one. Some folds are easier than others: it has to be ahead on those it has
    /// seen, too.
    fn leads(&self, trained: &Trained, earlier: &[Measured]) -> bool {
        let Bridge { study, objectives, watched, prepared, .. } = self.bridge;
        let in_folds = prepared.folds() > 0;
        if objectives[0].metric() != Some(*watched) || !self.budget.is_late() {
            return false;
        }
        let mut own: Vec<f64> = earlier.iter().map(|one| one.watched).collect();
        if own.is_empty() && !in_folds {
            own.extend(trained.metric);
        }
        // Of a front all count; without a complete trial nobody is ahead of anything.
        let best = study.best().unwrap_or_default();
        let is_ahead = |best: &Trial| {
            let theirs = if in_folds { parts_of(study, best).unwrap_or_default() } else { Vec::new() };
            best.values.first().is_some_and(|value| parts::are_ahead(study.directions()[0], &own, *value, &theirs))
        };
        !own.is_empty() && !best.is_empty() && best.iter().all(is_ahead)
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

/// A piece of a training: from where another one ended (none: from the start) to an epoch.
pub(super) struct Segment<'a> {
    pub from: Option<&'a Checkpoint>,
    pub last_epoch: usize,
}

/// One of a trial's trainings.
#[derive(Clone, Copy)]
struct Training<'a> {
    ready: &'a Ready,
    place: &'a Place,
    sets: &'a Sets,
    slot: u64,
    reports: bool,
    fixed: Fixed,
}

/// History and timing, as attributes of the trial. Its threads are the mean of its steps: they change with the trials
/// that it shares the cores with.
fn record(context: &mut Context<'_>, trained: &Trained, engine: &Engine) {
    context.set_user("history", json!(trained.history));
    context.set_user("train_seconds", json!(trained.seconds));
    context.set_user("epochs_run", json!(trained.history.len()));
    context.set_user(EPOCHS, json!(trained.epoch));
    context.set_user("parameters", json!(trained.weights.len()));
    let threads = (100.0 * engine.mean_threads()).round() / 100.0;
    let whole = threads.fract() == 0.0;
    context.set_user("threads", if whole { json!(threads as u64) } else { json!(threads) });
}
