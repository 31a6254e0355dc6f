//! Rounding, once, in integers: from an exact significand and exponent to the bits of any binary format.
//!
//! Results of f32 arithmetic come here through an f64 that is rounded to odd (Boldo and Melquiond, "When double
//! rounding is odd", 2005): 53 bits with a sticky last one hold enough for any rounding to 24.

/// Directions of rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// `.rn`: to nearest, ties to even.
    Nearest,
    /// `.rna`: to nearest, ties away from zero.
    Away,
    /// `.rz`.
    Zero,
    /// `.rm`: toward −∞.
    Down,
    /// `.rp`: toward +∞.
    Up,
}

/// A binary interchange format: explicit bits of the significand, bits of the exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub fraction: u32,
    pub exponent: u32,
}

pub(crate) const F16: Format = Format { fraction: 10, exponent: 5 };
pub(crate) const BF16: Format = Format { fraction: 7, exponent: 8 };
pub(crate) const TF32: Format = Format { fraction: 10, exponent: 8 };
pub(crate) const F32: Format = Format { fraction: 23, exponent: 8 };
pub(crate) const F64: Format = Format { fraction: 52, exponent: 11 };

impl Format {
    /// Exponent of the smallest normal number.
    pub fn least(self) -> i32 {
        2 - (1 << (self.exponent - 1))
    }

    pub fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    /// The NaN that devices return: all ones but the sign; f64 has the quiet one of IEEE 754.
    pub fn nan(self) -> u64 {
        if self == F64 { 0x7ff8_0000_0000_0000 } else { self.infinity() | ((1 << self.fraction) - 1) }
    }

    pub fn sign(self) -> u64 {
        1 << (self.fraction + self.exponent)
    }

    /// The value of `bits`, exact for every format.
    pub fn value(self, bits: u64) -> f64 {
        match self {
            F64 => return f64::from_bits(bits),
            F32 => return f64::from(f32::from_bits(bits as u32)),
            _ => {}
        }
        let negative = bits & self.sign() != 0;
        let exponent = (bits >> self.fraction & ((1 << self.exponent) - 1)) as i32;
        let fraction = bits & ((1 << self.fraction) - 1);
        let magnitude = if exponent == (1 << self.exponent) - 1 {
            if fraction != 0 { f64::NAN } else { f64::INFINITY }
        } else if exponent == 0 {
            fraction as f64 * power(self.least() - self.fraction as i32)
        } else {
            (fraction | 1 << self.fraction) as f64 * power(exponent - 1 + self.least() - self.fraction as i32)
        };
        if negative { -magnitude } else { magnitude }
    }

    /// `value` in this format.
    pub fn round(self, value: f64, round: Round) -> u64 {
        if value.is_nan() {
            return self.nan();
        }
        if self == F32 && round == Round::Nearest {
            return u64::from((value as f32).to_bits());
        }
        let (bits, sign) = (value.to_bits(), if value.is_sign_negative() { self.sign() } else { 0 });
        if value.is_infinite() {
            return sign | self.infinity();
        }
        let exponent = (bits >> 52 & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let significand = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        self.assemble(value.is_sign_negative(), significand, exponent.max(1) - 1075, round)
    }

    /// ±`significand`·2^`exponent` in this format.
    pub fn assemble(self, negative: bool, significand: u64, exponent: i32, round: Round) -> u64 {
        let sign = if negative { self.sign() } else { 0 };
        if significand == 0 {
            return sign;
        }
        let top = 63 - significand.leading_zeros() as i32 + exponent;
        // Weight of the last bit of the result.
        let last = top.max(self.least()) - self.fraction as i32;
        let drop = last - exponent;
        let (kept, half, sticky) = match drop {
            ..=0 => (significand << -drop, false, false),
            1..=63 => {
                let rest = significand & ((1 << drop) - 1);
                (significand >> drop, rest >> (drop - 1) & 1 == 1, rest & ((1 << (drop - 1)) - 1) != 0)
            }
            64 => (0, significand >> 63 == 1, significand << 1 != 0),
            _ => (0, false, true),
        };
        let up = match round {
            Round::Nearest => half && (sticky || kept & 1 == 1),
            Round::Away => half,
            Round::Zero => false,
            Round::Down => negative && (half || sticky),
            Round::Up => !negative && (half || sticky),
        };
        let kept = kept + u64::from(up);
        // A carry out of the significand moves the exponent on by itself.
        let biased = (last + self.fraction as i32 - self.least()) as u64;
        let bits = (biased << self.fraction) + kept;
        if bits >= self.infinity() {
            let inward = matches!((round, negative), (Round::Zero, _) | (Round::Down, false) | (Round::Up, true));
            return sign | (self.infinity() - u64::from(inward));
        }
        sign | bits
    }
}

/// 2^`exponent` for exponents of normal f64.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The f64 that holds `sum + rest` with a sticky last bit; `sum` is the nearest one, and `rest` what it misses.
pub(crate) fn odd(sum: f64, rest: f64) -> f64 {
    if rest == 0.0 || !sum.is_finite() || !rest.is_finite() || sum.to_bits() & 1 == 1 {
        return sum;
    }
    if rest > 0.0 { sum.next_up() } else { sum.next_down() }
}

/// `a + b` rounded to odd (Knuth's TwoSum).
pub(crate) fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let back = sum - a;
    odd(sum, (a - (sum - back)) + (b - back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_f32_is_rusts() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for step in 0..200_000u64 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(step);
            // Exponents around f32's range, subnormals and overflow included.
            let value = f64::from_bits(bits & !(0x7ff << 52) | ((bits >> 3) % 300 + 1023 - 160) << 52);
            let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1075;
            let significand = value.to_bits() & ((1 << 52) - 1) | 1 << 52;
            let nearest = F32.assemble(value < 0.0, significand, exponent, Round::Nearest);
            assert_eq!(nearest as u32, (value as f32).to_bits(), "{value:e}");
            let back = F32.value(F32.round(value, Round::Zero));
            assert!(back.abs() <= value.abs() && F32.value(F32.round(value, Round::Down)) <= value);
            assert!(F32.value(F32.round(value, Round::Up)) >= value);
        }
    }

    #[test]
    fn ties_and_edges() {
        assert_eq!(BF16.round(1.0 + 1.0 / 256.0, Round::Nearest), 0x3f80);
        assert_eq!(BF16.round(1.0 + 1.0 / 256.0, Round::Away), 0x3f81);
        assert_eq!(F16.round(65520.0, Round::Nearest), 0x7c00);
        assert_eq!(F16.round(65519.0, Round::Nearest), 0x7bff);
        assert_eq!(F16.round(1e9, Round::Zero), 0x7bff);
        assert_eq!(F16.round(2f64.powi(-25), Round::Nearest), 0);
        assert_eq!(F16.round(2f64.powi(-25) * 1.5, Round::Nearest), 1);
        assert_eq!(F16.round(-1e-30, Round::Down), 0x8001);
        assert_eq!(F16.value(1), 2f64.powi(-24));
        assert_eq!(F32.assemble(false, u64::MAX, 0, Round::Nearest) as u32, (u64::MAX as f32).to_bits());
        assert!(TF32.round(f64::NAN, Round::Away) == 0x3ffff);
    }
}
