//! Stops a trial that has not improved for a while; before another pruner's name, lets that one speak only then.
//!
//! A trial has stood still when its best value among the last N reports is not better than its best before them, by
//! more than `min_delta`. Optuna's `PatientPruner` has the same windows with N + 1 reports in the last one, and asks
//! whether it became *worse* by more than `min_delta`, so that a flat curve goes on for ever; here a flat curve has
//! stood still.
//!
//! With several objectives a report is an improvement where no report before the window is as good in all of them: it
//! must be better than each somewhere, by more than `min_delta`. So what enlarges the volume that the trial dominates
//! goes on.

use super::percentile::loss;
use super::several::{is_broken, losses};
use super::{Follower, Pruner, Settings};
use crate::history::{Direction, Trial};

/// See the module.
pub struct Patience {
    /// N: reports without an improvement; at least 1.
    pub patience: u64,
    /// By how much a value must be better to be an improvement.
    pub min_delta: f64,
    /// Who is asked about a trial that stands still; none stops it.
    pub then: Option<Box<dyn Pruner>>,
}

/// Reports without an improvement where nothing is said.
const DEFAULT: u64 = 5;

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Patience {
    /// With what the user said.
    pub fn new(settings: &Settings, then: Option<Box<dyn Pruner>>) -> Self {
        Patience { patience: settings.patience.unwrap_or(DEFAULT).max(1), min_delta: settings.min_delta, then }
    }

    fn stands_still(&self, directions: &[Direction], trial: &Trial) -> bool {
        let [direction] = *directions else { return self.stands_still_by_several(directions, trial) };
        let losses: Vec<f64> = trial.intermediate.values().map(|&value| loss(direction, value)).collect();
        let Some(before) = losses.len().checked_sub(self.patience as usize).filter(|before| *before > 0) else {
            return false;
        };
        let least = |losses: &[f64]| losses.iter().copied().fold(f64::INFINITY, f64::min);
        let (then, now) = (least(&losses[..before]), least(&losses[before..]));
        // Two infinities are no improvement either.
        then == now || now >= then - self.min_delta
    }

    /// The same for any number of objectives.
    pub(super) fn stands_still_by_several(&self, directions: &[Direction], trial: &Trial) -> bool {
        let reports: Vec<Vec<f64>> =
            trial.intermediate.keys().filter_map(|step| losses(directions, trial, *step)).collect();
        let Some(before) = reports.len().checked_sub(self.patience as usize).filter(|before| *before > 0) else {
            return false;
        };
        let as_good = |then: f64, now: f64| then == now || now >= then - self.min_delta;
        let covers = |then: &Vec<f64>, now: &[f64]| then.iter().zip(now).all(|(then, now)| as_good(*then, *now));
        let (before, window) = reports.split_at(before);
        window.iter().all(|now| before.iter().any(|then| covers(then, now)))
    }
}

impl Pruner for Patience {
    fn should_prune(&self, directions: &[Direction], history: &[Trial], trial: &Trial) -> bool {
        // No patience with what is not a number.
        is_broken(trial)
            || self.stands_still(directions, trial)
                && self.then.as_ref().is_none_or(|then| then.should_prune(directions, history, trial))
    }

    fn follow(&self, directions: &[Direction]) -> Option<Box<dyn Follower>> {
        let then = self.then.as_ref()?.follow(directions)?;
        let alone = Patience { patience: self.patience, min_delta: self.min_delta, then: None };
        Some(Box::new(Patient { alone, directions: directions.to_vec(), then }))
    }

    fn of_parts(&self) -> bool {
        self.then.as_ref().is_some_and(|then| then.of_parts())
    }

    fn compares(&self) -> bool {
        self.then.as_ref().is_some_and(|then| then.compares())
    }

    fn describe(&self) -> String {
        let still = format!("{} reports without an improvement", self.patience);
        match &self.then {
            Some(then) => format!("{}; and only after {still}", then.describe()),
            None => format!("patience: stops after {still}"),
        }
    }
}

/// What follows a study for the pruner behind.
struct Patient {
    alone: Patience,
    directions: Vec<Direction>,
    then: Box<dyn Follower>,
}

impl Follower for Patient {
    fn take(&mut self, trial: &Trial) {
        self.then.take(trial);
    }

    fn report(&mut self, trial: &Trial, step: u64, values: &[f64]) {
        self.then.report(trial, step, values);
    }

    fn should_prune(&self, trial: &Trial) -> bool {
        is_broken(trial) || self.alone.stands_still(&self.directions, trial) && self.then.should_prune(trial)
    }
}
