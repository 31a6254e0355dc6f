//! f32 and f64 arithmetic: exact where PTX is (`.rn` and the other roundings, `fma`, `div.rn`, `sqrt.rn`, `rcp.rn`),
//! and computed in f64 and rounded once where PTX allows an error (`.approx`, `.full`): compare those with a tolerance.
//!
//! Results that are NaN are 0x7fffffff, as on devices. What is hot (round to nearest, no `.ftz`, no `.sat`) is a
//! function over the lanes; the rest is a [`FloatOp`] that is interpreted a lane at a time.

use super::int::{compare_plane, compare_wide};
use super::round::{F32, Round, odd, sum_to_odd};
use super::{plane, wide};
use crate::instr::{Compare, Function, LANES, Plane, Wide};

const NAN: u32 = 0x7fff_ffff;

fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

fn bits(value: f32) -> u32 {
    if value.is_nan() { NAN } else { value.to_bits() }
}

fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn bits64(value: f64) -> u64 {
    if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() }
}

/// Operations on f32 and f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Sqrt,
    Rcp,
    Rsqrt,
    Min,
    Max,
    MinNan,
    MaxNan,
    Abs,
    Neg,
    Sin,
    Cos,
    Exp2,
    Log2,
    Tanh,
}

impl Kind {
    /// The operation named by an opcode.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "add" => Self::Add,
            "sub" => Self::Sub,
            "mul" => Self::Mul,
            "fma" | "mad" => Self::Fma,
            "div" => Self::Div,
            "sqrt" => Self::Sqrt,
            "rcp" => Self::Rcp,
            "rsqrt" => Self::Rsqrt,
            "min" => Self::Min,
            "max" => Self::Max,
            "abs" => Self::Abs,
            "neg" => Self::Neg,
            "sin" => Self::Sin,
            "cos" => Self::Cos,
            "ex2" => Self::Exp2,
            "lg2" => Self::Log2,
            "tanh" => Self::Tanh,
            _ => return None,
        })
    }

    pub fn operands(self) -> usize {
        match self {
            Self::Fma => 3,
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Min | Self::Max | Self::MinNan | Self::MaxNan => 2,
            _ => 1,
        }
    }
}

/// An operation on f32 with what may be said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FloatOp {
    pub kind: Kind,
    pub round: Round,
    /// `.ftz`: subnormal operands and results are zero.
    pub flush: bool,
    /// `.sat`: clamped to [0, 1], NaN to 0.
    pub saturate: bool,
}

impl FloatOp {
    /// One lane.
    pub fn apply(self, a: u32, b: u32, c: u32) -> u32 {
        let flush = |x: u32| if self.flush { flushed(x) } else { x };
        let result = flush(self.exact(flush(a), flush(b), flush(c)));
        if self.saturate {
            let value = f(result);
            return if value > 0.0 { value.min(1.0).to_bits() } else { 0 };
        }
        result
    }

    fn exact(self, a: u32, b: u32, c: u32) -> u32 {
        match self.kind {
            Kind::Abs => return a & !(1 << 31),
            Kind::Neg => return a ^ 1 << 31,
            Kind::Min => return least(a, b),
            Kind::Max => return greatest(a, b),
            Kind::MinNan => return if f(a).is_nan() || f(b).is_nan() { NAN } else { least(a, b) },
            Kind::MaxNan => return if f(a).is_nan() || f(b).is_nan() { NAN } else { greatest(a, b) },
            _ => {}
        }
        let (x, y, z) = (f64::from(f(a)), f64::from(f(b)), f64::from(f(c)));
        let value = match self.kind {
            Kind::Add => self.sum(x, y),
            Kind::Sub => self.sum(x, -y),
            Kind::Mul => x * y,
            Kind::Fma => self.sum(x * y, z),
            Kind::Div => quotient(x, y),
            Kind::Rcp => quotient(1.0, x),
            Kind::Sqrt => root(x),
            Kind::Rsqrt => 1.0 / x.sqrt(),
            Kind::Sin => x.sin(),
            Kind::Cos => x.cos(),
            Kind::Exp2 => x.exp2(),
            Kind::Log2 => x.log2(),
            _ => x.tanh(),
        };
        F32.round(value, self.round) as u32
    }

