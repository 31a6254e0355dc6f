//! The tables: Optuna's own (`optuna/storages/_rdb/models.py`), as it creates them on SQLite.
//!
//! Optuna 4.9 and 5.0 write the same statements (compared by `tests/python`); `version_info` and `alembic_version` are
//! what its readers check. Opening refuses what is no study file, by name: a database of another program, and one of
//! an older or newer Optuna with the remedy.

use super::storage::Fault;
use crate::Error;
use rusqlite::{Connection, OptionalExtension};

/// Optuna's number of the table layout.
const SCHEMA_VERSION: i64 = 12;
/// The version of Optuna whose conventions the file follows: from 5.0 on, times are UTC.
const LIBRARY_VERSION: &str = "5.0.0";
/// The last migration.
const HEAD: &str = "v3.2.0.a";
/// The migrations before it, which `optuna storage upgrade` brings to the last one.
const OLDER: [&str; 9] =
    ["v0.9.0.a", "v1.2.0.a", "v1.3.0.a", "v2.4.0.a", "v2.6.0.a", "v3.0.0.a", "v3.0.0.b", "v3.0.0.c", "v3.0.0.d"];

/// The statements, as `sqlite_master` of a file that Optuna made shows them (white space aside).
const TABLES: &str = r#"
CREATE TABLE IF NOT EXISTS studies (study_id INTEGER NOT NULL, study_name VARCHAR(512) NOT NULL, PRIMARY KEY (study_id));
CREATE TABLE IF NOT EXISTS version_info (version_info_id INTEGER NOT NULL, schema_version INTEGER, library_version VARCHAR(256),
  PRIMARY KEY (version_info_id), CHECK (version_info_id=1));
CREATE TABLE IF NOT EXISTS study_directions (study_direction_id INTEGER NOT NULL, direction VARCHAR(8) NOT NULL,
  study_id INTEGER NOT NULL, objective INTEGER NOT NULL, PRIMARY KEY (study_direction_id),
  UNIQUE (study_id, objective), FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE TABLE IF NOT EXISTS study_user_attributes (study_user_attribute_id INTEGER NOT NULL, study_id INTEGER, "key" VARCHAR(512),
  value_json TEXT, PRIMARY KEY (study_user_attribute_id), UNIQUE (study_id, "key"),
  FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE TABLE IF NOT EXISTS study_system_attributes (study_system_attribute_id INTEGER NOT NULL, study_id INTEGER, "key" VARCHAR(512),
  value_json TEXT, PRIMARY KEY (study_system_attribute_id), UNIQUE (study_id, "key"),
  FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE TABLE IF NOT EXISTS trials (trial_id INTEGER NOT NULL, number INTEGER, study_id INTEGER, state VARCHAR(8) NOT NULL,
  datetime_start DATETIME, datetime_complete DATETIME, PRIMARY KEY (trial_id),
  FOREIGN KEY(study_id) REFERENCES studies (study_id));
CREATE TABLE IF NOT EXISTS trial_user_attributes (trial_user_attribute_id INTEGER NOT NULL, trial_id INTEGER, "key" VARCHAR(512),
  value_json TEXT, PRIMARY KEY (trial_user_attribute_id), UNIQUE (trial_id, "key"),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_system_attributes (trial_system_attribute_id INTEGER NOT NULL, trial_id INTEGER, "key" VARCHAR(512),
  value_json TEXT, PRIMARY KEY (trial_system_attribute_id), UNIQUE (trial_id, "key"),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_params (param_id INTEGER NOT NULL, trial_id INTEGER, param_name VARCHAR(512), param_value FLOAT,
  distribution_json TEXT, PRIMARY KEY (param_id), UNIQUE (trial_id, param_name),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_values (trial_value_id INTEGER NOT NULL, trial_id INTEGER NOT NULL, objective INTEGER NOT NULL,
  value FLOAT, value_type VARCHAR(7) NOT NULL, PRIMARY KEY (trial_value_id), UNIQUE (trial_id, objective),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_intermediate_values (trial_intermediate_value_id INTEGER NOT NULL, trial_id INTEGER NOT NULL,
  step INTEGER NOT NULL, intermediate_value FLOAT, intermediate_value_type VARCHAR(7) NOT NULL,
  PRIMARY KEY (trial_intermediate_value_id), UNIQUE (trial_id, step),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS trial_heartbeats (trial_heartbeat_id INTEGER NOT NULL, trial_id INTEGER NOT NULL,
  heartbeat DATETIME NOT NULL, PRIMARY KEY (trial_heartbeat_id), UNIQUE (trial_id),
  FOREIGN KEY(trial_id) REFERENCES trials (trial_id));
CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL,
  CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
CREATE UNIQUE INDEX IF NOT EXISTS ix_studies_study_name ON studies (study_name);
CREATE INDEX IF NOT EXISTS ix_trials_study_id ON trials (study_id);
"#;

/// Tables that a study file must have (heartbeats and values came last).
const NEEDED: [&str; 10] = [
    "studies",
    "study_directions",
    "study_user_attributes",
    "study_system_attributes",
    "trials",
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
];

/// What a database holds.
pub(super) enum Found {
    /// No table at all.
    Empty,
    /// The tables of a study file; its version rows may be missing.
    Studies {
        /// Whether nothing is missing.
        whole: bool,
    },
}

/// What this database is; an error names a foreign or another version's file.
pub(super) fn inspect(connection: &Connection, path: &str) -> Result<Found, Fault> {
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if tables.is_empty() {
        return Ok(Found::Empty);
    }
    let has = |name: &str| tables.iter().any(|table| table == name);
    if !has("studies") || !has("trials") {
        let shown = tables.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        return Err(Error::input(format!(
            "{path}: a database of another program (its tables: {shown}); a study file is expected, give another --storage"
        ))
        .into());
    }
    let version: Option<String> = match has("alembic_version") {
        true => connection.query_row("SELECT version_num FROM alembic_version", [], |row| row.get(0)).optional()?,
        false => None,
    };
    let refused = match version.as_deref() {
        Some(HEAD) => NEEDED.iter().find(|name| !has(name)).map(|name| format!("the table `{name}` is missing")),
        Some(version) if OLDER.contains(&version) => Some(format!(
            "written by an older Optuna (schema {version}, {HEAD} is expected); bring it up to date with `optuna storage upgrade --storage sqlite:///{path}`"
        )),
        Some(version) => Some(format!(
            "written by a newer Optuna (schema {version}, this version reads {HEAD}); use a newer hpt-engine or another --storage"
        )),
        // Some writers leave the row out; the tables themselves then say what they are.
        None => NEEDED.iter().find(|name| !has(name)).map(|name| {
            format!("written by an older Optuna (the table `{name}` is missing); bring it up to date with `optuna storage upgrade --storage sqlite:///{path}`")
        }),
    };
    let whole = version.is_some() && has("version_info") && has("trial_heartbeats");
    refused.map_or(Ok(Found::Studies { whole }), |why| Err(Error::input(format!("{path}: {why}")).into()))
}

/// Creates what is missing: all tables in an empty database, version rows elsewhere. Call inside a transaction.
pub(super) fn prepare(connection: &Connection) -> Result<(), Fault> {
    connection.execute_batch(TABLES)?;
    connection.execute(
        "INSERT OR IGNORE INTO version_info (version_info_id, schema_version, library_version) VALUES (1, ?1, ?2)",
        (SCHEMA_VERSION, LIBRARY_VERSION),
    )?;
    connection.execute(
        "INSERT INTO alembic_version (version_num) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM alembic_version)",
        [HEAD],
    )?;
    Ok(())
}
