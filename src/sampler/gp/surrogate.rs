//! The fitted process: mean, deviation and acquisition anywhere, with gradients.

use super::acquisition::Acquisition;
use super::cholesky::Cholesky;
use super::ensemble::Landscape;
use super::kernel::{Inputs, Theta};
use super::lanes::{Lanes, WIDTH, dot, flat, run};
use super::path::Path;
use super::source::Share;
use crate::random::Stream;
use crate::sampler::codec::Column;
use hpt_kernels::isa::{Op, Simd};

/// Smallest variance of a prediction, of outcomes with variance 1.
const LEAST_VARIANCE: f64 = 1e-10;

/// The mean and the deviation somewhere, and what their slopes follow from.
pub(super) struct Look {
    pub(super) mean: f64,
    pub(super) deviation: f64,
    /// Whether the variance is the least there may be, which has no slope.
    is_held: bool,
    /// Warped.
    x: Vec<f64>,
    /// dk/dr² to each input.
    falls: Vec<Lanes>,
    /// L⁻¹·k.
    half: Vec<Lanes>,
    /// The look at the process that the mean rests on.
    below: Option<Box<Look>>,
}

/// A Gaussian process conditioned on outcomes, or on what another study's process leaves of them.
#[derive(Clone, Debug)]
pub(super) struct Surrogate {
    pub(super) theta: Theta,
    /// Warped.
    inputs: Inputs,
    factor: Cholesky,
    /// (K + σ²·I)⁻¹·y.
    alpha: Vec<Lanes>,
    /// The smallest mean at any of the inputs: what has to be improved. Means, not outcomes: noise can flatter an
    /// outcome.
    best: f64,
    acquisition: Acquisition,
    /// The drawn function of Thompson sampling.
    path: Option<Path>,
    /// What is added to the mean; never changes a deviation.
    below: Option<Share>,
}

impl Surrogate {
    /// Conditions on the outcomes `y` at `inputs`; none where the matrix cannot be factored.
    pub(super) fn new(mut theta: Theta, inputs: Inputs, y: &[f64]) -> Option<Self> {
        let inputs = inputs.warped(&theta);
        let factor = theta.factor(&inputs)?;
        let alpha = factor.solve(y);
        // K·α = y − σ²·α.
        let best = y.iter().zip(flat(&alpha)).map(|(y, a)| y - theta.noise * a).fold(f64::INFINITY, f64::min);
        Some(Surrogate { theta, inputs, factor, alpha, best, acquisition: Acquisition::LogEi, path: None, below: None })
    }

    /// With that rule; `stream` draws the function of Thompson sampling for the outcomes `y`.
    pub(super) fn with_acquisition(mut self, acquisition: Acquisition, y: &[f64], stream: &mut Stream) -> Self {
        self.acquisition = acquisition;
        if acquisition == Acquisition::Thompson {
            self.path = Some(Path::draw(&self.theta, &self.inputs, y, stream, |b| self.factor.solve(b)));
        }
        self
    }

    /// The same on top of what another study's process says, at the `rows` that it is conditioned on.
    pub(super) fn above(mut self, below: Share, rows: &[Vec<f64>]) -> Self {
        self.below = Some(below);
        self.best = self.predict(rows).into_iter().map(|(mean, _)| mean).fold(f64::INFINITY, f64::min);
        self
    }

    /// Whether it rests on another study's process.
    pub(super) fn is_above(&self) -> bool {
        self.below.is_some()
    }

    /// The mean at `x` (its columns).
    pub(super) fn mean(&self, x: &[f64]) -> f64 {
        let below = self.below.as_ref().map_or(0.0, |below| below.at(x));
        below + dot(&self.theta.covariances(&self.inputs, &self.warped(x)).0, &self.alpha)
    }

    fn warped(&self, x: &[f64]) -> Vec<f64> {
        let warp = |(column, x): (&Column, &f64)| self.theta.warp(column).at(Lanes::splat(*x)).0[0];
        self.inputs.columns.iter().zip(x).map(warp).collect()
    }

    /// The means and the deviations at the rows of columns, noise aside.
    pub(super) fn predict(&self, rows: &[Vec<f64>]) -> Vec<(f64, f64)> {
        let mut predicted = run(Predict { surrogate: self, rows });
        if let Some(below) = &self.below {
            predicted.iter_mut().zip(below.at_rows(rows)).for_each(|((mean, _), below)| *mean += below);
        }
        predicted
    }

    /// The mean and the deviation at `x` with what their slopes follow from.
    pub(super) fn look(&self, x: &[f64]) -> Look {
        let mut look = run(LookAt { surrogate: self, x: self.warped(x) });
        if let Some(below) = &self.below {
            let other = below.source.look(x);
            look.mean += below.of(other.mean);
            look.below = Some(Box::new(other));
        }
        look
    }

