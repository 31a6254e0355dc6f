//! Samplers against each other on functions with known optima: best value after a number of trials, and time a proposal.
//!
//! `cargo bench --bench search -- [samplers] [seeds] [functions]`, each a comma-separated list or a number, as in
//! `random,gp 10 branin,hartmann6`. With `HPO_TABLES=folder` the complete grids of MLP configurations in that folder
//! (`*.csv.gz`, the last column is the value) are functions too; `BUDGETS=30,50,100` are the
//! numbers of trials. Regret is (found − optimum), averaged over the seeds. `OUT=runs.jsonl` appends a line a run in the
//! format that `benches/search/judge.py` holds against Optuna's (there the closed forms end at 60 trials).
//! `PROPOSE=100,500` times single proposals with histories of that many trials instead.

use hpt_engine::history::{Direction, State, Trial};
use hpt_engine::sampler::{self, Ask, Proposal, Sampler, Settings};
use hpt_engine::space::{Domain, Expand, Parameter, Params, Space, Value};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::Instant;

type Evaluate = Box<dyn Fn(&Params) -> f64>;

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
    let mut functions = closed_forms();
    if let Ok(folder) = std::env::var("HPO_TABLES") {
        functions.extend(tables(&folder));
    }
    let out = std::env::var("OUT").ok();
    let numbers = |text: String| -> Vec<u64> { text.split(',').filter_map(|b| b.parse().ok()).collect() };
    let (budgets, sizes) =
        (numbers(std::env::var("BUDGETS").unwrap_or("30,50,100".into())), std::env::var("PROPOSE").ok().map(numbers));
    if sizes.is_none() {
        println!("{:34} {:8} regret after {budgets:?} trials (normalised)   ms a proposal", "function", "sampler");
    }
    for function in functions.iter().filter(|f| wanted.is_empty() || wanted.split(',').any(|w| f.name.contains(w))) {
        for name in argument(0, "random,gp").split(',') {
            match (&sizes, &out) {
                (Some(sizes), _) => time_proposals(function, name, sizes),
                (None, Some(path)) => compare(function, name, seeds, function.judged, Some(path)),
                (None, None) => compare(function, name, seeds, &budgets, None),
            }
        }
    }
}

fn made(name: &str, trials: u64) -> Box<dyn Sampler> {
    let settings = Settings { trials: Some(trials), ..Settings::default() };
    sampler::by_name(name, &settings).expect("a sampler of the list")
}

fn compare(function: &Function, name: &str, seeds: u64, budgets: &[u64], out: Option<&str>) {
    let most = budgets.iter().copied().max().unwrap_or(0);
    let sampler = made(name, most);
    let mut sums = vec![0.0; budgets.len()];
    // The last ten proposals are the dearest.
    let (mut seconds, mut last) = (0.0, 0.0);
    for seed in 0..seeds {
        let mut history: Vec<Trial> = Vec::new();
        let (mut best, mut reached, mut spent) = (f64::INFINITY, Vec::new(), 0.0);
        for slot in 0..most {
            let start = Instant::now();
            let ask = Ask { space: &function.space, directions: &[Direction::Minimize], history: &history, seed, slot };
            let Proposal::Params(params) = sampler.ask(&ask) else { break };
            let elapsed = start.elapsed().as_secs_f64() * 1e3;
            spent += elapsed;
            last += if slot + 10 >= most { elapsed / 10.0 / seeds as f64 } else { 0.0 };
            let value = (function.evaluate)(&params);
            best = best.min(value);
            history.push(complete(slot, params, value));
            if budgets.contains(&(slot + 1)) {
                reached.push(best);
            }
        }
        seconds += spent / (most * seeds) as f64;
        sums.iter_mut().zip(&reached).for_each(|(sum, best)| *sum += best - function.optimum);
        if let Some(path) = out {
            let milliseconds = (spent / most as f64 * 100.0).round() / 100.0;
            let run = serde_json::json!({"sampler": name, "problem": function.name, "seed": seed, "best": reached, "ms": milliseconds});
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            writeln!(file.expect("OUT can be written"), "{run}").expect("OUT can be written");
        }
    }
    let regrets: Vec<f64> = sums.iter().map(|sum| sum / seeds as f64).collect();
    let range = function.median - function.optimum;
    let text: Vec<String> = regrets.iter().map(|r| format!("{r:9.5} ({:6.4})", r / range)).collect();
    println!("{:34} {:8} {}   {seconds:.2} ({last:.2} at the end)", function.name, name, text.join(" "));
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
        let ask =
            Ask { space: &function.space, directions: &[Direction::Minimize], history: &history, seed: 1, slot: size };
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
    Trial {
        number,
        state: State::Complete,
        params,
        domains: Default::default(),
        values: vec![value],
        intermediate: Default::default(),
        user: Default::default(),
        system: Default::default(),
        started: None,
        finished: None,
    }
}

