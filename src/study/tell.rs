//! What a trial reports and how it ends. Finished trials never change again, from whichever process.

use super::cache::{NOBODY, PARTS, REASON};
use super::handle::Study;
use super::rows::{self, Stored, Table};
use super::storage::{Fault, Running};
use crate::history::{CONSTRAINTS, EARLIER_SECONDS, OF_PARTS, State, Timestamp, Trial};
use crate::pruner::Pruner;
use crate::{Error, Result};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With one value an objective; a NaN among them makes the trial failed.
    Complete(Vec<f64>),
    /// Stopped early; its value is the last it reported, or the mean of its parts ([`crate::history::OF_PARTS`]).
    Pruned,
    /// Without a value, and why.
    Failed(String),
}

/// What a trial of [`Study::optimize`] leaves beside its values.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub user: BTreeMap<String, Json>,
    pub constraints: Option<Vec<f64>>,
    /// What its value is the mean of; fewer than two say nothing.
    pub parts: Vec<f64>,
    /// What an earlier attempt took that the trial went on from.
    pub earlier_seconds: Option<f64>,
}

/// A process that asks, reports and tells many times; see [`Study::serve`].
pub struct Serving<'a> {
    study: &'a Study,
    pruner: &'a dyn Pruner,
    /// The token under which the pruner follows the study.
    following: u64,
    _fast_commits: Running<'a>,
}

impl std::fmt::Debug for Serving<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("study", &self.study.name()).finish_non_exhaustive()
    }
}

impl Serving<'_> {
    /// As [`Study::should_prune`].
    ///
    /// # Errors
    /// The same.
    pub fn should_prune(&self, number: u64) -> Result<bool> {
        self.study.prunes(number, self.pruner, self.following)
    }
}

impl Study {
    /// Keeps an intermediate value of a running trial, with several objectives one of the first; the same step again
    /// overwrites.
    ///
    /// # Errors
    /// [`Error::Input`] where the trial does not exist or does not run; the storage fails.
    pub fn report(&self, number: u64, step: u64, value: f64) -> Result<()> {
        self.report_kept(number, step, &[value])
    }

    /// Keeps intermediate values of a running trial, one an objective; the same step again overwrites. What does not
    /// change from step to step (a size, say) is given each time: pruners compare what was reported at one step.
    ///
    /// # Errors
    /// [`Error::Input`] where the trial does not exist or does not run, or where the number of values is not the number
    /// of objectives; the storage fails.
    pub fn report_values(&self, number: u64, step: u64, values: &[f64]) -> Result<()> {
        self.check_count(number, values.len())?;
        self.report_kept(number, step, values)
    }

    fn report_kept(&self, number: u64, step: u64, values: &[f64]) -> Result<()> {
        self.change(number, |connection, stored| {
            stored.trial.take_report(step, values);
            rows::report(connection, stored.id, step, values)
        })
        .map(drop)
    }

    /// Refuses any other number of values than one an objective.
    pub(super) fn check_count(&self, number: u64, count: usize) -> Result<()> {
        let objectives = self.directions().len();
        let plural = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        if count == objectives {
            return Ok(());
        }
        let (values, objectives) = (plural(count, "value"), plural(objectives, "objective"));
        Err(Error::input(format!("trial {number}: {values} for {objectives}")))
    }

    /// Whether a trial should stop after what it reported last. With several objectives that is known only of one that
    /// reports all of them ([`Study::report_values`]).
    ///
    /// # Errors
    /// [`Error::Input`] where the trial does not exist; the storage fails.
    pub fn should_prune(&self, number: u64, pruner: &dyn Pruner) -> Result<bool> {
        self.prunes(number, pruner, NOBODY)
    }

    fn prunes(&self, number: u64, pruner: &dyn Pruner, following: u64) -> Result<bool> {
        let trial = if pruner.compares() || !self.cache().is_unread() {
            self.refresh()?;
            self.cache().get(number).map(|(_, trial)| trial.clone())
        } else {
            self.inner.storage.read(|connection| self.alone(connection, number))?.map(|stored| stored.trial)
        };
        let Some(mut trial) = trial else { return Err(self.no_trial(number)) };
        if pruner.of_parts() && !trial.is_of_parts() {
            trial = self.mark_parts(number)?;
        }
        Ok(self.cache().should_prune(pruner, following, self.directions(), &trial))
    }

