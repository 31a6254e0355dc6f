//! What is refused when a storage is opened, and in which words; what of a trial stays in the file.

use super::{Storage, Study, StudyConfig};
use crate::Error;
use crate::history::Direction;
use crate::sampler::RandomSampler;
use crate::space::{Domain, Parameter, Space, Value};
use rusqlite::Connection;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

fn config() -> StudyConfig {
    let choice = Domain::Choice(vec![Value::Int(1), Value::Int(2)]);
    let space = Space::new(vec![Parameter { name: "x".into(), domain: choice, when: Vec::new() }]).unwrap();
    StudyConfig::new("a", Direction::Minimize, space)
}

/// The message of an error that is the user's.
fn refused(result: crate::Result<Storage>) -> String {
    match result {
        Err(Error::Input(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn both(path: &Path) -> [String; 2] {
    let messages = [refused(Storage::open(path)), refused(Storage::open_or_create(path))];
    let name = path.to_str().unwrap();
    messages.iter().for_each(|message| assert!(message.starts_with(name), "{message} does not name {name}"));
    messages
}

#[test]
fn what_is_no_study_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(both(folder.path())[1].contains("is a directory"));
    assert!(refused(Storage::open(at("none.db"))).contains("no such study file"));
    assert!(!at("none.db").exists());
    assert!(refused(Storage::open_or_create(at("none/study.db"))).contains("does not exist; create it"));
    std::fs::write(at("text.db"), "number,state\n".repeat(100)).unwrap();
    assert!(both(&at("text.db"))[1].contains("is not an SQLite database"));
    Connection::open(at("other.db")).unwrap().execute_batch("CREATE TABLE cookies (id)").unwrap();
    assert!(both(&at("other.db"))[1].contains("another program (its tables: cookies)"));
    std::fs::write(at("empty.db"), "").unwrap();
    assert!(refused(Storage::open(at("empty.db"))).contains("is empty"));
    assert!(refused(Storage::open("postgresql://host/db".as_ref() as &Path)).contains("not supported"));
    assert!(refused(Storage::open_or_create("")).contains("has no name"));

    Storage::open_or_create(at("empty.db")).unwrap();
    let url = format!("sqlite:///{}", at("empty.db").display());
    assert_eq!(Storage::open(url).unwrap().studies().unwrap(), [""; 0]);
}

#[test]
fn a_damaged_file_is_an_error_and_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let study = Study::create_or_open(&Storage::open_or_create(&path).unwrap(), &config()).unwrap();
    study.ask(&RandomSampler, 0).unwrap().unwrap();
    drop(study);
    let whole = std::fs::read(&path).unwrap();
    for keep in [1, 50, 100, 4096, 8192, whole.len() - 4096] {
        std::fs::write(&path, &whole[..keep]).unwrap();
        let read = Storage::open(&path).and_then(|storage| Study::open(&storage, None)?.trials().map(drop));
        let error = read.expect_err("truncated").to_string();
        assert!(error.contains("study.db"), "{keep} bytes: {error}");
    }
    let mut torn = whole.clone();
    torn[4096..12_000].fill(0xa5);
    std::fs::write(&path, torn).unwrap();
    let read = Storage::open(&path).and_then(|storage| Study::open(&storage, None)?.trials().map(drop));
    assert!(read.expect_err("overwritten").to_string().contains("study.db"));
}

#[test]
fn other_versions_of_the_schema_are_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    Storage::open_or_create(&path).unwrap();
    let change = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    change("UPDATE alembic_version SET version_num = 'v9.0.0.a'");
    assert!(both(&path)[0].contains("newer Optuna (schema v9.0.0.a"));
    change("UPDATE alembic_version SET version_num = 'v2.6.0.a'");
    assert!(both(&path)[0].contains("optuna storage upgrade"));
    change("DELETE FROM alembic_version; DELETE FROM version_info");
    Storage::open_or_create(&path).unwrap();
    let versions = "SELECT version_num || ' ' || schema_version FROM alembic_version, version_info";
    let versions: String = Connection::open(&path).unwrap().query_row(versions, [], |row| row.get(0)).unwrap();
    assert_eq!(versions, "v3.2.0.a 12", "missing version rows are filled in");
}

#[test]
fn a_lock_that_stays_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let storage = Storage::open_or_create(&path).unwrap();
    let study = Study::create_or_open(&storage, &config()).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    storage.with(|connection| connection.busy_timeout(Duration::from_millis(50)).unwrap());
    match study.ask(&RandomSampler, 0) {
        Err(Error::Storage(message)) => assert!(message.contains("locked by another program"), "{message}"),
        other => panic!("{other:?}"),
    }
    other.execute_batch("COMMIT").unwrap();
    assert!(study.ask(&RandomSampler, 0).unwrap().is_some(), "works again afterwards");
}

