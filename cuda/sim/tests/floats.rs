//! Floating point against Rust's own arithmetic and against exact sums: roundings, NaN, zeros, subnormals, conversions.

mod common;

use common::{check, evaluate, noise, triples};

fn singles() -> Vec<f32> {
    let mut values =
        vec![0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 3.0, 0.1, 1e-3, 16_777_217.0, 3.4e38, -3.4e38, 1e-38, 1e-40];
    values.extend([
        -1e-45,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        65504.0,
        65520.0,
        2e9,
        -3e9,
        1e20,
    ]);
    values.extend([1.0 + f32::EPSILON, 1.0 - f32::EPSILON / 2.0, 8_388_607.5, 127.5, -128.5, 255.5]);
    values.extend(noise(9, 12).into_iter().enumerate().map(|(i, x)| x * 10f32.powi(i as i32 - 6)));
    values
}

fn canonical(value: f32) -> u64 {
    u64::from(if value.is_nan() { 0x7fff_ffff } else { value.to_bits() })
}

/// `op` from `%f1 %f2 %f3` to `%f8`.
fn single(op: &str, expected: impl Fn(f32, f32, f32) -> f32) {
    let values: Vec<u64> = singles().into_iter().map(|x| u64::from(x.to_bits())).collect();
    let f = |bits: u64| f32::from_bits(bits as u32);
    check(&format!("{op} mov.b32 %r9, %f8; cvt.u64.u32 %rd9, %r9;"), &values, |a, b, c| {
        canonical(expected(f(a), f(b), f(c)))
    });
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

#[test]
fn singles_round_to_nearest_as_rust_does() {
    single("add.f32 %f8, %f1, %f2;", |a, b, _| a + b);
    single("add.rn.f32 %f8, %f1, 0f3FC00000;", |a, _, _| a + 1.5);
    single("sub.f32 %f8, %f1, %f2;", |a, b, _| a - b);
    single("mul.f32 %f8, %f1, %f2;", |a, b, _| a * b);
    single("fma.rn.f32 %f8, %f1, %f2, %f3;", f32::mul_add);
    single("div.rn.f32 %f8, %f1, %f2;", |a, b, _| a / b);
    single("rcp.rn.f32 %f8, %f1;", |a, _, _| 1.0 / a);
    single("sqrt.rn.f32 %f8, %f1;", |a, _, _| a.sqrt());
}

#[test]
fn signs_and_extremes() {
    let bits = |x: f32, change: u32| f32::from_bits(x.to_bits() ^ change);
    single("neg.f32 %f8, %f1; add.f32 %f8, %f8, 0f00000000;", |a, _, _| bits(a, 1 << 31) + 0.0);
    single("abs.f32 %f8, %f1; add.f32 %f8, %f8, 0f00000000;", |a, _, _| a.abs() + 0.0);
    let least = |a: f32, b: f32| if a == b && a.is_sign_negative() { a } else { a.min(b) };
    let most = |a: f32, b: f32| if a == b && a.is_sign_positive() { a } else { a.max(b) };
    single(
        "min.f32 %f8, %f1, %f2;",
        |a, b, _| if a == 0.0 && b == 0.0 && b.is_sign_negative() { b } else { least(a, b) },
    );
    single(
        "max.f32 %f8, %f1, %f2;",
        |a, b, _| if a == 0.0 && b == 0.0 && b.is_sign_positive() { b } else { most(a, b) },
    );
    single("max.NaN.f32 %f8, %f1, %f2;", |a, b, _| {
        if a.is_nan() || b.is_nan() {
            f32::NAN
        } else if a == 0.0 && b == 0.0 && b.is_sign_positive() {
            b
        } else {
            most(a, b)
        }
    });
    single("copysign.f32 %f8, %f1, %f2; add.f32 %f8, %f8, 0f00000000;", |a, b, _| b.copysign(a) + 0.0);
}

#[test]
fn flushing_and_saturation() {
    single("add.ftz.f32 %f8, %f1, %f2;", |a, b, _| flush(flush(a) + flush(b)));
    single("mul.ftz.f32 %f8, %f1, %f2;", |a, b, _| flush(flush(a) * flush(b)));
    single("fma.rn.ftz.f32 %f8, %f1, %f2, %f3;", |a, b, c| flush(flush(a).mul_add(flush(b), flush(c))));
    let saturate = |x: f32| if x > 0.0 { x.min(1.0) } else { 0.0 };
    single("add.sat.f32 %f8, %f1, %f2;", |a, b, _| saturate(a + b));
    single("fma.rn.sat.f32 %f8, %f1, %f2, %f3;", |a, b, c| saturate(a.mul_add(b, c)));
    single("cvt.sat.f32.f32 %f8, %f1;", |a, _, _| saturate(a));
}

/// The other roundings, by their definition: the nearest f32 on the right side of the exact value. `below` and `above`
/// say how the exact value lies to a given f32.
fn directed(nearest: f32, difference: f64, mode: &str) -> f32 {
    // `difference`: exact minus nearest, of which only the sign counts.
    let down = if difference < 0.0 { nearest.next_down() } else { nearest };
    let up = if difference > 0.0 { nearest.next_up() } else { nearest };
    match mode {
        "rm" => down,
        "rp" => up,
        _ if nearest > 0.0 || nearest == 0.0 && difference > 0.0 => down,
        _ => up,
    }
}

#[test]
fn directed_roundings() {
    // Values whose exact results fit f64, so that the difference to the nearest f32 is exact.
    let values: Vec<f32> = singles().into_iter().filter(|x| x.abs() < 1e6 && x.abs() > 1e-6 || *x == 0.0).collect();
    let bits: Vec<u64> = values.iter().map(|x| u64::from(x.to_bits())).collect();
    let f = |bits: u64| f64::from(f32::from_bits(bits as u32));
    for mode in ["rz", "rm", "rp"] {
        let run = |op: &str, exact: &dyn Fn(f64, f64) -> Option<(f32, f64)>| {
            let statements = format!("{} mov.b32 %r9, %f8; cvt.u64.u32 %rd9, %r9;", op.replace("MODE", mode));
            let triples = triples(&bits);
            for (&[a, b, _], got) in triples.iter().zip(evaluate(&statements, &triples)) {
                let Some((nearest, difference)) = exact(f(a), f(b)) else { continue };
                let expected = directed(nearest, difference, mode);
                let got = f32::from_bits(got as u32);
                assert!(got == expected, "{statements}: {:e} {:e} gave {got:e}, expected {expected:e}", f(a), f(b));
            }
        };
        let plain = |value: f64| Some((value as f32, value - f64::from(value as f32)));
        run("mul.MODE.f32 %f8, %f1, %f2;", &|a, b| plain(a * b));
        run("add.MODE.f32 %f8, %f1, %f2;", &|a, b| {
            let sum = a + b;
            ((sum - a == b) && (sum - b == a)).then(|| plain(sum)).flatten()
        });
        run("fma.MODE.f32 %f8, %f1, %f2, 0f3F800000;", &|a, b| {
            let sum = a * b + 1.0;
            (sum - 1.0 == a * b && sum - a * b == 1.0).then(|| plain(sum)).flatten()
        });
        // Of quotients and roots the sign of the remainder decides.
        run("div.MODE.f32 %f8, %f1, %f2;", &|a, b| {
            let nearest = (a / b) as f32;
            let rest = (-f64::from(nearest)).mul_add(b, a);
            nearest.is_finite().then_some((nearest, rest * b.signum()))
        });
        run("sqrt.MODE.f32 %f8, %f1;", &|a, _| {
            let nearest = a.sqrt() as f32;
            nearest.is_finite().then(|| (nearest, (-f64::from(nearest)).mul_add(f64::from(nearest), a)))
        });
    }
}

#[test]
fn a_sum_that_cancels_is_minus_zero_only_downward() {
    let got = evaluate(
        "add.rm.f32 %f8, %f1, %f2; mov.b32 %r9, %f8; cvt.u64.u32 %rd9, %r9;",
        &[[0x3f80_0000, 0xbf80_0000, 0]],
    );
    assert_eq!(got, [0x8000_0000]);
    let got = evaluate(
        "add.rz.f32 %f8, %f1, %f2; mov.b32 %r9, %f8; cvt.u64.u32 %rd9, %r9;",
        &[[0x3f80_0000, 0xbf80_0000, 0]],
    );
    assert_eq!(got, [0]);
}

#[test]
fn doubles() {
    let values: Vec<u64> = singles().into_iter().map(|x| (f64::from(x) * 1.000_000_001).to_bits()).collect();
    let canonical = |x: f64| if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() };
    let run = |op: &str, expected: &dyn Fn(f64, f64, f64) -> f64| {
        check(&format!("{op} mov.b64 %rd9, %fd8;"), &values, |a, b, c| {
            canonical(expected(f64::from_bits(a), f64::from_bits(b), f64::from_bits(c)))
        });
    };
    run("add.f64 %fd8, %fd1, %fd2;", &|a, b, _| a + b);
    run("sub.rn.f64 %fd8, %fd1, 0d3FF8000000000000;", &|a, _, _| a - 1.5);
    run("mul.f64 %fd8, %fd1, %fd2;", &|a, b, _| a * b);
    run("fma.rn.f64 %fd8, %fd1, %fd2, %fd3;", &f64::mul_add);
    run("div.rn.f64 %fd8, %fd1, %fd2;", &|a, b, _| a / b);
    run("sqrt.rn.f64 %fd8, %fd1;", &|a, _, _| a.sqrt());
    run("neg.f64 %fd8, %fd1; add.f64 %fd8, %fd8, %fd2;", &|a, b, _| b - a);
}

