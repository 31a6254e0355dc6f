//! What models learn from trials with several objectives: their values one by one, for processes ([`Observations`]),
//! and an order of them, for a model that divides them into good ones and others ([`ranked`]).
//!
//! The order is that of Ozaki et al., "Multiobjective tree-structured Parzen estimator", J. Artif. Intell. Res. 73
//! (2022), section 4: whole fronts, best first, are good as long as they fit; of the front that does not, those points
//! that together dominate the largest volume, taken greedily (Guerreiro, Fonseca and Paquete, "Greedy hypervolume
//! subset selection", Evol. Comput. 24, 2016). The volume ends a tenth of the front's range beyond its worst values.

use super::Ask;
use super::outcome::{self, Rank};
use crate::history::pareto::{self, hypervolume, ranks};
use crate::history::{Direction, State, Trial};
use crate::space::Params;
use std::collections::BTreeMap;

/// Where volumes end, of a front that reaches from 0 to 1.
const EDGE: f64 = 1.1;
/// Weight of a good trial that adds nothing to the volume of the others.
const LEAST: f64 = 0.01;

/// What processes learn from, one an objective and one a constraint; trials in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Observations<'a> {
    pub(super) finished: Vec<Observation<'a>>,
    pub(super) pending: Vec<&'a Params>,
    /// How many of the finished ones have a value of their own.
    pub(super) measured: usize,
}

/// A trial that has ended.
#[derive(Clone, Debug)]
pub(super) struct Observation<'a> {
    pub(super) params: &'a Params,
    /// One an objective, finite; none where nothing is known of it.
    pub(super) losses: Vec<Option<f64>>,
    /// One a constraint, at most 0 where it is kept; empty where nothing was said.
    pub(super) constraints: Vec<f64>,
    /// Whether it is complete and keeps its constraints: what a front is made of.
    pub(super) is_result: bool,
}

impl<'a> Observations<'a> {
    /// A complete trial counts with its values, what is infinite as the nearer finite end of all. A pruned one counts
    /// with what it would have come to ([`outcome::pruned_loss`]) in each objective that it reported, and with just
    /// that in those that no trial's course has changed (parameters); one that breaks constraints, by how much. What
    /// failed, or has a value that is not a number, counts as the worst there is in every objective.
    pub(super) fn new(ask: &Ask<'a>) -> Self {
        let mut trials: Vec<&Trial> = ask.history.iter().collect();
        trials.sort_by_key(|trial| trial.number);
        let repeated = outcome::repeated(&trials);
        let mut found = Observations::default();
        let mut gains = vec![BTreeMap::new(); ask.directions.len()];
        let known: Vec<bool> = (0..gains.len()).map(|k| is_known_at_once(k, &trials)).collect();
        let nothing = vec![None; ask.directions.len()];
        for trial in trials.iter().copied().filter(|trial| !repeated.contains(&trial.number)) {
            if matches!(trial.state, State::Running | State::Waiting) {
                found.pending.push(&trial.params);
                continue;
            }
            let mut own = nothing.clone();
            let complete = pareto::losses(ask.directions, trial);
            if trial.state == State::Pruned {
                for (k, (own, direction)) in own.iter_mut().zip(ask.directions).enumerate() {
                    let loss = match trial.reported.values().next_back() {
                        Some(values) if known[k] => values.get(k).map(|value| direction.loss(*value)),
                        _ => outcome::pruned_loss((k, *direction), &trials, trial, &mut gains[k]),
                    };
                    *own = loss.filter(|loss| !loss.is_nan());
                }
            }
            let is_feasible = trial.is_feasible();
            let is_result = complete.is_some() && is_feasible;
            let losses = complete.map_or(own, |losses| losses.into_iter().map(Some).collect());
            let is_measured = losses[0].is_some() || (trial.state == State::Pruned && !is_feasible);
            found.measured += usize::from(is_measured);
            // Broken ones wait for the worst values, below.
            let losses = if is_measured { losses } else { vec![Some(f64::INFINITY); nothing.len()] };
            let constraints = trial.constraints();
            found.finished.push(Observation { params: &trial.params, losses, constraints, is_result });
        }
        (0..nothing.len()).for_each(|k| found.clamp(k));
        found
    }

