//! Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020).
//!
//! Rungs stand at steps r, r·η, r·η², …. A trial that reaches a rung goes on only if it is among the best ⌊k/η⌋ of the
//! k trials that reached the rung so far (at least one: the best so far always goes on). Nobody waits: a trial is
//! compared with those that came before it, as Optuna and Ray Tune do. η = 3 is the paper's recommendation for
//! unknown curves (theory asks for e ≈ 2.72); 4 stops more, 2 less.
//!
//! With several objectives "best" is the order of multi-objective ASHA (`several.rs`): fronts, and within a front the
//! points that cover it; what nobody dominates always goes on.

use super::percentile::loss;
use super::several::{Field, competes, is_broken, losses};
use super::standing::{Sorted, Standing};
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

    /// True where `trial` has just reached a rung and is not among the best of it and of those `others` that did not
    /// fail and that it competes with.
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
        Some(match directions.len() {
            1 => Box::new(Rungs::<Sorted>::new(*self, directions)),
            _ => Box::new(Rungs::<Field>::new(*self, directions)),
        })
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

/// Who has arrived at which rung with which loss: a report is judged by searches in what is in order.
pub(super) struct Rungs<S: Standing> {
    rule: Asha,
    directions: Vec<Direction>,
    /// Of each rung the losses.
    losses: Vec<S>,
    /// By trial's number, of each rung that it has reached.
    arrivals: HashMap<u64, Vec<Arrival<S::Loss>>>,
}

/// The first report of a trial at or beyond a rung: its step, and its loss where it was of every objective.
type Arrival<L> = (u64, Option<L>);

impl<S: Standing> Rungs<S> {
    pub(super) fn new(rule: Asha, directions: &[Direction]) -> Self {
        Rungs { rule, directions: directions.to_vec(), losses: Vec::new(), arrivals: HashMap::new() }
    }

    /// The step of the rung with that index.
    fn rung(&self, index: usize) -> Option<u64> {
        self.rule.reduction.checked_pow(u32::try_from(index).ok()?)?.checked_mul(self.rule.min_resource)
    }

    /// Puts the arrival at a rung in the place of the one before.
    fn exchange(&mut self, index: usize, before: Option<&Arrival<S::Loss>>, now: Option<&Arrival<S::Loss>>) {
        if index == self.losses.len() {
            self.losses.push(S::default());
        }
        let losses = [before, now].map(|arrival| arrival.and_then(|(_, loss)| loss.as_ref()));
        if losses[0] == losses[1] {
            return;
        }
        if let Some(loss) = losses[0] {
            self.losses[index].remove(loss);
        }
        if let Some(loss) = losses[1] {
            self.losses[index].insert(loss.clone());
        }
    }
}

impl<S: Standing> Follower for Rungs<S> {
    fn take(&mut self, trial: &Trial) {
        let counts = trial.state != State::Failed && trial.is_feasible();
        let arrival = |rung: u64| {
            let step = first_report(trial, rung)?;
            Some((step, S::loss(&self.directions, trial.report_at(step)?)))
        };
        let now: Vec<_> = (0..).map_while(|index| arrival(self.rung(index)?)).take_while(|_| counts).collect();
        let before = self.arrivals.remove(&trial.number).unwrap_or_default();
        for index in 0..before.len().max(now.len()) {
            self.exchange(index, before.get(index), now.get(index));
        }
        self.arrivals.insert(trial.number, now);
    }

    fn report(&mut self, trial: &Trial, step: u64, values: &[f64]) {
        if !trial.is_feasible() {
            return;
        }
        let now = (step, S::loss(&self.directions, values));
        let mut arrivals = self.arrivals.remove(&trial.number).unwrap_or_default();
        let mut index = 0;
        while self.rung(index).is_some_and(|rung| rung <= step) {
            // The first report at or beyond the rung is the one that counts, in whatever order they come.
            match arrivals.get(index).cloned() {
                Some(before) if before.0 < step => {}
                Some(before) => {
                    self.exchange(index, Some(&before), Some(&now));
                    arrivals[index] = now.clone();
                }
                None => {
                    self.exchange(index, None, Some(&now));
                    arrivals.push(now.clone());
                }
            }
            index += 1;
        }
        self.arrivals.insert(trial.number, arrivals);
    }

    fn should_prune(&self, trial: &Trial) -> bool {
        let Some((step, _)) = trial.last_intermediate() else { return false };
        if is_broken(trial) {
            return true;
        }
        let arrivals = self.arrivals.get(&trial.number);
        let Some((index, (first, own))) = arrivals.and_then(|arrivals| arrivals.iter().enumerate().next_back()) else {
            return false;
        };
        let Some(own) = own.as_ref().filter(|_| *first == step) else { return false };
        let losses = &self.losses[index];
        !losses.is_among(own, losses.len() / self.rule.reduction as usize)
    }
}

/// The step of the first report at or beyond the rung (a trial may report every few steps only).
pub(super) fn first_report(trial: &Trial, rung: u64) -> Option<u64> {
    trial.intermediate.range(rung..).next().map(|(&step, _)| step)
}
