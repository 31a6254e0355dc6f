//! When a study has done enough: rules that look at its trials and say stop.
//!
//! Each rule is a pure function of the finished trials, so a study that has stopped stops again when it is opened, and
//! goes on where the rule is taken away. What still runs when a rule says stop is put back, like at a time limit.
//!
//! - **Target**: the best value is at least as good as one that was named.
//! - **Patience**: so many trials in a row brought nothing better; with several objectives, nothing that enters the
//!   front. Trials count in the order in which they finished; pruned and failed ones count too.

use crate::history::pareto::{self, dominates};
use crate::history::{Direction, Trial};
use crate::{Error, Result};

/// What ends a study beside the number of its trials and the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StopRules {
    /// A value that is good enough; only with one objective.
    pub target: Option<f64>,
    /// Finished trials without an improvement; at least 1.
    pub patience: Option<u64>,
}

/// Which rule it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Target,
    Patience,
}

impl StopRules {
    /// Refuses rules that mean nothing.
    ///
    /// # Errors
    /// A target that is not a number or for several objectives; a patience of 0.
    pub fn check(&self, directions: &[Direction]) -> Result<()> {
        match *self {
            StopRules { target: Some(target), .. } if target.is_nan() => {
                Err(Error::input("the value to stop at is not a number"))
            }
            StopRules { target: Some(_), .. } if directions.len() != 1 => Err(Error::input(format!(
                "a value to stop at needs one objective; this study has {}",
                directions.len()
            ))),
            StopRules { patience: Some(0), .. } => Err(Error::input(
                "0 trials without an improvement end every study before it begins; at least 1 is expected",
            )),
            _ => Ok(()),
        }
    }
}

/// The rules with what they need to know of the trials so far: each finished trial is looked at once.
#[derive(Debug, Default)]
pub(super) struct Watch {
    rules: StopRules,
    directions: Vec<Direction>,
    /// Losses of the best trials so far: one, or the front.
    best: Vec<Vec<f64>>,
    /// Finished trials since the last improvement.
    without: u64,
}

impl Watch {
    /// After the trials that are finished already.
    pub fn new(rules: StopRules, directions: &[Direction], trials: &[Trial]) -> Self {
        let mut watch = Watch { rules, directions: directions.to_vec(), ..Watch::default() };
        let mut finished: Vec<&Trial> = trials.iter().filter(|trial| trial.state.is_finished()).collect();
        finished.sort_by_key(|trial| (trial.finished, trial.number));
        finished.into_iter().for_each(|trial| watch.add(trial));
        watch
    }

    /// Takes a trial that has just finished. What was lost or deleted has not been tried.
    pub fn add(&mut self, trial: &Trial) {
        if super::cache::is_put_aside(trial) {
            return;
        }
        match pareto::losses(&self.directions, trial).filter(|_| trial.is_feasible()) {
            Some(losses) if self.improves(&losses) => {
                self.best.retain(|known| !dominates(&losses, known));
                self.best.push(losses);
                self.without = 0;
            }
            _ => self.without += 1,
        }
    }

    /// The rule that says stop, if one does.
    pub fn says(&self) -> Option<Rule> {
        let reached = |target: f64| {
            let best = self.best.first().and_then(|values| values.first());
            best.is_some_and(|&best| best <= self.directions[0].loss(target))
        };
        if self.rules.target.is_some_and(reached) {
            return Some(Rule::Target);
        }
        // Before anything is complete there is nothing to improve on.
        let patient = |patience: u64| self.best.is_empty() || self.without < patience;
        (!self.rules.patience.is_none_or(patient)).then_some(Rule::Patience)
    }

    fn improves(&self, losses: &[f64]) -> bool {
        self.best.iter().all(|known| known != losses && !dominates(known, losses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Record, State};

    fn trial(number: u64, values: &[f64]) -> Trial {
        let state = if values.is_empty() { State::Pruned } else { State::Complete };
        Trial::from(Record { values: values.to_vec(), ..Record::blank(number, state) })
    }

    fn says(rules: StopRules, directions: &[Direction], values: &[&[f64]]) -> Option<Rule> {
        let trials: Vec<Trial> = values.iter().enumerate().map(|(i, values)| trial(i as u64, values)).collect();
        Watch::new(rules, directions, &trials).says()
    }

    #[test]
    fn a_target_is_reached_from_the_right_side() {
        let rules = StopRules { target: Some(0.5), patience: None };
        for (direction, values, expected) in [
            (Direction::Minimize, [&[0.6][..], &[]], None),
            (Direction::Minimize, [&[0.6], &[0.5]], Some(Rule::Target)),
            (Direction::Maximize, [&[0.4], &[0.3]], None),
            (Direction::Maximize, [&[0.9], &[0.3]], Some(Rule::Target)),
        ] {
            assert_eq!(says(rules, &[direction], &values), expected, "{direction:?} {values:?}");
        }
    }

    #[test]
    fn patience_counts_what_finished_since_the_last_improvement() {
        let rules = StopRules { target: None, patience: Some(3) };
        let one = |values: &[&[f64]]| says(rules, &[Direction::Minimize], values).is_some();
        assert!(!one(&[&[1.0], &[2.0], &[1.0]]), "two without: the same value is no improvement");
        assert!(one(&[&[1.0], &[2.0], &[1.0], &[]]), "a pruned trial counts");
        assert!(!one(&[&[1.0], &[2.0], &[], &[0.5]]));
        assert!(!one(&[&[], &[], &[], &[]]), "nothing to improve on yet");
        let both = [Direction::Minimize, Direction::Maximize];
        let front = |values: &[&[f64]]| says(rules, &both, values).is_some();
        assert!(!front(&[&[1.0, 1.0], &[2.0, 2.0], &[3.0, 3.0], &[4.0, 4.0]]), "each enters the front");
        assert!(front(&[&[1.0, 1.0], &[1.0, 1.0], &[2.0, 1.0], &[1.0, 0.5]]));
    }

    #[test]
    fn rules_that_mean_nothing_are_refused() {
        let two = [Direction::Minimize; 2];
        for (rules, directions) in [
            (StopRules { target: Some(f64::NAN), patience: None }, &two[..1]),
            (StopRules { target: Some(1.0), patience: None }, &two),
            (StopRules { target: None, patience: Some(0) }, &two[..1]),
        ] {
            assert!(rules.check(directions).is_err(), "{rules:?}");
        }
        assert!(StopRules { target: Some(1.0), patience: Some(1) }.check(&two[..1]).is_ok());
    }
}
