//! Stops a trial whose best value so far is worse than a percentile of what the others had at the same step.
//!
//! With 50 it is the median rule of Golovin et al., "Google Vizier" (KDD 2017), section 3.2, as Optuna applies it: the
//! best intermediate value of the trial up to now against the values that completed trials reported at this very step.

use super::{Pruner, Settings};
use crate::history::{Direction, State, Trial};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Percentile {
    /// The share of better trials, in percent, that is kept.
    pub percentile: f64,
    /// Completed trials before any is stopped.
    pub startup: usize,
    /// Steps that every trial may do.
    pub warmup: u64,
}

impl Percentile {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        Percentile { percentile: settings.percentile, startup: settings.startup, warmup: settings.warmup }
    }
}

impl Pruner for Percentile {
    fn should_prune(&self, direction: Direction, history: &[Trial], trial: &Trial) -> bool {
        let Some((step, value)) = trial.last_intermediate() else { return false };
        if value.is_nan() {
            return true;
        }
        if step <= self.warmup {
            return false;
        }
        let others = history.iter().filter(|other| other.number != trial.number && other.state == State::Complete);
        let (mut completed, mut losses) = (0, Vec::new());
        for other in others {
            completed += 1;
            if let Some(&value) = other.intermediate.get(&step) {
                losses.push(loss(direction, value));
            }
        }
        if completed < self.startup || losses.is_empty() {
            return false;
        }
        let reached = trial.intermediate.values().map(|&value| loss(direction, value)).fold(f64::INFINITY, f64::min);
        reached > quantile(&mut losses, self.percentile / 100.0)
    }

    fn describe(&self) -> String {
        let what = if self.percentile == 50.0 { "median" } else { "percentile" };
        format!(
            "{what}: after {} trials, stops what is not among the best {} % at the same step",
            self.startup, self.percentile
        )
    }
}

/// The value as a loss, not a number as the worst.
pub(super) fn loss(direction: Direction, value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { direction.loss(value) }
}

/// The q-quantile of non-empty values, linear between neighbours (as NumPy's default); they are not sorted for it, only
/// split at its place.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    let place = q.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let (_, &mut low, above) = values.select_nth_unstable_by(place.floor() as usize, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    // No product with zero: an infinite neighbour would make it not a number.
    if place.fract() == 0.0 || low == high { low } else { low + (high - low) * place.fract() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        for n in [1, 2, 3, 5, 8, 31] {
            let values: Vec<f64> = (0..n).map(|i| f64::from(i * 17 % n)).collect();
            for q in [0.0, 0.1, 0.25, 0.5, 0.9, 1.0] {
                // The values are 0 … n − 1 in some order, so the place is the quantile.
                let got = quantile(&mut values.clone(), q);
                assert!((got - q * f64::from(n - 1)).abs() < 1e-12, "{n} {q}: {got}");
            }
        }
        assert_eq!(quantile(&mut [f64::INFINITY, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [f64::INFINITY, 1.0], 0.5), f64::INFINITY);
    }
}