    /// Puts what is infinite to the finite ends of the objective.
    fn clamp(&mut self, k: usize) {
        let finite = self.finished.iter().filter_map(|one| one.losses[k]).filter(|loss| loss.is_finite());
        let (best, worst) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let (best, worst) = if best <= worst { (best, worst) } else { (0.0, 0.0) };
        self.finished.iter_mut().filter_map(|one| one.losses[k].as_mut()).for_each(|x| *x = x.clamp(best, worst));
    }
}

/// Whether every complete trial reported its final value of the objective at every step.
fn is_known_at_once(k: usize, trials: &[&Trial]) -> bool {
    let mut complete = trials.iter().filter(|trial| trial.state == State::Complete).peekable();
    let is_constant = |trial: &&&Trial| trial.reported.values().all(|values| values.get(k) == trial.values.get(k));
    complete.peek().is_some() && complete.all(|trial| !trial.reported.is_empty() && is_constant(&trial))
}

/// Places from the best to the worst: results as in [`order`], then the others, by how much they break constraints.
pub(super) fn best_first(trials: &[&Observation], good: usize) -> Vec<usize> {
    let (results, mut rest): (Vec<usize>, Vec<usize>) = (0..trials.len()).partition(|place| trials[*place].is_result);
    let losses: Vec<Vec<f64>> =
        results.iter().map(|place| trials[*place].losses.iter().flatten().copied().collect()).collect();
    let violation = |place: &usize| trials[*place].constraints.iter().map(|x| x.max(0.0)).sum::<f64>();
    rest.sort_by(|a, b| violation(a).total_cmp(&violation(b)));
    order(&losses, good).into_iter().map(|at| results[at]).chain(rest).collect()
}

/// The trials with their ranks; `good` says how many of so many measured ones are good. Complete ones have their place
/// in [`order`] as loss, pruned ones that in the order of those that were stopped at the same step, by what they
/// reported of all objectives there. Who reported of the first alone comes after these; where nobody reported more, by
/// that one.
pub(super) fn ranked<'a>(ask: &Ask<'a>, good: impl Fn(usize) -> usize) -> Vec<(&'a Trial, Rank)> {
    let mut trials = outcome::ranked(ask);
    let (mut complete, mut losses) = (Vec::new(), Vec::new());
    let mut pruned: BTreeMap<u64, Vec<Stopped>> = BTreeMap::new();
    for (place, (trial, rank)) in trials.iter_mut().enumerate() {
        match (*rank, trial.last_intermediate()) {
            (Rank::Broken, Some((step, _))) if trial.state == State::Pruned => {
                let values = trial.reached_at(step).unwrap_or_default();
                if !values.iter().any(|value| value.is_nan()) {
                    let first = values.first().copied().unwrap_or(f64::INFINITY);
                    *rank = Rank::Pruned(step, ask.directions[0].loss(first));
                    let all = (values.len() == ask.directions.len()).then(|| as_losses(ask.directions, &values));
                    pruned.entry(step).or_default().push((place, all));
                }
            }
            (Rank::Complete(_) | Rank::Broken, _) => {
                if let Some(own) = pareto::losses(ask.directions, trial) {
                    complete.push(place);
                    losses.push(own);
                }
            }
            _ => {}
        }
    }
    let others = trials.iter().enumerate().filter(|(place, _)| complete.binary_search(place).is_err());
    let measured = complete.len() + others.filter(|(_, (_, rank))| rank.is_measured()).count();
    let good = good(measured);
    for (at, place) in order(&losses, good).into_iter().enumerate() {
        trials[complete[place]].1 = Rank::Complete(at as f64);
    }
    // The later they were stopped the better they are, so those of the last steps take what room the complete ones
    // leave.
    let mut better = complete.len();
    for (step, stopped) in pruned.into_iter().rev() {
        let (known, losses): (Vec<usize>, Vec<Vec<f64>>) =
            stopped.iter().filter_map(|(place, losses)| Some((*place, losses.clone()?))).unzip();
        for (at, place) in order(&losses, good.saturating_sub(better).min(losses.len())).into_iter().enumerate() {
            trials[known[place]].1 = Rank::Pruned(step, at as f64);
        }
        if !known.is_empty() {
            let partly = stopped.iter().filter(|(_, losses)| losses.is_none());
            partly.for_each(|(place, _)| trials[*place].1 = Rank::Pruned(step, f64::INFINITY));
        }
        better += stopped.len();
    }
    trials
}