    /// By the columns of `raw`, which was looked at: the slopes of what changes so with mean and deviation (0 for
    /// choices).
    pub(super) fn slopes(&self, raw: &[f64], look: &Look, by_mean: f64, by_deviation: f64) -> Vec<f64> {
        // d variance/dk = −2·K⁻¹·k; d deviation = d variance / 2 deviation; none where the variance is held up.
        let by_deviation = if look.is_held { 0.0 } else { by_deviation / look.deviation };
        let mut slopes = run(Slopes { surrogate: self, raw, look, by_mean, by_deviation });
        if let (Some(below), Some(look)) = (&self.below, &look.below) {
            let others = below.source.slopes(raw, look, by_mean * below.factor, 0.0);
            slopes.iter_mut().zip(others).for_each(|(slope, other)| *slope += other);
        }
        slopes
    }

    /// Slopes by the columns from those by the squared distance to each input; `own` (or nothing) is taken off.
    #[inline(always)]
    fn by_columns(&self, raw: &[f64], x: &[f64], pull: &[Lanes], own: &[f64]) -> Vec<f64> {
        let mut slopes = vec![0.0; raw.len()];
        for (c, column) in self.inputs.columns.iter().enumerate().filter(|(_, column)| !column.by_equality) {
            let mut sum = Lanes::ZERO;
            for (pull, other) in pull.iter().zip(&self.inputs.values[c]) {
                sum = sum + *pull * (Lanes::splat(x[c]) - *other);
            }
            let by_warped = 2.0 * self.theta.weights[column.parameter] * sum.sum() - own.get(c).copied().unwrap_or(0.0);
            slopes[c] = by_warped * self.theta.warp(column).slope(raw[c]);
        }
        slopes
    }
}

/// See [`Surrogate::predict`]: eight rows at a time.
struct Predict<'a> {
    surrogate: &'a Surrogate,
    rows: &'a [Vec<f64>],
}

impl Op for Predict<'_> {
    type Output = Vec<(f64, f64)>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<(f64, f64)> {
        let Surrogate { theta, inputs, factor, alpha, .. } = self.surrogate;
        let mut out = Vec::with_capacity(self.rows.len());
        let (mut x, mut k) = (vec![Lanes::ZERO; inputs.columns.len()], vec![Lanes::ZERO; inputs.n]);
        for rows in self.rows.chunks(WIDTH) {
            for (c, (x, column)) in x.iter_mut().zip(&inputs.columns).enumerate() {
                rows.iter().enumerate().for_each(|(lane, row)| x.0[lane] = row[c]);
                *x = theta.warp(column).at(*x);
            }
            let mut mean = Lanes::ZERO;
            for (i, k) in k.iter_mut().enumerate() {
                let mut squared = Lanes::ZERO;
                for (c, column) in inputs.columns.iter().enumerate() {
                    let own = Inputs::squared(column, Lanes::splat(inputs.at(c, i)), x[c]);
                    squared = squared + own * theta.weights[column.parameter];
                }
                *k = theta.covariance(squared).0;
                mean = mean + *k * alpha[i / WIDTH].0[i % WIDTH];
            }
            let variance = Lanes::splat(theta.signal) - factor.squared_halves(&k);
            let deviation = variance.clamp(LEAST_VARIANCE, f64::INFINITY).sqrt();
            out.extend(mean.0.into_iter().zip(deviation.0).take(rows.len()));
        }
        out
    }
}

/// See [`Surrogate::look`].
struct LookAt<'a> {
    surrogate: &'a Surrogate,
    x: Vec<f64>,
}

impl Op for LookAt<'_> {
    type Output = Look;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Look {
        let Surrogate { theta, inputs, factor, alpha, .. } = self.surrogate;
        let (k, falls) = theta.covariances(inputs, &self.x);
        let half = factor.half_solve(&k);
        let variance = theta.signal - dot(&half, &half);
        let is_held = variance <= LEAST_VARIANCE;
        let deviation = variance.max(LEAST_VARIANCE).sqrt();
        Look { mean: dot(&k, alpha), deviation, is_held, x: self.x, falls, half, below: None }
    }
}

/// See [`Surrogate::slopes`].
struct Slopes<'a> {
    surrogate: &'a Surrogate,
    raw: &'a [f64],
    look: &'a Look,
    by_mean: f64,
    /// Over the deviation.
    by_deviation: f64,
}

