//! Results in a fixed order: with it, several jobs make the study that one job makes.
//!
//! Trials are told in the order of their slots. The proposal for slot k and the pruning of it look at the trials up to
//! slot k − w alone, w being the width; those between count as under way, whether they are or not. So w trials can run
//! at once and nothing depends on which of them is faster. With a width of 1 each trial sees all before it, as with one
//! job and without all this; a sampler that does not learn does not look at results, so its trials run side by side
//! even then, and wait for each other only where a pruner compares them.
//!
//! What waits here: the worker whose trial has ended, for those before it; the one that asks, or whose pruner looks,
//! for what it has to see. The trial with the least slot never waits, so there is always one that goes on.
//!
//! Telling a trial and asking the rules about it is one step: who has seen that a trial has ended sees what the rules
//! made of it before anything is handed out or told. What is told stays told, so a trial whose turn has not come when
//! the study stops is put back where there are rules: they might have stopped it. Without rules it is told at once,
//! since no view can tell when that happened.

use super::ask::{explicit_slot, owner};
use super::cache::{Cache, FIXED, SLOT, is_put_aside};
use super::handle::Study;
use super::optimize::{OptimizeSpec, Run};
use super::stop::{Order, StopRules, Watch};
use crate::Result;
use crate::history::{State, Trial};
use crate::pruner::Pruner;
use std::sync::{MutexGuard, PoisonError};

/// Whether a trial that has ended may be told.
pub(super) enum Turn<'a> {
    /// It may. Where order counts, nobody else is told until this is dropped.
    Now(Option<MutexGuard<'a, ()>>),
    /// The study of one job may not have come to it.
    Never,
}

/// What a trial may see of the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    /// The trial's slot.
    pub slot: u64,
    /// How many slots back results are seen.
    pub width: u64,
}

impl View {
    /// Whether it sees how the trial in that slot ended.
    fn sees(self, slot: u64) -> bool {
        slot + self.width <= self.slot
    }

    /// The trials as they are seen: later ones not at all, those that are too close as if they were running, and all
    /// with numbers in the order of their slots, which a repetition has from the trial that it stands for.
    pub fn of(self, trials: &[Trial]) -> Vec<Trial> {
        let known = trials.iter().filter(|trial| trial.slot() < self.slot || trial.state == State::Waiting);
        let mut seen: Vec<Trial> =
            known.map(|trial| if self.sees(trial.slot()) { trial.clone() } else { hidden(trial) }).collect();
        seen.sort_by_key(|trial| (trial.slot(), trial.number));
        for (place, trial) in (0..).zip(&mut seen) {
            if trial.number != place {
                trial.number = place;
            }
        }
        seen
    }
}

/// The trial as it was when it had just been proposed. One that was lost stays so: its repetition stands for it.
fn hidden(trial: &Trial) -> Trial {
    let mut trial = trial.clone();
    if trial.state == State::Waiting || is_put_aside(&trial) {
        return trial;
    }
    (trial.state, trial.finished) = (State::Running, None);
    trial.values.clear();
    trial.intermediate.clear();
    trial.reported.clear();
    trial.user.clear();
    trial.system.retain(|key, _| [SLOT, FIXED].contains(&key.as_str()));
    trial
}

/// True where a trial that `counts` by its slot is running in some process.
fn runs(cache: &Cache, counts: impl Fn(u64) -> bool) -> bool {
    // Nobody knows when a trial that is told from outside ends.
    cache.open().any(|(_, trial)| trial.state == State::Running && owner(trial).is_some() && counts(trial.slot()))
}

/// True where a trial that `counts` by its slot has to be repeated: its process died or was stopped.
fn is_due(cache: &Cache, counts: impl Fn(u64) -> bool) -> bool {
    cache.open().any(|(_, trial)| trial.state == State::Waiting && explicit_slot(trial).is_some_and(&counts))
}

