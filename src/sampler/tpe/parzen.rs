//! A Parzen estimator: one kernel an observed configuration and a broad prior, products over the parameters.
//!
//! - A number has a normal kernel around its place in the unit interval, truncated to it; few steps have the kernel's
//!   mass over their cell, many steps its density. A choice keeps its value but for a share 1/K for each of its values,
//!   K kernels in all.
//! - Densities are relative to the uniform distribution, so a parameter that a kernel's configuration does not have
//!   has density 1 there. The estimator is therefore one density over all configurations, whatever their structure:
//!   a parameter is never modelled apart from the parents that call it into being.
//! - That is [`Form::Joint`]. In [`Form::Marginal`] each parameter has a density of its own, as if they were
//!   independent: what is good in one parameter goes with what is good in others, though no observation has both.
//! - Weights, prior and least bandwidth are those of Watanabe, "Tree-structured Parzen estimator: understanding its
//!   algorithm components" (arXiv 2304.11127), section 3.3. A bandwidth is his multivariate one, by the number of
//!   kernels, and along a continuum not more than the distance to the farther neighbour, as of Bergstra et al.: where
//!   trials gather, the kernels become as narrow as the trials are close. Between few steps that would mean no
//!   spread at all, and is measurably worse.

use super::super::codec::{Codec, Kind, Point};
use super::super::normal::{mass, tail};
use crate::random::Stream;

/// Bandwidth of a single kernel, in widths of the domain (measured against Watanabe's 0.2 with `benches/search.rs`).
const BANDWIDTH: f64 = 0.15;
/// Bandwidths are at least 1/min(this, K + 1) wide.
const NARROWEST: f64 = 100.0;
/// Latest observations that count fully.
const RECENT: usize = 25;
/// Steps of at most so many cells have masses instead of densities.
const COARSE: u64 = 64;
/// √2π.
const SQRT_TAU: f64 = 2.506_628_274_631_000_7;
/// Kernels so far (in logarithms) below the largest do not change a sum.
const NEGLIGIBLE: f64 = 40.0;

/// Where a kernel is in one parameter.
#[derive(Debug)]
enum Axis {
    /// Places of a choice or of few steps; `places[i]` is the number of places where kernel i has none.
    Places { bandwidth: Option<f64>, count: usize, places: Vec<u32> },
    /// Means, 1/(2σ²) and ln(1/(σ·√2π·mass inside)) of normal kernels; all 0 where the kernel has none.
    Normals { means: Vec<f64>, narrowness: Vec<f64>, scales: Vec<f64> },
    /// A single value.
    Fixed,
}

/// How the parameters of a density belong together; see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Each kernel is a product over all parameters.
    Joint,
    /// The density is a product over the parameters.
    Marginal,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Parzen {
    form: Form,
    axes: Vec<Axis>,
    /// Logarithms, the prior's last.
    weights: Vec<f64>,
    /// Share of the weights up to each kernel.
    cumulated: Vec<f64>,
}

impl Parzen {
    /// From observed points, oldest first, and their weights ([`recency`] or others up to 1). Coordinates that are not
    /// a number belong to parameters that do not exist.
    pub(super) fn new(codec: &Codec, points: &[Point], mut weights: Vec<f64>, form: Form) -> Self {
        let dimensions = match form {
            Form::Joint => codec.kinds().iter().filter(|kind| !is_fixed(kind)).count(),
            Form::Marginal => 1,
        };
        let n = points.len().max(1) as f64;
        let narrowest = 1.0 / NARROWEST.min(points.len() as f64 + 2.0);
        let sigma = (BANDWIDTH * n.powf(-1.0 / (dimensions as f64 + 4.0))).max(narrowest);
        let axis = |(j, kind): (usize, &Kind)| match *kind {
            kind if is_fixed(&kind) => Axis::Fixed,
            Kind::Choice(count) => places(codec, points, j, count, None),
            Kind::Steps(count) if count <= COARSE && codec.is_even(j) => places(codec, points, j, count, Some(sigma)),
            _ => normals(points, j, (narrowest, sigma)),
        };
        let axes = codec.kinds().iter().enumerate().map(axis).collect();
        weights.push(1.0);
        let sum: f64 = weights.iter().sum();
        let mut share = 0.0;
        let cumulated = weights.iter().map(|weight| {
            share += weight / sum;
            share
        });
        let cumulated = cumulated.collect();
        Parzen { form, axes, cumulated, weights: weights.iter().map(|weight| (weight / sum).ln()).collect() }
    }

