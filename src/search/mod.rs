//! The bridge: hyperparameter names become networks and trainings, trainings become trials of a study.
//!
//! The only place that imports both columns. [`search`] loads the data once, runs the study's trials on worker
//! threads that share it, retrains the best configuration on training and validation rows, tests it once and saves
//! it. What a trial computes is a pure function of (settings, data, seed, slot).
//!
//! [`search_command`] runs trials of a program outside, of which nothing but its values is known.

mod again;
mod budget;
mod command;
mod devices;
mod finish;
mod found;
mod kept;
mod measure;
mod method;
mod parts;
mod population;
mod problem;
mod ready;
mod space;
mod spec;
mod trial;

pub use again::goes_on;
pub use command::{CommandOutcome, CommandSpec, kill_commands, search_command};
pub use finish::{Interval, Tested};
pub use found::Found;
pub use kept::{Interrupted, models_of};
pub use measure::{Bound, Constraint, Measure};
pub use population::{PopulationSpec, TUNABLE};
pub use problem::DataProblem;
pub use space::{default_point, default_space};
pub use spec::{Progress, SearchOutcome, SearchSpec, WarmStart};

use crate::data::{Dataset, Folds, SplitSpec};
use crate::engine::Engine;
use crate::history::{CONSTRAINTS, State, Trial};
use crate::prepared::Prepared;
use crate::random::{Purpose, Stream};
use crate::settings::check_space;
use crate::space::Space;
use crate::study::{Context, Method, ObjectiveEnd, OptimizeSpec, Regret, Stopped, Storage, Study, StudyConfig};
use crate::train::{Metric, TrainSpec};
use crate::{Error, Result, pruner, sampler};
use again::{note_less, repeat_cut, restore_cut};
use budget::Budget;
use kept::Kept;
use method::Chosen;
use population::{Members, POPULATION};
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use trial::Objective;

/// What the end is expected to take before any trial is complete is at most one of so many parts of the time that is
/// left.
const MOST_ENDING: f64 = 3.0;

/// Attribute of a study whose trials run a program: what they run.
const COMMAND: &str = "command";
/// Attribute of a study whose trials are trainings: what is fixed in all of them.
const SETTINGS_OF: &str = "settings";

/// Configurations of a space that are looked at before the study is made.
const SAMPLES: u64 = 200;

/// Runs a search to its end: trials, the last training, the test, the saved model.
///
/// `stop` may be set to true from elsewhere (a signal handler): the search then stores what it has and returns
/// [`Error::Interrupted`]; the same call goes on where it stopped.
///
/// # Errors
/// Input that is wrong; a study of that name with another space, data or settings; no trial that completed; storage or
/// files that fail; an interrupt.
pub fn search(spec: &SearchSpec, progress: &dyn Progress, stop: &Arc<AtomicBool>) -> Result<SearchOutcome> {
    let started = spec.began.unwrap_or_else(Instant::now);
    let mut bridge = Bridge::open(spec, progress)?;
    let budget = Budget::new(started, spec.time_limit, spec.trial_time_limit, stop.clone());
    // A machine that stood still while that was rehearsed must not leave nothing for trials.
    let left = spec.time_limit.unwrap_or_default().saturating_sub(started.elapsed());
    bridge.ending = bridge.ending.min(left.as_secs_f64() / MOST_ENDING);
    budget.keep_back(bridge.ending);
    bridge.enqueue()?;
    let kept = Kept::new(&bridge.out, spec.keep_models, &bridge.study, budget.is_limited())?;
    let opened = started.elapsed();
    let members = Members::of(&bridge)?;
    // The file changes its mode once, at the end of everything.
    let fast_commits = bridge.study.storage().running();
    let summary = match &members {
        Some(members) => members.run(&budget, &kept)?,
        None => bridge.run(&Objective { bridge: &bridge, budget: &budget, kept: &kept })?,
    };
    // What an earlier limit ended is a result until it has come to another.
    restore_cut(&bridge.study, progress)?;
    kept.tidy(&bridge.study)?;
    if budget.asked() {
        if bridge.study.best()?.is_empty() {
            bridge.keep_interrupted(&kept);
        }
        return Err(Error::Interrupted);
    }
    let (best, finished, retrained) = bridge.finish(&kept, &budget, opened)?;
    kept.forget_interrupted(&bridge.study)?;
    if let Some(members) = members.filter(|_| summary.stopped == Stopped::Reached) {
        members.clean();
    }
    parts::Place::tidy(&bridge.out);
    drop(fast_commits);
    Ok(SearchOutcome {
        objectives: bridge.objectives.clone(),
        front: bridge.study.best()?,
        seconds: started.elapsed().as_secs_f64(),
        finished: summary.finished,
        trial_seconds: summary.seconds,
        // Its clock is the search's own, which also keeps time for the end.
        stopped: match summary.stopped {
            Stopped::Interrupted => Stopped::TimeLimit,
            // The last of the trials was.
            Stopped::Reached if budget.is_late() => Stopped::TimeLimit,
            stopped => stopped,
        },
        found: Found::of(&bridge.study, Some(&best))?,
        test: finished.test,
        model: finished.path,
        retrained,
        top: bridge.shown()?,
        best,
        study: bridge.study,
    })
}

