//! The covariance: Matérn-5/2 with a length scale for each parameter, and how it is learned.
//!
//! k(x, x′) = s²·(1 + √5·r + 5/3·r²)·exp(−√5·r) with r² = Σ wⱼ·dⱼ²(x, x′), wⱼ = 1/ℓⱼ², where dⱼ is the difference of two
//! warped coordinates ([`warp`](super::warp)) or, for choices, 0 or 1; observations carry noise of variance σ². The
//! parameters θ = (ln wⱼ, ln s², ln σ², ln aⱼ, ln bⱼ) maximise the marginal likelihood (Rasmussen and Williams, "Gaussian
//! processes for machine learning", eq. 5.8 and 5.9) times weak priors, by L-BFGS with analytic gradients.
//!
//! There are two priors ([`Prior`]), and the sampler lets both speak; ln a and ln b are normal around 0.

use super::cholesky::{Cholesky, dot};
use super::lbfgs::{Bounded, minimize};
use super::warp::Warp;
use crate::sampler::codec::Column;

const SQRT5: f64 = 2.236_067_977_499_79;
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

/// Inputs of the kernel, column by column.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    /// What each column is.
    pub(super) columns: Vec<Column>,
    /// For each column its n values.
    pub(super) values: Vec<Vec<f64>>,
    pub(super) n: usize,
    /// Number of parameters, thus of wⱼ.
    pub(super) parameters: usize,
}

impl Inputs {
    pub(super) fn new(columns: &[Column], parameters: usize, rows: &[Vec<f64>]) -> Self {
        let values = (0..columns.len()).map(|c| rows.iter().map(|row| row[c]).collect()).collect();
        Inputs { columns: columns.to_vec(), values, n: rows.len(), parameters }
    }

    /// The inputs as θ warps them.
    pub(super) fn warped(mut self, theta: &Theta) -> Inputs {
        for (values, column) in self.values.iter_mut().zip(&self.columns) {
            let warp = theta.warp(column);
            values.iter_mut().for_each(|x| *x = warp.at(*x));
        }
        self
    }

    /// Number of parameters that vary, at least 1.
    fn used(&self) -> usize {
        let varies = |j: &usize| self.columns.iter().any(|column| column.parameter == *j);
        (0..self.parameters).filter(varies).count().max(1)
    }

    /// The inputs of those rows.
    pub(super) fn subset(&self, rows: &[usize]) -> Inputs {
        let values = self.values.iter().map(|values| rows.iter().map(|i| values[*i]).collect()).collect();
        Inputs { columns: self.columns.clone(), values, n: rows.len(), parameters: self.parameters }
    }

    /// Adds wⱼ·dⱼ² of one column between `x` and the first rows to `out`.
    fn add_distance(&self, c: usize, x: f64, weight: f64, out: &mut [f64]) {
        let others = &self.values[c][..out.len()];
        if self.columns[c].by_equality {
            out.iter_mut().zip(others).for_each(|(out, other)| *out += if x == *other { 0.0 } else { weight });
        } else {
            out.iter_mut().zip(others).for_each(|(out, other)| *out += weight * (x - other) * (x - other));
        }
    }
}

/// θ; see the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Theta {
    /// wⱼ = 1/ℓⱼ², one a parameter.
    pub(super) weights: Vec<f64>,
    /// s².
    pub(super) signal: f64,
    /// σ².
    pub(super) noise: f64,
    /// aⱼ and bⱼ, one a parameter.
    pub(super) warps: Vec<Warp>,
}

impl Theta {
    /// From d weights, signal, noise and, where curves are learned, d times a and d times b.
    fn from_logs(logs: &[f64], d: usize) -> Self {
        let warp = |j: usize| match logs.get(2 * d + 2 + j) {
            Some(b) => Warp { a: logs[d + 2 + j].exp(), b: b.exp() },
            None => Warp::IDENTITY,
        };
        Theta {
            weights: logs[..d].iter().map(|log| log.exp()).collect(),
            signal: logs[d].exp(),
            noise: logs[d + 1].exp(),
            warps: (0..d).map(warp).collect(),
        }
    }

