//! Importance against the real Optuna on the same studies (`tests/python/check_importance.py`).
//!
//! PED-ANOVA has no chance in it and must agree to rounding. A forest has: the means of five forests here and five in
//! Optuna (64 trees each) must agree within four of their joint standard errors, estimated from those forests.
//!
//! `HPT_PYTHON` lists Python interpreters, separated by `:`, each with one of `tests/python/requirements-*.txt`
//! installed. Without it the test is skipped, and says so; `HPT_REQUIRE_PYTHON=1` makes that a failure.

mod python;

use hpt_engine::history::Direction;
use hpt_engine::importance::{Importance, ImportanceSpec, Method, importance, infer_space};
use hpt_engine::pruner::Never;
use hpt_engine::sampler::RandomSampler;
use hpt_engine::space::{Expand, Params, Space, Value};
use hpt_engine::statistics::{deviation, mean};
use hpt_engine::study::{OptimizeSpec, Storage, Study, StudyConfig};
use python::pythons;
use serde_json::Value as Json;
use std::path::Path;
use std::process::Command;

const TRIALS: u64 = 100;
/// Forests on each side.
const SEEDS: usize = 5;

/// Optuna's forest sees a logarithmic range as its raw numbers and a choice as one column a value, ours as the space
/// does: forests are compared on linear numbers, on logarithmic ones with Optuna's on their scale, and PED-ANOVA, which
/// sees them alike, on everything.
const NUMBERS: &str = "x = { float = [-2, 3] }\ny = { float = [0, 1] }\nz = { float = [5, 9] }\nk = { int = [0, 400] }";
const LOGS: &str = "rate = { log = [1e-4, 0.1] }\nunits = { int = [16, 512], log = true }\nx = { float = [0, 1] }";
const MIXED: &str = r#"
rate = { log = [1e-5, 0.1] }
width = { int = [4, 300], log = true }
dropout = { float = [0.0, 0.9], step = 0.1 }
k = { int = [1, 9], step = 2 }
kind = { choice = ["a", "b", "c"] }
only = { choice = ["x"] }
"#;
const CONDITIONAL: &str = r#"
x = { float = [0, 1] }
kind = { choice = ["a", "b", "c"] }
m = { float = [0.5, 0.99], when = { kind = ["b", "c"] } }
"#;

fn number(params: &Params, name: &str) -> f64 {
    params.get(name).and_then(Value::as_f64).unwrap_or(0.0)
}

fn numbers(params: &Params) -> f64 {
    let [x, y, z, k] = ["x", "y", "z", "k"].map(|name| number(params, name));
    x * x + 2.0 * y + x * y + 0.005 * k + 0.1 * z
}

fn logs(params: &Params) -> f64 {
    let [rate, units, x] = ["rate", "units", "x"].map(|name| number(params, name));
    (rate.log10() + 2.5).powi(2) + 0.2 * units.log2() + x
}

fn mixed(params: &Params) -> f64 {
    let [rate, width, dropout, k] = ["rate", "width", "dropout", "k"].map(|name| number(params, name));
    let kind = if params["kind"] == Value::from("b") { 1.0 } else { 0.0 };
    -(rate.log10() + 2.5).powi(2) + 0.3 * width.log2() - dropout * kind + 0.05 * k
}

fn conditional(params: &Params) -> f64 {
    let kind = if params["kind"] == Value::from("b") { 1.0 } else { 0.0 };
    number(params, "x") + kind * (1.0 + (number(params, "m") - 0.8).abs())
}

/// A study in the file, at random points.
fn study(storage: &Storage, name: &str, space: &str, direction: Direction, f: fn(&Params) -> f64) -> Study {
    let space = Space::from_toml(&space.parse().unwrap(), &Expand::default()).unwrap();
    let study = Study::create_or_open(storage, &StudyConfig::new(name, direction, space)).unwrap();
    let spec = OptimizeSpec { trials: Some(TRIALS), ..OptimizeSpec::new(&RandomSampler, &Never) };
    study.optimize(&spec, |trial| Ok(vec![f(trial.params())])).unwrap();
    study
}

fn found(study: &Study, spec: &ImportanceSpec) -> Importance {
    importance(study.space().unwrap(), study.directions(), &study.trials().unwrap(), spec).unwrap()
}

