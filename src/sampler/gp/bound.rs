//! How much better the best there is may be than the best that was found, by a Gaussian process.
//!
//! Regret ≤ min over the tried of (μ + √β·σ) − min over the space of (μ − √β·σ), with probability 1 − δ for an objective
//! that the process describes (Makarova et al., "Automatic termination for hyperparameter optimization", AutoML 2022,
//! section 3); β = 2/5 · ln(d·n²·π²/6δ), δ = 0.1, after Srinivas et al. (2010), whose experiments divide it by 5. As in
//! Optuna's evaluator of that name the process knows the better half of the complete trials alone, at least
//! [`FEWEST`]: what happens among bad configurations says little about what is left to gain.
//!
//! The minimum over the space is taken over [`SAMPLES`] quasi-random points, so it is a little too high; the bound is for
//! deciding when to stop, not a proof.

use super::kernel::{Inputs, Prior, fit};
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

/// The bound in units of the objective; none with fewer than [`FEWEST`] complete trials, with several objectives, or where no
/// process can be fitted. Trials that break constraints do not count.
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
    let inputs = Inputs::new(codec.columns(), codec.kinds().len(), &rows);
    let surrogate = Surrogate::new(fit(&inputs, &y, Prior::Scaled, 25), inputs, &y)?;
    let width = (0.4 * (space.len() as f64 * n * n * std::f64::consts::PI.powi(2) / (6.0 * DELTA)).ln()).sqrt();
    let least = |sign: f64, x: &Vec<f64>| edge(&surrogate, x, sign * width);
    let reached = rows.iter().map(|x| least(1.0, x)).fold(f64::INFINITY, f64::min);
    let sobol = Sobol::new(space.len(), seed, 0);
    let settled = |u: Vec<f64>| u.iter().enumerate().map(|(j, u)| codec.settle(j, *u)).collect::<Point>();
    let anywhere = (0..SAMPLES).map(|i| codec.embed(&settled(sobol.point(i))));
    let possible = anywhere.chain(rows.iter().cloned()).map(|x| least(-1.0, &x)).fold(f64::INFINITY, f64::min);
    Some((reached - possible).max(0.0) * deviation)
}

/// The mean and so many deviations.
fn edge(surrogate: &Surrogate, x: &[f64], width: f64) -> f64 {
    let (mean, deviation) = surrogate.predict(x);
    mean + width * deviation
}
