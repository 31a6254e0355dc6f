//! What a study has seen: directions, trials and their states. The currency of samplers, pruners and storage.

pub mod pareto;

use crate::space::{Domain, Params};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Whether smaller or larger values of an objective are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Smaller is better.
    Minimize,
    /// Larger is better.
    Maximize,
}

impl Direction {
    /// True where `a` is better than `b`; a NaN is never better and always worse than a number.
    pub fn better(self, a: f64, b: f64) -> bool {
        match self {
            _ if a.is_nan() => false,
            _ if b.is_nan() => true,
            Direction::Minimize => a < b,
            Direction::Maximize => a > b,
        }
    }

    /// The value as a loss: negated where larger is better.
    pub fn loss(self, value: f64) -> f64 {
        match self {
            Direction::Minimize => value,
            Direction::Maximize => -value,
        }
    }

    /// `minimize` or `maximize`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Minimize => "minimize",
            Direction::Maximize => "maximize",
        }
    }
}

/// System attribute of a trial, Optuna's: by how much it breaks each constraint.
pub const CONSTRAINTS: &str = "constraints";

/// System attribute of a trial whose steps are parts of a whole (folds, repetitions, instances) and no progress: its
/// value is the mean of theirs.
pub const OF_PARTS: &str = "hpt:of_parts";

/// System attribute of a trial that went on from what an earlier attempt had come to: the seconds which that took.
pub const EARLIER_SECONDS: &str = "hpt:earlier_seconds";

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Enqueued, not started.
    Waiting,
    /// Some worker is at it.
    Running,
    /// Finished with a value.
    Complete,
    /// Stopped early by a pruner; its value is its last intermediate value, or the mean of the parts that it has seen.
    Pruned,
    /// Ended without a value.
    Failed,
}

impl State {
    /// The names of the command line: `waiting`, `running`, `complete`, `pruned`, `failed`.
    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Complete => "complete",
            State::Pruned => "pruned",
            State::Failed => "failed",
        }
    }

    /// True where nothing will change any more.
    pub fn is_finished(self) -> bool {
        matches!(self, State::Complete | State::Pruned | State::Failed)
    }
}

/// One trial as the storage has it: a [`Record`] that clones share, so that lists of trials cost little to copy.
/// Whoever changes a shared one gets a copy of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial(Arc<Record>);

impl Trial {
    /// Whether it is a clone of the other one that nobody has changed.
    pub fn is_shared_with(&self, other: &Trial) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Trial {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.0
    }
}

impl DerefMut for Trial {
    fn deref_mut(&mut self) -> &mut Record {
        Arc::make_mut(&mut self.0)
    }
}

impl From<Record> for Trial {
    fn from(record: Record) -> Self {
        Trial(Arc::new(record))
    }
}

/// What is known of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number in the study, from 0.
    pub number: u64,
    /// Where it stands.
    pub state: State,
    /// The active parameters.
    pub params: Params,
    /// Where each parameter came from (what Optuna calls its distribution). A study's trials with the same ones share
    /// them.
    pub domains: Arc<BTreeMap<String, Domain>>,
    /// One value an objective; empty while there is none.
    pub values: Vec<f64>,
    /// Reported values by step (epochs count from 1); with several objectives those of the first.
    pub intermediate: BTreeMap<u64, f64>,
    /// With several objectives what was reported of all of them, by step: one value an objective.
    pub reported: BTreeMap<u64, Vec<f64>>,
    /// Attributes for users (timing, test results). A study leaves long ones in its storage (`Study::attributes_of`).
    pub user: BTreeMap<String, serde_json::Value>,
    /// Attributes of the machinery (slot, plan, rungs).
    pub system: BTreeMap<String, serde_json::Value>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

impl Record {
    /// One with nothing in it.
    pub fn blank(number: u64, state: State) -> Self {
        Record {
            number,
            state,
            params: Params::new(),
            domains: Arc::default(),
            values: Vec::new(),
            intermediate: BTreeMap::new(),
            reported: BTreeMap::new(),
            user: BTreeMap::new(),
            system: BTreeMap::new(),
            started: None,
            finished: None,
        }
    }
}

impl Trial {
    /// One with nothing in it.
    pub fn blank(number: u64, state: State) -> Self {
        Trial::from(Record::blank(number, state))
    }

    /// The value of a single-objective trial.
    pub fn value(&self) -> Option<f64> {
        self.values.first().copied()
    }

    /// The last reported step and its value.
    pub fn last_intermediate(&self) -> Option<(u64, f64)> {
        self.intermediate.iter().next_back().map(|(&step, &value)| (step, value))
    }

    /// Takes over a report: the value of the first objective, or one value an objective.
    pub fn take_report(&mut self, step: u64, values: &[f64]) {
        let Some(&first) = values.first() else { return };
        self.intermediate.insert(step, first);
        match values.len() {
            1 => drop(self.reported.remove(&step)),
            _ => drop(self.reported.insert(step, values.to_vec())),
        }
    }

