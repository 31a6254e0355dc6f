//! What followers keep of the losses of many trials, and how one of them stands among the rest: values in order where
//! there is one objective ([`Sorted`]), fronts where there are several ([`Field`]).
//!
//! Both answer by searches in what is in order already, so that a report takes a time that hardly grows with the number
//! of trials. What the answers mean is the pure functions' (`asha.rs`, `percentile.rs`).

use super::percentile::{between, loss, place};
use super::several::{self, Field};
use crate::history::Direction;

/// See the module.
pub(super) trait Standing: Default + Send + 'static {
    /// What a trial reported at a step.
    type Loss: Clone + PartialEq + Send;

    /// That of a report; none where it is not one value an objective.
    fn loss(directions: &[Direction], values: &[f64]) -> Option<Self::Loss>;

    fn insert(&mut self, loss: Self::Loss);

    /// Takes one of these out again.
    fn remove(&mut self, loss: &Self::Loss);

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether `own`, which is one of them, is among the first `kept`, or the best.
    fn is_among(&self, own: &Self::Loss, kept: usize) -> bool;

    /// Whether the best of `own` is behind the q-quantile of them; there is at least one.
    fn is_behind(&self, own: impl Iterator<Item = Self::Loss>, q: f64) -> bool;
}

/// Losses in order.
#[derive(Default)]
pub(super) struct Sorted(Vec<f64>);

impl Standing for Sorted {
    type Loss = f64;

    fn loss(directions: &[Direction], values: &[f64]) -> Option<f64> {
        Some(loss(*directions.first()?, *values.first()?))
    }

    fn insert(&mut self, loss: f64) {
        self.0.insert(self.0.partition_point(|other| other.total_cmp(&loss).is_lt()), loss);
    }

    fn remove(&mut self, loss: &f64) {
        let at = self.0.partition_point(|other| other.total_cmp(loss).is_lt());
        if self.0.get(at).is_some_and(|found| found.total_cmp(loss).is_eq()) {
            self.0.remove(at);
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_among(&self, own: &f64, kept: usize) -> bool {
        self.0.partition_point(|other| other < own) < kept.max(1)
    }

    fn is_behind(&self, own: impl Iterator<Item = f64>, q: f64) -> bool {
        own.fold(f64::INFINITY, f64::min) > quantile_of_sorted(&self.0, q)
    }
}

impl Standing for Field {
    type Loss = Vec<f64>;

    fn loss(directions: &[Direction], values: &[f64]) -> Option<Vec<f64>> {
        several::losses_of(directions, values)
    }

    fn insert(&mut self, loss: Vec<f64>) {
        Field::insert(self, loss);
    }

    fn remove(&mut self, loss: &Vec<f64>) {
        Field::remove(self, loss);
    }

    fn len(&self) -> usize {
        Field::len(self)
    }

    fn is_among(&self, own: &Vec<f64>, kept: usize) -> bool {
        Field::is_among(self, own, kept)
    }

    fn is_behind(&self, own: impl Iterator<Item = Vec<f64>>, q: f64) -> bool {
        let ahead = own.map(|own| self.ahead(&own)).min().unwrap_or(0);
        ahead as f64 > place(q, self.len())
    }
}

/// The q-quantile of non-empty values in order, linear between neighbours (as NumPy's default).
pub(super) fn quantile_of_sorted(sorted: &[f64], q: f64) -> f64 {
    let place = place(q, sorted.len());
    let low = sorted[place.floor() as usize];
    between(low, sorted.get(place.floor() as usize + 1).copied().unwrap_or(low), place.fract())
}
