//! Quasi-random points: a scrambled Sobol sequence, and the sampler that proposes them.
//!
//! The i-th point is a linear function of the bits of i, so every slot has its point without the ones before it. In
//! each coordinate any aligned 2ᵏ points hit each of the 2ᵏ equal intervals once, which a random sample does not.
//! Direction numbers: the first dimensions as in Joe and Kuo (SIAM J. Sci. Comput. 30, 2008), the rest from primitive
//! polynomials found here with keyed odd starting numbers. Scrambling: a random lower triangular matrix and a digital
//! shift (Matoušek, J. Complexity 14, 1998), keyed by the seed.

use super::random::{Tried, draw};
use super::{Ask, Proposal, Sampler};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::Space;

/// Bits of a coordinate.
const BITS: usize = 32;
/// Step of the keyed numbers that scramble; the dimension is added. Draws of a trial use small steps.
const SCRAMBLE: u64 = 1 << 32;
/// Key of the starting numbers beyond the table: part of the sequence, not of any seed.
const START_KEY: u64 = 0x50b0_1000;
/// Starting numbers of dimensions 1 … 9 (dimension 0 is the van der Corput sequence), by degree.
const START: [&[u32]; 9] = [
    &[1],
    &[1, 3],
    &[1, 3, 1],
    &[1, 1, 1],
    &[1, 1, 3, 3],
    &[1, 3, 5, 13],
    &[1, 1, 5, 5, 17],
    &[1, 1, 5, 5, 5],
    &[1, 1, 7, 11, 19],
];

/// Scrambled Sobol points of the unit cube.
#[derive(Clone, Debug)]
pub(super) struct Sobol {
    /// For each dimension its direction numbers, scrambled, and its shift.
    dimensions: Vec<([u32; BITS], u32)>,
}

impl Sobol {
    /// The sequence scrambled by (seed, slot).
    pub(super) fn new(dimensions: usize, seed: u64, slot: u64) -> Self {
        let mut polynomials = Polynomials { degree: 1, tail: 0 };
        let scrambled = (0..dimensions).map(|d| {
            let plain = match d {
                0 => std::array::from_fn(|k| 1 << (BITS - 1 - k)),
                _ => directions(d, polynomials.next_primitive()),
            };
            scramble(plain, &mut Stream::new(seed, slot, Purpose::Propose, SCRAMBLE + d as u64))
        });
        Sobol { dimensions: scrambled.collect() }
    }

    /// The point in place `index`; the sequence repeats after 2³² points.
    pub(super) fn point(&self, index: u64) -> Vec<f64> {
        let coordinate = |(directions, shift): &([u32; BITS], u32)| {
            let bits = (0..BITS).filter(|k| index >> k & 1 == 1).fold(*shift, |bits, k| bits ^ directions[k]);
            (f64::from(bits) + 0.5) / (1u64 << BITS) as f64
        };
        self.dimensions.iter().map(coordinate).collect()
    }
}

/// Direction numbers of a primitive polynomial of that degree whose inner coefficients are `tail`.
fn directions(dimension: usize, (degree, tail): (usize, u32)) -> [u32; BITS] {
    let mut m = [0u32; BITS];
    let mut stream = Stream::new(START_KEY, dimension as u64, Purpose::Propose, 0);
    for k in 0..degree.min(BITS) {
        m[k] = match START.get(dimension - 1) {
            Some(start) => start[k],
            None => stream.below(1 << k) as u32 * 2 + 1,
        };
    }
    for k in degree..BITS {
        let mut next = m[k - degree] ^ m[k - degree] << degree;
        for i in 1..degree {
            if tail >> (degree - 1 - i) & 1 == 1 {
                next ^= m[k - i] << i;
            }
        }
        m[k] = next;
    }
    std::array::from_fn(|k| m[k] << (BITS - 1 - k))
}

/// A random lower triangular matrix with ones on its diagonal, applied to the digits, and a random shift.
fn scramble(plain: [u32; BITS], stream: &mut Stream) -> ([u32; BITS], u32) {
    // Row i makes digit i (0 is the leading one) from itself and random ones before it.
    let rows: [u32; BITS] = std::array::from_fn(|i| {
        let diagonal = 1u32 << (BITS - 1 - i);
        let before = !(diagonal | (diagonal - 1));
        stream.below(1 << BITS) as u32 & before | diagonal
    });
    let mix = |x: u32| rows.iter().fold(0, |out, row| out << 1 | (x & row).count_ones() & 1);
    (plain.map(mix), stream.below(1 << BITS) as u32)
}

