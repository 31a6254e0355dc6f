//! No kernel touches memory beside its operands: each lies against a page that must not be touched, with its last
//! element before it and then with its first after it, so that a load or store beside it, masked or not, ends the test.
//! Miri (`.ci/miri`) has no pages but knows each operand's bounds: there it is memory of its own, and sizes are few.
#![cfg(unix)]

use guarded::Guarded;
use hpt_kernels::activation::{self, Activation};
use hpt_kernels::dropout::{Dropout, dropout_rows};
use hpt_kernels::epilogue::{Backward, Derivative, Epilogue, Forward, backward, forward};
use hpt_kernels::gather::{Rows, gather};
use hpt_kernels::gemm::{
    Beta, Gemm, Left, Method, Packed, Right, Scratch, Take, gemm_by, gemm_parts, pack, packed_len, panel_width,
};
use hpt_kernels::isa::Isa;
use hpt_kernels::loss::{
    Gradient, Pointwise, PointwiseLoss, SoftmaxCrossEntropy, pointwise, softmax_cross_entropy, softmax_rows,
};
use hpt_kernels::matrix::{Matrix, MatrixMut};
use hpt_kernels::optimizer::{Optimizer, Scalars, Update, update};
use hpt_kernels::philox::Key;
use hpt_kernels::reduce::{column_sums, sum, sum_of_squares};
use std::ops::Range;

/// At which end of its pages a slice lies.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Against {
    Start,
    End,
}

const SIDES: &[Against] = if cfg!(miri) { &[Against::End] } else { &[Against::Start, Against::End] };

#[cfg(not(miri))]
mod guarded {
    use super::Against;
    use std::ops::{Deref, DerefMut};

    /// Elements with a forbidden page before and after their own.
    pub struct Guarded<T> {
        map: *mut libc::c_void,
        bytes: usize,
        first: *mut T,
        len: usize,
    }

    impl<T: Copy> Guarded<T> {
        pub fn new(side: Against, from: &[T]) -> Self {
            // SAFETY: plain calls of the system, whose answers are checked; the middle pages hold `from.len()`
            // elements.
            unsafe {
                let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
                let size = std::mem::size_of_val(from);
                let middle = size.next_multiple_of(page).max(page);
                let bytes = middle + 2 * page;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                let map = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
                assert_ne!(map, libc::MAP_FAILED, "memory for a test");
                let inside = map.byte_add(page);
                assert_eq!(libc::mprotect(inside, middle, libc::PROT_READ | libc::PROT_WRITE), 0);
                let offset = if side == Against::Start { 0 } else { middle - size };
                let first: *mut T = inside.byte_add(offset).cast();
                std::ptr::copy_nonoverlapping(from.as_ptr(), first, from.len());
                Guarded { map, bytes, first, len: from.len() }
            }
        }
    }

    impl<T> Drop for Guarded<T> {
        fn drop(&mut self) {
            // SAFETY: what `new` mapped.
            unsafe { libc::munmap(self.map, self.bytes) };
        }
    }

    impl<T> Deref for Guarded<T> {
        type Target = [T];
        fn deref(&self) -> &[T] {
            // SAFETY: `new` wrote so many elements there.
            unsafe { std::slice::from_raw_parts(self.first, self.len) }
        }
    }

    impl<T> DerefMut for Guarded<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            // SAFETY: as above, and they are this value's alone.
            unsafe { std::slice::from_raw_parts_mut(self.first, self.len) }
        }
    }
}

#[cfg(miri)]
mod guarded {
    use super::Against;
    use std::ops::{Deref, DerefMut};

    /// Elements of which Miri knows the bounds.
    pub struct Guarded<T>(Box<[T]>);

    impl<T: Copy> Guarded<T> {
        pub fn new(_: Against, from: &[T]) -> Self {
            Guarded(from.into())
        }
    }

    impl<T> Deref for Guarded<T> {
        type Target = [T];
        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> DerefMut for Guarded<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }
}

fn numbers(side: Against, len: usize) -> Guarded<f32> {
    let values: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    Guarded::new(side, &values)
}

fn each(mut check: impl FnMut(Isa, Against)) {
    for isa in Isa::available() {
        SIDES.iter().for_each(|&side| check(isa, side));
    }
}

