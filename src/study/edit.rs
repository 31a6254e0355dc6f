//! Changing a study by hand: adding results from elsewhere, deleting a bad trial, copying and deleting studies.
//!
//! Optuna's schema has no deleted trial, and a number that is missing would be given out twice by Optuna (it counts
//! rows). So a deleted trial stays as a failed one without values, which Optuna's samplers, `best_trial` and dashboard
//! pass over, and what it was is kept in `hpt:deleted`. Its slot stays taken; its configuration may be proposed again,
//! since nothing is known of it any more.

use super::ask::owner;
use super::cache::{DELETED, OWNER, REASON, SLOT, WAS, is_put_aside};
use super::handle::{self, Study, StudyConfig};
use super::owner::Life;
use super::rows::{self, Stored, Table};
use super::storage::{Fault, Storage};
use super::tell::{Outcome, stored_constraints};
use crate::history::{CONSTRAINTS, State, Timestamp, Trial};
use crate::space::{Domain, Params};
use crate::{Error, Result};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// System attribute of a trial whose result came from elsewhere.
const ADDED: &str = "hpt:added";

impl Study {
    /// Adds a finished trial whose result is known from elsewhere; it counts towards the study's total, and samplers
    /// learn from it. `intermediate` are values by step, of the first objective or one an objective, perhaps none;
    /// `constraints` is by how much it breaks each constraint (at most 0: it is kept), empty where the study has none.
    ///
    /// # Errors
    /// A parameter that is missing, unknown, not active or outside its domain; without a space, parameters that no
    /// trial has together, or a study without trials; the wrong number of values; of a complete trial not one number a
    /// constraint that a search has given the study; the storage fails.
    pub fn add_trial(
        &self,
        params: &Params,
        intermediate: &BTreeMap<u64, Vec<f64>>,
        constraints: &[f64],
        outcome: Outcome,
    ) -> Result<Trial> {
        let known = self.attribute(CONSTRAINTS)?;
        let known = known.as_ref().and_then(Json::as_array).map_or(0, Vec::len);
        if matches!(outcome, Outcome::Complete(_)) && known > 0 && constraints.len() != known {
            return Err(Error::input(format!(
                "study `{}`: the trial says of {} constraints by how much it breaks them, the study has {known}",
                self.name(),
                constraints.len()
            )));
        }
        let (params, found) = match self.space() {
            None => self.as_in_trials(params)?,
            Some(space) => {
                let params = space.complete(params, |parameter| {
                    let (name, domain) = (&parameter.name, &parameter.domain);
                    Err(Error::input(format!(
                        "parameter {name}: no value is given; a result needs all of them ({domain})"
                    )))
                })?;
                let domain = |name: &String| Some((name.clone(), space.get(name)?.domain.clone()));
                let found = params.keys().filter_map(domain).collect();
                (params, found)
            }
        };
        let write = |connection: &Connection| {
            self.refresh_in(connection)?;
            let mut trial = Trial::blank(0, State::Running);
            trial.started = Some(Timestamp::now());
            trial.system.insert(SLOT.into(), self.cache().next_slot.into());
            trial.system.insert(ADDED.into(), true.into());
            if !constraints.is_empty() {
                trial.system.insert(CONSTRAINTS.into(), stored_constraints(constraints));
            }
            trial.domains = Arc::new(found);
            trial.params = params;
            for (&step, values) in intermediate {
                if values.len() != 1 {
                    self.check_count(self.cache().len() as u64, values.len())?;
                }
                trial.take_report(step, values);
            }
            let mut stored = rows::insert(connection, self.inner.id, trial)?;
            self.end(connection, &mut stored, outcome)?;
            Ok(stored)
        };
        self.inner.storage.write_then(write, |stored| self.keep(stored))
    }

