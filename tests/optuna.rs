//! Our study files in the real Optuna, and Optuna's trials in ours (`tests/python/check_study.py`).
//!
//! `HPT_PYTHON` lists Python interpreters, separated by `:`, each with one of `tests/python/requirements-*.txt`
//! installed. Without it the test is skipped, and says so; `HPT_REQUIRE_PYTHON=1` makes that a failure.

mod python;

use hpt_engine::history::{Direction, State};
use hpt_engine::pruner::Never;
use hpt_engine::report::trials::{best_json, studies_json, trials_csv, trials_json};
use hpt_engine::sampler::RandomSampler;
use hpt_engine::space::{Condition, Domain, Parameter, Params, Space, Test, Value};
use hpt_engine::study::{Context, ObjectiveEnd, OptimizeSpec, Outcome, Storage, Study, StudyConfig};
use python::pythons;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::Command;

/// One parameter of every kind, some of them awkward: a step that is not exact in binary with an upper end off its
/// grid, choices of every type, a condition.
fn space() -> Space {
    let float = |low, high, log, step| Domain::Float { low, high, log, step };
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: Vec::new() };
    let text = |text: &str| Value::Text(text.into());
    let mixed = vec![text("re\"lü"), Value::Bool(true), Value::Int(3), Value::Float(2.0), Value::Float(0.1)];
    let when = vec![Condition { parent: "mixed".into(), test: Test::In(vec![Value::Bool(true), Value::Int(3)]) }];
    Space::new(vec![
        parameter("rate", float(1e-5, 0.1, true, None)),
        parameter("dropout", float(0.1, 0.95, false, Some(0.1))),
        parameter("any", float(-1.0, 1.0, false, None)),
        parameter("units", Domain::Int { low: 16, high: 255, log: false, step: 18 }),
        parameter("depth", Domain::Int { low: 1, high: 1000, log: true, step: 1 }),
        parameter("mixed", Domain::Choice(mixed)),
        Parameter { when, ..parameter("momentum", float(0.5, 0.99, false, None)) },
    ])
    .unwrap()
}

fn spec(trials: u64) -> OptimizeSpec<'static> {
    OptimizeSpec { trials: Some(trials), jobs: 2, ..OptimizeSpec::new(&RandomSampler, &Never) }
}

/// Every state and every kind of value.
fn fill(study: &Study) {
    let single = study.directions().len() == 1;
    let objective = |context: &mut Context<'_>| {
        for (step, value) in [(1, 0.1 + 0.2), (2, f64::NAN), (3, f64::NEG_INFINITY), (10, 1e-300)] {
            match single {
                true => context.report(step, value),
                false => context.report_values(step, &[value, 7.0 - value]),
            };
        }
        context.set_user("history", json!([{"epoch": 1, "loss": 0.3}, null, "ü"]));
        let value = context.params()["any"].as_f64().unwrap();
        if !single {
            context.set_constraints(vec![-1.0, value - 0.5]);
        }
        match context.slot() {
            3 => Err(ObjectiveEnd::Pruned),
            4 => Err(ObjectiveEnd::Failed("did not converge".into())),
            5 => Ok(vec![f64::NAN; if single { 1 } else { 2 }]),
            6 => Ok(vec![f64::INFINITY; if single { 1 } else { 2 }]),
            _ => Ok(if single { vec![value] } else { vec![value, (7.0 * value).sin()] }),
        }
    };
    study.optimize(&spec(24), objective).unwrap();
    study.set_user("memo", &json!({"by": "hpt-engine"})).unwrap();
    study.ask_detached(&RandomSampler, 0).unwrap();
    let given = Params::from_iter([("rate".to_owned(), Value::Float(0.01)), ("mixed".to_owned(), Value::Int(3))]);
    study.enqueue(&given).unwrap();
}

fn config(name: &str, directions: &[Direction]) -> StudyConfig {
    StudyConfig {
        metric_names: directions.iter().enumerate().map(|(i, _)| format!("metric {i}")).collect(),
        directions: directions.to_vec(),
        ..StudyConfig::new(name, Direction::Maximize, space())
    }
}

fn check(python: &str, study: &Study, extra: &[&str]) {
    let path = study.storage().path();
    let json = path.with_extension("json");
    std::fs::write(&json, trials_json(study).unwrap().to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_study.py");
    let output = Command::new(python).arg(script).arg(path).arg(json).args(extra).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{python}: {text}");
    eprint!("{text}");
}

/// Keys in any order, as JSON has it; numbers bit by bit.
fn sorted(value: &Json) -> Json {
    match value {
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(fields.into_iter().filter(|(key, _)| key != "seconds").collect())
        }
        Json::Array(list) => list.iter().map(sorted).collect(),
        value => value.clone(),
    }
}