/// Every method of every set, the emulated tiles included, whose packing is that of real ones; not for Miri, which
/// takes seconds for each of their products.
fn each_method(mut check: impl FnMut(Isa, Method, Against)) {
    for isa in Isa::available().chain(Isa::by_name("amx-emulated").into_iter().filter(|_| !cfg!(miri))) {
        for method in Method::ALL.into_iter().filter(|method| method.is_available(isa)) {
            SIDES.iter().for_each(|&side| check(isa, method, side));
        }
    }
}

/// m × k × n around tiles, panels and chunks, and with tails of each.
const SHAPES: &[(usize, usize, usize)] = if cfg!(miri) {
    &[(3, 7, 17)]
} else {
    &[
        (1, 1, 1),
        (1, 33, 1),
        (16, 32, 1),
        (5, 7, 17),
        (14, 54, 33),
        (31, 64, 10),
        (32, 64, 17),
        (17, 100, 65),
        (3, 300, 47),
        (65, 31, 129),
    ]
};

fn packed(isa: Isa, side: Against, b: Matrix) -> Guarded<f32> {
    let mut panels = numbers(side, packed_len(isa, b.rows(), b.cols()));
    pack(isa, b, 0..b.cols().div_ceil(panel_width(isa)), &mut panels);
    panels
}

/// Every way to give the operands of a product m × k × n, with `bytes` those of bytes too. With `huge`, A holds numbers
/// that bf16 terms do not fit, whose elements of C the f32 kernel computes again; bytes always fit, so it is B then.
fn operands(
    isa: Isa,
    side: Against,
    (m, k, n): (usize, usize, usize),
    huge: bool,
    bytes: bool,
    mut check: impl FnMut(Left, Right),
) {
    let (mut a, mut b) = (numbers(side, m * k), numbers(side, k * n));
    if huge {
        a[0] = 1e30;
        a[m * k - 1] = f32::INFINITY;
    }
    let mut all = |lefts: [Left; 2], b: &[f32]| {
        let by_rows = Matrix::row_major(b, k, n);
        let (panels, turned) = (packed(isa, side, by_rows), packed(isa, side, by_rows.t()));
        let rights = [
            Right::Strided(by_rows),
            Right::Strided(Matrix::row_major(b, n, k).t()),
            Right::Packed(Packed::new(isa, &panels, k, n)),
            Right::Transposed(Packed::new(isa, &turned, n, k)),
        ];
        lefts.into_iter().for_each(|a| rights.into_iter().for_each(|b| check(a, b)));
    };
    all([Matrix::row_major(&a, m, k), Matrix::row_major(&a, k, m).t()].map(Left::Strided), &b);
    if bytes {
        let whole = Guarded::new(side, &(0..m * k).map(|i| i as u8).collect::<Vec<_>>());
        b[0] = if huge { f32::NAN } else { b[0] };
        let lefts = [Matrix::row_major(&whole, m, k), Matrix::row_major(&whole, k, m).t()];
        all(lefts.map(|a| Left::Bytes(a, 0.5)), &b);
    }
}

#[test]
fn products() {
    each_method(|isa, method, side| {
        for (shape, huge) in SHAPES.iter().flat_map(|&shape| [(shape, false), (shape, true)]) {
            let (m, _, n) = shape;
            let scratch = &mut Scratch::default();
            // C by rows, by columns, and with a gap after each element.
            for (row_stride, col_stride) in [(n, 1), (1, m), (2 * n, 2)] {
                let len = (m - 1) * row_stride + (n - 1) * col_stride + 1;
                operands(isa, side, shape, huge, method != Method::F32, |a, b| {
                    for beta in [Beta::Zero, Beta::One] {
                        let mut c = numbers(side, len);
                        let c = MatrixMut::new(&mut c, m, n, row_stride, col_stride);
                        gemm_by(isa, method, Gemm { a, b, c, beta, epilogue: Epilogue::None }, scratch);
                    }
                });
            }
        }
    });
}

