//! How the covariance is learned: θ = (ln wⱼ, ln s², ln σ², ln aⱼ, ln bⱼ) maximise the marginal likelihood times weak
//! priors.
//!
//! Rasmussen and Williams, "Gaussian processes for machine learning", eq. 5.8 and 5.9; by L-BFGS with analytic
//! gradients. There are two priors ([`Prior`]), and the sampler lets both speak; ln a and ln b are normal around 0.
//!
//! An evaluation costs n³ operations for the factor and the inverse, and a pass over the pairs of inputs with some
//! twenty each, for which the inverse is computed tile by tile and used where it is, in the registers.

use super::cholesky::{Cholesky, Tile};
use super::kernel::{Inputs, Theta};
use super::lanes::{Lanes, WIDTH, dot, padded, run};
use super::lbfgs::{Bounded, minimize};
use super::warp::Warp;
use crate::sampler::codec::Column;
use hpt_kernels::isa::{Op, Simd};

/// Bounds of ln wⱼ: length scales from 0.05 to 50.
const WEIGHT_BOUNDS: (f64, f64) = (-7.824, 5.991);
/// Bounds of ln s².
const SIGNAL_BOUNDS: (f64, f64) = (-3.0, 3.0);
/// Bounds of ln σ².
const NOISE_BOUNDS: (f64, f64) = (-13.8, 0.0);
/// Bounds of ln a and ln b.
const WARP_BOUNDS: (f64, f64) = (-1.6, 1.6);
/// Deviation of ln a and ln b before any data.
const WARP_DEVIATION: f64 = 0.5;
/// Outcomes for each number from which on curves are learned: from fewer they found worse values than straight lines
/// (Hartmann-6 after 60 trials 0.17 instead of 0.08, Levy-5 0.96 instead of 0.33, the other functions too).
const FEWEST_WARPED: usize = 20;

/// What is believed of the length scales before any data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prior {
    /// Any from a fifth of a range to several ranges alike: a penalty of 0.1·(w + 1/w).
    Broad,
    /// ln w is normal with deviation 1.5 around 0.3 − ln d: in more dimensions points are further apart, so length
    /// scales are longer, and parameters that do not matter are driven out.
    Scaled,
}

impl Prior {
    /// −ln of the density of one of θ's logarithms, and its slope; `used` is the number of parameters that vary.
    fn penalty(self, log: f64, place: usize, d: usize, used: usize) -> (f64, f64) {
        let x = log.exp();
        let normal = |mean: f64, deviation: f64| {
            let z = (log - mean) / deviation;
            (0.5 * z * z, z / deviation)
        };
        match (place, self) {
            _ if place > d + 1 => normal(0.0, WARP_DEVIATION),
            (_, Prior::Broad) if place < d => (0.1 * (x + 1.0 / x), 0.1 * (x - 1.0 / x)),
            (_, Prior::Broad) if place == d => (x - log, x - 1.0),
            (_, Prior::Broad) if place == d + 1 => (30.0 * x - 0.1 * log, 30.0 * x - 0.1),
            _ if place < d => normal(0.3 - (used as f64).ln(), 1.5),
            _ if place == d => normal(0.0, 1.0),
            _ => normal(-7.0, 2.5),
        }
    }
}

/// θ that explains `y` best, and −ln p(y | θ)·p(θ): first without curves, then with them.
pub(super) fn fit(inputs: &Inputs, y: &[f64], prior: Prior, evaluations: usize) -> (Theta, f64) {
    let d = inputs.parameters;
    let (mut best, mut value) = fit_straight(inputs, y, prior, evaluations);
    let numbers = inputs.columns.iter().filter(|column| column.is_coordinate).count();
    if numbers > 0 && inputs.n >= FEWEST_WARPED * numbers {
        best.resize(3 * d + 2, 0.0);
        (best, value) = climb(inputs, y, prior, &best, evaluations);
    }
    (Theta::from_logs(&best, d), value)
}

