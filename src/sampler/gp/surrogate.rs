//! The fitted process: mean, deviation and log expected improvement anywhere, with gradients.

use super::cholesky::{Cholesky, dot};
use super::expected::log_ei;
use super::kernel::{Inputs, Theta};

/// Smallest variance of a prediction, of outcomes with variance 1.
const LEAST_VARIANCE: f64 = 1e-10;

/// A Gaussian process conditioned on outcomes.
#[derive(Clone, Debug)]
pub(super) struct Surrogate {
    theta: Theta,
    inputs: Inputs,
    factor: Cholesky,
    /// (K + σ²·I)⁻¹·y.
    alpha: Vec<f64>,
    /// The smallest mean at any of the inputs: what has to be improved. Means, not outcomes: noise can flatter an outcome.
    best: f64,
}

impl Surrogate {
    /// Conditions on the outcomes `y` at `inputs`; none where the matrix cannot be factored.
    pub(super) fn new(mut theta: Theta, inputs: Inputs, y: &[f64]) -> Option<Self> {
        let factor = theta.factor(&inputs)?;
        let alpha = factor.half_solve_transposed(&factor.half_solve(y));
        // K·α = y − σ²·α.
        let best = y.iter().zip(&alpha).map(|(y, a)| y - theta.noise * a).fold(f64::INFINITY, f64::min);
        Some(Surrogate { theta, inputs, factor, alpha, best })
    }

    /// The mean at `x` (its columns).
    pub(super) fn mean(&self, x: &[f64]) -> f64 {
        dot(&self.theta.covariances(&self.inputs, x, self.inputs.n).0, &self.alpha)
    }

    /// ln EI at `x`.
    pub(super) fn score(&self, x: &[f64]) -> f64 {
        let (k, _) = self.theta.covariances(&self.inputs, x, self.inputs.n);
        let half = self.factor.half_solve(&k);
        let variance = (self.theta.signal - dot(&half, &half)).max(LEAST_VARIANCE);
        log_ei(dot(&k, &self.alpha), variance.sqrt(), self.best).0
    }

    /// ln EI at `x` and its slopes by the columns (0 for choices).
    pub(super) fn score_with_slopes(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let (k, falls) = self.theta.covariances(&self.inputs, x, self.inputs.n);
        let half = self.factor.half_solve(&k);
        let variance = (self.theta.signal - dot(&half, &half)).max(LEAST_VARIANCE);
        let deviation = variance.sqrt();
        let (score, by_mean, by_deviation) = log_ei(dot(&k, &self.alpha), deviation, self.best);
        // d variance/dk = −2·K⁻¹·k; d deviation = d variance / 2 deviation; none where the variance is held up.
        let by_deviation = if variance > LEAST_VARIANCE { by_deviation / deviation } else { 0.0 };
        let solved = self.factor.half_solve_transposed(&half);
        let pull: Vec<f64> =
            (0..k.len()).map(|i| falls[i] * (by_mean * self.alpha[i] - by_deviation * solved[i])).collect();
        let slope = |(c, column): (usize, &crate::sampler::codec::Column)| {
            if column.by_equality {
                return 0.0;
            }
            let sum: f64 = pull.iter().zip(&self.inputs.values[c]).map(|(p, other)| p * (x[c] - other)).sum();
            2.0 * self.theta.weights[column.parameter] * sum
        };
        (score, self.inputs.columns.iter().enumerate().map(slope).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::sampler::codec::Column;

    fn surrogate(noise: f64) -> (Surrogate, Vec<Vec<f64>>, Vec<f64>) {
        let column = |parameter, by_equality| Column { parameter, by_equality, is_coordinate: !by_equality };
        let mut stream = Stream::new(5, 0, Purpose::Propose, 0);
        let rows: Vec<Vec<f64>> =
            (0..12).map(|_| vec![stream.uniform(), stream.uniform(), stream.below(2) as f64]).collect();
        let y: Vec<f64> = rows.iter().map(|row| (5.0 * row[0]).cos() + row[1] * (row[2] - 0.5)).collect();
        let inputs = Inputs::new(&[column(0, false), column(1, false), column(2, true)], 3, &rows);
        let theta = Theta { weights: vec![4.0, 2.0, 1.0], signal: 1.3, noise };
        (Surrogate::new(theta, inputs, &y).unwrap(), rows, y)
    }

    #[test]
    fn without_noise_it_passes_through_the_outcomes() {
        let (surrogate, rows, y) = surrogate(1e-9);
        for (row, y) in rows.iter().zip(&y) {
            assert!((surrogate.mean(row) - y).abs() < 1e-5);
        }
        assert!((surrogate.best - y.iter().copied().fold(f64::INFINITY, f64::min)).abs() < 1e-5);
        // Improvement is to be had between the outcomes, not at them.
        assert!(surrogate.score(&rows[0]) < surrogate.score(&[0.63, 0.5, 0.0]) - 5.0);
    }

    #[test]
    fn slopes_are_differences() {
        let (surrogate, ..) = surrogate(1e-2);
        for x in [[0.3, 0.6, 0.0], [0.9, 0.1, 1.0], [0.55, 0.45, 1.0]] {
            let (score, slopes) = surrogate.score_with_slopes(&x);
            assert!((score - surrogate.score(&x)).abs() < 1e-12);
            assert_eq!(slopes[2], 0.0);
            for c in 0..2 {
                let at = |e: f64| {
                    let mut moved = x;
                    moved[c] += e;
                    surrogate.score(&moved)
                };
                let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((slopes[c] - difference).abs() < 1e-4 * (1.0 + difference.abs()), "{slopes:?} {difference}");
            }
        }
    }
}