/// The space of the study of that name, where it is there already and fixes what this search fixes.
///
/// # Errors
/// The storage fails.
pub fn space_of_study(spec: &SearchSpec, name: &str) -> Result<Option<Space>> {
    let Some(study) = Study::open_if_there(&spec.storage, name)? else { return Ok(None) };
    let goes_on = study.attribute(SETTINGS_OF)?.is_none_or(|fixed| fixed == json!(spec.fixed.to_json()));
    Ok(study.space().filter(|_| goes_on).cloned())
}

/// A search with its data loaded and its study open.
struct Bridge<'a> {
    spec: &'a SearchSpec,
    /// Sampler and pruner.
    method: Method,
    progress: &'a dyn Progress,
    prepared: Prepared,
    objectives: Vec<Measure>,
    /// What trainings report and early stopping looks at.
    watched: Metric,
    study: Study,
    out: PathBuf,
    /// The device; a CPU with one thread.
    engine: Arc<Engine>,
    jobs: usize,
    threads: usize,
    /// Trainings of a trial: repetitions, of each fold.
    parts: usize,
    /// Seconds from the outputs for the test rows to the end, as rehearsed where time is limited: all that is said of
    /// them, and the study's file, which is closed in about the time in which it was opened.
    ending: f64,
}

impl<'a> Bridge<'a> {
    fn open(spec: &'a SearchSpec, progress: &'a dyn Progress) -> Result<Self> {
        let split = SplitSpec { seed: spec.seed, ..spec.split.clone() };
        if split.validation == 0.0 && split.folds == Folds::None {
            return Err(Error::input(
                "a search chooses by the validation rows; give a validation split above 0, or folds",
            ));
        }
        if spec.repeats == 0 {
            return Err(Error::input("repeats is 0; at least 1 is expected"));
        }
        let mut prepared = Prepared::load(&spec.data, &split)?;
        // What is stated of a network must hold of its file, on whichever rows it was trained.
        if spec.judges(Measure::Parameters) {
            prepared = prepared.aligned();
        }
        let parts = spec.repeats * prepared.folds().max(1);
        let name = spec.study.clone().unwrap_or_else(|| prepared.name().to_owned());
        check_trains(spec, &name)?;
        if spec.rules.regret == Some(Regret::Error) && parts < 2 {
            return Err(Error::input(
                "the error of a value is known from folds (--folds 5) or repetitions (--repeats 3); without them give the \
                 regret bound as a number",
            ));
        }
        prepared.notes().iter().for_each(|note| progress.note(note));
        if split.folds == Folds::Column && split.test > 0.0 && spec.data.test.is_none() {
            progress
                .note("the test rows are drawn from all folds; give a file of them (--test) where they must be apart");
        }
        let base = spec.fixed.resolve()?;
        let sets = prepared.sets(base.preprocess)?;
        sets.notes.iter().for_each(|note| progress.note(note));
        let mut train = base.train;
        let named = spec.objectives.iter().copied().chain(spec.constraints.iter().map(|c| c.measure));
        let metrics: Vec<Metric> = named.filter_map(Measure::metric).collect();
        for metric in &metrics {
            TrainSpec { metric: Some(*metric), ..train.clone() }.metric_for(&sets.train.targets)?;
        }
        // A constraint is no objective: with none named it is the default one.
        let of_constraints = || spec.constraints.iter().find_map(|constraint| constraint.measure.metric());
        let of_objectives = spec.objectives.iter().find_map(|objective| objective.metric());
        train.metric = of_objectives.or_else(|| if spec.objectives.is_empty() { None } else { of_constraints() });
        train.criterion(&sets.train)?;
        let watched = train.metric_for(&sets.train.targets)?;
        let objectives = if spec.objectives.is_empty() { vec![watched.into()] } else { spec.objectives.clone() };
        let chosen = choose(spec, &name, &objectives, progress)?;
        check_objectives(&objectives, &chosen.method.pruner)?;
        if chosen.method.pruner()?.of_parts() {
            check_parts(&chosen.method, parts)?;
        }
        let space = match (&spec.space, space_of_study(spec, &name)?) {
            (Some(space), _) => space.clone(),
            (None, Some(space)) => space,
            (None, None) => default_space(sets.train.rows, &spec.fixed)?,
        };
        check_space("space:", &space)?;
        for params in &spec.enqueue {
            space.accepts_part(params).map_err(|error| error.at("enqueue"))?;
        }
        population::check(spec, &space)?;
        check_samples(spec, &space, &sets.train)?;
        let engine = devices::open(spec, progress)?;
        let (jobs, threads) = devices::workers(spec, &chosen.method.sampler, &engine, &space, &sets)?;
        let storing = Instant::now();
        let storage = Storage::open_or_create(&spec.storage)?;
        // A study's name may hold what a path gives a meaning to.
        let folder = || PathBuf::from(name.replace(['/', '\\'], "_").trim_start_matches('.'));
        let out = spec.out.clone().unwrap_or_else(folder);
        if let Some(note) = kept::claim(&storage, &name, &out)? {
            progress.note(&note);
        }
        let study = Study::create_or_open(&storage, &config(spec, &prepared, &name, &objectives, space))?;
        if spec.population.is_none() && study.attribute(POPULATION)?.is_some() {
            return Err(Error::input(format!(
                "{}: the study `{name}` trains a population; go on with it (--population), or give another --study",
                spec.storage.display()
            )));
        }
        let storing = storing.elapsed().as_secs_f64();
        let judging = if spec.time_limit.is_some() { finish::judging_seconds(&sets, spec.seed) } else { 0.0 };
        let mut method = chosen.method;
        if !chosen.rung_is_said {
            method.pruner_settings.min_resource = first_rung_of(&study, spec)?;
        }
        #[rustfmt::skip]
        let bridge = Bridge { spec, method, progress, prepared, objectives, watched, study, out, engine, jobs, threads, parts, ending: storing + judging };
        bridge.remember_device()?;
        Ok(bridge)
    }

