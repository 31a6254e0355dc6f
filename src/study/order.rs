//! Results in a fixed order: with it, several jobs make the study that one job makes.
//!
//! Trials are told in the order of their slots. The proposal for slot k and the pruning of it look at the trials up to slot
//! k − w alone, w being the width; those between count as under way, whether they are or not. So w trials can run at once
//! and nothing depends on which of them is faster. With a width of 1 each trial sees all before it, as with one job and
//! without all this; a sampler that does not learn does not look at results, so its trials run side by side even then, and
//! wait for each other only where a pruner compares them.
//!
//! What waits here: the worker whose trial has ended, for those before it; the one that asks, or whose pruner looks, for
//! what it has to see. The trial with the least slot never waits, so there is always one that goes on.

use super::ask::owner;
use super::cache::{Cache, cost, is_put_aside};
use super::optimize::Run;
use crate::Result;
use crate::history::{CONSTRAINTS, State, Trial};
use crate::pruner::Pruner;
use std::sync::atomic::Ordering::AcqRel;

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

    /// The trials as they are seen: later ones not at all, those that are too close as if they were running.
    pub fn of(self, trials: &[Trial]) -> Vec<Trial> {
        let known = trials.iter().filter(|trial| trial.slot() < self.slot || trial.state == State::Waiting);
        known.map(|trial| if self.sees(trial.slot()) { trial.clone() } else { hidden(trial) }).collect()
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
    trial.user.clear();
    trial.system.retain(|key, _| !key.starts_with(CONSTRAINTS));
    trial
}

/// True where a trial that `counts` by its slot is running in some process.
fn runs(cache: &Cache, counts: impl Fn(u64) -> bool) -> bool {
    // Nobody knows when a trial that is told from outside ends.
    cache.open().any(|(_, trial)| trial.state == State::Running && owner(trial).is_some() && counts(trial.slot()))
}

impl Run<'_> {
    /// What the trial in that slot may see; none where results come in any order.
    pub(super) fn view(&self, slot: u64) -> Option<View> {
        self.spec.deterministic.map(|width| View { slot, width: width.max(1) })
    }

    /// Waits until everything that the view shows has ended; false where the study stops instead.
    pub(super) fn wait_for_view(&self, view: View) -> Result<bool> {
        self.wait_while(|cache| runs(cache, |slot| view.sees(slot)))
    }

    /// Waits until the trials before that slot have been told; false where the study stops instead.
    pub(super) fn wait_for_turn(&self, slot: u64) -> Result<bool> {
        if self.spec.deterministic.is_none() {
            return Ok(true);
        }
        self.wait_while(|cache| runs(cache, |other| other < slot))
    }

    fn wait_while(&self, blocked: impl Fn(&Cache) -> bool) -> Result<bool> {
        let is_blocked = || blocked(&self.study.cache());
        if !is_blocked() {
            return Ok(true);
        }
        // What waits needs no core: the others may have it.
        self.at_work.fetch_sub(1, AcqRel);
        let free = loop {
            if self.stopping().is_some() {
                break Ok(false);
            }
            if !is_blocked() {
                break Ok(true);
            }
            self.pause();
            // Other processes may have told something.
            if let Err(error) = self.study.refresh() {
                break Err(error);
            }
        };
        self.at_work.fetch_add(1, AcqRel);
        free
    }

    /// What the pruner says of a running trial, from what its view shows; it may wait for that.
    pub(super) fn prunes_in_order(&self, view: View, trial: &Trial) -> Result<bool> {
        let pruner: &dyn Pruner = self.spec.pruner;
        if pruner.compares() && !self.wait_for_view(view)? {
            return Ok(false);
        }
        let no_dearer = |other: &Trial| match cost(trial) {
            Some(own) => cost(other).is_some_and(|other| other <= own),
            None => true,
        };
        let seen: Vec<Trial> = match pruner.compares() {
            true => self.study.cache().all().filter(|t| view.sees(t.slot()) && no_dearer(t)).cloned().collect(),
            false => Vec::new(),
        };
        Ok(pruner.should_prune(self.study.directions()[0], &seen, trial))
    }
}
