//! Population-based training (Jaderberg et al., 2017) as a study: trainings that copy each other's weights as they go.
//!
//! A trial is one member for one generation: some epochs from where the trial that it follows (`parent`) ended, weights
//! and optimizer alike, with hyperparameters that are constant within it. So Optuna's tables hold all there is: curves
//! of trials go on where those of their parents ended, and each value has the parameters it was reached with. Whom a
//! member follows and what changes is [`crate::sampler::Population`]'s, a function of the generation before alone:
//! generations are barriers, and the numbers do not depend on the number of jobs. That costs the time in which workers
//! wait for the slowest member of each generation.
//!
//! What a trial ended with lies in `population/slot-N.safetensors` until the next generation is done. The study keeps a
//! fingerprint of it; a file that is missing or another one is made again by training the trial's ancestors, which
//! computes the same bits. At the end the best member's schedule is trained in this way once more, on training and
//! validation rows.

use super::budget::Budget;
use super::kept::Kept;
use super::ready::settings_of;
use super::trial::{ENDED, EPOCHS, Objective, Segment};
use super::{Bridge, SearchSpec, repeat_cut};
use crate::data::Folds;
use crate::engine::{Fit, useful_threads};
use crate::history::{State, Trial};
use crate::model::{Model, Plan};
use crate::prepared::Sets;
use crate::pruner::Never;
use crate::sampler::{Population, Sampler};
use crate::settings::{SETTINGS, Settings, find};
use crate::space::{Domain, Space, Value};
use crate::study::{Context, ObjectiveEnd, Stopped, Study, Summary};
use crate::train::{Checkpoint, Control, Epoch, Stopped as Ended, Trained};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// Parameters that may change while a network trains; the others come with the weights.
pub const TUNABLE: &[&str] = &[
    "learning_rate",
    "weight_decay",
    "l1",
    "momentum",
    "beta1",
    "beta2",
    "alpha",
    "epsilon",
    "clip_norm",
    "dropout",
    "input_dropout",
    "label_smoothing",
];

/// Attribute of a study that trains a population: how.
pub(super) const POPULATION: &str = "population";

/// Keys of a trial's user attributes.
const GENERATION: &str = "generation";
const MEMBER: &str = "member";
const PARENT: &str = "parent";
const CHECKPOINT: &str = "checkpoint";

/// How a population is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PopulationSpec {
    /// Members, at least 2.
    pub members: u64,
    /// Epochs of a generation; the last one takes what is left.
    pub generation_epochs: usize,
    /// Share of the members that follow one of as many best; above 0, at most a half.
    pub exploit: f64,
    /// What a hyperparameter is multiplied with or divided by; above 1.
    pub explore_factor: f64,
    /// Probability that it is drawn anew instead.
    pub explore_resample: f64,
}

impl PopulationSpec {
    /// So many members; a generation of one epoch, a fifth follows, a factor of 1.2, one value in four drawn anew.
    pub fn new(members: u64) -> Self {
        PopulationSpec { members, generation_epochs: 1, exploit: 0.2, explore_factor: 1.2, explore_resample: 0.25 }
    }

    /// The last epoch of the generation of a slot, of so many of a whole training.
    fn last_epoch(&self, slot: u64, epochs: usize) -> usize {
        ((slot / self.members.max(1)) as usize + 1).saturating_mul(self.generation_epochs).min(epochs)
    }

    /// The last epoch that a trial trained: that of its generation, or an earlier one where the search's time limit
    /// ended it.
    fn epoch_of(&self, trial: &Trial, epochs: usize) -> usize {
        let cut = trial.user.contains_key(ENDED).then(|| trial.user.get(EPOCHS).and_then(Json::as_u64)).flatten();
        cut.map_or_else(|| self.last_epoch(trial.slot(), epochs), |epoch| epoch as usize)
    }

