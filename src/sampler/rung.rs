//! A history as of one rung: what a model learns from where trials were stopped at rungs.
//!
//! Values after few steps and values at the end are not to be compared. As in BOHB (Falkner et al., "BOHB: robust and
//! efficient hyperparameter optimization at scale", ICML 2018) a model is therefore that of one budget: the largest
//! step at which trials ended and at which enough of them have a value, d + 3 for d parameters (the paper's N_min + 2).
//! There the history ends: what came so far is complete with what it had reported there, in every objective, also where
//! it went on or is under way. What ended before by itself (early stopping) counts with its value at every larger
//! budget. Trials that were stopped before keep what they reported: a model may leave them out, or expect of them what
//! others came to.

use super::Ask;
use crate::history::{Direction, State, Trial};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The history at the largest rung with enough trials, and that rung; none where no step has enough.
pub(super) fn at_largest<'a>(ask: &Ask<'a>) -> Option<(u64, Cow<'a, [Trial]>)> {
    let rung = largest(ask.history, ask.directions, ask.space.len() + 3)?;
    let is_past =
        |trial: &Trial| values_at(trial, ask.directions, rung).is_some_and(|values| *values != trial.values[..]);
    if !ask.history.iter().any(|trial| trial.state != State::Complete || is_past(trial)) {
        return Some((rung, Cow::Borrowed(ask.history)));
    }
    Some((rung, ask.history.iter().map(|trial| seen_from(trial, ask.directions, rung)).collect()))
}

/// The largest step at which trials ended and so many have a value.
fn largest(history: &[Trial], directions: &[Direction], enough: usize) -> Option<u64> {
    let ended = history.iter().filter(|trial| matches!(trial.state, State::Complete | State::Pruned));
    let steps: BTreeSet<u64> = ended.map(last_step).collect();
    let known = |step: u64| history.iter().filter(|trial| values_at(trial, directions, step).is_some()).count();
    steps.into_iter().rev().find(|step| known(*step) >= enough)
}

/// The last step that a trial reported.
pub(super) fn last_step(trial: &Trial) -> u64 {
    trial.last_intermediate().map_or(0, |(step, _)| step)
}

/// The values of a trial at a step; none where it has none there, or not yet.
fn values_at<'a>(trial: &'a Trial, directions: &[Direction], step: u64) -> Option<Cow<'a, [f64]>> {
    let values = match trial.state {
        State::Complete if last_step(trial) <= step => Some(Cow::Borrowed(&trial.values[..])),
        State::Failed => None,
        _ => trial.reached_at(step),
    };
    values.filter(|values| values.len() == directions.len() && values.iter().all(|value| !value.is_nan()))
}

/// A trial as it was at that step.
fn seen_from(trial: &Trial, directions: &[Direction], rung: u64) -> Trial {
    let mut seen = trial.clone();
    if let Some(values) = values_at(trial, directions, rung)
        && (trial.state != State::Complete || trial.values[..] != *values)
    {
        (seen.state, seen.values) = (State::Complete, values.into_owned());
        seen.intermediate.retain(|step, _| *step <= rung);
        seen.reported.retain(|step, _| *step <= rung);
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Record;
    use crate::space::{Domain, Parameter, Space};

    const MAXIMIZE: [Direction; 1] = [Direction::Maximize];

    fn trial(number: u64, state: State, curve: &[(u64, &[f64])], values: &[f64]) -> Trial {
        let mut trial = Trial::from(Record { values: values.to_vec(), ..Record::blank(number, state) });
        curve.iter().for_each(|(step, values)| trial.take_report(*step, values));
        trial
    }

    fn view(history: &[Trial], directions: &[Direction]) -> Option<(u64, Vec<Trial>)> {
        let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
        let space = Space::new(vec![Parameter { name: "x".into(), domain, when: vec![] }]).unwrap();
        let ask = Ask { space: &space, directions, history, seed: 0, slot: 0, source: &[] };
        at_largest(&ask).map(|(rung, trials)| (rung, trials.into_owned()))
    }

    #[test]
    fn the_history_ends_at_the_largest_rung_with_enough_trials() {
        let short = |n: u64| trial(n, State::Pruned, &[(3, &[0.1])], &[0.1]);
        let long = |n: u64| trial(n, State::Pruned, &[(3, &[0.2]), (9, &[0.4])], &[0.4]);
        let mut history: Vec<Trial> = (0..3).map(short).collect();
        assert_eq!(view(&history, &MAXIMIZE), None, "one parameter wants four trials");
        history.extend((3..6).map(long));
        history.push(trial(6, State::Complete, &[(3, &[0.3]), (9, &[0.5]), (27, &[0.9])], &[0.9]));
        let (rung, seen) = view(&history, &MAXIMIZE).unwrap();
        assert_eq!(rung, 9);
        assert_eq!((seen[3].state, seen[3].value()), (State::Complete, Some(0.4)));
        assert_eq!((seen[6].value(), seen[6].last_intermediate()), (Some(0.5), Some((9, 0.5))));
        assert_eq!(seen[0], history[0], "what was stopped before stays as it was");
        history.truncate(6);
        assert_eq!(view(&history, &MAXIMIZE).unwrap().0, 3);
    }

    #[test]
    fn what_goes_on_counts_where_it_was_and_what_is_complete_everywhere() {
        let values = |trial: &Trial, step| values_at(trial, &MAXIMIZE, step).map(Cow::into_owned);
        let running = trial(0, State::Running, &[(3, &[0.1]), (9, &[0.4])], &[]);
        assert_eq!([3, 9, 27].map(|step| values(&running, step)), [Some(vec![0.1]), Some(vec![0.4]), None]);
        let early = trial(1, State::Complete, &[(3, &[0.1]), (5, &[0.2])], &[0.2]);
        assert_eq!([3, 9].map(|step| values(&early, step)), [Some(vec![0.1]), Some(vec![0.2])]);
        assert_eq!(values(&trial(2, State::Failed, &[(3, &[0.1])], &[]), 3), None);
        assert_eq!(values(&trial(3, State::Complete, &[(3, &[f64::NAN])], &[0.3]), 2), None);
        assert_eq!(values(&trial(4, State::Complete, &[(3, &[0.3])], &[f64::NAN]), 3), None);
    }

    #[test]
    fn a_history_without_stops_is_the_history() {
        let history: Vec<Trial> = (0..5).map(|n| trial(n, State::Complete, &[(9, &[0.5])], &[0.5])).collect();
        assert_eq!(view(&history, &MAXIMIZE), Some((9, history)));
    }

    #[test]
    fn several_objectives_count_where_all_were_reported() {
        let both = [Direction::Maximize, Direction::Minimize];
        let mut history: Vec<Trial> =
            (0..4).map(|n| trial(n, State::Pruned, &[(1, &[0.1, 5.0]), (2, &[0.2, 4.0])], &[])).collect();
        history.push(trial(4, State::Pruned, &[(1, &[0.1, 5.0]), (2, &[0.2])], &[]));
        let (rung, seen) = view(&history, &both).unwrap();
        assert_eq!((rung, &seen[0].values[..], seen[0].state), (2, &[0.2, 4.0][..], State::Complete));
        assert_eq!(seen[4].state, State::Pruned);
    }
}
