//! What a model learns from: the history as losses that are finite, comparable and roughly normal.
//!
//! - A complete trial counts with its value. Several objectives become one by the augmented Chebyshev scalarisation
//!   with weights drawn for the asking slot (Knowles, "ParEGO", IEEE Trans. Evol. Comput. 10, 2006).
//! - A pruned trial counts with its last value plus what the complete trials typically gained from that step to their
//!   end, but never as better than the best of them. Where steps are parts of a whole (folds) that is the mean of the
//!   parts it has seen plus what the mean of all was more than that of these, as far as folds differ.
//! - A trial that breaks constraints counts as worse than all that keep them (Deb's rule), by how much it breaks them.
//! - A trial that failed, or whose value is not a number, counts as the worst value seen: a region that diverges is
//!   avoided, not visited again. A failure that was repeated counts by its repetition alone.
//! - Running and waiting trials are pending.

use super::Ask;
use crate::history::{Direction, State, Trial};
use crate::random::{Purpose, Stream};
use crate::space::{Params, fingerprint};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

/// Step of the keyed numbers that weigh several objectives.
const WEIGHTS: u64 = 1 << 40;
/// Share of the plain sum in the Chebyshev scalarisation.
const AUGMENTATION: f64 = 0.05;

/// Trials with losses, smaller is better, and those still under way; both in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes<'a> {
    pub(super) finished: Vec<(&'a Params, f64)>,
    pub(super) pending: Vec<&'a Params>,
    /// How many of the finished ones have a value of their own.
    pub(super) measured: usize,
}

impl<'a> Outcomes<'a> {
    pub(super) fn new(ask: &Ask<'a>) -> Self {
        let mut trials: Vec<&Trial> = ask.history.iter().collect();
        trials.sort_by_key(|trial| trial.number);
        let losses = losses(ask, &trials);
        let known = |loss: &&Option<f64>| loss.is_some();
        let measured = losses.iter().filter(known).count();
        let finite = losses.iter().flatten().copied().filter(|loss| loss.is_finite());
        let (best, worst) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let (best, worst) = if best <= worst { (best, worst) } else { (0.0, 0.0) };
        let repeated = repeated(&trials);
        let mut outcomes = Outcomes { measured, ..Outcomes::default() };
        for (trial, loss) in trials.into_iter().zip(losses) {
            match trial.state {
                State::Running | State::Waiting => outcomes.pending.push(&trial.params),
                State::Failed if repeated.contains(&trial.number) => {}
                _ => outcomes.finished.push((&trial.params, loss.unwrap_or(worst).clamp(best, worst))),
            }
        }
        outcomes
    }
}

/// What a model that needs only an order knows of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rank {
    /// Ended with this loss.
    Complete(f64),
    /// Stopped after this step with this loss.
    Pruned(u64, f64),
    /// Breaks constraints by so much.
    Infeasible(f64),
    /// Failed, or without a number.
    Broken,
    /// Not ended yet.
    Pending,
}

impl Rank {
    /// True where the trial says something about its configuration's quality.
    pub(super) fn is_measured(&self) -> bool {
        matches!(self, Rank::Complete(_) | Rank::Pruned(..) | Rank::Infeasible(_))
    }

    /// The better one is less: complete by loss, then pruned by step (the later the better) and loss, then those
    /// that break constraints, then the rest.
    pub(super) fn order(&self, other: &Rank) -> Ordering {
        let key = |rank: &Rank| match *rank {
            Rank::Complete(loss) => (0, 0, loss),
            Rank::Pruned(step, loss) => (1, u64::MAX - step, loss),
            Rank::Infeasible(violation) => (2, 0, violation),
            Rank::Broken => (3, 0, 0.0),
            Rank::Pending => (4, 0, 0.0),
        };
        let ((a, b, x), (c, d, y)) = (key(self), key(other));
        (a, b).cmp(&(c, d)).then(x.total_cmp(&y))
    }
}

