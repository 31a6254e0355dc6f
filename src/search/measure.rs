//! What a search can optimise and constrain: metrics of the validation rows, and what a network costs.

use crate::history::{CONSTRAINTS, Direction};
use crate::study::Study;
use crate::train::Metric;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;

/// Something that is measured of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A metric on the validation rows.
    Metric(Metric),
    /// The number of weights and biases.
    Parameters,
    /// Wall-clock seconds of the training, validation excluded, with the threads that it has and beside other trials.
    TrainingSeconds,
    /// Wall-clock seconds to evaluate 1,000 rows: the least of five passes over the validation rows, with the
    /// threads of the trial and beside other trials.
    InferenceSeconds,
}

/// Passes of which the fastest counts: others are slowed down by what else runs.
pub const PASSES: usize = 5;
/// The same where these say that a constraint is broken.
pub const DOUBTFUL_PASSES: usize = 20;

/// What a network costs, by name.
const COSTS: [(&str, Measure); 3] = [
    ("parameters", Measure::Parameters),
    ("training_seconds", Measure::TrainingSeconds),
    ("inference_seconds", Measure::InferenceSeconds),
];

impl Measure {
    /// Its name on the command line and in the storage.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Metric(metric) => metric.name(),
            cost => COSTS.iter().find(|row| row.1 == cost).map_or("", |row| row.0),
        }
    }

    /// All names, the metrics first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Metric::names().chain(COSTS.map(|row| row.0))
    }

    /// The measure of that name; a hyphen is as good as an underscore. `place` is for the message.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn by_name(place: &str, name: &str) -> Result<Self> {
        let wanted = name.replace('-', "_");
        let cost = COSTS.iter().find(|row| row.0 == wanted).map(|row| row.1);
        let metric = || Metric::by_name(&wanted).ok().map(Measure::Metric);
        cost.or_else(metric).ok_or_else(|| Error::unknown(place, name, Self::names()))
    }

    /// Which way is better: that of the metric; a cost should be small.
    pub fn direction(self) -> Direction {
        match self {
            Measure::Metric(metric) if metric.larger_is_better() => Direction::Maximize,
            _ => Direction::Minimize,
        }
    }

    /// The metric, where it is one.
    pub fn metric(self) -> Option<Metric> {
        match self {
            Measure::Metric(metric) => Some(metric),
            _ => None,
        }
    }
}

impl From<Metric> for Measure {
    fn from(metric: Metric) -> Self {
        Measure::Metric(metric)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The side on which a constraint is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
}

/// A condition on a trial, such as `parameters <= 100000`. What is measured is a [`Measure`], or of a command a name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constraint<M = Measure> {
    /// What is measured.
    pub measure: M,
    /// On which side of the limit it should be.
    pub bound: Bound,
    /// The limit itself.
    pub limit: f64,
}

impl Constraint {
    /// Reads `NAME <= X` or `NAME >= X`. `place` is for the message.
    ///
    /// # Errors
    /// It is not of that form, the name is unknown, or the limit no finite number.
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        Self::read(place, text, |name| Measure::by_name(place, name))
    }
}

impl Constraint<String> {
    /// The same with a name of one's own, which is one word.
    ///
    /// # Errors
    /// It is not of that form, or the limit no finite number.
    pub fn named(place: &str, text: &str) -> Result<Self> {
        Self::read(place, text, |name| match name.split_whitespace().count() {
            1 => Ok(name.to_owned()),
            _ => Err(Error::input(format!(
                "{place} is `{text}` (its name is not one word), `memory <= 100` is expected"
            ))),
        })
    }

    /// By how much it is broken where `measured`, or else the value of that name, says so; none where neither does.
    pub fn violation_among(&self, measured: &BTreeMap<String, f64>, metrics: &[String], values: &[f64]) -> Option<f64> {
        let of_values = || values.get(metrics.iter().position(|metric| *metric == self.measure)?);
        measured.get(&self.measure).or_else(of_values).map(|value| self.violation(*value))
    }
}