/// The logarithms of θ without curves and −ln p(y | θ)·p(θ), from length scales that grow with the number of parameters
/// and from what a third of the data says, whichever starts better.
fn fit_straight(inputs: &Inputs, y: &[f64], prior: Prior, evaluations: usize) -> (Vec<f64>, f64) {
    let mut start = vec![0.3 - (inputs.used() as f64).ln(); inputs.parameters];
    start.extend([0.0, -7.0]);
    if inputs.n >= 30 {
        // A small fit costs a fraction of the large one and leads most of the way.
        let rows: Vec<usize> = (0..inputs.n).step_by(inputs.n.div_ceil(30).max(2)).collect();
        let some: Vec<f64> = rows.iter().map(|i| y[*i]).collect();
        let small = climb(&inputs.subset(&rows), &some, prior, &start, 2 * evaluations).0;
        let at = |logs: &[f64]| Posterior::new(inputs, y, prior).at(logs).0;
        if at(&small) < at(&start) {
            start = small;
        }
    }
    climb(inputs, y, prior, &start, evaluations)
}

fn climb(inputs: &Inputs, y: &[f64], prior: Prior, start: &[f64], evaluations: usize) -> (Vec<f64>, f64) {
    let d = inputs.parameters;
    let bounds = |i: usize| match i {
        _ if i < d => WEIGHT_BOUNDS,
        _ if i == d => SIGNAL_BOUNDS,
        _ if i == d + 1 => NOISE_BOUNDS,
        _ => WARP_BOUNDS,
    };
    let (low, high): (Vec<f64>, Vec<f64>) = (0..start.len()).map(bounds).unzip();
    let bounded = Bounded { low: &low, high: &high, evaluations, first_step: 0.5, gain: 1e-2 };
    let mut posterior = Posterior::new(inputs, y, prior);
    minimize(start, &bounded, |logs| posterior.at(logs))
}

/// −ln p(y | θ)·p(θ) and its gradient by θ's logarithms; infinite where the matrix is not positive.
/// What the evaluations of one climb share.
struct Posterior<'a> {
    raw: &'a Inputs,
    /// ln x of each coordinate's values, where curves are learned.
    logs: Vec<Vec<Lanes>>,
    y: Vec<Lanes>,
    prior: Prior,
    matrix: Vec<Lanes>,
    slopes: Vec<Lanes>,
    factor: Cholesky,
}

impl<'a> Posterior<'a> {
    fn new(raw: &'a Inputs, y: &[f64], prior: Prior) -> Self {
        let size = raw.n.div_ceil(WIDTH).pow(2) * WIDTH;
        let (matrix, slopes) = (vec![Lanes::ZERO; size], vec![Lanes::ZERO; size]);
        Posterior { raw, logs: Vec::new(), y: padded(y), prior, matrix, slopes, factor: Cholesky::unit(raw.n) }
    }

    /// −ln p(y | θ)·p(θ) and its gradient by θ's logarithms; infinite where the matrix is not positive.
    fn at(&mut self, logs: &[f64]) -> (f64, Vec<f64>) {
        let (d, used) = (self.raw.parameters, self.raw.used());
        let theta = Theta::from_logs(logs, d);
        let is_warped = logs.len() > d + 2;
        if is_warped && self.logs.is_empty() {
            self.logs = run(Logarithms(self.raw));
        }
        let warped = is_warped.then(|| run(Bend { raw: self.raw, logs: &self.logs, theta: &theta }));
        let (inputs, bends) = match &warped {
            Some((inputs, bends)) => (inputs, &bends[..]),
            None => (self.raw, &[][..]),
        };
        let Posterior { y, matrix, slopes, factor, .. } = self;
        let mut gradient = vec![0.0; logs.len()];
        let own = Likelihood { inputs, theta: &theta, y, bends, matrix, slopes, factor, gradient: &mut gradient };
        let mut value = run(own);
        for (i, (log, gradient)) in logs.iter().zip(&mut gradient).enumerate() {
            let (penalty, slope) = self.prior.penalty(*log, i, d, used);
            value += penalty;
            *gradient += slope;
        }
        (value, gradient)
    }
}

/// ln x of each coordinate's values, kept from the ends; nothing for other columns.
struct Logarithms<'a>(&'a Inputs);

impl Op for Logarithms<'_> {
    type Output = Vec<Vec<Lanes>>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<Vec<Lanes>> {
        let of = |(column, values): (&Column, &Vec<Lanes>)| match column.is_coordinate {
            true => values.iter().map(|x| Warp::log(*x)).collect(),
            false => Vec::new(),
        };
        self.0.columns.iter().zip(&self.0.values).map(of).collect()
    }
}