/// Primitive polynomials over GF(2) in rising order: xᵈ + (inner bits) + 1.
struct Polynomials {
    degree: usize,
    tail: u32,
}

impl Polynomials {
    /// The next (degree, inner coefficients).
    fn next_primitive(&mut self) -> (usize, u32) {
        loop {
            if self.tail >> (self.degree - 1) != 0 {
                self.degree += 1;
                self.tail = 0;
            }
            let (degree, tail) = (self.degree, self.tail);
            self.tail += 1;
            if is_primitive(degree, tail) {
                return (degree, tail);
            }
        }
    }
}

/// True where x generates all 2ᵈ − 1 units modulo the polynomial.
fn is_primitive(degree: usize, tail: u32) -> bool {
    let polynomial = 1u64 << degree | u64::from(tail) << 1 | 1;
    let order = (1u64 << degree) - 1;
    let mut power = 1u64;
    for i in 1..=order {
        power <<= 1;
        if power >> degree & 1 == 1 {
            power ^= polynomial;
        }
        if power == 1 {
            return i == order;
        }
    }
    false
}

/// Quasi-random points by slot.
#[derive(Clone, Copy, Debug, Default)]
pub struct QmcSampler;

impl Sampler for QmcSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        quasi_random(ask)
    }

    fn learns(&self) -> bool {
        false
    }

    fn describe(&self, _: &Space, _: &[Direction]) -> String {
        "qmc: scrambled Sobol points, spread more evenly than random ones".to_owned()
    }
}

/// The slot's quasi-random configuration.
pub(super) fn quasi_random(ask: &Ask) -> Proposal {
    at_or_random(ask, &Sobol::new(ask.space.len(), ask.seed, 0).point(ask.slot))
}

/// The configuration at a point of the unit cube; a random one in a finite space where that has been tried.
pub(super) fn at_or_random(ask: &Ask, point: &[f64]) -> Proposal {
    let params = ask.space.at_unit(point);
    if ask.space.size().is_some() && Tried::new(ask).contains(&params) {
        return draw(ask, 0);
    }
    Proposal::Params(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_is_stratified_and_pairs_fill_the_square() {
        let sobol = Sobol::new(40, 3, 0);
        let points: Vec<Vec<f64>> = (0..64).map(|i| sobol.point(i)).collect();
        for d in 0..40 {
            let mut cells: Vec<usize> = points.iter().map(|point| (point[d] * 64.0) as usize).collect();
            cells.sort_unstable();
            assert!(cells.iter().enumerate().all(|(i, cell)| i == *cell), "dimension {d}: {cells:?}");
        }
        // The first two dimensions are a (0, 6, 2)-net: every elementary box of area 1/64 holds one point.
        for split in 0..=6u32 {
            let (a, b) = (f64::from(1 << split), f64::from(64 >> split));
            let boxes: std::collections::HashSet<(usize, usize)> =
                points.iter().map(|p| ((p[0] * a) as usize, (p[1] * b) as usize)).collect();
            assert_eq!(boxes.len(), 64, "{a} × {b}");
        }
    }

    #[test]
    fn unscrambled_points_are_the_published_ones() {
        let mut polynomials = Polynomials { degree: 1, tail: 0 };
        let found: Vec<(usize, u32)> = (0..9).map(|_| polynomials.next_primitive()).collect();
        assert_eq!(found, [(1, 0), (2, 1), (3, 1), (3, 2), (4, 1), (4, 4), (5, 2), (5, 4), (5, 7)]);
        // The first eight points in three dimensions as SciPy and others print them (their order is the Gray code's).
        let first = std::array::from_fn(|k| 1 << (BITS - 1 - k));
        let dimensions = vec![(first, 0), (directions(1, (1, 0)), 0), (directions(2, (2, 1)), 0)];
        let sobol = Sobol { dimensions };
        let published = [
            [0.0, 0.0, 0.0],
            [0.5, 0.5, 0.5],
            [0.75, 0.25, 0.25],
            [0.25, 0.75, 0.75],
            [0.375, 0.375, 0.625],
            [0.875, 0.875, 0.125],
            [0.625, 0.125, 0.875],
            [0.125, 0.625, 0.375],
        ];
        for (i, expected) in published.iter().enumerate() {
            let point = sobol.point((i ^ i >> 1) as u64);
            assert!(point.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{i}: {point:?}");
        }
    }
}