fn closed_forms() -> Vec<Function> {
    let cube = |n: usize, low: f64, high: f64| -> String {
        (0..n).map(|i| format!("x{i} = {{ float = [{low:?}, {high:?}] }}\n")).collect()
    };
    let of_vector = |name: &str, space: String, optimum: f64, f: fn(&[f64]) -> f64| {
        function(name, &space, optimum, move |params| f(&params.values().filter_map(Value::as_f64).collect::<Vec<_>>()))
    };
    vec![
        of_vector("branin", "a = { float = [-5.0, 10.0] }\nb = { float = [0.0, 15.0] }".into(), 0.397_887, branin),
        of_vector("hartmann3", cube(3, 0.0, 1.0), -3.862_78, |x| hartmann(x, &HARTMANN3_A, &HARTMANN3_P)),
        of_vector("hartmann6", cube(6, 0.0, 1.0), -3.322_37, |x| hartmann(x, &HARTMANN6_A, &HARTMANN6_P)),
        of_vector("ackley5", cube(5, -32.768, 32.768), 0.0, ackley),
        of_vector("levy5", cube(5, -10.0, 10.0), 0.0, levy),
        of_vector("rosenbrock5", cube(5, -5.0, 10.0), 0.0, rosenbrock),
        function("conditional", CONDITIONAL, 0.0, conditional),
    ]
}

fn function(name: &str, space: &str, optimum: f64, evaluate: impl Fn(&Params) -> f64 + 'static) -> Function {
    let table = space.parse().expect("TOML");
    let space = Space::from_toml(&table, &Expand::default()).expect("a valid space");
    let mut stream = hpt_engine::random::Stream::new(0, 0, hpt_engine::random::Purpose::Propose, 0);
    let mut values: Vec<f64> = (0..999).map(|_| evaluate(&space.sample(&mut stream))).collect();
    values.sort_by(f64::total_cmp);
    Function {
        name: name.to_owned(),
        space,
        optimum,
        median: values[499],
        judged: FORM_BUDGETS,
        evaluate: Box::new(evaluate),
    }
}

fn branin(x: &[f64]) -> f64 {
    use std::f64::consts::PI;
    let term = x[1] - 5.1 / (4.0 * PI * PI) * x[0] * x[0] + 5.0 / PI * x[0] - 6.0;
    term * term + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x[0].cos() + 10.0
}

const HARTMANN3_A: [[f64; 3]; 4] = [[3.0, 10.0, 30.0], [0.1, 10.0, 35.0], [3.0, 10.0, 30.0], [0.1, 10.0, 35.0]];
const HARTMANN3_P: [[f64; 3]; 4] =
    [[0.3689, 0.1170, 0.2673], [0.4699, 0.4387, 0.7470], [0.1091, 0.8732, 0.5547], [0.0381, 0.5743, 0.8828]];