    /// The curve over that column.
    pub(super) fn warp(&self, column: &Column) -> Warp {
        if column.is_coordinate { self.warps[column.parameter] } else { Warp::IDENTITY }
    }

    /// k(x, ·) over the first rows, and dk/dr²; both sides are warped already.
    pub(super) fn covariances(&self, inputs: &Inputs, x: &[f64], rows: usize) -> (Vec<f64>, Vec<f64>) {
        let mut k = vec![0.0; rows];
        for (c, column) in inputs.columns.iter().enumerate() {
            inputs.add_distance(c, x[c], self.weights[column.parameter], &mut k);
        }
        let mut slope = vec![0.0; rows];
        for (k, slope) in k.iter_mut().zip(&mut slope) {
            let r = SQRT5 * k.sqrt();
            let fall = self.signal * (-r).exp();
            *slope = -(5.0 / 6.0) * (1.0 + r) * fall;
            *k = (1.0 + r + r * r / 3.0) * fall;
        }
        (k, slope)
    }

    /// The lower triangle of K + σ²·I, and dk/dr² of each entry.
    fn matrix(&self, inputs: &Inputs) -> (Vec<f64>, Vec<f64>) {
        let n = inputs.n;
        let (mut matrix, mut slopes) = (vec![0.0; n * n], vec![0.0; n * n]);
        for i in 0..n {
            let x: Vec<f64> = inputs.values.iter().map(|values| values[i]).collect();
            let (k, slope) = self.covariances(inputs, &x, i);
            matrix[i * n..i * n + i].copy_from_slice(&k);
            matrix[i * n + i] = self.signal + self.noise;
            slopes[i * n..i * n + i].copy_from_slice(&slope);
        }
        (matrix, slopes)
    }

    /// The factor of K + σ²·I, with more noise where rounding asks for it.
    pub(super) fn factor(&mut self, inputs: &Inputs) -> Option<Cholesky> {
        for _ in 0..12 {
            if let Some(factor) = Cholesky::new(inputs.n, self.matrix(inputs).0) {
                return Some(factor);
            }
            self.noise *= 10.0;
        }
        None
    }
}

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

/// θ that explains `y` best: first without curves, then with them.
pub(super) fn fit(inputs: &Inputs, y: &[f64], prior: Prior, evaluations: usize) -> Theta {
    let d = inputs.parameters;
    let mut best = fit_straight(inputs, y, prior, evaluations);
    let numbers = inputs.columns.iter().filter(|column| column.is_coordinate).count();
    if numbers > 0 && inputs.n >= FEWEST_WARPED * numbers {
        best.resize(3 * d + 2, 0.0);
        best = climb(inputs, y, prior, &best, evaluations).0;
    }
    Theta::from_logs(&best, d)
}

/// The logarithms of θ without curves, from length scales that grow with the number of parameters and from what a third
/// of the data says, whichever starts better.
fn fit_straight(inputs: &Inputs, y: &[f64], prior: Prior, evaluations: usize) -> Vec<f64> {
    let mut start = vec![0.3 - (inputs.used() as f64).ln(); inputs.parameters];
    start.extend([0.0, -7.0]);
    if inputs.n >= 30 {
        // A small fit costs a fraction of the large one and leads most of the way.
        let rows: Vec<usize> = (0..inputs.n).step_by(inputs.n.div_ceil(30).max(2)).collect();
        let some: Vec<f64> = rows.iter().map(|i| y[*i]).collect();
        let small = climb(&inputs.subset(&rows), &some, prior, &start, 2 * evaluations).0;
        if posterior(inputs, y, prior, &small).0 < posterior(inputs, y, prior, &start).0 {
            start = small;
        }
    }
    climb(inputs, y, prior, &start, evaluations).0
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
    minimize(start, &bounded, |logs| posterior(inputs, y, prior, logs))
}

