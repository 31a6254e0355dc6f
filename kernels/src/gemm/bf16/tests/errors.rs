//! Errors of the products against their bounds, in data of several kinds: sums of many numbers that are like one
//! another, and sums of which a few terms are nearly all. `cargo test -p hpt-kernels errors -- --nocapture` prints
//! what the documentation of this module's parent says was measured.

use super::*;

/// A number by its line (a row of A, a column of B) and its place in k.
type Value = Box<dyn Fn(usize, usize) -> f32>;

/// A kind of data.
struct Family {
    name: &'static str,
    /// Whether an element is a sum of many random products of like size.
    alike: bool,
    a: Value,
    b: Value,
}

fn families() -> Vec<Family> {
    let shifted = |seed| -> Value {
        let noise = noise(seed);
        Box::new(move |i, p| noise(i, p) + 1.0)
    };
    let exponents = |seed| -> Value {
        let (size, sign) = (noise(seed), noise(seed + 20));
        Box::new(move |i, p| (40.0 * size(i, p)).exp2().copysign(sign(i, p)))
    };
    let dominated = |seed| -> Value {
        let (large, normal) = (noise(seed), normal(seed + 20));
        Box::new(move |i, p| if p == 0 { 6e4 + 5e4 * large(i, p) } else { normal(i, p) })
    };
    let lognormal = |seed| -> Value {
        let normal = normal(seed);
        Box::new(move |i, p| (5.0 * normal(i, p)).exp())
    };
    let sparse = |seed| -> Value {
        let (place, normal) = (noise(seed), normal(seed + 20));
        Box::new(move |i, p| if place(i, p) < -0.96 { normal(i, p) } else { 0.0 })
    };
    let of = |name, alike, a, b| Family { name, alike, a, b };
    vec![
        of("uniform of both signs", true, Box::new(noise(1)), Box::new(noise(2))),
        of("uniform of one sign", true, shifted(1), shifted(2)),
        of("normal", true, normal(1), normal(2)),
        of("exponents from -40 to 40", false, exponents(1), exponents(2)),
        of("one large column", false, dominated(1), normal(2)),
        of("lognormal", false, lognormal(1), lognormal(2)),
        of("one in fifty not zero", false, sparse(1), normal(2)),
    ]
}

/// Standard normal numbers (Box and Muller).
fn normal(seed: u32) -> Value {
    let (radius, angle) = (noise(seed), noise(seed + 40));
    Box::new(move |i, p| {
        let u = (1.0 - radius(i, p)) / 2.0;
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::PI * angle(i, p)).cos()
    })
}

/// Sizes beyond every block, and tails of rows, of k and of columns.
const SHAPES: [(usize, usize, usize); 5] =
    [(33, 300, 1_051), (75, 700, 70), (16, 16, 600), (150, 32, 301), (5, 2_500, 19)];

/// What three products keep in sums of many random terms of like size, and two of bytes in all.
const OFTEN: f64 = 1e-5;

/// The share of elements whose error is beyond [`OFTEN`].
fn beyond(c: &[f32], exact: &[(f64, f64)]) -> f64 {
    let count = c.iter().zip(exact).filter(|&(c, r)| worst(&[*c], &[*r]) > OFTEN).count();
    count as f64 / c.len() as f64
}

/// Every bound is kept in data of any kind; sums of many random terms of like size are within 1e-5 by three.
#[test]
fn errors_of_every_kind_of_data_stay_within_the_bound() {
    for Family { name, alike, a, b } in families() {
        for (m, k, n) in SHAPES {
            let (a, b) = (Stored::new(Layout::Rows, m, k, &a), Stored::new(Layout::Columns, k, n, |p, j| b(j, p)));
            let exact = oracle(a.view(), b.view());
            for unit @ (isa, method) in units() {
                let c = multiply(unit, &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| f32::NAN);
                let error = worst(&c, &exact);
                let what = format!("{} {method:?}, {name}, {m}×{k}×{n}: {error:.2e}", isa.name());
                println!("{what}, beyond 1e-5 {:.2} %", 100.0 * beyond(&c, &exact));
                let limit = if alike && method == Method::Bf16x3 { OFTEN } else { bound(method, k) };
                assert!(error <= limit.min(bound(method, k)), "{what}");
            }
        }
    }
}

