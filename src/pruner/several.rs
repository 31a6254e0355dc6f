//! A place for a trial among others where there are several objectives.
//!
//! Trials are compared by what they reported of all objectives at one step; who reported of the first alone is neither
//! judged nor compared with, since being worse there may be the price of being better elsewhere. Whoever is dominated comes
//! after whoever is not (non-dominated sorting, as NSGA-II has it). Within a front those come first that cover it: the best
//! in each objective, then always the one that is farthest from all before it. That is the order of multi-objective ASHA
//! (Schmucker, Donini, Zafar, Salinas and Archambeau, "Multi-objective asynchronous successive halving", arXiv 2106.12639,
//! 2021), whose ε-net did best among the rules they tried. Unlike there a front is never cut where nobody dominates it: a
//! trial is stopped only if another one was better. The more objectives there are, the fewer are stopped.
//!
//! Distances are between ranks in each objective: units do not matter, nor whether a size counts by its logarithm, just as
//! they do not with one objective. With one objective all of this is the order of the values.

use super::percentile::loss;
use crate::history::pareto::{dominates, ranks};
use crate::history::{Direction, Trial};
use std::cmp::Ordering;

/// What a trial reported at a step as losses; `None` where it did not report of every objective.
pub(super) fn losses(directions: &[Direction], trial: &Trial, step: u64) -> Option<Vec<f64>> {
    let values = trial.report_at(step).filter(|values| values.len() == directions.len())?;
    // Adding zero makes of the two zeros one.
    Some(directions.iter().zip(values).map(|(direction, value)| loss(*direction, *value) + 0.0).collect())
}

/// Whether `trial` has to hold its own against `other`. What breaks its constraints is no rival of what is not known to do so,
/// however good it is (Deb, see `history/pareto.rs`). A trial that breaks them itself is judged against all: nothing would
/// stop it else before the first feasible one, and what it breaks may change until it ends.
pub(super) fn competes(other: &Trial, trial: &Trial) -> bool {
    other.number != trial.number && (other.is_feasible() || !trial.is_feasible())
}

/// True where the last report has a value that is not a number.
pub(super) fn is_broken(trial: &Trial) -> bool {
    let last = trial.last_intermediate().and_then(|(step, _)| trial.report_at(step));
    last.is_some_and(|values| values.iter().any(|value| value.is_nan()))
}

/// Others at one step, with their fronts.
pub(super) struct Field {
    losses: Vec<Vec<f64>>,
    ranks: Vec<usize>,
}

impl Field {
    /// Those with these losses.
    pub fn new(others: impl Iterator<Item = Vec<f64>>) -> Self {
        let losses: Vec<Vec<f64>> = others.collect();
        let ranks = ranks(&losses);
        Field { losses, ranks }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.losses.len()
    }

    /// The front that `own` would be in, from 0.
    fn rank(&self, own: &[f64]) -> usize {
        let above = self.losses.iter().zip(&self.ranks).filter(|(other, _)| dominates(other, own));
        above.map(|(_, rank)| rank + 1).max().unwrap_or(0)
    }

    /// How many are in fronts before that of `own`.
    pub fn ahead(&self, own: &[f64]) -> usize {
        let rank = self.rank(own);
        self.ranks.iter().filter(|other| **other < rank).count()
    }

    /// Whether `own` goes on as one of the first `kept` of all, itself included. What nobody dominates always does, as the
    /// best does with one objective.
    pub fn is_among(&self, own: &[f64], kept: usize) -> bool {
        let rank = self.rank(own);
        if rank == 0 {
            return true;
        }
        let ahead = self.ranks.iter().filter(|other| **other < rank).count();
        // Equals are not before it, and what it dominates is no longer in its front.
        let beside =
            |(other, of): &(&Vec<f64>, &usize)| **of == rank && !dominates(own, other) && other.as_slice() != own;
        let beside: Vec<&[f64]> =
            self.losses.iter().zip(&self.ranks).filter(beside).map(|(other, _)| other.as_slice()).collect();
        let room = kept.saturating_sub(ahead);
        room > beside.len() || is_spread(own, &beside, room)
    }
}

/// Whether `own` is among the first `room` points of a front in the order that covers it; of equally good points it is the
/// first.
fn is_spread(own: &[f64], beside: &[&[f64]], room: usize) -> bool {
    // Its order must not depend on that of the trials.
    let mut points: Vec<&[f64]> = beside.to_vec();
    points.sort_by(|a, b| lexicographic(a, b));
    points.insert(0, own);
    let places: Vec<Vec<f64>> = (0..own.len()).map(|objective| places(&points, objective)).collect();
    let between = |a: usize, b: usize| places.iter().map(|places| (places[a] - places[b]).powi(2)).sum::<f64>();
    let mut distance = vec![f64::INFINITY; points.len()];
    for turn in 0..room {
        let chosen = match places.get(turn) {
            // The end of the front in this objective.
            Some(places) => first_least(places),
            None => first_least(&distance.iter().map(|distance| -distance).collect::<Vec<_>>()),
        };
        if chosen == 0 {
            return true;
        }
        for (other, distance) in distance.iter_mut().enumerate() {
            *distance = distance.min(between(other, chosen));
        }
    }
    false
}

/// For each point, how many are better in an objective.
fn places(points: &[&[f64]], objective: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = points.iter().map(|point| point[objective]).collect();
    sorted.sort_by(f64::total_cmp);
    points.iter().map(|point| sorted.partition_point(|other| *other < point[objective]) as f64).collect()
}

/// The place of the least number, of equal ones the first.
fn first_least(numbers: &[f64]) -> usize {
    (1..numbers.len()).fold(0, |least, place| if numbers[place] < numbers[least] { place } else { least })
}

fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    let order = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    order.fold(Ordering::Equal, Ordering::then)
}