    /// A point drawn from the density; coordinates of parameters that do not exist mean nothing.
    pub(super) fn sample(&self, codec: &Codec, stream: &mut Stream) -> Point {
        let one = self.kernel(stream);
        let coordinate = |(j, axis): (usize, &Axis)| {
            let kernel = if self.form == Form::Joint || j == 0 { one } else { self.kernel(stream) };
            self.coordinate(codec, (j, axis), kernel, stream)
        };
        self.axes.iter().enumerate().map(coordinate).collect()
    }

    /// A kernel by the weights.
    fn kernel(&self, stream: &mut Stream) -> usize {
        let u = stream.uniform();
        self.cumulated.partition_point(|share| *share <= u).min(self.weights.len() - 1)
    }

    /// A coordinate drawn from one kernel.
    fn coordinate(&self, codec: &Codec, (j, axis): (usize, &Axis), kernel: usize, stream: &mut Stream) -> f64 {
        let kernels = self.weights.len();
        match axis {
            Axis::Fixed => codec.settle(j, 0.5),
            Axis::Places { bandwidth: None, count, places } => {
                let (n, share) = (*count as f64, 1.0 / kernels as f64);
                let keeps = places.get(kernel).filter(|place| (**place as usize) < *count);
                match keeps {
                    Some(place) if stream.uniform() * (1.0 + n * share) < 1.0 => f64::from(*place),
                    _ => stream.below(*count as u64) as f64,
                }
            }
            Axis::Places { bandwidth: Some(sigma), count, places } => match places.get(kernel) {
                Some(&place) if place as usize == *count => codec.settle(j, stream.uniform()),
                Some(&place) => codec.settle(j, truncated(codec.coordinate(j, u64::from(place)), *sigma, stream)),
                None => codec.settle(j, truncated(0.5, 1.0, stream)),
            },
            Axis::Normals { means, narrowness, .. } => match narrowness.get(kernel) {
                Some(0.0) => codec.settle(j, stream.uniform()),
                Some(narrowness) => codec.settle(j, truncated(means[kernel], (0.5 / narrowness).sqrt(), stream)),
                None => codec.settle(j, truncated(0.5, 1.0, stream)),
            },
        }
    }

    /// ln of the density, relative to the uniform one, at a point whose existing parameters are `active`.
    pub(super) fn log_density(&self, codec: &Codec, point: &[f64], active: &[bool]) -> f64 {
        let existing = (0..self.axes.len()).filter(|j| active[*j]);
        match self.form {
            Form::Joint => self.log_sum(codec, point, existing),
            Form::Marginal => existing.map(|j| self.log_sum(codec, point, [j])).sum(),
        }
    }

    /// ln of the sum over the kernels of their products over those parameters.
    fn log_sum(&self, codec: &Codec, point: &[f64], parameters: impl IntoIterator<Item = usize>) -> f64 {
        let mut logs = self.weights.clone();
        let (prior, kernels) = logs.split_last_mut().expect("the prior is always there");
        for (j, axis) in parameters.into_iter().map(|j| (j, &self.axes[j])) {
            match axis {
                Axis::Fixed => {}
                Axis::Places { bandwidth, count, places } => {
                    let row = row(*bandwidth, codec.place(j, point[j]) as usize, *count, places.len() + 1);
                    kernels.iter_mut().zip(places).for_each(|(log, place)| *log += row[*place as usize]);
                    *prior += if bandwidth.is_some() { cell(point[j], *count, 0.5, 1.0) } else { 0.0 };
                }
                Axis::Normals { means, narrowness, scales, .. } => {
                    let terms = means.iter().zip(narrowness).zip(scales);
                    for (log, ((mean, narrowness), scale)) in kernels.iter_mut().zip(terms) {
                        *log += scale - narrowness * (point[j] - mean) * (point[j] - mean);
                    }
                    *prior += scale(0.5, 1.0) - 0.5 * (point[j] - 0.5) * (point[j] - 0.5);
                }
            }
        }
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let near = logs.iter().filter(|log| **log > largest - NEGLIGIBLE);
        largest + near.map(|log| (log - largest).exp()).sum::<f64>().ln()
    }
}

