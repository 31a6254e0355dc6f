//! `cvt`: every pair of types, with roundings, `.sat`, `.ftz` and `.relu`.

use super::round::{BF16, F16, F32, F64, Format, Round, TF32};
use super::{plane, wide};
use crate::instr::Function;
use crate::parse::syntax::Type;

/// A conversion that is interpreted a lane at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convert {
    pub to: Type,
    pub from: Type,
    pub round: Round,
    /// `.rni .rzi .rmi .rpi`: to a whole number, also from float to float.
    pub whole: bool,
    pub saturate: bool,
    pub flush: bool,
    pub relu: bool,
}

/// The format of a float type; pairs have that of their halves.
pub(crate) fn format(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::F(16) | Type::F16x2 => F16,
        Type::F(32) => F32,
        Type::F(64) => F64,
        Type::Bf16 | Type::Bf16x2 => BF16,
        Type::Tf32 => TF32,
        _ => return None,
    })
}

/// The whole number in the low bits of `bits`, extended.
fn integer(bits: u64, ty: Type) -> i128 {
    let shift = 64 - ty.bits();
    if matches!(ty, Type::S(_)) {
        i128::from((bits << shift) as i64 >> shift)
    } else {
        i128::from(bits << shift >> shift)
    }
}

fn range(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if matches!(ty, Type::S(_)) { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn flushed(bits: u64, format: Format) -> u64 {
    if bits & format.infinity() == 0 { bits & format.sign() } else { bits }
}

impl Convert {
    /// One lane; a whole result is extended to 64 bits by its signedness, for destinations wider than the type.
    pub fn apply(self, bits: u64) -> u64 {
        match (format(self.from), format(self.to)) {
            (None, None) => {
                let value = integer(bits, self.from);
                let (least, greatest) = range(self.to);
                let value = if self.saturate { value.clamp(least, greatest) } else { value };
                integer(value as u64, self.to) as u64
            }
            (None, Some(to)) => {
                let value = integer(bits, self.from);
                self.finish(to.assemble(value < 0, value.unsigned_abs() as u64, 0, self.round), to)
            }
            (Some(from), None) => {
                let bits = bits & (from.sign() | (from.sign() - 1));
                let value = from.value(if self.flush { flushed(bits, from) } else { bits });
                let (least, greatest) = range(self.to);
                // NaN becomes 0, everything outside the nearest end.
                integer((rounded(value, self.round) as i128).clamp(least, greatest) as u64, self.to) as u64
            }
            (Some(from), Some(to)) => {
                let bits = bits & (from.sign() | (from.sign() - 1));
                let bits = if self.flush && from == F32 { flushed(bits, from) } else { bits };
                let value = from.value(bits);
                let value = if self.whole { rounded(value, self.round) } else { value };
                let result = self.finish(to.round(value, self.round), to);
                // tf32 is kept in the layout of f32.
                if to == TF32 { (result << 13) | if value.is_nan() { 0x1fff } else { 0 } } else { result }
            }
        }
    }

    fn finish(self, bits: u64, to: Format) -> u64 {
        let bits = if self.flush && to == F32 { flushed(bits, to) } else { bits };
        let value = to.value(bits);
        if self.saturate {
            return if value > 0.0 { to.round(value.min(1.0), Round::Nearest) } else { 0 };
        }
        if self.relu && (value < 0.0 || bits == to.sign()) {
            return 0;
        }
        bits
    }

    /// `cvt.rn.f16x2.f32 d, a, b` and its like: a above, b below.
    pub fn pair(self, a: u64, b: u64) -> u64 {
        let one = Self { to: if self.to == Type::F16x2 { Type::F(16) } else { Type::Bf16 }, ..self };
        one.apply(a) << 16 | one.apply(b)
    }

    /// The function over the lanes for the conversions that are hot.
    pub fn fast(self) -> Option<Function> {
        if self.saturate || self.flush || self.relu {
            return None;
        }
        Some(match (self.to, self.from, self.round) {
            (Type::U(64), Type::U(32) | Type::U(16), _) => wide!(|a, _, _| a),
            (Type::S(64), Type::S(32), _) => wide!(|a, _, _| a as i32 as u64),
            (Type::U(32) | Type::S(32), Type::U(64) | Type::S(64), _) => wide!(|a, _, _| a & 0xffff_ffff),
            (Type::U(32) | Type::S(32), Type::U(16), _) => wide!(|a, _, _| a & 0xffff),
            (Type::U(16), Type::U(32) | Type::U(64), _) => wide!(|a, _, _| a & 0xffff),
            (Type::F(32), Type::S(32), Round::Nearest) => plane!(|a, _, _| (a as i32 as f32).to_bits()),
            (Type::F(32), Type::U(32), Round::Nearest) => plane!(|a, _, _| (a as f32).to_bits()),
            (Type::F(64), Type::F(32), _) if !self.whole => wide!(|a, _, _| widened(a as u32)),
            _ => return None,
        })
    }
}

fn widened(bits: u32) -> u64 {
    let value = f32::from_bits(bits);
    if value.is_nan() { F64.nan() } else { f64::from(value).to_bits() }
}

fn rounded(value: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => value.round_ties_even(),
        Round::Away => value.round(),
        Round::Zero => value.trunc(),
        Round::Down => value.floor(),
        Round::Up => value.ceil(),
    }
}