#[test]
fn comparisons_with_nan() {
    type Test = fn(f32, f32) -> bool;
    let unordered = |a: f32, b: f32| a.is_nan() || b.is_nan();
    let tests: [(&str, Test); 6] = [
        ("eq", |a, b| a == b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
        ("ne", |a, b| a != b),
    ];
    let values: Vec<u64> = singles().into_iter().map(|x| u64::from(x.to_bits())).collect();
    let wide: Vec<u64> = singles().into_iter().map(|x| f64::from(x).to_bits()).collect();
    let f = |bits: u64| f32::from_bits(bits as u32);
    let d = |bits: u64| f64::from_bits(bits) as f32;
    for (op, test) in tests {
        let result = "selp.u64 %rd9, 1, 0, %p1;";
        check(&format!("setp.{op}.f32 %p1, %f1, %f2; {result}"), &values, |a, b, _| {
            u64::from(test(f(a), f(b)) && !unordered(f(a), f(b)))
        });
        check(&format!("setp.{op}u.f32 %p1, %f1, %f2; {result}"), &values, |a, b, _| {
            u64::from(test(f(a), f(b)) || unordered(f(a), f(b)))
        });
        check(&format!("setp.{op}u.f64 %p1, %fd1, %fd2; {result}"), &wide, |a, b, _| {
            u64::from(test(d(a), d(b)) || unordered(d(a), d(b)))
        });
        if op != "ne" {
            check(&format!("setp.{op}.ftz.f32 %p1, %f1, %f2; {result}"), &values, |a, b, _| {
                u64::from(test(flush(f(a)), flush(f(b))) && !unordered(f(a), f(b)))
            });
        }
    }
    check("setp.nan.f32 %p1, %f1, %f2; selp.u64 %rd9, 1, 0, %p1;", &values, |a, b, _| u64::from(unordered(f(a), f(b))));
    check("setp.num.f32 %p1, %f1, %f2; selp.u64 %rd9, 1, 0, %p1;", &values, |a, b, _| {
        u64::from(!unordered(f(a), f(b)))
    });
    type Class = fn(f32) -> bool;
    let classes: [(&str, Class); 5] = [
        ("finite", f32::is_finite),
        ("infinite", f32::is_infinite),
        ("notanumber", f32::is_nan),
        ("normal", f32::is_normal),
        ("subnormal", f32::is_subnormal),
    ];
    for (op, test) in classes {
        check(&format!("testp.{op}.f32 %p1, %f1; selp.u64 %rd9, 1, 0, %p1;"), &values, |a, _, _| u64::from(test(f(a))));
    }
}

#[test]
fn floats_to_whole_numbers() {
    let values: Vec<u64> = singles().into_iter().map(|x| u64::from(x.to_bits())).collect();
    let f = |bits: u64| f32::from_bits(bits as u32);
    type Round = fn(f32) -> f32;
    let modes: [(&str, Round); 4] =
        [("rni", f32::round_ties_even), ("rzi", f32::trunc), ("rmi", f32::floor), ("rpi", f32::ceil)];
    for (mode, round) in modes {
        let run = |to: &str, register: &str, widen: &str, expected: &dyn Fn(f32) -> u64| {
            let statements = format!("cvt.{mode}.{to}.f32 {register}, %f1; {widen}");
            check(&statements, &values, |a, _, _| expected(round(f(a))));
        };
        run("s32", "%r9", "cvt.u64.u32 %rd9, %r9;", &|x| u64::from(x as i32 as u32));
        run("u32", "%r9", "cvt.u64.u32 %rd9, %r9;", &|x| u64::from(x as u32));
        run("s64", "%rd9", "", &|x| x as i64 as u64);
        run("u64", "%rd9", "", &|x| x as u64);
        run("s16", "%rs8", "cvt.u64.u16 %rd9, %rs8;", &|x| u64::from(x as i16 as u16));
        run("u8", "%r9", "cvt.u64.u32 %rd9, %r9;", &|x| u64::from(x as u8));
        run("s8", "%r9", "cvt.u64.u32 %rd9, %r9;", &|x| u64::from(x as i8 as i32 as u32));
        single(&format!("cvt.{mode}.f32.f32 %f8, %f1;"), |a, _, _| round(a));
    }
}

#[test]
fn whole_numbers_to_floats_and_to_each_other() {
    let mut values =
        vec![0u64, 1, 2, 127, 128, 255, 256, 32_767, 32_768, 65_535, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 16_777_217];
    values.extend([1 << 63, u64::MAX, u64::MAX - 1024, 0x0123_4567_89ab_cdef, !0 << 20, (1 << 53) + 1]);
    let bits = |x: f32| u64::from(x.to_bits());
    let single = "mov.b32 %r9, %f8; cvt.u64.u32 %rd9, %r9;";
    check(&format!("cvt.rn.f32.s32 %f8, %r1; {single}"), &values, |a, _, _| bits(a as i32 as f32));
    check(&format!("cvt.rn.f32.u32 %f8, %r1; {single}"), &values, |a, _, _| bits(a as u32 as f32));
    check(&format!("cvt.rn.f32.u64 %f8, %rd1; {single}"), &values, |a, _, _| bits(a as f32));
    check(&format!("cvt.rn.f32.s64 %f8, %rd1; {single}"), &values, |a, _, _| bits(a as i64 as f32));
    check(&format!("cvt.rn.f32.u8 %f8, %r1; {single}"), &values, |a, _, _| bits(f32::from(a as u8)));
    check(&format!("cvt.rz.f32.u32 %f8, %r1; {single}"), &values, |a, _, _| {
        let cut = 32 - (a as u32).leading_zeros().min(31) as i32 - 24;
        bits(if cut > 0 { ((a as u32 >> cut) << cut) as f32 } else { a as u32 as f32 })
    });
    check("cvt.rn.f64.s64 %fd8, %rd1; mov.b64 %rd9, %fd8;", &values, |a, _, _| (a as i64 as f64).to_bits());
    check("cvt.rn.f64.u32 %fd8, %r1; mov.b64 %rd9, %fd8;", &values, |a, _, _| f64::from(a as u32).to_bits());
    check("cvt.s64.s32 %rd9, %r1;", &values, |a, _, _| a as i32 as i64 as u64);
    check("cvt.s64.s8 %rd9, %rd1;", &values, |a, _, _| a as i8 as i64 as u64);
    check("cvt.u64.u8 %rd9, %rd1;", &values, |a, _, _| u64::from(a as u8));
    check("cvt.s32.s16 %r9, %rs1; cvt.u64.u32 %rd9, %r9;", &values, |a, _, _| u64::from(a as i16 as i32 as u32));
    check("cvt.sat.u8.s32 %r9, %r1; cvt.u64.u32 %rd9, %r9;", &values, |a, _, _| (a as i32).clamp(0, 255) as u64);
    check("cvt.sat.s16.s64 %rs8, %rd1; cvt.s64.s16 %rd9, %rs8;", &values, |a, _, _| {
        (a as i64).clamp(-32_768, 32_767) as u64
    });
    check("cvt.sat.s32.u64 %r9, %rd1; cvt.u64.u32 %rd9, %r9;", &values, |a, _, _| a.min(0x7fff_ffff));
}

/// The f16 or bf16 nearest to a number by trying all of them.
fn nearest_half(x: f64, value: impl Fn(u16) -> f64, overflow: f64) -> f64 {
    if x.is_nan() || x == 0.0 {
        return x;
    }
    if x.abs() >= overflow {
        return f64::INFINITY.copysign(x);
    }
    let all = (0..0x8000u16).map(|bits| (bits, value(bits))).filter(|(_, value)| value.is_finite());
    let better = |best: (u16, f64), next: (u16, f64)| {
        let (now, then) = ((next.1 - x.abs()).abs(), (best.1 - x.abs()).abs());
        if now < then || now == then && next.0 & 1 == 0 { next } else { best }
    };
    all.reduce(better).map_or(0.0, |best| best.1.copysign(x))
}

fn f16(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

fn bf16(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[test]
fn halves_hold_the_nearest_and_come_back_exactly() {
    let values = singles();
    let inputs: Vec<[u64; 3]> = values.iter().map(|x| [u64::from(x.to_bits()), 0, 0]).collect();
    for (ty, value, overflow) in [("f16", f16 as fn(u16) -> f64, 65520.0), ("bf16", bf16, 3.394e38)] {
        let got = evaluate(&format!("cvt.rn.{ty}.f32 %rs8, %f1; cvt.u64.u16 %rd9, %rs8;"), &inputs);
        for (x, bits) in values.iter().zip(got) {
            let (got, expected) = (value(bits as u16), nearest_half(f64::from(*x), value, overflow));
            assert!(
                got == expected || got.is_nan() && expected.is_nan(),
                "{ty} of {x:e}: {got:e}, expected {expected:e}"
            );
        }
        // All 65536 patterns to f32.
        let all: Vec<[u64; 3]> = (0..65_536).step_by(7).map(|bits| [bits, 0, 0]).collect();
        let got = evaluate(&format!("cvt.f32.{ty} %f8, %rs1; mov.b32 %r9, %f8; cvt.u64.u32 %rd9, %r9;"), &all);
        for ([bits, ..], got) in all.iter().zip(got) {
            let (got, expected) = (f32::from_bits(got as u32), value(*bits as u16));
            assert!(f64::from(got) == expected || got.is_nan() && expected.is_nan(), "{ty} {bits:#x}");
        }
    }
    // Pairs: the first operand above.
    let got = evaluate("cvt.rn.f16x2.f32 %r9, %f1, %f2; cvt.u64.u32 %rd9, %r9;", &[[0x3f80_0000, 0x4000_0000, 0]]);
    assert_eq!(got, [0x3c00_4000]);
    let got =
        evaluate("cvt.rn.relu.bf16x2.f32 %r9, %f1, %f2; cvt.u64.u32 %rd9, %r9;", &[[0xbf80_0000, 0x4000_0000, 0]]);
    assert_eq!(got, [0x0000_4000]);
}

#[test]
fn comparisons_of_halves() {
    let values = [0u64, 0x8000, 0x3c00, 0xbc00, 0x4000, 0x7c00, 0xfc00, 0x7fff, 1, 0x8001];
    for (ty, value) in [("f16", f16 as fn(u16) -> f64), ("bf16", bf16)] {
        let run = |op: &str, expected: fn(f64, f64) -> bool| {
            check(&format!("setp.{op}.{ty} %p1, %rs1, %rs2; selp.u64 %rd9, 1, 0, %p1;"), &values, |a, b, _| {
                u64::from(expected(value(a as u16), value(b as u16)))
            });
        };
        run("eq", |a, b| a == b);
        run("lt", |a, b| a < b);
        run("ge", |a, b| a >= b);
        run("neu", |a, b| a != b);
        run("leu", |a, b| a <= b || a.is_nan() || b.is_nan());
        run("nan", |a, b| a.is_nan() || b.is_nan());
    }
}

#[test]
fn tf32_rounds_ties_away() {
    let inputs = [
        0x3f80_0fffu64,
        0x3f80_1000,
        0x3f80_1001,
        0xbf80_1000,
        0x3f80_2fff,
        0x3f80_3000,
        0x7f7f_ffff,
        0x7fc0_0000,
        1,
        0x1000,
    ];
    let expected = [
        0x3f80_0000u64,
        0x3f80_2000,
        0x3f80_2000,
        0xbf80_2000,
        0x3f80_2000,
        0x3f80_4000,
        0x7f80_0000,
        0x7fff_ffff,
        0,
        0x2000,
    ];
    let triples: Vec<[u64; 3]> = inputs.iter().map(|&x| [x, 0, 0]).collect();
    assert_eq!(evaluate("cvt.rna.tf32.f32 %r9, %f1; cvt.u64.u32 %rd9, %r9;", &triples), expected);
}

#[test]
fn arithmetic_of_pairs() {
    let one = |x: f64| (0..=0xffffu16).find(|&bits| f16(bits) == x).map_or(0, u64::from);
    let pair = |high: f64, low: f64| one(high) << 16 | one(low);
    let inputs = [[pair(1.5, -2.0), pair(0.25, 3.0), pair(1.0, 0.5)]];
    let run = |op: &str| evaluate(&format!("{op} cvt.u64.u32 %rd9, %r9;"), &inputs)[0];
    assert_eq!(run("add.f16x2 %r9, %r1, %r2;"), pair(1.75, 1.0));
    assert_eq!(run("mul.f16x2 %r9, %r1, %r2;"), pair(0.375, -6.0));
    assert_eq!(run("fma.rn.f16x2 %r9, %r1, %r2, %r3;"), pair(1.375, -5.5));
    assert_eq!(run("fma.rn.relu.f16x2 %r9, %r1, %r2, %r3;"), pair(1.375, 0.0));
    assert_eq!(run("max.f16x2 %r9, %r1, %r2;"), pair(1.5, 3.0));
    assert_eq!(run("min.f16x2 %r9, %r1, %r2;"), pair(0.25, -2.0));
    assert_eq!(run("neg.f16x2 %r9, %r1;"), pair(-1.5, 2.0));
    let bf = [[0x3fc0_c000, 0x3e80_4040, 0x3f80_3f00]];
    let run = |op: &str| evaluate(&format!("{op} cvt.u64.u32 %rd9, %r9;"), &bf)[0];
    assert_eq!(run("fma.rn.bf16x2 %r9, %r1, %r2, %r3;"), 0x3fb0_c0b0);
    assert_eq!(run("max.bf16x2 %r9, %r1, %r2;"), 0x3fc0_4040);
}

#[test]
fn approximations_are_within_what_the_manual_allows() {
    let values: Vec<f32> = noise(3, 500).into_iter().map(|x| x * 20.0).chain([0.5, 1.0, 1e-6]).collect();
    let inputs: Vec<[u64; 3]> =
        values.iter().map(|x| [u64::from(x.to_bits()), u64::from((x * 0.7 + 0.1).to_bits()), 0]).collect();
    let run = |op: &str, expected: &dyn Fn(f64, f64) -> f64, bound: f64| {
        let got = evaluate(&format!("{op} mov.b32 %r9, %f8; cvt.u64.u32 %rd9, %r9;"), &inputs);
        for (&[a, b, _], got) in inputs.iter().zip(got) {
            let f = |bits: u64| f64::from(f32::from_bits(bits as u32));
            let (got, expected) = (f(got), expected(f(a), f(b)));
            let same = got == expected || got.is_nan() && expected.is_nan();
            assert!(
                same || (got - expected).abs() <= bound * expected.abs() + 1e-30,
                "{op} {}: {got} {expected}",
                f(a)
            );
        }
    };
    let ulp = f64::from(f32::EPSILON);
    run("ex2.approx.f32 %f8, %f1;", &|a, _| a.exp2(), ulp);
    run("ex2.approx.ftz.f32 %f8, %f1;", &|a, _| a.exp2(), ulp);
    run("lg2.approx.f32 %f8, %f1;", &|a, _| a.log2(), ulp);
    run("rcp.approx.ftz.f32 %f8, %f1;", &|a, _| 1.0 / a, ulp);
    run("rsqrt.approx.f32 %f8, %f1;", &|a, _| 1.0 / a.sqrt(), ulp);
    run("sqrt.approx.f32 %f8, %f1;", &|a, _| a.sqrt(), ulp);
    run("sin.approx.f32 %f8, %f1;", &|a, _| a.sin(), ulp);
    run("cos.approx.f32 %f8, %f1;", &|a, _| a.cos(), ulp);
    run("tanh.approx.f32 %f8, %f1;", &|a, _| a.tanh(), ulp);
    run("div.approx.f32 %f8, %f1, %f2;", &|a, b| a / b, ulp);
    run("div.full.f32 %f8, %f1, %f2;", &|a, b| a / b, ulp);
}
