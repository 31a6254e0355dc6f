//! Samplers against each other on functions with known optima: best value after a number of trials, and time a
//! proposal.
//!
//! `cargo bench --bench search -- [samplers] [seeds] [functions]`, each a comma-separated list or a number, as in
//! `random,gp 10 branin,hartmann6`. With `HPO_TABLES=folder` the complete grids of MLP configurations in that folder
//! (`*.csv.gz`, the last column is the value) are functions too; `BUDGETS=30,50,100` are the
//! numbers of trials; `FIRST_SEED=100` begins there. Regret is (found − optimum), averaged over the seeds.
//! `OUT=runs.jsonl` appends a line a run in the format that `benches/search/judge.py` holds against Optuna's (there the
//! closed forms end at 60 trials). `PENDING=15` proposes with that many trials under way, as sixteen jobs do: a trial's
//! value is known to the sampler after as many others were proposed.
//! `PROPOSE=100,500` times single proposals with histories of that many trials instead. `SEVERAL=1` runs the problems
//! with several objectives (`benches/search/several.rs`; with `HELD_OUT=1` others, on which nothing was chosen), for
//! which `OUT` has the format of `benches/search/several.py`. `TRANSFER=1` compares warm starts with none and with the
//! source's best alone (`benches/search/transfer.rs`). `RUNGS=hyperband` (or `asha`) runs the functions as trainings of
//! 27 steps that this pruner stops (`benches/search/rungs.rs`).

#[path = "search/rungs.rs"]
mod rungs;
#[path = "search/several.rs"]
mod several;
#[path = "search/transfer.rs"]
mod transfer;

use hpt_engine::compare::{self, FUNCTIONS, Grid};
use hpt_engine::history::{Direction, Record, State, Trial};
use hpt_engine::sampler::{self, Ask, Proposal, Sampler, Settings};
use hpt_engine::space::{Params, Space};
use std::collections::VecDeque;
use std::io::Write;
use std::time::Instant;

type Evaluate = Box<dyn Fn(&Params) -> f64 + Sync>;

struct Function {
    name: String,
    space: Space,
    optimum: f64,
    /// A typical value, for normalised regret.
    median: f64,
    /// Trials at which the judge compares.
    judged: &'static [u64],
    evaluate: Evaluate,
}

/// Budgets of the judge, as in `benches/search/problems.py`.
const TABLE_BUDGETS: &[u64] = &[30, 50, 100];
const FORM_BUDGETS: &[u64] = &[30, 60];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let seeds: u64 = argument(1, "5").parse().unwrap_or(5);
    let wanted = argument(2, "");
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split(',').any(|part| name.contains(part));
    let (folder, out) = (std::env::var("HPO_TABLES").ok(), std::env::var("OUT").ok());
    if std::env::var("SEVERAL").is_ok() {
        println!("{:24} {:8} volume after 30, 60 and 100 trials   ms a proposal", "problem", "sampler");
        for problem in several::problems(folder.as_deref()).iter().filter(|problem| is_wanted(problem.name)) {
            argument(0, "tpe,gp").split(',').for_each(|name| several::run(problem, name, seeds, out.as_deref()));
        }
        return;
    }
    if std::env::var("TRANSFER").is_ok() {
        let names = argument(0, "gp,tpe");
        return transfer::run(&names, seeds, &wanted, folder.as_deref(), out.as_deref());
    }
    let mut functions = closed_forms();
    if let Some(folder) = &folder {
        functions.extend(tables(folder));
    }
    let numbers = |text: String| -> Vec<u64> { text.split(',').filter_map(|b| b.parse().ok()).collect() };
    let (budgets, sizes) =
        (numbers(std::env::var("BUDGETS").unwrap_or("30,50,100".into())), std::env::var("PROPOSE").ok().map(numbers));
    if std::env::var("RUNGS").is_ok() {
        println!(
            "{:34} {:8} normalised regret after steps of {:?} whole trainings, and the trials begun",
            "function",
            "sampler",
            rungs::WHOLE
        );
    } else if sizes.is_none() {
        println!("{:34} {:8} regret after {budgets:?} trials (normalised)   ms a proposal", "function", "sampler");
    }
    for function in functions.iter().filter(|function| is_wanted(&function.name)) {
        for name in argument(0, "random,gp").split(',') {
            if let Ok(pruner) = std::env::var("RUNGS") {
                rungs::run(function, name, &pruner, seeds);
                continue;
            }
            match (&sizes, &out) {
                (Some(sizes), _) => time_proposals(function, name, sizes),
                (None, Some(path)) => judge(function, name, seeds, function.judged, Some(path)),
                (None, None) => judge(function, name, seeds, &budgets, None),
            }
        }
    }
}

fn made(name: &str, trials: u64) -> Box<dyn Sampler> {
    let settings = Settings { trials: Some(trials), ..Settings::default() };
    sampler::by_name(name, &settings).expect("a sampler of the list")
}

