//! Warm starts against none and against the source's three best configurations alone, on pairs of a source and a
//! target.
//!
//! The target is a function or a table, the source the same one seen through a map of the unit cube or on another
//! scale, its negation, or the table of another data set; 40 trials of `auto` are what is known of it. Each run goes
//! through [`Study`], as `--warm-start` does. Normalised regret is (found − optimum) / (median − optimum); differences
//! below [`FLOOR`] do not count. The last lines are ratios of the geometric means over the pairs of a kind and the
//! seeds, with intervals of two standard errors.

use super::{Function, append, closed_forms, made, tables};
use hpt_engine::history::{Direction, State, Trial};
use hpt_engine::sampler::Sampler;
use hpt_engine::space::{Expand, Params, Space};
use hpt_engine::study::{Outcome, Study, StudyConfig};
use rayon::prelude::*;
use std::collections::BTreeMap;

const BUDGETS: [u64; 5] = [5, 10, 20, 30, 50];
const STARTS: [&str; 3] = ["cold", "enqueue", "warm"];
/// Trials of the source.
const KNOWN: u64 = 40;
/// Configurations of the source that are tried first in any case.
const TRIED_FIRST: usize = 3;
/// Normalised regrets below are all as good.
const FLOOR: f64 = 1e-4;
/// Seeds of the sources.
const FOREIGN: u64 = 1_000;

type Evaluate<'a> = Box<dyn Fn(&Params) -> f64 + Sync + 'a>;

struct Pair<'a> {
    kind: &'static str,
    name: String,
    source: Evaluate<'a>,
    target: &'a Function,
}

/// Normalised regrets at [`BUDGETS`].
type Regrets = [f64; BUDGETS.len()];

/// Runs the samplers on every pair whose name or kind holds one of `wanted`.
pub fn run(samplers: &str, seeds: u64, wanted: &str, folder: Option<&str>, out: Option<&str>) {
    let mut functions = closed_forms();
    functions.retain(|function| matches!(&function.name[..], "branin" | "hartmann6" | "levy5" | "conditional"));
    functions.insert(0, quadratic());
    let forms = functions.len();
    functions.extend(folder.map(tables).unwrap_or_default());
    let pairs = pairs(&functions, forms);
    let is_wanted = |pair: &&Pair| {
        let all = format!("{} {}", pair.kind, pair.name);
        wanted.is_empty() || wanted.split(',').any(|part| all.contains(part))
    };
    println!("{:10} {:58} {:6} {:8} mean normalised regret after {BUDGETS:?} trials", "kind", "source", "", "start");
    for name in samplers.split(',') {
        // Regrets of every start by kind, in the same order.
        let mut kinds: BTreeMap<&str, [Vec<Regrets>; 3]> = BTreeMap::new();
        for pair in pairs.iter().filter(is_wanted) {
            let first: u64 = std::env::var("FIRST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            let runs: Vec<[Regrets; 3]> =
                (first..first + seeds).into_par_iter().map(|seed| one(pair, name, seed)).collect();
            for (start, what) in STARTS.iter().enumerate() {
                let own: Vec<Regrets> = runs.iter().map(|run| run[start]).collect();
                let mean = |k: usize| own.iter().map(|run| run[k]).sum::<f64>() / seeds as f64;
                let text: Vec<String> = (0..BUDGETS.len()).map(|k| format!("{:9.5}", mean(k))).collect();
                println!("{:10} {:58} {name:6} {what:8} {}", pair.kind, pair.name, text.join(" "));
                if let Some(path) = out {
                    append(
                        path,
                        &serde_json::json!({"kind": pair.kind, "pair": pair.name, "sampler": name, "start": what, "regrets": own}),
                    );
                }
                kinds.entry(pair.kind).or_default()[start].extend(own);
            }
        }
        for (kind, starts) in &kinds {
            for against in [0, 1] {
                let text: Vec<String> = (0..BUDGETS.len()).map(|k| ratio(&starts[2], &starts[against], k)).collect();
                println!("{kind:10} {name:6} warm / {:8} {}", STARTS[against], text.join("  "));
            }
        }
    }
}

/// The ratio of the geometric means of regrets that are paired, and its interval.
fn ratio(ours: &[Regrets], theirs: &[Regrets], k: usize) -> String {
    let log = |regret: f64| regret.max(FLOOR).ln();
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| log(a[k]) - log(b[k])).collect();
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let error = (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n * (n - 1.0)).max(1.0)).sqrt();
    format!("{:.2} [{:.2}, {:.2}]", mean.exp(), (mean - 2.0 * error).exp(), (mean + 2.0 * error).exp())
}

