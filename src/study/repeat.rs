//! Trials that are run again: those that were lost or stopped, and those that a limit ended with less than they come to.
//!
//! A repetition is a new trial with the parameters and the slot of the old one, which is marked failed (`hpt:lost`). One that had
//! values keeps them aside (`hpt:was`) until the repetition has ended: they are what there is.

use super::ask::{ATTEMPTS, DIED, explicit_slot};
use super::cache::{DELETED, FIXED, LOST, REASON, SLOT, WAS, is_put_aside};
use super::handle::Study;
use super::rows::{self, Stored, Table};
use super::storage::Fault;
use crate::Result;
use crate::history::{State, Timestamp, Trial};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// System attribute of a trial that a limit ended and that is not repeated any more: the repetition that failed.
const STANDS: &str = "hpt:stands";
/// How many processes may die with the same trial: more deaths say that the trial kills them.
const DEATHS: usize = 3;

impl Study {
    /// Puts back the complete trials of which `is_cut` says that they were ended before their time: their values no longer
    /// count, and each waits to be run again with its slot, so to the same numbers as if it had not been ended; the best by
    /// the first objective is the first. Returns their numbers; `why` is kept with them.
    ///
    /// Until a repetition has ended the values are what there is: [`Study::restore`] gives them back.
    ///
    /// # Errors
    /// The storage fails.
    pub fn repeat(&self, why: &str, is_cut: impl Fn(&Trial) -> bool) -> Result<Vec<u64>> {
        self.lose_all(|_| {
            let cache = self.cache();
            let is_cut =
                |trial: &&Trial| trial.state == State::Complete && !trial.system.contains_key(STANDS) && is_cut(trial);
            let mut cut: Vec<&Trial> = cache.all().filter(is_cut).collect();
            let loss = |trial: &Trial| trial.values.first().map_or(f64::INFINITY, |&v| self.directions()[0].loss(v));
            cut.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
            let cut = cut.into_iter().filter_map(|trial| cache.get(trial.number));
            Ok(cut.map(|(id, trial)| (Stored { id, trial: trial.clone() }, why)).collect())
        })
    }

    /// Gives the trials that [`Study::repeat`] put back their values again where the repetition has come to nothing: it waits
    /// still, or it is complete and `is_behind` the earlier trial, and is withdrawn; or it has failed for good, and the trial
    /// is not repeated any more. Returns their numbers.
    ///
    /// # Errors
    /// The storage fails.
    pub fn restore(&self, is_behind: impl Fn(&Trial, &[f64]) -> bool) -> Result<Vec<u64>> {
        let write = |connection: &Connection| {
            self.refresh_in(connection)?;
            // Of each slot the last that had values, and the last of all.
            let mut slots: BTreeMap<u64, (Option<u64>, u64)> = BTreeMap::new();
            for trial in self.cache().all().filter(|trial| explicit_slot(trial).is_some()) {
                let (had, last) = slots.entry(trial.slot()).or_default();
                let has = is_put_aside(trial) && trial.system.contains_key(WAS) && !trial.system.contains_key(DELETED);
                (*had, *last) = (has.then_some(trial.number).or(*had), trial.number);
            }
            let mut changed = Vec::new();
            for (had, last) in slots.into_values() {
                let stored = |number| self.cache().get(number).map(|(id, trial)| Stored { id, trial: trial.clone() });
                let Some((had, last)) = had.and_then(stored).zip(stored(last)) else { continue };
                let Some(values) = values_before(&had.trial) else { continue };
                let is_over = match last.trial.state {
                    State::Waiting => true,
                    State::Complete => is_behind(&last.trial, &values),
                    State::Failed => !is_put_aside(&last.trial),
                    _ => false,
                };
                if is_over {
                    changed.extend(give_back(connection, had, values, last)?);
                }
            }
            Ok(changed)
        };
        self.inner.storage.write_then(write, |changed| {
            let kept = changed.into_iter().map(|stored| self.keep(stored));
            kept.filter(|trial| trial.state == State::Complete).map(|trial| trial.number).collect()
        })
    }

    /// Puts back the trials that `chosen` gives, each for its reason; returns their numbers.
    pub(super) fn lose_all<'a>(
        &self,
        chosen: impl Fn(&Connection) -> Result<Vec<(Stored, &'a str)>, Fault>,
    ) -> Result<Vec<u64>> {
        let write = |connection: &Connection| {
            self.refresh_in(connection)?;
            let mut changed = Vec::new();
            for (stored, why) in chosen(connection)? {
                changed.extend(self.lose(connection, stored, why)?);
            }
            Ok(changed)
        };
        self.inner.storage.write_then(write, |changed| {
            let kept = changed.into_iter().map(|stored| self.keep(stored));
            kept.filter(|trial| trial.state == State::Failed).map(|trial| trial.number).collect()
        })
    }