    /// The sum rounded to odd; a sum of zero that cancels is −0 only when rounding down.
    fn sum(self, x: f64, y: f64) -> f64 {
        let sum = sum_to_odd(x, y);
        if sum == 0.0 && x != 0.0 && self.round == Round::Down {
            -0.0
        } else if sum == 0.0 {
            zero_sum(x, y, self.round)
        } else {
            sum
        }
    }
}

fn zero_sum(x: f64, y: f64, round: Round) -> f64 {
    match (x.is_sign_negative(), y.is_sign_negative()) {
        (true, true) if x == 0.0 => -0.0,
        (false, false) => 0.0,
        _ if round == Round::Down => -0.0,
        _ => 0.0,
    }
}

/// x/y rounded to odd.
fn quotient(x: f64, y: f64) -> f64 {
    let q = x / y;
    if !q.is_finite() || q == 0.0 || y.is_infinite() {
        return q;
    }
    let rest = (-q).mul_add(y, x);
    odd(q, if y < 0.0 { -rest } else { rest })
}

/// √x rounded to odd.
fn root(x: f64) -> f64 {
    let q = x.sqrt();
    if q.is_finite() && q != 0.0 { odd(q, (-q).mul_add(q, x)) } else { q }
}

/// Subnormals as zeros of their sign.
pub(crate) fn flushed(x: u32) -> u32 {
    if x & 0x7f80_0000 == 0 { x & 1 << 31 } else { x }
}

/// A number beats NaN, −0 is less than +0.
fn least(a: u32, b: u32) -> u32 {
    match (f(a).is_nan(), f(b).is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if f(a) == 0.0 && f(b) == 0.0 => a | b,
        _ if f(a) < f(b) => a,
        _ => b,
    }
}

fn greatest(a: u32, b: u32) -> u32 {
    match (f(a).is_nan(), f(b).is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if f(a) == 0.0 && f(b) == 0.0 => a & b,
        _ if f(a) > f(b) => a,
        _ => b,
    }
}

/// The function over the lanes for f32 operations that are hot; the others stay descriptions.
pub(crate) fn fast(op: FloatOp) -> Option<Function> {
    if op.flush || op.saturate {
        return None;
    }
    Some(match (op.kind, op.round) {
        (Kind::Add, Round::Nearest) => plane!(|a, b, _| bits(f(a) + f(b))),
        (Kind::Sub, Round::Nearest) => plane!(|a, b, _| bits(f(a) - f(b))),
        (Kind::Mul, Round::Nearest) => plane!(|a, b, _| bits(f(a) * f(b))),
        (Kind::Fma, Round::Nearest) => fused(),
        (Kind::Div, Round::Nearest) => plane!(|a, b, _| bits(f(a) / f(b))),
        (Kind::Rcp, Round::Nearest) => plane!(|a, _, _| bits(1.0 / f(a))),
        (Kind::Sqrt, Round::Nearest) => plane!(|a, _, _| bits(f(a).sqrt())),
        (Kind::Min, _) => plane!(|a, b, _| least(a, b)),
        (Kind::Max, _) => plane!(|a, b, _| greatest(a, b)),
        (Kind::Abs, _) => plane!(|a, _, _| a & 0x7fff_ffff),
        (Kind::Neg, _) => plane!(|a, _, _| a ^ 0x8000_0000),
        _ => return None,
    })
}

