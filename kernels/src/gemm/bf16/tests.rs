//! Products by bf16 against the f64 oracle, on every unit that the machine has and on the emulated tiles: sizes around
//! tiles, chunks and blocks, every layout, both betas, memory around C; the same bits for every split; epilogues; the
//! whole range of exponents; the packing alone on every instruction set; and the tiles against their emulation.

mod bytes;
mod errors;
mod units;

use super::emulated::Emulated;
use super::pack::{Bytes, CHUNK, Lines, PANEL, SCALE, Source, Terms, WORDS};
use super::tiles::Tiles;
use super::*;
use crate::activation::Activation;
use crate::dropout::Dropout;
use crate::epilogue::{self, Backward, Derivative, Epilogue, Forward};
use crate::gemm::tests::{LAYOUTS, Layout, Stored, bits, by_parts, noise, whole};
use crate::gemm::{Beta, Gemm, Left, Packed, Right, gemm, gemm_by, pack, packed_len, panel_width};
use crate::matrix::Matrix;
use crate::philox::Key;

/// Every set with every method that it has beside f32.
fn units() -> Vec<(Isa, Method)> {
    let sets = Isa::available().chain(Isa::by_name("amx-emulated"));
    let pairs = sets.flat_map(|isa| Method::ALL[1..].iter().map(move |&method| (isa, method)));
    pairs.filter(|(isa, method)| method.is_available(*isa)).collect()
}

/// Roundings of the sums of so many products of terms, and one more: of an old C, which is added last, or of bytes'
/// scale.
fn roundings(products: f64, k: usize) -> f64 {
    ((products * k.div_ceil(CHUNK) as f64 + 18.0) * (1.0 + 2f64.powi(-6)) + 1.0) * 2f64.powi(-24)
}

/// What is promised of the error, in Σ|a·b|, for any data.
fn bound(method: Method, k: usize) -> f64 {
    match method {
        Method::F32 => k as f64 * 2f64.powi(-24),
        Method::Bf16x6 => (1.0 + 2f64.powi(-10)) * 2f64.powi(-24) + roundings(6.0, k),
        Method::Bf16x3 => 2f64.powi(-15) + roundings(3.0, k),
        // Pairs are added one after the other.
        Method::Bf16 => 2f64.powi(-7) + roundings(1.0, k) + k as f64 * 2f64.powi(-24),
    }
}

struct Case<'a> {
    a: &'a Stored,
    b: &'a Stored,
    beta: Beta,
}

/// The product into a C of that layout, filled with `old`.
fn multiply(
    (isa, method): (Isa, Method),
    case: &Case,
    layout: Layout,
    old: impl FnMut(usize, usize) -> f32,
) -> Vec<f32> {
    let (a, b) = (case.a.view(), case.b.view());
    let mut c = Stored::new(layout, a.rows(), b.cols(), old);
    let args = Gemm { a: a.into(), b: Right::Strided(b), c: c.view_mut(), beta: case.beta, epilogue: Epilogue::None };
    gemm_by(isa, method, args, &mut Scratch::default());
    c.take()
}

/// Σ a·b and Σ |a·b| of each element, in f64.
fn oracle(a: Matrix, b: Matrix) -> Vec<(f64, f64)> {
    let sum = |i: usize, j: usize| {
        let terms = (0..a.cols()).map(|p| f64::from(a.get(i, p)) * f64::from(b.get(p, j)));
        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
    };
    (0..a.rows()).flat_map(|i| (0..b.cols()).map(move |j| sum(i, j))).collect()
}

/// The largest |c − r| / Σ|a·b|, after a floor for results below f32's range.
fn worst(c: &[f32], exact: &[(f64, f64)]) -> f64 {
    let error = |(&c, &(sum, size)): (&f32, &(f64, f64))| match () {
        () if size.abs() > f64::from(f32::MAX) => 0.0,
        () => ((f64::from(c) - sum).abs() - 2f64.powi(-149)).max(0.0) / size.max(f64::MIN_POSITIVE),
    };
    c.iter().zip(exact).map(error).fold(0.0, f64::max)
}

const EDGES: [usize; 11] = [1, 2, 13, 15, 16, 17, 29, 31, 32, 33, 67];