fn share(found: &Importance, name: &str) -> f64 {
    found.parameters.iter().find(|single| single.name == name).unwrap().share
}

fn compare_forests(study: &Study, answers: &Json, key: &str) {
    let spec = |seed: usize| ImportanceSpec { seed: seed as u64, ..ImportanceSpec::default() };
    let ours: Vec<Importance> = (0..SEEDS).map(|seed| found(study, &spec(seed))).collect();
    let theirs = answers[key].as_array().unwrap();
    for name in theirs[0].as_object().unwrap().keys() {
        let ours: Vec<f64> = ours.iter().map(|found| share(found, name)).collect();
        let theirs: Vec<f64> = theirs.iter().map(|shares| shares[name].as_f64().unwrap()).collect();
        let error = ((deviation(&ours).powi(2) + deviation(&theirs).powi(2)) / SEEDS as f64).sqrt();
        let (a, b) = (mean(&ours), mean(&theirs));
        eprintln!("{}: {name}: {a:.4} here, {b:.4} in Optuna, standard error {error:.4}", study.name());
        assert!((a - b).abs() < 4.0 * error, "{name}: {a} here, {b} in Optuna, standard error {error}");
    }
}

fn compare_densities(study: &Study, answers: &Json, version: &str) {
    let plain = ImportanceSpec { method: Method::PedAnova, rounds: 1, ..ImportanceSpec::default() };
    for (key, spec, share_of_best) in [
        ("local", plain.clone(), 0.1),
        ("uniform", ImportanceSpec { uniform: true, ..plain.clone() }, 0.1),
        ("region", ImportanceSpec { region: 0.5, ..plain }, 0.2),
    ] {
        let found = found(study, &spec);
        let theirs = answers[key].as_object().unwrap();
        // Optuna 4 leaves conditional parameters out.
        assert!(!version.starts_with("5.") || theirs.len() == found.parameters.len());
        for (name, theirs) in theirs {
            // Theirs is the variance that ours is a share of.
            let ours = share(&found, name) * share_of_best * (1.0 - share_of_best);
            let theirs = theirs.as_f64().unwrap();
            assert!(
                (ours - theirs).abs() < 1e-9 * theirs.max(1e-3),
                "{} {key} {name}: {ours} here, {theirs} in Optuna {version}",
                study.name()
            );
        }
    }
}

#[test]
fn optuna_finds_the_same_things_important() {
    let Some(pythons) = pythons() else { return };
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open_or_create(folder.path().join("study.db")).unwrap();
    let numbers = study(&storage, "numbers", NUMBERS, Direction::Minimize, numbers);
    let logs = study(&storage, "logs", LOGS, Direction::Minimize, logs);
    let mixed = study(&storage, "mixed", MIXED, Direction::Maximize, mixed);
    let conditional = study(&storage, "conditional", CONDITIONAL, Direction::Minimize, conditional);
    for python in pythons.split(':') {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_importance.py");
        let output = Command::new(python).arg(script).arg(storage.path()).output().unwrap();
        assert!(output.status.success(), "{python}: {}", String::from_utf8_lossy(&output.stderr));
        let answers: Json = serde_json::from_slice(&output.stdout).unwrap();
        let version = answers["version"].as_str().unwrap();
        compare_forests(&numbers, &answers["numbers"], "fanova");
        compare_forests(&logs, &answers["logs"], "fanova_log");
        for study in [&numbers, &logs, &mixed, &conditional] {
            compare_densities(study, &answers[study.name()], version);
        }
    }
}

#[test]
fn the_space_of_a_study_without_one_is_found_in_its_trials() {
    let storage = Storage::in_memory().unwrap();
    let study = study(&storage, "conditional", CONDITIONAL, Direction::Minimize, conditional);
    let trials = study.trials().unwrap();
    let (space, notes) = infer_space(&trials).unwrap();
    assert!(notes.is_empty());
    let spec = ImportanceSpec { pairs: true, ..ImportanceSpec::default() };
    let inferred = importance(&space, study.directions(), &trials, &spec).unwrap();
    let order: Vec<&str> = inferred.parameters.iter().map(|single| single.name.as_str()).collect();
    assert_eq!((order, inferred.trials.used), (vec!["kind", "x", "m"], TRIALS as usize));
}
