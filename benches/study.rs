//! What a study itself costs: trials of an objective that does nothing, stored in SQLite.
//!
//! `cargo bench --bench study -- [trials] [reports] [pruners]`, as in `10000 0,10 none,median,asha`. Each line gives the
//! seconds of the whole and of its tenths, in which a cost that grows with the number of trials would show.

use hpt_engine::history::Direction;
use hpt_engine::pruner::{self, Settings};
use hpt_engine::sampler::RandomSampler;
use hpt_engine::space::{Domain, Parameter, Space};
use hpt_engine::study::{ObjectiveEnd, OptimizeSpec, Storage, Study, StudyConfig, Verdict};
use std::sync::Mutex;
use std::time::Instant;

fn main() -> hpt_engine::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let trials: u64 = argument(0, "10000").parse().unwrap_or(10_000);
    for reports in argument(1, "0,10").split(',').filter_map(|reports| reports.parse::<u64>().ok()) {
        for name in argument(2, "none,median,asha").split(',') {
            run(trials, reports, name)?;
        }
    }
    Ok(())
}

fn run(trials: u64, reports: u64, name: &str) -> hpt_engine::Result<()> {
    let folder = tempfile::tempdir().map_err(|error| hpt_engine::Error::io("a folder", error))?;
    let float = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
    let parameter = |name: &str| Parameter { name: name.to_owned(), domain: float.clone(), when: Vec::new() };
    let space = Space::new(["a", "b", "c", "d"].map(parameter).to_vec())?;
    let storage = Storage::open_or_create(folder.path().join("study.db"))?;
    let study = Study::create_or_open(&storage, &StudyConfig::new("empty", Direction::Minimize, space))?;
    let pruner = pruner::by_name(name, &Settings { max_resource: Some(reports.max(1)), ..Settings::default() })?;
    let start = Instant::now();
    let times = Mutex::new(Vec::new());
    let on_trial = |_: &hpt_engine::history::Trial| {
        if let Ok(mut times) = times.lock() {
            times.push(start.elapsed().as_secs_f64());
        }
    };
    let mut spec = OptimizeSpec::new(&RandomSampler, pruner.as_ref());
    spec.trials = Some(trials);
    spec.on_trial = Some(&on_trial);
    let summary = study.optimize(&spec, |context| {
        let value = context.params()["a"].as_f64().unwrap_or(0.0);
        for step in 1..=reports {
            if context.report(step, value + 1.0 / step as f64) == Verdict::Prune {
                return Err(ObjectiveEnd::Pruned);
            }
        }
        Ok(vec![value])
    })?;
    let times = times.into_inner().unwrap_or_default();
    let tenth = (times.len() / 10).max(1);
    let ends: Vec<f64> = times.iter().skip(tenth - 1).step_by(tenth).copied().collect();
    let tenths: Vec<String> = ends
        .iter()
        .scan(0.0, |before, end| Some(end - std::mem::replace(before, *end)))
        .map(|s| format!("{s:.2}"))
        .collect();
    println!(
        "{trials} trials, {reports} reports, {name}: {:.2} s, {:.3} ms a trial, {} pruned; tenths {}",
        summary.seconds,
        1e3 * summary.seconds / trials as f64,
        summary.counts.pruned,
        tenths.join(" ")
    );
    Ok(())
}
