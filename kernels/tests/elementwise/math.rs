//! The elementary functions over a sweep of the bit patterns, in units of the last place.

use hpt_kernels::isa::{Isa, Op, Simd};
use hpt_kernels::{math, reference};

/// A function, its oracle, and its largest error.
struct Function {
    name: &'static str,
    bound: f64,
    exact: fn(f64) -> f64,
    fast: fn(Isa, &[f32]) -> Vec<f32>,
}

macro_rules! functions {
    ($($name:ident, $bound:literal, |$x:ident| $exact:expr, |$s:ident, $v:ident| $fast:expr;)*) => {
        const FUNCTIONS: &[Function] =
            &[$(Function { name: stringify!($name), bound: $bound, exact: |$x| $exact, fast: $name },)*];
        $(
            fn $name(isa: Isa, x: &[f32]) -> Vec<f32> {
                struct Map<'a>(&'a [f32]);
                impl Op for Map<'_> {
                    type Output = Vec<f32>;
                    #[inline(always)]
                    fn run<S: Simd>(self, $s: S) -> Vec<f32> {
                        let mut out = vec![0.0; self.0.len()];
                        for (x, out) in self.0.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
                            let $v = $s.load(x);
                            $s.store(out, $fast);
                        }
                        out
                    }
                }
                isa.run(Map(x))
            }
        )*
    };
}

functions! {
    exp, 1.1, |x| x.exp(), |s, v| math::exp(s, v);
    exp_m1, 2.0, |x| x.exp_m1(), |s, v| math::exp_m1(s, v);
    ln_1p, 2.0, |x| x.ln_1p(), |s, v| math::ln_1p(s, v);
    tanh, 3.0, |x| x.tanh(), |s, v| math::tanh(s, v);
    sigmoid, 2.5, |x| 1.0 / (1.0 + (-x).exp()), |s, v| math::sigmoid(s, v);
    softplus, 2.0, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), |s, v| math::softplus(s, v);
    normal_tail, 6.0, |z| 0.5 * reference::activation::erfc(z.abs() * std::f64::consts::FRAC_1_SQRT_2),
        |s, v| math::normal_tail(s, v).0;
    normal_density, 1.6, |z| (-0.5 * z * z).exp(), |s, v| math::normal_tail(s, v).1;
    erf, 2.0, |x| reference::activation::erf(x), |s, v| math::erf(s, v);
}

/// Distance of `got` from `exact` in units of the last place of `exact` as an `f32`.
fn ulps(got: f32, exact: f64) -> f64 {
    if exact.is_nan() || exact as f32 == got {
        return if exact.is_nan() == got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let exponent = (exact.abs().log2().floor() as i32).clamp(-126, 127);
    (f64::from(got) - exact).abs() / 2f64.powi(exponent - 23)
}

/// Every `stride`-th bit pattern between the two, and their negatives.
fn sweep(from: f32, to: f32, stride: usize) -> Vec<f32> {
    (from.to_bits()..=to.to_bits()).step_by(stride).map(f32::from_bits).flat_map(|x| [x, -x]).collect()
}

/// Panics where the function is wrong by more than its bound on one of those arguments.
fn assert_within(isa: Isa, function: &Function, arguments: impl Iterator<Item = Vec<f32>>) {
    let Function { name, bound, exact, fast } = function;
    let mut worst = (0.0, 0.0, 0.0);
    for x in arguments {
        for (&x, got) in x.iter().zip(fast(isa, &x)) {
            let error = ulps(got, exact(f64::from(x)));
            if error > worst.0 {
                worst = (error, x, got);
            }
        }
    }
    let (error, x, got) = worst;
    println!("{name} on {}: {error:.3} units at {x:e}", isa.name());
    let exact = exact(f64::from(x));
    assert!(error <= *bound, "{name}({x:e}) on {}: {got:e}, not {exact:e}: {error:.3} units > {bound}", isa.name());
}

#[test]
fn errors_stay_within_their_bounds() {
    let x = [sweep(0.0, f32::INFINITY, 8009), sweep(1e-3, 128.0, 193)];
    for isa in Isa::available() {
        FUNCTIONS.iter().for_each(|f| assert_within(isa, f, x.iter().cloned()));
    }
}

#[test]
#[ignore = "minutes: every number of either sign from 2⁻¹⁰ to 128, outside which nothing new happens"]
fn errors_stay_within_their_bounds_everywhere() {
    let tops = 2f32.powi(-10).to_bits() >> 16..128f32.to_bits() >> 16;
    for isa in Isa::available() {
        for f in FUNCTIONS {
            let pieces =
                tops.clone().map(|top| sweep(f32::from_bits(top << 16), f32::from_bits(top << 16 | 0xffff), 1));
            assert_within(isa, f, pieces);
        }
    }
}

#[test]
fn special_values() {
    let inf = f32::INFINITY;
    let tiny = f32::from_bits(1);
    for isa in Isa::available() {
        for (fast, arguments, exact) in [
            (exp as fn(_, &[f32]) -> _, [0.0, -0.0, inf, -inf, tiny, 3e38, -3e38], [1.0, 1.0, inf, 0.0, 1.0, inf, 0.0]),
            (exp_m1, [0.0, -0.0, inf, -inf, tiny, 3e38, -3e38], [0.0, -0.0, inf, -1.0, tiny, inf, -1.0]),
            (ln_1p, [0.0, -0.0, inf, -1.0, tiny, -tiny, f32::MAX], [0.0, -0.0, inf, -inf, tiny, -tiny, 88.722_84]),
            (tanh, [0.0, -0.0, inf, -inf, tiny, -tiny, 3e38], [0.0, -0.0, 1.0, -1.0, tiny, -tiny, 1.0]),
            (sigmoid, [0.0, -0.0, inf, -inf, tiny, 3e38, -3e38], [0.5, 0.5, 1.0, 0.0, 0.5, 1.0, 0.0]),
            (softplus, [inf, -inf, 3e38, -3e38, 50.0, 1e4, -1e4], [inf, 0.0, 3e38, 0.0, 50.0, 1e4, 0.0]),
            (normal_tail, [0.0, -0.0, inf, -inf, tiny, 3e38, 14.6], [0.5, 0.5, 0.0, 0.0, 0.5, 0.0, 0.0]),
            (erf, [0.0, -0.0, inf, -inf, tiny, -tiny, 3e38], [0.0, -0.0, 1.0, -1.0, tiny, -tiny, 1.0]),
        ] {
            let got = fast(isa, &arguments);
            for ((got, exact), x) in got.iter().zip(exact).zip(arguments) {
                assert_eq!(got.to_bits(), exact.to_bits(), "{got:e}, not {exact:e}, at {x:e} on {}", isa.name());
            }
        }
        assert!(ln_1p(isa, &[-1.5, -inf]).iter().all(|y| y.is_nan()));
        for f in FUNCTIONS {
            let nans = [0x7fc0_0000, 0xffc0_0000, 0x7fc0_0001, 0x7fff_ffff].map(f32::from_bits);
            assert!((f.fast)(isa, &nans).iter().all(|y| y.is_nan()), "{} loses a NaN on {}", f.name, isa.name());
        }
    }
}
