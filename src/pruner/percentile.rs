//! Stops a trial whose best value so far is worse than a percentile of what the others had at the same step.
//!
//! With 50 it is the median rule of Golovin et al., "Google Vizier" (KDD 2017), section 3.2, as Optuna applies it: the
//! best intermediate value of the trial up to now against the values that completed trials reported at this very step.
//!
//! With several objectives a trial is stopped where more than that share of the completed trials are in fronts before its
//! own (`several.rs`), at the best of its steps up to now. What no other dominates goes on. With one objective that is the
//! rule above, but for values between the two neighbours of a percentile: an order has nothing between them.

use super::several::{Field, competes, is_broken, losses};
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
        let &[direction] = directions else { return None };
        Some(Box::new(Steps { rule: *self, direction, complete: HashSet::new(), losses: HashMap::new() }))
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

/// What the complete trials that keep their constraints reported, by step: a report is judged without looking at any trial.
struct Steps {
    rule: Percentile,
    direction: Direction,
    /// Numbers of the trials in it.
    complete: HashSet<u64>,
    /// Losses by step, in order.
    losses: HashMap<u64, Vec<f64>>,
}

impl Follower for Steps {
    fn take(&mut self, trial: &Trial) {
        let losses = trial.intermediate.iter().map(|(&step, &value)| (step, loss(self.direction, value)));
        if trial.state == State::Complete && trial.is_feasible() {
            if self.complete.insert(trial.number) {
                losses.for_each(|(step, loss)| insert(self.losses.entry(step).or_default(), loss));
            }
        } else if self.complete.remove(&trial.number) {
            losses.for_each(|(step, loss)| remove(self.losses.entry(step).or_default(), loss));
        }
    }

    fn report(&mut self, _: &Trial, _: u64, _: f64) {}

    fn should_prune(&self, trial: &Trial) -> bool {
        let Some((step, value)) = trial.last_intermediate() else { return false };
        if value.is_nan() {
            return true;
        }
        if step <= self.rule.warmup || self.complete.len() < self.rule.startup {
            return false;
        }
        let Some(losses) = self.losses.get(&step).filter(|losses| !losses.is_empty()) else { return false };
        best(self.direction, trial) > quantile_of_sorted(losses, self.rule.percentile / 100.0)
    }
}

/// The least loss that a trial has reported.
fn best(direction: Direction, trial: &Trial) -> f64 {
    trial.intermediate.values().map(|&value| loss(direction, value)).fold(f64::INFINITY, f64::min)
}

/// Puts a loss into its place.
pub(super) fn insert(sorted: &mut Vec<f64>, loss: f64) {
    sorted.insert(sorted.partition_point(|other| other.total_cmp(&loss).is_lt()), loss);
}

/// Takes a loss out again.
pub(super) fn remove(sorted: &mut Vec<f64>, loss: f64) {
    let at = sorted.partition_point(|other| other.total_cmp(&loss).is_lt());
    if sorted.get(at).is_some_and(|found| found.total_cmp(&loss).is_eq()) {
        sorted.remove(at);
    }
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

/// The same of values in order.
fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let place = place(q, sorted.len());
    let low = sorted[place.floor() as usize];
    between(low, sorted.get(place.floor() as usize + 1).copied().unwrap_or(low), place.fract())
}

/// Where among so many values in order a quantile stands.
fn place(q: f64, count: usize) -> f64 {
    q.clamp(0.0, 1.0) * (count - 1) as f64
}

fn between(low: f64, high: f64, share: f64) -> f64 {
    // No product with zero: an infinite neighbour would make it not a number.
    if share == 0.0 || low == high { low } else { low + (high - low) * share }
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
                let mut sorted = values.clone();
                sorted.sort_by(f64::total_cmp);
                assert_eq!(quantile_of_sorted(&sorted, q), got);
            }
        }
        assert_eq!(quantile(&mut [f64::INFINITY, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&mut [f64::INFINITY, 1.0], 0.5), f64::INFINITY);
    }
}