impl Study {
    /// What the stop rules know of the trials so far.
    pub(super) fn watch(&self, spec: &OptimizeSpec<'_>) -> Result<Watch> {
        let order = if spec.deterministic.is_some() { Order::Slots } else { Order::Time };
        Ok(Watch::new(spec.rules.clone(), order, self.directions(), self.space(), &self.trials()?))
    }
}

impl Run<'_> {
    /// What the trial in that slot may see; none where results come in any order.
    pub(super) fn view(&self, slot: u64) -> Option<View> {
        self.spec.deterministic.map(|width| View { slot, width: width.max(1) })
    }

    /// Waits until everything that the view shows has ended; false where the study stops instead, or where a trial that
    /// it shows has to be repeated first.
    pub(super) fn wait_for_view(&self, view: View) -> Result<bool> {
        let sees = |slot| view.sees(slot);
        let whole = self.wait_for(|cache| (!runs(cache, sees)).then(|| !is_due(cache, sees)))?;
        // Who has told the last of them may be asking the rules still.
        drop(self.watch());
        Ok(whole == Some(true) && self.stopping().is_none())
    }

    /// Waits until a trial that has ended may be told: those in the slots before it have been.
    pub(super) fn wait_for_turn(&self, slot: u64) -> Result<Turn<'_>> {
        if self.spec.deterministic.is_none() {
            return Ok(Turn::Now(None));
        }
        let before = |other| other < slot;
        self.wait_for(|cache| (!runs(cache, before)).then_some(()))?;
        let telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = |cache: &Cache| runs(cache, before) || is_due(cache, before);
        let early = self.spec.rules != StopRules::default() && passes(&self.study.cache());
        Ok(if early || self.is_ruled() { Turn::Never } else { Turn::Now(Some(telling)) })
    }

    /// Waits until there is an answer; none where the study stops before.
    fn wait_for<T>(&self, answer: impl Fn(&Cache) -> Option<T>) -> Result<Option<T>> {
        let look = || answer(&self.study.cache());
        if let Some(answer) = look() {
            return Ok(Some(answer));
        }
        // What waits needs no core: the others may have it.
        self.at_work.leave();
        let found = loop {
            if self.stopping().is_some() {
                break Ok(None);
            }
            if let Some(answer) = look() {
                break Ok(Some(answer));
            }
            self.pause();
            // Other processes may have told something.
            if let Err(error) = self.study.refresh() {
                break Err(error);
            }
        };
        self.at_work.enter();
        found
    }

    /// What the pruner says of a running trial, from what its view shows; it may wait for that. None where it cannot be
    /// known: the study stops, or a trial that it has to see must be repeated first.
    pub(super) fn prunes_in_order(&self, view: View, trial: &Trial) -> Result<Option<bool>> {
        let pruner: &dyn Pruner = self.spec.pruner;
        if pruner.compares() && !self.wait_for_view(view)? {
            return Ok(None);
        }
        let seen: Vec<Trial> = match pruner.compares() {
            true => self.study.cache().all().filter(|t| view.sees(t.slot())).cloned().collect(),
            false => Vec::new(),
        };
        Ok(Some(pruner.should_prune(self.study.directions(), &seen, trial)))
    }

    /// Whether a rule has ended the study.
    fn is_ruled(&self) -> bool {
        self.ruled.get().is_some()
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a trial and lets the stop rules see it before anybody is told what to do next.
    pub(super) fn tell(&self, end: impl FnOnce() -> Result<Option<Trial>>) -> Result<Option<Trial>> {
        let mut watch = self.watch();
        let done = end()?;
        if let Some(trial) = &done {
            match watch.follows(trial) {
                true => watch.add(trial),
                // It fills a gap that a stop has left.
                false => *watch = self.study.watch(self.spec)?,
            }
        }
        self.heed(&watch);
        Ok(done)
    }

    /// Keeps what the stop rules say.
    pub(super) fn heed(&self, watch: &Watch) {
        if let Some(rule) = watch.says() {
            self.ruled.get_or_init(|| rule);
        }
    }
}
