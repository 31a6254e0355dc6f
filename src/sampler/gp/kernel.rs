//! The covariance: Matérn-5/2 with a length scale for each parameter, and how it is learned.
//!
//! k(x, x′) = s²·(1 + √5·r + 5/3·r²)·exp(−√5·r) with r² = Σ wⱼ·dⱼ²(x, x′), wⱼ = 1/ℓⱼ², where dⱼ is the difference of two
//! coordinates or, for choices, 0 or 1; observations carry noise of variance σ². The parameters θ = (ln wⱼ, ln s², ln σ²)
//! maximise the marginal likelihood (Rasmussen and Williams, "Gaussian processes for machine learning", eq. 5.8 and 5.9)
//! times weak priors, by L-BFGS with analytic gradients.

use super::cholesky::Cholesky;
use super::lbfgs::{Bounded, minimize};
use crate::sampler::codec::Column;

const SQRT5: f64 = 2.236_067_977_499_79;
/// Bounds of ln wⱼ: length scales from 0.05 to 50.
const WEIGHT_BOUNDS: (f64, f64) = (-7.824, 5.991);
/// Bounds of ln s².
const SIGNAL_BOUNDS: (f64, f64) = (-3.0, 3.0);
/// Bounds of ln σ².
const NOISE_BOUNDS: (f64, f64) = (-13.8, 0.0);

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
}

impl Theta {
    fn from_logs(logs: &[f64]) -> Self {
        let d = logs.len() - 2;
        Theta {
            weights: logs[..d].iter().map(|log| log.exp()).collect(),
            signal: logs[d].exp(),
            noise: logs[d + 1].exp(),
        }
    }

    /// k(x, ·) over the first rows, and dk/dr².
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

/// Weak beliefs about θ before any data.
#[derive(Clone, Copy, Debug)]
struct Prior {
    /// Mean and deviation of ln w.
    weight: (f64, f64),
    /// Mean and deviation of ln s².
    signal: (f64, f64),
    /// Mean and deviation of ln σ².
    noise: (f64, f64),
}

impl Prior {
    /// In more dimensions points are further apart, so length scales are longer.
    fn new(dimensions: usize) -> Self {
        Prior { weight: (0.3 - (dimensions.max(1) as f64).ln(), 1.5), signal: (0.0, 1.0), noise: (-7.0, 2.5) }
    }

    fn means(&self, parameters: usize) -> Vec<f64> {
        let mut means = vec![self.weight.0; parameters];
        means.extend([self.signal.0, self.noise.0]);
        means
    }

    /// −ln of the density and its slopes.
    fn penalty(&self, logs: &[f64], gradient: &mut [f64]) -> f64 {
        let d = logs.len() - 2;
        let of = |i: usize| {
            if i < d {
                self.weight
            } else if i == d {
                self.signal
            } else {
                self.noise
            }
        };
        let mut sum = 0.0;
        for (i, (log, gradient)) in logs.iter().zip(gradient).enumerate() {
            let (mean, deviation) = of(i);
            let z = (log - mean) / deviation;
            sum += 0.5 * z * z;
            *gradient += z / deviation;
        }
        sum
    }
}

/// θ that explains `y` best: from the prior's mean and from what a third of the data says, whichever starts better.
pub(super) fn fit(inputs: &Inputs, y: &[f64], evaluations: usize) -> Theta {
    let used = (0..inputs.parameters).filter(|j| inputs.columns.iter().any(|column| column.parameter == *j));
    let prior = Prior::new(used.count());
    let means = prior.means(inputs.parameters);
    let mut start = means.clone();
    if inputs.n >= 30 {
        // A small fit costs a fraction of the large one and leads most of the way.
        let rows: Vec<usize> = (0..inputs.n).step_by(inputs.n.div_ceil(30).max(2)).collect();
        let some: Vec<f64> = rows.iter().map(|i| y[*i]).collect();
        let small = climb(&inputs.subset(&rows), &some, &prior, &means, 2 * evaluations).0;
        if posterior(inputs, y, &prior, &small).0 < posterior(inputs, y, &prior, &means).0 {
            start = small;
        }
    }
    Theta::from_logs(&climb(inputs, y, &prior, &start, evaluations).0)
}

fn climb(inputs: &Inputs, y: &[f64], prior: &Prior, start: &[f64], evaluations: usize) -> (Vec<f64>, f64) {
    let d = inputs.parameters;
    let bounds = |i: usize| {
        if i < d {
            WEIGHT_BOUNDS
        } else if i == d {
            SIGNAL_BOUNDS
        } else {
            NOISE_BOUNDS
        }
    };
    let (low, high): (Vec<f64>, Vec<f64>) = (0..d + 2).map(bounds).unzip();
    let bounded = Bounded { low: &low, high: &high, evaluations, first_step: 0.5, gain: 1e-2 };
    minimize(start, &bounded, |logs| posterior(inputs, y, prior, logs))
}

/// −ln p(y | θ)·p(θ) and its gradient by θ's logarithms; infinite where the matrix is not positive.
fn posterior(inputs: &Inputs, y: &[f64], prior: &Prior, logs: &[f64]) -> (f64, Vec<f64>) {
    let (n, d) = (inputs.n, inputs.parameters);
    let theta = Theta::from_logs(logs);
    let (mut matrix, slopes) = theta.matrix(inputs);
    let Some(factor) = Cholesky::new(n, matrix.clone()) else { return (f64::INFINITY, vec![0.0; d + 2]) };
    let half = factor.half_solve(y);
    let alpha = factor.half_solve_transposed(&half);
    let mut value = 0.5 * half.iter().map(|v| v * v).sum::<f64>() + factor.half_log_determinant();
    // dL/dKᵢⱼ = ½·(K⁻¹ − α·αᵀ)ᵢⱼ; off the diagonal both halves count.
    let inverse = factor.inverse();
    let mut gradient = vec![0.0; d + 2];
    let mut pull = vec![0.0; n];
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
            let mut distance = vec![0.0; i];
            inputs.add_distance(c, inputs.values[c][i], 1.0, &mut distance);
            let weight = theta.weights[column.parameter];
            gradient[column.parameter] += weight * super::cholesky::dot(&pull[..i], &distance);
        }
    }
    value += prior.penalty(logs, &mut gradient);
    (value, gradient)
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
        let prior = Prior::new(3);
        let logs = [0.7, -0.4, 0.2, 0.3, -3.0];
        let (_, gradient) = posterior(&inputs, &y, &prior, &logs);
        for i in 0..logs.len() {
            let at = |e: f64| {
                let mut moved = logs;
                moved[i] += e;
                posterior(&inputs, &y, &prior, &moved).0
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
        let theta = fit(&inputs, &y, 40);
        assert!(theta.weights[0] > 10.0 * theta.weights[1], "{theta:?}");
        assert!(theta.weights[2] > 3.0 * theta.weights[1], "{theta:?}");
        assert!((1e-4..3e-2).contains(&theta.noise), "noise of 0.0025: {theta:?}");
    }
}
