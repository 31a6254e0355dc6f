//! Elementary functions on vectors of `f32`, one body for every instruction set.
//!
//! Each reduces its argument to a short interval and evaluates a minimax polynomial there (coefficients fitted for
//! this file in 40 digits, rounded to `f32` one by one with the others refitted). No tables, no branches, no double
//! precision: a lane's result depends on its argument alone. The bounds are in units of the last place of the exact
//! result and hold on every instruction set over the tests' sweep of the bit patterns.

use crate::isa::Simd;

/// `c[0] + c[1]·x + c[2]·x² + …`
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::F, c: [f32; N]) -> S::F {
    let mut sum = s.splat(c[N - 1]);
    for i in 1..N {
        sum = s.mul_add(sum, x, s.splat(c[N - 1 - i]));
    }
    sum
}

/// `|a|` with the sign of `b`.
#[inline(always)]
pub(crate) fn copysign<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    let sign = s.splat_u(0x8000_0000);
    s.from_bits(s.or(s.to_bits(s.abs(a)), s.and(s.to_bits(b), sign)))
}

/// ln 2 in two parts, the first short enough that its product with an exponent is exact.
const LN_2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6];

/// `(n, eʳ − 1)` with `x + low = n·ln 2 + r` and `n` whole, so that `e^(x + low) = 2ⁿ·eʳ`; `low` is small.
#[inline(always)]
fn reduce_exp<S: Simd>(s: S, x: S::F, low: Option<S::F>) -> (S::F, S::F) {
    const C: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_29, 0.008_368_704, 0.001_381_893_9];
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN_2[0]), x);
    let mut r = s.mul_add(n, s.splat(-LN_2[1]), r);
    if let Some(low) = low {
        r = s.add(r, low);
    }
    (n, s.mul_add(s.mul(r, r), polynomial(s, r, C), r))
}

/// eˣ, within 1.1 units (three roundings: of r, of eʳ − 1 and of the sum). Overflows to ∞, underflows through the
/// subnormals to 0.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    exp_of_sum(s, x, None)
}

#[inline(always)]
fn exp_of_sum<S: Simd>(s: S, x: S::F, low: Option<S::F>) -> S::F {
    // Beyond these the result is 0 or ∞ all the same; a NaN stays, being the second argument.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let (n, p) = reduce_exp(s, x, low);
    s.scale2(s.add(p, s.splat(1.0)), n)
}

/// eˣ − 1, within 2 units, around 0 too (and −0 stays −0).
#[inline(always)]
pub fn exp_m1<S: Simd>(s: S, x: S::F) -> S::F {
    let clamped = s.max(s.splat(-20.0), s.min(s.splat(89.0), x));
    let (n, p) = reduce_exp(s, clamped, None);
    // Half of 2ⁿ, which n = 128 does not take out of range.
    let half = s.scale2(s.splat(0.5), n);
    let y = s.mul_add(half, p, s.sub(half, s.splat(0.5)));
    // x itself where x² no longer counts, for the half of it may be lost among the subnormals.
    s.select(s.lt(s.abs(x), s.splat(1e-8)), x, s.add(y, y))
}

/// ln(1 + f) for 1 + f between √½ and √2.
#[inline(always)]
fn ln_1p_core<S: Simd>(s: S, f: S::F) -> S::F {
    const C: [f32; 8] = [
        0.333_333_3,
        -0.250_008_26,
        0.200_012_49,
        -0.166_231_89,
        0.142_012_22,
        -0.131_615_34,
        0.127_658_7,
        -0.076_358_005,
    ];
    s.mul_add(s.mul(f, f), s.mul_add(f, polynomial(s, f, C), s.splat(-0.5)), f)
}

/// ln(1 + x), within 2 units: −∞ at −1, NaN below it.
#[inline(always)]
pub fn ln_1p<S: Simd>(s: S, x: S::F) -> S::F {
    // 1 + x = 2ᵏ·(1 + f); `e` is k in the place of an exponent. From x itself, not from the rounded 1 + x:
    // f = 2⁻ᵏ·x + (2⁻ᵏ − 1), where 4·2⁻ᵏ is always a normal number.
    let e = s.and(s.sub_u(s.to_bits(s.add(x, s.splat(1.0))), s.splat_u(0x3f35_04f3)), s.splat_u(0xff80_0000));
    let scaled = s.from_bits(s.sub_u(s.to_bits(x), e));
    let four = s.from_bits(s.sub_u(s.splat_u(0x4080_0000), e));
    let f = s.add(scaled, s.mul_add(s.splat(0.25), four, s.splat(-1.0)));
    // k as a number: its biased bits become the last bits of 2²³ + …
    let biased = s.or(s.shr::<23>(s.add_u(e, s.splat_u(127 << 23))), s.splat_u(0x4b00_0000));
    let k = s.sub(s.from_bits(biased), s.splat(8_388_608.0 + 127.0));
    let y = s.mul_add(k, s.splat(LN_2[0]), s.mul_add(k, s.splat(LN_2[1]), ln_1p_core(s, f)));
    let y = s.select(s.eq(x, s.splat(0.0)), x, y);
    let y = s.select(s.lt(x, s.splat(f32::INFINITY)), y, x);
    let outside = s.select(s.eq(x, s.splat(-1.0)), s.splat(f32::NEG_INFINITY), s.splat(f32::NAN));
    s.select(s.le(x, s.splat(-1.0)), outside, y)
}