/// The place of a pruned trial, and its losses where it reported of every objective.
type Stopped = (usize, Option<Vec<f64>>);

/// One loss an objective.
fn as_losses(directions: &[Direction], values: &[f64]) -> Vec<f64> {
    // Adding zero makes of the two zeros one.
    directions.iter().zip(values).map(|(direction, value)| direction.loss(*value) + 0.0).collect()
}

/// Places from the best to the worst, so that the first `good` are the good ones.
pub(super) fn order(losses: &[Vec<f64>], good: usize) -> Vec<usize> {
    let ranks = ranks(losses);
    let mut places: Vec<usize> = (0..losses.len()).collect();
    places.sort_by_key(|place| ranks[*place]);
    let Some(&last) = good.checked_sub(1).and_then(|last| places.get(last)) else { return places };
    let start = places.partition_point(|place| ranks[*place] < ranks[last]);
    let end = places.partition_point(|place| ranks[*place] <= ranks[last]);
    let front: Vec<Vec<f64>> = places[start..end].iter().map(|place| losses[*place].clone()).collect();
    let chosen = widest(&scaled(&front), good - start);
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    chosen.iter().for_each(|at| first.push(places[start + at]));
    (0..front.len()).filter(|at| !chosen.contains(at)).for_each(|at| rest.push(places[start + at]));
    places.splice(start..end, first.into_iter().chain(rest));
    places
}

/// How much a model should make of each of the good trials: the volume that it alone adds to theirs, over the largest
/// such volume, at least [`LEAST`].
pub(super) fn shares<'a>(directions: &[Direction], good: impl Iterator<Item = &'a Trial>) -> Vec<f64> {
    let losses: Vec<Option<Vec<f64>>> = good.map(|trial| pareto::losses(directions, trial)).collect();
    let points = scaled(&losses.iter().flatten().cloned().collect::<Vec<_>>());
    let reference = vec![EDGE; directions.len()];
    let all = hypervolume(&points, &reference);
    let others = |place: usize| [&points[..place], &points[place + 1..]].concat();
    let own: Vec<f64> = (0..points.len()).map(|place| all - hypervolume(&others(place), &reference)).collect();
    let most = own.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut shares = own.iter().map(|own| (own / most).max(LEAST));
    losses.iter().map(|losses| losses.as_ref().and_then(|_| shares.next()).unwrap_or(LEAST)).collect()
}

/// Each objective from 0 to 1 over the front; what is infinite is at the end of what is not.
fn scaled(front: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let objectives = front.first().map_or(0, Vec::len);
    let range = |k: usize| {
        let finite = front.iter().map(|losses| losses[k]).filter(|x| x.is_finite());
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
    };
    let ranges: Vec<(f64, f64)> = (0..objectives).map(range).collect();
    let scale = |(x, (low, high)): (&f64, &(f64, f64))| match high > low {
        true => (x.clamp(*low, *high) - low) / (high - low),
        false => 0.0,
    };
    front.iter().map(|losses| losses.iter().zip(&ranges).map(scale).collect()).collect()
}

/// Up to `count` places of a front of the unit cube, each the one that adds most to the volume of those before it.
fn widest(front: &[Vec<f64>], count: usize) -> Vec<usize> {
    let reference = vec![EDGE; front.first().map_or(0, Vec::len)];
    let mut chosen: Vec<Vec<f64>> = Vec::new();
    let mut places = Vec::new();
    // A point adds the less the more there are: a gain that was computed earlier is a bound, and mostly settles it.
    let alone = |point: &Vec<f64>| hypervolume(std::slice::from_ref(point), &reference);
    let mut open: Vec<(f64, usize)> = front.iter().map(alone).zip(0..).collect();
    while places.len() < count && !open.is_empty() {
        let mut fresh: Option<(f64, usize)> = None;
        open.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for entry in &mut open {
            if fresh.is_some_and(|(gain, _)| gain >= entry.0) {
                break;
            }
            entry.0 = added(&chosen, &front[entry.1], &reference);
            if fresh.is_none_or(|(gain, place)| entry.0 > gain || (entry.0 == gain && entry.1 < place)) {
                fresh = Some(*entry);
            }
        }
        let Some((_, place)) = fresh else { break };
        let at = chosen.partition_point(|other| is_before(other, &front[place]));
        chosen.insert(at, front[place].clone());
        places.push(place);
        open.retain(|(_, other)| *other != place);
    }
    places
}