#[test]
fn products_match_the_oracle_in_every_layout() {
    for unit in units() {
        let mut turn = 0;
        for m in EDGES {
            for n in EDGES {
                for k in [0, 1, 15, 16, 17, 31, 32, 33, 61] {
                    turn += 1;
                    let layout = |i: usize| LAYOUTS[(turn / i) % LAYOUTS.len()];
                    let exact = turn % 2 == 0;
                    let value = |seed: u32| -> Box<dyn Fn(usize, usize) -> f32> {
                        if exact { Box::new(whole(seed)) } else { Box::new(noise(seed)) }
                    };
                    let (a, b) = (Stored::new(layout(1), m, k, value(1)), Stored::new(layout(5), k, n, value(2)));
                    let beta = if turn % 3 == 0 { Beta::One } else { Beta::Zero };
                    let old = |i, j| if beta == Beta::One { value(3)(i, j) } else { f32::NAN };
                    let c = multiply(unit, &Case { a: &a, b: &b, beta }, layout(25), old);
                    if beta == Beta::Zero && matches!(layout(25), Layout::Rows | Layout::WideRows) {
                        let parts = by_parts(unit.0, unit.1, a.view().into(), Right::Strided(b.view()));
                        assert!(bits(&parts) == bits(&c), "{} {:?} {m}×{k}×{n} by parts", unit.0.name(), unit.1);
                    }
                    let mut expected = oracle(a.view(), b.view());
                    for (at, r) in expected.iter_mut().enumerate() {
                        let old = f64::from(if beta == Beta::One { old(at / n, at % n) } else { 0.0 });
                        *r = (r.0 + old, r.1 + old.abs());
                    }
                    let limit = if exact { 0.0 } else { bound(unit.1, k) };
                    let error = worst(&c, &expected);
                    assert!(error <= limit, "{} {:?} {m}×{k}×{n}: {error:e}", unit.0.name(), unit.1);
                }
            }
        }
    }
}

/// Exponents from the smallest subnormal to the largest number: as exact as ever, and what overflows does as in f32.
#[test]
fn the_whole_range_of_exponents() {
    for unit in units() {
        // (middle and width of the exponents of A and B)
        for (a_range, b_range) in
            [((-149, 275), (-149, 275)), ((-149, 30), (90, 30)), ((80, 47), (-60, 80)), ((-149, 50), (-60, 90))]
        {
            let value = |seed: u32, (low, width): (i32, i32)| {
                let (size, place) = (noise(seed), noise(seed + 1));
                move |i: usize, j: usize| {
                    let exponent = f64::from(low) + f64::from(place(i, j) + 1.0) / 2.0 * f64::from(width);
                    (f64::from(size(i, j)).signum() * 2f64.powf(exponent)) as f32
                }
            };
            let (a, b) = (
                Stored::new(Layout::Rows, 37, 50, value(3, a_range)),
                Stored::new(Layout::Rows, 50, 41, value(5, b_range)),
            );
            let c = multiply(unit, &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| f32::NAN);
            let exact = oracle(a.view(), b.view());
            assert!(c.iter().zip(&exact).all(|(c, r)| r.1 > f64::from(f32::MAX) || c.is_finite()));
            let error = worst(&c, &exact);
            assert!(error <= bound(unit.1, 50), "{} {:?} {a_range:?}: {error:e}", unit.0.name(), unit.1);
        }
    }
}

/// Infinities, NaN, numbers near the largest: the elements that they reach are those of f32, to the bit, others are
/// untouched.
#[test]
fn what_is_not_finite_is_as_in_f32() {
    for unit in units() {
        for beta in [Beta::Zero, Beta::One] {
            let special = |i: usize, p: usize| match (i, p) {
                (3, 7) => f32::INFINITY,
                (5, 2) => f32::from_bits(0x7fff_ffff),
                (5, 9) => f32::from_bits(0xffff_ffff),
                (9, 0) => f32::MAX,
                (20, 33) => f32::from_bits(0x7f80_0001),
                (33, 1) => -f32::MAX,
                _ => noise(1)(i, p),
            };
            let ordinary = Stored::new(Layout::Rows, 40, 45, noise(1));
            let (a, b) = (
                Stored::new(Layout::Rows, 40, 45, special),
                Stored::new(Layout::Rows, 45, 50, |p, j| if j % 2 == 0 && p != 1 { 0.0 } else { noise(2)(p, j) }),
            );
            let case = |a| Case { a, b: &b, beta };
            let (c, f32s) = (
                multiply(unit, &case(&a), Layout::WideRows, noise(3)),
                multiply((unit.0, Method::F32), &case(&a), Layout::WideRows, noise(3)),
            );
            let without = multiply(unit, &case(&ordinary), Layout::WideRows, noise(3));
            for (at, &x) in c.iter().enumerate() {
                let i = at / 50;
                let same = if [3, 5, 9, 20, 33].contains(&i) { f32s[at] } else { without[at] };
                let equal = x.to_bits() == same.to_bits() || (x.is_nan() && same.is_nan());
                assert!(equal, "{} {:?} ({i}, {}): {x} {same}", unit.0.name(), unit.1, at % 50);
            }
            assert!(c[9 * 50..10 * 50].iter().all(|x| x.is_finite()), "{} overflows early", unit.0.name());
        }
    }
}