#[test]
fn what_may_not_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    Study::create_or_open(&Storage::open_or_create(&path).unwrap(), &config()).unwrap();
    let read_only = |path: &Path, yes: bool| {
        let mut permissions = std::fs::metadata(path).unwrap().permissions();
        permissions.set_readonly(yes);
        std::fs::set_permissions(path, permissions).unwrap();
    };
    read_only(&path, true);
    read_only(folder.path(), true);
    if std::fs::write(folder.path().join("probe"), "").is_ok() {
        read_only(folder.path(), false);
        return eprintln!("skipped: this user may write to read-only files");
    }
    let storage = Storage::open(&path).unwrap();
    let study = Study::open(&storage, None).unwrap();
    assert!(study.trials().unwrap().is_empty(), "reading works");
    match study.ask(&RandomSampler, 0) {
        Err(Error::Input(message)) => assert!(message.contains("may not be written to"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(refused(Storage::open_or_create(folder.path().join("new.db"))).contains("cannot be opened or created"));
    read_only(folder.path(), false);
}

#[test]
fn a_study_of_optunas_is_read_and_what_is_unknown_is_named() {
    let storage = Storage::in_memory().unwrap();
    let rows = |distribution: &str| {
        storage.with(|connection| {
            let sql = "INSERT INTO studies VALUES (1, 'py'); INSERT INTO study_directions VALUES (1, 'MAXIMIZE', 1, 0);
                 INSERT INTO trials VALUES (1, 0, 1, 'COMPLETE', '2026-01-01 00:00:00.5', '2026-01-01 00:00:02.000000');
                 INSERT INTO trial_values VALUES (1, 1, 0, NULL, 'INF_NEG');
                 INSERT INTO trial_user_attributes VALUES (1, 1, 'n', '{\"a\": NaN}');";
            connection.execute_batch(sql).unwrap();
            let sql = "INSERT INTO trial_params VALUES (1, 1, 'c', 1.0, ?1)";
            connection.execute(sql, [distribution]).unwrap();
        });
    };
    rows(r#"{"name": "CategoricalDistribution", "attributes": {"choices": ["relu", null, 0.5]}}"#);
    let trials = Study::open(&storage, None).unwrap().trials().unwrap();
    assert_eq!(trials[0].params["c"], Value::Null);
    assert_eq!((trials[0].value(), trials[0].seconds()), (Some(f64::NEG_INFINITY), Some(1.5)));
    let other = StudyConfig { name: "py".into(), directions: vec![Direction::Maximize], ..config() };
    let error = Study::create_or_open(&storage, &other).unwrap_err().to_string();
    assert!(error.contains("trial 0: parameter: `c` is not known") && error.contains("0 of 1 trials"), "{error}");
    let choice = Domain::Choice(vec![Value::Int(1)]);
    let space = Space::new(vec![Parameter { name: "c".into(), domain: choice, when: Vec::new() }]).unwrap();
    let error = Study::create_or_open(&storage, &StudyConfig { space: Some(space), ..other }).unwrap_err().to_string();
    assert!(error.contains("trials that do not fit the space"), "{error}");

    let storage = Storage::in_memory().unwrap();
    storage.with(|connection| {
        let sql = "INSERT INTO studies VALUES (1, 'py'); INSERT INTO study_directions VALUES (1, 'MAXIMIZE', 1, 0);
             INSERT INTO trials VALUES (1, 0, 1, 'RUNNING', NULL, NULL);
             INSERT INTO trial_params VALUES (1, 1, 'beta', 1.0, '{\"name\": \"BetaDistribution\", \"attributes\": {}}');";
        connection.execute_batch(sql).unwrap();
    });
    let error = Study::open(&storage, None).unwrap().trials().unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("trial 0, parameter `beta`: its distribution `BetaDistribution`"), "{error}");
}

#[test]
fn long_attributes_stay_in_the_file() {
    let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
    let space = Space::new(vec![Parameter { name: "x".into(), domain, when: vec![] }]).unwrap();
    let study = Study::in_memory(&StudyConfig::new("attributes", Direction::Minimize, space)).unwrap();
    let trial = study.ask(&RandomSampler, 0).unwrap().unwrap();
    study.ask(&RandomSampler, 0).unwrap();
    let long = json!(vec![0.125; 200]);
    study.set_trial_user(trial.number, "short", &json!(1)).unwrap();
    study.set_trial_user(trial.number, "long", &long).unwrap();
    let known = |study: &Study| study.trials().unwrap()[0].user.keys().cloned().collect::<Vec<_>>();
    assert_eq!(known(&study), ["short"]);
    assert_eq!(study.attributes_of(trial.number).unwrap()["long"], long);
    assert!(study.attributes_of(9).is_err());
    // Read again, and in a copy, they are the same.
    let copy = study.copy_to(study.storage(), "copy").unwrap();
    for study in [&copy, &Study::open(study.storage(), Some(study.name())).unwrap()] {
        assert_eq!(known(study), ["short"]);
        assert_eq!(study.attributes_of(trial.number).unwrap()["long"], long);
    }
    // What becomes short is known again.
    study.set_trial_user(trial.number, "long", &json!(2)).unwrap();
    assert_eq!(known(&study), ["long", "short"]);
    let trials = study.trials().unwrap();
    assert!(std::sync::Arc::ptr_eq(&trials[0].domains, &trials[1].domains), "the same domains are one");
}

#[test]
fn without_a_space_results_are_added_as_trials_have_them() {
    use crate::study::Outcome;
    let range = |low: f64, high: f64| Domain::Float { low, high, log: false, step: None };
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: Vec::new() };
    let choice = Domain::Choice(vec![Value::Int(1), Value::Int(2)]);
    let space = Space::new(vec![parameter("rate", range(0.0, 1.0)), parameter("x", choice)]).unwrap();
    let study = Study::in_memory(&StudyConfig::new("a", Direction::Minimize, space)).unwrap();
    let params = |text: &str| serde_json::from_str::<crate::space::Params>(text).unwrap();
    study.ask(&RandomSampler, 0).unwrap();
    study.tell(0, Outcome::Complete(vec![1.0])).unwrap();
    let forget = |connection: &Connection| Ok(connection.execute("DELETE FROM study_system_attributes", [])?);
    study.storage().write(forget).unwrap();
    let bare = Study::open(study.storage(), None).unwrap();
    assert!(bare.space().is_none());
    let add = |text: &str| bare.add_trial(&params(text), &Default::default(), &[], Outcome::Complete(vec![0.5]));
    let added = add("{\"x\": 2.0, \"rate\": 1}").unwrap();
    assert_eq!((&added.params["x"], &added.params["rate"]), (&Value::Int(2), &Value::Float(1.0)));
    assert_eq!(*added.domains, *bare.trials().unwrap()[0].domains);
    assert_eq!(bare.best().unwrap()[0].number, 1);
    for (text, part) in [
        ("{\"x\": 2, \"raet\": 1}", "did you mean `rate`"),
        ("{\"x\": 3, \"rate\": 1}", "parameter x is 3; trials of the study have it in"),
        ("{\"rate\": 1}", "no trial of the study has just these parameters (rate); trial 1 has rate, x"),
    ] {
        let message = add(text).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}
