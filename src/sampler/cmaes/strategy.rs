//! One run of CMA-ES: where it draws from, and what it learns of a generation.
//!
//! Hansen, "The CMA evolution strategy: a tutorial" (arXiv 1604.00772), with positive weights and the Cholesky factor
//! of C in place of its square root; the margin of whole numbers is that of Hamano, Saito, Nomura and Shirakawa,
//! "CMA-ES with margin" (GECCO 2022), section 4.

use super::super::codec::Kind;
use super::super::normal::{cumulative, quantile_above};
use super::super::outcome::Rank;
use crate::random::Stream;

/// Draws until one is in the cube.
const REDRAWS: usize = 10;
/// A run ends where all steps are smaller than this.
const SMALLEST_STEP: f64 = 1e-7;
/// A run ends where the best of so many generations differ by less than this share.
const SMALLEST_GAIN: f64 = 1e-12;

/// A drawn point.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    /// One coordinate a parameter: a choice's place, otherwise a number of the unit interval.
    pub(super) at: Vec<f64>,
    /// The step that led there over σ, before the margin's stretching; one a number.
    step: Vec<f64>,
}

/// Trials in a generation of a first run: 4 + ⌊3·ln d⌋.
pub(super) fn population(kinds: &[Kind]) -> usize {
    4 + (3.0 * (kinds.len().max(1) as f64).ln()).floor() as usize
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Strategy {
    kinds: Vec<Kind>,
    /// The parameters that are numbers.
    numbers: Vec<usize>,
    population: usize,
    mean: Vec<f64>,
    sigma: f64,
    /// C and its Cholesky factor, d × d.
    covariance: Vec<f64>,
    factor: Vec<f64>,
    path_sigma: Vec<f64>,
    path_c: Vec<f64>,
    /// What the margin stretches each number's step by.
    stretch: Vec<f64>,
    /// The chances of each choice's values.
    chances: Vec<Vec<f64>>,
    generations: usize,
    /// The least loss of each generation.
    least: Vec<f64>,
}

impl Strategy {
    /// A run from around `middle` of each number.
    pub(super) fn new(kinds: &[Kind], population: usize, sigma: f64, middle: impl FnMut(usize) -> f64) -> Self {
        let numbers: Vec<usize> = (0..kinds.len()).filter(|j| !matches!(kinds[*j], Kind::Choice(_))).collect();
        let d = numbers.len();
        let identity: Vec<f64> = (0..d * d).map(|e| f64::from(u8::from(e / d == e % d))).collect();
        let chances = kinds.iter().map(|kind| match kind {
            Kind::Choice(n) => vec![1.0 / *n as f64; *n as usize],
            _ => Vec::new(),
        });
        let mut strategy = Strategy {
            kinds: kinds.to_vec(),
            population,
            mean: (0..d).map(middle).collect(),
            sigma,
            covariance: identity.clone(),
            factor: identity,
            path_sigma: vec![0.0; d],
            path_c: vec![0.0; d],
            stretch: vec![1.0; d],
            chances: chances.collect(),
            generations: 0,
            least: Vec::new(),
            numbers,
        };
        strategy.keep_margins();
        strategy
    }

    pub(super) fn population(&self) -> usize {
        self.population
    }

    /// A point; the numbers of `stream` decide which.
    pub(super) fn draw(&self, stream: &mut Stream) -> Draw {
        let d = self.numbers.len();
        let mut at = vec![0.0; self.kinds.len()];
        for (at, chances) in at.iter_mut().zip(&self.chances).filter(|(_, chances)| !chances.is_empty()) {
            let u = stream.uniform();
            let mut share = 0.0;
            let place = chances.iter().position(|chance| {
                share += chance;
                u < share
            });
            *at = place.unwrap_or(chances.len() - 1) as f64;
        }
        let mut step = vec![0.0; d];
        for _ in 0..REDRAWS {
            let z: Vec<f64> = (0..d).map(|_| stream.normal()).collect();
            for (i, y) in step.iter_mut().enumerate() {
                *y = (0..=i).map(|k| self.factor[i * d + k] * z[k]).sum();
            }
            let place = |i: usize| self.mean[i] + self.sigma * self.stretch[i] * step[i];
            let is_inside = (0..d).all(|i| (0.0..=1.0).contains(&place(i)));
            for (i, j) in self.numbers.iter().enumerate() {
                at[*j] = place(i).clamp(0.0, 1.0);
            }
            if is_inside {
                return Draw { at, step };
            }
        }
        // What lies outside is moved to the border, and the step with it.
        for (i, j) in self.numbers.iter().enumerate() {
            step[i] = (at[*j] - self.mean[i]) / (self.sigma * self.stretch[i]);
        }
        Draw { at, step }
    }

    /// Somebody else's point as if it had been drawn; coordinates that are not a number were not given.
    pub(super) fn injected(&self, point: &[f64]) -> Draw {
        let d = self.numbers.len();
        let mut step: Vec<f64> = self
            .numbers
            .iter()
            .enumerate()
            .map(|(i, j)| {
                let way = if point[*j].is_nan() { 0.0 } else { point[*j] - self.mean[i] };
                way / (self.sigma * self.stretch[i])
            })
            .collect();
        let length = self.whitened(&step).iter().map(|z| z * z).sum::<f64>().sqrt();
        let likely = (d as f64).sqrt() + 2.0 * d as f64 / (d as f64 + 2.0);
        if length > likely {
            step.iter_mut().for_each(|y| *y *= likely / length);
        }
        Draw { at: point.to_vec(), step }
    }

    /// L⁻¹·y.
    fn whitened(&self, y: &[f64]) -> Vec<f64> {
        let d = y.len();
        let mut z = vec![0.0; d];
        for i in 0..d {
            let known: f64 = (0..i).map(|k| self.factor[i * d + k] * z[k]).sum();
            z[i] = (y[i] - known) / self.factor[i * d + i];
        }
        z
    }

    /// Moves towards the better half of a generation, best first.
    pub(super) fn learn(&mut self, generation: &[(Draw, Rank)]) {
        self.generations += 1;
        if let Some((_, Rank::Complete(loss) | Rank::Pruned(_, loss))) = generation.first() {
            self.least.push(*loss);
        }
        let parents = (self.population / 2).min(generation.len());
        if parents == 0 {
            return;
        }
        let plain: Vec<f64> = (0..parents).map(|i| ((parents as f64 + 0.5) / (i + 1) as f64).ln()).collect();
        let sum: f64 = plain.iter().sum();
        let weighted: Vec<(f64, &Draw)> =
            plain.iter().map(|w| w / sum).zip(generation.iter().map(|(d, _)| d)).collect();
        let effective = 1.0 / weighted.iter().map(|(w, _)| w * w).sum::<f64>();
        self.learn_choices(&weighted, effective);
        if !self.numbers.is_empty() {
            self.learn_numbers(&weighted, effective);
        }
        self.keep_margins();
    }

    fn learn_choices(&mut self, weighted: &[(f64, &Draw)], effective: f64) {
        let freedom: usize = self.chances.iter().map(|chances| chances.len().saturating_sub(1)).sum();
        let rate = effective / (effective + freedom as f64 + 2.0);
        for (j, chances) in self.chances.iter_mut().enumerate().filter(|(_, chances)| !chances.is_empty()) {
            let given: f64 = weighted.iter().filter(|(_, draw)| !draw.at[j].is_nan()).map(|(w, _)| w).sum();
            chances.iter_mut().for_each(|chance| *chance *= 1.0 - rate * given);
            for (weight, draw) in weighted.iter().filter(|(_, draw)| !draw.at[j].is_nan()) {
                chances[draw.at[j] as usize] += rate * weight;
            }
        }
    }

    fn learn_numbers(&mut self, weighted: &[(f64, &Draw)], effective: f64) {
        let n = self.numbers.len();
        let d = n as f64;
        let c_sigma = (effective + 2.0) / (d + effective + 5.0);
        let damping = 1.0 + 2.0 * (((effective - 1.0) / (d + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma;
        let c_c = (4.0 + effective / d) / (d + 4.0 + 2.0 * effective / d);
        let c_1 = 2.0 / ((d + 1.3).powi(2) + effective);
        let c_mu = (1.0 - c_1).min(2.0 * (effective - 2.0 + 1.0 / effective) / ((d + 2.0).powi(2) + effective));
        let expected = d.sqrt() * (1.0 - 1.0 / (4.0 * d) + 1.0 / (21.0 * d * d));
        let mean_step: Vec<f64> = (0..n).map(|i| weighted.iter().map(|(w, draw)| w * draw.step[i]).sum()).collect();
        for (i, y) in mean_step.iter().enumerate() {
            self.mean[i] = (self.mean[i] + self.sigma * self.stretch[i] * y).clamp(0.0, 1.0);
        }
        let keep = (c_sigma * (2.0 - c_sigma) * effective).sqrt();
        let white = self.whitened(&mean_step);
        self.path_sigma.iter_mut().zip(white).for_each(|(p, z)| *p = (1.0 - c_sigma) * *p + keep * z);
        let length = self.path_sigma.iter().map(|p| p * p).sum::<f64>().sqrt();
        let faded = (1.0 - (1.0 - c_sigma).powi(2 * self.generations as i32)).sqrt();
        let is_short = length / faded < (1.4 + 2.0 / (d + 1.0)) * expected;
        let keep = if is_short { (c_c * (2.0 - c_c) * effective).sqrt() } else { 0.0 };
        self.path_c.iter_mut().zip(&mean_step).for_each(|(p, y)| *p = (1.0 - c_c) * *p + keep * y);
        let lost = if is_short { 0.0 } else { c_1 * c_c * (2.0 - c_c) };
        for i in 0..n {
            for k in 0..n {
                let spread: f64 = weighted.iter().map(|(w, draw)| w * draw.step[i] * draw.step[k]).sum();
                let c = &mut self.covariance[i * n + k];
                *c = (1.0 - c_1 - c_mu + lost) * *c + c_1 * self.path_c[i] * self.path_c[k] + c_mu * spread;
            }
        }
        self.sigma = (self.sigma * (c_sigma / damping * (length / expected - 1.0)).min(1.0).exp()).min(1.0);
        self.refactor();
    }

    /// The Cholesky factor of C; where rounding has made C indefinite, of its diagonal.
    fn refactor(&mut self) {
        let n = self.numbers.len();
        let mut l = vec![0.0; n * n];
        for i in 0..n {
            for k in 0..=i {
                let known: f64 = (0..k).map(|m| l[i * n + m] * l[k * n + m]).sum();
                let rest = self.covariance[i * n + k] - known;
                l[i * n + k] = if i == k { rest.sqrt() } else { rest / l[k * n + k] };
            }
        }
        if (0..n).any(|i| l[i * n + i].is_nan() || l[i * n + i] <= 1e-12) {
            for (e, (c, l)) in self.covariance.iter_mut().zip(&mut l).enumerate() {
                let diagonal = c.max(1e-20);
                (*c, *l) = if e / n == e % n { (diagonal, diagonal.sqrt()) } else { (0.0, 0.0) };
            }
        }
        self.factor = l;
    }

    /// Gives every other value of a whole number and every value of a choice its least chance.
    fn keep_margins(&mut self) {
        let least = 1.0 / (self.kinds.len().max(1) * self.population) as f64;
        for chances in self.chances.iter_mut().filter(|chances| chances.len() > 1) {
            let least = least / (chances.len() - 1) as f64;
            chances.iter_mut().for_each(|chance| *chance = chance.max(least));
            let sum: f64 = chances.iter().sum();
            chances.iter_mut().for_each(|chance| *chance /= sum);
        }
        let n = self.numbers.len();
        for i in 0..n {
            let Kind::Steps(count) = self.kinds[self.numbers[i]] else { continue };
            if count < 2 {
                continue;
            }
            let deviation = self.sigma * self.covariance[i * n + i].sqrt();
            let cells = count as f64;
            let cell = (self.mean[i] * cells).floor().clamp(0.0, cells - 1.0);
            let (low, high) = (cell / cells, (cell + 1.0) / cells);
            if cell == 0.0 || cell == cells - 1.0 {
                // Only one way leads to other values.
                let border = if cell == 0.0 { high } else { low };
                let reach = quantile_above(least) * deviation * self.stretch[i];
                self.mean[i] = border + (self.mean[i] - border).signum() * (self.mean[i] - border).abs().min(reach);
                continue;
            }
            let wide = deviation * self.stretch[i];
            let (below, above) = (cumulative((low - self.mean[i]) / wide), cumulative((self.mean[i] - high) / wide));
            if below >= 0.5 * least && above >= 0.5 * least {
                continue;
            }
            let inside = 1.0 - below - above;
            let (raised_low, raised_high) = (below.max(0.5 * least), above.max(0.5 * least));
            let share = (1.0 - raised_low - raised_high - inside) / (raised_low + raised_high + inside - 1.5 * least);
            let of = |raised: f64| quantile_above(raised + share * (raised - 0.5 * least));
            let (z_low, z_high) = (of(raised_low), of(raised_high));
            self.stretch[i] = (high - low) / (deviation * (z_low + z_high));
            self.mean[i] = (low * z_high + high * z_low) / (z_low + z_high);
        }
    }

    /// True where going on promises nothing.
    pub(super) fn stands_still(&self) -> bool {
        let n = self.numbers.len();
        let is_continuous = self.numbers.iter().any(|j| self.kinds[*j] == Kind::Real);
        let largest = (0..n).map(|i| self.covariance[i * n + i]).fold(0.0, f64::max).sqrt();
        if is_continuous && self.sigma * largest < SMALLEST_STEP {
            return true;
        }
        let window = 10 + (30 * self.kinds.len()).div_ceil(self.population);
        let Some(last) = self.least.len().checked_sub(window).map(|from| &self.least[from..]) else { return false };
        let (low, high) = last.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
        let range = high - low;
        range.is_nan() || range <= SMALLEST_GAIN * (1.0 + low.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn margins_keep_every_other_value_likely() {
        for mean in [0.02, 0.15, 0.55, 0.98] {
            let kinds = [Kind::Steps(10), Kind::Real, Kind::Choice(3)];
            let mut strategy = Strategy::new(&kinds, 8, 1e-4, |_| mean);
            strategy.chances[2] = vec![1.0, 0.0, 0.0];
            strategy.keep_margins();
            let mut stream = Stream::new(1, 0, Purpose::Propose, 0);
            let cell = (strategy.mean[0] * 10.0).floor();
            let (mut other, mut chosen, n) = (0, 0, 20_000);
            for _ in 0..n {
                let draw = strategy.draw(&mut stream);
                other += u32::from((draw.at[0] * 10.0).floor() != cell);
                chosen += u32::from(draw.at[2] != 0.0);
            }
            let least = 1.0 / 24.0;
            for (what, count) in [("step", other), ("choice", chosen)] {
                let share = f64::from(count) / f64::from(n);
                assert!((0.85 * least..1.3 * least).contains(&share), "{what} at {mean}: {share} {least}");
            }
        }
    }

    #[test]
    fn draws_have_the_covariance() {
        let mut strategy = Strategy::new(&[Kind::Real, Kind::Real], 8, 0.01, |_| 0.5);
        strategy.covariance = vec![4.0, 1.0, 1.0, 0.5];
        strategy.refactor();
        let mut stream = Stream::new(2, 0, Purpose::Propose, 0);
        let n = 20_000;
        let mut found = [0.0; 3];
        for _ in 0..n {
            let at = strategy.draw(&mut stream).at;
            let (x, y) = ((at[0] - 0.5) / 0.01, (at[1] - 0.5) / 0.01);
            found = [found[0] + x * x, found[1] + x * y, found[2] + y * y];
        }
        for (found, expected) in found.iter().zip([4.0, 1.0, 0.5]) {
            assert!((found / f64::from(n) / expected - 1.0).abs() < 0.06, "{found} {expected}");
        }
    }
}