    /// Parameters in the types and with the domains that trials of a study without a space have them in, the latest
    /// first.
    fn as_in_trials(&self, params: &Params) -> Result<(Params, BTreeMap<String, Domain>)> {
        let trials = self.trials()?;
        let known: Vec<&Trial> = trials.iter().rev().filter(|trial| !trial.params.is_empty()).collect();
        let Some(last) = known.first() else {
            return self.needed_space().map(|_| Default::default());
        };
        let (mut own, mut domains) = (Params::new(), BTreeMap::new());
        for (name, value) in params {
            let of_name: Vec<&Domain> = known.iter().filter_map(|trial| trial.domains.get(name)).collect();
            let Some(latest) = of_name.first() else {
                let names: BTreeSet<&str> =
                    known.iter().flat_map(|trial| trial.params.keys().map(String::as_str)).collect();
                return Err(Error::unknown("parameter", name, names));
            };
            let found = of_name.iter().find_map(|domain| Some((domain.accept(value)?, (*domain).clone())));
            let (value, domain) = found.ok_or_else(|| {
                Error::input(format!("parameter {name} is {value}; trials of the study have it in {latest}"))
            })?;
            own.insert(name.clone(), value);
            domains.insert(name.clone(), domain);
        }
        let together = |trial: &&&Trial| trial.domains.keys().eq(domains.keys());
        if !known.iter().any(|trial| together(&trial)) {
            let list = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Error::input(format!(
                "no trial of the study has just these parameters ({}); trial {} has {}",
                list(own.keys().collect()),
                last.number,
                list(last.domains.keys().collect())
            )));
        }
        Ok((own, domains))
    }

    /// Deletes a trial: it stays as a failed one without values, and neither samplers nor pruners nor [`Study::best`]
    /// see it. Another process that works on the study sees that when it opens the study again. With a trial that was
    /// put back although it had values goes the repetition that waits or runs. Returns what is left.
    ///
    /// # Errors
    /// There is no such trial, or it is deleted already; the storage fails.
    pub fn delete_trial(&self, number: u64, reason: &str) -> Result<Trial> {
        let write = |connection: &Connection| {
            self.refresh_in(connection)?;
            let found = self.cache().get(number).map(|(id, trial)| Stored { id, trial: trial.clone() });
            let Some(stored) = found else { return Err(self.no_trial(number).into()) };
            if stored.trial.system.contains_key(DELETED) {
                let message = format!("study `{}`: trial {number} is deleted already", self.name());
                return Err(Error::input(message).into());
            }
            let is_repeated = is_put_aside(&stored.trial) && stored.trial.system.contains_key(WAS);
            let slot = stored.trial.slot();
            let again: Vec<Stored> = match is_repeated {
                true => {
                    let cache = self.cache();
                    let again = cache.open().filter(|(_, trial)| trial.slot() == slot);
                    again.map(|(id, trial)| Stored { id, trial: trial.clone() }).collect()
                }
                false => Vec::new(),
            };
            let all = std::iter::once(stored).chain(again);
            all.map(|stored| deleted(connection, stored, reason)).collect::<Result<Vec<Stored>, Fault>>()
        };
        let keep = |deleted: Vec<Stored>| deleted.into_iter().map(|stored| self.keep(stored)).collect::<Vec<Trial>>();
        self.inner.storage.write_then(write, keep)?.into_iter().next().ok_or_else(|| self.no_trial(number))
    }

    /// Copies the study with all its trials and attributes, to the same storage or another. What runs waits in the
    /// copy.
    ///
    /// # Errors
    /// There is a study of that name; the storages fail.
    pub fn copy_to(&self, storage: &Storage, name: &str) -> Result<Study> {
        let attributes = self.all_attributes()?;
        let read = |connection: &Connection| {
            rows::read(connection, &self.path(), self.inner.id, rows::Which::After(-1), rows::Scope::Everything)
        };
        let trials = self.inner.storage.read(read)?;
        storage.write(|connection| {
            if handle::find(connection, name)?.is_some() {
                let path = storage.path().display();
                return Err(Error::input(format!("{path}: there is a study `{name}`; give another name")).into());
            }
            let config = StudyConfig {
                name: name.to_owned(),
                directions: self.directions().to_vec(),
                metric_names: Vec::new(),
                space: None,
                attributes: serde_json::Map::new(),
            };
            let id = handle::create(connection, &config)?;
            for (table, key, value) in &attributes {
                rows::attribute(connection, *table, id, key, value)?;
            }
            for stored in &trials {
                rows::insert(connection, id, copied(&stored.trial))?;
            }
            Ok(())
        })?;
        Study::open(storage, Some(name))
    }

    /// User and system attributes of the study.
    fn all_attributes(&self) -> Result<Vec<(Table, String, Json)>> {
        let tables = [(Table::StudyUser, "study_user_attributes"), (Table::StudySystem, "study_system_attributes")];
        self.inner.storage.read(|connection| {
            let mut all = Vec::new();
            for (table, name) in tables {
                let sql = format!("SELECT key, value_json FROM {name} WHERE study_id = ?1 ORDER BY rowid");
                let mut statement = connection.prepare(&sql)?;
                let mut rows = statement.query([self.inner.id])?;
                while let Some(row) = rows.next()? {
                    all.push((table, row.get(0)?, super::codec::json(row.get_ref(1)?.as_str()?)));
                }
            }
            Ok(all)
        })
    }

    /// Deletes the study with everything in it.
    ///
    /// # Errors
    /// A process that lives is at work on one of its trials; the storage fails.
    pub fn delete(self) -> Result<()> {
        let name = self.name().to_owned();
        self.inner.storage.write(|connection| {
            self.refresh_in(connection)?;
            let busy = self.cache().open().any(|(_, trial)| {
                let owner = owner(trial).filter(|_| trial.state == State::Running);
                owner.is_some_and(|owner| owner.life(&self.inner.owner) == Life::Alive)
            });
            if busy {
                let path = self.path();
                let message = format!("{path}: a running process works on the study `{name}`; stop it first");
                return Err(Error::input(message).into());
            }
            delete_rows(connection, self.inner.id)
        })
    }
}