#[test]
fn products_with_epilogues() {
    each_method(|isa, method, side| {
        for &shape in SHAPES {
            let (m, _, n) = shape;
            let (bias, residual, scratch) = (numbers(side, n), numbers(side, m * n), &mut Scratch::default());
            let (mut z, mut c) = (numbers(side, m * n), numbers(side, m * n));
            let dropout = Dropout { key: Key::new(1), step: 1, purpose: 0, probability: 0.3, row: 0, col: 0, width: n };
            for dropout in [None, Some(dropout)] {
                operands(isa, side, shape, false, method != Method::F32, |a, b| {
                    let mut run = |epilogue: Epilogue| {
                        let c = MatrixMut::row_major(&mut c, m, n);
                        gemm_by(isa, method, Gemm { a, b, c, beta: Beta::Zero, epilogue }, scratch);
                    };
                    run(Epilogue::Forward(Forward {
                        bias: Some(&bias),
                        z: Some(MatrixMut::row_major(&mut z, m, n)),
                        activation: Activation::Tanh,
                        dropout,
                        residual: Some(Matrix::row_major(&residual, m, n)),
                    }));
                    let kept = Matrix::row_major(&z, m, n);
                    for (input, activation) in [
                        (Derivative::FromZ(kept), Activation::Gelu),
                        (Derivative::FromOutput(kept), Activation::Relu),
                        (Derivative::None, Activation::Identity),
                    ] {
                        run(Epilogue::Backward(Backward { input, activation, dropout }));
                    }
                });
            }
        }
    });
}

/// Weights in panels with their optimizer's state, which take a gradient as a step of training does.
struct Weights {
    isa: Isa,
    /// Rows and, with padding, columns.
    rows: usize,
    stored: usize,
    values: Guarded<f32>,
    slots: [Guarded<f32>; 2],
    taken: usize,
}

impl Weights {
    fn place(&self, rows: Range<usize>, panel: usize) -> Range<usize> {
        let first = panel * panel_width(self.isa);
        let step = panel_width(self.isa).min(self.stored - first);
        first * self.rows + rows.start * step..first * self.rows + rows.end * step
    }
}

