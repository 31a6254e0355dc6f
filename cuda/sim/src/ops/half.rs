//! f16 and bf16 arithmetic, single or in pairs: computed in f64, rounded once.

use super::float::Kind;
use super::round::{BF16, F16, Format, Round, sum_to_odd};
use crate::instr::Compare;
use std::cmp::Ordering;

/// An operation on 16-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfOp {
    pub kind: Kind,
    pub brain: bool,
    pub pair: bool,
    pub flush: bool,
    pub saturate: bool,
    pub relu: bool,
}

impl HalfOp {
    fn format(self) -> Format {
        if self.brain { BF16 } else { F16 }
    }

    /// One lane: 16 bits, or 32 for a pair.
    pub fn apply(self, a: u32, b: u32, c: u32) -> u32 {
        let low = self.one(a & 0xffff, b & 0xffff, c & 0xffff);
        if self.pair { low | self.one(a >> 16, b >> 16, c >> 16) << 16 } else { low }
    }

    fn one(self, a: u32, b: u32, c: u32) -> u32 {
        let format = self.format();
        let flush = |bits: u64| {
            let exponent = bits & format.infinity();
            if self.flush && exponent == 0 { bits & format.sign() } else { bits }
        };
        let value = |bits: u32| format.value(flush(u64::from(bits)));
        let (x, y, z) = (value(a), value(b), value(c));
        let result = match self.kind {
            Kind::Neg => return a ^ 0x8000,
            Kind::Abs => return a & 0x7fff,
            Kind::Add => x + y,
            Kind::Sub => x - y,
            Kind::Mul => x * y,
            Kind::Fma => sum_to_odd(x * y, z),
            Kind::Min => extreme(x, y, true),
            Kind::Max => extreme(x, y, false),
            Kind::MinNan | Kind::MaxNan if x.is_nan() || y.is_nan() => f64::NAN,
            Kind::MinNan => extreme(x, y, true),
            Kind::MaxNan => extreme(x, y, false),
            Kind::Exp2 => x.exp2(),
            _ => x.tanh(),
        };
        let result = match (self.relu, self.saturate) {
            // NaN stays under .relu and becomes 0 under .sat.
            (true, _) if result <= 0.0 => 0.0,
            (_, true) => {
                if result > 0.0 {
                    result.min(1.0)
                } else {
                    0.0
                }
            }
            _ => result,
        };
        flush(format.round(result, Round::Nearest)) as u32
    }
}

/// `setp.op` of 16-bit floats: which orders count. `equ`, `ltu`, … hold for unordered operands too.
pub(crate) fn compare(op: &str, format: Format) -> Option<Compare> {
    use Ordering::{Equal, Greater, Less};
    let test: fn(Option<Ordering>) -> bool = match op {
        "eq" => |order| order == Some(Equal),
        "ne" => |order| matches!(order, Some(Less | Greater)),
        "lt" => |order| order == Some(Less),
        "le" => |order| matches!(order, Some(Less | Equal)),
        "gt" => |order| order == Some(Greater),
        "ge" => |order| matches!(order, Some(Greater | Equal)),
        "equ" => |order| matches!(order, None | Some(Equal)),
        "neu" => |order| order != Some(Equal),
        "ltu" => |order| matches!(order, None | Some(Less)),
        "leu" => |order| order != Some(Greater),
        "gtu" => |order| matches!(order, None | Some(Greater)),
        "geu" => |order| order != Some(Less),
        "num" => |order| order.is_some(),
        "nan" => |order| order.is_none(),
        _ => return None,
    };
    Some(Compare::Half(format, test))
}

/// Minimum or maximum: a number beats NaN, −0 is less than +0.
fn extreme(x: f64, y: f64, minimum: bool) -> f64 {
    let less = x < y || x == y && x.is_sign_negative();
    match (x.is_nan(), y.is_nan()) {
        (true, _) => y,
        (_, true) => x,
        _ if less == minimum => x,
        _ => y,
    }
}
