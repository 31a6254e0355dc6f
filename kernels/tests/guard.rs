//! No kernel touches memory beside its operands: each lies against a page that must not be touched, with its last
//! element before it and then with its first after it, so that a load or store beside it, masked or not, ends the test.
#![cfg(unix)]

use hpt_kernels::activation::{self, Activation};
use hpt_kernels::dropout::{Dropout, dropout_rows};
use hpt_kernels::epilogue::{Backward, Derivative, Epilogue, Forward, backward, forward};
use hpt_kernels::gather::{Rows, gather};
use hpt_kernels::gemm::{
    Beta, Gemm, Method, Packed, PackedMut, Right, Scratch, gemm_by, gemm_panels, pack, packed_len, panel_width,
};
use hpt_kernels::isa::Isa;
use hpt_kernels::loss::{
    Gradient, Pointwise, PointwiseLoss, SoftmaxCrossEntropy, pointwise, softmax_cross_entropy, softmax_rows,
};
use hpt_kernels::matrix::{Matrix, MatrixMut};
use hpt_kernels::optimizer::{Optimizer, Scalars, Update, update};
use hpt_kernels::philox::Key;
use hpt_kernels::reduce::{column_sums, sum, sum_of_squares};
use std::ops::{Deref, DerefMut};

/// At which end of its pages a slice lies.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Against {
    Start,
    End,
}

const SIDES: [Against; 2] = [Against::Start, Against::End];

/// Elements with a forbidden page before and after their own.
struct Guarded<T> {
    map: *mut libc::c_void,
    bytes: usize,
    first: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    fn new(side: Against, from: &[T]) -> Self {
        // SAFETY: plain calls of the system, whose answers are checked; the middle pages hold `from.len()` elements.
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

fn numbers(side: Against, len: usize) -> Guarded<f32> {
    let values: Vec<f32> = (0..len).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    Guarded::new(side, &values)
}

fn each(mut check: impl FnMut(Isa, Against)) {
    for isa in Isa::available() {
        SIDES.into_iter().for_each(|side| check(isa, side));
    }
}

#[test]
fn products() {
    let shapes =
        [(1, 1, 1), (1, 33, 1), (5, 7, 17), (14, 54, 33), (31, 64, 10), (17, 100, 65), (3, 300, 47), (65, 31, 129)];
    each(|isa, side| {
        for method in Method::ALL.into_iter().filter(|method| method.is_native(isa)) {
            for (m, k, n) in shapes {
                let (a, b, mut c) = (numbers(side, m * k), numbers(side, k * n), numbers(side, m * n));
                let (bias, scratch) = (numbers(side, n), &mut Scratch::default());
                let mut panels = numbers(side, packed_len(isa, k, n));
                pack(isa, Matrix::row_major(&b, k, n), 0..n.div_ceil(panel_width(isa)), &mut panels);
                let mut turned = numbers(side, packed_len(isa, n, k));
                pack(isa, Matrix::row_major(&b, k, n).t(), 0..k.div_ceil(panel_width(isa)), &mut turned);
                let rights = [
                    Right::Strided(Matrix::row_major(&b, k, n)),
                    Right::Strided(Matrix::row_major(&b, n, k).t()),
                    Right::Packed(Packed::new(isa, &panels, k, n)),
                    Right::Transposed(Packed::new(isa, &turned, n, k)),
                ];
                for a in [Matrix::row_major(&a, m, k), Matrix::row_major(&a, k, m).t()] {
                    for b in rights {
                        for beta in [Beta::Zero, Beta::One] {
                            let epilogue = Epilogue::Forward(Forward {
                                bias: Some(&bias),
                                z: None,
                                activation: Activation::Relu,
                                dropout: None,
                                residual: None,
                            });
                            let c = MatrixMut::row_major(&mut c, m, n);
                            gemm_by(isa, method, Gemm { a, b, c, beta, epilogue }, scratch);
                        }
                        let mut there = numbers(side, packed_len(isa, m, n));
                        // SAFETY: a packed m × n matrix.
                        let c = unsafe { PackedMut::from_raw(isa, there.as_mut_ptr(), m, n) };
                        gemm_panels(isa, method, a, b, c, scratch);
                    }
                }
            }
        }
    });
}

#[test]
fn passes_over_elements() {
    each(|isa, side| {
        for n in (0..70).chain([127, 131, 1025]) {
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
        for (rows, width) in [(1, 1), (3, 2), (2, 7), (5, 10), (4, 15), (3, 16), (3, 17), (2, 63), (3, 64), (2, 131)] {
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
