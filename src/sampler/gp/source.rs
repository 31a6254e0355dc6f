//! What another study found, as the mean that a process starts from, where that explains the outcomes better.
//!
//! A process of its own is fitted to the source. What it predicts at the outcomes' rows, times the factor that explains
//! most of them, is taken off, and a second process describes what is left. So the source may have another scale, an
//! optimum somewhat elsewhere, or the opposite sign, and where it is wrong the rest is learned as ever.
//!
//! Which of the two descriptions counts, with the source or without, is asked anew at each proposal: the one under
//! which the outcomes are more likely, at the best θ of each and less ½·ln n for the factor. A source that says nothing
//! therefore changes nothing. Weighing models by how well each predicts is Feurer et al., "Scalable meta-learning for
//! Bayesian optimization using ranking-weighted Gaussian process ensembles" (2018); theirs average, which needs many
//! outcomes to do no harm.

use super::fit::{Prior, fit};
use super::kernel::{Inputs, Theta};
use super::surrogate::Surrogate;
use std::sync::Arc;

/// Outcomes with the variance of all that the rest is thought to hold before it is seen: few outcomes lie near any
/// line.
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

/// The share of the source, what it leaves of `y`, and θ of that; none where the outcomes at the `fitted` places are
/// less likely than without, whose −ln p is `alone`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::sampler::codec::Column;
    use crate::sampler::gp::Acquisition;
    use crate::sampler::gp::ensemble::Landscape;

    fn inputs(rows: &[Vec<f64>]) -> Inputs {
        let column = |parameter| Column { parameter, by_equality: false, is_coordinate: true };
        Inputs::new(&[column(0), column(1)], 2, rows)
    }

    fn process(n: u64, seed: u64, f: fn(&[f64]) -> f64) -> (Vec<Vec<f64>>, Vec<f64>, Arc<Surrogate>) {
        let mut stream = Stream::new(seed, 0, Purpose::Propose, 0);
        let rows: Vec<Vec<f64>> = (0..n).map(|_| vec![stream.uniform(), stream.uniform()]).collect();
        let y: Vec<f64> = rows.iter().map(|row| f(row)).collect();
        let surrogate = Surrogate::new(fit(&inputs(&rows), &y, Prior::Scaled, 25).0, inputs(&rows), &y).unwrap();
        (rows, y, Arc::new(surrogate))
    }

    fn explained(source: &Arc<Surrogate>, rows: &[Vec<f64>], y: &[f64]) -> Option<(Share, Vec<f64>, Theta)> {
        let (all, inputs): (Vec<usize>, Inputs) = ((0..y.len()).collect(), inputs(rows));
        let alone = fit(&inputs, y, Prior::Scaled, 25).1;
        explain(source, rows, y, (&inputs, &all), Prior::Scaled, alone)
    }

    fn wave(x: &[f64]) -> f64 {
        (6.0 * x[0]).sin() + 2.0 * (5.0 * x[1]).cos()
    }

    #[test]
    fn a_source_counts_where_it_explains_the_outcomes_with_either_sign() {
        let (_, _, source) = process(40, 1, wave);
        for (target, factor) in [(wave as fn(&[f64]) -> f64, 1.0), (|x| -0.5 * wave(x) + 0.1 * x[0], -0.5)] {
            let (rows, y, _) = process(8, 2, target);
            let (share, rest, _) = explained(&source, &rows, &y).unwrap();
            assert!(share.factor / factor > 0.7 && share.factor / factor < 1.3, "{}", share.factor);
            let sum = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
            assert!(sum(&rest) < 0.3 * sum(&y), "{rest:?}");
        }
        let (rows, y, _) = process(8, 2, |x| (9.0 * x[0] * x[1]).sin() - 3.0 * (x[0] - 0.3).powi(2));
        assert!(explained(&source, &rows, &y).is_none(), "it says nothing about that");
    }

    #[test]
    fn slopes_are_differences() {
        let (_, _, source) = process(30, 1, wave);
        let (rows, y, _) = process(9, 2, |x| wave(x) + x[0] * x[1]);
        let (share, rest, theta) = explained(&source, &rows, &y).unwrap();
        for rule in Acquisition::ALL {
            let alone = Surrogate::new(theta.clone(), inputs(&rows), &rest).unwrap();
            let mut stream = Stream::new(3, 0, Purpose::Propose, 1);
            let surrogate = alone.above(share.clone(), &rows).with_acquisition(rule, &rest, &mut stream);
            for x in [[0.31, 0.62], [0.84, 0.17]] {
                let (score, slopes) = surrogate.score_with_slopes(&x);
                assert!((score - surrogate.score(&x)).abs() < 1e-9 * (1.0 + score.abs()), "{rule:?}");
                for c in 0..2 {
                    let at = |e: f64| {
                        let mut moved = x;
                        moved[c] += e;
                        surrogate.score(&moved)
                    };
                    let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!(
                        (slopes[c] - difference).abs() < 1e-4 * (1.0 + difference.abs()),
                        "{rule:?} {slopes:?} {difference}"
                    );
                }
            }
        }
    }
}