/// ln(1 + e^−|x|), within 2 units.
#[inline(always)]
pub fn softplus_of_minus_abs<S: Simd>(s: S, x: S::F) -> S::F {
    // 1 + e lies in [1, 2]: it is 1 + f, or 2·(1 + f) with an exact f.
    let e = exp(s, s.neg(s.abs(x)));
    let upper = s.lt(s.splat(std::f32::consts::SQRT_2 - 1.0), e);
    let f = s.select(upper, s.mul_add(e, s.splat(0.5), s.splat(-0.5)), e);
    let y = ln_1p_core(s, f);
    s.select(upper, s.add(y, s.splat(std::f32::consts::LN_2)), y)
}

/// tanh x, within 3 units.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let a = s.min(s.splat(10.0), s.abs(x));
    let t = exp_m1(s, s.add(a, a));
    copysign(s, s.div(t, s.add(t, s.splat(2.0))), x)
}

/// `(σ(x), σ(−x))` for the logistic σ(x) = 1 / (1 + e⁻ˣ), both within 2.5 units, since neither is 1 minus the other.
#[inline(always)]
pub fn sigmoids<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let one = s.splat(1.0);
    let e = exp(s, s.neg(s.abs(x)));
    let d = s.add(one, e);
    let (near, far) = (s.div(one, d), s.div(e, d));
    let negative = s.lt(x, s.splat(0.0));
    (s.select(negative, far, near), s.select(negative, near, far))
}

/// The logistic function 1 / (1 + e⁻ˣ), within 2.5 units.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F) -> S::F {
    let one = s.splat(1.0);
    let e = exp(s, s.neg(s.abs(x)));
    s.div(s.select(s.lt(x, s.splat(0.0)), e, one), s.add(one, e))
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|), within 2 units.
#[inline(always)]
pub fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    s.add(s.max(s.splat(0.0), x), softplus_of_minus_abs(s, x))
}

/// `(Φ(−|z|), e^(−z²/2))` for the distribution function Φ of the standard normal, within 6 and 1.6 units.
///
/// `Φ(−a)·e^(a²/2) = t·P(t)`, `t = 2 / (2 + a)`, for `a` up to where e^(−a²/2) vanishes.
#[inline(always)]
pub fn normal_tail<S: Simd>(s: S, z: S::F) -> (S::F, S::F) {
    const C: [f32; 11] = [
        0.199_480_25,
        0.199_185_42,
        0.153_363_84,
        0.022_766_389,
        0.053_879_9,
        -0.407_631_84,
        0.351_062_74,
        0.093_596_29,
        -0.315_435_14,
        0.189_081_76,
        -0.039_349_61,
    ];
    let a = s.min(s.splat(14.6), s.abs(z));
    // a²/2 in two parts, for a wrong last place of 100 is wrong in e¹⁰⁰ too: the square of the leading half of a's
    // digits is exact, the rest is small.
    let head = s.from_bits(s.and(s.to_bits(a), s.splat_u(0xffff_f000)));
    let rest = s.mul(s.sub(a, head), s.add(a, head));
    let half = s.splat(-0.5);
    let g = exp_of_sum(s, s.mul(s.mul(head, head), half), Some(s.mul(rest, half)));
    let t = s.div(s.splat(2.0), s.add(s.splat(2.0), a));
    (s.mul(g, s.mul(t, polynomial(s, t, C))), g)
}

/// The error function 2/√π · ∫₀ˣ e^(−t²) dt, within 2 units.
#[inline(always)]
pub fn erf<S: Simd>(s: S, x: S::F) -> S::F {
    // 2/√π − 1, then the polynomial in x².
    const C: [f32; 7] =
        [0.128_379_17, -0.376_126_3, 0.112_836_04, -0.026_854_273, 0.005_188_813, -0.000_801_199_8, 7.853_473e-5];
    let near = s.mul_add(x, polynomial(s, s.mul(x, x), C), x);
    let (tail, _) = normal_tail(s, s.mul(x, s.splat(std::f32::consts::SQRT_2)));
    let far = s.sub(s.splat(1.0), s.add(tail, tail));
    s.select(s.lt(s.splat(1.0), s.abs(x)), copysign(s, far, x), near)
}
