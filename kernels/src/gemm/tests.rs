//! The product against the f64 oracle: sizes around every tile and block, every pairing of layouts, both betas, old
//! content that is NaN, memory around C that must stay; the same bits for every split; epilogues; no allocation.
//!
//! The tolerance is the bound of a chain of k roundings, `(k + 1) · ε · (Σ|a·b| + |c|)` (Higham, Accuracy and Stability
//! of Numerical Algorithms, 3.1), with one more k for sets without fused multiply-add.

use super::*;
use crate::activation::Activation;
use crate::dropout::Dropout;
use crate::epilogue::{Backward, Derivative, Forward};
use crate::philox::Key;
use crate::{epilogue, reference};
use proptest::prelude::*;
use std::ops::Range;

/// How the elements of a matrix lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Layout {
    Rows,
    Columns,
    /// Rows with a gap after each.
    WideRows,
    /// Columns with a gap after each.
    WideColumns,
    /// No stride is 1.
    Scattered,
}

pub(super) const LAYOUTS: [Layout; 5] =
    [Layout::Rows, Layout::Columns, Layout::WideRows, Layout::WideColumns, Layout::Scattered];

/// Fills what belongs to nobody.
const GUARD: f32 = -7.25e11;
const MARGIN: usize = 37;

/// A matrix inside memory filled with [`GUARD`].
#[derive(Clone, Debug)]
pub(super) struct Stored {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    rs: usize,
    cs: usize,
}

impl Stored {
    pub(super) fn new(layout: Layout, rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> f32) -> Self {
        let (rs, cs) = match layout {
            Layout::Rows => (cols, 1),
            Layout::Columns => (1, rows),
            Layout::WideRows => (cols + 5, 1),
            Layout::WideColumns => (1, rows + 3),
            Layout::Scattered => (3 * cols + 2, 3),
        };
        let mut data = vec![GUARD; rows * rs.max(1) + cols * cs.max(1) + 2 * MARGIN];
        for i in 0..rows {
            for j in 0..cols {
                data[MARGIN + i * rs + j * cs] = value(i, j);
            }
        }
        Stored { data, rows, cols, rs, cs }
    }

    pub(super) fn view(&self) -> Matrix<'_> {
        Matrix::new(&self.data[MARGIN..], self.rows, self.cols, self.rs, self.cs)
    }

    pub(super) fn view_mut(&mut self) -> MatrixMut<'_> {
        MatrixMut::new(&mut self.data[MARGIN..], self.rows, self.cols, self.rs, self.cs)
    }

    /// Row-major content; panics where anything else was touched.
    pub(super) fn take(&self) -> Vec<f32> {
        let mut rest = self.data.clone();
        let mut content = Vec::new();
        for i in 0..self.rows {
            for j in 0..self.cols {
                content.push(std::mem::replace(&mut rest[MARGIN + i * self.rs + j * self.cs], GUARD));
            }
        }
        assert!(rest.iter().all(|&x| x == GUARD), "memory outside C was written");
        content
    }
}

