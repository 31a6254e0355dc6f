//! Several objectives at once: dominance, fronts, ranks, crowding and hypervolume.
//!
//! Everything here is about losses, smaller is better, one vector a point; [`losses`] makes them of a trial. What is
//! not a number counts as the worst there is. Constraints come before objectives (Deb, "An efficient constraint
//! handling method for genetic algorithms", 2000): a trial that keeps them beats each that does not, and of two that do
//! not, the one that breaks them less.

use super::{Direction, State, Trial};
use std::cmp::Ordering;

/// A complete trial's values as losses; none where it has not one value an objective, or one that is not a number.
pub fn losses(directions: &[Direction], trial: &Trial) -> Option<Vec<f64>> {
    let usable = trial.state == State::Complete && trial.values.len() == directions.len();
    // Adding zero makes of the two zeros one.
    let losses = || directions.iter().zip(&trial.values).map(|(direction, value)| direction.loss(*value) + 0.0);
    (usable && !trial.values.iter().any(|value| value.is_nan())).then(|| losses().collect())
}

/// What a complete trial is judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct Merit {
    /// One loss an objective.
    pub losses: Vec<f64>,
    /// By how much constraints are broken in all; 0 where they are kept.
    pub violation: f64,
}

impl Merit {
    /// That of a trial with [`losses`].
    pub fn of(directions: &[Direction], trial: &Trial) -> Option<Self> {
        Some(Merit { losses: losses(directions, trial)?, violation: trial.violation() })
    }
}

/// Ranks as [`ranks`] gives them to those that keep their constraints; after these the others, by how much they break.
pub fn constrained_ranks(merits: &[Merit]) -> Vec<usize> {
    let (kept, mut broken): (Vec<usize>, Vec<usize>) =
        (0..merits.len()).partition(|place| merits[*place].violation <= 0.0);
    let mut all = vec![0; merits.len()];
    let of_kept = ranks(&kept.iter().map(|place| merits[*place].losses.clone()).collect::<Vec<_>>());
    kept.iter().zip(&of_kept).for_each(|(place, rank)| all[*place] = *rank);
    broken.sort_by(|a, b| order(merits[*a].violation, merits[*b].violation));
    let mut rank = of_kept.iter().max().map_or(0, |last| last + 1);
    for (i, &place) in broken.iter().enumerate() {
        let before = i.checked_sub(1).map(|before| merits[broken[before]].violation);
        rank += usize::from(before.is_some_and(|before| before < merits[place].violation));
        all[place] = rank;
    }
    all
}

/// Places from the best to the worst: by [`constrained_ranks`], within a rank by the first loss, the second and so on.
pub fn best_first(merits: &[Merit]) -> Vec<usize> {
    let ranks = constrained_ranks(merits);
    let losses: Vec<Vec<f64>> = merits.iter().map(|merit| merit.losses.clone()).collect();
    let mut places = sorted(&losses);
    places.sort_by_key(|place| ranks[*place]);
    places
}

/// The same with what repeats the values of another one behind the others of its rank: the first places are different
/// points, as far as there are such.
pub fn distinct_first(merits: &[Merit]) -> Vec<usize> {
    let (ranks, mut places) = (constrained_ranks(merits), best_first(merits));
    let mut repeats = vec![false; merits.len()];
    // Equal ones are neighbours in that order.
    places.windows(2).for_each(|pair| repeats[pair[1]] = merits[pair[0]] == merits[pair[1]]);
    places.sort_by_key(|place| (ranks[*place], repeats[*place]));
    places
}

/// True where `a` is nowhere worse than `b` and somewhere better.
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    let worse = a.iter().zip(b).any(|(a, b)| order(*a, *b).is_gt());
    !worse && a.iter().zip(b).any(|(a, b)| order(*a, *b).is_lt())
}