fn is_fixed(kind: &Kind) -> bool {
    matches!(kind, Kind::Choice(1) | Kind::Steps(1))
}

fn places(codec: &Codec, points: &[Point], j: usize, count: u64, bandwidth: Option<f64>) -> Axis {
    let place = |point: &Point| if point[j].is_nan() { count } else { codec.place(j, point[j]) } as u32;
    Axis::Places { bandwidth, count: count as usize, places: points.iter().map(place).collect() }
}

/// Normal kernels whose σ is the distance to the farther neighbour, within `bounds`.
fn normals(points: &[Point], j: usize, (narrowest, widest): (f64, f64)) -> Axis {
    let n = points.len();
    let (mut means, mut narrowness, mut scales) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let mut sorted: Vec<(f64, usize)> = points.iter().map(|point| point[j]).zip(0..).collect();
    sorted.retain(|(x, _)| !x.is_nan());
    sorted.sort_by(|(x, i), (y, k)| x.total_cmp(y).then(i.cmp(k)));
    for (place, &(x, i)) in sorted.iter().enumerate() {
        let left = place.checked_sub(1).map(|before| x - sorted[before].0);
        let right = sorted.get(place + 1).map(|(y, _)| y - x);
        let gap = left.unwrap_or(0.0).max(right.unwrap_or(0.0));
        let sigma = if sorted.len() == 1 { widest } else { gap.clamp(narrowest, widest) };
        (means[i], narrowness[i], scales[i]) = (x, 0.5 / (sigma * sigma), scale(x, sigma));
    }
    Axis::Normals { means, narrowness, scales }
}

/// Weights of n observations, oldest first: the latest count fully, the others along a ramp from 1/n.
pub(super) fn recency(n: usize) -> Vec<f64> {
    let old = n.saturating_sub(RECENT);
    let low = 1.0 / n.max(1) as f64;
    let ramp = (0..old).map(|i| low + (1.0 - low) * if old > 1 { i as f64 / (old - 1) as f64 } else { 0.0 });
    ramp.chain(std::iter::repeat_n(1.0, n - old)).collect()
}

/// ln of the density at place `at`, for a kernel in each place, and 0 for one without a place; `kernels` in all.
fn row(bandwidth: Option<f64>, at: usize, count: usize, kernels: usize) -> Vec<f64> {
    let (n, share) = (count as f64, 1.0 / kernels as f64);
    let other = (n * share / (1.0 + n * share)).ln();
    let mut row: Vec<f64> = match bandwidth {
        None => vec![other; count],
        Some(sigma) => {
            let middle = |place: usize| (place as f64 + 0.5) / n;
            (0..count).map(|mean| cell(middle(at), count, middle(mean), sigma)).collect()
        }
    };
    if bandwidth.is_none() {
        row[at] = (n * (1.0 + share) / (1.0 + n * share)).ln();
    }
    row.push(0.0);
    row
}

/// ln of the truncated normal's mass in the cell around `x`, over the uniform mass 1/`count`.
fn cell(x: f64, count: usize, mean: f64, sigma: f64) -> f64 {
    let half = 0.5 / count as f64;
    let share = mass((x - half - mean) / sigma, (x + half - mean) / sigma) / inside(mean, sigma);
    (count as f64 * share).max(f64::MIN_POSITIVE).ln()
}

/// ln(1/(σ·√2π·Z)), Z the normal's mass inside the unit interval.
fn scale(mean: f64, sigma: f64) -> f64 {
    -(sigma * SQRT_TAU * inside(mean, sigma)).ln()
}

/// The normal's mass inside the unit interval; what is beyond six σ is rounding.
fn inside(mean: f64, sigma: f64) -> f64 {
    let beyond = |distance: f64| if distance < 6.0 * sigma { tail(distance / sigma) } else { 0.0 };
    1.0 - beyond(mean) - beyond(1.0 - mean)
}