/// Numbers in [−1, 1) that depend on the seed and the place.
pub(super) fn noise(seed: u32) -> impl Fn(usize, usize) -> f32 {
    move |i, j| {
        let mut x = (i as u32).wrapping_mul(0x9e37_79b9) ^ (j as u32).wrapping_mul(0x85eb_ca6b) ^ seed.wrapping_mul(77);
        for _ in 0..3 {
            x = (x ^ (x >> 15)).wrapping_mul(0x2c1b_3c6d);
        }
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Whole numbers in [−8, 8): sums of their products are exact in f32.
pub(super) fn whole(seed: u32) -> impl Fn(usize, usize) -> f32 {
    let noise = noise(seed);
    move |i, j| (8.0 * noise(i, j)).floor()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    m: usize,
    k: usize,
    n: usize,
    a: Layout,
    b: Layout,
    c: Layout,
    beta: Beta,
    packed: bool,
}

/// A case of row-major operands.
fn plain(m: usize, k: usize, n: usize) -> Case {
    Case { m, k, n, a: Layout::Rows, b: Layout::Rows, c: Layout::Rows, beta: Beta::Zero, packed: false }
}

fn packed_copy(isa: Isa, b: Matrix) -> Vec<f32> {
    let mut out = vec![f32::NAN; packed_len(isa, b.rows(), b.cols())];
    // Two calls, as two threads would.
    let (panels, first) = (b.cols().div_ceil(panel_width(isa)), b.cols().div_ceil(panel_width(isa)) / 2);
    let (left, right) = out.split_at_mut(first * panel_width(isa) * b.rows());
    pack(isa, b, 0..first, left);
    pack(isa, b, first..panels, right);
    out
}

/// How the right operand is given.
#[derive(Clone, Copy, Debug)]
enum Given {
    Strided,
    Packed,
    /// Its transpose packed.
    Transposed,
}

/// A result of `n` columns put together from its parts, row-major; [`GUARD`] where none has come.
struct All {
    isa: Isa,
    n: usize,
    c: Vec<f32>,
}

impl All {
    /// The first column of a panel, and how many it has.
    fn columns(&self, panel: usize) -> (usize, usize) {
        let first = panel * panel_width(self.isa);
        (first, panel_width(self.isa).min(self.n - first))
    }
}

impl Take for All {
    fn take(&mut self, rows: Range<usize>, panel: usize, values: &[f32]) {
        let (first, cols) = self.columns(panel);
        let stored = cols.next_multiple_of(self.isa.lanes());
        assert_eq!(values.len(), rows.len() * stored, "rows {rows:?} of panel {panel}");
        for (i, row) in rows.zip(values.chunks_exact(stored)) {
            let to = &mut self.c[i * self.n + first..][..cols];
            assert!(to.iter().all(|&x| x == GUARD), "row {i} of panel {panel} came before");
            to.copy_from_slice(&row[..cols]);
            assert!(row[cols..].iter().all(|x| x.to_bits() == 0), "padding of row {i} of panel {panel}: {row:?}");
        }
    }

    fn needs(&self, rows: Range<usize>, panel: usize) -> [&[f32]; 3] {
        [&self.c[rows.start * self.n..][..rows.len() * self.columns(panel).1], &[], &[]]
    }
}

/// The product, row-major, put together from its parts: every element comes once, and 0 in the padding.
pub(super) fn by_parts(isa: Isa, method: Method, a: Left, b: Right) -> Vec<f32> {
    by_parts_in(isa, method, a, b, &mut Scratch::default())
}

fn by_parts_in(isa: Isa, method: Method, a: Left, b: Right, scratch: &mut Scratch) -> Vec<f32> {
    let (m, n) = (a.rows(), b.cols());
    let mut all = All { isa, n, c: vec![GUARD; m * n] };
    gemm_parts(isa, method, a, b, scratch, &mut all);
    assert!(!all.c.contains(&GUARD), "{} {method:?} {m}×{}×{n}: a part is missing", isa.name(), a.cols());
    all.c
}

/// Runs the case and holds it against the oracle: exactly, or within the bound.
fn check(isa: Isa, case: Case, exact: bool, scratch: &mut Scratch) {
    let all: &[Given] = if case.packed { &[Given::Packed, Given::Transposed] } else { &[Given::Strided] };
    for &given in all {
        check_given(isa, case, given, exact, scratch);
    }
}

fn check_given(isa: Isa, case: Case, given: Given, exact: bool, scratch: &mut Scratch) {
    let Case { m, k, n, .. } = case;
    let value = |seed| -> Box<dyn Fn(usize, usize) -> f32> {
        if exact { Box::new(whole(seed)) } else { Box::new(noise(seed)) }
    };
    let (a, b) = (Stored::new(case.a, m, k, value(1)), Stored::new(case.b, k, n, value(2)));
    let old = value(3);
    let mut c = Stored::new(case.c, m, n, |i, j| if case.beta == Beta::One { old(i, j) } else { f32::NAN });
    let memory = match given {
        Given::Strided => Vec::new(),
        Given::Packed => packed_copy(isa, b.view()),
        Given::Transposed => packed_copy(isa, b.view().t()),
    };
    let right = match given {
        Given::Strided => Right::Strided(b.view()),
        Given::Packed => Right::Packed(Packed::new(isa, &memory, k, n)),
        Given::Transposed => Right::Transposed(Packed::new(isa, &memory, n, k)),
    };
    let args = Gemm { a: a.view().into(), b: right, c: c.view_mut(), beta: case.beta, epilogue: Epilogue::None };
    gemm(isa, args, scratch);
    let c = c.take();
    if case.beta == Beta::Zero && case.c == Layout::Rows {
        let parts = by_parts_in(isa, Method::F32, a.view().into(), right, scratch);
        assert!(bits(&parts) == bits(&c), "{} {case:?} {given:?} by parts", isa.name());
    }

    let wide = |x: &Stored, f: fn(f64) -> f64| -> Vec<f64> { x.take().iter().map(|&x| f(f64::from(x))).collect() };
    let product = |f: fn(f64) -> f64| {
        let (a, b) = (wide(&a, f), wide(&b, f));
        reference::gemm(reference::View::row_major(&a, m, k), reference::View::row_major(&b, k, n))
    };
    let (sums, sizes) = (product(|x| x), product(f64::abs));
    for (at, got) in c.into_iter().enumerate() {
        let (i, j) = (at / n, at % n);
        let start = if case.beta == Beta::One { f64::from(old(i, j)) } else { 0.0 };
        let bound = 2.0 * (k + 1) as f64 * f64::from(f32::EPSILON) / 2.0 * (sizes[at] + start.abs());
        let error = (f64::from(got) - (sums[at] + start)).abs();
        let allowed = if exact { 0.0 } else { bound };
        assert!(
            error <= allowed,
            "{} {case:?} {given:?}: c[{i}, {j}] = {got}, error {error:e} > {allowed:e}",
            isa.name()
        );
    }
}

/// The rows of the register tile of each set.
fn tile_rows(isa: Isa) -> usize {
    struct Rows;
    impl crate::isa::Op for Rows {
        type Output = usize;
        #[inline(always)]
        fn run<S: crate::isa::Simd>(self, _: S) -> usize {
            S::TILE_ROWS
        }
    }
    isa.run(Rows)
}

#[test]
fn sizes_around_the_tiles() {
    for isa in Isa::available() {
        let (t, w) = (tile_rows(isa), panel_width(isa));
        let mut scratch = Scratch::default();
        for m in [0, 1, 2, 3, 4, 5, t - 1, t, t + 1, 2 * t - 1, 3 * t + 1, 53] {
            for n in [0, 1, 7, w / 2 - 1, w / 2, w / 2 + 1, w - 1, w, w + 1, 2 * w + 3, 67] {
                for k in [0, 1, 2, 5, 31] {
                    check(isa, plain(m, k, n), false, &mut scratch);
                    check(isa, Case { packed: true, beta: Beta::One, ..plain(m, k, n) }, true, &mut scratch);
                }
            }
        }
    }
}

#[test]
fn sizes_around_the_blocks() {
    for isa in Isa::available() {
        let mut scratch = Scratch::default();
        let t = tile_rows(isa);
        let rows = blocks::STRIPS * t;
        for (m, k, n) in [
            (5, blocks::KC - 1, 9),
            (5, blocks::KC, 40),
            (t + 1, blocks::KC + 1, 35),
            (3, 3 * blocks::KC + 1, 33),
            (rows, 3, 10),
            (rows + 1, 19, 131),
            (2 * rows + t + 3, 2, 3),
            (2, 3, blocks::NC - 1),
            (3, 7, blocks::NC + 1),
            (t, blocks::KC + 7, blocks::NC + 33),
            // Results and operands that are asked for, by strips of two heights, in one block of k and in two.
            (rows + 1, 4 * t + 1, blocks::FAR_RESULT / rows + 19),
            (rows + 1, blocks::KC + 4 * t, blocks::FAR_RESULT / rows + 19),
        ] {
            for packed in [false, true] {
                check(isa, Case { packed, ..plain(m, k, n) }, false, &mut scratch);
                check(isa, Case { packed, beta: Beta::One, ..plain(m, k, n) }, true, &mut scratch);
                let transposed = Case { packed, a: Layout::Columns, b: Layout::Columns, ..plain(m, k, n) };
                check(isa, transposed, true, &mut scratch);
            }
        }
        // A packed once for two blocks of columns.
        check(isa, Case { a: Layout::Scattered, ..plain(t + 1, 7, blocks::NC + 33) }, true, &mut scratch);
    }
}

#[test]
fn every_pairing_of_layouts() {
    for isa in Isa::available() {
        let mut scratch = Scratch::default();
        for (m, k, n) in [(1, 3, 1), (2, 1, 5), (19, 23, 17), (71, 13, 139), (67, 37, 261)] {
            for a in LAYOUTS {
                for b in LAYOUTS {
                    for c in LAYOUTS {
                        for beta in [Beta::Zero, Beta::One] {
                            for packed in [false, true] {
                                check(isa, Case { m, k, n, a, b, c, beta, packed }, true, &mut scratch);
                            }
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_shape(m in 0usize..90, k in 0usize..300, n in 0usize..90, a in 0usize..5, b in 0usize..5, c in 0usize..5,
                 add: bool, packed: bool, exact: bool) {
        let beta = if add { Beta::One } else { Beta::Zero };
        let case = Case { m, k, n, a: LAYOUTS[a], b: LAYOUTS[b], c: LAYOUTS[c], beta, packed };
        for isa in Isa::available() {
            check(isa, case, exact, &mut Scratch::default());
        }
    }

    /// Rows, columns and even k may be cut anywhere: the bits are those of the whole.
    #[test]
    fn any_split(m in 1usize..80, k in 1usize..400, n in 1usize..200, seed: u32, cut in 0.0..1.0f64, columns: bool) {
        for isa in Isa::available() {
            let layout = if columns { Layout::Columns } else { Layout::Rows };
            let (a, b) = (Stored::new(layout, m, k, noise(seed)), Stored::new(layout, k, n, noise(seed ^ 1)));
            let (a, b) = (a.view(), b.view());
            let mut scratch = Scratch::default();
            let mut run = |a: Matrix, b: Right, c: MatrixMut, beta| {
                gemm(isa, Gemm { a: a.into(), b, c, beta, epilogue: Epilogue::None }, &mut scratch);
            };
            let mut whole = vec![f32::NAN; m * n];
            run(a, Right::Strided(b), MatrixMut::row_major(&mut whole, m, n), Beta::Zero);
            let at = |len: usize| (cut * len as f64) as usize;

            let mut rows = vec![f32::NAN; m * n];
            let (top, bottom) = rows.split_at_mut(at(m) * n);
            let memory = packed_copy(isa, b);
            let packed = Packed::new(isa, &memory, k, n);
            run(a.block(0..at(m), 0..k), Right::Strided(b), MatrixMut::row_major(top, at(m), n), Beta::Zero);
            run(a.block(at(m)..m, 0..k), Right::Packed(packed), MatrixMut::row_major(bottom, m - at(m), n), Beta::Zero);
            prop_assert_eq!(bits(&rows), bits(&whole), "{} by rows", isa.name());

            let mut cols = vec![f32::NAN; m * n];
            for range in [0..at(n), at(n)..n] {
                let c = MatrixMut::row_major(&mut cols, m, n).block(0..m, range.clone());
                run(a, Right::Strided(b.block(0..k, range)), c, Beta::Zero);
            }
            prop_assert_eq!(bits(&cols), bits(&whole), "{} by columns", isa.name());

            let mut panels = vec![f32::NAN; m * n];
            let edge = at(n) / panel_width(isa) * panel_width(isa);
            for range in [0..edge, edge..n] {
                let c = MatrixMut::row_major(&mut panels, m, n).block(0..m, range.clone());
                run(a, Right::Packed(packed.cols(range)), c, Beta::Zero);
            }
            prop_assert_eq!(bits(&panels), bits(&whole), "{} by panels", isa.name());

            for edge in [0, at(m)] {
                let part = |rows| by_parts(isa, Method::F32, a.block(rows, 0..k).into(), Right::Strided(b));
                let parts = [0..edge, edge..m].map(part).concat();
                prop_assert_eq!(bits(&parts), bits(&whole), "{} by parts", isa.name());
            }

            let mut transposed = vec![f32::NAN; m * n];
            let memory = packed_copy(isa, b.t());
            let packed = Packed::new(isa, &memory, n, k);
            for range in [0..at(n), at(n)..n] {
                let c = MatrixMut::row_major(&mut transposed, m, n).block(0..m, range.clone());
                run(a, Right::Transposed(packed.rows(range)), c, Beta::Zero);
            }
            prop_assert_eq!(bits(&transposed), bits(&whole), "{} by rows of the transpose", isa.name());
            let mut unpacked = vec![f32::NAN; n * k];
            packed.unpack(&mut unpacked);
            let expected = (0..n * k).map(|i| b.get(i % k, i / k)).collect::<Vec<_>>();
            prop_assert_eq!(bits(&unpacked), bits(&expected));

            let mut sums = vec![f32::NAN; m * n];
            for (range, beta) in [(0..at(k), Beta::Zero), (at(k)..k, Beta::One)] {
                let b = Right::Strided(b.block(range.clone(), 0..n));
                run(a.block(0..m, range), b, MatrixMut::row_major(&mut sums, m, n), beta);
            }
            prop_assert_eq!(bits(&sums), bits(&whole), "{} by k", isa.name());
        }
    }
}

pub(super) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn product(isa: Isa, a: &Stored, b: &Stored, c: &mut Stored, epilogue: Epilogue) {
    let (a, b, c) = (a.view(), Right::Strided(b.view()), c.view_mut());
    gemm(isa, Gemm { a: a.into(), b, c, beta: Beta::Zero, epilogue }, &mut Scratch::default());
}

/// The epilogue inside the product gives the bits of the product and then the epilogue as a pass of its own.
#[test]
fn epilogues_match_a_separate_pass() {
    for isa in Isa::available() {
        for (m, k, n) in [(1, 5, 1), (13, 0, 70), (70, 300, 131), (33, 20, blocks::NC + 77), (300, 9, 10)] {
            let (a, b) = (Stored::new(Layout::Rows, m, k, noise(4)), Stored::new(Layout::Rows, k, n, noise(5)));
            let bias: Vec<f32> = (0..n).map(|j| noise(6)(0, j)).collect();
            let residual = Stored::new(Layout::WideRows, m, n, noise(7));
            let dropout =
                Dropout { key: Key::new(1), step: 9, purpose: 2, probability: 0.3, row: 5, col: 64, width: n + 100 };
            let forward = |z| Forward {
                bias: Some(&bias),
                z: Some(z),
                activation: Activation::Gelu,
                dropout: Some(dropout),
                residual: Some(residual.view()),
            };
            let backward = || Backward {
                input: Derivative::FromZ(residual.view()),
                activation: Activation::Tanh,
                dropout: Some(dropout),
            };
            let fresh = || Stored::new(Layout::WideRows, m, n, |_, _| f32::NAN);

            let (mut one, mut two, mut z1, mut z2) = (fresh(), fresh(), fresh(), fresh());
            product(isa, &a, &b, &mut one, Epilogue::Forward(forward(z1.view_mut())));
            product(isa, &a, &b, &mut two, Epilogue::None);
            epilogue::forward(isa, two.view_mut(), forward(z2.view_mut()));
            assert_eq!(bits(&one.take()), bits(&two.take()), "{} {m}×{k}×{n} forward", isa.name());
            assert_eq!(bits(&z1.take()), bits(&z2.take()), "{} {m}×{k}×{n} z", isa.name());

            let (mut one, mut two) = (fresh(), fresh());
            product(isa, &a, &b, &mut one, Epilogue::Backward(backward()));
            product(isa, &a, &b, &mut two, Epilogue::None);
            epilogue::backward(isa, two.view_mut(), backward());
            assert_eq!(bits(&one.take()), bits(&two.take()), "{} {m}×{k}×{n} backward", isa.name());
        }
    }
}

/// Results of few columns are computed as their transposes: more rows than one piece has, several blocks of k.
#[test]
fn narrow_parts_have_the_bits_of_products() {
    for isa in Isa::available() {
        let lanes = isa.lanes();
        let mut scratch = Scratch::default();
        for (m, k, n) in [(531, 40, lanes / 2 - 1), (300, blocks::KC + 5, 1), (67, 100, lanes / 2), (3 * lanes, 30, 3)]
        {
            let (a, b) = (Stored::new(Layout::Columns, m, k, noise(1)), Stored::new(Layout::Rows, k, n, noise(2)));
            assert!(parts::is_narrow(isa, &a.view(), n), "{} {m}×{k}×{n}", isa.name());
            let mut c = Stored::new(Layout::Rows, m, n, |_, _| f32::NAN);
            let (left, right) = (a.view(), Right::Strided(b.view()));
            let args = Gemm { a: left.into(), b: right, c: c.view_mut(), beta: Beta::Zero, epilogue: Epilogue::None };
            gemm(isa, args, &mut scratch);
            scratch.reserve_parts(isa, Method::F32, m, k, n);
            let size = scratch.size();
            let parts = by_parts_in(isa, Method::F32, left.into(), right, &mut scratch);
            assert!(bits(&parts) == bits(&c.take()), "{} {m}×{k}×{n}", isa.name());
            assert_eq!(scratch.size(), size, "{} {m}×{k}×{n}", isa.name());
        }
    }
}

#[test]
fn a_prepared_scratch_never_grows() {
    for isa in Isa::available() {
        let (m, k, n) = (300, 600, 1100);
        let mut scratch = Scratch::with_capacity_for(isa, m, k, n);
        let size = scratch.size();
        for case in [
            plain(m, k, n),
            Case { c: Layout::Columns, ..plain(m, k, n) },
            Case { c: Layout::Scattered, b: Layout::Columns, ..plain(m, k, 70) },
            Case { a: Layout::Scattered, b: Layout::Scattered, ..plain(m, k, 33) },
            plain(m, 1, n),
            plain(1, k, n),
        ] {
            let (a, b) = (Stored::new(case.a, case.m, case.k, whole(1)), Stored::new(case.b, case.k, case.n, whole(2)));
            let mut c = Stored::new(case.c, case.m, case.n, whole(3));
            let (a, b, c) = (a.view(), Right::Strided(b.view()), c.view_mut());
            gemm(isa, Gemm { a: a.into(), b, c, beta: Beta::Zero, epilogue: Epilogue::None }, &mut scratch);
            assert_eq!(scratch.size(), size, "{} {case:?}", isa.name());
        }
        // Two blocks of k, and one.
        for (k, a) in [(k, Layout::Rows), (k, Layout::Columns), (450, Layout::Columns)] {
            scratch.reserve_parts(isa, Method::F32, m, k, n);
            let size = scratch.size();
            let (a, b) = (Stored::new(a, m, k, whole(1)), Stored::new(Layout::Rows, k, n, whole(2)));
            let parts = by_parts_in(isa, Method::F32, a.view().into(), Right::Strided(b.view()), &mut scratch);
            assert_eq!(scratch.size(), size, "{} by parts", isa.name());
            let mut c = Stored::new(Layout::Rows, m, n, |_, _| f32::NAN);
            let (a, b) = (a.view(), Right::Strided(b.view()));
            let args = Gemm { a: a.into(), b, c: c.view_mut(), beta: Beta::Zero, epilogue: Epilogue::None };
            gemm(isa, args, &mut Scratch::default());
            assert!(bits(&parts) == bits(&c.take()), "{} by parts", isa.name());
        }
    }
}

#[test]
#[should_panic(expected = "3×4 by 5×6")]
fn different_inner_sizes_are_refused() {
    check_shapes(5);
}

fn check_shapes(k: usize) {
    let (a, b, mut c) = ([0.0; 12], [0.0; 30], [0.0; 18]);
    let args = Gemm {
        a: Matrix::row_major(&a, 3, 4).into(),
        b: Right::Strided(Matrix::row_major(&b, k, 6)),
        c: MatrixMut::row_major(&mut c, 3, 6),
        beta: Beta::Zero,
        epilogue: Epilogue::None,
    };
    gemm(Isa::by_name("portable").expect("every machine has it"), args, &mut Scratch::default());
}
