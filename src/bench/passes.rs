//! The passes around the products: optimizers, activations, dropout, the loss, sums, the gather.
//!
//! Most move more bytes than they compute, so their limit is a bandwidth. Operation counts are nominal: additions,
//! multiplications, divisions and roots of the formula count one each, an exponential ten.

use super::{seconds, values};
use hpt_kernels::activation::Activation;
use hpt_kernels::dropout::Dropout;
use hpt_kernels::epilogue::{Forward, forward};
use hpt_kernels::gather::{Rows, gather};
use hpt_kernels::isa::Isa;
use hpt_kernels::loss::{Gradient, SoftmaxCrossEntropy, softmax_cross_entropy};
use hpt_kernels::matrix::{Matrix, MatrixMut};
use hpt_kernels::optimizer::{Optimizer, Scalars, Update, update};
use hpt_kernels::philox::Key;
use hpt_kernels::reduce::column_sums;
use std::time::Instant;

/// A pass, its size and what it must cost.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Its name in tables.
    pub name: &'static str,
    /// Rows, or 1.
    pub rows: usize,
    /// Elements a row.
    pub width: usize,
    /// Operations an element.
    pub flops: f64,
    /// Bytes an element, read and written.
    pub bytes: f64,
    work: fn(Isa, &Pass) -> f64,
}

/// What is measured.
pub const PASSES: &[Pass] = &[
    pass("adam", 1, 13_000, 13.0, 28.0, |isa, pass| optimizer(isa, pass, "adam")),
    pass("adam", 1, 356_000, 13.0, 28.0, |isa, pass| optimizer(isa, pass, "adam")),
    pass("adam", 1, 9_500_000, 13.0, 28.0, |isa, pass| optimizer(isa, pass, "adam")),
    pass("adamw", 1, 356_000, 15.0, 28.0, |isa, pass| optimizer(isa, pass, "adamw")),
    pass("sgd", 1, 356_000, 2.0, 12.0, |isa, pass| optimizer(isa, pass, "sgd")),
    pass("momentum", 1, 356_000, 4.0, 20.0, |isa, pass| optimizer(isa, pass, "momentum")),
    pass("rmsprop", 1, 356_000, 8.0, 20.0, |isa, pass| optimizer(isa, pass, "rmsprop")),
    pass("bias + relu", 128, 512, 2.0, 8.0, |isa, pass| activation(isa, pass, Activation::Relu, 0.0)),
    pass("bias + relu + dropout", 128, 512, 20.0, 8.0, |isa, pass| activation(isa, pass, Activation::Relu, 0.3)),
    pass("bias + tanh", 128, 512, 24.0, 8.0, |isa, pass| activation(isa, pass, Activation::Tanh, 0.0)),
    pass("bias + gelu", 128, 512, 30.0, 8.0, |isa, pass| activation(isa, pass, Activation::Gelu, 0.0)),
    pass("softmax cross-entropy", 128, 10, 16.0, 8.0, softmax),
    pass("softmax cross-entropy", 512, 1000, 16.0, 8.0, softmax),
    pass("column sums", 128, 512, 1.0, 4.0, sums),
    pass("gather of bytes", 128, 784, 1.0, 5.0, |isa, pass| rows(isa, pass, true)),
    pass("gather of f32", 128, 54, 0.0, 8.0, |isa, pass| rows(isa, pass, false)),
];

const fn pass(
    name: &'static str,
    rows: usize,
    width: usize,
    flops: f64,
    bytes: f64,
    work: fn(Isa, &Pass) -> f64,
) -> Pass {
    Pass { name, rows, width, flops, bytes, work }
}

impl Pass {
    /// Elements.
    pub fn elements(&self) -> usize {
        self.rows * self.width
    }

    /// Seconds a pass on one thread, the median of rounds.
    pub fn seconds(&self, isa: Isa) -> f64 {
        (self.work)(isa, self)
    }

    /// The median over rounds of calls.
    fn time(&self, mut call: impl FnMut(usize)) -> f64 {
        let elements = self.elements() as f64;
        seconds(self.flops * elements, self.bytes * elements, |calls| {
            let start = Instant::now();
            (0..calls).for_each(&mut call);
            start.elapsed().as_secs_f64()
        })
    }
}

fn optimizer(isa: Isa, pass: &Pass, name: &str) -> f64 {
    let count = pass.elements();
    let optimizer = Optimizer::by_name(name).unwrap_or_else(|| unreachable!("a row names an optimizer"));
    let (mut weights, gradients) = (values(count, 1), values(count, 2));
    let slot = |i: usize| vec![0.0; if i < optimizer.slots() { count } else { 0 }];
    let mut slots = [slot(0), slot(1)];
    pass.time(|i| {
        let [first, second] = &mut slots;
        let args = Update {
            optimizer,
            scalars: Scalars::new(optimizer, 0.0, 1e-3, i as u64 + 1),
            weight_decay: 0.0,
            l1: 0.0,
            gradient_scale: 1.0,
            weights: &mut weights,
            gradients: &gradients,
            slots: [first, second],
        };
        update(isa, args);
    })
}

fn activation(isa: Isa, pass: &Pass, activation: Activation, probability: f32) -> f64 {
    let (mut c, bias) = (values(pass.elements(), 1), values(pass.width, 2));
    let (key, width) = (Key::new(1), pass.width);
    pass.time(|i| {
        let dropout = Dropout { key, step: i as u64, purpose: 0, probability, row: 0, col: 0, width };
        let dropout = (probability > 0.0).then_some(dropout);
        let epilogue = Forward { bias: Some(&bias), z: None, activation, dropout, residual: None };
        forward(isa, MatrixMut::row_major(&mut c, pass.rows, width), epilogue);
    })
}

fn softmax(isa: Isa, pass: &Pass) -> f64 {
    let mut logits = values(pass.elements(), 1);
    let labels: Vec<u32> = (0..pass.rows).map(|row| (row % pass.width) as u32).collect();
    let mut losses = vec![0.0; pass.rows];
    pass.time(|_| {
        let args = SoftmaxCrossEntropy {
            logits: &mut logits,
            classes: pass.width,
            labels: &labels,
            smoothing: 0.0,
            class_weights: None,
            scale: 1.0,
            gradient: Gradient::Write,
            losses: &mut losses,
        };
        softmax_cross_entropy(isa, args);
    })
}

fn sums(isa: Isa, pass: &Pass) -> f64 {
    let (x, mut out) = (values(pass.elements(), 1), vec![0.0; pass.width]);
    pass.time(|_| column_sums(isa, Matrix::row_major(&x, pass.rows, pass.width), &mut out))
}

/// Rows of a table of 64 MiB, in an order that no prefetcher guesses.
fn rows(isa: Isa, pass: &Pass, bytes: bool) -> f64 {
    let size = if bytes { 1 } else { 4 };
    let table = (64usize << 20) / (pass.width * size);
    let raw = vec![7u8; if bytes { table * pass.width } else { 0 }];
    let floats = vec![0.5f32; if bytes { 0 } else { table * pass.width }];
    let features = if bytes { Rows::U8 { values: &raw, scale: 1.0 / 255.0 } } else { Rows::F32(&floats) };
    let mut out = vec![0.0; pass.elements()];
    let mut chosen = vec![0u32; pass.rows];
    pass.time(|call| {
        for (i, row) in chosen.iter_mut().enumerate() {
            *row = ((call * pass.rows + i) * 40_503 % table) as u32;
        }
        gather(isa, features, pass.width, &chosen, &mut out);
    })
}