impl Op for Slopes<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<f64> {
        let Slopes { surrogate, raw, look, by_mean, by_deviation } = self;
        let mut pull = surrogate.factor.half_solve_transposed(&look.half);
        for ((pull, alpha), fall) in pull.iter_mut().zip(&surrogate.alpha).zip(&look.falls) {
            *pull = *fall * (*alpha * by_mean - *pull * by_deviation);
        }
        surrogate.by_columns(raw, &look.x, &pull, &[])
    }
}

impl Landscape for Surrogate {
    fn weight(&self, parameter: usize) -> f64 {
        self.theta.weights[parameter]
    }

    fn noise(&self) -> f64 {
        self.theta.noise
    }

    fn scores(&self, rows: &[Vec<f64>]) -> Vec<f64> {
        if let Some(path) = &self.path {
            let score = |x: &Vec<f64>| {
                let x = self.warped(x);
                let (k, _) = self.theta.covariances(&self.inputs, &x);
                -path.prior(&self.inputs, &x).0 - dot(&k, &path.moves)
            };
            let below = self.below.as_ref().map_or_else(|| vec![0.0; rows.len()], |below| below.at_rows(rows));
            return rows.iter().zip(below).map(|(x, below)| score(x) - below).collect();
        }
        let score = |(mean, deviation)| self.acquisition.value(mean, deviation, self.best).0;
        self.predict(rows).into_iter().map(score).collect()
    }

    fn score_with_slopes(&self, raw: &[f64]) -> (f64, Vec<f64>) {
        if let Some(path) = &self.path {
            let x = self.warped(raw);
            let (k, mut falls) = self.theta.covariances(&self.inputs, &x);
            let (prior, own) = path.prior(&self.inputs, &x);
            falls.iter_mut().zip(&path.moves).for_each(|(fall, m)| *fall = *fall * *m * -1.0);
            let mut score = -prior - dot(&k, &path.moves);
            let mut slopes = self.by_columns(raw, &x, &falls, &own);
            if let Some(below) = &self.below {
                let look = below.source.look(raw);
                score -= below.of(look.mean);
                let others = below.source.slopes(raw, &look, -below.factor, 0.0);
                slopes.iter_mut().zip(others).for_each(|(slope, other)| *slope += other);
            }
            return (score, slopes);
        }
        let look = self.look(raw);
        let (score, by_mean, by_deviation) = self.acquisition.value(look.mean, look.deviation, self.best);
        (score, self.slopes(raw, &look, by_mean, by_deviation))
    }
}

#[cfg(test)]
mod tests {
    use super::super::warp::Warp;
    use super::*;
    use crate::random::Purpose;

    fn surrogate(noise: f64) -> (Surrogate, Vec<Vec<f64>>, Vec<f64>) {
        let column = |parameter, by_equality| Column { parameter, by_equality, is_coordinate: !by_equality };
        let mut stream = Stream::new(5, 0, Purpose::Propose, 0);
        let rows: Vec<Vec<f64>> =
            (0..12).map(|_| vec![stream.uniform(), stream.uniform(), stream.below(2) as f64]).collect();
        let y: Vec<f64> = rows.iter().map(|row| (5.0 * row[0]).cos() + row[1] * (row[2] - 0.5)).collect();
        let inputs = Inputs::new(&[column(0, false), column(1, false), column(2, true)], 3, &rows);
        let warps = vec![Warp { a: 1.2, b: 0.8 }, Warp::IDENTITY, Warp::IDENTITY];
        let theta = Theta { weights: vec![4.0, 2.0, 1.0], signal: 1.3, noise, warps };
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
        let (surrogate, _, y) = surrogate(1e-2);
        let mut stream = Stream::new(6, 0, Purpose::Propose, 0);
        for rule in Acquisition::ALL {
            slopes_are_differences_of(&surrogate.clone().with_acquisition(rule, &y, &mut stream));
        }
    }

    fn slopes_are_differences_of(surrogate: &Surrogate) {
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

    /// Over many draws the functions have the process's mean and deviation, at inputs and away from them.
    #[test]
    fn drawn_functions_follow_the_process() {
        let (surrogate, rows, y) = surrogate(1e-2);
        for x in [rows[3].clone(), vec![0.4, 0.8, 0.0]] {
            let (_, deviation) = surrogate.predict(std::slice::from_ref(&x))[0];
            let mut stream = Stream::new(7, 0, Purpose::Propose, 0);
            let draws: Vec<f64> = (0..2_000)
                .map(|_| -surrogate.clone().with_acquisition(Acquisition::Thompson, &y, &mut stream).score(&x))
                .collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let spread = (draws.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / draws.len() as f64).sqrt();
            assert!((mean - surrogate.mean(&x)).abs() < 0.1 * deviation, "{mean} {}", surrogate.mean(&x));
            assert!((spread / deviation - 1.0).abs() < 0.1, "{spread} {deviation}");
        }
    }
}