#[test]
fn a_block_of_c_has_the_bits_of_the_whole() {
    for unit in units() {
        let (m, k, n) = (61, 290, 75);
        let (a, b) = (Stored::new(Layout::Columns, m, k, noise(1)), Stored::new(Layout::Rows, k, n, noise(2)));
        let all = multiply(unit, &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| 0.0);
        for (rows, cols) in [(0..1, 0..n), (7..40, 0..n), (0..m, 32..n), (0..m, 5..6), (13..61, 17..50)] {
            let mut c = Stored::new(Layout::WideRows, rows.len(), cols.len(), |_, _| f32::NAN);
            let right = Right::Strided(b.view().block(0..k, cols.clone()));
            let (a, c_view) = (a.view().block(rows.clone(), 0..k).into(), c.view_mut());
            let args = Gemm { a, b: right, c: c_view, beta: Beta::Zero, epilogue: Epilogue::None };
            gemm_by(unit.0, unit.1, args, &mut Scratch::default());
            let part: Vec<f32> = rows.clone().flat_map(|i| all[i * n..][cols.clone()].to_vec()).collect();
            assert_eq!(bits(&c.take()), bits(&part), "{} {:?} {rows:?} {cols:?}", unit.0.name(), unit.1);
        }
    }
}

/// Few rows take B as it is packed, more rows after it has been packed; the bits are the same.
#[test]
fn rows_of_one_block_have_the_bits_of_many() {
    for unit @ (isa, method) in units() {
        for (k, n) in [(129, 1), (160, 16), (161, 17), (300, 33), (784, 64), (290, 100), (2_100, 70)] {
            let (a, b) = (Stored::new(Layout::Rows, 70, k, noise(1)), Stored::new(Layout::WideRows, k, n, noise(2)));
            let all = multiply(unit, &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| f32::NAN);
            let packed = panels(isa, b.view());
            for rows in [0..1, 3..19, 20..37, 38..70] {
                let expected = bits(&all[rows.start * n..rows.end * n]);
                for right in [Right::Strided(b.view()), Right::Packed(Packed::new(isa, &packed, k, n))] {
                    let mut c = Stored::new(Layout::Rows, rows.len(), n, |_, _| f32::NAN);
                    let a = a.view().block(rows.clone(), 0..k).into();
                    let args = Gemm { a, b: right, c: c.view_mut(), beta: Beta::Zero, epilogue: Epilogue::None };
                    gemm_by(isa, method, args, &mut Scratch::default());
                    assert_eq!(bits(&c.take()), expected, "{} {method:?} {rows:?}×{k}×{n} {right:?}", isa.name());
                }
            }
        }
    }
}

/// The panels of a matrix.
fn panels(isa: Isa, b: Matrix) -> Vec<f32> {
    let mut to = vec![f32::NAN; packed_len(isa, b.rows(), b.cols())];
    pack(isa, b, 0..b.cols().div_ceil(panel_width(isa)), &mut to);
    to
}

