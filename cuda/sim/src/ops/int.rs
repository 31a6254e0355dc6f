//! Integer arithmetic, bit operations and comparisons: tables from (opcode, type) to a function over the lanes.

use super::{plane, wide};
use crate::instr::{Compare, Function, LANES, Plane, Wide};
use crate::parse::syntax::Type;

/// `op.type` of integers where all operands and the result have the type's width.
pub(crate) fn same_width(op: &str, ty: Type) -> Option<Function> {
    match ty {
        Type::U(32) | Type::S(32) | Type::B(32) => word(op, ty == Type::S(32)),
        Type::U(64) | Type::S(64) | Type::B(64) => double(op, ty == Type::S(64)),
        Type::U(16) | Type::S(16) | Type::B(16) => half(op, ty == Type::S(16)),
        _ => None,
    }
}

fn word(op: &str, signed: bool) -> Option<Function> {
    Some(match (op, signed) {
        ("add", _) => plane!(|a, b, _| a.wrapping_add(b)),
        ("sub", _) => plane!(|a, b, _| a.wrapping_sub(b)),
        ("mul.lo", _) => plane!(|a, b, _| a.wrapping_mul(b)),
        ("mad.lo", _) => plane!(|a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("mul.hi", false) => plane!(|a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        ("mul.hi", true) => plane!(|a, b, _| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
        ("mad.hi", false) => plane!(|a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)),
        ("mad.hi", true) => {
            plane!(|a, b, c| (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32).wrapping_add(c))
        }
        // Devices divide by zero without a trap: all ones, and the dividend remains.
        ("div", false) => plane!(|a, b, _| a.checked_div(b).unwrap_or(u32::MAX)),
        ("div", true) => plane!(|a, b, _| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 }),
        ("rem", false) => plane!(|a, b, _| a.checked_rem(b).unwrap_or(a)),
        ("rem", true) => plane!(|a, b, _| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 }),
        ("min", false) => plane!(|a, b, _| a.min(b)),
        ("min", true) => plane!(|a, b, _| (a as i32).min(b as i32) as u32),
        ("max", false) => plane!(|a, b, _| a.max(b)),
        ("max", true) => plane!(|a, b, _| (a as i32).max(b as i32) as u32),
        ("abs", true) => plane!(|a, _, _| (a as i32).wrapping_abs() as u32),
        ("neg", true) => plane!(|a, _, _| a.wrapping_neg()),
        ("and", _) => plane!(|a, b, _| a & b),
        ("or", _) => plane!(|a, b, _| a | b),
        ("xor", _) => plane!(|a, b, _| a ^ b),
        ("not", _) => plane!(|a, _, _| !a),
        ("cnot", _) => plane!(|a, _, _| u32::from(a == 0)),
        ("shl", _) => plane!(|a, b, _| if b > 31 { 0 } else { a << (b & 31) }),
        ("shr", false) => plane!(|a, b, _| if b > 31 { 0 } else { a >> (b & 31) }),
        ("shr", true) => plane!(|a, b, _| ((a as i32) >> b.min(31)) as u32),
        ("brev", _) => plane!(|a, _, _| a.reverse_bits()),
        ("popc", _) => plane!(|a, _, _| a.count_ones()),
        ("clz", _) => plane!(|a, _, _| a.leading_zeros()),
        ("bfind", false) => plane!(|a, _, _| 31u32.wrapping_sub(a.leading_zeros())),
        ("bfind", true) => plane!(|a, _, _| 31u32.wrapping_sub((a ^ ((a as i32) >> 31) as u32).leading_zeros())),
        ("bfind.shiftamt", false) => plane!(|a, _, _| if a == 0 { u32::MAX } else { a.leading_zeros() }),
        ("bfind.shiftamt", true) => {
            plane!(|a, _, _| match a ^ ((a as i32) >> 31) as u32 {
                0 => u32::MAX,
                a => a.leading_zeros(),
            })
        }
        ("bfe", false) => plane!(|a, b, c| extract(u64::from(a), b & 255, c & 255, 32, false) as u32),
        ("bfe", true) => plane!(|a, b, c| extract(u64::from(a), b & 255, c & 255, 32, true) as u32),
        ("sad", false) => plane!(|a, b, c| a.abs_diff(b).wrapping_add(c)),
        ("sad", true) => plane!(|a, b, c| (a as i32).abs_diff(b as i32).wrapping_add(c)),
        ("add.sat", true) => plane!(|a, b, _| (a as i32).saturating_add(b as i32) as u32),
        ("sub.sat", true) => plane!(|a, b, _| (a as i32).saturating_sub(b as i32) as u32),
        ("mul24.lo", false) => plane!(|a, b, _| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)),
        ("mov", _) => plane!(|a, _, _| a),
        _ => return None,
    })
}

