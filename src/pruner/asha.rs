//! Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020).
//!
//! Rungs stand at steps r, r·η, r·η², …. A trial that reaches a rung goes on only if it is among the best ⌊k/η⌋ of the
//! k trials that reached the rung so far (at least one: the best so far always goes on). Nobody waits: a trial is
//! compared with those that came before it, as Optuna and Ray Tune do. η = 3 is the paper's recommendation for
//! unknown curves (theory asks for e ≈ 2.72); 4 stops more, 2 less.

use super::percentile::loss;
use super::{Pruner, Settings};
use crate::history::{Direction, State, Trial};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Asha {
    /// The step of the first rung, at least 1.
    pub min_resource: u64,
    /// η: one in so many goes on; at least 2.
    pub reduction: u64,
}

impl Asha {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        Asha { min_resource: settings.min_resource.max(1), reduction: settings.reduction.max(2) }
    }

    /// The highest rung at or below `step`, where there is one.
    fn rung(&self, step: u64) -> Option<u64> {
        let rungs = std::iter::successors(Some(self.min_resource), |rung| rung.checked_mul(self.reduction));
        rungs.take_while(|rung| *rung <= step).last()
    }

    /// True where `trial` has just reached a rung and is not among the best of it and of those `others` that did not fail.
    pub(super) fn is_behind<'a>(
        &self,
        direction: Direction,
        others: impl Iterator<Item = &'a Trial>,
        trial: &Trial,
    ) -> bool {
        let Some((step, value)) = trial.last_intermediate() else { return false };
        if value.is_nan() {
            return true;
        }
        let Some(rung) = self.rung(step) else { return false };
        let Some(own) = at_rung(trial, rung, direction).filter(|_| first_report(trial, rung) == Some(step)) else {
            return false;
        };
        let others = others.filter(|other| other.number != trial.number && other.state != State::Failed);
        let losses: Vec<f64> = others.filter_map(|other| at_rung(other, rung, direction)).collect();
        let better = losses.iter().filter(|other| **other < own).count() as u64;
        let kept = ((losses.len() as u64 + 1) / self.reduction).max(1);
        better >= kept
    }
}

impl Pruner for Asha {
    fn should_prune(&self, direction: Direction, history: &[Trial], trial: &Trial) -> bool {
        self.is_behind(direction, history.iter(), trial)
    }

    fn describe(&self) -> String {
        format!(
            "asha: successive halving at steps {0}, {1}, {2}, …; the best of {3} go on",
            self.min_resource,
            self.min_resource.saturating_mul(self.reduction),
            self.min_resource.saturating_mul(self.reduction).saturating_mul(self.reduction),
            self.reduction
        )
    }
}

/// The step of the first report at or beyond the rung (a trial may report every few steps only).
fn first_report(trial: &Trial, rung: u64) -> Option<u64> {
    trial.intermediate.range(rung..).next().map(|(&step, _)| step)
}

/// The loss with which the trial arrived at the rung: its first report at or beyond it.
fn at_rung(trial: &Trial, rung: u64, direction: Direction) -> Option<f64> {
    trial.intermediate.range(rung..).next().map(|(_, &value)| loss(direction, value))
}
