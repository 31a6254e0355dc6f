//! Problems with several objectives, as `several.py` defines them, and runs of samplers over them.
//!
//! All objectives are minimised. A run is the volume that is dominated within the reference point after so many trials;
//! what there is to dominate at most, and the comparison with Optuna's runs, is `several.py --judge`'s.

use super::{append, made};
use hpt_engine::compare::{self, Grid};
use hpt_engine::history::pareto::hypervolume;
use hpt_engine::history::{Direction, Record, State, Trial};
use hpt_engine::sampler::{Ask, Proposal};
use hpt_engine::space::{Expand, Params, Space, Value};
use std::f64::consts::PI;
use std::path::Path;
use std::time::Instant;

/// Trials at which the judge compares.
const BUDGETS: [u64; 3] = [30, 60, 100];
/// Units of the tables' layers, by the place in their columns.
const WIDTHS: [f64; 10] = [16.0, 25.0, 40.0, 64.0, 101.0, 161.0, 256.0, 406.0, 645.0, 1024.0];
const UNITS: [f64; 6] = [16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

type Evaluate = Box<dyn Fn(&Params) -> Vec<f64>>;

pub struct Problem {
    pub name: &'static str,
    space: Space,
    reference: Vec<f64>,
    evaluate: Evaluate,
}

/// The closed forms, and the tables of the folder that have a size.
pub fn problems(folder: Option<&str>) -> Vec<Problem> {
    let form = |name, n: usize, reference: &[f64], f: fn(&[f64]) -> Vec<f64>| Problem {
        name,
        space: cube(n),
        reference: reference.to_vec(),
        evaluate: Box::new(move |params| f(&params.values().filter_map(Value::as_f64).collect::<Vec<_>>())),
    };
    let mut problems = vec![
        form("zdt1", 6, &[1.1, 6.0], |x| zdt(x, |share, _| 1.0 - share.sqrt())),
        form("zdt2", 6, &[1.1, 6.0], |x| zdt(x, |share, _| 1.0 - share * share)),
        form("zdt3", 6, &[1.1, 6.0], |x| zdt(x, |share, f| 1.0 - share.sqrt() - share * (10.0 * PI * f).sin())),
        form("dtlz2", 6, &[1.1, 1.1, 1.1], dtlz2),
        form("branin-currin", 2, &[18.0, 6.0], branin_currin),
    ];
    if std::env::var("HELD_OUT").is_ok() {
        return vec![
            form("zdt4", 5, &[1.1, 80.0], zdt4),
            form("zdt6", 5, &[1.1, 10.0], zdt6),
            form("kursawe", 3, &[-10.0, 15.0], kursawe),
            form("fonseca", 3, &[1.1, 1.1], fonseca),
            form("dtlz1", 5, &[200.0, 200.0, 200.0], dtlz1),
            form("dtlz7", 5, &[1.1, 1.1, 24.0], dtlz7),
            form("dtlz2-4", 6, &[1.1, 1.1, 1.1, 1.1], dtlz2_4),
        ];
    }
    if let Some(folder) = folder {
        problems.push(table(folder, "hpobench-phoneme", [-0.5, 15.0], Direction::Maximize));
        problems.push(table(folder, "fcnet-protein_structure", [0.5, 13.0], Direction::Minimize));
    }
    problems
}

fn cube(n: usize) -> Space {
    let text: String = (0..n).map(|i| format!("x{i} = {{ float = [0.0, 1.0] }}\n")).collect();
    Space::from_toml(&text.parse().expect("TOML"), &Expand::default()).expect("a space")
}

fn zdt(x: &[f64], front: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let g = 1.0 + 9.0 * x[1..].iter().sum::<f64>() / (x.len() - 1) as f64;
    vec![x[0], g * front(x[0] / g, x[0])]
}

fn dtlz2(x: &[f64]) -> Vec<f64> {
    let far = 1.0 + x[2..].iter().map(|v| (v - 0.5).powi(2)).sum::<f64>();
    let (a, b) = (x[0] * PI / 2.0, x[1] * PI / 2.0);
    vec![far * a.cos() * b.cos(), far * a.cos() * b.sin(), far * a.sin()]
}

/// Problems on which nothing was chosen (`HELD_OUT=1`): Zitzler, Deb and Thiele (2000), Kursawe (1991), Fonseca and
/// Fleming (1995), Deb, Thiele, Laumanns and Zitzler (2005).
fn zdt4(x: &[f64]) -> Vec<f64> {
    let rest = x[1..].iter().map(|u| 10.0 * u - 5.0).map(|v| v * v - 10.0 * (4.0 * PI * v).cos() + 10.0);
    let g = 1.0 + rest.sum::<f64>();
    vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
}

fn zdt6(x: &[f64]) -> Vec<f64> {
    let first = 1.0 - (-4.0 * x[0]).exp() * (6.0 * PI * x[0]).sin().powi(6);
    let g = 1.0 + 9.0 * (x[1..].iter().sum::<f64>() / (x.len() - 1) as f64).powf(0.25);
    vec![first, g * (1.0 - (first / g).powi(2))]
}

fn kursawe(u: &[f64]) -> Vec<f64> {
    let x: Vec<f64> = u.iter().map(|u| 10.0 * u - 5.0).collect();
    let pair = |p: &[f64]| -10.0 * (-0.2 * (p[0] * p[0] + p[1] * p[1]).sqrt()).exp();
    vec![x.windows(2).map(pair).sum(), x.iter().map(|v| v.abs().powf(0.8) + 5.0 * v.powi(3).sin()).sum()]
}

fn fonseca(u: &[f64]) -> Vec<f64> {
    let center = 1.0 / (u.len() as f64).sqrt();
    let at = |sign: f64| 1.0 - (-u.iter().map(|u| (8.0 * u - 4.0 - sign * center).powi(2)).sum::<f64>()).exp();
    vec![at(1.0), at(-1.0)]
}

fn dtlz1(x: &[f64]) -> Vec<f64> {
    let rough = |v: &f64| (v - 0.5).powi(2) - (20.0 * PI * (v - 0.5)).cos();
    let g = 100.0 * ((x.len() - 2) as f64 + x[2..].iter().map(rough).sum::<f64>());
    let far = 0.5 * (1.0 + g);
    vec![far * x[0] * x[1], far * x[0] * (1.0 - x[1]), far * (1.0 - x[0])]
}

fn dtlz7(x: &[f64]) -> Vec<f64> {
    let g = 1.0 + 9.0 * x[2..].iter().sum::<f64>() / (x.len() - 2) as f64;
    let wave = |f: &f64| f / (1.0 + g) * (1.0 + (3.0 * PI * f).sin());
    vec![x[0], x[1], (1.0 + g) * (3.0 - x[..2].iter().map(wave).sum::<f64>())]
}

/// DTLZ2 with four objectives.
fn dtlz2_4(x: &[f64]) -> Vec<f64> {
    let far = 1.0 + x[3..].iter().map(|v| (v - 0.5).powi(2)).sum::<f64>();
    let [a, b, c] = [x[0], x[1], x[2]].map(|v| v * PI / 2.0);
    vec![far * a.cos() * b.cos() * c.cos(), far * a.cos() * b.cos() * c.sin(), far * a.cos() * b.sin(), far * a.sin()]
}

fn branin_currin(x: &[f64]) -> Vec<f64> {
    let (u, v) = (x[0], x[1]);
    let (a, b) = (15.0 * u - 5.0, 15.0 * v);
    let term = b - 5.1 / (4.0 * PI * PI) * a * a + 5.0 / PI * a - 6.0;
    let fall = if v > 0.0 { 1.0 - (-0.5 / v).exp() } else { 1.0 };
    let (top, bottom) =
        (2300.0 * u.powi(3) + 1900.0 * u * u + 2092.0 * u + 60.0, 100.0 * u.powi(3) + 500.0 * u * u + 4.0 * u + 20.0);
    vec![term * term + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * a.cos() + 10.0, fall * top / bottom]
}

/// A table's error against the logarithm of its network's number of parameters.
fn table(folder: &str, name: &'static str, reference: [f64; 2], direction: Direction) -> Problem {
    let path = Path::new(folder).join(format!("{name}.csv.gz"));
    let function: compare::Function = Grid { direction, value: None }.read(path).expect("a table");
    Problem {
        name,
        space: function.space.clone(),
        reference: reference.to_vec(),
        evaluate: Box::new(move |params| {
            let error = function.evaluate(params).map_or(f64::NAN, |value| direction.loss(value));
            vec![error, size(params)]
        }),
    }
}

/// ln of the number of parameters of a table's network.
fn size(params: &Params) -> f64 {
    let place = |name: &str| params.get(name).and_then(Value::as_i64).map(|place| place as usize);
    if let (Some(width), Some(depth)) = (place("width"), place("depth")) {
        let (w, more) = (WIDTHS[width], depth as f64);
        return (5.0 * w + w + more * (w * w + w) + w + 1.0).ln();
    }
    let units = |name: &str| UNITS[place(name).expect("a column of units")];
    let (a, b) = (units("n_units_1"), units("n_units_2"));
    (9.0 * a + a + a * b + b + b + 1.0).ln()
}

/// Runs a sampler with every seed; a line a run into `out`, the means on the screen.
pub fn run(problem: &Problem, name: &str, seeds: u64, out: Option<&str>) {
    let most = BUDGETS[BUDGETS.len() - 1];
    let sampler = made(name, most);
    let directions = vec![Direction::Minimize; problem.reference.len()];
    let mut sums = [0.0; BUDGETS.len()];
    let (mut seconds, mut last) = (0.0, 0.0);
    for seed in 0..seeds {
        let (mut history, mut volumes, mut spent): (Vec<Trial>, Vec<f64>, f64) = (Vec::new(), Vec::new(), 0.0);
        for slot in 0..most {
            let start = Instant::now();
            let ask =
                Ask { space: &problem.space, directions: &directions, history: &history, seed, slot, source: &[] };
            let Proposal::Params(params) = sampler.ask(&ask) else { break };
            let elapsed = start.elapsed().as_secs_f64() * 1e3;
            spent += elapsed;
            last += if slot + 10 >= most { elapsed / 10.0 / seeds as f64 } else { 0.0 };
            let values = (problem.evaluate)(&params);
            history.push(Trial::from(Record { params, values, ..Record::blank(slot, State::Complete) }));
            if BUDGETS.contains(&(slot + 1)) {
                let losses: Vec<Vec<f64>> = history.iter().map(|trial| trial.values.clone()).collect();
                volumes.push((hypervolume(&losses, &problem.reference) * 1e8).round() / 1e8);
            }
        }
        seconds += spent / (most * seeds) as f64;
        sums.iter_mut().zip(&volumes).for_each(|(sum, volume)| *sum += volume / seeds as f64);
        if let Some(path) = out {
            let milliseconds = (spent / most as f64 * 100.0).round() / 100.0;
            append(
                path,
                &serde_json::json!({"sampler": name, "problem": problem.name, "seed": seed, "volume": volumes, "ms": milliseconds}),
            );
        }
    }
    let text: Vec<String> = sums.iter().map(|volume| format!("{volume:10.5}")).collect();
    println!("{:24} {name:8} {}   {seconds:.2} ({last:.2} at the end)", problem.name, text.join(" "));
}