/// How a column's warped values change with ln a and with ln b; nothing where it is no coordinate.
type Bends = (Vec<Lanes>, Vec<Lanes>);

/// The inputs as θ warps them, and their slopes.
struct Bend<'a> {
    raw: &'a Inputs,
    logs: &'a [Vec<Lanes>],
    theta: &'a Theta,
}

impl Op for Bend<'_> {
    type Output = (Inputs, Vec<Bends>);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (Inputs, Vec<Bends>) {
        let mut inputs = self.raw.clone();
        let mut bends = vec![(Vec::new(), Vec::new()); self.logs.len()];
        for (c, column) in self.raw.columns.iter().enumerate().filter(|(_, column)| column.is_coordinate) {
            let warp = self.theta.warp(column);
            for (value, log) in inputs.values[c].iter_mut().zip(&self.logs[c]) {
                let (warped, by_a, by_b) = warp.bend(*log);
                *value = warped;
                bends[c].0.push(by_a);
                bends[c].1.push(by_b);
            }
        }
        (inputs, bends)
    }
}

/// −ln p(y | θ), with its gradient; see [`Posterior::at`].
struct Likelihood<'a> {
    inputs: &'a Inputs,
    theta: &'a Theta,
    y: &'a [Lanes],
    bends: &'a [Bends],
    matrix: &'a mut [Lanes],
    slopes: &'a mut [Lanes],
    factor: &'a mut Cholesky,
    gradient: &'a mut [f64],
}

impl Op for Likelihood<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let Likelihood { inputs, theta, y, bends, matrix, slopes, factor, gradient } = self;
        let (n, d) = (inputs.n, inputs.parameters);
        theta.fill(inputs, matrix, slopes);
        if !factor.refactor(s, matrix) {
            return f64::INFINITY;
        }
        let half = factor.half_solve(y);
        let alpha = factor.half_solve_transposed(&half);
        // dL/dKᵢⱼ = ½·(K⁻¹ − α·αᵀ)ᵢⱼ; off the diagonal both halves count.
        let mut trace = 0.0;
        let mut sums = vec![[Lanes::ZERO; 3]; inputs.columns.len()];
        for row in 0..y.len() {
            for column in row..y.len() {
                let mut pull = factor.negated_inverse(s, row, column);
                if row == column {
                    trace -= (0..WIDTH.min(n - row * WIDTH)).map(|r| pull[r].0[r]).sum::<f64>();
                }
                for (r, pull) in pull.iter_mut().enumerate() {
                    let slope = slopes[(row * WIDTH + r) * y.len() + column];
                    *pull = (*pull + alpha[column] * alpha[row].0[r]) * slope;
                }
                add_pulls(inputs, bends, (row, column), &pull, &mut sums);
            }
        }
        for (column, sums) in inputs.columns.iter().zip(&sums) {
            let (weight, j) = (theta.weights[column.parameter], column.parameter);
            gradient[j] -= weight * sums[0].sum();
            if column.is_coordinate && !bends.is_empty() {
                gradient[d + 2 + j] -= 2.0 * weight * sums[1].sum();
                gradient[2 * d + 2 + j] -= 2.0 * weight * sums[2].sum();
            }
        }
        // Of the signal tr(K⁻¹·S) − αᵀ·S·α with S = K − σ²·I, and of the noise the same with σ²·I.
        let noise = theta.noise * (trace - dot(&alpha, &alpha));
        gradient[d + 1] += 0.5 * noise;
        gradient[d] += 0.5 * (n as f64 - dot(y, &alpha) - noise);
        0.5 * dot(&half, &half) + factor.half_log_determinant()
    }
}

