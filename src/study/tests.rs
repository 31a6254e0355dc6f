//! The study in one process: ask and tell, the loop, resuming, several connections, what is refused.

use super::*;
use crate::Error;
use crate::history::{Direction, State, Trial};
use crate::pruner::{Never, Percentile, Pruner};
use crate::sampler::{GridSampler, RandomSampler};
use crate::space::{Condition, Domain, Parameter, Params, Space, Test, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn parameter(name: &str, domain: Domain) -> Parameter {
    Parameter { name: name.into(), domain, when: Vec::new() }
}

fn words(words: &[&str]) -> Domain {
    Domain::Choice(words.iter().map(|&word| Value::Text(word.into())).collect())
}

/// A rate, a width, an optimizer, and a momentum that only one optimizer has.
fn space() -> Space {
    let when = Condition { parent: "optimizer".into(), test: Test::In(vec![Value::Text("momentum".into())]) };
    let float = |low, high, log| Domain::Float { low, high, log, step: None };
    Space::new(vec![
        parameter("rate", float(1e-4, 1e-1, true)),
        parameter("width", Domain::Int { low: 16, high: 64, log: false, step: 16 }),
        parameter("optimizer", words(&["adam", "momentum"])),
        Parameter { when: vec![when], ..parameter("momentum", float(0.5, 0.99, false)) },
    ])
    .unwrap()
}

fn config(name: &str) -> StudyConfig {
    StudyConfig::new(name, Direction::Minimize, space())
}

/// A function of the parameters alone.
fn value(params: &Params) -> f64 {
    let number = |name: &str| params.get(name).and_then(Value::as_f64).unwrap_or(1.0);
    number("rate").ln().abs() + number("width") * number("momentum")
}

fn objective(context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
    Ok(vec![value(context.params())])
}

fn spec(trials: u64) -> OptimizeSpec<'static> {
    OptimizeSpec { trials: Some(trials), ..OptimizeSpec::new(&RandomSampler, &Never) }
}

/// What each slot of the plan came to, whichever trial it was.
fn by_slot(trials: &[Trial]) -> BTreeMap<u64, (Params, Vec<u64>)> {
    let bits = |trial: &Trial| trial.values.iter().map(|value| value.to_bits()).collect();
    let counted = trials.iter().filter(|trial| trial.state == State::Complete);
    counted.map(|trial| (trial.slot(), (trial.params.clone(), bits(trial)))).collect()
}

#[test]
fn what_is_told_is_read_back_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let study = Study::create_or_open(&Storage::open_or_create(&path).unwrap(), &config("a")).unwrap();
    let trial = study.ask(&RandomSampler, 3).unwrap().unwrap();
    for (step, value) in [(1, 0.5), (2, f64::NAN), (3, f64::INFINITY), (1, 0.25)] {
        study.report(trial.number, step, value).unwrap();
    }
    study.set_trial_user(trial.number, "note", &json!({"a": [1, null]})).unwrap();
    let told = study.tell(trial.number, Outcome::Complete(vec![0.1 + 0.2])).unwrap();
    let lost = study.ask(&RandomSampler, 3).unwrap().unwrap();
    study.tell(lost.number, Outcome::Failed("out of luck".into())).unwrap();

    let again = Study::open(&Storage::open(&path).unwrap(), None).unwrap();
    let trials = again.trials().unwrap();
    assert_eq!(again.space(), Some(&space()));
    assert_eq!(trials[0].params, trial.params);
    assert_eq!(trials[0].domains, trial.domains);
    assert_eq!(trials[0].value(), Some(0.1 + 0.2));
    assert_eq!(format!("{:?}", trials[0].intermediate), "{1: 0.25, 2: NaN, 3: inf}");
    assert_eq!(trials[0].user["note"], json!({"a": [1, null]}));
    assert_eq!((trials[0].started, trials[0].finished), (told.started, told.finished));
    assert_eq!(format!("{:?}", trials[0]), format!("{told:?}"), "memory and file agree");
    assert_eq!((trials[1].state, &trials[1].system["hpt:reason"]), (State::Failed, &json!("out of luck")));
    assert_eq!(again.best().unwrap()[0].number, 0);
}

#[test]
fn the_loop_reaches_its_total_and_no_more() {
    let study = Study::in_memory(&config("a")).unwrap();
    let summary = study.optimize(&OptimizeSpec { jobs: 3, ..spec(20) }, objective).unwrap();
    assert_eq!((summary.finished, summary.counts.complete, summary.stopped), (20, 20, Stopped::Reached));
    let summary = study.optimize(&spec(25), objective).unwrap();
    assert_eq!((summary.finished, summary.counts.complete), (5, 25));
    let summary = study.optimize(&spec(25), objective).unwrap();
    assert_eq!((summary.finished, summary.stopped), (0, Stopped::Reached));
    let numbers: Vec<u64> = study.trials().unwrap().iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (0..25).collect::<Vec<_>>());
}
