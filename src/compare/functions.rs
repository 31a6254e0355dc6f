//! Functions with known optima that optimisers are commonly compared on, and one shaped like a search of a network.
//!
//! Formulas: D. R. Jones, M. Schonlau, W. J. Welch, Journal of Global Optimization 13 (1998) for Branin and Hartmann;
//! M. Laguna, R. Martí, Journal of Global Optimization 33 (2005) for Ackley, Levy and Rosenbrock.

use super::Function;
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::{Expand, Params, Space, Value};
use crate::{Error, Result};
use std::f64::consts::{E, PI, TAU};

/// Their names.
pub const FUNCTIONS: [&str; 7] = ["branin", "hartmann3", "hartmann6", "ackley5", "levy5", "rosenbrock5", "conditional"];

/// Points whose median is a typical value.
const POINTS: u64 = 999;

/// The function of that name, to be minimised.
///
/// # Errors
/// [`Error::Input`] with the list of names for one that is not in it.
pub fn function(name: &str) -> Result<Function> {
    let cube = |n: usize, low: f64, high: f64| -> String {
        (0..n).map(|i| format!("x{i} = {{ float = [{low:?}, {high:?}] }}\n")).collect()
    };
    let rectangle = "a = { float = [-5.0, 10.0] }\nb = { float = [0.0, 15.0] }".to_owned();
    let (space, optimum, evaluate): (String, f64, fn(&Params) -> f64) = match name {
        "branin" => (rectangle, 0.397_887_357_729_738_2, |params| branin(&vector(params))),
        "hartmann3" => {
            (cube(3, 0.0, 1.0), -3.862_779_787_332_663, |params| hartmann(&vector(params), &HARTMANN3_A, &HARTMANN3_P))
        }
        "hartmann6" => {
            (cube(6, 0.0, 1.0), -3.322_368_011_415_515, |params| hartmann(&vector(params), &HARTMANN6_A, &HARTMANN6_P))
        }
        "ackley5" => (cube(5, -32.768, 32.768), 0.0, |params| ackley(&vector(params))),
        "levy5" => (cube(5, -10.0, 10.0), 0.0, |params| levy(&vector(params))),
        "rosenbrock5" => (cube(5, -5.0, 10.0), 0.0, |params| rosenbrock(&vector(params))),
        "conditional" => (CONDITIONAL.to_owned(), 0.0, conditional),
        _ => return Err(Error::unknown("function", name, FUNCTIONS)),
    };
    let table = space.parse().map_err(|error| Error::input(format!("function {name}: {error}")))?;
    let space = Space::from_toml(&table, &Expand::default())?;
    let mut stream = Stream::new(0, 0, Purpose::Propose, 0);
    let mut values: Vec<f64> = (0..POINTS).map(|_| evaluate(&space.sample(&mut stream))).collect();
    values.sort_by(f64::total_cmp);
    Ok(Function {
        name: name.to_owned(),
        space,
        direction: Direction::Minimize,
        optimum,
        median: values[values.len() / 2],
        known: None,
        evaluate: Box::new(move |params| Some(evaluate(params))),
    })
}

fn vector(params: &Params) -> Vec<f64> {
    params.values().filter_map(Value::as_f64).collect()
}

fn branin(x: &[f64]) -> f64 {
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
    let wave = x.iter().map(|x| (TAU * x).cos()).sum::<f64>() / n;
    -20.0 * (-0.2 * square.sqrt()).exp() - wave.exp() + 20.0 + E
}

fn levy(x: &[f64]) -> f64 {
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
