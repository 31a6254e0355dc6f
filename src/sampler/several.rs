//! The order of trials with several objectives, for a model that divides them into good ones and others.
//!
//! Ozaki et al., "Multiobjective tree-structured Parzen estimator", J. Artif. Intell. Res. 73 (2022), section 4: whole
//! fronts, best first, are good as long as they fit; of the front that does not, those points that together dominate the
//! largest volume, taken greedily (Guerreiro, Fonseca and Paquete, "Greedy hypervolume subset selection", Evol. Comput. 24,
//! 2016). The volume ends a tenth of the front's range beyond its worst values.

use super::Ask;
use super::outcome::{self, Rank};
use crate::history::pareto::{self, hypervolume, ranks};
use crate::history::{State, Trial};

/// The trials with their ranks, the complete ones by their place in [`order`]; `good` says how many of so many measured
/// ones are good. What a pruned trial reported belongs to the first objective.
pub(super) fn ranked<'a>(ask: &Ask<'a>, good: impl Fn(usize) -> usize) -> Vec<(&'a Trial, Rank)> {
    let mut trials = outcome::ranked(ask);
    let (mut complete, mut losses) = (Vec::new(), Vec::new());
    for (place, (trial, rank)) in trials.iter_mut().enumerate() {
        match (*rank, trial.last_intermediate()) {
            (Rank::Broken, Some((step, value))) if trial.state == State::Pruned && !value.is_nan() => {
                *rank = Rank::Pruned(step, ask.directions[0].loss(value));
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
    for (at, place) in order(&losses, good(measured)).into_iter().enumerate() {
        trials[complete[place]].1 = Rank::Complete(at as f64);
    }
    trials
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
    let reference = vec![1.1; front.first().map_or(0, Vec::len)];
    let mut chosen: Vec<Vec<f64>> = Vec::new();
    let mut places = Vec::new();
    // A point adds the less the more there are: a gain that was computed earlier is a bound, and mostly settles it.
    let alone = |point: &Vec<f64>| hypervolume(std::slice::from_ref(point), &reference);
    let mut open: Vec<(f64, usize)> = front.iter().map(alone).zip(0..).collect();
    let mut volume = 0.0;
    while places.len() < count && !open.is_empty() {
        let mut fresh: Option<(f64, usize)> = None;
        open.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for entry in &mut open {
            if fresh.is_some_and(|(gain, _)| gain >= entry.0) {
                break;
            }
            chosen.push(front[entry.1].clone());
            entry.0 = hypervolume(&chosen, &reference) - volume;
            chosen.pop();
            if fresh.is_none_or(|(gain, place)| entry.0 > gain || (entry.0 == gain && entry.1 < place)) {
                fresh = Some(*entry);
            }
        }
        let Some((gain, place)) = fresh else { break };
        volume += gain;
        chosen.push(front[place].clone());
        places.push(place);
        open.retain(|(_, other)| *other != place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

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
