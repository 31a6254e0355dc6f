//! Rows ↔ trials: the statements that read and write one trial's rows, inside a transaction of the caller.
//!
//! Reading takes either everything after a trial id (a study is read once, then only what is new) or one trial; each
//! table is read by one statement and joined here by trial id. Where most rows of a table are wanted it is read from
//! end to end, which costs a third of what it costs to look each row up: every `ask` and `tell` from a shell reads a
//! study once.

use super::cache::OWNER;
use super::codec;
use super::storage::Fault;
use crate::Error;
use crate::history::{State, Timestamp, Trial};
use crate::space::Domain;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Prefix of the system attributes that hold what was reported of all objectives, one a step: Optuna's table of
/// intermediate values has room for one value a step, which is the first objective's.
const REPORT: &str = "hpt:values:";

/// Longest JSON of a user attribute that is kept in memory, in bytes: the history of a training is longer, and a study
/// of thousands of trials would hold little else.
const LONGEST: usize = 512;
/// The same for lists and tables, which take some ten times as much in memory as in the file.
const LONGEST_NESTED: usize = 128;

/// A table is read from end to end for more than one in so many of the file's trials.
const SCAN: i64 = 3;

/// A trial with its id in the database, which is unique over all studies of the file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) trial: Trial,
}

/// Which trials of a study to read.
#[derive(Clone, Copy)]
pub(super) enum Which {
    /// Those with a larger id.
    After(i64),
    /// The one with this id.
    One(i64),
}

/// How much of a trial to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// What is kept in memory: without user attributes that are long ([`is_long`]).
    Memory,
    /// All there is.
    Everything,
}

/// The trials of a study, by increasing id. `path` is for messages.
pub(super) fn read(
    connection: &Connection,
    path: &str,
    study: i64,
    which: Which,
    scope: Scope,
) -> Result<Vec<Stored>, Fault> {
    let mut reader = Reader { connection, study, which, found: Vec::new() };
    reader.trials(path)?;
    reader.params(path)?;
    reader.each("trial_values", "c.objective, c.value, c.value_type", |_, trial, row| {
        let objective: usize = row.get(1)?;
        let values = &mut trial.values;
        values.resize(values.len().max(objective + 1), f64::NAN);
        values[objective] = number(row, 2)?;
        Ok(())
    })?;
    let columns = "c.step, c.intermediate_value, c.intermediate_value_type";
    reader.each("trial_intermediate_values", columns, |_, trial, row| {
        trial.intermediate.insert(row.get(1)?, number(row, 2)?);
        Ok(())
    })?;
    reader.each("trial_user_attributes", "c.key, c.value_json", |_, trial, row| {
        let text = row.get_ref(2)?.as_str()?;
        if scope == Scope::Everything || !is_long(text) {
            trial.user.insert(row.get(1)?, codec::json(text));
        }
        Ok(())
    })?;
    reader.each("trial_system_attributes", "c.key, c.value_json", |_, trial, row| {
        let key = row.get_ref(1)?.as_str()?;
        // Nobody runs it any more.
        if key == OWNER && scope == Scope::Memory && trial.state.is_finished() {
            return Ok(());
        }
        let value = codec::json(row.get_ref(2)?.as_str()?);
        match key.strip_prefix(REPORT).and_then(|step| Some((step.parse().ok()?, codec::report_values(&value)?))) {
            Some((step, values)) => drop(trial.reported.insert(step, values)),
            None => drop(trial.system.insert(key.to_owned(), value)),
        }
        Ok(())
    })?;
    reader.found.iter_mut().for_each(|stored| stored.trial.forget_replaced());
    Ok(reader.found)
}

struct Reader<'a> {
    connection: &'a Connection,
    study: i64,
    which: Which,
    /// By increasing id.
    found: Vec<Stored>,
}

