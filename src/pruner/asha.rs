//! Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020).
//!
//! Rungs stand at steps r, r·η, r·η², …. A trial that reaches a rung goes on only if it is among the best ⌊k/η⌋ of the
//! k trials that reached the rung so far (at least one: the best so far always goes on). Nobody waits: a trial is
//! compared with those that came before it, as Optuna and Ray Tune do. η = 3 is the paper's recommendation for
//! unknown curves (theory asks for e ≈ 2.72); 4 stops more, 2 less.
//!
//! With several objectives "best" is the order of multi-objective ASHA (`several.rs`): fronts, and within a front the
//! points that cover it; what nobody dominates always goes on.

use super::percentile::{insert, loss, remove};
use super::several::{Field, competes, is_broken, losses};
use super::{Follower, Pruner, Settings};
use crate::history::{Direction, State, Trial};
use std::collections::HashMap;

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

    /// True where `trial` has just reached a rung and is not among the best of it and of those `others` that did not fail
    /// and that it competes with.
    pub(super) fn is_behind<'a>(
        &self,
        directions: &[Direction],
        others: impl Iterator<Item = &'a Trial>,
        trial: &Trial,
    ) -> bool {
        let Some((step, _)) = trial.last_intermediate() else { return false };
        if is_broken(trial) {
            return true;
        }
        let Some(rung) = self.rung(step).filter(|rung| first_report(trial, *rung) == Some(step)) else { return false };
        let others = others.filter(|other| other.state != State::Failed && competes(other, trial));
        let reached = others.filter_map(|other| Some((other, first_report(other, rung)?)));
        if let [direction] = *directions {
            let loss_at = |trial: &Trial, step| trial.intermediate.get(&step).map(|value| loss(direction, *value));
            let Some(own) = loss_at(trial, step) else { return false };
            let losses: Vec<f64> = reached.filter_map(|(other, step)| loss_at(other, step)).collect();
            let better = losses.iter().filter(|other| **other < own).count() as u64;
            return better >= ((losses.len() as u64 + 1) / self.reduction).max(1);
        }
        self.is_behind_by_several(directions, reached, trial, step)
    }

    /// The same for any number of objectives; `reached` are the others with the steps at which they came to the rung.
    pub(super) fn is_behind_by_several<'a>(
        &self,
        directions: &[Direction],
        reached: impl Iterator<Item = (&'a Trial, u64)>,
        trial: &Trial,
        step: u64,
    ) -> bool {
        let Some(own) = losses(directions, trial, step) else { return false };
        let field = Field::new(reached.filter_map(|(other, step)| losses(directions, other, step)));
        let kept = (field.len() as u64 + 1) / self.reduction;
        !field.is_among(&own, kept as usize)
    }
}

impl Pruner for Asha {
    fn should_prune(&self, directions: &[Direction], history: &[Trial], trial: &Trial) -> bool {
        self.is_behind(directions, history.iter(), trial)
    }

    fn follow(&self, directions: &[Direction]) -> Option<Box<dyn Follower>> {
        let &[direction] = directions else { return None };
        Some(Box::new(Rungs::new(*self, direction)))
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

/// Who has arrived at which rung with which loss: a report is judged by one search in a sorted list.
pub(super) struct Rungs {
    rule: Asha,
    direction: Direction,
    /// Of each rung the losses in order.
    losses: Vec<Vec<f64>>,
    /// By trial's number, of each rung that it has reached: the step at which it arrived, and the loss.
    arrivals: HashMap<u64, Vec<(u64, f64)>>,
}

impl Rungs {
    pub(super) fn new(rule: Asha, direction: Direction) -> Self {
        Rungs { rule, direction, losses: Vec::new(), arrivals: HashMap::new() }
    }

    /// The step of the rung with that index.
    fn rung(&self, index: usize) -> Option<u64> {
        self.rule.reduction.checked_pow(u32::try_from(index).ok()?)?.checked_mul(self.rule.min_resource)
    }

    fn arrive(&mut self, number: u64, step: u64, loss: f64) {
        let mut arrivals = self.arrivals.remove(&number).unwrap_or_default();
        let mut index = 0;
        while self.rung(index).is_some_and(|rung| rung <= step) {
            if index == self.losses.len() {
                self.losses.push(Vec::new());
            }
            match arrivals.get_mut(index) {
                // The first report at or beyond the rung is the one that counts, in whatever order they come.
                Some((first, known)) if *first >= step => {
                    remove(&mut self.losses[index], *known);
                    (*first, *known) = (step, loss);
                    insert(&mut self.losses[index], loss);
                }
                Some(_) => {}
                None => {
                    arrivals.push((step, loss));
                    insert(&mut self.losses[index], loss);
                }
            }
            index += 1;
        }
        self.arrivals.insert(number, arrivals);
    }
}

impl Follower for Rungs {
    fn take(&mut self, trial: &Trial) {
        for (index, (_, loss)) in self.arrivals.remove(&trial.number).unwrap_or_default().into_iter().enumerate() {
            remove(&mut self.losses[index], loss);
        }
        if trial.state != State::Failed && trial.is_feasible() {
            for (&step, &value) in &trial.intermediate {
                self.arrive(trial.number, step, loss(self.direction, value));
            }
        }
    }

    fn report(&mut self, trial: &Trial, step: u64, value: f64) {
        if trial.is_feasible() {
            self.arrive(trial.number, step, loss(self.direction, value));
        }
    }

    fn should_prune(&self, trial: &Trial) -> bool {
        let Some((step, value)) = trial.last_intermediate() else { return false };
        if value.is_nan() {
            return true;
        }
        let arrivals = self.arrivals.get(&trial.number);
        let Some((index, &(first, own))) = arrivals.and_then(|arrivals| arrivals.iter().enumerate().next_back()) else {
            return false;
        };
        if first != step {
            return false;
        }
        let losses = &self.losses[index];
        let better = losses.partition_point(|other| *other < own) as u64;
        better >= (losses.len() as u64 / self.rule.reduction).max(1)
    }
}

/// The step of the first report at or beyond the rung (a trial may report every few steps only).
pub(super) fn first_report(trial: &Trial, rung: u64) -> Option<u64> {
    trial.intermediate.range(rung..).next().map(|(&step, _)| step)
}