/// All trials in the order of their numbers but failures that were repeated.
pub(super) fn ranked<'a>(ask: &Ask<'a>) -> Vec<(&'a Trial, Rank)> {
    let mut trials: Vec<&Trial> = ask.history.iter().collect();
    trials.sort_by_key(|trial| trial.number);
    let (losses, repeated) = (losses(ask, &trials), repeated(&trials));
    let trials = trials.into_iter().zip(losses).filter(|(trial, _)| !repeated.contains(&trial.number));
    let rank = |(trial, loss): (&'a Trial, Option<f64>)| {
        let rank = match (trial.state, loss) {
            (State::Running | State::Waiting, _) => Rank::Pending,
            (State::Complete | State::Pruned, _) if !trial.is_feasible() => Rank::Infeasible(trial.violation()),
            (State::Complete, Some(loss)) => Rank::Complete(loss),
            // Proven worse than the best, but compared with the others on the same parts.
            (State::Pruned, Some(loss)) if trial.is_of_parts() => Rank::Complete(loss),
            (State::Pruned, Some(loss)) => Rank::Pruned(trial.last_intermediate().map_or(0, |(step, _)| step), loss),
            _ => Rank::Broken,
        };
        (trial, rank)
    };
    trials.map(rank).collect()
}

/// Numbers of the failed trials whose configuration another trial has that did not fail.
pub(super) fn repeated(trials: &[&Trial]) -> HashSet<u64> {
    let failed: Vec<&&Trial> = trials.iter().filter(|trial| trial.state == State::Failed).collect();
    if failed.is_empty() {
        return HashSet::new();
    }
    let alive = trials.iter().filter(|trial| trial.state != State::Failed);
    let alive: HashSet<String> = alive.map(|trial| fingerprint(&trial.params)).collect();
    let again = failed.iter().filter(|trial| alive.contains(&fingerprint(&trial.params)));
    again.map(|trial| trial.number).collect()
}

/// The loss of each trial; none where it has no usable value. One that breaks constraints is worse than all that keep
/// them, the more so the more it breaks them, by up to twice their range.
fn losses(ask: &Ask, trials: &[&Trial]) -> Vec<Option<f64>> {
    let mut losses = plain_losses(ask, trials);
    let broken = |trial: &Trial| {
        let ended = matches!(trial.state, State::Complete | State::Pruned);
        Some(trial.violation()).filter(|violation| ended && *violation > 0.0)
    };
    let most = trials.iter().filter_map(|trial| broken(trial)).filter(|v| v.is_finite()).fold(0.0, f64::max);
    if trials.iter().all(|trial| broken(trial).is_none()) {
        return losses;
    }
    let kept = trials.iter().zip(&losses).filter(|(trial, _)| broken(trial).is_none());
    let kept = kept.filter_map(|(_, loss)| *loss).filter(|loss| loss.is_finite());
    let (best, worst) = kept.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    let (worst, range) =
        if best < worst { (worst, worst - best) } else { (if best == worst { worst } else { 0.0 }, 1.0) };
    for (loss, trial) in losses.iter_mut().zip(trials) {
        if let Some(violation) = broken(trial) {
            let share = if most > 0.0 { (violation / most).min(1.0) } else { 1.0 };
            *loss = Some(worst + range * (1.0 + share));
        }
    }
    losses
}

/// The same without a look at constraints.
fn plain_losses(ask: &Ask, trials: &[&Trial]) -> Vec<Option<f64>> {
    let number = |loss: f64| (!loss.is_nan()).then_some(loss);
    if let [direction] = *ask.directions {
        let mut gains = BTreeMap::new();
        return trials
            .iter()
            .map(|trial| match trial.state {
                State::Complete => trial.value().map(|value| direction.loss(value)).and_then(number),
                State::Pruned => pruned_loss((0, direction), trials, trial, &mut gains).and_then(number),
                _ => None,
            })
            .collect();
    }
    scalarised(ask, trials)
}

