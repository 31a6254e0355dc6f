//! Designs beside Sobol's: a scrambled Halton sequence and Latin hypercubes.
//!
//! Both give every slot its point without the ones before it, keyed by the seed.
//! - Halton: coordinate j of point i are the digits of i in the j-th prime base, mirrored at the point, each digit
//!   through a random permutation of its own (Owen, "A randomized Halton algorithm in R", arXiv 1706.02808). In base b
//!   any aligned bᵏ points hit each of the bᵏ equal intervals once.
//! - Latin hypercube: of n points each has its own of n equal intervals in every coordinate (McKay, Beckman and
//!   Conover, Technometrics 21, 1979). n is the number of trials that the study should reach, [`BLOCK`] where that is
//!   not known; after them comes another hypercube.

use super::sobol::at_or_random;
use super::{Ask, Proposal, Sampler, Settings};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::Space;

/// Points of a Latin hypercube where the number of trials is not known.
const BLOCK: u64 = 64;
/// Steps of the keyed numbers; dimension and digit or block are added.
const DIGITS: u64 = 1 << 33;
const STRATA: u64 = 1 << 34;

/// Scrambled Halton points by slot.
#[derive(Clone, Copy, Debug, Default)]
pub struct HaltonSampler;

impl Sampler for HaltonSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let bases = Primes(1).take(ask.space.len());
        let point = bases.enumerate().map(|(j, base)| halton(base, j as u64, ask.slot, ask.seed));
        at_or_random(ask, &point.collect::<Vec<_>>())
    }

    fn learns(&self) -> bool {
        false
    }

    fn describe(&self, _: &Space, _: &[Direction]) -> String {
        "halton: scrambled Halton points, spread more evenly than random ones".to_owned()
    }
}

/// Latin hypercubes by slot.
#[derive(Clone, Copy, Debug)]
pub struct LatinSampler {
    /// Points of a hypercube, at least 1.
    pub points: u64,
}

impl LatinSampler {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        LatinSampler { points: settings.trials.unwrap_or(BLOCK).max(1) }
    }
}

impl Sampler for LatinSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let (block, place) = (ask.slot / self.points, (ask.slot % self.points) as usize);
        let point = (0..ask.space.len() as u64).map(|j| {
            let mut stream = Stream::new(ask.seed, block, Purpose::Propose, STRATA + j);
            let mut strata: Vec<u64> = (0..self.points).collect();
            stream.shuffle(&mut strata);
            let inside = Stream::new(ask.seed, ask.slot, Purpose::Propose, STRATA + (1 << 20) + j).uniform();
            (strata[place] as f64 + inside) / self.points as f64
        });
        at_or_random(ask, &point.collect::<Vec<_>>())
    }

    fn learns(&self) -> bool {
        false
    }

    fn describe(&self, _: &Space, _: &[Direction]) -> String {
        format!("lhs: Latin hypercubes of {} points, evenly spread in every single parameter", self.points)
    }
}

/// Coordinate `dimension` of point `index`.
fn halton(base: u64, dimension: u64, index: u64, seed: u64) -> f64 {
    let (mut rest, mut weight, mut value, mut digit) = (index, 1.0, 0.0, 0);
    // Beyond the digits of any index the permuted zeros go on: they are what moves the point off its corner.
    while weight > 1e-12 {
        let mut permuted: Vec<u64> = (0..base).collect();
        Stream::new(seed, dimension, Purpose::Propose, DIGITS + digit).shuffle(&mut permuted);
        weight /= base as f64;
        value += weight * permuted[(rest % base) as usize] as f64;
        rest /= base;
        digit += 1;
    }
    value.min(1.0 - f64::EPSILON)
}

/// The primes above the given number.
struct Primes(u64);

impl Iterator for Primes {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d: u64| !n.is_multiple_of(d));
        self.0 = (self.0 + 1..).find(is_prime)?;
        Some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Expand;

    /// How many of the points fall into each of `cells` intervals.
    fn counts(values: impl Iterator<Item = f64>, cells: usize) -> Vec<usize> {
        let mut counts = vec![0; cells];
        values.for_each(|x| counts[(x * cells as f64) as usize] += 1);
        counts
    }

    #[test]
    fn aligned_halton_points_are_stratified_in_every_base() {
        assert_eq!(Primes(1).take(6).collect::<Vec<_>>(), [2, 3, 5, 7, 11, 13]);
        for (j, base) in Primes(1).take(12).enumerate() {
            let n = base * base;
            for first in [0, 3 * n] {
                let values = (first..first + n).map(|i| halton(base, j as u64, i, 4));
                assert_eq!(counts(values, n as usize), vec![1; n as usize], "base {base} from {first}");
            }
        }
        assert_ne!(halton(3, 1, 5, 1), halton(3, 1, 5, 2));
    }

    #[test]
    fn latin_hypercubes_hit_every_interval_once() {
        let text = "x = { float = [0.0, 1.0] }\ny = { float = [0.0, 1.0] }";
        let space = Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap();
        let sampler = LatinSampler { points: 20 };
        for block in 0..2 {
            for name in ["x", "y"] {
                let values = (20 * block..20 * (block + 1)).map(|slot| {
                    let ask = Ask {
                        space: &space,
                        directions: &[Direction::Minimize],
                        history: &[],
                        seed: 3,
                        slot,
                        source: &[],
                    };
                    let Proposal::Params(params) = sampler.ask(&ask) else { panic!("a continuum has no end") };
                    params[name].as_f64().unwrap()
                });
                assert_eq!(counts(values, 20), vec![1; 20], "{name}");
            }
        }
    }
}