/// The complete trials that keep their constraints and that no other such trial dominates, by their first loss, then
/// the second and so on. Equal ones are all in it, in the order given.
pub fn front<'a>(directions: &[Direction], trials: impl IntoIterator<Item = &'a Trial>) -> Vec<&'a Trial> {
    let feasible = trials.into_iter().filter(|trial| trial.is_feasible());
    let (trials, losses): (Vec<&Trial>, Vec<Vec<f64>>) =
        feasible.filter_map(|trial| Some((trial, losses(directions, trial)?))).unzip();
    let front = minima(&losses);
    let of_front: Vec<Vec<f64>> = front.iter().map(|place| losses[*place].clone()).collect();
    sorted(&of_front).into_iter().map(|i| trials[front[i]]).collect()
}

/// Places of the points that no other dominates, rising.
fn minima(losses: &[Vec<f64>]) -> Vec<usize> {
    let mut kept: Vec<usize> = Vec::new();
    for place in sorted(losses) {
        // A point is dominated by earlier ones of the sorted list alone.
        if !kept.iter().rev().any(|known| dominates(&losses[*known], &losses[place])) {
            kept.push(place);
        }
    }
    kept.sort_unstable();
    kept
}

/// The rank of each point: 0 where no other dominates it, 1 where only such do, and so on.
///
/// Zhang et al., "An efficient approach to non-dominated sorting", IEEE Trans. Evol. Comput. 19 (2015): in the order of
/// their first loss each point goes to the first front without a point that dominates it, found by halving. With two
/// objectives only a front's last point need be looked at, so that n points take n·log n steps.
pub fn ranks(losses: &[Vec<f64>]) -> Vec<usize> {
    let mut ranks = vec![0; losses.len()];
    let mut fronts: Vec<Vec<usize>> = Vec::new();
    for place in sorted(losses) {
        let dominated = |front: &Vec<usize>| {
            let looked_at = if losses[place].len() <= 2 { 1 } else { front.len() };
            front.iter().rev().take(looked_at).any(|known| dominates(&losses[*known], &losses[place]))
        };
        let rank = fronts.partition_point(dominated);
        match fronts.get_mut(rank) {
            Some(front) => front.push(place),
            None => fronts.push(vec![place]),
        }
        ranks[place] = rank;
    }
    ranks
}

/// How much room each point of a front has: the sum over the objectives of the distance between its neighbours, over
/// the range; infinite at the ends (Deb et al., "NSGA-II", IEEE Trans. Evol. Comput. 6, 2002, section III-B).
pub fn crowding(front: &[&[f64]]) -> Vec<f64> {
    let mut room = vec![0.0; front.len()];
    for objective in 0..front.first().map_or(0, |losses| losses.len()) {
        let mut places: Vec<usize> = (0..front.len()).collect();
        places.sort_by(|a, b| order(front[*a][objective], front[*b][objective]).then(a.cmp(b)));
        let value = |at: usize| front[places[at]][objective];
        let last = places.len() - 1;
        let range = value(last) - value(0);
        for (at, &place) in places.iter().enumerate() {
            room[place] += match at {
                _ if at == 0 || at == last => f64::INFINITY,
                _ if range > 0.0 && range.is_finite() => (value(at + 1) - value(at - 1)) / range,
                _ => 0.0,
            };
        }
    }
    room
}

/// The volume that the points dominate within `reference`, the worst corner; 0 without a point better than it in every
/// objective. Exact: a sweep for two objectives; for more the recursion over exclusive volumes of While, Bradstreet and
/// Barone, "A fast way of calculating exact hypervolumes", IEEE Trans. Evol. Comput. 16 (2012).
pub fn hypervolume(losses: &[Vec<f64>], reference: &[f64]) -> f64 {
    let inside = |point: &&Vec<f64>| point.iter().zip(reference).all(|(x, worst)| x < worst);
    let points: Vec<Vec<f64>> = losses.iter().filter(inside).cloned().collect();
    volume(&points, reference)
}

