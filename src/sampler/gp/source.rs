//! What another study found, as the mean that a process starts from, where that explains the outcomes better.
//!
//! A process of its own is fitted to the source. What it predicts at the outcomes' rows, times the factor that explains
//! most of them, is taken off, and a second process describes what is left. So the source may have another scale, an
//! optimum somewhat elsewhere, or the opposite sign, and where it is wrong the rest is learned as ever.
//!
//! Which of the two descriptions counts, with the source or without, is asked anew at each proposal: the one under which the
//! outcomes are more likely, at the best θ of each and less ½·ln n for the factor. A source that says nothing therefore
//! changes nothing. Weighing models by how well each predicts is Feurer et al., "Scalable meta-learning for Bayesian
//! optimization using ranking-weighted Gaussian process ensembles" (2018); theirs average, which needs many outcomes to do no harm.

use super::fit::{Prior, fit};
use super::kernel::{Inputs, Theta};
use super::surrogate::Surrogate;
use std::sync::Arc;

/// Outcomes with the variance of all that the rest is thought to hold before it is seen: few outcomes lie near any line.
const DOUBT: f64 = 3.0;

/// What a mean owes to the source: a multiple of what its process predicts.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) source: Arc<Surrogate>,
    pub(super) factor: f64,
    /// What the source predicts at the outcomes in the mean: outcomes are centred.
    centre: f64,
}

impl Share {
    /// The share of outcomes `y` at `rows`.
    fn new(source: &Arc<Surrogate>, rows: &[Vec<f64>], y: &[f64]) -> Self {
        let said: Vec<f64> = source.predict(rows).into_iter().map(|(mean, _)| mean).collect();
        let centre = said.iter().sum::<f64>() / said.len().max(1) as f64;
        let products = said.iter().zip(y).map(|(said, y)| (said - centre) * y).sum::<f64>();
        let squares = said.iter().map(|said| (said - centre).powi(2)).sum::<f64>();
        // One outcome's worth of belief in no share: what is predicted alike everywhere explains nothing.
        Share { source: Arc::clone(source), factor: products / (squares + 1.0), centre }
    }

    /// The share where the source predicts `mean`.
    pub(super) fn of(&self, mean: f64) -> f64 {
        self.factor * (mean - self.centre)
    }

    pub(super) fn at(&self, x: &[f64]) -> f64 {
        self.of(self.source.mean(x))
    }

    pub(super) fn at_rows(&self, rows: &[Vec<f64>]) -> Vec<f64> {
        self.source.predict(rows).into_iter().map(|(mean, _)| self.of(mean)).collect()
    }
}

/// The share of the source, what it leaves of `y`, and θ of that; none where the outcomes at the `fitted` places are less
/// likely than without, whose −ln p is `alone`.
pub(super) fn explain(
    source: &Arc<Surrogate>,
    rows: &[Vec<f64>],
    y: &[f64],
    (inputs, fitted): (&Inputs, &[usize]),
    prior: Prior,
    alone: f64,
) -> Option<(Share, Vec<f64>, Theta)> {
    let share = Share::new(source, rows, y);
    let rest: Vec<f64> = y.iter().zip(share.at_rows(rows)).map(|(y, below)| y - below).collect();
    let n = y.len() as f64;
    let variance = (rest.iter().map(|rest| rest * rest).sum::<f64>() + DOUBT) / (n + DOUBT);
    let scaled: Vec<f64> = fitted.iter().map(|i| rest[*i] / variance.sqrt()).collect();
    let (mut theta, value) = fit(inputs, &scaled, prior, 25);
    theta.signal *= variance;
    theta.noise *= variance;
    let value = value + 0.5 * fitted.len() as f64 * variance.ln() + 0.5 * n.ln();
    (value < alone).then_some((share, rest, theta))
}