/// What a pruned trial would have come to in objective `k`: the last value plus the median gain of the complete trials
/// from that step to the end, no better than the best of those ends; `gains` keeps what [`gain_from`] said of each
/// step.
pub(super) fn pruned_loss(
    (k, direction): (usize, Direction),
    trials: &[&Trial],
    pruned: &Trial,
    gains: &mut BTreeMap<u64, (f64, f64)>,
) -> Option<f64> {
    let Some((step, _)) = pruned.last_intermediate() else {
        return pruned.values.get(k).map(|value| direction.loss(*value));
    };
    let value = *pruned.reached_at(step)?.get(k)?;
    let (gain, best) = *gains.entry(step).or_insert_with(|| gain_from(step, (k, direction), trials));
    Some((direction.loss(value) + gain).max(best))
}

/// The median change of loss of the complete trials from that step to their end, and the least loss of their ends.
fn gain_from(step: u64, (k, direction): (usize, Direction), trials: &[&Trial]) -> (f64, f64) {
    let complete = trials.iter().filter(|trial| trial.state == State::Complete);
    let ends = complete.filter_map(|trial| Some((*trial.reached_at(step)?.get(k)?, *trial.values.get(k)?)));
    let (mut gains, mut best) = (Vec::new(), f64::NEG_INFINITY);
    for (then, end) in ends.filter(|(then, end)| then.is_finite() && end.is_finite()) {
        let end = direction.loss(end);
        gains.push(end - direction.loss(then));
        best = if gains.len() == 1 { end } else { best.min(end) };
    }
    gains.sort_by(f64::total_cmp);
    (gains.get(gains.len() / 2).copied().unwrap_or(0.0), best)
}

/// Several objectives as one, each over its range among the complete trials.
fn scalarised(ask: &Ask, trials: &[&Trial]) -> Vec<Option<f64>> {
    let objectives = ask.directions.len();
    let all: Vec<Option<Vec<f64>>> = trials
        .iter()
        .map(|trial| {
            let values: Vec<f64> = ask.directions.iter().zip(&trial.values).map(|(d, v)| d.loss(*v)).collect();
            let usable = trial.state == State::Complete && values.len() == objectives;
            (usable && values.iter().all(|value| value.is_finite())).then_some(values)
        })
        .collect();
    let range = |k: usize| {
        let values = all.iter().flatten().map(|values| values[k]);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)))
    };
    let ranges: Vec<(f64, f64)> = (0..objectives).map(range).collect();
    let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, WEIGHTS);
    // Exponential numbers over their sum are uniform on the simplex.
    let weights: Vec<f64> = (0..objectives).map(|_| -(1.0 - stream.uniform()).ln()).collect();
    let sum: f64 = weights.iter().sum();
    let scalar = |values: &Vec<f64>| {
        let terms = values.iter().zip(&ranges).zip(&weights).map(|((value, (low, high)), weight)| {
            weight / sum * if high > low { (value - low) / (high - low) } else { 0.0 }
        });
        let (largest, total) = terms.fold((0.0, 0.0), |(m, t): (f64, f64), x| (m.max(x), t + x));
        largest + AUGMENTATION * total
    };
    all.iter().map(|values| values.as_ref().map(scalar)).collect()
}

/// Makes losses roughly normal with mean 0 and deviation 1, keeping their order: the Yeo–Johnson power transform
/// (Biometrika 87, 2000) at its most likely power, from −1 to 1, so that only the bad end is ever compressed.
pub(super) fn normalise(losses: &[f64]) -> Vec<f64> {
    let plain = standardise(losses);
    let likelihood = |power: f64| {
        let moved: Vec<f64> = plain.iter().map(|x| yeo_johnson(*x, power)).collect();
        let jacobian: f64 = plain.iter().map(|x| (power - 1.0) * x.signum() * x.abs().ln_1p()).sum();
        jacobian - 0.5 * plain.len() as f64 * variance(&moved).max(1e-300).ln()
    };
    let powers = (0..=20).map(|i| 1.0 - 0.1 * f64::from(i));
    let best = powers.max_by(|a, b| likelihood(*a).total_cmp(&likelihood(*b))).unwrap_or(1.0);
    standardise(&plain.iter().map(|x| yeo_johnson(*x, best)).collect::<Vec<_>>())
}