#[test]
fn operands_in_panels_and_results_by_parts_have_the_same_bits() {
    for unit @ (isa, method) in units() {
        for (m, k, n) in [(1, 1, 1), (17, 33, 31), (40, 100, 77), (33, 290, 65), (5, 64, 1_061), (150, 2_100, 40)] {
            // An infinity and a number that does not fit go to f32, whose results there are no NaN.
            let special = |i: usize, p: usize| match (i, p) {
                (3, 0) => f32::INFINITY,
                (4, 0) => 3e38,
                _ => noise(3)(i, p),
            };
            let (a, b) = (Stored::new(Layout::Rows, m, k, special), Stored::new(Layout::Rows, k, n, noise(4)));
            let expected = multiply(unit, &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| f32::NAN);
            let same = |x: &[f32], what: &str| {
                let equal = |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
                assert!(x.iter().zip(&expected).all(equal), "{} {method:?} {m}×{k}×{n} {what}", isa.name());
            };
            let (straight, turned) = (panels(isa, b.view()), panels(isa, b.view().t()));
            let straight = Packed::new(isa, &straight, k, n);
            let turned = Packed::new(isa, &turned, n, k);
            let edge = n / 2 / panel_width(isa) * panel_width(isa);
            for (what, cut) in [("packed", edge), ("transposed", n / 3)] {
                let mut c = Stored::new(Layout::Rows, m, n, |_, _| f32::NAN);
                for cols in [0..cut, cut..n] {
                    let right = match what {
                        "packed" => Right::Packed(straight.cols(cols.clone())),
                        _ => Right::Transposed(turned.rows(cols.clone())),
                    };
                    let (a, c) = (a.view().into(), c.view_mut().block(0..m, cols));
                    let args = Gemm { a, b: right, c, beta: Beta::Zero, epilogue: Epilogue::None };
                    gemm_by(isa, method, args, &mut Scratch::default());
                }
                same(&c.take(), what);
            }
            for right in [Right::Strided(b.view()), Right::Packed(straight), Right::Transposed(turned)] {
                for edge in [0, m / 2] {
                    let part = |rows| by_parts(isa, method, a.view().block(rows, 0..k).into(), right);
                    same(&[0..edge, edge..m].map(part).concat(), "by parts");
                }
            }
        }
    }
}

#[test]
fn epilogues_match_a_separate_pass() {
    for unit @ (isa, method) in units() {
        for (m, k, n) in [(1, 5, 1), (13, 0, 70), (70, 300, 131), (33, 20, 1_101)] {
            let (a, b) = (Stored::new(Layout::Rows, m, k, noise(4)), Stored::new(Layout::Rows, k, n, noise(5)));
            let bias: Vec<f32> = (0..n).map(|j| noise(6)(0, j)).collect();
            let residual = Stored::new(Layout::WideRows, m, n, noise(7));
            let dropout =
                Dropout { key: Key::new(1), step: 9, purpose: 2, probability: 0.3, row: 5, col: 64, width: n + 100 };
            let run = |c: &mut Stored, epilogue: Epilogue| {
                let (a, b, c) = (a.view().into(), Right::Strided(b.view()), c.view_mut());
                gemm_by(isa, method, Gemm { a, b, c, beta: Beta::Zero, epilogue }, &mut Scratch::default());
            };
            let plain = multiply(unit, &Case { a: &a, b: &b, beta: Beta::Zero }, Layout::Rows, |_, _| f32::NAN);
            let separate = || Stored::new(Layout::WideRows, m, n, |i, j| plain[i * n + j]);
            let fresh = || Stored::new(Layout::WideRows, m, n, |_, _| f32::NAN);
            for activation in [Activation::Relu, Activation::Gelu, Activation::Identity] {
                let (mut one, mut two, mut z1, mut z2) = (fresh(), separate(), fresh(), fresh());
                let bias = Some(bias.as_slice());
                let (residual, dropout) = (Some(residual.view()), Some(dropout));
                let z = Some(z1.view_mut());
                run(&mut one, Epilogue::Forward(Forward { bias, z, activation, dropout, residual }));
                let z = Some(z2.view_mut());
                epilogue::forward(isa, two.view_mut(), Forward { bias, z, activation, dropout, residual });
                assert_eq!(bits(&one.take()), bits(&two.take()), "{} {m}×{k}×{n} forward", isa.name());
                assert_eq!(bits(&z1.take()), bits(&z2.take()), "{} {m}×{k}×{n} z", isa.name());
            }
            let derivatives = [
                (Activation::Tanh, Derivative::FromZ(residual.view())),
                (Activation::Relu, Derivative::FromOutput(residual.view())),
                (Activation::Identity, Derivative::None),
            ];
            for (activation, input) in derivatives {
                let (mut one, mut two) = (fresh(), separate());
                let again = match &input {
                    Derivative::FromZ(z) => Derivative::FromZ(*z),
                    Derivative::FromOutput(h) => Derivative::FromOutput(*h),
                    Derivative::None => Derivative::None,
                };
                run(&mut one, Epilogue::Backward(Backward { input, activation, dropout: Some(dropout) }));
                epilogue::backward(isa, two.view_mut(), Backward { input: again, activation, dropout: Some(dropout) });
                assert_eq!(bits(&one.take()), bits(&two.take()), "{} {m}×{k}×{n} backward", isa.name());
            }
        }
    }
}