impl Take for Weights {
    fn take(&mut self, rows: Range<usize>, panel: usize, gradients: &[f32]) {
        let (place, optimizer) = (self.place(rows, panel), Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
        assert_eq!(gradients.len(), place.len());
        self.taken += place.len();
        let [first, second] = &mut self.slots;
        let args = Update {
            optimizer,
            scalars: Scalars::new(optimizer, 0.1, 0.1, 1),
            weight_decay: 0.1,
            l1: 0.0,
            gradient_scale: 1.0,
            weights: &mut self.values[place.clone()],
            gradients,
            slots: [&mut first[place.clone()], &mut second[place]],
        };
        update(self.isa, args);
    }

    fn needs(&self, rows: Range<usize>, panel: usize) -> [&[f32]; 3] {
        let place = self.place(rows, panel);
        [&self.values[place.clone()], &self.slots[0][place.clone()], &self.slots[1][place]]
    }
}

#[test]
fn products_used_up_by_parts() {
    // Beside the others those of few columns, which are computed as their transpose, in one block of rows and in two,
    // and more strips and more steps of k than a block holds.
    const MORE: &[(usize, usize, usize)] = if cfg!(miri) {
        &[(17, 20, 1)]
    } else {
        &[(33, 20, 1), (40, 33, 3), (100, 64, 7), (257, 40, 5), (300, 64, 10), (261, 20, 40), (30, 530, 47)]
    };
    each_method(|isa, method, side| {
        let shapes = SHAPES.iter().chain(MORE);
        for (shape, huge) in shapes.flat_map(|&shape| [(shape, false), (shape, true)]) {
            let (m, _, n) = shape;
            let (len, scratch) = (packed_len(isa, m, n), &mut Scratch::default());
            let stored = n.next_multiple_of(isa.lanes());
            operands(isa, side, shape, huge, method != Method::F32, |a, b| {
                let (values, slots) = (numbers(side, len), [(); 2].map(|()| Guarded::new(side, &vec![0.0; len])));
                let mut weights = Weights { isa, rows: m, stored, values, slots, taken: 0 };
                gemm_parts(isa, method, a, b, scratch, &mut weights);
                assert_eq!(weights.taken, len, "{} {method:?} {shape:?}", isa.name());
            });
        }
    });
}

#[test]
fn passes_over_elements() {
    each(|isa, side| {
        for n in (0..70).chain([127, 131, 1025]).step_by(if cfg!(miri) { 24 } else { 1 }) {
            let (x, mut out) = (numbers(side, n), numbers(side, n));
            for &function in Activation::ALL {
                activation::forward(isa, function, &x, &mut out);
                activation::derivative(isa, function, &x, &mut out);
            }
            for optimizer in Optimizer::all() {
                let slot = |i: usize| Guarded::new(side, &vec![0.0; if i < optimizer.slots() { n } else { 0 }]);
                let (mut weights, [mut first, mut second]) = (numbers(side, n), [slot(0), slot(1)]);
                let args = Update {
                    optimizer,
                    scalars: Scalars::new(optimizer, 0.1, 0.1, 1),
                    weight_decay: 0.1,
                    l1: 0.1,
                    gradient_scale: 0.5,
                    weights: &mut weights,
                    gradients: &x,
                    slots: [&mut first, &mut second],
                };
                update(isa, args);
            }
            let total = sum(isa, &x) + sum_of_squares(isa, &x);
            assert!(total.is_finite());
        }
    });
}

#[test]
fn passes_over_rows() {
    each(|isa, side| {
        let sizes = [(1, 1), (3, 2), (2, 7), (5, 10), (4, 15), (3, 16), (3, 17), (2, 63), (3, 64), (2, 131)];
        for (rows, width) in sizes.into_iter().take(if cfg!(miri) { 2 } else { 10 }) {
            let count = rows * width;
            let (mut x, y, mut losses) = (numbers(side, count), numbers(side, count), numbers(side, rows));
            let (weights, mut sums) = (numbers(side, width), numbers(side, width));
            let labels = Guarded::new(side, &(0..rows).map(|row| (row % width) as u32).collect::<Vec<_>>());
            softmax_rows(isa, &mut x, width);
            for class_weights in [None, Some(&weights[..])] {
                let args = SoftmaxCrossEntropy {
                    logits: &mut x,
                    classes: width,
                    labels: &labels,
                    smoothing: 0.1,
                    class_weights,
                    scale: 1.0,
                    gradient: Gradient::Write,
                    losses: &mut losses,
                };
                softmax_cross_entropy(isa, args);
            }
            let kinds =
                [PointwiseLoss::BinaryCrossEntropy, PointwiseLoss::MeanSquared, PointwiseLoss::Huber { delta: 0.5 }];
            for kind in kinds {
                let weights = matches!(kind, PointwiseLoss::BinaryCrossEntropy).then_some(&weights[..]);
                let losses = &mut losses[..];
                let (outputs, targets, gradient) = (&mut x[..], &y[..], Gradient::Write);
                pointwise(isa, Pointwise { kind, outputs, width, targets, weights, scale: 1.0, gradient, losses });
            }
            column_sums(isa, Matrix::row_major(&y, rows, width), &mut sums);
            let dropout = Dropout { key: Key::new(1), step: 1, purpose: 0, probability: 0.3, row: 0, col: 0, width };
            dropout_rows(isa, MatrixMut::row_major(&mut x, rows, width), dropout);
            for &function in Activation::ALL {
                let (dropout, bias) = (Some(dropout), Some(&weights[..]));
                let (mut z, residual) = (numbers(side, count), Some(Matrix::row_major(&y, rows, width)));
                let kept = Some(MatrixMut::row_major(&mut z, rows, width));
                let epilogue = Forward { bias, z: kept, activation: function, dropout, residual };
                forward(isa, MatrixMut::row_major(&mut x, rows, width), epilogue);
                let input = Derivative::FromZ(Matrix::row_major(&z, rows, width));
                let epilogue = Backward { input, activation: function, dropout };
                backward(isa, MatrixMut::row_major(&mut x, rows, width), epilogue);
            }
            let chosen = Guarded::new(side, &[rows as u32 - 1; 3]);
            let bytes = Guarded::new(side, &vec![7u8; count]);
            let mut batch = numbers(side, 3 * width);
            gather(isa, Rows::F32(&y), width, &chosen, &mut batch);
            gather(isa, Rows::U8 { values: &bytes, scale: 0.5 }, width, &chosen, &mut batch);
        }
    });
}