/// −ln p(y | θ)·p(θ) and its gradient by θ's logarithms; infinite where the matrix is not positive.
fn posterior(raw: &Inputs, y: &[f64], prior: Prior, logs: &[f64]) -> (f64, Vec<f64>) {
    let (n, d) = (raw.n, raw.parameters);
    let theta = Theta::from_logs(logs, d);
    let is_warped = logs.len() > d + 2;
    let owned = is_warped.then(|| raw.clone().warped(&theta));
    let inputs = owned.as_ref().unwrap_or(raw);
    let bends = if is_warped { bends(raw, &theta) } else { Vec::new() };
    let (mut matrix, slopes) = theta.matrix(inputs);
    let Some(factor) = Cholesky::new(n, matrix.clone()) else { return (f64::INFINITY, vec![0.0; logs.len()]) };
    let half = factor.half_solve(y);
    let alpha = factor.half_solve_transposed(&half);
    let mut value = 0.5 * half.iter().map(|v| v * v).sum::<f64>() + factor.half_log_determinant();
    // dL/dKᵢⱼ = ½·(K⁻¹ − α·αᵀ)ᵢⱼ; off the diagonal both halves count.
    let inverse = factor.inverse();
    let mut gradient = vec![0.0; logs.len()];
    let (mut pull, mut distance) = (vec![0.0; n], vec![0.0; n]);
    for i in 0..n {
        let row = i * n..i * n + i;
        let own = 0.5 * (inverse[i * n + i] - alpha[i] * alpha[i]);
        gradient[d + 1] += own * theta.noise;
        gradient[d] += own * theta.signal;
        for (j, ((inverse, k), slope)) in
            inverse[row.clone()].iter().zip(&mut matrix[row.clone()]).zip(&slopes[row.clone()]).enumerate()
        {
            let both = inverse - alpha[i] * alpha[j];
            gradient[d] += both * *k;
            pull[j] = both * slope;
        }
        for (c, column) in inputs.columns.iter().enumerate() {
            let (x, weight, j) = (inputs.values[c][i], theta.weights[column.parameter], column.parameter);
            distance[..i].fill(0.0);
            inputs.add_distance(c, x, 1.0, &mut distance[..i]);
            gradient[j] += weight * dot(&pull[..i], &distance[..i]);
            if is_warped && column.is_coordinate {
                // d(uᵢ − uₖ)² = 2·(uᵢ − uₖ)·(duᵢ − duₖ).
                let (by_a, by_b) = (&bends[c].0, &bends[c].1);
                for (distance, (pull, other)) in distance.iter_mut().zip(pull[..i].iter().zip(&inputs.values[c])) {
                    *distance = pull * (x - other);
                }
                let sum: f64 = distance[..i].iter().sum();
                gradient[d + 2 + j] += 2.0 * weight * (by_a[i] * sum - dot(&distance[..i], &by_a[..i]));
                gradient[2 * d + 2 + j] += 2.0 * weight * (by_b[i] * sum - dot(&distance[..i], &by_b[..i]));
            }
        }
    }
    let used = inputs.used();
    for (i, (log, gradient)) in logs.iter().zip(&mut gradient).enumerate() {
        let (penalty, slope) = prior.penalty(*log, i, d, used);
        value += penalty;
        *gradient += slope;
    }
    (value, gradient)
}

/// For each column how its warped values change with ln a and with ln b.
fn bends(raw: &Inputs, theta: &Theta) -> Vec<(Vec<f64>, Vec<f64>)> {
    let of = |(column, values): (&Column, &Vec<f64>)| {
        let warp = theta.warp(column);
        values.iter().map(|x| warp.by_logs(*x)).unzip()
    };
    raw.columns.iter().zip(&raw.values).map(of).collect()
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
        let (_, gradient) = posterior(inputs, y, prior, logs);
        for i in 0..logs.len() {
            let at = |e: f64| {
                let mut moved = logs.to_vec();
                moved[i] += e;
                posterior(inputs, y, prior, &moved).0
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
        let theta = Theta::from_logs(&fit_straight(&inputs, &y, Prior::Scaled, 40), 3);
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
        let straight = posterior(&inputs, &y, Prior::Broad, &fit_straight(&inputs, &y, Prior::Broad, 60)).0;
        let theta = fit(&inputs, &y, Prior::Broad, 60);
        let Warp { a, b } = theta.warps[0];
        let logs = [theta.weights[0], theta.signal, theta.noise, a, b].map(f64::ln);
        let curved = posterior(&inputs, &y, Prior::Broad, &logs).0;
        assert!(curved < straight - 3.0 && a > 1.3, "{straight} {curved} {theta:?}");
    }
}