const HARTMANN6_A: [[f64; 6]; 4] = [
    [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
    [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
    [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
    [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
];
const HARTMANN6_P: [[f64; 6]; 4] = [
    [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
    [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
    [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
    [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
];

fn hartmann<const N: usize>(x: &[f64], a: &[[f64; N]; 4], p: &[[f64; N]; 4]) -> f64 {
    let alpha = [1.0, 1.2, 3.0, 3.2];
    let inner = |i: usize| -> f64 { (0..N).map(|j| a[i][j] * (x[j] - p[i][j]).powi(2)).sum() };
    -(0..4).map(|i| alpha[i] * (-inner(i)).exp()).sum::<f64>()
}

fn ackley(x: &[f64]) -> f64 {
    let n = x.len() as f64;
    let square = x.iter().map(|x| x * x).sum::<f64>() / n;
    let wave = x.iter().map(|x| (std::f64::consts::TAU * x).cos()).sum::<f64>() / n;
    -20.0 * (-0.2 * square.sqrt()).exp() - wave.exp() + 20.0 + std::f64::consts::E
}

fn levy(x: &[f64]) -> f64 {
    use std::f64::consts::PI;
    let w: Vec<f64> = x.iter().map(|x| 1.0 + (x - 1.0) / 4.0).collect();
    let last = w[w.len() - 1];
    let middle = |w: &f64| (w - 1.0).powi(2) * (1.0 + 10.0 * (PI * w + 1.0).sin().powi(2));
    (PI * w[0]).sin().powi(2)
        + w[..w.len() - 1].iter().map(middle).sum::<f64>()
        + (last - 1.0).powi(2) * (1.0 + (2.0 * PI * last).sin().powi(2))
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2).map(|w| 100.0 * (w[1] - w[0] * w[0]).powi(2) + (1.0 - w[0]).powi(2)).sum()
}

/// Learning rate, depth and widths, an optimizer with a parameter of its own: the shape of the real searches.
const CONDITIONAL: &str = r#"
rate = { log = [1e-5, 1.0] }
layers = { int = [1, 4] }
units = { int = [16, 512], log = true, each = "layers" }
kind = { choice = ["a", "b", "c", "d"] }
momentum = { float = [0.0, 1.0], when = { kind = ["b", "c"] } }
"#;

fn conditional(params: &Params) -> f64 {
    let number = |name: &str| params.get(name).and_then(Value::as_f64);
    let rate = number("rate").unwrap_or(1.0).log10() + 2.5;
    let kind = match params["kind"].as_str() {
        Some("b") => 3.0 * (number("momentum").unwrap_or(0.0) - 0.8).powi(2),
        Some("c") => 0.2 + (number("momentum").unwrap_or(0.0) - 0.3).powi(2),
        Some("a") => 0.4,
        _ => 0.8,
    };
    let layers = number("layers").unwrap_or(1.0);
    let widths: f64 = (0..layers as usize)
        .filter_map(|i| number(&format!("units_{i}")))
        .enumerate()
        .map(|(i, units)| 0.1 * (units.log2() - 7.0 + i as f64).powi(2))
        .sum();
    0.5 * rate * rate + kind + widths + 0.15 * (layers - 3.0).powi(2)
}

/// Complete grids: choices for the named text columns, the index of the value for the others.
fn tables(folder: &str) -> Vec<Function> {
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the folder of tables").flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "gz")).map(|path| table(&path)).collect()
}

fn table(path: &std::path::Path) -> Function {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("a table");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let name = path.file_name().map(|n| n.to_string_lossy().replace(".csv.gz", "")).unwrap_or_default();
    let sign = if name.starts_with("hpobench") { -1.0 } else { 1.0 };
    let inputs = header.len() - 1;
    let mut levels: Vec<Vec<String>> = vec![Vec::new(); inputs];
    for row in &rows {
        for (levels, cell) in levels.iter_mut().zip(row) {
            if !levels.iter().any(|level| level == cell) {
                levels.push((*cell).to_owned());
            }
        }
    }
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let is_choice = |j: usize| header[j].starts_with("activation_fn") || header[j] == "lr_schedule";
    for (j, levels) in levels.iter_mut().enumerate() {
        if !is_choice(j) {
            levels.sort_by(|a, b| number(a).total_cmp(&number(b)));
        }
    }
    let parameter = |j: usize| Parameter {
        name: header[j].to_owned(),
        domain: if is_choice(j) {
            Domain::Choice(levels[j].iter().map(|level| level.as_str().into()).collect())
        } else {
            Domain::Int { low: 0, high: levels[j].len() as i64 - 1, log: false, step: 1 }
        },
        when: Vec::new(),
    };
    let space = Space::new((0..inputs).map(parameter).collect()).expect("a valid space");
    let key = |row: &[&str]| -> Vec<usize> {
        (0..inputs).map(|j| levels[j].iter().position(|level| level == row[j]).unwrap_or(0)).collect()
    };
    let values: HashMap<Vec<usize>, f64> = rows.iter().map(|row| (key(row), sign * number(row[inputs]))).collect();
    let mut sorted: Vec<f64> = values.values().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let (optimum, median) = (sorted[0], sorted[sorted.len() / 2]);
    let domains: Vec<Domain> = space.parameters().iter().map(|parameter| parameter.domain.clone()).collect();
    let evaluate = move |params: &Params| {
        let places = domains.iter().zip(params.values()).map(|(domain, v)| domain.index_of(v).unwrap_or(0) as usize);
        values[&places.collect::<Vec<_>>()]
    };
    Function { name, space, optimum, median, judged: TABLE_BUDGETS, evaluate: Box::new(evaluate) }
}
