//! Every combination once, then the search stops by itself.
//!
//! The points come in an order that the seed draws, so that a part of the grid is spread over all of it. The order is a
//! permutation that is computed place by place ([`Order`]); nothing is stored. The trial in slot i has the i-th point,
//! not counting trials that the user enqueued. Where another trial has that point, however it came by it, and after the
//! last place, it has the last point of the order that no trial has: no worker, crash, failure or trial from elsewhere
//! makes a point come twice or not at all.

use super::random::Tried;
use super::{Ask, Proposal, Sampler};
use crate::history::{Direction, Trial};
use crate::random::{Purpose, Stream};
use crate::space::{Grid, Space};
use std::collections::BTreeMap;

/// The system attribute by which Optuna marks a trial whose parameters somebody gave.
const ENQUEUED: &str = "fixed_params";
/// Step of the random numbers that draw the order.
const KEYS: u64 = 1 << 40;

/// The full grid; see the module.
#[derive(Clone, Copy, Debug)]
pub struct GridSampler {
    /// Points along a continuum, ends included, and most points along a logarithmic whole number.
    pub resolution: usize,
    /// Trials that the study should reach in all, where that is known.
    pub trials: Option<u64>,
}

impl Sampler for GridSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let grid = Grid::new(ask.space, self.resolution);
        let first = earlier(ask);
        let place = ask.slot - first.values().filter(|trial| is_given(trial)).count() as u64;
        // A grid that cannot be counted has no order to draw.
        let Some(order) = grid.size().map(|size| Order::new(size, ask.seed)) else {
            return grid.nth(place).map_or(Proposal::Exhausted, Proposal::Params);
        };
        let tried = Tried::new(ask);
        let own = (place < order.size).then_some(place);
        let mut points = own.into_iter().chain((0..order.size).rev()).filter_map(|place| grid.nth(order.at(place)));
        points.find(|params| !tried.contains(params)).map_or(Proposal::Exhausted, Proposal::Params)
    }

    fn is_exhaustive(&self, _: &Space) -> bool {
        true
    }

    fn learns(&self) -> bool {
        false
    }

    fn describe(&self, space: &Space, _: &[Direction]) -> String {
        let grid = Grid::new(space, self.resolution);
        let Some(size) = grid.size() else {
            return "grid: more configurations than can be counted, of which only an edge can be seen".to_owned();
        };
        let part = match self.trials {
            Some(trials) if trials < size => format!(", of which {trials} trials see {trials}, drawn by the seed"),
            _ => String::new(),
        };
        match space.size().is_some_and(|all| all == size) {
            true => format!("grid: all {size} configurations{part}"),
            false => format!("grid: {size} configurations, {} values along a continuum{part}", self.resolution),
        }
    }
}

/// A permutation of 0..n that depends on the seed: a Feistel network over the next even number of bits, walked along
/// its cycle until it is back below n (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). Any place is
/// found in a few steps.
struct Order {
    size: u64,
    /// Bits of each half.
    half: u32,
    keys: [u64; 6],
}

impl Order {
    fn new(size: u64, seed: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        let mut stream = Stream::new(seed, 0, Purpose::Shuffle, KEYS);
        Order { size, half: bits.div_ceil(2), keys: std::array::from_fn(|_| stream.below(u64::MAX)) }
    }

    /// The point in a place below `size`.
    fn at(&self, place: u64) -> u64 {
        let mut at = self.round_trip(place);
        while at >= self.size {
            at = self.round_trip(at);
        }
        at
    }

    /// One pass through the network: a bijection of 0..4^half.
    fn round_trip(&self, place: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (place >> self.half, place & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mixed(right ^ key) & mask));
        }
        left << self.half | right
    }
}

/// Every bit depends on every other (Steele, Lea and Flood 2014, the finaliser of SplitMix).
fn mixed(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The trials of earlier slots. A repeated trial has its predecessor's slot, and given parameters because of that: the
/// first trial of a slot decides.
fn earlier<'a>(ask: &Ask<'a>) -> BTreeMap<u64, &'a Trial> {
    let mut first: BTreeMap<u64, &Trial> = BTreeMap::new();
    for trial in ask.history.iter().filter(|trial| trial.slot() < ask.slot) {
        let known = first.entry(trial.slot()).or_insert(trial);
        if trial.number < known.number {
            *known = trial;
        }
    }
    first
}

/// Whether it holds given parameters instead of a grid point.
fn is_given(trial: &Trial) -> bool {
    trial.system.contains_key(ENQUEUED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_of_its_own_for_every_seed() {
        for size in [1, 2, 3, 4, 5, 16, 17, 64, 97, 1000, 4096, 4097] {
            let all = |seed| (0..size).map(|place| Order::new(size, seed).at(place)).collect::<Vec<u64>>();
            let (one, other) = (all(1), all(2));
            let mut sorted = one.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..size).collect::<Vec<_>>());
            assert!(size < 16 || one != other, "{size}");
            // A tenth of it is spread over all of it.
            if size >= 1000 {
                let mean = one.iter().take(size as usize / 10).sum::<u64>() as f64 / (size / 10) as f64 / size as f64;
                assert!((mean - 0.5).abs() < 0.15, "{size}: {mean}");
            }
        }
        // The largest that can be counted.
        let largest = Order::new(u64::MAX, 3);
        assert!([0, 1, u64::MAX - 1].iter().all(|place| largest.at(*place) < u64::MAX));
    }
}
