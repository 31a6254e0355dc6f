//! A search on the simulated GPU: several trials at once through the study, the last training, the test.

use super::device::{Look, simulated};
use hpt_engine::data::DataSpec;
use hpt_engine::engine::Engine;
use hpt_engine::search::{Measure, SearchSpec, search};
use hpt_engine::settings::Settings;
use hpt_engine::space::{Domain, Parameter, Params, Space, Value};
use hpt_engine::study::Told;
use hpt_engine::train::Metric;
use std::sync::Arc;

/// A small table of two classes that a network learns.
fn table(folder: &std::path::Path) -> String {
    let path = folder.join("table.csv");
    let row = |i: usize| {
        let (x, y) = ((i * 37 % 60) as f64 / 30.0 - 1.0, (i * 17 % 60) as f64 / 30.0 - 1.0);
        format!("{x},{y},{}\n", if x * y > 0.0 { "even" } else { "odd" })
    };
    std::fs::write(&path, format!("x,y,kind\n{}", (0..120).map(row).collect::<String>())).unwrap();
    path.display().to_string()
}

fn spec(folder: &std::path::Path, engine: Option<Engine>) -> SearchSpec {
    let mut fixed = Settings::default();
    for (name, value) in
        [("epochs", Value::Int(4)), ("batch_size", Value::Int(32)), ("hidden", Value::Text("12".into()))]
    {
        fixed.set(name, name, &value).unwrap();
    }
    let words = ["relu", "tanh"].map(|word| Value::Text(word.into())).to_vec();
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: vec![] };
    let space = Space::new(vec![
        parameter("learning_rate", Domain::Float { low: 1e-3, high: 1e-1, log: true, step: None }),
        parameter("activation", Domain::Choice(words)),
    ]);
    SearchSpec {
        fixed,
        space: Some(space.unwrap()),
        trials: Some(6),
        cohort: 3,
        jobs: 1,
        threads: 1,
        // What a pruner sees depends on who is at work at the same time.
        told: Told::of("random", "none"),
        storage: folder.join("study.db"),
        out: Some(folder.join("out")),
        engine: engine.map(Arc::new),
        ..SearchSpec::new(DataSpec::new(table(folder)))
    }
}

#[test]
fn a_study_on_the_gpu_finds_what_the_same_study_on_the_cpu_finds() {
    // What is counted on the device whole, by columns, and what outputs are sent for.
    for metric in [None, Some(Metric::MacroF1), Some(Metric::Auc)] {
        compare(metric);
    }
}

fn compare(metric: Option<Metric>) {
    let folder = tempfile::tempdir().unwrap();
    let on = |name: &str, engine: Option<Engine>| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let objectives = metric.map(Measure::Metric).into_iter().collect();
        let outcome = search(&SearchSpec { objectives, ..spec(&folder, engine) }, &(), &Arc::default()).unwrap();
        let mut trials = outcome.study.trials().unwrap().to_vec();
        trials.sort_by_key(hpt_engine::history::Trial::slot);
        let tier = outcome.study.attribute("tier").unwrap().unwrap();
        let seen = |trial: &hpt_engine::history::Trial| (trial.slot(), trial.params.clone(), trial.value());
        (trials.iter().map(seen).collect::<Vec<(u64, Params, Option<f64>)>>(), tier, outcome.test)
    };
    let (cpu, _, _) = on("cpu", Some(Engine::new(hpt_engine::engine::Device::Cpu, 1).unwrap()));
    let (gpu, tier, test) = on("gpu", Some(Engine::cuda(simulated(&[Look::default()]))));
    assert_eq!((tier["device"].as_str(), tier["isa"].as_str()), (Some("cuda:0"), Some("simt")));
    assert!(test.is_some());
    assert_eq!(gpu.len(), cpu.len());
    for ((slot, params, value), (_, other, on_cpu)) in gpu.iter().zip(&cpu) {
        assert_eq!(params, other, "slot {slot}");
        // Accuracies of 19 rows: rounding moves none of them here.
        assert_eq!(value.is_some(), on_cpu.is_some(), "slot {slot}");
        if let (Some(value), Some(on_cpu)) = (value, on_cpu) {
            assert!((value - on_cpu).abs() < 0.06, "slot {slot}: {value} {on_cpu}");
        }
    }
}