    /// Runs trials until there are enough, time is up or somebody stops it.
    fn run(&self, objective: &Objective<'_>) -> Result<crate::study::Summary> {
        let (spec, progress) = (self.spec, self.progress);
        let sampler = self.sampler()?;
        let pruner = self.method.pruner()?;
        self.study.set_method(&self.method)?.iter().for_each(|change| progress.note(change));
        if let Some(space) = self.study.space() {
            progress.note(&format!("sampler {}", sampler.describe(space, self.study.directions())));
        }
        repeat_cut(&self.study, spec.trials, progress)?;
        progress.started(&self.study, spec.trials, self.study.counts()?.finished());
        let run = |context: &mut Context<'_>| objective.run(context);
        let summary = self.drive(objective.budget, sampler.as_ref(), pruner.as_ref(), spec.trials, run)?;
        if summary.stopped == Stopped::Exhausted {
            progress.note("every configuration of the space has been tried");
        }
        Ok(summary)
    }

    /// Runs trials of `objective` until the study has so many, within the budget, and tells the listener.
    fn drive(
        &self,
        budget: &Budget,
        sampler: &dyn sampler::Sampler,
        pruner: &dyn pruner::Pruner,
        trials: Option<u64>,
        objective: impl Fn(&mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> + Sync,
    ) -> Result<crate::study::Summary> {
        let (spec, progress) = (self.spec, self.progress);
        let best = || self.study.top(1).ok().and_then(|best| best.into_iter().next());
        let plan = |best: &Trial| budget.plan(finish::costs(self, best));
        if let Some(best) = best() {
            plan(&best);
        }
        // Where that leaves no time for trials none is begun.
        budget.spent();
        let on_trial = |trial: &Trial| {
            let best = best();
            if let Some(best) = best.as_ref().filter(|best| best.number == trial.number) {
                plan(best);
            }
            budget.trial_ended();
            progress.trial_finished(trial, best.as_ref().and_then(Trial::value));
            note_less(&self.study, trial, progress);
        };
        let mut optimize = OptimizeSpec::new(sampler, pruner);
        optimize.trials = trials;
        optimize.rules = spec.rules.clone();
        optimize.jobs = self.jobs;
        optimize.seed = spec.seed;
        optimize.deterministic = spec.deterministic;
        optimize.stop = budget.stop_flag();
        let on_start = |trial: &Trial| progress.trial_started(trial);
        let shown = self.objectives.iter().position(|objective| *objective == self.watched.into()).unwrap_or(0);
        let on_report = |trial: u64, step: u64, values: &[f64]| {
            if let Some(value) = values.get(shown).or(values.first()) {
                progress.epoch(trial, step, *value);
            }
        };
        optimize.on_start = Some(&on_start);
        optimize.on_report = Some(&on_report);
        optimize.on_trial = Some(&on_trial);
        self.study.optimize(&optimize, objective)
    }

    fn sampler(&self) -> Result<Box<dyn sampler::Sampler>> {
        let settings = sampler::Settings {
            trials: self.spec.trials,
            acquisition: self.method.acquisition,
            // In order, a study must not depend on the jobs.
            at_once: self.spec.deterministic.map_or(self.jobs, |width| width as usize),
            ..sampler::Settings::default()
        };
        sampler::by_name(&self.method.sampler, &settings)
    }

    /// What another study found best, the default configuration, and what the user wants tried, each once.
    fn enqueue(&self) -> Result<()> {
        if let Some(source) = &self.spec.warm_start {
            source.apply(&self.study, &*self.sampler()?, self.progress)?;
        }
        if let Some(space) = self.study.space()
            // A grid is a grid, and a study that has begun stays as it was planned: nothing is added to either.
            && !self.sampler()?.is_exhaustive(space)
            && self.study.counts()?.finished() == 0
            && let Some(default) = default_point(space, &self.spec.fixed)
        {
            self.study.enqueue_once(&default)?;
        }
        for params in &self.spec.enqueue {
            self.study.enqueue_once(params)?;
        }
        Ok(())
    }

    /// The best trial; `opened` is when the first could begin, for messages.
    fn best(&self, opened: Duration) -> Result<Trial> {
        if let Some(best) = self.study.best()?.into_iter().next() {
            return Ok(best);
        }
        let trials = self.study.trials()?;
        let broken = trials.iter().filter(|trial| trial.state == State::Complete || !trial.is_feasible());
        if let Some(nearest) = broken.min_by(|a, b| a.violation().total_cmp(&b.violation())) {
            let list = self.spec.constraints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(Error::Storage(format!(
                "study `{}`: no trial keeps the constraints ({list}); trial {} comes nearest, {:.1} % beyond",
                self.study.name(),
                nearest.number,
                100.0 * nearest.violation()
            )));
        }
        let reason = trials.iter().find_map(|trial| trial.system.get("hpt:reason"));
        let pruned = trials.iter().filter(|trial| trial.state == State::Pruned).count();
        let limit = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        let why = match (reason.and_then(|reason| reason.as_str()), limit(self.spec.trial_time_limit)) {
            (Some(reason), _) => format!("the first failure: {reason}"),
            (None, Some(limit)) if pruned > 0 => format!("{pruned} were stopped, and each may take {limit} s"),
            _ if pruned > 0 => format!("{pruned} were pruned"),
            _ => match limit(self.spec.time_limit) {
                Some(limit) => {
                    let (what, then) = match self.spec.population {
                        Some(_) => ("a member", ""),
                        None => ("one", "; the same command goes on from what they came to"),
                    };
                    let opened = opened.as_secs_f64();
                    format!(
                        "a time limit of {limit} s was too short for an epoch of {what}, the first could begin after {opened:.1} s{then}"
                    )
                }
                None => "none was run".to_owned(),
            },
        };
        Err(Error::Storage(format!("study `{}`: no trial was completed ({why})", self.study.name())))
    }

    /// Retrains the best trial, where that is wanted and there is time, or where its model was not kept; where it
    /// diverges on the other rows, the next best. True where the result was retrained.
    fn finish(&self, kept: &Kept, budget: &Budget, opened: Duration) -> Result<(Trial, finish::Finished, bool)> {
        let mut best = self.best(opened)?;
        if let Some(finished) = finish::standing(self, &best)? {
            self.progress.note(&format!(
                "trial {} is still the best: its model is in {} already",
                best.number,
                finished.path.display()
            ));
            return Ok((best, finished, true));
        }
        let is_planned = !budget.is_limited() || budget.retrains();
        if !self.spec.retrain || !is_planned {
            if let Some(finished) = finish::adopt(self, &best, kept)? {
                if self.spec.retrain {
                    self.note_own(&best, "there is no time for a last training");
                }
                return Ok((best, finished, false));
            }
            self.progress.note(&format!(
                "the model of trial {} is not in {}: it is trained again, on training and validation rows{}",
                best.number,
                self.out.display(),
                if self.spec.retrain { ", although the time is up" } else { "" }
            ));
        }
        let mut others = self.study.top(usize::MAX)?.into_iter().skip(1);
        loop {
            // What takes longer than expected ends where the best trial's own model can take its place.
            let own = finish::costs(self, &best).own;
            let ends = budget.is_limited() && budget.fits(own) && kept.model(&best, &self.study).is_some();
            let cancelled = || budget.asked() || ends && !budget.fits(own);
            match (finish::retrain(self, &best, &cancelled), others.next()) {
                (Err(Error::Interrupted), _) if !budget.asked() => {
                    let Some(finished) = finish::adopt(self, &best, kept)? else { return Err(Error::Interrupted) };
                    self.note_own(&best, "the last training took longer than there was time");
                    return Ok((best, finished, false));
                }
                (Err(error @ Error::Diverged { .. }), Some(next)) => {
                    self.progress.note(&format!(
                        "trial {} diverged when retrained ({error}); trial {} follows",
                        best.number, next.number
                    ));
                    best = next;
                }
                (finished, _) => return Ok((best, finished?, true)),
            }
        }
    }

    /// Says that the result was not retrained, and why.
    fn note_own(&self, best: &Trial, why: &str) {
        self.progress.note(&format!("{why}: the result is the own model of trial {}", best.number));
    }

    /// Keeps the model of a training that was interrupted where there is nothing else yet.
    fn keep_interrupted(&self, kept: &Kept) {
        match kept.save_interrupted(&self.study) {
            Ok(None) => {}
            Ok(Some(left)) => self.progress.note(&format!(
                "trial {} was interrupted after {} of its epochs, with a validation {} of {:.4}: its model by then is {}; the trial goes on with the search",
                left.trial,
                left.epoch,
                self.watched,
                left.value,
                left.model.display()
            )),
            Err(error) => self.progress.note(&format!("the model of what was interrupted is not kept: {error}")),
        }
    }

    /// The trials of the last screen.
    fn shown(&self) -> Result<Vec<Trial>> {
        match self.study.directions().len() {
            1 => self.study.top(5),
            _ => self.study.top(self.study.best()?.len()),
        }
    }
}

/// Refuses a study whose trials run a program.
fn check_trains(spec: &SearchSpec, name: &str) -> Result<()> {
    let Some(storage) = Storage::open_if_there(&spec.storage)? else { return Ok(()) };
    match storage.attribute_of(name, COMMAND)?.as_ref().and_then(Json::as_str) {
        Some(command) => Err(Error::input(format!(
            "{}: the trials of the study `{name}` run a command: go on with it (--command '{}'), or give another --study",
            spec.storage.display(),
            command.replace('\'', r"'\''")
        ))),
        None => Ok(()),
    }
}

/// How the search proposes and stops trials.
fn choose(spec: &SearchSpec, study: &str, objectives: &[Measure], progress: &dyn Progress) -> Result<Chosen> {
    let is_pruned = objectives.iter().any(|objective| objective.metric().is_some());
    let usual = if is_pruned { "asha" } else { "none" };
    let names = objectives.iter().map(ToString::to_string).collect();
    let mut chosen = method::choose(&spec.storage, study, &spec.told, usual, names)?;
    if !is_pruned && spec.told.pruner.is_none() && chosen.method.pruner == "none" {
        progress.note("no trial is pruned: no objective is a metric to look at each epoch");
    }
    chosen.method.pruner_settings.max_resource.get_or_insert(spec.fixed.resolve()?.train.epochs as u64);
    Ok(chosen)
}

/// The first epoch at which successive halving compares: that of the study's first call, so that its rungs stay where
/// they are when more trials are asked for.
fn first_rung_of(study: &Study, spec: &SearchSpec) -> Result<u64> {
    if let Some(rung) = study.attribute("first_rung")?.and_then(|rung| rung.as_u64()) {
        return Ok(rung.max(1));
    }
    let rung = first_rung(spec.fixed.resolve()?.train.epochs as u64, spec.trials);
    study.set_attribute("first_rung", &json!(rung))?;
    Ok(rung)
}

/// The first epoch at which successive halving compares: a 27th of all, or a ninth where there are too few trials for
/// three rungs that each let a third go on. What an early look loses, the trials that it pays for more than bring back
/// (`benches/search/record.md`: from a 27th on ASHA gains on no pruning in a quarter of the epochs, from a ninth on it
/// loses). Others begin earlier still: Li et al. 2020 at r = 1 of R = 256, Optuna's `auto` at a hundredth of the steps.
fn first_rung(epochs: u64, trials: Option<u64>) -> u64 {
    epochs.div_ceil(if trials.is_some_and(|trials| trials < 27) { 9 } else { 27 }).max(1)
}

/// Refuses a space of which sampled configurations contradict themselves, before there is a study.
fn check_samples(spec: &SearchSpec, space: &Space, train: &Dataset) -> Result<()> {
    for i in 0..SAMPLES {
        let params = space.sample(&mut Stream::new(spec.seed, i, Purpose::Bootstrap, 0));
        let checked = ready::settings_of(&spec.fixed, &params)
            .and_then(|settings| settings.resolve())
            .and_then(|config| config.train.criterion(train));
        if let Err(error) = checked {
            let point: Vec<String> = params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            return Err(Error::input(format!(
                "the space has configurations that cannot be trained, such as {}: {error}; a condition (`when`) keeps a parameter to where it belongs",
                point.join(", ")
            )));
        }
    }
    Ok(())
}

/// Refuses fewer trainings of a trial than the test of a pruner of parts needs to stop anything.
fn check_parts(method: &Method, parts: usize) -> Result<()> {
    let Method { pruner, pruner_settings, .. } = method;
    let threshold = pruner_settings.p_threshold;
    let Some(least) = pruner::Wilcoxon::least_parts(threshold) else {
        return Err(Error::input(format!(
            "the pruner {pruner} stops nothing with p_threshold={threshold}; give one above 0"
        )));
    };
    // The last part ends the trial: what can be stopped must be known one part earlier.
    let least = u64::from(least).max(pruner_settings.startup_steps as u64) + 1;
    if (parts as u64) < least {
        return Err(Error::input(format!(
            "the pruner {pruner} compares the trainings of a trial, one a fold or repetition, and can stop nothing before \
             there are {} of them (p < {threshold}) and one more: there are {parts}; give at least {least} (--folds {least}, or --repeats \
             {least}) or a higher threshold (--pruner-option p_threshold=X)",
            least - 1
        )));
    }
    Ok(())
}

/// Refuses objectives that say nothing and a pruner that could not judge by them.
fn check_objectives(objectives: &[Measure], pruner: &str) -> Result<()> {
    if let Some((i, twice)) = objectives.iter().enumerate().find(|(i, one)| objectives[..*i].contains(one)) {
        return Err(Error::input(format!("metric: {twice} is named twice (the second time in place {})", i + 1)));
    }
    if objectives.iter().all(|objective| objective.metric().is_none()) && pruner != "none" {
        return Err(Error::input(format!(
            "the pruner {pruner} compares metrics epoch by epoch, and no objective ({}) is one; name a metric too or take --pruner none",
            objectives.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(())
}

/// What makes the study this study: the same name with anything else is refused.
fn config(spec: &SearchSpec, prepared: &Prepared, name: &str, objectives: &[Measure], space: Space) -> StudyConfig {
    let (train, validation, test) = prepared.rows();
    let mut config = StudyConfig::new(name, objectives[0].direction(), space);
    config.directions = objectives.iter().map(|objective| objective.direction()).collect();
    config.metric_names = objectives.iter().map(ToString::to_string).collect();
    // None is said too: trials that were made without a constraint are not judged by one that is added.
    let constraints: Vec<String> = spec.constraints.iter().map(ToString::to_string).collect();
    config.attributes.insert(CONSTRAINTS.to_owned(), constraints.into());
    let data = json!({
        "name": prepared.name(),
        "task": prepared.task().name(),
        "columns": prepared.columns(),
        "rows": [train, validation, test],
        "fingerprint": format!("{:016x}", prepared.fingerprint()),
    });
    config.attributes.insert("data".to_owned(), data);
    config.attributes.insert(SETTINGS_OF.to_owned(), spec.fixed.to_json().into());
    config.attributes.insert("seed".to_owned(), spec.seed.into());
    config.attributes.insert("repeats".to_owned(), spec.repeats.into());
    config.attributes.insert("folds".to_owned(), prepared.folds().into());
    if let Some(population) = &spec.population {
        config.attributes.insert(POPULATION.to_owned(), json!(population));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::first_rung;

    #[test]
    fn halving_begins_at_a_27th_of_the_epochs_or_a_ninth() {
        for (epochs, trials, rung) in [
            (81, None, 3),
            (81, Some(27), 3),
            (81, Some(26), 9),
            (82, Some(100), 4),
            (20, None, 1),
            (20, Some(10), 3),
            (1, Some(1), 1),
            (0, None, 1),
        ] {
            assert_eq!(first_rung(epochs, trials), rung, "{epochs} epochs, {trials:?} trials");
        }
    }
}
