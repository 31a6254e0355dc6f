//! The handle of one study: creating or opening it, its attributes, its trials and the best of them.

use super::cache::{Cache, Counts};
use super::codec;
use super::owner::Owner;
use super::rows::{self, Stored, Table};
use super::storage::{Fault, Storage};
use super::transfer::{self, Prior};
use crate::history::pareto::{self, Merit, best_first};
use crate::history::{Direction, State, Trial};
use crate::space::{Domain, Space};
use crate::{Error, Result};
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Prefix of our own attributes.
pub(super) const OURS: &str = "hpt:";
/// System attribute of a study: its space.
const SPACE: &str = "hpt:space";
/// System attribute of a study, Optuna's: names of the objectives.
const METRIC_NAMES: &str = "study:metric_names";

/// What a study is; opening an existing one with another configuration is refused.
#[derive(Clone, Debug)]
pub struct StudyConfig {
    /// Its name, unique in the storage.
    pub name: String,
    /// One an objective, at least one.
    pub directions: Vec<Direction>,
    /// What the objectives are called; empty or one an objective.
    pub metric_names: Vec<String>,
    /// What varies; none takes the space the study has.
    pub space: Option<Space>,
    /// What else makes it this study (data, fixed settings), kept as system attributes `hpt:KEY`.
    pub attributes: serde_json::Map<String, Json>,
}

impl StudyConfig {
    /// A study with one objective, `value`.
    pub fn new(name: impl Into<String>, direction: Direction, space: Space) -> Self {
        StudyConfig {
            name: name.into(),
            directions: vec![direction],
            metric_names: Vec::new(),
            space: Some(space),
            attributes: serde_json::Map::new(),
        }
    }
}

/// One study of a storage. Clones are the same study; threads may share one.
#[derive(Clone, Debug)]
pub struct Study {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) storage: Storage,
    pub(super) id: i64,
    name: String,
    directions: Vec<Direction>,
    metric_names: Vec<String>,
    space: Option<Space>,
    /// This process.
    pub(super) owner: Owner,
    cache: Mutex<Cache>,
    /// One proposal at a time: each sees the ones before it.
    pub(super) asking: Mutex<()>,
    /// What a warm start has given the samplers.
    pub(super) priors: Mutex<Arc<Vec<Prior>>>,
    /// Numbers of trials that nobody here runs any more but whose end could not be written.
    abandoned: Mutex<BTreeSet<u64>>,
}

impl Study {
    /// Opens the study of that name, or creates it.
    ///
    /// # Errors
    /// [`Error::Input`] where it exists with other directions, other metrics (if both sides name them), another space
    /// or other attributes (the difference is shown); [`Error::Storage`] where the file fails.
    pub fn create_or_open(storage: &Storage, config: &StudyConfig) -> Result<Self> {
        check(config)?;
        storage.write(|connection| {
            let path = storage.path().display().to_string();
            match find(connection, &config.name)? {
                Some(id) => adopt(connection, &path, id, config),
                None => create(connection, config).map(drop),
            }
        })?;
        Self::open(storage, Some(&config.name))
    }

    /// Opens the study of that name; without a name, the only one there is.
    ///
    /// # Errors
    /// [`Error::Input`] where there is none of that name, or several and no name.
    pub fn open(storage: &Storage, name: Option<&str>) -> Result<Self> {
        let path = storage.path().display().to_string();
        let inner = storage.read(|connection| {
            let names = names(connection)?;
            let name = match (name, names.as_slice()) {
                (Some(name), names) if names.iter().any(|known| known == name) => name.to_owned(),
                (_, []) => return Err(Error::input(format!("{path}: holds no study")).into()),
                (Some(name), names) => {
                    let known = names.iter().map(String::as_str);
                    return Err(Error::unknown(&format!("{path}: study"), name, known).into());
                }
                (None, [only]) => only.clone(),
                (None, several) => {
                    let several = several.join(", ");
                    return Err(Error::input(format!("{path}: holds several studies ({several}); name one")).into());
                }
            };
            let id = find(connection, &name)?.unwrap_or_default();
            let directions = directions(connection, id)?;
            // Its trials are read when somebody wants more than one of them.
            let cache = Cache::of(&directions);
            let space = match system(connection, id, SPACE)? {
                Some(space) => Some(serde_json::from_value(space).map_err(|error| {
                    Error::input(format!("{path}: study `{name}`: its space ({SPACE}) cannot be read: {error}"))
                })?),
                None => None,
            };
            Ok(Inner {
                storage: storage.clone(),
                id,
                name,
                directions,
                metric_names: metric_names(connection, id)?,
                space,
                owner: Owner::this(),
                cache: Mutex::new(cache),
                asking: Mutex::default(),
                priors: Mutex::new(Arc::new(match system(connection, id, transfer::PRIORS)? {
                    Some(priors) => transfer::read(priors),
                    None => Vec::new(),
                })),
                abandoned: Mutex::default(),
            })
        })?;
        Ok(Study { inner: Arc::new(inner) })
    }

