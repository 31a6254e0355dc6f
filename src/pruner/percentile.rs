//! Stops a trial whose best value so far is worse than a percentile of what the others had at the same step.
//!
//! With 50 it is the median rule of Golovin et al., "Google Vizier" (KDD 2017), section 3.2, as Optuna applies it: the
//! best intermediate value of the trial up to now against the values that completed trials reported at this very step.
//!
//! With several objectives a trial is stopped where more than that share of the completed trials are in fronts before
//! its own (`several.rs`), at the best of its steps up to now. What no other dominates goes on. With one objective that
//! is the rule above, but for values between the two neighbours of a percentile: an order has nothing between them.

use super::several::{Field, competes, is_broken, losses};
use super::standing::{Sorted, Standing};
use super::{Follower, Pruner, Settings};
use crate::history::{Direction, State, Trial};
use std::collections::{HashMap, HashSet};

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
    fn should_prune(&self, directions: &[Direction], history: &[Trial], trial: &Trial) -> bool {
        let Some((step, _)) = trial.last_intermediate() else { return false };
        if is_broken(trial) {
            return true;
        }
        if step <= self.warmup {
            return false;
        }
        let [direction] = *directions else { return self.is_behind_by_several(directions, history, trial, step) };
        let others = history.iter().filter(|other| other.state == State::Complete && competes(other, trial));
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
        best(direction, trial) > quantile(&mut losses, self.percentile / 100.0)
    }

    fn follow(&self, directions: &[Direction]) -> Option<Box<dyn Follower>> {
        Some(match directions.len() {
            1 => Steps::<Sorted>::boxed(*self, directions),
            _ => Steps::<Field>::boxed(*self, directions),
        })
    }

    fn describe(&self) -> String {
        let what = if self.percentile == 50.0 { "median" } else { "percentile" };
        format!(
            "{what}: after {} trials, stops what is not among the best {} % at the same step",
            self.startup, self.percentile
        )
    }
}

impl Percentile {
    /// The rule for any number of objectives, after the warm-up.
    pub(super) fn is_behind_by_several(
        &self,
        directions: &[Direction],
        history: &[Trial],
        trial: &Trial,
        step: u64,
    ) -> bool {
        let others = history.iter().filter(|other| other.state == State::Complete && competes(other, trial));
        let completed = others.clone().count();
        let field = Field::new(others.filter_map(|other| losses(directions, other, step)));
        if completed < self.startup || field.len() == 0 || losses(directions, trial, step).is_none() {
            return false;
        }
        let own = trial.intermediate.keys().filter_map(|step| losses(directions, trial, *step));
        let ahead = own.map(|own| field.ahead(&own)).min().unwrap_or(0);
        ahead as f64 > place(self.percentile / 100.0, field.len())
    }
}

/// What the complete trials that keep their constraints reported, by step: a report is judged without looking at any
/// trial.
struct Steps<S> {
    rule: Percentile,
    directions: Vec<Direction>,
    /// Numbers of the trials in it.
    complete: HashSet<u64>,
    losses: HashMap<u64, S>,
}

impl<S: Standing> Steps<S> {
    fn boxed(rule: Percentile, directions: &[Direction]) -> Box<dyn Follower> {
        let directions = directions.to_vec();
        Box::new(Steps::<S> { rule, directions, complete: HashSet::new(), losses: HashMap::new() })
    }

    fn loss_at(&self, trial: &Trial, step: u64) -> Option<S::Loss> {
        S::loss(&self.directions, trial.report_at(step)?)
    }
}

impl<S: Standing> Follower for Steps<S> {
    fn take(&mut self, trial: &Trial) {
        let counts = trial.state == State::Complete && trial.is_feasible();
        let changes = if counts { self.complete.insert(trial.number) } else { self.complete.remove(&trial.number) };
        for &step in trial.intermediate.keys().filter(|_| changes) {
            let Some(loss) = self.loss_at(trial, step) else { continue };
            let losses = self.losses.entry(step).or_default();
            if counts { losses.insert(loss) } else { losses.remove(&loss) }
        }
    }

    fn report(&mut self, _: &Trial, _: u64, _: &[f64]) {}

    fn should_prune(&self, trial: &Trial) -> bool {
        let Some((step, _)) = trial.last_intermediate() else { return false };
        if is_broken(trial) {
            return true;
        }
        if step <= self.rule.warmup || self.complete.len() < self.rule.startup || self.loss_at(trial, step).is_none() {
            return false;
        }
        let Some(losses) = self.losses.get(&step).filter(|losses| losses.len() > 0) else { return false };
        let own = trial.intermediate.keys().filter_map(|step| self.loss_at(trial, *step));
        losses.is_behind(own, self.rule.percentile / 100.0)
    }
}

/// The least loss that a trial has reported.
fn best(direction: Direction, trial: &Trial) -> f64 {
    trial.intermediate.values().map(|&value| loss(direction, value)).fold(f64::INFINITY, f64::min)
}

/// The value as a loss, not a number as the worst.
pub(super) fn loss(direction: Direction, value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { direction.loss(value) }
}

/// The q-quantile of non-empty values, linear between neighbours (as NumPy's default); they are not sorted for it, only
/// split at its place.
fn quantile(values: &mut [f64], q: f64) -> f64 {
    let place = place(q, values.len());
    let (_, &mut low, above) = values.select_nth_unstable_by(place.floor() as usize, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    between(low, high, place.fract())
}

/// Where among so many values in order a quantile stands.
pub(super) fn place(q: f64, count: usize) -> f64 {
    q.clamp(0.0, 1.0) * (count - 1) as f64
}

pub(super) fn between(low: f64, high: f64, share: f64) -> f64 {
    // No product with zero: an infinite neighbour would make it not a number.
    if share == 0.0 || low == high { low } else { low + (high - low) * share }
}

#[cfg(test)]
mod tests {
    use super::super::standing::quantile_of_sorted;
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        for n in [1, 2, 3, 5, 8, 31] {
            let values: Vec<f64> = (0..n).map(|i| f64::from(i * 17 % n)).collect();
            for q in [0.0, 0.1, 0.25, 0.5, 0.9, 1.0] {
                // The values are 0 … n − 1 in some order, so the place is the quantile.
                let got = quantile(&mut values.clone(), q);
                assert!((got - q * f64::from(n - 1)).abs() < 1e-12, "{n} {q}: {got}");
                let mut sorted = values.clone();
                sorted.sort_by(f64::total_cmp);
                assert_eq!(quantile_of_sorted(&sorted, q), got);
            }
        }
        assert_eq!(quantile(&mut [f64::INFINITY, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [f64::INFINITY, 1.0], 0.5), f64::INFINITY);
    }
}