fn yeo_johnson(x: f64, power: f64) -> f64 {
    match x {
        _ if x >= 0.0 && power.abs() < 1e-9 => x.ln_1p(),
        _ if x >= 0.0 => ((x + 1.0).powf(power) - 1.0) / power,
        _ => (1.0 - (1.0 - x).powf(2.0 - power)) / (2.0 - power),
    }
}

pub(super) fn standardise(values: &[f64]) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let deviation = variance(values).sqrt();
    // Values that differ by rounding alone are all the same.
    let scale = if deviation > 1e-12 * mean.abs() && deviation.is_finite() { 1.0 / deviation } else { 0.0 };
    values.iter().map(|value| (value - mean) * scale).collect()
}

fn variance(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Record;
    use crate::space::Space;

    fn trial(number: u64, state: State, value: Option<f64>, curve: &[f64]) -> Trial {
        Trial::from(Record {
            params: [("x".to_owned(), (number as f64).into())].into_iter().collect(),
            values: value.into_iter().collect(),
            intermediate: curve.iter().enumerate().map(|(i, value)| (i as u64 + 1, *value)).collect(),
            ..Record::blank(number, state)
        })
    }

    fn finished(history: &[Trial], directions: &[Direction]) -> (Vec<f64>, usize, usize) {
        let ask = Ask { space: &Space::default(), directions, history, seed: 1, slot: 9, source: &[] };
        let outcomes = Outcomes::new(&ask);
        let losses = outcomes.finished.iter().map(|(_, loss)| *loss).collect();
        (losses, outcomes.pending.len(), outcomes.measured)
    }

    #[test]
    fn every_state_counts_as_documented() {
        use State::{Complete, Failed, Pruned, Running, Waiting};
        let mut history = vec![
            trial(0, Complete, Some(0.9), &[0.5, 0.9]),
            trial(1, Complete, Some(0.8), &[0.6, 0.8]),
            trial(2, Complete, Some(0.6), &[0.4, 0.6]),
            // Gains 0.4, 0.2, 0.2 from the first step to the end: 0.2 is typical.
            trial(3, Pruned, Some(0.3), &[0.3]),
            trial(4, Pruned, Some(0.85), &[0.85]),
            trial(5, Failed, None, &[]),
            trial(6, Complete, Some(f64::NAN), &[]),
            trial(7, Running, None, &[0.7]),
            trial(8, Waiting, None, &[]),
            // It died while trial 1 repeats it.
            trial(9, Failed, None, &[]),
        ];
        history[9].params = history[1].params.clone();
        let (losses, pending, measured) = finished(&history, &[Direction::Maximize]);
        let expected = [-0.9, -0.8, -0.6, -0.5, -0.9, -0.5, -0.5];
        assert!(losses.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{losses:?}");
        assert_eq!((losses.len(), pending, measured), (7, 2, 5));
    }

    #[test]
    fn folds_are_compared_by_the_means_over_the_same_ones() {
        let mut history = vec![
            // The second fold is harder by one than the first, the third easier.
            trial(0, State::Complete, Some(1.0), &[1.0, 2.0, 0.0]),
            trial(1, State::Complete, Some(3.0), &[3.0, 4.0, 2.0]),
            trial(2, State::Complete, Some(9.0), &[9.0, 10.0, 8.0]),
            trial(3, State::Pruned, Some(4.5), &[4.0, 5.0]),
        ];
        history.iter_mut().for_each(|trial| drop(trial.system.insert("hpt:of_parts".into(), true.into())));
        let directions = [Direction::Minimize];
        assert_eq!(finished(&history, &directions).0, [1.0, 3.0, 9.0, 4.0]);
        let ask =
            Ask { space: &Space::default(), directions: &directions, history: &history, seed: 1, slot: 9, source: &[] };
        let ranks: Vec<Rank> = ranked(&ask).into_iter().map(|(_, rank)| rank).collect();
        assert_eq!(ranks[3], Rank::Complete(4.0));
        assert!(ranks[3].order(&ranks[2]).is_lt() && ranks[1].order(&ranks[3]).is_lt());
    }

    #[test]
    fn infinities_count_as_the_finite_ends() {
        let values = [1.0, f64::INFINITY, 3.0, f64::NEG_INFINITY];
        let history: Vec<Trial> = (0..4).map(|i| trial(i, State::Complete, Some(values[i as usize]), &[])).collect();
        assert_eq!(finished(&history, &[Direction::Minimize]).0, [1.0, 3.0, 3.0, 1.0]);
    }

    #[test]
    fn what_breaks_constraints_is_worse_than_all_that_keeps_them() {
        let mut history: Vec<Trial> = (0..4).map(|i| trial(i, State::Complete, Some(i as f64), &[])).collect();
        history.push(trial(4, State::Pruned, None, &[]));
        for (place, violation) in [(0, 0.5), (1, -1.0), (4, 2.0)] {
            history[place].system.insert("constraints".into(), serde_json::json!([violation, 0.0]));
        }
        let (losses, _, measured) = finished(&history, &[Direction::Minimize]);
        assert_eq!((losses, measured), (vec![5.5, 1.0, 2.0, 3.0, 7.0], 5));
        let ask = Ask {
            space: &Space::default(),
            directions: &[Direction::Minimize],
            history: &history,
            seed: 1,
            slot: 9,
            source: &[],
        };
        let ranks: Vec<Rank> = ranked(&ask).into_iter().map(|(_, rank)| rank).collect();
        assert_eq!((ranks[0], ranks[1], ranks[4]), (Rank::Infeasible(0.5), Rank::Complete(1.0), Rank::Infeasible(2.0)));
        assert!(ranks[1].order(&ranks[0]).is_lt() && ranks[0].order(&ranks[4]).is_lt());
        // Where none keeps them, the direction is still known.
        history.iter_mut().for_each(|trial| {
            let constraint = serde_json::json!([trial.number + 1]);
            trial.system.insert("constraints".into(), constraint);
        });
        assert_eq!(finished(&history, &[Direction::Minimize]).0, [1.2, 1.4, 1.6, 1.8, 2.0]);
    }

    #[test]
    fn several_objectives_keep_dominance() {
        let mut history: Vec<Trial> = (0..3).map(|i| trial(i, State::Complete, Some(i as f64), &[])).collect();
        history.iter_mut().zip([5.0, 4.0, 3.0]).for_each(|(trial, value)| trial.values.push(value));
        let (losses, ..) = finished(&history, &[Direction::Minimize, Direction::Maximize]);
        assert!(losses[0] < losses[1] && losses[1] < losses[2], "{losses:?}");
    }

    #[test]
    fn normalising_keeps_the_order_and_tames_outliers() {
        let mut losses: Vec<f64> = (0..30).map(|i| (f64::from(i) * 0.37).sin()).collect();
        losses.push(1e6);
        let y = normalise(&losses);
        for i in 0..losses.len() {
            for j in 0..losses.len() {
                assert_eq!(losses[i] < losses[j], y[i] < y[j], "{i} {j}");
            }
        }
        let plain = standardise(&losses);
        assert!(y[30] < plain[30], "{} {}", y[30], plain[30]);
        assert!((variance(&y) - 1.0).abs() < 1e-9);
        assert_eq!(normalise(&[2.0; 3]), [0.0; 3]);
    }
}