    /// Checks the numbers.
    fn check(&self) -> Result<()> {
        let wrong = |name: &str, found: &dyn std::fmt::Display, expected: &str| {
            Err(Error::input(format!("{name} is {found}; {expected} is expected")))
        };
        if !(2..=1 << 20).contains(&self.members) {
            return wrong("population", &self.members, "a number of members from 2 to 1048576");
        }
        if self.generation_epochs == 0 {
            return wrong("generation_epochs", &0, "at least 1");
        }
        if !(self.exploit > 0.0 && self.exploit <= 0.5) {
            return wrong("exploit", &self.exploit, "a share above 0, at most 0.5,");
        }
        if !(self.explore_factor > 1.0 && self.explore_factor.is_finite()) {
            return wrong("explore_factor", &self.explore_factor, "a number above 1");
        }
        if !(0.0..=1.0).contains(&self.explore_resample) {
            return wrong("explore_resample", &self.explore_resample, "a probability from 0 to 1");
        }
        Ok(())
    }
}

/// Refuses what a population cannot be combined with.
pub(super) fn check(spec: &SearchSpec, space: &Space) -> Result<()> {
    let Some(population) = &spec.population else { return Ok(()) };
    population.check()?;
    let refuse = |what: &str, why: &str| Err(Error::input(format!("{what} does not combine with a population: {why}")));
    let usual = SearchSpec::new(spec.data.clone());
    if let Some(sampler) = spec.told.sampler.as_ref().filter(|sampler| *sampler != "auto") {
        return refuse(&format!("sampler {sampler}"), "members follow the best ones; leave it out");
    }
    if let Some(pruner) = spec.told.pruner.as_ref().filter(|pruner| *pruner != "none") {
        return refuse(&format!("pruner {pruner}"), "the worst members follow the best instead; leave it out");
    }
    if spec.trials != usual.trials && spec.trials.is_some() {
        let why = "there are members × generations trials; `epochs` says how long each member trains";
        return refuse("a number of trials", why);
    }
    if let Some(objective) = spec.objectives.iter().find(|_| spec.objectives.len() > 1) {
        return refuse(&format!("objective {objective} beside others"), "members are ranked by one metric");
    }
    if let Some(objective) = spec.objectives.iter().find(|objective| objective.metric().is_none()) {
        return refuse(&format!("objective {objective}"), "members are ranked by a metric of every generation");
    }
    if let Some(constraint) = spec.constraints.first() {
        return refuse(&format!("constraint {constraint}"), "members are ranked by their metric alone");
    }
    if spec.repeats > 1 {
        return refuse("repeats", "a member's weights are those of one training");
    }
    if spec.split.folds != Folds::None {
        return refuse("cross-validation", "a member's weights are those of one training");
    }
    if spec.trial_time_limit.is_some() {
        return refuse("a time limit of trials", "all members train for the same epochs; limit the whole search");
    }
    if spec.warm_start.is_some() {
        return refuse("a warm start", "it gives data to a sampler; enqueue its best configurations");
    }
    if spec.enqueue.len() as u64 >= population.members {
        let (given, most) = (spec.enqueue.len(), population.members - 1);
        return refuse(&format!("a queue of {given}"), &format!("it has room for {most} beside the default"));
    }
    let varies = |name: &str| space.get(name).is_some();
    let fixed = spec.fixed.resolve()?.train;
    if fixed.early_stopping.is_some() || varies("early_stopping") {
        return refuse("early_stopping", "the best member at any generation is kept anyhow");
    }
    if varies("epochs") {
        return refuse("a range of epochs", "all members train for as many; give one number");
    }
    let schedules = match space.get("schedule").map(|parameter| &parameter.domain) {
        Some(Domain::Choice(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => vec![fixed.schedule.kind.name()],
    };
    if let Some(name) = schedules.iter().find(|name| ["plateau", "hypergradient"].contains(*name)) {
        let why = "it looks back on the whole training; the population adapts the rate itself";
        return refuse(&format!("schedule {name}"), why);
    }
    if tunable(space).is_empty() {
        return Err(Error::input(format!(
            "the space has nothing that a population may change while it trains: {} ({} come with the weights)",
            TUNABLE.join(", "),
            SETTINGS.iter().map(|s| s.name).filter(|name| varies(name)).collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(())
}

/// Names of the parameters of a space that may change, those of single layers (`dropout_2`) among them.
fn tunable(space: &Space) -> Vec<String> {
    let may = |name: &str| find(name).is_some_and(|(setting, _)| TUNABLE.contains(&setting.name));
    space.parameters().iter().map(|parameter| parameter.name.clone()).filter(|name| may(name)).collect()
}

/// A population at work.
pub(super) struct Members<'a> {
    bridge: &'a Bridge<'a>,
    spec: PopulationSpec,
    rule: Population,
    /// Epochs of a whole training.
    epochs: usize,
}

impl<'a> Members<'a> {
    /// None where the search has no population.
    pub fn of(bridge: &'a Bridge<'a>) -> Result<Option<Self>> {
        let (Some(spec), Some(space)) = (bridge.spec.population, bridge.study.space()) else { return Ok(None) };
        let rule = Population {
            members: spec.members,
            exploit: spec.exploit,
            factor: spec.explore_factor,
            resample: spec.explore_resample,
            tunable: tunable(space),
        };
        Ok(Some(Members { bridge, spec, rule, epochs: bridge.spec.fixed.resolve()?.train.epochs }))
    }

    fn generations(&self) -> u64 {
        self.epochs.div_ceil(self.spec.generation_epochs) as u64
    }

    /// The last epoch of the generation of a slot.
    fn last_epoch(&self, slot: u64) -> usize {
        self.spec.last_epoch(slot, self.epochs)
    }

    /// That which a trial trained last.
    fn epoch_of(&self, trial: &Trial) -> usize {
        self.spec.epoch_of(trial, self.epochs)
    }

    fn path(&self, slot: u64) -> PathBuf {
        self.folder().join(format!("slot-{slot}.safetensors"))
    }

    fn folder(&self) -> PathBuf {
        self.bridge.out.join("population")
    }

    /// Runs generation after generation, and begins with the first that is not whole.
    pub fn run(&self, budget: &Budget, kept: &Kept) -> Result<Summary> {
        let bridge = self.bridge;
        std::fs::create_dir_all(self.folder()).map_err(|e| Error::io(self.folder(), e))?;
        if let Some(space) = bridge.study.space() {
            bridge.progress.note(&self.rule.describe(space, bridge.study.directions()));
        }
        let total = self.generations() * self.spec.members;
        // Members go on from what they came to: none from a part of a generation.
        repeat_cut(&bridge.study, Some(total), bridge.progress)?;
        bridge.progress.started(&bridge.study, Some(total), bridge.study.counts()?.finished());
        let objective = Objective { bridge, budget, kept };
        // The file changes its mode once, not at each barrier.
        let _fast_commits = bridge.study.storage().running();
        let mut all: Option<Summary> = None;
        for generation in 0..self.generations() {
            let (missing, _) = self.missing(generation)?;
            let limit = bridge.study.counts()?.finished() + missing;
            let summary =
                bridge.drive(budget, &self.rule, &Never, Some(limit), |context| self.trial(&objective, context))?;
            all = Some(match all {
                None => summary,
                Some(before) => Summary {
                    finished: before.finished + summary.finished,
                    seconds: before.seconds + summary.seconds,
                    ..summary
                },
            });
            if summary.stopped != Stopped::Reached {
                break;
            }
            let (missing, complete) = self.missing(generation)?;
            if missing == 0 && complete == 0 {
                bridge
                    .progress
                    .note(&format!("no member of generation {generation} has a value: the search ends here"));
                break;
            }
            self.forget(generation);
        }
        all.ok_or_else(|| Error::input("epochs is 0; at least 1 is expected"))
    }

    /// How many members of a generation have not ended, and how many have a value.
    fn missing(&self, generation: u64) -> Result<(u64, u64)> {
        let trials = self.bridge.study.trials()?;
        let mut ended = std::collections::BTreeSet::new();
        let mut complete = 0;
        for trial in trials.iter().filter(|trial| trial.state.is_finished() && !trial.system.contains_key("hpt:lost")) {
            if trial.state == State::Complete && !trial.user.contains_key(GENERATION) {
                return Err(Error::input(format!(
                    "study `{}`: trial {} is no member of a population; give another --study",
                    self.bridge.study.name(),
                    trial.number
                )));
            }
            if self.rule.generation(trial.slot()) == generation && ended.insert(trial.slot()) {
                complete += u64::from(trial.state == State::Complete);
            }
        }
        Ok((self.spec.members.saturating_sub(ended.len() as u64), complete))
    }

    /// Removes the checkpoints of the generation before, which nobody follows any more.
    fn forget(&self, generation: u64) {
        let Some(before) = generation.checked_sub(1) else { return };
        for slot in before * self.spec.members..generation * self.spec.members {
            // What stays behind is never read again: at worst it takes room.
            let _ = std::fs::remove_file(self.path(slot));
        }
    }

    /// Removes what is left when the search is over.
    pub fn clean(&self) {
        let generations = self.generations();
        self.forget(generations.saturating_sub(1));
        self.forget(generations);
        let _ = std::fs::remove_dir(self.folder());
    }

    /// One member, one generation.
    fn trial(&self, objective: &Objective<'_>, context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
        let (slot, bridge) = (context.slot(), self.bridge);
        let generation = self.rule.generation(slot);
        let trials = bridge.study.trials()?;
        let parent = self.rule.parent(bridge.study.directions()[0], &trials, bridge.spec.seed, slot);
        context.set_user(GENERATION, json!(generation));
        context.set_user(MEMBER, json!(slot % self.spec.members));
        context.set_user(PARENT, json!(parent.map(|parent| parent.number)));
        let from = match parent {
            Some(parent) => Some(self.state_of(objective.budget, &trials, parent)?),
            None if generation == 0 => None,
            None => return Err(ObjectiveEnd::Failed("there is no member to go on from".to_owned())),
        };
        let segment = Segment { from: from.as_ref(), last_epoch: self.last_epoch(slot) };
        let (value, checkpoint) = objective.segment(context, &segment)?;
        let Some(checkpoint) = checkpoint else { return Ok(vec![value]) };
        context.set_user(CHECKPOINT, json!(format!("{:016x}", checkpoint.fingerprint())));
        // The next generation would compute it again.
        if let Err(error) = checkpoint.save(&self.path(slot)) {
            bridge.progress.note(&format!("the checkpoint of trial {} is not kept: {error}", context.number()));
        }
        Ok(vec![value])
    }

    /// What a trial ended with: from its file, or computed again.
    fn state_of(&self, budget: &Budget, trials: &[Trial], trial: &Trial) -> Result<Checkpoint, ObjectiveEnd> {
        // One that the search's time limit ended has none.
        let recorded = trial.user.get(CHECKPOINT).and_then(Json::as_str).unwrap_or_default();
        let fits = |checkpoint: &Checkpoint| format!("{:016x}", checkpoint.fingerprint()) == recorded;
        if let Some(checkpoint) = Checkpoint::load(&self.path(trial.slot())).filter(fits) {
            return Ok(checkpoint);
        }
        let number = trial.number;
        self.bridge.progress.note(&format!("the checkpoint of trial {number} is gone: its training is repeated"));
        let sets = |preprocess| self.bridge.prepared.sets(preprocess);
        let cancelled = || budget.spent();
        let lineage = lineage(trials, trial)?;
        let replay = Replay { members: self, lineage: &lineage, threads: self.bridge.threads, cancelled: &cancelled };
        let config = settings_of(&self.bridge.spec.fixed, &trial.params)?.resolve()?;
        let replayed = replay.run(&*sets(config.preprocess)?, &mut |_| {})?;
        if !fits(&replayed.checkpoint) && !recorded.is_empty() {
            self.bridge.progress.note(&format!(
                "the training of trial {number} ends with other digits here than where it was first made"
            ));
        }
        Ok(replayed.checkpoint)
    }

    /// Trains the schedule of `best` on these rows.
    pub fn retrain(
        &self,
        best: &Trial,
        sets: &Sets,
        threads: usize,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Model, Trained)> {
        let trials = self.bridge.study.trials()?;
        let lineage = lineage(&trials, best)?;
        let of = self.epoch_of(best);
        let replay = Replay { members: self, lineage: &lineage, threads, cancelled };
        let replayed = replay.run(sets, &mut |epoch| self.bridge.progress.retraining(epoch.epoch, of))?;
        let mut model = replayed.model;
        model.training.schedule = schedule(&lineage, &self.spec, self.epochs);
        Ok((model, replayed.trained))
    }
}

/// A trial's hyperparameters from its first epoch on, where the study trains a population: `{"trial", "epochs": [from,
/// to], "params"}` of each piece. Else nothing.
pub(super) fn schedule_of(study: &Study, trial: &Trial) -> Result<Vec<Json>> {
    let Some(spec) = study.attribute(POPULATION)?.and_then(|spec| serde_json::from_value(spec).ok()) else {
        return Ok(Vec::new());
    };
    let said = study.attribute("settings")?.and_then(|settings| settings.get("epochs").and_then(Json::as_u64));
    let epochs =
        said.map_or_else(|| Settings::default().resolve().map(|config| config.train.epochs), |n| Ok(n as usize));
    Ok(schedule(&lineage(&study.trials()?, trial)?, &spec, epochs?))
}

fn schedule(lineage: &[&Trial], spec: &PopulationSpec, epochs: usize) -> Vec<Json> {
    let mut first = 1;
    let piece = |trial: &&Trial| {
        let last = spec.epoch_of(trial, epochs);
        let piece = json!({"trial": trial.number, "epochs": [first, last], "params": trial.params});
        first = last + 1;
        piece
    };
    lineage.iter().map(piece).collect()
}

/// A trial and those it goes on from, the first one first.
fn lineage<'a>(trials: &'a [Trial], trial: &'a Trial) -> Result<Vec<&'a Trial>> {
    let mut line = vec![trial];
    let mut last = trial;
    while let Some(number) = last.user.get(PARENT).and_then(Json::as_u64) {
        let parent = trials.iter().find(|other| other.number == number && other.number < last.number);
        last = parent.ok_or_else(|| {
            Error::Storage(format!("trial {} goes on from trial {number}, which is not there", last.number))
        })?;
        line.push(last);
    }
    line.reverse();
    Ok(line)
}

/// The trainings of a lineage, one after the other.
struct Replay<'a> {
    members: &'a Members<'a>,
    lineage: &'a [&'a Trial],
    threads: usize,
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What they come to.
struct Replayed {
    model: Model,
    /// The last piece, with the seconds of all.
    trained: Trained,
    checkpoint: Checkpoint,
}

impl Replay<'_> {
    fn run(&self, sets: &Sets, on_epoch: &mut dyn FnMut(&Epoch)) -> Result<Replayed> {
        let bridge = self.members.bridge;
        let (mut seconds, mut done): (f64, Option<Replayed>) = (0.0, None);
        for trial in self.lineage {
            let mut config = settings_of(&bridge.spec.fixed, &trial.params)?.resolve()?;
            config.train.metric = Some(bridge.watched);
            let plan = Plan::new(&config.model, sets.train.inputs, sets.train.targets.outputs())?;
            let useful = useful_threads(&plan, &config.train, &sets.train);
            let fit = Fit {
                validation: sets.validation.as_ref(),
                seed: bridge.spec.seed,
                slot: trial.slot(),
                last_epoch: Some(self.members.epoch_of(trial)),
                cancelled: self.cancelled,
                ..Fit::new(&sets.train, &config.model, &config.train)
            };
            let engine = bridge.engine_for(&fit, self.threads.min(useful).max(1))?;
            let from = done.as_ref().map(|done| &done.checkpoint);
            let (mut trained, checkpoint) = engine.resume(&fit, from, &mut |epoch| {
                on_epoch(epoch);
                Control::Continue
            })?;
            if trained.stopped == Ended::Cancelled {
                return Err(Error::Interrupted);
            }
            seconds += trained.seconds;
            trained.seconds = seconds;
            done = Some(Replayed { model: fit.model_of(&trained)?, trained, checkpoint });
        }
        done.ok_or_else(|| Error::Storage("a lineage without trials".to_owned()))
    }
}