/// `fma.rn.f32` with the processor's instruction where it has one: a call of libm a lane costs ten times as much.
fn fused() -> Function {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "fma,avx2")]
        fn lanes(a: &Plane, b: &Plane, c: &Plane, out: &mut Plane) {
            for lane in 0..LANES {
                out[lane] = bits(f(a[lane]).mul_add(f(b[lane]), f(c[lane])));
            }
        }
        fn detected(a: &Plane, b: &Plane, c: &Plane, out: &mut Plane) {
            // SAFETY: `fused` returns this function only where both features are there.
            unsafe { lanes(a, b, c, out) }
        }
        return Function::Plane(detected);
    }
    plane!(|a, b, c| bits(f(a).mul_add(f(b), f(c))))
}

/// f64 operations, to nearest.
pub(crate) fn double(kind: Kind) -> Option<Function> {
    Some(match kind {
        Kind::Add => wide!(|a, b, _| bits64(d(a) + d(b))),
        Kind::Sub => wide!(|a, b, _| bits64(d(a) - d(b))),
        Kind::Mul => wide!(|a, b, _| bits64(d(a) * d(b))),
        Kind::Fma => wide!(|a, b, c| bits64(d(a).mul_add(d(b), d(c)))),
        Kind::Div => wide!(|a, b, _| bits64(d(a) / d(b))),
        Kind::Rcp => wide!(|a, _, _| bits64(1.0 / d(a))),
        Kind::Sqrt => wide!(|a, _, _| bits64(d(a).sqrt())),
        // Of f64 there are only approximations `.approx.ftz`, which start an iteration.
        Kind::Rsqrt => wide!(|a, _, _| bits64(1.0 / d(a).sqrt())),
        Kind::Min => wide!(|a, b, _| bits64(d(a).min(d(b)))),
        Kind::Max => wide!(|a, b, _| bits64(d(a).max(d(b)))),
        Kind::Abs => wide!(|a, _, _| a & !(1 << 63)),
        Kind::Neg => wide!(|a, _, _| a ^ 1 << 63),
        _ => return None,
    })
}

/// `copysign.type d, a, b`: b with the sign of a.
pub(crate) fn copysign(bits: u32) -> Option<Function> {
    Some(match bits {
        32 => plane!(|a, b, _| a & 0x8000_0000 | b & 0x7fff_ffff),
        64 => wide!(|a, b, _| a & 1 << 63 | b & !(1 << 63)),
        _ => return None,
    })
}

fn nan(a: u32, b: u32) -> bool {
    f(a).is_nan() || f(b).is_nan()
}

fn nan64(a: u64, b: u64) -> bool {
    d(a).is_nan() || d(b).is_nan()
}

/// `setp` of f32 and f64: `equ`, `ltu`, … are also true where an operand is NaN.
pub(crate) fn compare(op: &str, width: u32, flush: bool) -> Option<Compare> {
    if flush && width == 32 {
        return flushing(op);
    }
    Some(match (width, op) {
        (32, "eq") => compare_plane!(|a, b| f(a) == f(b)),
        (32, "ne") => compare_plane!(|a, b| f(a) < f(b) || f(a) > f(b)),
        (32, "lt") => compare_plane!(|a, b| f(a) < f(b)),
        (32, "le") => compare_plane!(|a, b| f(a) <= f(b)),
        (32, "gt") => compare_plane!(|a, b| f(a) > f(b)),
        (32, "ge") => compare_plane!(|a, b| f(a) >= f(b)),
        (32, "equ") => compare_plane!(|a, b| !(f(a) < f(b) || f(a) > f(b))),
        (32, "neu") => compare_plane!(|a, b| f(a) != f(b)),
        (32, "ltu") => compare_plane!(|a, b| f(a) < f(b) || nan(a, b)),
        (32, "leu") => compare_plane!(|a, b| f(a) <= f(b) || nan(a, b)),
        (32, "gtu") => compare_plane!(|a, b| f(a) > f(b) || nan(a, b)),
        (32, "geu") => compare_plane!(|a, b| f(a) >= f(b) || nan(a, b)),
        (32, "num") => compare_plane!(|a, b| !f(a).is_nan() && !f(b).is_nan()),
        (32, "nan") => compare_plane!(|a, b| f(a).is_nan() || f(b).is_nan()),
        (64, "eq") => compare_wide!(|a, b| d(a) == d(b)),
        (64, "ne") => compare_wide!(|a, b| d(a) < d(b) || d(a) > d(b)),
        (64, "lt") => compare_wide!(|a, b| d(a) < d(b)),
        (64, "le") => compare_wide!(|a, b| d(a) <= d(b)),
        (64, "gt") => compare_wide!(|a, b| d(a) > d(b)),
        (64, "ge") => compare_wide!(|a, b| d(a) >= d(b)),
        (64, "equ") => compare_wide!(|a, b| !(d(a) < d(b) || d(a) > d(b))),
        (64, "neu") => compare_wide!(|a, b| d(a) != d(b)),
        (64, "ltu") => compare_wide!(|a, b| d(a) < d(b) || nan64(a, b)),
        (64, "leu") => compare_wide!(|a, b| d(a) <= d(b) || nan64(a, b)),
        (64, "gtu") => compare_wide!(|a, b| d(a) > d(b) || nan64(a, b)),
        (64, "geu") => compare_wide!(|a, b| d(a) >= d(b) || nan64(a, b)),
        (64, "num") => compare_wide!(|a, b| !d(a).is_nan() && !d(b).is_nan()),
        (64, "nan") => compare_wide!(|a, b| d(a).is_nan() || d(b).is_nan()),
        _ => return None,
    })
}

