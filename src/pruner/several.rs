//! A place for a trial among others where there are several objectives.
//!
//! Trials are compared by what they reported of all objectives at one step; who reported of the first alone is neither
//! judged nor compared with, since being worse there may be the price of being better elsewhere. Whoever is dominated
//! comes after whoever is not (non-dominated sorting, as NSGA-II has it). Within a front those come first that cover
//! it: the best in each objective, then always the one that is farthest from all before it. That is the order of
//! multi-objective ASHA (Schmucker, Donini, Zafar, Salinas and Archambeau, "Multi-objective asynchronous successive
//! halving", arXiv 2106.12639, 2021), whose ε-net did best among the rules they tried. Unlike there a front is never
//! cut where nobody dominates it: a trial is stopped only if another one was better. The more objectives there are, the
//! fewer are stopped.
//!
//! Distances are between ranks in each objective: units do not matter, nor whether a size counts by its logarithm, just
//! as they do not with one objective. With one objective all of this is the order of the values.

use super::percentile::loss;
use crate::history::pareto::{dominates, ranks};
use crate::history::{Direction, Trial};
use std::cmp::Ordering;

/// What a trial reported at a step as losses; `None` where it did not report of every objective.
pub(super) fn losses(directions: &[Direction], trial: &Trial, step: u64) -> Option<Vec<f64>> {
    losses_of(directions, trial.report_at(step)?)
}

/// The same of a report.
pub(super) fn losses_of(directions: &[Direction], values: &[f64]) -> Option<Vec<f64>> {
    // Adding zero makes of the two zeros one.
    let loss = |(direction, value): (&Direction, &f64)| loss(*direction, *value) + 0.0;
    (values.len() == directions.len()).then(|| directions.iter().zip(values).map(loss).collect())
}

/// Whether `trial` has to hold its own against `other`. What breaks its constraints is no rival of what is not known to
/// do so, however good it is (Deb, see `history/pareto.rs`). A trial that breaks them itself is judged against all:
/// nothing would stop it else before the first feasible one, and what it breaks may change until it ends.
pub(super) fn competes(other: &Trial, trial: &Trial) -> bool {
    other.number != trial.number && (other.is_feasible() || !trial.is_feasible())
}

/// True where the last report has a value that is not a number.
pub(super) fn is_broken(trial: &Trial) -> bool {
    let last = trial.last_intermediate().and_then(|(step, _)| trial.report_at(step));
    last.is_some_and(|values| values.iter().any(|value| value.is_nan()))
}

/// What many trials reported at one step, as fronts: the first is what nobody dominates, each further one what only
/// those before it dominate.
///
/// Points come and go one by one (Li, Deb, Zhang, Suganthan and Chen, "Efficient nondomination level update method for
/// steady-state evolutionary multiobjective optimization", IEEE Trans. Cybern. 47, 2017): a new one takes its place,
/// what it dominates there moves one front on, and so forth.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Field {
    /// Each in lexicographic order. With two objectives the second one falls along it.
    fronts: Vec<Vec<Vec<f64>>>,
    count: usize,
}

impl Field {
    /// Those with these losses.
    pub fn new(others: impl Iterator<Item = Vec<f64>>) -> Self {
        let mut field = Field::default();
        field.append(others.collect());
        field
    }