    /// The study of that name in a file, where there is such a file and such a study.
    ///
    /// # Errors
    /// The file is no storage, or it fails.
    pub fn open_if_there(path: &Path, name: &str) -> Result<Option<Self>> {
        let Some(storage) = Storage::open_if_there(path)? else { return Ok(None) };
        let found = storage.read(|connection| find(connection, name))?;
        found.map(|_| Self::open(&storage, Some(name))).transpose()
    }

    /// A study in memory.
    ///
    /// # Errors
    /// As [`Study::create_or_open`].
    pub fn in_memory(config: &StudyConfig) -> Result<Self> {
        Self::create_or_open(&Storage::in_memory()?, config)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The storage that holds it.
    pub fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    /// One direction an objective.
    pub fn directions(&self) -> &[Direction] {
        &self.inner.directions
    }

    /// What the objectives are called; empty where nobody said.
    pub fn metric_names(&self) -> &[String] {
        &self.inner.metric_names
    }

    /// What varies; none for a study of Optuna's.
    pub fn space(&self) -> Option<&Space> {
        self.inner.space.as_ref()
    }

    /// All trials, oldest first, with what other processes have written; long user attributes are left out
    /// ([`Study::attributes_of`]).
    ///
    /// # Errors
    /// The storage fails, or holds what cannot be read (an unknown distribution).
    pub fn trials(&self) -> Result<Arc<Vec<Trial>>> {
        self.refresh()?;
        Ok(self.cache().trials())
    }

    /// All user attributes of a trial, with the long ones that [`Study::trials`] leaves in the storage (more than 512
    /// bytes of JSON, 128 for lists and tables, such as the history of a training).
    ///
    /// # Errors
    /// [`Error::Input`] where there is no such trial; the storage fails.
    pub fn attributes_of(&self, number: u64) -> Result<BTreeMap<String, Json>> {
        self.refresh()?;
        let id = self.cache().get(number).map(|(id, _)| id);
        let id = id.ok_or_else(|| self.no_trial(number))?;
        let read = |connection: &Connection| {
            rows::read(connection, &self.path(), self.inner.id, rows::Which::One(id), rows::Scope::Everything)
        };
        let found = self.inner.storage.read(read)?;
        Ok(found.into_iter().next().map(|stored| stored.trial.user.clone()).unwrap_or_default())
    }

    /// How many trials are in which state.
    ///
    /// # Errors
    /// As [`Study::trials`].
    pub fn counts(&self) -> Result<Counts> {
        self.refresh()?;
        Ok(self.cache().counts)
    }

    /// The best complete trial; with several objectives, those that no other is better than (the Pareto front), the
    /// best by the first objective first. A trial that breaks a constraint is not among them. Empty while there is
    /// none. What was put back counts with the values that it had until its repetition has come to others
    /// ([`Study::put_aside`]).
    ///
    /// # Errors
    /// As [`Study::trials`].
    pub fn best(&self) -> Result<Vec<Trial>> {
        self.refresh()?;
        // Under the lock: the list for readers may have to be copied, and this is asked after each trial.
        let cache = self.cache();
        let (directions, aside) = (self.directions(), self.aside(&cache));
        Ok(match directions {
            [_] => {
                let best = pareto::front(directions, cache.best().into_iter().chain(&aside));
                best.into_iter().take(1).cloned().collect()
            }
            _ => pareto::front(directions, cache.all().chain(&aside)).into_iter().cloned().collect(),
        })
    }

    /// The best complete trials that keep their constraints, at most so many, best first: by the number of fronts
    /// before theirs, within a front by the first objective.
    ///
    /// # Errors
    /// As [`Study::trials`].
    pub fn top(&self, count: usize) -> Result<Vec<Trial>> {
        let directions = self.directions();
        if count == 1 {
            // Asked after each trial, so without a look at all of them.
            self.refresh()?;
            return Ok(self.cache().best().cloned().into_iter().collect());
        }
        let trials = self.trials()?;
        let known = trials.iter().filter_map(|trial| Some((trial, Merit::of(directions, trial)?)));
        let (trials, merits): (Vec<&Trial>, Vec<Merit>) = known.filter(|(trial, _)| trial.is_feasible()).unzip();
        Ok(best_first(&merits).into_iter().take(count).map(|place| trials[place].clone()).collect())
    }

    /// Keeps `value` with the study under `hpt:KEY` (a system attribute).
    ///
    /// # Errors
    /// The storage fails.
    pub fn set_attribute(&self, key: &str, value: &Json) -> Result<()> {
        let key = format!("{OURS}{key}");
        self.inner
            .storage
            .write(|connection| rows::attribute(connection, Table::StudySystem, self.inner.id, &key, value))
    }

    /// What [`Study::set_attribute`] or [`StudyConfig::attributes`] kept under that key.
    ///
    /// # Errors
    /// The storage fails.
    pub fn attribute(&self, key: &str) -> Result<Option<Json>> {
        self.inner.storage.read(|connection| attribute(connection, self.inner.id, key))
    }

    /// Keeps `value` with the study as a user attribute, which Optuna and its dashboard show.
    ///
    /// # Errors
    /// The storage fails.
    pub fn set_user(&self, key: &str, value: &Json) -> Result<()> {
        self.inner.storage.write(|connection| rows::attribute(connection, Table::StudyUser, self.inner.id, key, value))
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a trial that was committed into memory. Call before the connection is unlocked (the second half of
    /// [`Storage::write_then`]): memory must change in the order of the file.
    pub(super) fn keep(&self, stored: Stored) -> Trial {
        let mut cache = self.cache();
        let written = stored.trial.clone();
        cache.put(stored);
        cache.get(written.number).map_or(written, |(_, trial)| trial.clone())
    }

    pub(super) fn abandoned(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.inner.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self) -> String {
        self.inner.storage.path().display().to_string()
    }

    /// Reads what other processes have written.
    pub(super) fn refresh(&self) -> Result<()> {
        self.inner.storage.read(|connection| self.refresh_in(connection))
    }

    /// The same inside a transaction.
    pub(super) fn refresh_in(&self, connection: &Connection) -> Result<(), Fault> {
        self.cache().refresh(connection, &self.path(), self.inner.id)
    }
}

impl Storage {
    /// The names of the studies, oldest first.
    ///
    /// # Errors
    /// The storage fails.
    pub fn studies(&self) -> Result<Vec<String>> {
        self.read(names)
    }
}

/// What the objectives are called: by their names, else `value`, or `value_0`, `value_1`, … of several.
pub fn objective_names(names: &[String], objectives: usize) -> Vec<String> {
    match objectives {
        _ if names.len() == objectives => names.to_vec(),
        1 => vec!["value".to_owned()],
        several => (0..several).map(|place| format!("value_{place}")).collect(),
    }
}

fn check(config: &StudyConfig) -> Result<()> {
    if config.name.is_empty() || config.name.chars().count() > 512 {
        return Err(Error::input("a study's name has 1 to 512 characters"));
    }
    if config.directions.is_empty() {
        return Err(Error::input(format!("study `{}`: at least one objective is needed", config.name)));
    }
    if !config.metric_names.is_empty() && config.metric_names.len() != config.directions.len() {
        return Err(Error::input(format!(
            "study `{}`: {} metric names for {} objectives",
            config.name,
            config.metric_names.len(),
            config.directions.len()
        )));
    }
    Ok(())
}

fn names(connection: &Connection) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare("SELECT study_name FROM studies ORDER BY study_id")?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    let sql = "SELECT study_id FROM studies WHERE study_name = ?1";
    Ok(connection.query_row(sql, [name], |row| row.get(0)).optional()?)
}

fn directions(connection: &Connection, id: i64) -> Result<Vec<Direction>, Fault> {
    let mut statement =
        connection.prepare("SELECT direction FROM study_directions WHERE study_id = ?1 ORDER BY objective")?;
    let names = statement.query_map([id], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().map(|name| codec::direction(name)).collect())
}

fn system(connection: &Connection, id: i64, key: &str) -> Result<Option<Json>, Fault> {
    let sql = "SELECT value_json FROM study_system_attributes WHERE study_id = ?1 AND key = ?2";
    let text: Option<String> = connection.query_row(sql, (id, key), |row| row.get(0)).optional()?;
    Ok(text.map(|text| codec::json(&text)))
}

/// What [`Study::set_attribute`] kept under that key.
pub(super) fn attribute(connection: &Connection, id: i64, key: &str) -> Result<Option<Json>, Fault> {
    system(connection, id, &format!("{OURS}{key}"))
}

/// What the objectives are called; empty where nobody said.
pub(super) fn metric_names(connection: &Connection, id: i64) -> Result<Vec<String>, Fault> {
    let names = system(connection, id, METRIC_NAMES)?.and_then(|names| serde_json::from_value(names).ok());
    Ok(names.unwrap_or_default())
}

pub(super) fn create(connection: &Connection, config: &StudyConfig) -> Result<i64, Fault> {
    let sql = "INSERT INTO studies (study_name) VALUES (?1) RETURNING study_id";
    let id: i64 = connection.query_row(sql, [&config.name], |row| row.get(0))?;
    for (objective, direction) in config.directions.iter().enumerate() {
        connection.execute(
            "INSERT INTO study_directions (direction, study_id, objective) VALUES (?1, ?2, ?3)",
            (codec::direction_name(*direction), id, objective),
        )?;
    }
    keep(connection, id, config)?;
    Ok(id)
}

/// Writes the names, the space and the attributes of the configuration.
fn keep(connection: &Connection, id: i64, config: &StudyConfig) -> Result<(), Fault> {
    if !config.metric_names.is_empty() {
        rows::attribute(connection, Table::StudySystem, id, METRIC_NAMES, &config.metric_names.clone().into())?;
    }
    if let Some(space) = &config.space {
        let json = serde_json::to_value(space).map_err(|error| Error::input(format!("space: {error}")))?;
        rows::attribute(connection, Table::StudySystem, id, SPACE, &json)?;
    }
    for (key, value) in &config.attributes {
        rows::attribute(connection, Table::StudySystem, id, &format!("{OURS}{key}"), value)?;
    }
    Ok(())
}

/// Checks that the study that exists is the one configured, and adds what it does not say about itself.
fn adopt(connection: &Connection, path: &str, id: i64, config: &StudyConfig) -> Result<(), Fault> {
    let name = &config.name;
    let refuse = |what: &str, difference: String| {
        Fault::from(Error::input(format!(
            "{path}: the study `{name}` exists with {what}; give another name or storage\n{difference}"
        )))
    };
    let known = directions(connection, id)?;
    if known != config.directions {
        let list = |directions: &[Direction]| directions.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ");
        let difference = format!("  it has: {}\n  asked for: {}", list(&known), list(&config.directions));
        return Err(refuse("other directions", difference));
    }
    let (known, asked) = (metric_names(connection, id)?, &config.metric_names);
    if !known.is_empty() && !asked.is_empty() && known != *asked {
        let difference = format!("  it has: {}\n  asked for: {}", known.join(", "), asked.join(", "));
        return Err(refuse("other metrics", difference));
    }
    if let Some(space) = &config.space {
        match system(connection, id, SPACE)?.map(serde_json::from_value::<Space>) {
            Some(Ok(known)) => {
                if let Some(difference) = space.difference(&known) {
                    return Err(refuse("another space", difference));
                }
            }
            Some(Err(error)) => return Err(refuse("a space that cannot be read", error.to_string())),
            None => {
                if let Some(difference) = conflict(connection, path, id, config, space)? {
                    return Err(refuse("trials that do not fit the space", difference));
                }
            }
        }
    }
    for (key, value) in &config.attributes {
        if let Some(known) = system(connection, id, &format!("{OURS}{key}"))?.filter(|known| known != value) {
            return Err(refuse(&format!("another `{key}`"), format!("  it has: {known}\n  asked for: {value}")));
        }
    }
    keep(connection, id, config)
}

/// How the space breaks Optuna's rule that a name keeps its kind of distribution, its logarithm and its choices, or
/// which of the trials with a result it has no place for: samplers would pass those over.
fn conflict(
    connection: &Connection,
    path: &str,
    id: i64,
    config: &StudyConfig,
    space: &Space,
) -> Result<Option<String>, Fault> {
    let fits = |a: &Domain, b: &Domain| match (a, b) {
        (Domain::Float { log: a, .. }, Domain::Float { log: b, .. })
        | (Domain::Int { log: a, .. }, Domain::Int { log: b, .. }) => a == b,
        (Domain::Choice(a), Domain::Choice(b)) => a == b,
        _ => false,
    };
    let trials = rows::read(connection, path, id, rows::Which::After(-1), rows::Scope::Memory)?;
    for stored in &trials {
        for parameter in space.parameters() {
            if let Some(known) =
                stored.trial.domains.get(&parameter.name).filter(|known| !fits(known, &parameter.domain))
            {
                return Ok(Some(format!(
                    "  trial {}: {} = {known}\n  asked for: {}",
                    stored.trial.number, parameter.name, parameter.domain
                )));
            }
        }
    }
    // Of a trial that failed or runs some parameters may be missing for good reason.
    let has_result = |trial: &&Trial| matches!(trial.state, State::Complete | State::Pruned);
    let with_result = || trials.iter().map(|stored| &stored.trial).filter(has_result);
    let mut misfits = with_result().filter_map(|trial| Some((trial.number, space.contains(&trial.params).err()?)));
    let Some((number, why)) = misfits.next() else { return Ok(None) };
    let (all, fit) = (with_result().count(), with_result().count() - 1 - misfits.count());
    Ok(Some(format!(
        "  trial {number}: {why}\n  {fit} of {all} trials with a result fit; give a space that has all their parameters and \
         values. Another study may have any space and learn from those that it can use: search --warm-start {path}:{}",
        config.name
    )))
}