impl<M> Constraint<M> {
    /// Those that a search has begun the study with, each by `read` ([`Constraint::parse`] or [`Constraint::named`]).
    ///
    /// # Errors
    /// The storage fails, or holds what is no such constraint.
    pub fn of_study(study: &Study, read: impl Fn(&str, &str) -> Result<Self>) -> Result<Vec<Self>> {
        let kept = study.attribute(CONSTRAINTS)?.unwrap_or_default();
        let texts = kept.as_array().into_iter().flatten().filter_map(|text| text.as_str());
        let place = format!("study `{}`: hpt:{CONSTRAINTS}", study.name());
        texts.map(|text| read(&place, text)).collect()
    }

    fn read(place: &str, text: &str, measure: impl FnOnce(&str) -> Result<M>) -> Result<Self> {
        let wrong = |why: &str| {
            Error::input(format!(
                "{place} is `{text}` ({why}); `NAME <= X` or `NAME >= X` is expected, as in `parameters <= 100000`"
            ))
        };
        let bounds = [("<=", Bound::AtMost), (">=", Bound::AtLeast)];
        let split = |(sign, bound): (&str, Bound)| text.split_once(sign).map(|(name, limit)| (name, limit, bound));
        let (name, limit, bound) =
            bounds.into_iter().find_map(split).ok_or_else(|| wrong("it has neither <= nor >="))?;
        let limit = limit.trim().replace('_', "");
        match limit.parse::<f64>() {
            Ok(limit) if limit.is_finite() => Ok(Constraint { measure: measure(name.trim())?, bound, limit }),
            _ => Err(wrong("the limit is no number")),
        }
    }

    /// By how much `value` breaks it, as a share of the limit so that constraints can be added; at most 0 where it is
    /// kept. Absolute for a limit of 0; infinite for a value that is not a number.
    pub fn violation(&self, value: f64) -> f64 {
        let over = match self.bound {
            Bound::AtMost => value - self.limit,
            Bound::AtLeast => self.limit - value,
        };
        let scale = if self.limit == 0.0 { 1.0 } else { self.limit.abs() };
        if over.is_nan() { f64::INFINITY } else { over / scale }
    }
}

impl<M: fmt::Display> fmt::Display for Constraint<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.bound == Bound::AtMost { "<=" } else { ">=" };
        write!(f, "{} {sign} {}", self.measure, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_measure() {
        for name in Measure::names() {
            assert_eq!(Measure::by_name("--metric", name).unwrap().name(), name);
        }
        assert_eq!(Measure::by_name("", "training-seconds").unwrap(), Measure::TrainingSeconds);
        let message = Measure::by_name("--metric", "paramters").unwrap_err().to_string();
        assert!(message.contains("--metric") && message.contains("did you mean `parameters`"), "{message}");
        assert_eq!(Measure::Parameters.direction(), Direction::Minimize);
        assert_eq!(Measure::Metric(Metric::Accuracy).direction(), Direction::Maximize);
    }

    #[test]
    fn constraints_are_read_and_measured() {
        let constraint = Constraint::parse("--constraint", "parameters <= 100_000").unwrap();
        assert_eq!(constraint, Constraint { measure: Measure::Parameters, bound: Bound::AtMost, limit: 1e5 });
        assert_eq!((constraint.violation(1e5), constraint.violation(1.5e5)), (0.0, 0.5));
        let accuracy = Constraint::parse("", "accuracy>=0.5").unwrap();
        assert_eq!((accuracy.violation(0.75), accuracy.violation(0.25)), (-0.5, 0.5));
        assert_eq!(accuracy.violation(f64::NAN), f64::INFINITY);
        assert_eq!(accuracy.to_string(), "accuracy >= 0.5");
        for (text, part) in [
            ("parameters < 5", "neither <= nor >="),
            ("parameters <= many", "no number"),
            ("parameters <= inf", "no number"),
            ("params <= 5", "`params` is not known"),
        ] {
            let message = Constraint::parse("--constraint", text).unwrap_err().to_string();
            assert!(message.starts_with("--constraint") && message.contains(part), "{message}");
        }
    }

    #[test]
    fn constraints_of_commands_have_names_of_their_own() {
        let constraint = Constraint::named("--constraint", "peak_memory <= 1_000").unwrap();
        assert_eq!((constraint.measure.as_str(), constraint.violation(1500.0)), ("peak_memory", 0.5));
        for text in ["<= 4", "peak memory <= 4", "memory <= much"] {
            assert!(
                Constraint::named("--constraint", text).unwrap_err().to_string().starts_with("--constraint"),
                "{text}"
            );
        }
    }
}