/// The same for points that are all better than the reference.
fn volume(points: &[Vec<f64>], reference: &[f64]) -> f64 {
    let front: Vec<&Vec<f64>> = minima(points).into_iter().map(|place| &points[place]).collect();
    let side = |x: f64, objective: usize| reference[objective] - x;
    if let [_, _] = reference {
        let mut points = front;
        points.sort_by(|a, b| order(a[0], b[0]));
        let ends = points.iter().skip(1).map(|next| next[0]).chain([reference[0]]);
        return points.iter().zip(ends).map(|(point, end)| (end - point[0]) * side(point[1], 1)).sum();
    }
    let exclusive = |(place, point): (usize, &&Vec<f64>)| {
        let own: f64 = point.iter().enumerate().map(|(objective, x)| side(*x, objective)).product();
        let limited = |other: &&Vec<f64>| other.iter().zip(*point).map(|(a, b)| a.max(*b)).collect();
        let shared: Vec<Vec<f64>> = front[place + 1..].iter().map(limited).collect();
        own - if shared.is_empty() { 0.0 } else { volume(&shared, reference) }
    };
    front.iter().enumerate().map(exclusive).sum()
}

/// Places in the order of the first loss, then the second and so on.
fn sorted(losses: &[Vec<f64>]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..losses.len()).collect();
    let by_losses = |a: &usize, b: &usize| {
        let pairs = losses[*a].iter().zip(&losses[*b]);
        pairs.map(|(a, b)| order(*a, *b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    places.sort_by(by_losses);
    places
}

/// What is not a number comes last, and the two zeros are the same.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    fn points(n: u64, objectives: usize, levels: u64, seed: u64) -> Vec<Vec<f64>> {
        let mut stream = Stream::new(seed, n, Purpose::Bootstrap, 0);
        (0..n).map(|_| (0..objectives).map(|_| stream.below(levels) as f64 / levels as f64).collect()).collect()
    }

    /// By the definition: take away what nothing dominates, again and again.
    fn peeled(losses: &[Vec<f64>]) -> Vec<usize> {
        let mut ranks = vec![usize::MAX; losses.len()];
        for rank in 0..losses.len() {
            let left: Vec<usize> = (0..losses.len()).filter(|place| ranks[*place] == usize::MAX).collect();
            let beaten = |place: &usize| left.iter().any(|other| dominates(&losses[*other], &losses[*place]));
            left.iter().filter(|place| !beaten(place)).for_each(|place| ranks[*place] = rank);
        }
        ranks
    }

    #[test]
    fn ranks_are_those_of_the_definition() {
        for objectives in 1..=4 {
            for (seed, levels) in [(0, 4), (1, 10), (2, 1000)] {
                let mut losses = points(60, objectives, levels, seed);
                losses[7][0] = f64::NAN;
                losses[8][0] = f64::INFINITY;
                losses[9][0] = -0.0;
                assert_eq!(ranks(&losses), peeled(&losses), "{objectives} objectives, {levels} levels");
                let first: Vec<usize> = (0..60).filter(|place| peeled(&losses)[*place] == 0).collect();
                assert_eq!(minima(&losses), first);
            }
        }
        assert!(ranks(&[]).is_empty());
    }

    #[test]
    fn what_keeps_the_constraints_comes_first() {
        let merit = |losses: &[f64], violation: f64| Merit { losses: losses.to_vec(), violation };
        let merits = [
            merit(&[0.0, 0.0], 2.0),
            merit(&[3.0, 1.0], 0.0),
            merit(&[0.0, 0.0], 0.5),
            merit(&[1.0, 3.0], 0.0),
            merit(&[3.0, 3.0], 0.0),
            merit(&[9.0, 9.0], 0.5),
        ];
        assert_eq!(constrained_ranks(&merits), [3, 0, 2, 0, 1, 2]);
        assert_eq!(best_first(&merits), [3, 1, 4, 2, 5, 0]);
        assert_eq!(constrained_ranks(&merits[2..3]), [0]);
    }

    #[test]
    fn different_points_come_before_repetitions() {
        let merit = |losses: &[f64]| Merit { losses: losses.to_vec(), violation: 0.0 };
        let merits =
            [[1.0, 3.0], [1.0, 3.0], [3.0, 1.0], [1.0, 3.0], [4.0, 4.0], [2.0, 2.0]].map(|losses| merit(&losses));
        assert_eq!(best_first(&merits), [0, 1, 3, 5, 2, 4]);
        assert_eq!(distinct_first(&merits), [0, 5, 2, 1, 3, 4]);
        // With one objective what is equal keeps its order, and nothing worse comes before it.
        let merits = [2.0, 1.0, 1.0, 3.0, 1.0].map(|loss| merit(&[loss]));
        assert_eq!(distinct_first(&merits), best_first(&merits));
    }

    #[test]
    fn a_zero_is_a_zero() {
        assert!(dominates(&[0.0, 1.0], &[-0.0, 2.0]) && !dominates(&[-0.0, 1.0], &[0.0, 1.0]));
        assert_eq!(minima(&[vec![-0.0, 2.0], vec![0.0, 1.0]]), [1]);
    }

    #[test]
    fn hypervolumes_are_known_ones() {
        let volume = |points: &[&[f64]], reference: &[f64]| {
            hypervolume(&points.iter().map(|point| point.to_vec()).collect::<Vec<_>>(), reference)
        };
        assert_eq!(volume(&[], &[1.0, 1.0]), 0.0);
        assert_eq!(volume(&[&[0.25]], &[1.0]), 0.75);
        assert_eq!(volume(&[&[0.0, 1.0], &[1.0, 0.0]], &[1.0, 1.0]), 0.0, "on the edge");
        assert_eq!(volume(&[&[0.0, 1.0], &[1.0, 0.0]], &[2.0, 2.0]), 3.0);
        assert_eq!(volume(&[&[0.0, 1.0], &[1.0, 0.0], &[1.0, 1.0], &[3.0, 0.0]], &[2.0, 2.0]), 3.0);
        assert_eq!(volume(&[&[1.0, 3.0], &[2.0, 2.0], &[3.0, 1.0]], &[4.0, 4.0]), 6.0);
        // Three unit cubes of two that overlap in pairs and all in one: 3·2 − 3·1 + 1 of boxes 2×1×1.
        assert_eq!(volume(&[&[0.0, 1.0, 1.0], &[1.0, 0.0, 1.0], &[1.0, 1.0, 0.0]], &[2.0, 2.0, 2.0]), 4.0);
        assert_eq!(volume(&[&[0.5; 5]], &[1.0; 5]), 1.0 / 32.0);
    }

    /// Against counting the cells of the grid that the points lie on.
    #[test]
    fn hypervolumes_are_the_count_of_dominated_cells() {
        for (objectives, levels) in [(2, 12_usize), (3, 8), (4, 5)] {
            for seed in 0..5 {
                let losses = points(14, objectives, levels as u64, seed);
                let cells = levels.pow(objectives as u32);
                let covered = (0..cells).filter(|cell| {
                    let low = |k: usize| (cell / levels.pow(k as u32) % levels) as f64 / levels as f64;
                    losses.iter().any(|point| (0..objectives).all(|k| point[k] <= low(k) + 1e-9))
                });
                let expected = covered.count() as f64 / cells as f64;
                let found = hypervolume(&losses, &vec![1.0; objectives]);
                assert!((found - expected).abs() < 1e-12, "{objectives}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_ends_have_all_the_room() {
        let front: [&[f64]; 5] = [&[0.0, 4.0], &[1.0, 3.0], &[1.5, 1.0], &[3.0, 0.5], &[4.0, 0.0]];
        let room = crowding(&front);
        assert!(room[0].is_infinite() && room[4].is_infinite());
        assert!((room[1] - (1.5 / 4.0 + 3.0 / 4.0)).abs() < 1e-12, "{room:?}");
        assert!((room[3] - (2.5 / 4.0 + 1.0 / 4.0)).abs() < 1e-12, "{room:?}");
        let same: &[f64] = &[1.0, 1.0];
        assert_eq!(crowding(&[same; 3])[1], 0.0);
        assert!(crowding(&[]).is_empty());
    }
}