/// Writes a trial as a deleted one.
fn deleted(connection: &Connection, stored: Stored, reason: &str) -> Result<Stored, Fault> {
    let Stored { id, mut trial } = stored;
    // Texts: JSON has no infinity.
    let values: Vec<String> = trial.values.iter().map(f64::to_string).collect();
    let kept = json!({"state": trial.state.name(), "values": values, "reason": reason});
    let why = Json::from(if reason.is_empty() { "deleted".to_owned() } else { format!("deleted: {reason}") });
    connection.execute("DELETE FROM trial_values WHERE trial_id = ?1", [id])?;
    if !trial.state.is_finished() {
        let now = Timestamp::now();
        rows::transition(connection, id, trial.state, State::Failed, now)?;
        trial.finished = Some(now);
    } else {
        connection.execute("UPDATE trials SET state = 'FAIL' WHERE trial_id = ?1", [id])?;
    }
    trial.state = State::Failed;
    trial.values.clear();
    for (key, value) in [(DELETED, kept), (REASON, why)] {
        rows::attribute(connection, Table::TrialSystem, id, key, &value)?;
        trial.system.insert(key.into(), value);
    }
    Ok(Stored { id, trial })
}

/// The trial as a copy has it.
fn copied(trial: &Trial) -> Trial {
    let mut copy = trial.clone();
    copy.system.remove(OWNER);
    if copy.state == State::Running {
        copy.state = State::Waiting;
        copy.started = None;
        copy.intermediate.clear();
        copy.reported.clear();
    }
    copy
}

/// Removes a study's rows from every table.
fn delete_rows(connection: &Connection, study: i64) -> Result<(), Fault> {
    for table in [
        "trial_params",
        "trial_values",
        "trial_intermediate_values",
        "trial_user_attributes",
        "trial_system_attributes",
        "trial_heartbeats",
    ] {
        let sql = format!("DELETE FROM {table} WHERE trial_id IN (SELECT trial_id FROM trials WHERE study_id = ?1)");
        connection.execute(&sql, [study])?;
    }
    for table in ["trials", "study_user_attributes", "study_system_attributes", "study_directions", "studies"] {
        connection.execute(&format!("DELETE FROM {table} WHERE study_id = ?1"), [study])?;
    }
    Ok(())
}