/// `setp.op.ftz.f32`: the ordered comparisons that compilers write.
fn flushing(op: &str) -> Option<Compare> {
    fn z(x: u32) -> f32 {
        f(flushed(x))
    }
    Some(match op {
        "eq" => compare_plane!(|a, b| z(a) == z(b)),
        "lt" => compare_plane!(|a, b| z(a) < z(b)),
        "le" => compare_plane!(|a, b| z(a) <= z(b)),
        "gt" => compare_plane!(|a, b| z(a) > z(b)),
        "ge" => compare_plane!(|a, b| z(a) >= z(b)),
        "neu" => compare_plane!(|a, b| z(a) != z(b)),
        "ltu" => compare_plane!(|a, b| z(a) < z(b) || nan(a, b)),
        "leu" => compare_plane!(|a, b| z(a) <= z(b) || nan(a, b)),
        "gtu" => compare_plane!(|a, b| z(a) > z(b) || nan(a, b)),
        "geu" => compare_plane!(|a, b| z(a) >= z(b) || nan(a, b)),
        "nan" => compare_plane!(|a, b| z(a).is_nan() || z(b).is_nan()),
        "num" => compare_plane!(|a, b| !z(a).is_nan() && !z(b).is_nan()),
        _ => return None,
    })
}

/// `testp.op.f32` and `.f64` as a comparison whose second operand is unused.
pub(crate) fn test(op: &str, width: u32) -> Option<Compare> {
    Some(match (width, op) {
        (32, "finite") => compare_plane!(|a, _b| f(a).is_finite()),
        (32, "infinite") => compare_plane!(|a, _b| f(a).is_infinite()),
        (32, "number") => compare_plane!(|a, _b| !f(a).is_nan()),
        (32, "notanumber") => compare_plane!(|a, _b| f(a).is_nan()),
        (32, "normal") => compare_plane!(|a, _b| f(a).is_normal()),
        (32, "subnormal") => compare_plane!(|a, _b| f(a).is_subnormal()),
        (64, "finite") => compare_wide!(|a, _b| d(a).is_finite()),
        (64, "infinite") => compare_wide!(|a, _b| d(a).is_infinite()),
        (64, "number") => compare_wide!(|a, _b| !d(a).is_nan()),
        (64, "notanumber") => compare_wide!(|a, _b| d(a).is_nan()),
        (64, "normal") => compare_wide!(|a, _b| d(a).is_normal()),
        (64, "subnormal") => compare_wide!(|a, _b| d(a).is_subnormal()),
        _ => return None,
    })
}