#[test]
fn a_prepared_scratch_never_grows() {
    for (isa, method) in units() {
        let mut scratch = Scratch::default();
        // As one term more groups of bytes are packed at a time than of numbers.
        scratch.reserve_by(isa, method, 300, 2_100, 70);
        let (size, bytes, b) = (scratch.size(), vec![1; 300 * 2_100], vec![1.0; 2_100 * 70]);
        let (a, mut c) =
            (Left::Bytes(Matrix::row_major(&bytes, 300, 2_100), 1.0), Stored::new(Layout::Rows, 300, 70, noise(1)));
        let b = Right::Strided(Matrix::row_major(&b, 2_100, 70));
        let args = Gemm { a, b, c: c.view_mut(), beta: Beta::Zero, epilogue: Epilogue::None };
        gemm_by(isa, method, args, &mut scratch);
        assert_eq!(scratch.size(), size, "{} {method:?} of bytes", isa.name());
        let mut scratch = Scratch::default();
        scratch.reserve_by(isa, method, 100, 300, 200);
        let size = scratch.size();
        for (m, k, n) in [(100, 300, 200), (1, 300, 200), (100, 1, 17), (31, 299, 200)] {
            let (a, b) = (Stored::new(Layout::Rows, m, k, noise(1)), Stored::new(Layout::Columns, k, n, noise(2)));
            let mut c = Stored::new(Layout::Rows, m, n, |_, _| 0.0);
            let args = Gemm {
                a: a.view().into(),
                b: Right::Strided(b.view()),
                c: c.view_mut(),
                beta: Beta::Zero,
                epilogue: Epilogue::None,
            };
            gemm_by(isa, method, args, &mut scratch);
            assert_eq!(scratch.size(), size, "{} {method:?} {m}×{k}×{n}", isa.name());
        }
    }
}

