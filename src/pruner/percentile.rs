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
        let others = history.iter().filter(|other| other.number != trial.number && other.state == State::Complete);
        let (mut completed, mut losses) = (0, Vec::new());
        for other in others {
            completed += 1;
            if let Some(&value) = other.intermediate.get(&step) {
                losses.push(loss(direction, value));
            }
        }
        if step <= self.warmup || completed < self.startup || losses.is_empty() {
            return false;
        }
        losses.sort_by(f64::total_cmp);
        let reached = trial.intermediate.values().map(|&value| loss(direction, value)).fold(f64::INFINITY, f64::min);
        reached > quantile(&losses, self.percentile / 100.0)
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

/// The q-quantile of rising, non-empty values, linear between neighbours (as NumPy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // No product with zero: an infinite neighbour would make it not a number.
    if place.fract() == 0.0 || low == high { low } else { low + (high - low) * place.fract() }
}
