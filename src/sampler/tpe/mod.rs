//! Tree-structured Parzen estimator (Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011).
//!
//! Quasi-random points first. Then the finished trials are divided into the best γ = min(⌈n/5⌉, 25) and the others,
//! each part gives a density ([`parzen`]), and of some draws from the good density l the one with the largest l/g is
//! proposed.
//! - Complete trials rank by their value, with several objectives by their front and what they add to its volume
//!   ([`several`](super::several)); after them pruned ones, the later they stopped the better, at the same step by
//!   their value or, with several objectives, by the fronts of all that they reported; then those that break
//!   constraints, by how much; failed ones and those without a number come last and always count among the others, so
//!   what diverges is avoided.
//! - With several objectives a good trial weighs as much as the volume that it alone adds to the good ones, as in
//!   Optuna, and every second proposal takes the parameters as independent. Densities of whole configurations did no
//!   better than chance on DTLZ2, where four of six parameters have one value along the front; independent ones lose
//!   where what is good of one parameter depends on another (Branin–Currin). Taking turns beats Optuna's on both
//!   (`benches/search/README.md`).
//! - Trials under way count among the others ("constant liar"), which keeps workers apart.
//! - In a finite space draws that some trial already has are passed over.
//!
//! Optuna's γ is ⌈n/10⌉ and it compares 24 draws; on the functions of `benches/search.rs` and on complete grids of MLP
//! configurations ⌈n/5⌉ and 48 found better values after 50 and 100 trials.
//!
//! A proposal costs O(n) time and memory; nothing is kept between proposals. Of more than 2,000 others the older ones
//! are thinned out: their density hardly changes, and the time to propose grows only by reading the history.

mod bohb;
mod parzen;

pub use bohb::BohbSampler;

use super::codec::{Codec, Kind, Point};
use super::outcome::{Rank, ranked};
use super::random::{Tried, draw};
use super::several;
use super::sobol::quasi_random;
use super::{Ask, Proposal, Sampler, Settings};
use crate::history::{Direction, Trial};
use crate::random::{Purpose, Stream};
use crate::space::{Params, Space};
use parzen::{Form, Parzen, recency};

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
        let trials = if ask.directions.len() == 1 { ranked(ask) } else { several::ranked(ask, gamma) };
        let codec = Codec::new(ask.space);
        let is_known = |(trial, rank): &&(&Trial, Rank)| rank.is_measured() && codec.observed(&trial.params).is_some();
        if (trials.iter().filter(is_known).take(self.startup as usize).count() as u64) < self.startup {
            return quasi_random(ask);
        }
        propose(ask, &codec, &trials).map_or_else(|| draw(ask, 0), Proposal::Params)
    }

    fn describe(&self, _: &Space, directions: &[Direction]) -> String {
        let fronts = if directions.len() > 1 { ", good ones by fronts and hypervolume" } else { "" };
        format!("tpe: tree-structured Parzen estimator after {} quasi-random trials{fronts}", self.startup)
    }
}

/// The best of the draws from the density of the good trials; none where all have been tried.
fn propose(ask: &Ask, codec: &Codec, trials: &[(&Trial, Rank)]) -> Option<Params> {
    let ranks: Vec<Rank> = trials.iter().map(|(_, rank)| *rank).collect();
    let (good, others) = divide(&ranks, |place| codec.observed(&trials[place].0.params).is_some());
    let points = |places: Vec<usize>| -> Vec<Point> {
        places.into_iter().filter_map(|place| codec.observed(&trials[place].0.params)).collect()
    };
    let is_marginal = ask.directions.len() > 1 && ask.slot.is_multiple_of(2);
    let form = if is_marginal { Form::Marginal } else { Form::Joint };
    let weights = match ask.directions {
        [_] => recency(good.len()),
        _ => several::shares(ask.directions, good.iter().map(|place| trials[*place].0)),
    };
    let (good, others) = (points(good), points(others));
    let g = Parzen::new(codec, &others, recency(others.len()), form);
    let l = Parzen::new(codec, &good, weights, form);
    let tried = codec.kinds().iter().all(|kind| *kind != Kind::Real).then(|| Tried::new(ask));
    let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, DRAWS);
    for _ in 0..ROUNDS {
        let draws = (0..CANDIDATES).map(|_| {
            let point = l.sample(codec, &mut stream);
            let active = codec.active(&point);
            (l.log_density(codec, &point, &active) - g.log_density(codec, &point, &active), point)
        });
        let mut draws: Vec<(f64, Point)> = draws.collect();
        draws.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let is_new = |params: &Params| tried.as_ref().is_none_or(|tried| !tried.contains(params));
        if let Some(params) = draws.iter().map(|(_, point)| codec.params(point)).find(is_new) {
            return Some(params);
        }
    }
    None
}

/// How many of so many measured trials are good.
fn gamma(measured: usize) -> usize {
    measured.div_ceil(5).min(MOST_GOOD)
}

/// Places of the best γ of the measured trials that are usable, and of the others that get a kernel; both rising.
fn divide(ranks: &[Rank], is_usable: impl Fn(usize) -> bool) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..ranks.len()).filter(|place| ranks[*place].is_measured()).collect();
    let gamma = gamma(order.len());
    order.sort_by(|a, b| ranks[*a].order(&ranks[*b]));
    let mut good: Vec<usize> = order.into_iter().filter(|place| is_usable(*place)).take(gamma).collect();
    good.sort_unstable();
    let others = (0..ranks.len()).filter(|place| good.binary_search(place).is_err()).collect();
    (good, thinned(others))
}

/// At most so many, the latest and evenly from those before.
fn thinned(mut places: Vec<usize>) -> Vec<usize> {
    if places.len() <= MOST_OTHERS {
        return places;
    }
    let latest = places.split_off(places.len() - MOST_OTHERS / 2);
    let older = MOST_OTHERS - latest.len();
    let kept = (0..older).map(|i| places[i * places.len() / older]);
    kept.chain(latest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(ranks: &[Rank]) -> (Vec<usize>, Vec<usize>) {
        divide(ranks, |_| true)
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
        assert_eq!(divide(&ranks, |place| place != 7).0, [6, 8], "7 is not of this space");
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
