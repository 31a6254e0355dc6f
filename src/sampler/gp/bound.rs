//! How much better the best there is may be than the best that was found, by a Gaussian process.
//!
//! Regret ≤ min over the tried of (μ + √β·σ) − min over the space of (μ − √β·σ), with probability 1 − δ for an
//! objective that the process describes (Makarova et al., "Automatic termination for hyperparameter optimization",
//! AutoML 2022, section 3); β = 2/5 · ln(d·n²·π²/6δ), δ = 0.1, after Srinivas et al. (2010), whose experiments divide
//! it by 5. As in Optuna's evaluator of that name the process knows the better half of the complete trials alone, at
//! least [`FEWEST`]: what happens among bad configurations says little about what is left to gain.
//!
//! Of two processes, fitted under the two priors of the kernel, the more doubtful one counts: either alone may be
//! certain of a basin that is not the best one. The minimum over the space is taken over [`SAMPLES`] quasi-random
//! points, so it is a little too high; the bound is for deciding when to stop, not a proof.

use super::fit::{Prior, fit};
use super::kernel::Inputs;
use super::surrogate::Surrogate;
use crate::history::{Direction, Trial, pareto};
use crate::sampler::codec::{Codec, Point};
use crate::sampler::sobol::Sobol;
use crate::space::Space;

/// Complete trials below which nothing is said.
pub const FEWEST: usize = 20;
/// Most trials that the process knows.
const MOST: usize = 200;
/// Points of the space that are looked at.
const SAMPLES: u64 = 2048;
/// Probability that the bound does not hold.
const DELTA: f64 = 0.1;

/// The bound in units of the objective; none with fewer than [`FEWEST`] complete trials, with several objectives, or
/// where no process can be fitted. Trials that break constraints do not count.
pub fn regret_bound(space: &Space, directions: &[Direction], history: &[Trial], seed: u64) -> Option<f64> {
    let [_] = directions else { return None };
    let codec = Codec::new(space);
    let complete = history.iter().filter(|trial| trial.is_feasible());
    let known = complete.filter_map(|trial| {
        let loss = pareto::losses(directions, trial)?[0];
        Some((codec.point(&trial.params)?, loss)).filter(|_| loss.is_finite())
    });
    let mut known: Vec<(Point, f64)> = known.collect();
    if known.len() < FEWEST || codec.columns().is_empty() {
        return None;
    }
    known.sort_by(|a, b| a.1.total_cmp(&b.1));
    known.truncate((known.len() / 2).clamp(FEWEST, MOST));
    let n = known.len() as f64;
    let mean = known.iter().map(|(_, loss)| loss).sum::<f64>() / n;
    let deviation = (known.iter().map(|(_, loss)| (loss - mean).powi(2)).sum::<f64>() / n).sqrt().max(1e-10);
    let y: Vec<f64> = known.iter().map(|(_, loss)| (loss - mean) / deviation).collect();
    let rows: Vec<Vec<f64>> = known.iter().map(|(point, _)| codec.embed(point)).collect();
    let width = (0.4 * (space.len() as f64 * n * n * std::f64::consts::PI.powi(2) / (6.0 * DELTA)).ln()).sqrt();
    let sobol = Sobol::new(space.len(), seed, 0);
    let settled = |u: Vec<f64>| u.iter().enumerate().map(|(j, u)| codec.settle(j, *u)).collect::<Point>();
    let anywhere: Vec<Vec<f64>> = (0..SAMPLES).map(|i| codec.embed(&settled(sobol.point(i)))).collect();
    let bound = |prior: Prior| {
        let inputs = Inputs::new(codec.columns(), codec.kinds().len(), &rows);
        let surrogate = Surrogate::new(fit(&inputs, &y, prior, 25).0, inputs, &y)?;
        let least = |sign: f64, points: &[Vec<f64>]| {
            let edge = |(mean, deviation)| mean + sign * width * deviation;
            surrogate.predict(points).into_iter().map(edge).fold(f64::INFINITY, f64::min)
        };
        Some((least(1.0, &rows) - least(-1.0, &rows).min(least(-1.0, &anywhere))).max(0.0) * deviation)
    };
    Some(bound(Prior::Scaled)?.max(bound(Prior::Broad)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Record, State};
    use crate::space::{Domain, Parameter};
    use serde::Deserialize;

    /// Trials of Optuna's TPESampler and Optuna's own bounds after so many of them (`tests/golden/regret.py`).
    #[derive(Deserialize)]
    struct Golden {
        looks: [usize; 2],
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        function: String,
        seed: u64,
        bounds: [f64; 2],
        /// Coordinates, and the value last.
        trials: Vec<Vec<f64>>,
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    }

    #[test]
    fn it_is_no_less_cautious_than_optunas() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/regret.json");
        let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
        let mut ratios: Vec<(String, f64)> = Vec::new();
        for case in &golden.cases {
            let names: Vec<String> = (1..case.trials[0].len()).map(|i| format!("x{i}")).collect();
            let parameter = |name: &String| Parameter { name: name.clone(), domain: domain.clone(), when: vec![] };
            let space = Space::new(names.iter().map(parameter).collect()).unwrap();
            let trial = |(number, row): (u64, &Vec<f64>)| {
                let params = names.iter().cloned().zip(row.iter().map(|x| (*x).into())).collect();
                let values = row.last().copied().into_iter().collect();
                Trial::from(Record { params, values, ..Record::blank(number, State::Complete) })
            };
            let trials: Vec<Trial> = (0..).zip(&case.trials).map(trial).collect();
            for (look, optuna) in golden.looks.into_iter().zip(case.bounds) {
                let ours = regret_bound(&space, &[Direction::Minimize], &trials[..look], look as u64).unwrap();
                println!("{} {} after {look}: {ours:.4}, Optuna's {optuna:.4}", case.function, case.seed);
                ratios.push((case.function.clone(), ours / optuna));
            }
        }
        let all = median(ratios.iter().map(|(_, ratio)| *ratio).collect());
        assert!(all >= 1.0, "{all}");
        for (function, _) in &ratios {
            let own = median(ratios.iter().filter(|(name, _)| name == function).map(|(_, ratio)| *ratio).collect());
            assert!(own >= 0.9, "{function}: {own}");
        }
    }
}
