//! Tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011).
//!
//! Quasi-random points first. Then the finished trials are divided into the best γ = min(⌈n/5⌉, 25) and the others, each
//! part gives a density ([`parzen`]), and of some draws from the good density l the one with the largest l/g is proposed.
//! - Complete trials rank by their value, several objectives as one scalar ([`outcome`](super::outcome)); after them
//!   pruned ones, the later they stopped the better, at the same step by their value; failed ones and those without
//!   a number come last and always count among the others, so what diverges is avoided.
//! - Trials under way count among the others ("constant liar"), which keeps workers apart.
//! - In a finite space draws that some trial already has are passed over.
//!
//! Optuna's γ is ⌈n/10⌉ and it compares 24 draws; on the functions of `benches/search.rs` and on complete grids of MLP
//! configurations ⌈n/5⌉ and 48 found better values after 50 and 100 trials.
//!
//! A proposal costs O(n) time and memory; nothing is kept between proposals. Of more than 2,000 others the older ones
//! are thinned out: their density hardly changes, and the time to propose grows only by reading the history.

mod parzen;

use super::codec::{Codec, Kind, Point};
use super::outcome::{Rank, ranked};
use super::random::draw;
use super::sobol::quasi_random;
use super::{Ask, Proposal, Sampler, Settings};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::Space;
use parzen::Parzen;

/// Step of the keyed numbers of one proposal.
const DRAWS: u64 = 1 << 42;
/// Draws that are compared.
const CANDIDATES: usize = 48;
/// How often as many are drawn again where all of them have been tried.
const ROUNDS: usize = 8;
/// Most trials that count as good.
const MOST_GOOD: usize = 25;
/// Most other trials that have a kernel; the latest half of them are kept as they are.
const MOST_OTHERS: usize = 2_000;

/// Tree-structured Parzen estimator; see the module.
#[derive(Clone, Copy, Debug)]
pub struct TpeSampler {
    /// Quasi-random trials before the densities are used.
    pub startup: u64,
}

impl TpeSampler {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        TpeSampler { startup: settings.startup.max(2) }
    }
}

impl Sampler for TpeSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let trials = ranked(ask);
        let measured = trials.iter().filter(|(_, rank)| rank.is_measured()).count();
        if (measured as u64) < self.startup {
            return quasi_random(ask);
        }
        let codec = Codec::new(ask.space);
        let seen: Vec<(Point, Rank)> =
            trials.iter().filter_map(|(params, rank)| Some((codec.observed(params)?, *rank))).collect();
        match propose(ask, &codec, &seen) {
            Some(point) => Proposal::Params(codec.params(&point)),
            None => draw(ask, 0),
        }
    }

    fn describe(&self, _: &Space, directions: &[Direction]) -> String {
        let scalar = if directions.len() > 1 { ", objectives weighed anew each trial" } else { "" };
        format!("tpe: tree-structured Parzen estimator after {} quasi-random trials{scalar}", self.startup)
    }
}

/// The best of the draws from the density of the good trials; none where all have been tried.
fn propose(ask: &Ask, codec: &Codec, seen: &[(Point, Rank)]) -> Option<Point> {
    let (good, others) = divide(seen);
    let (l, g) = (Parzen::new(codec, &good), Parzen::new(codec, &others));
    let is_finite = codec.kinds().iter().all(|kind| *kind != Kind::Real);
    let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, DRAWS);
    for _ in 0..ROUNDS {
        let mut best: Option<(f64, Point)> = None;
        for _ in 0..CANDIDATES {
            let point = l.sample(codec, &mut stream);
            let active = codec.active(&point);
            if is_finite && seen.iter().any(|(other, _)| is_same(&point, &active, other)) {
                continue;
            }
            let score = l.log_density(codec, &point, &active) - g.log_density(codec, &point, &active);
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, point));
            }
        }
        if let Some((_, point)) = best {
            return Some(point);
        }
    }
    None
}

/// The best γ of the measured trials, and all others; both in the order of the trials' numbers.
fn divide(seen: &[(Point, Rank)]) -> (Vec<&Point>, Vec<&Point>) {
    let mut ranks: Vec<(Rank, usize)> = seen.iter().enumerate().map(|(i, (_, rank))| (*rank, i)).collect();
    ranks.retain(|(rank, _)| rank.is_measured());
    let gamma = ranks.len().div_ceil(5).min(MOST_GOOD);
    ranks.sort_by(|(a, i), (b, k)| a.order(b).then(i.cmp(k)));
    let mut is_good = vec![false; seen.len()];
    ranks.iter().take(gamma).for_each(|(_, i)| is_good[*i] = true);
    let part = |good: bool| seen.iter().zip(&is_good).filter(move |(_, is)| **is == good).map(|((point, _), _)| point);
    (part(true).collect(), thinned(part(false).collect()))
}

/// At most so many, the latest and evenly from those before.
fn thinned(mut points: Vec<&Point>) -> Vec<&Point> {
    if points.len() <= MOST_OTHERS {
        return points;
    }
    let latest = points.split_off(points.len() - MOST_OTHERS / 2);
    let older = MOST_OTHERS - latest.len();
    let kept = (0..older).map(|i| points[i * points.len() / older]);
    kept.chain(latest).collect()
}

/// True where `other`, with no number where a parameter does not exist, is the configuration at `point`.
fn is_same(point: &[f64], active: &[bool], other: &[f64]) -> bool {
    point.iter().zip(active).zip(other).all(|((x, active), other)| if *active { x == other } else { other.is_nan() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(ranks: &[Rank]) -> (Vec<usize>, Vec<usize>) {
        let seen: Vec<(Point, Rank)> = ranks.iter().enumerate().map(|(i, rank)| (vec![i as f64], *rank)).collect();
        let (good, others) = divide(&seen);
        let places = |points: Vec<&Point>| points.into_iter().map(|point| point[0] as usize).collect();
        (places(good), places(others))
    }

    #[test]
    fn complete_trials_come_before_pruned_ones_and_broken_ones_are_never_good() {
        use Rank::{Broken, Complete, Pending, Pruned};
        let mut ranks = vec![Complete(3.0), Pruned(2, -9.0), Broken, Pruned(5, 7.0), Pending, Complete(1.0)];
        ranks.extend([Pruned(5, 4.0); 7]);
        // Eleven are measured: three are good.
        assert_eq!(parts(&ranks), (vec![0, 5, 6], vec![1, 2, 3, 4, 7, 8, 9, 10, 11, 12]));
        assert_eq!(parts(&[Broken, Pending]), (vec![], vec![0, 1]));
        ranks[0] = Pending;
        ranks[5] = Broken;
        assert_eq!(parts(&ranks).0, [6, 7], "the best of those that came farthest");
    }

    #[test]
    fn at_most_25_are_good_and_the_latest_others_are_all_kept() {
        let ranks: Vec<Rank> = (0..10_000).map(|i| Rank::Complete(f64::from(i))).collect();
        let (good, others) = parts(&ranks);
        assert_eq!(good, (0..25).collect::<Vec<_>>());
        assert_eq!(
            (others.len(), others[0], others[1_000..] == (9_000..10_000).collect::<Vec<_>>()),
            (2_000, 25, true)
        );
        assert!(others.is_sorted_by(|a, b| a < b));
    }
}
