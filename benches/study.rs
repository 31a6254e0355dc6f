//! What a study itself costs: trials of an objective that does nothing, stored in SQLite.
//!
//! `cargo bench --bench study -- [trials] [reports] [pruners] [objectives] [samplers] [ways]`, as in
//! `10000 0,10 none,median,asha 1,2 random,tpe optimize,tell`; `optimize` is a closure, `tell` a loop of ask, report
//! and tell in one process. Each line gives the seconds of the whole and of its tenths, in which a cost that grows with
//! the number of trials would show.

use hpt_engine::history::{Direction, Trial};
use hpt_engine::pruner::{self, Pruner, Settings};
use hpt_engine::sampler::{self, Sampler};
use hpt_engine::space::{Domain, Parameter, Params, Space};
use hpt_engine::study::{ObjectiveEnd, OptimizeSpec, Outcome, Storage, Study, StudyConfig, Verdict};
use std::sync::Mutex;
use std::time::Instant;

/// One line of the table.
#[derive(Clone, Copy)]
struct Case<'a> {
    trials: u64,
    reports: u64,
    pruner: &'a str,
    objectives: usize,
    sampler: &'a str,
    way: &'a str,
}

fn main() -> hpt_engine::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let trials: u64 = argument(0, "10000").parse().unwrap_or(10_000);
    let lists = [(1, "0,10"), (2, "none,median,asha"), (3, "1,2"), (4, "random"), (5, "optimize")];
    let [reports, pruners, objectives, samplers, ways] = lists.map(|(i, default)| argument(i, default));
    for way in ways.split(',') {
        for sampler in samplers.split(',') {
            for objectives in objectives.split(',').filter_map(|n| n.parse().ok()) {
                for reports in reports.split(',').filter_map(|reports| reports.parse().ok()) {
                    for pruner in pruners.split(',') {
                        run(Case { trials, reports, pruner, objectives, sampler, way })?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The values of a trial: the first falls with `a`, the others rise with it.
fn values(params: &Params, objectives: usize, more: f64) -> Vec<f64> {
    let x = |name: &str| params[name].as_f64().unwrap_or(0.0);
    let other = |k: usize| (1.0 - x("a")).powi(2) + x("b") * k as f64 + more;
    (0..objectives).map(|k| if k == 0 { x("a") + 0.1 * x("c") + more } else { other(k) }).collect()
}

fn run(case: Case<'_>) -> hpt_engine::Result<()> {
    let folder = tempfile::tempdir().map_err(|error| hpt_engine::Error::io("a folder", error))?;
    let float = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
    let parameter = |name: &str| Parameter { name: name.to_owned(), domain: float.clone(), when: Vec::new() };
    let space = Space::new(["a", "b", "c", "d"].map(parameter).to_vec())?;
    let storage = Storage::open_or_create(folder.path().join("study.db"))?;
    let mut config = StudyConfig::new("empty", Direction::Minimize, space);
    config.directions = vec![Direction::Minimize; case.objectives];
    let study = Study::create_or_open(&storage, &config)?;
    let settings = Settings { max_resource: Some(case.reports.max(1)), ..Settings::default() };
    let pruner = pruner::by_name(case.pruner, &settings)?;
    let settings = sampler::Settings { trials: Some(case.trials), ..sampler::Settings::default() };
    let sampler = sampler::by_name(case.sampler, &settings)?;
    let (start, times) = (Instant::now(), Mutex::new(Vec::new()));
    let ended = || {
        if let Ok(mut times) = times.lock() {
            times.push(start.elapsed().as_secs_f64());
        }
    };
    match case.way {
        "tell" => tell(case, &study, sampler.as_ref(), pruner.as_ref(), &ended)?,
        _ => optimize(case, &study, sampler.as_ref(), pruner.as_ref(), &ended)?,
    }
    let seconds = start.elapsed().as_secs_f64();
    let times = times.into_inner().unwrap_or_default();
    let tenth = (times.len() / 10).max(1);
    let ends = times.iter().skip(tenth - 1).step_by(tenth);
    let mut before = 0.0;
    let tenths: Vec<String> = ends.map(|end| format!("{:.2}", end - std::mem::replace(&mut before, *end))).collect();
    println!(
        "{} {} trials of {} objectives, {} reports, {}, {}: {seconds:.2} s, {:.3} ms a trial, {} pruned; tenths {}",
        case.way,
        case.trials,
        case.objectives,
        case.reports,
        case.pruner,
        case.sampler,
        1e3 * seconds / case.trials as f64,
        study.counts()?.pruned,
        tenths.join(" ")
    );
    Ok(())
}

fn optimize(
    case: Case<'_>,
    study: &Study,
    sampler: &dyn Sampler,
    pruner: &dyn Pruner,
    ended: &(dyn Fn() + Sync),
) -> hpt_engine::Result<()> {
    let on_trial = |_: &Trial| ended();
    let mut spec = OptimizeSpec::new(sampler, pruner);
    spec.trials = Some(case.trials);
    spec.on_trial = Some(&on_trial);
    study.optimize(&spec, |context| {
        for step in 1..=case.reports {
            let values = values(context.params(), case.objectives, 1.0 / step as f64);
            if context.report_values(step, &values) == Verdict::Prune {
                return Err(ObjectiveEnd::Pruned);
            }
        }
        Ok(values(context.params(), case.objectives, 0.0))
    })?;
    Ok(())
}

fn tell(
    case: Case<'_>,
    study: &Study,
    sampler: &dyn Sampler,
    pruner: &dyn Pruner,
    ended: &(dyn Fn() + Sync),
) -> hpt_engine::Result<()> {
    let serving = study.serve(pruner);
    for _ in 0..case.trials {
        let Some(trial) = study.ask_detached(sampler, 0)? else { break };
        let mut outcome = Outcome::Complete(values(&trial.params, case.objectives, 0.0));
        for step in 1..=case.reports {
            study.report_values(trial.number, step, &values(&trial.params, case.objectives, 1.0 / step as f64))?;
            if serving.should_prune(trial.number)? {
                outcome = Outcome::Pruned;
                break;
            }
        }
        study.tell(trial.number, outcome)?;
        ended();
    }
    Ok(())
}