/// The volume that a point adds to that of others, which are in order of their first and then their other losses; none
/// of them dominates another.
fn added(chosen: &[Vec<f64>], point: &[f64], reference: &[f64]) -> f64 {
    let [x, y] = *point else {
        let limited = |other: &Vec<f64>| other.iter().zip(point).map(|(a, b)| a.max(*b)).collect();
        let shared: Vec<Vec<f64>> = chosen.iter().map(limited).collect();
        return hypervolume(&[point.to_vec()], reference) - hypervolume(&shared, reference);
    };
    // A rectangle between its neighbours.
    let at = chosen.partition_point(|other| !is_before(point, other));
    let above = at.checked_sub(1).map_or(reference[1], |before| chosen[before][1]);
    let right = chosen.get(at).map_or(reference[0], |after| after[0]);
    (right - x).max(0.0) * (above - y).max(0.0)
}

/// Whether `a` comes before `b` in the order of their first and then their other losses.
fn is_before(a: &[f64], b: &[f64]) -> bool {
    let order = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    order.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then).is_lt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Record;
    use crate::random::{Purpose, Stream};

    #[test]
    fn a_pruned_trial_counts_in_every_objective_that_it_reported() {
        let trial = |number: u64, state, reports: &[[f64; 2]], values: &[f64]| {
            let mut trial = Trial::from(Record { values: values.to_vec(), ..Record::blank(number, state) });
            reports.iter().zip(1..).for_each(|(values, step)| trial.take_report(step, values));
            trial
        };
        let mut history = vec![
            trial(0, State::Complete, &[[0.5, 40.0], [0.8, 40.0]], &[0.8, 40.0]),
            trial(1, State::Complete, &[[0.6, 90.0], [0.9, 90.0]], &[0.9, 90.0]),
            trial(2, State::Pruned, &[[0.2, 10.0]], &[]),
        ];
        let losses = |history: &[Trial]| {
            let space = crate::space::Space::new(vec![]).unwrap();
            let directions = [Direction::Maximize, Direction::Minimize];
            let ask = Ask { space: &space, directions: &directions, history, seed: 0, slot: 3, source: &[] };
            Observations::new(&ask).finished[2].losses.clone()
        };
        let found = losses(&history);
        assert!((found[0].unwrap() + 0.5).abs() < 1e-12, "0.2 and the 0.3 that the others gained: {found:?}");
        assert_eq!(found[1], Some(10.0), "a cost that stays is known, though no complete trial is as cheap");
        // Where the second objective grows on the way, it is extrapolated too, and is at most as good as what was
        // measured.
        history[0] = trial(0, State::Complete, &[[0.5, 20.0], [0.8, 40.0]], &[0.8, 40.0]);
        history[1] = trial(1, State::Complete, &[[0.6, 45.0], [0.9, 90.0]], &[0.9, 90.0]);
        assert_eq!(losses(&history)[1], Some(55.0));
        history[2] = trial(2, State::Pruned, &[], &[]);
        history[2].take_report(1, &[0.2]);
        assert_eq!(losses(&history)[1], None, "a report of the first objective alone says nothing of the second");
    }

    #[test]
    fn pruned_trials_rank_by_the_fronts_of_what_they_reported() {
        let trial = |number: u64, state, step: u64, values: &[f64]| {
            let complete = if state == State::Complete { values.to_vec() } else { Vec::new() };
            let mut trial = Trial::from(Record { values: complete, ..Record::blank(number, state) });
            trial.take_report(step, values);
            trial
        };
        let mut history = vec![
            trial(0, State::Complete, 9, &[0.9, 50.0]),
            // At step 3 the first two are a front, the third is behind the second though it is better in the first
            // objective than the first.
            trial(1, State::Pruned, 3, &[0.2, 10.0]),
            trial(2, State::Pruned, 3, &[0.6, 40.0]),
            trial(3, State::Pruned, 3, &[0.5, 60.0]),
            trial(4, State::Pruned, 3, &[0.99]),
            trial(5, State::Pruned, 1, &[1.0, 1.0]),
            trial(6, State::Pruned, 3, &[0.7, f64::NAN]),
        ];
        let space = crate::space::Space::new(vec![]).unwrap();
        let directions = [Direction::Maximize, Direction::Minimize];
        let best_first = |history: &[Trial], good: usize| {
            let ask = Ask { space: &space, directions: &directions, history, seed: 0, slot: 9, source: &[] };
            let mut ranked = ranked(&ask, |_| good);
            ranked.sort_by(|a, b| a.1.order(&b.1));
            ranked.iter().map(|(trial, _)| trial.number).collect::<Vec<_>>()
        };
        for good in 0..=7 {
            let found = best_first(&history, good);
            assert_eq!((found[0], &found[3..]), (0, &[3, 4, 5, 6][..]), "{good}: {found:?}");
            assert!(found[1..3].contains(&1) && found[1..3].contains(&2), "{found:?}");
        }
        // Of the first alone: by that one, as ever.
        history.truncate(1);
        history.extend([(1, 0.2), (2, 0.6), (3, 0.5)].map(|(number, value)| trial(number, State::Pruned, 3, &[value])));
        assert_eq!(best_first(&history, 2), [0, 2, 3, 1]);
    }

    #[test]
    fn the_subset_is_that_of_plain_greedy_choice() {
        for objectives in [2, 3] {
            let mut stream = Stream::new(3, objectives, Purpose::Bootstrap, 0);
            // Points of a simplex: none dominates another.
            let point = |stream: &mut Stream| {
                let drawn: Vec<f64> = (0..objectives).map(|_| 0.01 + stream.uniform()).collect();
                let sum: f64 = drawn.iter().sum();
                drawn.into_iter().map(|x| x / sum).collect()
            };
            let front: Vec<Vec<f64>> = (0..30).map(|_| point(&mut stream)).collect();
            let reference = vec![1.1; objectives as usize];
            let mut expected: Vec<usize> = Vec::new();
            for _ in 0..8 {
                let with = |place: usize| {
                    let points: Vec<Vec<f64>> =
                        expected.iter().chain([&place]).map(|place| front[*place].clone()).collect();
                    hypervolume(&points, &reference)
                };
                let free = (0..30).filter(|place| !expected.contains(place));
                let best = free.max_by(|a, b| with(*a).total_cmp(&with(*b))).unwrap();
                expected.push(best);
            }
            assert_eq!(widest(&front, 8), expected);
        }
        assert!(widest(&[], 3).is_empty());
        assert_eq!(widest(&[vec![0.5, 0.5], vec![0.5, 0.5]], 5).len(), 2);
    }

    #[test]
    fn shares_are_the_volumes_that_would_be_missing() {
        let trial = |values: &[f64]| {
            let record = Record { values: values.to_vec(), ..Record::blank(0, State::Complete) };
            Trial::from(record)
        };
        // Scaled, the ends have 0.1·0.6 and 0.1·0.5 for themselves, the knee 0.5·0.6 and what is dominated nothing.
        let trials = [[0.0, 10.0], [5.0, 4.0], [10.0, 0.0], [10.0, 10.0]].map(|values| trial(&values));
        let found = shares(&[Direction::Minimize; 2], trials.iter());
        let expected = [0.5 * 0.1, 0.5 * 0.6, 0.1 * 0.4].map(|volume| volume / (0.5 * 0.6));
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert_eq!(found[3], LEAST);
        let infinite = [trial(&[f64::INFINITY, 1.0]), Trial::from(Record::blank(1, State::Pruned))];
        assert_eq!(shares(&[Direction::Minimize; 2], infinite.iter()), [1.0, LEAST]);
        assert!(shares(&[Direction::Minimize; 2], [].into_iter()).is_empty());
    }

    #[test]
    fn fronts_come_first_and_the_last_one_is_thinned_evenly() {
        let mut losses: Vec<Vec<f64>> = (0..11).map(|i| vec![f64::from(i), f64::from(10 - i)]).collect();
        losses.push(vec![-1.0, -1.0]);
        let order = super::order(&losses, 4);
        assert_eq!(order[0], 11, "the only one of the first front");
        assert!(order[1..4].contains(&5), "the knee: {order:?}");
        assert_eq!(order.len(), 12);
        losses[3] = vec![f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(super::order(&losses, 4).len(), 12);
        assert_eq!(super::order(&losses, 0).len(), 12);
        assert!(super::order(&[], 3).is_empty());
    }
}