fn judge(function: &Function, name: &str, seeds: u64, budgets: &[u64], out: Option<&str>) {
    let most = budgets.iter().copied().max().unwrap_or(0);
    let sampler = made(name, most);
    let mut sums = vec![0.0; budgets.len()];
    // The last ten proposals are the dearest.
    let (mut seconds, mut last) = (0.0, 0.0);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (first, pending): (u64, usize) = (number("FIRST_SEED"), number("PENDING") as usize);
    for seed in first..first + seeds {
        let (mut history, mut under_way): (Vec<Trial>, VecDeque<Trial>) = Default::default();
        let (mut best, mut reached, mut spent) = (f64::INFINITY, Vec::new(), 0.0);
        for slot in 0..most {
            let start = Instant::now();
            let ask = Ask {
                space: &function.space,
                directions: &[Direction::Minimize],
                history: &history,
                seed,
                slot,
                source: &[],
            };
            let Proposal::Params(params) = sampler.ask(&ask) else { break };
            let elapsed = start.elapsed().as_secs_f64() * 1e3;
            spent += elapsed;
            last += if slot + 10 >= most { elapsed / 10.0 / seeds as f64 } else { 0.0 };
            let value = (function.evaluate)(&params);
            best = best.min(value);
            under_way.push_back(complete(slot, params.clone(), value));
            history.push(Trial::from(Record { params, ..Record::blank(slot, State::Running) }));
            if under_way.len() > pending
                && let Some(ended) = under_way.pop_front()
            {
                let place = ended.slot() as usize;
                history[place] = ended;
            }
            if budgets.contains(&(slot + 1)) {
                reached.push(best);
            }
        }
        seconds += spent / (most * seeds) as f64;
        sums.iter_mut().zip(&reached).for_each(|(sum, best)| *sum += best - function.optimum);
        if let Some(path) = out {
            let milliseconds = (spent / most as f64 * 100.0).round() / 100.0;
            let run = serde_json::json!({"sampler": name, "problem": function.name, "seed": seed, "best": reached, "ms": milliseconds});
            append(path, &run);
        }
    }
    let regrets: Vec<f64> = sums.iter().map(|sum| sum / seeds as f64).collect();
    let range = function.median - function.optimum;
    let text: Vec<String> = regrets.iter().map(|r| format!("{r:9.5} ({:6.4})", r / range)).collect();
    println!("{:34} {:8} {}   {seconds:.2} ({last:.2} at the end)", function.name, name, text.join(" "));
}

fn append(path: &str, run: &serde_json::Value) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    writeln!(file.expect("OUT can be written"), "{run}").expect("OUT can be written");
}

/// Milliseconds of one proposal after so many trials, the least of five. Three quarters of the trials are random, the
/// others steps of a hundredth of the range away from the best of them, as histories of models are.
fn time_proposals(function: &Function, name: &str, sizes: &[u64]) {
    let (mut history, mut best): (Vec<Trial>, Option<(f64, Params)>) = (Vec::new(), None);
    for &size in sizes {
        for number in history.len() as u64..size {
            let mut stream = hpt_engine::random::Stream::new(1, number, hpt_engine::random::Purpose::Propose, 0);
            let params = match &best {
                Some((_, params)) if number % 4 == 0 => function.space.build(|_, parameter| {
                    let near = params.get(&parameter.name).map_or(0.5, |value| parameter.domain.to_unit(value));
                    parameter.domain.from_unit(near + 0.01 * stream.normal())
                }),
                _ => function.space.sample(&mut stream),
            };
            let value = (function.evaluate)(&params);
            if best.as_ref().is_none_or(|(least, _)| value < *least) {
                best = Some((value, params.clone()));
            }
            history.push(complete(number, params, value));
        }
        let sampler = made(name, 2 * size);
        let ask = Ask {
            space: &function.space,
            directions: &[Direction::Minimize],
            history: &history,
            seed: 1,
            slot: size,
            source: &[],
        };
        let time = |_| {
            let start = Instant::now();
            let _ = std::hint::black_box(sampler.ask(&ask));
            start.elapsed().as_secs_f64() * 1e3
        };
        let least = (0..5).map(time).fold(f64::INFINITY, f64::min);
        println!("{:34} {name:8} {size:6} trials: {least:8.2} ms a proposal", function.name);
    }
}

fn complete(number: u64, params: Params, value: f64) -> Trial {
    Trial::from(Record { params, values: vec![value], ..Record::blank(number, State::Complete) })
}

fn closed_forms() -> Vec<Function> {
    FUNCTIONS
        .iter()
        .map(|name| minimised(compare::function(name).expect("a function of the list"), FORM_BUDGETS))
        .collect()
}

/// Complete grids: of accuracies where their names say so, of errors otherwise.
fn tables(folder: &str) -> Vec<Function> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the folder of tables").flatten().map(|e| e.path()).collect();
    paths.sort();
    let packed = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "gz"));
    let table = |path: std::path::PathBuf| {
        let accuracies = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hpobench"));
        let direction = if accuracies { Direction::Maximize } else { Direction::Minimize };
        minimised(Grid { direction, value: None }.read(path).expect("a table"), TABLE_BUDGETS)
    };
    packed.map(table).collect()
}

fn minimised(function: compare::Function, judged: &'static [u64]) -> Function {
    let direction = function.direction;
    Function {
        name: function.name.clone(),
        space: function.space.clone(),
        optimum: direction.loss(function.optimum),
        median: direction.loss(function.median),
        judged,
        evaluate: Box::new(move |params| direction.loss(function.evaluate(params).unwrap_or(f64::NAN))),
    }
}