impl Reader<'_> {
    fn condition(&self) -> (&'static str, i64) {
        match self.which {
            Which::After(id) => ("t.study_id = ?1 AND t.trial_id > ?2", id),
            Which::One(id) => ("t.study_id = ?1 AND t.trial_id = ?2", id),
        }
    }

    fn trials(&mut self, path: &str) -> Result<(), Fault> {
        let (condition, id) = self.condition();
        let sql = format!(
            "SELECT t.trial_id, t.number, t.state, t.datetime_start, t.datetime_complete FROM trials t
             WHERE {condition} ORDER BY t.trial_id"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query((self.study, id))?;
        while let Some(row) = rows.next()? {
            let (id, number, name): (i64, Option<u64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let Some(state) = codec::state(&name) else {
                return Err(Error::input(format!("{path}: trial {id} has the unknown state `{name}`")).into());
            };
            let mut trial = Trial::blank(number.unwrap_or_default(), state);
            (trial.started, trial.finished) = (time(row, 3)?, time(row, 4)?);
            self.found.push(Stored { id, trial });
        }
        Ok(())
    }

    fn params(&mut self, path: &str) -> Result<(), Fault> {
        // Of each parameter its name and domain, with the text that says so, once.
        let mut kinds: Vec<(String, String, Domain)> = Vec::new();
        let mut kinds_of: Vec<Vec<usize>> = vec![Vec::new(); self.found.len()];
        self.each("trial_params", "c.param_name, c.param_value, c.distribution_json", |at, trial, row| {
            let (name, number, text) = (row.get_ref(1)?.as_str()?, row.get(2)?, row.get_ref(3)?.as_str()?);
            let wrong = |why| Error::input(format!("{path}: trial {}, parameter `{name}`: {why}", trial.number));
            let kind = match kinds.iter().position(|kind| kind.0 == name && kind.1 == text) {
                Some(kind) => kind,
                None => {
                    kinds.push((name.to_owned(), text.to_owned(), codec::domain(text).map_err(wrong)?));
                    kinds.len() - 1
                }
            };
            let value = codec::external(&kinds[kind].2, number);
            let value = value.ok_or_else(|| wrong(format!("its value {number} is no choice of it")))?;
            kinds_of[at].push(kind);
            trial.params.insert(name.to_owned(), value);
            Ok(())
        })?;
        // Trials with the same parameters share their domains.
        let mut known: HashMap<Vec<usize>, Arc<BTreeMap<String, Domain>>> = HashMap::new();
        for (stored, own) in self.found.iter_mut().zip(kinds_of).filter(|(_, own)| !own.is_empty()) {
            let domain = |kind: &usize| (kinds[*kind].0.clone(), kinds[*kind].2.clone());
            stored.trial.domains = match known.get(&own) {
                Some(domains) => Arc::clone(domains),
                None => {
                    let domains = Arc::new(own.iter().map(domain).collect());
                    known.insert(own, Arc::clone(&domains));
                    domains
                }
            };
        }
        Ok(())
    }

    /// Calls `add` with the place of the trial for the rows of a table that belongs to trials, those of each trial in
    /// the order they were written.
    fn each(
        &mut self,
        table: &str,
        columns: &str,
        mut add: impl FnMut(usize, &mut Trial, &Row<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.found.is_empty() {
            return Ok(());
        }
        let (condition, id) = self.condition();
        let all: i64 =
            self.connection.prepare_cached("SELECT max(trial_id) FROM trials")?.query_row((), |row| row.get(0))?;
        let scans = self.found.len() as i64 > all / SCAN;
        let sql = match scans {
            true => format!("SELECT c.trial_id, {columns} FROM {table} c ORDER BY c.rowid"),
            false => format!(
                "SELECT c.trial_id, {columns} FROM trials t JOIN {table} c ON c.trial_id = t.trial_id
                 WHERE {condition} ORDER BY c.trial_id, c.rowid"
            ),
        };
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = if scans { statement.query(())? } else { statement.query((self.study, id))? };
        let mut at = 0;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            // Rows of a trial stand together, mostly.
            if self.found[at].id != id {
                match self.found.binary_search_by_key(&id, |stored| stored.id) {
                    Ok(place) => at = place,
                    Err(_) => continue,
                }
            }
            add(at, &mut self.found[at].trial, row)?;
        }
        Ok(())
    }
}

/// A value with its type in the column behind it, which matters where there is no number.
fn number(row: &Row<'_>, column: usize) -> Result<f64, Fault> {
    Ok(match row.get(column)? {
        Some(number) => number,
        None => codec::restored(None, row.get_ref(column + 1)?.as_str()?),
    })
}

/// The id of a trial of a study; none where there is no such number.
pub(super) fn id_of(connection: &Connection, study: i64, number: u64) -> Result<Option<i64>, Fault> {
    let sql = "SELECT trial_id FROM trials WHERE study_id = ?1 AND number = ?2";
    Ok(connection.prepare_cached(sql)?.query_row((study, number), |row| row.get(0)).optional()?)
}

fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Fault> {
    Ok(row.get_ref(column)?.as_str_or_null()?.and_then(codec::timestamp))
}

/// Writes a new trial with everything in it; its number becomes the next one of the study.
pub(super) fn insert(connection: &Connection, study: i64, mut trial: Trial) -> Result<Stored, Fault> {
    let sql = "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)
               SELECT coalesce((SELECT number FROM trials WHERE study_id = ?1 ORDER BY trial_id DESC LIMIT 1) + 1, 0), ?1, ?2, ?3, ?4
               RETURNING trial_id, number";
    let row = params![
        study,
        codec::state_name(trial.state),
        trial.started.map(codec::datetime),
        trial.finished.map(codec::datetime)
    ];
    let (id, number) = connection.prepare_cached(sql)?.query_row(row, |row| Ok((row.get(0)?, row.get(1)?)))?;
    trial.number = number;
    parameters(connection, id, &trial)?;
    values(connection, id, &trial.values)?;
    for (&step, &value) in &trial.intermediate {
        report(connection, id, step, trial.reported.get(&step).map_or(&[value], Vec::as_slice))?;
    }
    for (key, value) in &trial.user {
        attribute(connection, Table::TrialUser, id, key, value)?;
    }
    for (key, value) in &trial.system {
        attribute(connection, Table::TrialSystem, id, key, value)?;
    }
    Ok(Stored { id, trial })
}

/// Writes the parameters of a trial that has none yet.
pub(super) fn parameters(connection: &Connection, id: i64, trial: &Trial) -> Result<(), Fault> {
    let sql = "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(sql)?;
    for (name, value) in &trial.params {
        let domain = &trial.domains[name];
        let number = codec::internal(domain, value).ok_or_else(|| {
            Error::input(format!("trial {}: `{name}` is {value:?}, which is not in {domain:?}", trial.number))
        })?;
        statement.execute((id, name, number, codec::distribution(domain)))?;
    }
    Ok(())
}

/// Writes the values of a trial that has none yet.
pub(super) fn values(connection: &Connection, id: i64, values: &[f64]) -> Result<(), Fault> {
    let sql = "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(sql)?;
    for (objective, &value) in values.iter().enumerate() {
        let (number, kind) = codec::stored(value);
        statement.execute((id, objective, number, kind))?;
    }
    Ok(())
}

/// Writes what a trial reported at a step, the first objective's value or one an objective; a step that is there
/// already is overwritten.
pub(super) fn report(connection: &Connection, id: i64, step: u64, values: &[f64]) -> Result<(), Fault> {
    let sql =
        "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT (trial_id, step) DO UPDATE
         SET intermediate_value = excluded.intermediate_value, intermediate_value_type = excluded.intermediate_value_type";
    let Some(&first) = values.first() else { return Ok(()) };
    let (number, kind) = codec::stored(first);
    connection.prepare_cached(sql)?.execute((id, step, number, kind))?;
    match values {
        [_] => Ok(()),
        _ => attribute(connection, Table::TrialSystem, id, &format!("{REPORT}{step}"), &codec::report_json(values)),
    }
}

/// A table of attributes.
#[derive(Clone, Copy)]
pub(super) enum Table {
    StudyUser,
    StudySystem,
    TrialUser,
    TrialSystem,
}

/// Sets one attribute of a study or trial.
pub(super) fn attribute(connection: &Connection, table: Table, id: i64, key: &str, value: &Json) -> Result<(), Fault> {
    attribute_text(connection, table, id, key, &value.to_string())
}

fn attribute_text(connection: &Connection, table: Table, id: i64, key: &str, text: &str) -> Result<(), Fault> {
    let (table, owner) = match table {
        Table::StudyUser => ("study_user_attributes", "study_id"),
        Table::StudySystem => ("study_system_attributes", "study_id"),
        Table::TrialUser => ("trial_user_attributes", "trial_id"),
        Table::TrialSystem => ("trial_system_attributes", "trial_id"),
    };
    let sql = format!(
        "INSERT INTO {table} ({owner}, key, value_json) VALUES (?1, ?2, ?3)
         ON CONFLICT ({owner}, key) DO UPDATE SET value_json = excluded.value_json"
    );
    connection.prepare_cached(&sql)?.execute((id, key, text))?;
    Ok(())
}

/// Sets a user attribute of a trial, and takes it into memory unless it is long.
pub(super) fn user(connection: &Connection, stored: &mut Stored, key: &str, value: &Json) -> Result<(), Fault> {
    let text = value.to_string();
    attribute_text(connection, Table::TrialUser, stored.id, key, &text)?;
    match is_long(&text) {
        false => drop(stored.trial.user.insert(key.to_owned(), value.clone())),
        true => drop(stored.trial.user.remove(key)),
    }
    Ok(())
}

/// Whether the JSON of a user attribute stays in the file alone.
fn is_long(json: &str) -> bool {
    let longest = if json.starts_with(['[', '{']) { LONGEST_NESTED } else { LONGEST };
    json.len() > longest
}

/// Moves a trial from one state to another and sets the time that goes with it; false where it was in another state.
pub(super) fn transition(
    connection: &Connection,
    id: i64,
    from: State,
    to: State,
    now: Timestamp,
) -> Result<bool, Fault> {
    let time = if to.is_finished() { "datetime_complete" } else { "datetime_start" };
    let sql = format!("UPDATE trials SET state = ?1, {time} = ?2 WHERE trial_id = ?3 AND state = ?4");
    let row = (codec::state_name(to), codec::datetime(now), id, codec::state_name(from));
    Ok(connection.prepare_cached(&sql)?.execute(row)? == 1)
}

/// Notes that these trials are alive now, in the database's own clock.
pub(super) fn heartbeats(connection: &Connection, ids: &[i64]) -> Result<(), Fault> {
    let sql = "INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (?1, CURRENT_TIMESTAMP)
               ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat";
    let mut statement = connection.prepare_cached(sql)?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}