    /// Forgets what was reported of all objectives at steps at which the first has been reported anew.
    pub(crate) fn forget_replaced(&mut self) {
        if self.reported.is_empty() {
            return;
        }
        let Record { intermediate, reported, .. } = &mut **self;
        let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
        reported.retain(|step, values| {
            intermediate.get(step).zip(values.first()).is_some_and(|(now, then)| same(*now, *then))
        });
    }

    /// All that was reported at a step: one value an objective, or that of the first alone.
    pub fn report_at(&self, step: u64) -> Option<&[f64]> {
        let all = self.reported.get(&step).map(Vec::as_slice);
        all.or_else(|| self.intermediate.get(&step).map(std::slice::from_ref))
    }

    /// Whether its steps are parts of a whole ([`OF_PARTS`]).
    pub fn is_of_parts(&self) -> bool {
        self.system.contains_key(OF_PARTS)
    }

    /// What it had come to at a step: what it reported there, or where its steps are parts of a whole the means up to
    /// it; of the first objective alone, or one value an objective. Means over the same parts can be compared.
    pub fn reached_at(&self, step: u64) -> Option<Cow<'_, [f64]>> {
        let own = self.report_at(step)?;
        if !self.is_of_parts() {
            return Some(Cow::Borrowed(own));
        }
        let parts = || self.intermediate.range(..=step).filter_map(|(step, _)| self.report_at(*step));
        let (count, objectives) = (parts().count() as f64, parts().map(<[f64]>::len).min().unwrap_or(0));
        Some((0..objectives).map(|k| parts().map(|values| values[k]).sum::<f64>() / count).collect())
    }

    /// What it has come to at its last step.
    pub fn reached(&self) -> Option<Cow<'_, [f64]>> {
        self.reached_at(self.last_intermediate()?.0)
    }

    /// Seconds from start to end, where both are known, and those of the attempts that it went on from.
    pub fn seconds(&self) -> Option<f64> {
        let earlier = self.system.get(EARLIER_SECONDS).and_then(serde_json::Value::as_f64);
        Some(self.finished?.seconds_since(self.started?) + earlier.unwrap_or(0.0))
    }

    /// By how much it breaks each constraint, as Optuna keeps it: what is at most 0 is kept. Empty where nothing was
    /// said.
    pub fn constraints(&self) -> Vec<f64> {
        // JSON has no number for what is not one, nor for infinity.
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or(f64::INFINITY);
        let list = self.system.get(CONSTRAINTS).and_then(|list| list.as_array());
        // Optuna 5 may keep each under a name of its own.
        let named = self
            .system
            .iter()
            .filter(|(key, _)| key.strip_prefix(CONSTRAINTS).is_some_and(|rest| rest.starts_with(':')));
        list.into_iter().flatten().chain(named.map(|(_, value)| value)).map(number).collect()
    }

    /// The sum of what breaks its constraints; 0 where it keeps all, or has none.
    pub fn violation(&self) -> f64 {
        self.constraints().iter().map(|value| value.max(0.0)).sum()
    }

    /// True where it keeps all constraints that are known of it.
    pub fn is_feasible(&self) -> bool {
        self.violation() <= 0.0
    }

    /// Its place in the plan: which keyed random numbers it draws. A repetition of a trial that died inherits it.
    pub fn slot(&self) -> u64 {
        self.system.get("hpt:slot").and_then(serde_json::Value::as_u64).unwrap_or(self.number)
    }
}

/// A point in time, UTC, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The present.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(since.as_micros() as i64)
    }

    /// Seconds from `earlier` to this.
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (self.0 - earlier.0) as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_of_parts_has_come_to_the_mean_of_those_it_has_seen() {
        let mut trial = Trial::blank(0, State::Running);
        assert_eq!(trial.reached(), None);
        [(1, 0.5), (2, 0.25), (4, 0.75)].iter().for_each(|(step, value)| trial.take_report(*step, &[*value]));
        assert_eq!((trial.reached().as_deref(), trial.reached_at(3)), (Some(&[0.75][..]), None));
        trial.system.insert(OF_PARTS.into(), true.into());
        let reached = |trial: &Trial, step| trial.reached_at(step).map(Cow::into_owned);
        assert_eq!([1, 2, 4].map(|step| reached(&trial, step)), [0.5, 0.375, 0.5].map(|value| Some(vec![value])));
        // Of several objectives those are known that all parts have.
        trial.take_report(1, &[0.5, 8.0]);
        assert_eq!((reached(&trial, 1), reached(&trial, 2)), (Some(vec![0.5, 8.0]), Some(vec![0.375])));
        trial.take_report(2, &[0.25, 4.0]);
        assert_eq!(reached(&trial, 2), Some(vec![0.375, 6.0]));
    }
}