#[test]
fn optuna_reads_our_studies_and_we_read_optunas() {
    let Some(pythons) = pythons() else { return };
    for python in pythons.split(':') {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_or_create(folder.path().join("study.db")).unwrap();
        let several = Study::create_or_open(&storage, &config("several", &[Direction::Minimize, Direction::Maximize]));
        let several = several.unwrap();
        let one = Study::create_or_open(&storage, &config("one", &[Direction::Maximize])).unwrap();
        fill(&one);
        fill(&several);
        let front = several.best().unwrap();
        let mut numbers: Vec<u64> = front.iter().map(|trial| trial.number).collect();
        // Theirs is by number, ours by the first objective.
        numbers.sort_unstable();
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        check(python, &several, &["--front", &numbers.join(",")]);
        let probe = Command::new(python).args(["-c", "import optuna_dashboard"]).output().unwrap();
        if probe.status.success() {
            check(python, &one, &["--dashboard"]);
        } else {
            eprintln!("skipped: {python} has no optuna-dashboard");
        }

        let after = folder.path().join("after.json");
        check(python, &one, &["--continue", "3", "--out", after.to_str().unwrap()]);
        let theirs: Json = serde_json::from_slice(&std::fs::read(after).unwrap()).unwrap();
        let ours = trials_json(&one).unwrap();
        assert_eq!(sorted(&ours)["trials"], sorted(&theirs)["trials"], "what Optuna wrote is read");
        let trials = one.trials().unwrap();
        // Trial 24 is held by somebody outside, 25 was enqueued and run by Optuna, 26 and 27 are its own.
        assert_eq!((trials.len(), trials[24].state, trials[25].state), (28, State::Running, State::Complete));
        assert_eq!(trials[25].params["mixed"], Value::Int(3));
        let summary = one.optimize(&spec(30), |_| Ok(vec![0.25])).unwrap();
        assert_eq!(summary.counts.finished(), 30);
        one.tell(24, Outcome::Complete(vec![2.0])).unwrap();
        check(python, &one, &[]);
    }
}

#[test]
fn what_is_printed_is_what_other_programs_rely_on() {
    let study = Study::in_memory(&config("one", &[Direction::Maximize])).unwrap();
    assert!(best_json(&study).unwrap_err().to_string().contains("no trial is complete"));
    fill(&study);
    let all = trials_json(&study).unwrap();
    let keys = |value: &Json| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&all), ["study", "trials"]);
    let of_trial = ["number", "state", "value", "params", "intermediate", "seconds", "started", "finished"];
    assert_eq!(keys(&all["trials"][0]), of_trial);
    let find = |state: &str| all["trials"].as_array().unwrap().iter().find(|trial| trial["state"] == state).unwrap();
    assert_eq!(find("pruned")["value"], json!(1e-300));
    assert_eq!(find("pruned")["intermediate"], json!({"1": 0.1 + 0.2, "2": "nan", "3": "-inf", "10": 1e-300}));
    assert_eq!((&find("failed")["value"], &find("waiting")["started"]), (&Json::Null, &Json::Null));
    let started = find("complete")["started"].as_str().unwrap();
    assert!(started.len() == 27 && started.ends_with('Z') && &started[10..11] == "T", "{started}");

    let best = best_json(&study).unwrap();
    assert_eq!((keys(&best), &best["value"]), (vec!["number".into(), "value".into(), "params".into()], &json!("inf")));
    let csv = trials_csv(&study).unwrap();
    assert_eq!(csv.lines().count(), 1 + 26);
    assert!(csv.starts_with("number,state,value,seconds,started,finished,params_rate,"), "{csv}");
    let list = studies_json(study.storage()).unwrap();
    assert_eq!((&list[0]["study"], &list[0]["metrics"]), (&json!("one"), &json!(["metric 0"])));
    let states = json!({"complete": 21, "pruned": 1, "failed": 2, "deleted": 0, "lost": 0, "running": 1, "waiting": 1});
    assert_eq!(list[0]["trials"], states);
}

#[test]
fn studies_changed_by_hand_are_read_by_optuna() {
    let Some(pythons) = pythons() else { return };
    for python in pythons.split(':') {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_or_create(folder.path().join("study.db")).unwrap();
        let one = Study::create_or_open(&storage, &config("one", &[Direction::Maximize])).unwrap();
        fill(&one);
        let params = one.trials().unwrap()[0].params.clone();
        let curve = [(1, vec![0.5]), (2, vec![f64::NAN])].into_iter().collect();
        one.add_trial(&params, &curve, &[], Outcome::Complete(vec![1e6])).unwrap();
        one.add_trial(&params, &curve, &[], Outcome::Pruned).unwrap();
        // The best, one with an infinite value, a pruned, a failed, a running and a waiting one.
        let infinite = one.best().unwrap()[0].number;
        let deleted: Vec<u64> = [infinite, 3, 4, 24, 25].into_iter().collect();
        for number in &deleted {
            one.delete_trial(*number, "test").unwrap();
        }
        assert_eq!(one.counts().unwrap().deleted, 5);
        assert_eq!(one.best().unwrap()[0].values, [1e6]);
        let other = Storage::open_or_create(folder.path().join("other.db")).unwrap();
        let copy = one.copy_to(&storage, "copy").unwrap();
        let away = one.copy_to(&other, "away").unwrap();
        let text = |study: &Study| sorted(&trials_json(study).unwrap())["trials"].clone();
        assert_eq!((text(&copy), text(&away)), (text(&one), text(&one)));
        copy.delete().unwrap();
        let left = one.copy_to(&storage, "left").unwrap();
        for study in [&one, &away, &left] {
            check(python, study, &[]);
        }
        let after = folder.path().join("after.json");
        check(python, &left, &["--continue", "2", "--out", after.to_str().unwrap()]);
        let theirs: Json = serde_json::from_slice(&std::fs::read(after).unwrap()).unwrap();
        assert_eq!(text(&left), sorted(&theirs)["trials"], "numbers go on without a gap");
    }
}