/// What is left out of a product by bytes is of B alone, and nothing is where B has three terms: two products keep 1e-5
/// in data of any kind.
#[test]
fn errors_by_bytes_are_those_of_b_alone() {
    const SCALE: f32 = 1.0 / 255.0;
    let adverse = Family { name: "adverse", alike: true, a: Box::new(|_, _| ADVERSE), b: Box::new(|_, _| ADVERSE) };
    for Family { name, a: b, .. } in families().into_iter().chain([adverse]) {
        for (m, k, n) in SHAPES {
            let bytes: Vec<u8> = (0..m * k).map(|i| (i * 7919 % 256) as u8).collect();
            let a = Stored::new(Layout::Rows, m, k, |i, p| f32::from(bytes[i * k + p]));
            let b = Stored::new(Layout::Columns, k, n, |p, j| b(j, p));
            let scale = f64::from(SCALE);
            let exact: Vec<_> =
                oracle(a.view(), b.view()).iter().map(|(sum, size)| (sum * scale, size * scale)).collect();
            for (isa, method) in units() {
                let mut c = Stored::new(Layout::Rows, m, n, |_, _| f32::NAN);
                let (left, b_view) = (Left::Bytes(Matrix::row_major(&bytes, m, k), SCALE), Right::Strided(b.view()));
                let args = Gemm { a: left, b: b_view, c: c.view_mut(), beta: Beta::Zero, epilogue: Epilogue::None };
                gemm_by(isa, method, args, &mut Scratch::default());
                let c = c.take();
                let terms = [0.0, 3.0, 2.0, 1.0][method as usize];
                let left_out = [0.0, 0.0, 2f64.powi(-17), 2f64.powi(-8) + k as f64 * 2f64.powi(-24)][method as usize];
                let error = worst(&c, &exact);
                let what = format!("{} {method:?} by bytes, {name}, {m}×{k}×{n}: {error:.2e}", isa.name());
                println!("{what}");
                let often = if method == Method::Bf16 { 1.0 } else { OFTEN };
                assert!(error <= often.min(left_out + roundings(terms, k)), "{what}");
            }
        }
    }
}

/// What is promised of six products is never more than what is promised of chains, and what is seen is not either.
#[test]
fn six_products_are_no_less_exact_than_f32() {
    assert!((CHUNK..10_000).all(|k| bound(Method::Bf16x6, k) <= bound(Method::F32, k)));
    for (isa, method) in units().into_iter().filter(|unit| unit.1 == Method::Bf16x6) {
        for k in [32, 54, 100, 784, 2_048] {
            for shift in [0.0, 1.0] {
                let value = |seed| {
                    let noise = noise(seed);
                    move |i, j| noise(i, j) + shift
                };
                let (a, b) = (Stored::new(Layout::Rows, 64, k, value(1)), Stored::new(Layout::Rows, k, 64, value(2)));
                let exact = oracle(a.view(), b.view());
                // The largest error, and the square mean.
                let errors = |method| {
                    let case = Case { a: &a, b: &b, beta: Beta::Zero };
                    let c = multiply((isa, method), &case, Layout::Rows, |_, _| f32::NAN);
                    let squares = c.iter().zip(&exact).map(|(&c, r)| ((f64::from(c) - r.0) / r.1).powi(2));
                    (worst(&c, &exact), squares.sum::<f64>().sqrt())
                };
                let (six, chains) = (errors(method), errors(Method::F32));
                let name = format!("{} k = {k} + {shift}: {six:?}, chains {chains:?}", isa.name());
                assert!(six.0 <= chains.0 && six.1 <= 0.6 * chains.1, "{name}");
            }
        }
    }
}

/// As far from hi + lo as can be.
const ADVERSE: f32 = 1.0 + (1.0 / 256.0) - 3.0 / 131_072.0;

/// All numbers are the same adverse one: the bound is kept, and nearly reached.
#[test]
fn the_worst_constant_reaches_the_bound() {
    for unit in units() {
        for k in [1, 16, 64] {
            let (a, b) =
                (Stored::new(Layout::Rows, 17, k, |_, _| ADVERSE), Stored::new(Layout::Rows, k, 5, |_, _| ADVERSE));
            let c = multiply(unit, &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| f32::NAN);
            let error = worst(&c, &oracle(a.view(), b.view()));
            assert!(error <= bound(unit.1, k), "{} {:?} k = {k}: {error:e}", unit.0.name(), unit.1);
            if unit.1 == Method::Bf16x3 {
                assert!(error > 2.9e-5, "the documentation says that {error:e} is 3.03e-5");
            }
        }
    }
}