    /// Marks a running or complete trial as lost and queues its repetition; returns both. A trial that too many processes
    /// died with has failed instead and is returned alone.
    fn lose(&self, connection: &Connection, stored: Stored, why: &str) -> Result<Vec<Stored>, Fault> {
        let Stored { id, mut trial } = stored;
        let now = trial.finished.unwrap_or_else(Timestamp::now);
        if !rows::transition(connection, id, trial.state, State::Failed, now)? {
            return Ok(Vec::new());
        }
        if !trial.values.is_empty() {
            connection.execute("DELETE FROM trial_values WHERE trial_id = ?1", [id])?;
            let values = json!(std::mem::take(&mut trial.values));
            rows::attribute(connection, Table::TrialSystem, id, WAS, &values)?;
            trial.system.insert(WAS.into(), values);
        }
        (trial.state, trial.finished) = (State::Failed, Some(now));
        // The first of the line, and all of them.
        let first = trial.system.get("failed_trial").cloned().unwrap_or(trial.number.into());
        let mut line = trial.system.get(ATTEMPTS).and_then(Json::as_array).cloned().unwrap_or_default();
        let deaths = 1 + self.deaths(&line);
        let (key, why) = match why {
            DIED if deaths >= DEATHS => (REASON, json!(format!("its process died {deaths} times"))),
            why => (LOST, json!(why)),
        };
        rows::attribute(connection, Table::TrialSystem, id, key, &why)?;
        trial.system.insert(key.into(), why);
        if key == REASON {
            return Ok(vec![Stored { id, trial }]);
        }
        let mut again = Trial::blank(0, State::Waiting);
        (again.params, again.domains) = (trial.params.clone(), trial.domains.clone());
        for key in [SLOT, FIXED] {
            if let Some(value) = trial.system.get(key) {
                again.system.insert(key.into(), value.clone());
            }
        }
        line.push(trial.number.into());
        again.system.insert("failed_trial".into(), first);
        again.system.insert(ATTEMPTS.into(), line.into());
        let again = rows::insert(connection, self.inner.id, again)?;
        Ok(vec![Stored { id, trial }, again])
    }

    /// How many of these attempts ended with the death of their process.
    fn deaths(&self, attempts: &[Json]) -> usize {
        let cache = self.cache();
        let attempts = attempts.iter().filter_map(|number| cache.get(number.as_u64()?));
        attempts.filter(|(_, trial)| trial.system.get(LOST).is_some_and(|why| why == DIED)).count()
    }
}

/// The values that a trial had when it was put back.
fn values_before(trial: &Trial) -> Option<Vec<f64>> {
    trial.system.get(WAS).and_then(|values| serde_json::from_value(values.clone()).ok())
}

/// Makes a lost trial complete again with the values that it had, in place of its repetition.
fn give_back(connection: &Connection, had: Stored, values: Vec<f64>, again: Stored) -> Result<Vec<Stored>, Fault> {
    let (Stored { id, mut trial }, mut again, now) = (had, again, Timestamp::now());
    if again.trial.state == State::Failed {
        rows::attribute(connection, Table::TrialSystem, id, STANDS, &json!(again.trial.number))?;
        trial.system.insert(STANDS.into(), again.trial.number.into());
    } else {
        if !rows::transition(connection, again.id, again.trial.state, State::Failed, now)? {
            return Ok(Vec::new());
        }
        connection.execute("DELETE FROM trial_values WHERE trial_id = ?1", [again.id])?;
        again.trial.values.clear();
        let why = json!(format!("trial {} has a result, or a better one", trial.number));
        rows::attribute(connection, Table::TrialSystem, again.id, LOST, &why)?;
        again.trial.system.insert(LOST.into(), why);
        (again.trial.state, again.trial.finished) = (State::Failed, Some(now));
    }
    let finished = trial.finished.unwrap_or(now);
    if !rows::transition(connection, id, State::Failed, State::Complete, finished)? {
        return Ok(vec![again]);
    }
    trial.values = values;
    rows::values(connection, id, &trial.values)?;
    for key in [LOST, WAS] {
        let sql = "DELETE FROM trial_system_attributes WHERE trial_id = ?1 AND key = ?2";
        connection.execute(sql, (id, key))?;
        trial.system.remove(key);
    }
    (trial.state, trial.finished) = (State::Complete, Some(finished));
    Ok(vec![again, Stored { id, trial }])
}