/// A normal around a mean in the unit interval, truncated to it: at least a third of the draws are inside.
fn truncated(mean: f64, sigma: f64, stream: &mut Stream) -> f64 {
    loop {
        let x = mean + sigma * stream.normal();
        if (0.0..=1.0).contains(&x) {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;
    use crate::space::{Expand, Space};

    const TEXT: &str = r#"
x = { float = [0.0, 1.0] }
n = { int = [1, 4] }
kind = { choice = ["a", "b", "c"] }
y = { log = [0.1, 10.0], when = { kind = "b" } }
"#;

    fn space(text: &str) -> Space {
        Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap()
    }

    fn points() -> Vec<Point> {
        vec![
            vec![0.1, 0.125, 0.0, f64::NAN],
            vec![0.9, 0.625, 1.0, 0.3],
            vec![0.95, 0.875, 1.0, 0.0],
            vec![0.5, 0.875, 2.0, f64::NAN],
        ]
    }

    /// The mean over a fine grid of the whole space is the integral of the density over the uniform distribution.
    #[test]
    fn the_density_integrates_to_one() {
        let space = space(TEXT);
        let codec = Codec::new(&space);
        let points = points();
        for (observed, form) in [(0, Form::Joint), (1, Form::Joint), (4, Form::Joint), (4, Form::Marginal)] {
            let parzen = Parzen::new(&codec, &points[..observed], recency(observed), form);
            let (mut sum, mut cells) = (0.0, 0.0);
            for (i, k) in (0..100).flat_map(|i| (0..100).map(move |k| (i, k))) {
                for (n, kind) in (0..4).flat_map(|n| (0..3).map(move |kind| (n, kind))) {
                    let middle = |i: u32| (f64::from(i) + 0.5) / 100.0;
                    let point = [middle(i), (f64::from(n) + 0.5) / 4.0, f64::from(kind), middle(k)];
                    sum += parzen.log_density(&codec, &point, &codec.active(&point)).exp();
                    cells += 1.0;
                }
            }
            assert!((sum / cells - 1.0).abs() < 2e-3, "{observed} points: {}", sum / cells);
        }
    }

    /// How often draws fall into each region, against the density there.
    #[test]
    fn draws_follow_the_density() {
        let space = space(TEXT);
        let codec = Codec::new(&space);
        for form in [Form::Joint, Form::Marginal] {
            draws_follow(&codec, &Parzen::new(&codec, &points(), vec![1.0, 0.3, 0.8, 0.5], form));
        }
    }

    fn draws_follow(codec: &Codec, parzen: &Parzen) {
        let (mut drawn, mut expected) = (vec![0.0; 48], vec![0.0; 48]);
        let region = |point: &[f64]| {
            let half = |x: f64| if x < 0.5 { 0 } else { 1 };
            // Where `y` does not exist its coordinate means nothing.
            let y = if point[2] == 1.0 { half(point[3]) } else { 0 };
            ((codec.place(1, point[1]) * 3 + point[2] as u64) * 2 + half(point[0])) * 2 + y
        };
        let mut stream = Stream::new(1, 0, Purpose::Propose, 0);
        let (draws, grid) = (40_000, 300_000);
        for _ in 0..draws {
            drawn[region(&parzen.sample(codec, &mut stream)) as usize] += 1.0 / f64::from(draws);
        }
        for _ in 0..grid {
            let point: Point = (0..4).map(|j| codec.settle(j, stream.uniform())).collect();
            let density = parzen.log_density(codec, &point, &codec.active(&point)).exp();
            expected[region(&point) as usize] += density / f64::from(grid);
        }
        for (place, (drawn, expected)) in drawn.iter().zip(&expected).enumerate() {
            assert!((drawn - expected).abs() < 0.01, "region {place}: {drawn} {expected}");
        }
    }

    #[test]
    fn old_observations_fade() {
        assert_eq!(recency(0), Vec::<f64>::new());
        assert_eq!(recency(25), [1.0; 25]);
        assert_eq!(recency(26)[..2], [1.0 / 26.0, 1.0]);
        let weights = recency(50);
        assert!((weights[0], weights[24], weights[25]) == (0.02, 1.0, 1.0) && weights[12] == 0.51, "{weights:?}");
    }
}