    /// Keeps with a running trial that its steps are parts of a whole; returns it as it is now.
    pub(super) fn mark_parts(&self, number: u64) -> Result<Trial> {
        let mark = |connection: &Connection, stored: &mut Stored| {
            let value = Json::Bool(true);
            rows::attribute(connection, Table::TrialSystem, stored.id, OF_PARTS, &value)?;
            stored.trial.system.insert(OF_PARTS.into(), value);
            Ok(())
        };
        Ok(match self.change_if_running(number, mark)? {
            Ok(trial) | Err(trial) => trial,
        })
    }

    /// Says that this process is about to ask, report and tell many times, with this pruner: while the answer lives
    /// commits are quick (as in [`Study::optimize`]) and [`Serving::should_prune`] need not look at all trials. Another
    /// process, or one that dies, loses nothing by it.
    pub fn serve<'a>(&'a self, pruner: &'a dyn Pruner) -> Serving<'a> {
        let following = self.cache().follow(pruner, self.directions());
        Serving { study: self, pruner, following, _fast_commits: self.inner.storage.running() }
    }

    /// Keeps with a running trial by how much it breaks each constraint (at most 0: it is kept), where Optuna looks for
    /// it.
    ///
    /// # Errors
    /// [`Error::Input`] where the trial does not exist or does not run; the storage fails.
    pub fn set_constraints(&self, number: u64, constraints: &[f64]) -> Result<()> {
        self.change(number, |connection, stored| keep_constraints(connection, stored, constraints)).map(drop)
    }

    /// The same for a trial of [`Study::optimize`] that is under way; nothing where somebody else has ended it.
    pub(super) fn show_constraints(&self, number: u64, constraints: &[f64]) -> Result<()> {
        self.change_if_running(number, |connection, stored| keep_constraints(connection, stored, constraints)).map(drop)
    }

    /// Ends a running trial and returns it as it is stored.
    ///
    /// # Errors
    /// [`Error::Input`] where the trial does not exist, is already finished or has not started, or where the number of
    /// values is not the number of objectives; the storage fails.
    pub fn tell(&self, number: u64, outcome: Outcome) -> Result<Trial> {
        self.change(number, |connection, stored| self.end(connection, stored, outcome))
    }

    /// Keeps `value` with a trial that is not finished, as a user attribute, which Optuna and its dashboard show.
    ///
    /// # Errors
    /// [`Error::Input`] where the trial does not exist or does not run; the storage fails.
    pub fn set_trial_user(&self, number: u64, key: &str, value: &Json) -> Result<()> {
        self.change(number, |connection, stored| rows::user(connection, stored, key, value)).map(drop)
    }

    /// Ends a trial of [`Study::optimize`]: `own` has all it reported, `unwritten` what of it is not in the file yet.
    /// None where somebody else has ended it meanwhile.
    pub(super) fn finish(
        &self,
        own: &Trial,
        unwritten: &[(u64, Vec<f64>)],
        notes: Notes,
        outcome: Outcome,
    ) -> Result<Option<Trial>> {
        let done = self.change_if_running(own.number, |connection, stored| {
            for (step, values) in unwritten {
                rows::report(connection, stored.id, *step, values)?;
            }
            stored.trial.intermediate.extend(&own.intermediate);
            stored.trial.reported.extend(own.reported.clone());
            if let Some(constraints) = &notes.constraints {
                keep_constraints(connection, stored, constraints)?;
            }
            if notes.parts.len() > 1 {
                let parts = json!(notes.parts);
                rows::attribute(connection, Table::TrialSystem, stored.id, PARTS, &parts)?;
                stored.trial.system.insert(PARTS.into(), parts);
            }
            if let Some(seconds) = notes.earlier_seconds.map(Json::from) {
                rows::attribute(connection, Table::TrialSystem, stored.id, EARLIER_SECONDS, &seconds)?;
                stored.trial.system.insert(EARLIER_SECONDS.into(), seconds);
            }
            for (key, value) in &notes.user {
                rows::user(connection, stored, key, value)?;
            }
            self.end(connection, stored, outcome)
        })?;
        Ok(done.ok())
    }

