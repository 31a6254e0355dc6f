//! Eight `f64` side by side, and the few functions of them that covariances need.
//!
//! Written as plain arithmetic on arrays: inside [`Isa::run`] the compiler makes of it whatever vectors the set has,
//! outside of it pairs. Products and sums are rounded one by one (nothing is fused) and sums have a fixed order, so the
//! bits are the same on every set and machine.

use hpt_kernels::isa::{Isa, Op};
use std::ops::{Add, Div, Mul, Sub};
use std::sync::OnceLock;

/// Number of lanes.
pub(super) const WIDTH: usize = 8;
/// ln 2 in two parts, the first short enough that its product with an exponent is exact.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Added and taken off again it leaves the nearest whole number, which the sum has in its lowest bits.
const SHIFTER: f64 = 6_755_399_441_055_744.0;
/// e to less than this is taken as e to this: a number that is still normal.
const LEAST_EXPONENT: f64 = -708.0;

/// See the module; one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f64; WIDTH]);

impl Lanes {
    pub(super) const ZERO: Lanes = Lanes([0.0; WIDTH]);

    /// `x` in every lane.
    #[inline(always)]
    pub(super) fn splat(x: f64) -> Self {
        Lanes([x; WIDTH])
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f64) -> f64) -> Self {
        let mut out = Self::ZERO;
        for lane in 0..WIDTH {
            out.0[lane] = f(self.0[lane]);
        }
        out
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let mut out = Self::ZERO;
        for lane in 0..WIDTH {
            out.0[lane] = f(self.0[lane], other.0[lane]);
        }
        out
    }

    /// The lanes from `from` (included) to `to` (excluded), and 0 elsewhere.
    #[inline(always)]
    pub(super) fn between(self, from: usize, to: usize) -> Self {
        let mut out = self;
        for lane in 0..WIDTH {
            out.0[lane] = if lane >= from && lane < to { self.0[lane] } else { 0.0 };
        }
        out
    }

    /// 0 where the lanes are equal, 1 where they are not.
    #[inline(always)]
    pub(super) fn differs(self, other: Self) -> Self {
        self.zip(other, |a, b| f64::from(u8::from(a != b)))
    }

    /// No less than `low` and no more than `high`.
    #[inline(always)]
    pub(super) fn clamp(self, low: f64, high: f64) -> Self {
        self.map(|x| if x < low { low } else { x }).map(|x| if x > high { high } else { x })
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Self {
        self.map(f64::sqrt)
    }

    /// eˣ for x ≤ 709, within three units of the last place: 2ⁿ·eʳ with |r| ≤ ½·ln 2 and the series of eʳ.
    #[inline(always)]
    pub(super) fn exp(self) -> Self {
        let x = self.map(|x| if x > LEAST_EXPONENT { x } else { LEAST_EXPONENT });
        let shifted = x.map(|x| x * std::f64::consts::LOG2_E + SHIFTER);
        let n = shifted.map(|x| x - SHIFTER);
        let r = x - n * LN2_HIGH - n * LN2_LOW;
        // Even and odd powers by themselves; the 14th term is below 5e-18.
        let square = r * r;
        let (mut even, mut odd) = (Self::splat(1.0 / 479_001_600.0), Self::splat(1.0 / 6_227_020_800.0));
        for (low, high) in [(3_628_800.0, 39_916_800.0), (40_320.0, 362_880.0), (720.0, 5_040.0)] {
            (even, odd) = (even * square + Self::splat(1.0 / low), odd * square + Self::splat(1.0 / high));
        }
        for (low, high) in [(24.0, 120.0), (2.0, 6.0), (1.0, 1.0)] {
            (even, odd) = (even * square + Self::splat(1.0 / low), odd * square + Self::splat(1.0 / high));
        }
        let sum = even + odd * r;
        sum.zip(shifted, |sum, shifted| sum * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52))
    }

    /// ln x of positive normal numbers, within three units of the last place (near 1, of 1e-16): with x = 2ᵏ·m, √½ ≤ m
    /// < √2 and s = (m − 1)/(m + 1) it is k·ln 2 + 2·(s + s³/3 + s⁵/5 + …).
    #[inline(always)]
    pub(super) fn ln(self) -> Self {
        // √½ moves to a power of two, so that the exponent's bits are k.
        let places = |x: f64| x.to_bits().wrapping_add(0x3ff0_0000_0000_0000 - 0x3fe6_a09e_667f_3bcd) >> 52;
        // A whole number below 2⁵² as the lowest bits of 2⁵².
        let k = self.map(|x| f64::from_bits(places(x) | 0x4330_0000_0000_0000) - (4_503_599_627_370_496.0 + 1023.0));
        let m = self.map(|x| f64::from_bits(x.to_bits().wrapping_sub(places(x).wrapping_sub(1023) << 52)));
        let s = m.map(|m| (m - 1.0) / (m + 1.0));
        let square = s * s;
        // s² ≤ 0.0295: the next term is below 2e-18.
        let mut sum = Self::splat(1.0 / 23.0);
        for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
            sum = sum * square + Self::splat(1.0 / odd);
        }
        let twice = s + s;
        k * LN2_HIGH + (twice + (twice * square * sum + k * LN2_LOW))
    }

    /// The sum of the lanes.
    #[inline(always)]
    pub(super) fn sum(self) -> f64 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $sign:tt) => {
        impl $trait for Lanes {
            type Output = Lanes;
            #[inline(always)]
            fn $method(self, other: Lanes) -> Lanes {
                self.zip(other, |a, b| a $sign b)
            }
        }
    };
}