    /// Adds points as fronts behind those that there are, which dominate all of them.
    fn append(&mut self, points: Vec<Vec<f64>>) {
        let ranks = ranks(&points);
        let first = self.fronts.len();
        self.count += points.len();
        let fronts = ranks.iter().max().map_or(0, |last| last + 1);
        self.fronts.resize(first + fronts, Vec::new());
        points.into_iter().zip(ranks).for_each(|(point, rank)| self.fronts[first + rank].push(point));
        self.fronts[first..].iter_mut().for_each(|front| front.sort_by(|a, b| lexicographic(a, b)));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn insert(&mut self, point: Vec<f64>) {
        self.count += 1;
        let mut rank = self.rank(&point);
        let mut coming = vec![point];
        while let Some(front) = self.fronts.get_mut(rank) {
            let leaving = displaced(front, &coming);
            if front.is_empty() {
                // All of it moves on, and so does whatever it dominates: the others keep their order.
                self.fronts[rank] = coming;
                self.fronts.insert(rank + 1, leaving);
                return;
            }
            for point in coming {
                let at = front.partition_point(|other| lexicographic(other, &point).is_lt());
                front.insert(at, point);
            }
            if leaving.is_empty() {
                return;
            }
            coming = leaving;
            rank += 1;
        }
        self.fronts.push(coming);
    }

    /// Takes one of these points out again; none where there is no such point.
    pub fn remove(&mut self, point: &[f64]) {
        let rank = self.rank(point);
        let Some(front) = self.fronts.get_mut(rank) else { return };
        let at = front.partition_point(|other| lexicographic(other, point).is_lt());
        if front.get(at).is_some_and(|found| found == point) {
            front.remove(at);
            // What comes after it may come forward, by one front and no more.
            let behind: Vec<Vec<f64>> = self.fronts.drain(rank..).flatten().collect();
            self.count -= behind.len() + 1;
            self.append(behind);
        }
    }

    /// The front that `own` would be in, from 0.
    fn rank(&self, own: &[f64]) -> usize {
        // Who is dominated by a point of a front is dominated by one of each front before it.
        self.fronts.partition_point(|front| is_behind(front, own))
    }

    /// How many are in fronts before that of `own`.
    pub fn ahead(&self, own: &[f64]) -> usize {
        self.fronts[..self.rank(own)].iter().map(Vec::len).sum()
    }

    /// Whether `own` goes on as one of the first `kept` of all, itself included. What nobody dominates always does, as
    /// the best does with one objective.
    pub fn is_among(&self, own: &[f64], kept: usize) -> bool {
        let rank = self.rank(own);
        if rank == 0 {
            return true;
        }
        let ahead: usize = self.fronts[..rank].iter().map(Vec::len).sum();
        // Equals are not before it, and what it dominates is no longer in its front.
        let is_beside = |other: &&[f64]| !dominates(own, other) && *other != own;
        let beside: Vec<&[f64]> =
            self.fronts.get(rank).into_iter().flatten().map(Vec::as_slice).filter(is_beside).collect();
        let room = kept.saturating_sub(ahead);
        room > beside.len() || is_spread(own, &beside, room)
    }
}

/// Whether a point of the front dominates `own`.
fn is_behind(front: &[Vec<f64>], own: &[f64]) -> bool {
    // Who dominates comes before in lexicographic order; with two objectives the last such one is the best in the
    // second.
    let before = front.partition_point(|other| lexicographic(other, own).is_le());
    let looked_at = if own.len() == 2 { 1 } else { before };
    front[..before].iter().rev().take(looked_at).any(|other| dominates(other, own))
}

/// Takes out of a front what points that come into it dominate.
fn displaced(front: &mut Vec<Vec<f64>>, coming: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut leaving = Vec::new();
    for point in coming {
        let behind = front.partition_point(|other| lexicographic(other, point).is_le());
        if let [_, second] = point[..] {
            // What it dominates stands in one piece.
            let end = behind + front[behind..].partition_point(|other| other[1] >= second);
            leaving.extend(front.drain(behind..end));
        } else {
            let mut rest = front.split_off(behind);
            let (gone, stays) = rest.drain(..).partition(|other| dominates(point, other));
            front.extend::<Vec<Vec<f64>>>(stays);
            leaving.extend::<Vec<Vec<f64>>>(gone);
        }
    }
    leaving.sort_by(|a, b| lexicographic(a, b));
    leaving
}

/// Whether `own` is among the first `room` points of a front in the order that covers it; of equally good points it is
/// the first.
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
