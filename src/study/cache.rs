//! The study's trials in memory, so that a trial costs the same after ten thousand others as at the start.
//!
//! SQLite's `data_version` tells whether another connection has written since the last look; if so, new trials are
//! read and those not finished are read again (finished ones never change). What this process writes it puts here
//! itself. Counts and the next slot are kept up to date with each change instead of being counted anew.

use super::rows::{self, Stored, Which};
use super::storage::Fault;
use crate::history::{State, Trial};
use rusqlite::Connection;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// System attribute: the place in the plan.
pub(super) const SLOT: &str = "hpt:slot";
/// System attribute: the process that runs the trial.
pub(super) const OWNER: &str = "hpt:owner";
/// System attribute of a failed trial that is tried again: why.
pub(super) const LOST: &str = "hpt:lost";
/// System attribute of a failed trial: why.
pub(super) const REASON: &str = "hpt:reason";
/// System attribute, Optuna's: parameters that somebody gave for a waiting trial.
pub(super) const FIXED: &str = "fixed_params";

/// How many trials are in which state. `failed` does not count trials that were lost with their process and tried
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Finished with a value.
    pub complete: u64,
    /// Stopped early.
    pub pruned: u64,
    /// Failed by their own objective.
    pub failed: u64,
    /// Lost with their process, or put back by an interrupt; each is tried again.
    pub lost: u64,
    /// Some worker is at them.
    pub running: u64,
    /// Enqueued or put back, not started.
    pub waiting: u64,
}

impl Counts {
    /// Trials that count towards the total a study should reach.
    pub fn finished(&self) -> u64 {
        self.complete + self.pruned + self.failed
    }

    fn of(&mut self, trial: &Trial) -> &mut u64 {
        match trial.state {
            State::Complete => &mut self.complete,
            State::Pruned => &mut self.pruned,
            State::Failed if trial.system.contains_key(LOST) => &mut self.lost,
            State::Failed => &mut self.failed,
            State::Running => &mut self.running,
            State::Waiting => &mut self.waiting,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cache {
    trials: Arc<Vec<Trial>>,
    /// The database's id of each.
    ids: Vec<i64>,
    by_number: HashMap<u64, usize>,
    /// Places of the trials that are not finished.
    open: BTreeSet<usize>,
    pub(super) counts: Counts,
    pub(super) next_slot: u64,
    version: Option<i64>,
    /// Reports (place, step, value) that came while somebody was reading: copying ten thousand trials for one number
    /// would cost more than the number is worth.
    late: Vec<(usize, u64, f64)>,
}

impl Cache {
    /// All trials, as they are now; later changes are not seen through it. What running trials of this process have
    /// reported in the last moment may be missing.
    pub(super) fn trials(&mut self) -> Arc<Vec<Trial>> {
        self.catch_up();
        Arc::clone(&self.trials)
    }

    /// Takes over late reports, unless somebody is reading still.
    fn catch_up(&mut self) {
        if let Some(trials) = Arc::get_mut(&mut self.trials) {
            for (at, step, value) in self.late.drain(..) {
                if trials[at].state == State::Running {
                    trials[at].intermediate.insert(step, value);
                }
            }
        }
    }

    /// The trial with that number, with its id.
    pub(super) fn get(&self, number: u64) -> Option<(i64, &Trial)> {
        self.by_number.get(&number).map(|&at| (self.ids[at], &self.trials[at]))
    }

    /// The trials that are not finished, with their ids, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = (i64, &Trial)> {
        self.open.iter().map(|&at| (self.ids[at], &self.trials[at]))
    }

    /// Takes over a trial that was written, new or changed; one that was finished already stays as it is.
    pub(super) fn put(&mut self, Stored { id, trial }: Stored) {
        let known = self.ids.binary_search(&id);
        if known.is_ok_and(|at| self.trials[at].state.is_finished()) {
            return;
        }
        if let Some(slot) = trial.system.get(SLOT).and_then(serde_json::Value::as_u64) {
            self.next_slot = self.next_slot.max(slot + 1);
        }
        *self.counts.of(&trial) += 1;
        let finished = trial.state.is_finished();
        let trials = Arc::make_mut(&mut self.trials);
        let at = match known {
            Ok(at) => {
                *self.counts.of(&trials[at]) -= 1;
                trials[at] = trial;
                at
            }
            // Ids only grow, others' trials are read before one is written, and commits come here in their order (see
            // `Study::keep`), so a new trial is the last.
            Err(_) => {
                self.by_number.insert(trial.number, trials.len());
                self.ids.push(id);
                trials.push(trial);
                trials.len() - 1
            }
        };
        if finished {
            self.open.remove(&at)
        } else {
            self.open.insert(at)
        };
    }

    /// Notes what a running trial reported.
    pub(super) fn report(&mut self, number: u64, step: u64, value: f64) {
        if let Some(&at) = self.by_number.get(&number) {
            self.late.push((at, step, value));
            self.catch_up();
        }
    }

    /// Makes the next [`Cache::refresh`] read the open trials again, whoever wrote them.
    pub(super) fn doubt(&mut self) {
        self.version = None;
    }

    /// Reads what other connections have written since the last time. Call inside a transaction.
    pub(super) fn refresh(&mut self, connection: &Connection, path: &str, study: i64) -> Result<(), Fault> {
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.version == Some(version) {
            return Ok(());
        }
        for at in self.open.clone() {
            for mut stored in rows::read(connection, path, study, Which::One(self.ids[at]))? {
                if stored.trial.state == State::Running {
                    // What was reported here may not be in the file yet.
                    stored.trial.intermediate.extend(&self.trials[at].intermediate);
                }
                self.put(stored);
            }
        }
        let last = self.ids.last().copied().unwrap_or(-1);
        for stored in rows::read(connection, path, study, Which::After(last))? {
            self.put(stored);
        }
        self.version = Some(version);
        Ok(())
    }
}