    pub(super) fn end(&self, connection: &Connection, stored: &mut Stored, outcome: Outcome) -> Result<(), Fault> {
        let objectives = self.directions().len();
        if let Outcome::Complete(values) = &outcome {
            self.check_count(stored.trial.number, values.len())?;
        }
        let (state, values, reason) = match outcome {
            Outcome::Complete(values) if values.iter().any(|value| value.is_nan()) => {
                (State::Failed, Vec::new(), Some("the objective's value is not a number".to_owned()))
            }
            Outcome::Complete(values) => (State::Complete, values, None),
            Outcome::Pruned => {
                let last = stored.trial.reached().and_then(|values| values.first().copied());
                let value = last.filter(|value| objectives == 1 && !value.is_nan());
                (State::Pruned, value.into_iter().collect(), None)
            }
            Outcome::Failed(reason) => (State::Failed, Vec::new(), Some(reason)),
        };
        let now = Timestamp::now();
        rows::values(connection, stored.id, &values)?;
        if let Some(reason) = reason.map(Json::String) {
            rows::attribute(connection, Table::TrialSystem, stored.id, REASON, &reason)?;
            stored.trial.system.insert(REASON.into(), reason);
        }
        rows::transition(connection, stored.id, State::Running, state, now)?;
        (stored.trial.state, stored.trial.values, stored.trial.finished) = (state, values, Some(now));
        Ok(())
    }

    /// Changes a running trial, in the file and in memory; an error where it does not run.
    fn change(&self, number: u64, work: impl FnOnce(&Connection, &mut Stored) -> Result<(), Fault>) -> Result<Trial> {
        self.change_if_running(number, work)?.map_err(|trial| {
            let state = trial.state.name();
            let why = match trial.state {
                State::Waiting => "ask for it first".to_owned(),
                _ => "finished trials never change".to_owned(),
            };
            Error::input(format!("study `{}`: trial {number} is {state}, not running: {why}", self.name()))
        })
    }

    /// The same; the trial as it is where it does not run.
    fn change_if_running(
        &self,
        number: u64,
        work: impl FnOnce(&Connection, &mut Stored) -> Result<(), Fault>,
    ) -> Result<Result<Trial, Trial>> {
        let write = |connection: &Connection| {
            // Who opens a study to tell of one trial need not read the others.
            let is_unread = self.cache().is_unread();
            let found = if is_unread {
                self.alone(connection, number)?
            } else {
                self.refresh_in(connection)?;
                self.cache().get(number).map(|(id, trial)| Stored { id, trial: trial.clone() })
            };
            let Some(mut stored) = found else {
                self.refresh_in(connection)?;
                return Err(self.no_trial(number).into());
            };
            if stored.trial.state != State::Running {
                return Ok((false, false, stored));
            }
            work(connection, &mut stored)?;
            Ok((true, !is_unread, stored))
        };
        let keep =
            |(ran, keeps, stored): (bool, bool, Stored)| (ran, if keeps { self.keep(stored) } else { stored.trial });
        let (ran, trial) = self.inner.storage.write_then(write, keep)?;
        Ok(if ran { Ok(trial) } else { Err(trial) })
    }

    /// A trial from the file, whatever is in memory.
    fn alone(&self, connection: &Connection, number: u64) -> Result<Option<Stored>, Fault> {
        let Some(id) = rows::id_of(connection, self.inner.id, number)? else { return Ok(None) };
        let read = rows::read(connection, &self.path(), self.inner.id, rows::Which::One(id), rows::Scope::Memory)?;
        Ok(read.into_iter().next())
    }

    pub(super) fn no_trial(&self, number: u64) -> Error {
        let count = self.cache().len();
        Error::input(format!("study `{}`: there is no trial {number}; it has {count}", self.name()))
    }
}

/// Constraints as they are stored.
pub(super) fn stored_constraints(constraints: &[f64]) -> Json {
    // JSON has only finite numbers, and Optuna compares each with 0.
    let finite = |value: &f64| if value.is_nan() { f64::MAX } else { value.clamp(f64::MIN, f64::MAX) };
    json!(constraints.iter().map(finite).collect::<Vec<f64>>())
}

fn keep_constraints(connection: &Connection, stored: &mut Stored, constraints: &[f64]) -> Result<(), Fault> {
    let value = stored_constraints(constraints);
    rows::attribute(connection, Table::TrialSystem, stored.id, CONSTRAINTS, &value)?;
    stored.trial.system.insert(CONSTRAINTS.into(), value);
    Ok(())
}