/// Packing on every instruction set against its definition, for every layout and rest.
#[test]
fn packing_matches_its_definition() {
    let sets = Isa::available();
    for isa in sets {
        for (turn, (lines, k)) in
            [(16, 64), (16, 31), (1, 1), (7, 17), (15, 33), (16, 100), (14, 16), (9, 32)].iter().enumerate()
        {
            for layout in LAYOUTS {
                for together in [false, true] {
                    for terms in [Terms::One, Terms::Two, Terms::Three] {
                        let from = Stored::new(layout, *lines, *k, noise(turn as u32));
                        let block = 16 * WORDS;
                        let mut words = vec![u32::MAX; k.div_ceil(CHUNK) * terms.count() * block];
                        let to = words.as_mut_ptr();
                        isa.run(Lines { from: Source::Matrix(from.view()), terms, stored: 16, next: 0, together, to });
                        for p in 0..k.next_multiple_of(CHUNK) {
                            for line in 0..*lines {
                                let (chunk, q, high) = (p / CHUNK, p % WORDS, p % CHUNK >= WORDS);
                                let x = if p < *k { from.view().get(line, p) } else { 0.0 };
                                let mut left = x * SCALE;
                                for term in 0..terms.count() {
                                    let place = if together { line * WORDS + q } else { q * PANEL + line };
                                    let word = words[(chunk * terms.count() + term) * block + place];
                                    let part = f32::from_bits(if high { word & 0xffff_0000 } else { word << 16 });
                                    let name = format!("{} {layout:?} {together} {lines}×{k}: {line}, {p}", isa.name());
                                    assert!((left - part).abs() <= left.abs() / 256.0, "{name}: {part} for {left}");
                                    left -= part;
                                }
                                let bound = [2f32.powi(-8), 2f32.powi(-16), 0.0][terms.count() - 1];
                                assert!(left.abs() <= x.abs() * SCALE * bound);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The choice keeps what was asked for, and takes a unit for large shapes and none for tiny ones.
#[test]
fn methods_are_chosen_from_the_shape() {
    for isa in Isa::available().chain(Isa::by_name("amx-emulated")) {
        for method in Method::ALL {
            for (m, k, n) in [(1, 1, 1), (32, 64, 10), (128, 10, 512), (128, 512, 512), (2_048, 2_048, 2_048)] {
                let chosen = method.choose(isa, false, m, k, n);
                assert!(chosen <= method && chosen.is_native(isa));
                assert!((m > 1 && k >= CHUNK) || chosen == Method::F32, "{} {method:?}", isa.name());
            }
        }
        let large = Method::Bf16.choose(isa, false, 512, 784, 512);
        assert_eq!(large == Method::Bf16, Method::Bf16.is_native(isa), "{}", isa.name());
    }
    let tiles = Isa::by_name("amx-emulated").expect("every machine can emulate");
    assert_eq!(Method::Bf16x3.choose(tiles, false, 128, 512, 512), Method::Bf16x3);
    assert_eq!(Method::Bf16x3.choose(tiles, false, 32, 10, 64), Method::F32);
    assert_eq!(Method::Bf16x6.choose(tiles, false, 128, 512, 512), Method::Bf16x6);
    assert_eq!(Method::Bf16x6.choose(tiles, false, 32, 784, 64), Method::F32);
}

/// Both units of pairs, whichever this machine has. Beside halves arithmetic takes two and a half times as long, in f32
/// too, and packing does not: it outweighs what is gained in fewer shapes.
#[cfg(target_arch = "x86_64")]
#[test]
fn pairs_in_halves_are_chosen_for_smaller_products_than_whole_ones() {
    let chosen = |unit: &cost::Unit, bytes, (m, k, n)| {
        unit.fastest([Method::F32, Method::Bf16].into_iter(), bytes, m, k, n) == Method::Bf16
    };
    for (bytes, shape, halves, whole) in [
        // 784-64-64-10 in batches of 32: forward and dW of the first layer, of numbers and of bytes, and the second.
        (false, (32, 784, 64), true, false),
        (false, (784, 32, 64), true, false),
        (true, (32, 784, 64), true, true),
        (true, (784, 32, 64), true, false),
        (false, (32, 64, 64), false, false),
        // The second layer in batches of 128, and the first of 784-448-10.
        (false, (128, 64, 64), true, false),
        (false, (64, 128, 64), true, false),
        (false, (32, 784, 448), true, false),
        // 54-256-7, whose outputs are for neither, and 784-512-512, which is for both.
        (false, (256, 54, 256), true, false),
        (false, (256, 256, 7), false, false),
        (false, (128, 784, 512), true, true),
        (false, (128, 512, 512), true, true),
    ] {
        assert_eq!(chosen(&cost::HALVES, bytes, shape), halves, "in halves, bytes: {bytes}, {shape:?}");
        assert_eq!(chosen(&cost::PAIRS, bytes, shape), whole, "whole, bytes: {bytes}, {shape:?}");
    }
}

/// A kind of unit is told where choices depend on it, and nowhere else.
#[test]
fn units_are_told_where_machines_of_one_set_differ() {
    for isa in Isa::available().chain(Isa::by_name("amx-emulated")) {
        for method in Method::ALL {
            let pairs = isa.name() == "avx512" && method == Method::Bf16 && method.is_native(isa);
            assert_eq!(method.unit(isa).is_some(), pairs, "{} {method:?}", isa.name());
        }
    }
    #[cfg(target_arch = "x86_64")]
    assert_ne!(cost::HALVES.kind, cost::PAIRS.kind);
}

/// By the signatures of an EPYC 7003 (Zen 3), 9004 (Zen 4) and 9005 (Zen 5), and by what Linux says of this machine.
#[cfg(target_arch = "x86_64")]
#[test]
fn halves_are_known_by_the_processors_family() {
    assert_eq!([0x00a0_0f11, 0x00a1_0f11, 0x00b0_0f21].map(pairs::family), [25, 25, 26]);
    if cfg!(target_os = "linux") {
        let told = std::fs::read_to_string("/proc/cpuinfo").expect("Linux has it");
        let has = |key: &str, value: &str| {
            told.lines().any(|line| line.split_once(':').is_some_and(|(k, v)| k.trim() == key && v.trim() == value))
        };
        assert_eq!(pairs::in_halves(), has("vendor_id", "AuthenticAMD") && has("cpu family", "25"));
    }
}

/// f32 on the sets with bf16 units is what it is without.
#[test]
fn f32_is_the_same_on_every_set_of_the_same_vectors() {
    let (Some(best), Ok(emulated)) = (Isa::available().last(), Isa::by_name("amx-emulated")) else { return };
    let (a, b) = (Stored::new(Layout::Rows, 40, 50, noise(1)), Stored::new(Layout::Rows, 50, 60, noise(2)));
    let run = |isa| {
        let mut c = Stored::new(Layout::Rows, 40, 60, |_, _| f32::NAN);
        let (a, b) = (a.view(), Right::Strided(b.view()));
        let args = Gemm { a: a.into(), b, c: c.view_mut(), beta: Beta::Zero, epilogue: Epilogue::None };
        gemm(isa, args, &mut Scratch::default());
        c.take()
    };
    assert_eq!(bits(&run(best)), bits(&run(emulated)));
}