/// The three starts with a seed.
fn one(pair: &Pair, name: &str, seed: u64) -> [Regrets; 3] {
    let source = study(&pair.target.space);
    search(&source, &*made("auto", KNOWN), FOREIGN + seed, KNOWN, &pair.source);
    let sampler = made(name, BUDGETS[BUDGETS.len() - 1]);
    STARTS.map(|start| {
        let study = study(&pair.target.space);
        match start {
            "warm" => drop(study.warm_start(&source).expect("the source has complete trials")),
            "enqueue" => best(&source).iter().for_each(|params| {
                study.enqueue(params).expect("they fit");
            }),
            _ => {}
        }
        let values = search(&study, &*sampler, seed, BUDGETS[BUDGETS.len() - 1], &pair.target.evaluate);
        let Function { optimum, median, .. } = pair.target;
        BUDGETS.map(|budget| {
            let best = values.iter().take(budget as usize).copied().fold(f64::INFINITY, f64::min);
            (best - optimum).max(0.0) / (median - optimum)
        })
    })
}

fn study(space: &Space) -> Study {
    Study::in_memory(&StudyConfig::new("a", Direction::Minimize, space.clone())).expect("a study in memory")
}

/// Runs so many trials and returns what they came to.
fn search(study: &Study, sampler: &dyn Sampler, seed: u64, trials: u64, evaluate: &dyn Fn(&Params) -> f64) -> Vec<f64> {
    let mut values = Vec::new();
    while (values.len() as u64) < trials
        && let Some(trial) = study.ask(sampler, seed).expect("a study in memory")
    {
        values.push(evaluate(&trial.params));
        study.tell(trial.number, Outcome::Complete(vec![values[values.len() - 1]])).expect("a study in memory");
    }
    values
}

/// The best different configurations of a study.
fn best(study: &Study) -> Vec<Params> {
    let trials = study.trials().expect("a study in memory");
    let mut complete: Vec<&Trial> = trials.iter().filter(|trial| trial.state == State::Complete).collect();
    complete.sort_by(|a, b| a.values[0].total_cmp(&b.values[0]));
    let mut best: Vec<Params> = Vec::new();
    for trial in complete {
        if best.len() < TRIED_FIRST && !best.contains(&trial.params) {
            best.push(trial.params.clone());
        }
    }
    best
}

fn pairs(functions: &[Function], forms: usize) -> Vec<Pair<'_>> {
    let mut pairs = Vec::new();
    let mut add = |kind, how: &str, target, source| {
        pairs.push(Pair { kind, name: format!("{how} for {}", (target as &Function).name), source, target });
    };
    for target in functions {
        let mapped = |map: fn(&[f64]) -> Vec<f64>| -> Evaluate<'_> {
            Box::new(move |params| 10.0 * (target.evaluate)(&moved(&target.space, params, map)) + 100.0)
        };
        if target.space.size().is_none() {
            add("related", "shifted by 0.03", target, mapped(|u| u.iter().map(|u| u + 0.03).collect()));
            add("related", "turned by 10 degrees", target, mapped(turned));
        }
        add("unrelated", "mirrored", target, mapped(|u| u.iter().map(|u| 1.0 - u).collect()));
        add("unrelated", "in another order", target, mapped(reordered));
        add("negated", "negated", target, Box::new(|params| -(target.evaluate)(params)));
    }
    for target in &functions[forms..] {
        for source in functions[forms..].iter().filter(|source| source.name != target.name) {
            if source.space == target.space {
                add("other data", &source.name, target, Box::new(|params| (source.evaluate)(params)));
            }
        }
    }
    pairs
}

/// The configuration at the place in the unit cube to which `map` sends this one's.
fn moved(space: &Space, params: &Params, map: fn(&[f64]) -> Vec<f64>) -> Params {
    let place = |parameter: &hpt_engine::space::Parameter| {
        params.get(&parameter.name).map_or(0.5, |value| parameter.domain.to_unit(value))
    };
    let places: Vec<f64> = space.parameters().iter().map(place).collect();
    let places = map(&places);
    space.build(|i, parameter| parameter.domain.from_unit(places[i].clamp(0.0, 1.0)))
}

/// Neighbours turned against each other around the middle.
fn turned(u: &[f64]) -> Vec<f64> {
    let (sine, cosine) = 10f64.to_radians().sin_cos();
    let mut turned = u.to_vec();
    for i in 1..u.len() {
        let (a, b) = (turned[i - 1] - 0.5, turned[i] - 0.5);
        (turned[i - 1], turned[i]) = (0.5 + cosine * a - sine * b, 0.5 + sine * a + cosine * b);
    }
    turned
}

/// Each coordinate where the one before was, and far from where it was.
fn reordered(u: &[f64]) -> Vec<f64> {
    (0..u.len()).map(|i| (u[(i + 1) % u.len()] + 0.37).fract()).collect()
}

fn quadratic() -> Function {
    let text = "x = { float = [-5.0, 5.0] }\ny = { float = [-5.0, 5.0] }";
    Function {
        name: "quadratic".to_owned(),
        space: Space::from_toml(&text.parse().expect("a space"), &Expand::default()).expect("a space"),
        optimum: 0.0,
        median: 20.0,
        judged: &[],
        evaluate: Box::new(|params| {
            let at = |name: &str| params[name].as_f64().expect("a number");
            (at("x") - 2.2).powi(2) + (at("y") + 2.9).powi(2)
        }),
    }
}