operator!(Add, add, +);
operator!(Sub, sub, -);
operator!(Mul, mul, *);
operator!(Div, div, /);

impl Mul<f64> for Lanes {
    type Output = Lanes;
    #[inline(always)]
    fn mul(self, factor: f64) -> Lanes {
        self.map(|x| x * factor)
    }
}

/// Numbers in whole lanes, filled up with zeros.
pub(super) fn padded(values: &[f64]) -> Vec<Lanes> {
    let whole = |chunk: &[f64]| {
        let mut lanes = Lanes::ZERO;
        lanes.0[..chunk.len()].copy_from_slice(chunk);
        lanes
    };
    values.chunks(WIDTH).map(whole).collect()
}

/// The lanes one after the other.
pub(super) fn flat(lanes: &[Lanes]) -> impl Iterator<Item = f64> + Clone + '_ {
    lanes.iter().flat_map(|lanes| lanes.0)
}

/// Σ aᵢ·bᵢ.
#[inline(always)]
pub(super) fn dot(a: &[Lanes], b: &[Lanes]) -> f64 {
    a.iter().zip(b).fold(Lanes::ZERO, |sum, (a, b)| sum + *a * *b).sum()
}

/// Runs the operation with the widest vectors that the machine has.
pub(super) fn run<O: Op>(op: O) -> O::Output {
    static ISA: OnceLock<Isa> = OnceLock::new();
    // What `HPT_ISA` names wrongly is for the backends to complain of: bits are the same on every set.
    let best = || Isa::detect().or_else(|_| Isa::by_name("portable")).expect("every machine has the portable set");
    ISA.get_or_init(best).run(op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use hpt_kernels::isa::Simd;

    fn furthest(xs: &[f64], f: impl Fn(Lanes) -> Lanes, exact: impl Fn(f64) -> f64, scale: impl Fn(f64) -> f64) -> f64 {
        let found: Vec<f64> = padded(xs).into_iter().flat_map(|lanes| f(lanes).0).collect();
        xs.iter().zip(found).map(|(x, y)| (y - exact(*x)).abs() / scale(exact(*x))).fold(0.0, f64::max)
    }

    #[test]
    fn exponentials_and_logarithms_are_exact_to_rounding() {
        let mut stream = Stream::new(1, 0, Purpose::Propose, 0);
        let mut xs: Vec<f64> = (0..4000).map(|_| (stream.uniform() - 0.8) * 600.0).collect();
        xs.extend((0..4000).map(|_| (stream.uniform() - 0.5) * 2.0));
        xs.extend([0.0, -0.0, 1.0, -708.0, 0.346_573, 0.346_574]);
        assert!(furthest(&xs, Lanes::exp, f64::exp, |y| y) < 7e-16);
        let powers: Vec<f64> = xs.iter().map(|x| x.exp()).collect();
        assert!(furthest(&powers, Lanes::ln, f64::ln, |y| y.abs().max(0.5)) < 7e-16);
        assert_eq!(Lanes::splat(-1e9).exp(), Lanes::splat(LEAST_EXPONENT).exp());
        assert_eq!((Lanes::splat(1.0).ln(), Lanes::ZERO.exp()), (Lanes::ZERO, Lanes::splat(1.0)));
    }

    #[test]
    fn bits_are_the_same_on_every_set() {
        struct All<'a>(&'a [Lanes]);
        impl Op for All<'_> {
            type Output = Vec<u64>;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> Vec<u64> {
                let own = self.0.iter().flat_map(|x| (x.exp().ln() * 1.7 + (*x * *x).sqrt() / x.exp()).0);
                own.chain([dot(self.0, self.0)]).map(f64::to_bits).collect()
            }
        }
        let mut stream = Stream::new(2, 0, Purpose::Propose, 0);
        let xs = padded(&(0..640).map(|_| 20.0 * stream.normal()).collect::<Vec<_>>());
        let expected = Isa::by_name("portable").unwrap().run(All(&xs));
        for isa in Isa::available() {
            assert_eq!(isa.run(All(&xs)), expected, "{}", isa.name());
        }
    }

    #[test]
    fn lanes_are_chosen_and_filled_up() {
        let whole = padded(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(flat(&whole).collect::<Vec<_>>()[7..11], [8.0, 9.0, 0.0, 0.0]);
        assert_eq!(whole[0].between(2, 4).0, [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(whole[0].differs(Lanes::splat(3.0)).sum(), 7.0);
        assert!(padded(&[]).is_empty());
    }
}