fn double(op: &str, signed: bool) -> Option<Function> {
    Some(match (op, signed) {
        ("add", _) => wide!(|a, b, _| a.wrapping_add(b)),
        ("sub", _) => wide!(|a, b, _| a.wrapping_sub(b)),
        ("mul.lo", _) => wide!(|a, b, _| a.wrapping_mul(b)),
        ("mad.lo", _) => wide!(|a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("mul.hi", false) => wide!(|a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("mul.hi", true) => wide!(|a, b, _| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
        ("mad.hi", false) => wide!(|a, b, c| (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)),
        ("div", false) => wide!(|a, b, _| a.checked_div(b).unwrap_or(u64::MAX)),
        ("div", true) => wide!(|a, b, _| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 }),
        ("rem", false) => wide!(|a, b, _| a.checked_rem(b).unwrap_or(a)),
        ("rem", true) => wide!(|a, b, _| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 }),
        ("min", false) => wide!(|a, b, _| a.min(b)),
        ("min", true) => wide!(|a, b, _| (a as i64).min(b as i64) as u64),
        ("max", false) => wide!(|a, b, _| a.max(b)),
        ("max", true) => wide!(|a, b, _| (a as i64).max(b as i64) as u64),
        ("abs", true) => wide!(|a, _, _| (a as i64).wrapping_abs() as u64),
        ("neg", true) => wide!(|a, _, _| a.wrapping_neg()),
        ("and", _) => wide!(|a, b, _| a & b),
        ("or", _) => wide!(|a, b, _| a | b),
        ("xor", _) => wide!(|a, b, _| a ^ b),
        ("not", _) => wide!(|a, _, _| !a),
        ("cnot", _) => wide!(|a, _, _| u64::from(a == 0)),
        ("shl", _) => wide!(|a, b, _| if b > 63 { 0 } else { a << b }),
        ("shr", false) => wide!(|a, b, _| if b > 63 { 0 } else { a >> b }),
        ("shr", true) => wide!(|a, b, _| ((a as i64) >> b.min(63)) as u64),
        ("brev", _) => wide!(|a, _, _| a.reverse_bits()),
        ("popc", _) => wide!(|a, _, _| u64::from(a.count_ones())),
        ("clz", _) => wide!(|a, _, _| u64::from(a.leading_zeros())),
        ("bfind", false) => wide!(|a, _, _| u64::from(63u32.wrapping_sub(a.leading_zeros()))),
        ("bfind.shiftamt", false) => wide!(|a, _, _| if a == 0 { u64::MAX } else { u64::from(a.leading_zeros()) }),
        ("bfe", false) => wide!(|a, b, c| extract(a, b as u32 & 255, c as u32 & 255, 64, false)),
        ("bfe", true) => wide!(|a, b, c| extract(a, b as u32 & 255, c as u32 & 255, 64, true)),
        ("sad", false) => wide!(|a, b, c| a.abs_diff(b).wrapping_add(c)),
        ("sad", true) => wide!(|a, b, c| (a as i64).abs_diff(b as i64).wrapping_add(c)),
        ("mov", _) => wide!(|a, _, _| a),
        _ => return None,
    })
}

/// Of 16 bits: operands arrive zero-extended, and only the low half of a result is kept.
fn half(op: &str, signed: bool) -> Option<Function> {
    Some(match (op, signed) {
        ("add", _) => wide!(|a, b, _| a.wrapping_add(b)),
        ("sub", _) => wide!(|a, b, _| a.wrapping_sub(b)),
        ("mul.lo", _) => wide!(|a, b, _| a.wrapping_mul(b)),
        ("mad.lo", _) => wide!(|a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("mul.hi", false) => wide!(|a, b, _| (a * b) >> 16),
        ("mul.hi", true) => wide!(|a, b, _| ((i64::from(a as i16) * i64::from(b as i16)) >> 16) as u64),
        ("div", false) => wide!(|a, b, _| a.checked_div(b).unwrap_or(u64::MAX)),
        ("div", true) => wide!(|a, b, _| if b == 0 { u64::MAX } else { (a as i16).wrapping_div(b as i16) as u64 }),
        ("rem", false) => wide!(|a, b, _| a.checked_rem(b).unwrap_or(a)),
        ("rem", true) => wide!(|a, b, _| if b == 0 { a } else { (a as i16).wrapping_rem(b as i16) as u64 }),
        ("min", false) => wide!(|a, b, _| a.min(b)),
        ("min", true) => wide!(|a, b, _| (a as i16).min(b as i16) as u64),
        ("max", false) => wide!(|a, b, _| a.max(b)),
        ("max", true) => wide!(|a, b, _| (a as i16).max(b as i16) as u64),
        ("abs", true) => wide!(|a, _, _| (a as i16).wrapping_abs() as u64),
        ("neg", true) => wide!(|a, _, _| a.wrapping_neg()),
        ("and", _) => wide!(|a, b, _| a & b),
        ("or", _) => wide!(|a, b, _| a | b),
        ("xor", _) => wide!(|a, b, _| a ^ b),
        ("not", _) => wide!(|a, _, _| !a),
        ("cnot", _) => wide!(|a, _, _| u64::from(a == 0)),
        ("shl", _) => wide!(|a, b, _| if b > 15 { 0 } else { a << b }),
        ("shr", false) => wide!(|a, b, _| if b > 15 { 0 } else { a >> b }),
        ("shr", true) => wide!(|a, b, _| ((a as i16) >> b.min(15)) as u64),
        ("sad", false) => wide!(|a, b, c| a.abs_diff(b).wrapping_add(c)),
        ("mov", _) => wide!(|a, _, _| a),
        _ => return None,
    })
}

/// `mul.wide` and `mad.wide`: the product and c have twice the width of the type.
pub(crate) fn widening(ty: Type) -> Option<Function> {
    Some(match ty {
        Type::U(32) => wide!(|a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        Type::S(32) => wide!(|a, b, c| (i64::from(a as i32) * i64::from(b as i32)).wrapping_add(c as i64) as u64),
        Type::U(16) => wide!(|a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        Type::S(16) => wide!(|a, b, c| (i64::from(a as i16) * i64::from(b as i16)).wrapping_add(c as i64) as u64),
        _ => return None,
    })
}

/// `shf.side.mode.b32`: the 64 bits b:a shifted by c.
pub(crate) fn funnel(op: &str) -> Option<Function> {
    Some(match op {
        "l.wrap" => plane!(|a, b, c| (pair(a, b) << (c & 31) >> 32) as u32),
        "l.clamp" => plane!(|a, b, c| (pair(a, b) << c.min(32) >> 32) as u32),
        "r.wrap" => plane!(|a, b, c| (pair(a, b) >> (c & 31)) as u32),
        "r.clamp" => plane!(|a, b, c| (pair(a, b) >> c.min(32)) as u32),
        _ => return None,
    })
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// `prmt.b32` with its mode.
pub(crate) fn permute(mode: &str) -> Option<Function> {
    Some(match mode {
        "" => plane!(|a, b, c| select_bytes(a, b, |i| c >> (4 * i) & 15)),
        "f4e" => plane!(|a, b, c| select_bytes(a, b, |i| (c & 3) + i)),
        "b4e" => plane!(|a, b, c| select_bytes(a, b, |i| (c & 3).wrapping_sub(i) & 7)),
        "rc8" => plane!(|a, b, c| select_bytes(a, b, |_| c & 3)),
        "ecl" => plane!(|a, b, c| select_bytes(a, b, |i| i.max(c & 3))),
        "ecr" => plane!(|a, b, c| select_bytes(a, b, |i| i.min(c & 3))),
        "rc16" => plane!(|a, b, c| select_bytes(a, b, |i| (c & 1) * 2 + (i & 1))),
        _ => return None,
    })
}

fn select_bytes(a: u32, b: u32, choice: impl Fn(u32) -> u32) -> u32 {
    (0..4).fold(0, |word, i| {
        let choice = choice(i);
        let byte = (pair(a, b) >> (8 * (choice & 7))) as u8;
        let byte = if choice & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        word | u32::from(byte) << (8 * i)
    })
}

fn extract(a: u64, start: u32, length: u32, bits: u32, signed: bool) -> u64 {
    let last = bits - 1;
    let sign = if !signed || length == 0 { 0 } else { a >> (start + length - 1).min(last) & 1 };
    let inside = if start > last { 0 } else { a >> start };
    let kept = length.min(bits.saturating_sub(start));
    let mask = if kept >= 64 { u64::MAX } else { (1 << kept) - 1 };
    let value = inside & mask;
    let filled = if sign == 1 { value | !mask } else { value };
    if bits == 32 { filled & 0xffff_ffff } else { filled }
}

/// `bfi`: the low `length` bits of a into b at `start`.
pub(crate) fn insert(a: u64, b: u64, start: u64, length: u64, bits: u32) -> u64 {
    let (start, length) = (start as u32 & 255, length as u32 & 255);
    if start >= bits || length == 0 {
        return b;
    }
    let length = length.min(bits - start);
    let mask = (if length >= 64 { u64::MAX } else { (1 << length) - 1 }) << start;
    b & !mask | a << start & mask
}

/// `lop3`: bit i of the table is the result for the inputs' bits a, b, c of i = 4a + 2b + c.
pub(crate) fn logic3(a: u64, b: u64, c: u64, table: u64) -> u64 {
    (0..8).filter(|i| table >> i & 1 == 1).fold(0, |bits, i| {
        let pick = |word: u64, bit: u32| if i >> bit & 1 == 1 { word } else { !word };
        bits | pick(a, 2) & pick(b, 1) & pick(c, 0)
    })
}

/// `dp4a.atype.btype`: c plus the products of four bytes each.
pub(crate) fn dot4(a: Type, b: Type) -> Option<Function> {
    fn sum(a: u32, b: u32, c: u32, left: fn(u8) -> i32, right: fn(u8) -> i32) -> u32 {
        a.to_le_bytes()
            .into_iter()
            .zip(b.to_le_bytes())
            .fold(c, |sum, (x, y)| sum.wrapping_add((left(x) * right(y)) as u32))
    }
    fn plain(byte: u8) -> i32 {
        i32::from(byte)
    }
    fn signed(byte: u8) -> i32 {
        i32::from(byte as i8)
    }
    Some(match (a, b) {
        (Type::U(32), Type::U(32)) => plane!(|a, b, c| sum(a, b, c, plain, plain)),
        (Type::U(32), Type::S(32)) => plane!(|a, b, c| sum(a, b, c, plain, signed)),
        (Type::S(32), Type::U(32)) => plane!(|a, b, c| sum(a, b, c, signed, plain)),
        (Type::S(32), Type::S(32)) => plane!(|a, b, c| sum(a, b, c, signed, signed)),
        _ => return None,
    })
}

macro_rules! compare_plane {
    (|$a:ident, $b:ident| $test:expr) => {{
        fn lanes(a: &Plane, b: &Plane) -> u32 {
            let mut bits = 0;
            for lane in 0..LANES {
                let ($a, $b) = (a[lane], b[lane]);
                bits |= u32::from($test) << lane;
            }
            bits
        }
        crate::instr::Compare::Plane(lanes)
    }};
}

macro_rules! compare_wide {
    (|$a:ident, $b:ident| $test:expr) => {{
        fn lanes(a: &Wide, b: &Wide) -> u32 {
            let mut bits = 0;
            for lane in 0..LANES {
                let ($a, $b) = (a[lane], b[lane]);
                bits |= u32::from($test) << lane;
            }
            bits
        }
        crate::instr::Compare::Wide(lanes)
    }};
}

pub(crate) use {compare_plane, compare_wide};

/// `setp.op.type` of integers.
pub(crate) fn compare(op: &str, ty: Type) -> Option<Compare> {
    let signed = match ty {
        Type::S(_) => true,
        Type::U(_) | Type::B(_) => false,
        _ => return None,
    };
    // `lo ls hi hs` are the unsigned comparisons by other names.
    let (op, signed) = match op {
        "lo" => ("lt", false),
        "ls" => ("le", false),
        "hi" => ("gt", false),
        "hs" => ("ge", false),
        _ => (op, signed),
    };
    Some(match (ty.bits(), op, signed) {
        (32, "eq", _) => compare_plane!(|a, b| a == b),
        (32, "ne", _) => compare_plane!(|a, b| a != b),
        (32, "lt", false) => compare_plane!(|a, b| a < b),
        (32, "le", false) => compare_plane!(|a, b| a <= b),
        (32, "gt", false) => compare_plane!(|a, b| a > b),
        (32, "ge", false) => compare_plane!(|a, b| a >= b),
        (32, "lt", true) => compare_plane!(|a, b| (a as i32) < b as i32),
        (32, "le", true) => compare_plane!(|a, b| a as i32 <= b as i32),
        (32, "gt", true) => compare_plane!(|a, b| a as i32 > b as i32),
        (32, "ge", true) => compare_plane!(|a, b| a as i32 >= b as i32),
        (16 | 64, "eq", _) => compare_wide!(|a, b| a == b),
        (16 | 64, "ne", _) => compare_wide!(|a, b| a != b),
        (16 | 64, "lt", false) => compare_wide!(|a, b| a < b),
        (16 | 64, "le", false) => compare_wide!(|a, b| a <= b),
        (16 | 64, "gt", false) => compare_wide!(|a, b| a > b),
        (16 | 64, "ge", false) => compare_wide!(|a, b| a >= b),
        (64, "lt", true) => compare_wide!(|a, b| (a as i64) < b as i64),
        (64, "le", true) => compare_wide!(|a, b| a as i64 <= b as i64),
        (64, "gt", true) => compare_wide!(|a, b| a as i64 > b as i64),
        (64, "ge", true) => compare_wide!(|a, b| a as i64 >= b as i64),
        (16, "lt", true) => compare_wide!(|a, b| (a as i16) < b as i16),
        (16, "le", true) => compare_wide!(|a, b| a as i16 <= b as i16),
        (16, "gt", true) => compare_wide!(|a, b| a as i16 > b as i16),
        (16, "ge", true) => compare_wide!(|a, b| a as i16 >= b as i16),
        _ => return None,
    })
}