/// Adds Σ pull·d² of a tile for each column, and where there are curves Σ pull·(uᵢ − uⱼ)·(duᵢ − duⱼ) by ln a and by ln
/// b.
#[inline(always)]
fn add_pulls(inputs: &Inputs, bends: &[Bends], (row, block): (usize, usize), pull: &Tile, sums: &mut [[Lanes; 3]]) {
    for (c, (column, sums)) in inputs.columns.iter().zip(sums).enumerate() {
        let others = inputs.values[c][block];
        let rows = inputs.values[c][row];
        let mut squares = sums[0];
        for (r, pull) in pull.iter().enumerate() {
            squares = squares + *pull * Inputs::squared(column, Lanes::splat(rows.0[r]), others);
        }
        sums[0] = squares;
        if let Some((by_a, by_b)) = bends.get(c).filter(|_| column.is_coordinate) {
            let [_, mut first, mut second] = *sums;
            for (r, pull) in pull.iter().enumerate() {
                let pull = *pull * (Lanes::splat(rows.0[r]) - others);
                first = first + pull * (Lanes::splat(by_a[row].0[r]) - by_a[block]);
                second = second + pull * (Lanes::splat(by_b[row].0[r]) - by_b[block]);
            }
            (sums[1], sums[2]) = (first, second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    fn column(parameter: usize, by_equality: bool) -> Column {
        Column { parameter, by_equality, is_coordinate: !by_equality }
    }

    fn example(n: usize) -> (Inputs, Vec<f64>) {
        let mut stream = Stream::new(3, 0, Purpose::Propose, 0);
        let rows: Vec<Vec<f64>> =
            (0..n).map(|_| vec![stream.uniform(), stream.uniform(), stream.below(3) as f64]).collect();
        let y = rows.iter().map(|row| (6.0 * row[0]).sin() + 0.4 * row[2] + 0.05 * stream.normal()).collect();
        (Inputs::new(&[column(0, false), column(1, false), column(2, true)], 3, &rows), y)
    }

    #[test]
    fn the_gradient_is_the_difference() {
        let (inputs, y) = example(17);
        let plain = [0.7, -0.4, 0.2, 0.3, -3.0];
        let curved = [0.7, -0.4, 0.2, 0.3, -3.0, 0.3, -0.2, 0.1, -0.4, 0.5, 0.2];
        for (prior, logs) in [(Prior::Broad, &plain[..]), (Prior::Scaled, &plain), (Prior::Broad, &curved)] {
            the_gradient_is_the_difference_at(&inputs, &y, prior, logs);
        }
    }

    fn the_gradient_is_the_difference_at(inputs: &Inputs, y: &[f64], prior: Prior, logs: &[f64]) {
        let (_, gradient) = Posterior::new(inputs, y, prior).at(logs);
        for i in 0..logs.len() {
            let at = |e: f64| {
                let mut moved = logs.to_vec();
                moved[i] += e;
                Posterior::new(inputs, y, prior).at(&moved).0
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!(
                (gradient[i] - difference).abs() < 1e-5 * (1.0 + difference.abs()),
                "{i}: {gradient:?} {difference}"
            );
        }
    }

    #[test]
    fn the_fit_finds_which_parameters_matter() {
        let (inputs, y) = example(80);
        let theta = Theta::from_logs(&fit_straight(&inputs, &y, Prior::Scaled, 40).0, 3);
        assert!(theta.weights[0] > 10.0 * theta.weights[1], "{theta:?}");
        assert!(theta.weights[2] > 3.0 * theta.weights[1], "{theta:?}");
        assert!((1e-4..3e-2).contains(&theta.noise), "noise of 0.0025: {theta:?}");
    }

    #[test]
    fn a_curve_is_found_where_the_objective_has_one() {
        let mut stream = Stream::new(4, 0, Purpose::Propose, 0);
        let rows: Vec<Vec<f64>> = (0..50).map(|_| vec![stream.uniform()]).collect();
        let y: Vec<f64> = rows.iter().map(|row| (12.0 * row[0].powi(4)).sin()).collect();
        let inputs = Inputs::new(&[column(0, false)], 1, &rows);
        let straight = Posterior::new(&inputs, &y, Prior::Broad).at(&fit_straight(&inputs, &y, Prior::Broad, 60).0).0;
        let (theta, _) = fit(&inputs, &y, Prior::Broad, 60);
        let Warp { a, b } = theta.warps[0];
        let logs = [theta.weights[0], theta.signal, theta.noise, a, b].map(f64::ln);
        let curved = Posterior::new(&inputs, &y, Prior::Broad).at(&logs).0;
        assert!(curved < straight - 3.0 && a > 1.3, "{straight} {curved} {theta:?}");
    }
}
