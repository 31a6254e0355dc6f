//! The passes around the products: optimizers, activations and their derivatives, dropout, losses, sums, the gather.
//!
//! [`passes`] makes the list from the tables of optimizers, activations and losses, so that a new one has its row. Most
//! passes move more bytes than they compute, so their limit is a bandwidth. Operation counts are nominal: additions,
//! multiplications, divisions and roots of the formula count one each, an exponential or a logarithm ten.

use super::{seconds, values};
use crate::model::Loss;
use hpt_kernels::activation::Activation;
use hpt_kernels::dropout::{Dropout, dropout_rows};
use hpt_kernels::epilogue::{Backward, Derivative, Forward, backward, forward};
use hpt_kernels::gather::{Rows, gather};
use hpt_kernels::gemm::{pack, packed_len, panel_width};
use hpt_kernels::isa::Isa;
use hpt_kernels::loss::{
    Gradient, Pointwise, PointwiseLoss, SoftmaxCrossEntropy, pointwise, sigmoid_rows, softmax_cross_entropy,
    softmax_rows,
};
use hpt_kernels::matrix::{Matrix, MatrixMut};
use hpt_kernels::optimizer::{Optimizer, Scalars, Update, update};
use hpt_kernels::philox::Key;
use hpt_kernels::reduce::{CHUNK, column_sums, sum_of_squares_chunks};
use std::time::Instant;

/// A pass, its size and what it must cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Its name in tables.
    pub name: String,
    /// Rows, or 1.
    pub rows: usize,
    /// Elements a row.
    pub width: usize,
    /// Operations an element.
    pub flops: f64,
    /// Bytes an element, read and written.
    pub bytes: f64,
    work: Work,
}

/// What a pass does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Optimizer(Optimizer, Terms),
    /// An activation, and the probability of its dropout.
    Forward(Activation, f32),
    /// The same on the way back.
    Backward(Activation, f32),
    Loss(Loss),
    Softmax,
    Sigmoid,
    Dropout,
    ColumnSums,
    Squares,
    Gather(Stored),
    Pack,
}

/// What joins the gradient before an optimizer takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Terms {
    scale: f32,
    weight_decay: f32,
    l1: f32,
}

const PLAIN: Terms = Terms { scale: 1.0, weight_decay: 0.0, l1: 0.0 };

/// How features are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stored {
    Bytes,
    F32,
}

/// Operations of dropout: ten rounds of multiplications, shared by four elements, the comparison and the product.
const DROPOUT: f64 = 18.0;
const PROBABILITY: f32 = 0.3;
/// Rows and columns of a batch's hidden layer.
const LAYER: (usize, usize) = (128, 512);
/// Parameters of a network of the middle size among the steps.
const PARAMETERS: usize = 356_000;

/// What is measured.
pub fn passes() -> Vec<Pass> {
    let mut all = Vec::new();
    for optimizer in Optimizer::all() {
        let smaller_and_larger = optimizer.name() == "adam";
        let sizes: &[usize] = if smaller_and_larger { &[13_000, PARAMETERS, 9_500_000] } else { &[PARAMETERS] };
        all.extend(sizes.iter().map(|&count| of_optimizer("", optimizer, count, PLAIN)));
        if let Optimizer::RmsProp { alpha, epsilon, .. } = optimizer {
            let optimizer = Optimizer::RmsProp { alpha, epsilon, momentum: 0.9 };
            all.push(of_optimizer(" + momentum", optimizer, PARAMETERS, PLAIN));
        }
        if smaller_and_larger {
            let clipped = Terms { scale: 0.5, ..PLAIN };
            all.push(of_optimizer(" + clipping", optimizer, PARAMETERS, clipped));
            let penalties = Terms { weight_decay: 1e-4, l1: 1e-5, ..PLAIN };
            all.push(of_optimizer(" + l2 + l1", optimizer, PARAMETERS, penalties));
        }
    }
    for &activation in Activation::ALL {
        all.push(of_forward(activation, 0.0));
    }
    all.push(of_forward(Activation::Relu, PROBABILITY));
    // Identity's derivative is no work.
    for &activation in Activation::ALL.iter().filter(|&&activation| activation != Activation::Identity) {
        all.push(of_backward(activation, 0.0));
    }
    // One that reads the mask off the output, one that draws it again.
    all.extend([Activation::Relu, Activation::Tanh].map(|activation| of_backward(activation, PROBABILITY)));
    all.extend(Loss::NAMES.iter().filter_map(|name| Loss::by_name(name).ok()).flat_map(of_loss));
    let (rows, width) = LAYER;
    all.extend([
        pass("softmax", 128, 10, 13.0, 8.0, Work::Softmax),
        pass("sigmoid", 128, 10, 12.0, 8.0, Work::Sigmoid),
        pass("dropout", 128, 784, DROPOUT, 8.0, Work::Dropout),
        pass("column sums", rows, width, 1.0, 4.0, Work::ColumnSums),
        pass("sum of squares", 1, PARAMETERS, 2.0, 4.0, Work::Squares),
        pass("gather of bytes", 128, 784, 1.0, 5.0, Work::Gather(Stored::Bytes)),
        pass("gather of f32", 128, 54, 0.0, 8.0, Work::Gather(Stored::F32)),
        pass("pack", 784, 512, 0.0, 8.0, Work::Pack),
    ]);
    all
}

fn pass(name: impl Into<String>, rows: usize, width: usize, flops: f64, bytes: f64, work: Work) -> Pass {
    Pass { name: name.into(), rows, width, flops, bytes, work }
}

fn of_optimizer(with: &str, optimizer: Optimizer, count: usize, terms: Terms) -> Pass {
    let own = match optimizer {
        Optimizer::Sgd => 2.0,
        Optimizer::Momentum { .. } => 4.0,
        Optimizer::Nesterov { .. } => 6.0,
        Optimizer::Adam { .. } => 13.0,
        Optimizer::AdamW { .. } => 15.0,
        Optimizer::RmsProp { momentum, .. } => {
            if momentum == 0.0 {
                8.0
            } else {
                10.0
            }
        }
    };
    let more = [terms.scale != 1.0, terms.weight_decay != 0.0, terms.weight_decay != 0.0, terms.l1 != 0.0];
    let flops = own + more.into_iter().filter(|&more| more).count() as f64;
    // Weights and state are read and written, gradients read.
    let bytes = (12 + 8 * optimizer.slots()) as f64;
    pass(format!("{}{with}", optimizer.name()), 1, count, flops, bytes, Work::Optimizer(optimizer, terms))
}

/// Operations of the activation and of its derivative, from the formulas of its table.
fn operations(activation: Activation) -> (f64, f64) {
    match activation {
        Activation::Identity => (0.0, 0.0),
        Activation::Relu => (1.0, 0.0),
        Activation::LeakyRelu => (1.0, 0.0),
        Activation::Elu => (11.0, 10.0),
        Activation::Selu => (12.0, 11.0),
        Activation::Gelu => (29.0, 31.0),
        Activation::Silu => (13.0, 16.0),
        Activation::Tanh => (23.0, 25.0),
        Activation::Sigmoid => (12.0, 14.0),
        Activation::Softplus => (21.0, 12.0),
        Activation::Mish => (15.0, 21.0),
    }
}

fn with_dropout(probability: f32) -> (&'static str, f64) {
    if probability > 0.0 { (" + dropout", DROPOUT) } else { ("", 0.0) }
}

/// The product is read and written; z is kept where the way back needs it.
fn of_forward(activation: Activation, probability: f32) -> Pass {
    let (with, more) = with_dropout(probability);
    let flops = 1.0 + operations(activation).0 + more;
    let bytes = if activation.derivative_needs_z() { 12.0 } else { 8.0 };
    let work = Work::Forward(activation, probability);
    pass(format!("bias + {}{with}", activation.name()), LAYER.0, LAYER.1, flops, bytes, work)
}

/// The gradient is read and written, z or the output read.
fn of_backward(activation: Activation, probability: f32) -> Pass {
    let (with, more) = with_dropout(probability);
    let more = if activation.derivative_needs_z() { more } else { 0.0 };
    let flops = 1.0 + operations(activation).1 + more;
    let work = Work::Backward(activation, probability);
    pass(format!("backward {}{with}", activation.name()), LAYER.0, LAYER.1, flops, 12.0, work)
}

/// Values and gradients of a loss, for few outputs and for many, or for a single one.
fn of_loss(loss: Loss) -> [Pass; 2] {
    let (name, flops, bytes, other) = match loss {
        Loss::CrossEntropy => ("softmax cross-entropy", 16.0, 8.0, (512, 1000)),
        Loss::BinaryCrossEntropy => ("binary cross-entropy", 32.0, 12.0, (512, 1)),
        Loss::Mse => ("mse", 5.0, 12.0, (512, 1)),
        Loss::Huber { .. } => ("huber", 9.0, 12.0, (512, 1)),
    };
    [(128, 10), other].map(|(rows, width)| pass(name, rows, width, flops, bytes, Work::Loss(loss)))
}

impl Pass {
    /// Elements.
    pub fn elements(&self) -> usize {
        self.rows * self.width
    }

    /// Seconds a pass on one thread, the median of rounds.
    pub fn seconds(&self, isa: Isa) -> f64 {
        match self.work {
            Work::Optimizer(optimizer, terms) => self.optimizer(isa, optimizer, terms),
            Work::Forward(activation, probability) => self.forward(isa, activation, probability),
            Work::Backward(activation, probability) => self.backward(isa, activation, probability),
            Work::Loss(Loss::CrossEntropy) => self.cross_entropy(isa),
            Work::Loss(Loss::BinaryCrossEntropy) => self.pointwise(isa, PointwiseLoss::BinaryCrossEntropy),
            Work::Loss(Loss::Mse) => self.pointwise(isa, PointwiseLoss::MeanSquared),
            Work::Loss(Loss::Huber { delta }) => self.pointwise(isa, PointwiseLoss::Huber { delta: delta as f32 }),
            Work::Softmax => {
                let mut x = values(self.elements(), 1);
                self.time(|_| softmax_rows(isa, &mut x, self.width))
            }
            Work::Sigmoid => {
                let mut x = values(self.elements(), 1);
                self.time(|_| sigmoid_rows(isa, &mut x))
            }
            Work::Dropout => self.time_each(|i, x| dropout_rows(isa, x, self.dropout(i, PROBABILITY))),
            Work::ColumnSums => {
                let (x, mut out) = (values(self.elements(), 1), vec![0.0; self.width]);
                self.time(|_| column_sums(isa, Matrix::row_major(&x, self.rows, self.width), &mut out))
            }
            Work::Squares => {
                let (x, mut out) = (values(self.elements(), 1), vec![0.0; self.elements().div_ceil(CHUNK)]);
                self.time(|_| sum_of_squares_chunks(isa, &x, &mut out))
            }
            Work::Gather(stored) => self.gather(isa, stored),
            Work::Pack => {
                let (x, mut out) = (values(self.elements(), 1), vec![0.0; packed_len(isa, self.rows, self.width)]);
                let panels = self.width.div_ceil(panel_width(isa));
                self.time(|_| pack(isa, Matrix::row_major(&x, self.rows, self.width), 0..panels, &mut out))
            }
        }
    }

    /// The median over rounds of calls.
    fn time(&self, mut call: impl FnMut(usize)) -> f64 {
        self.rounds(|calls| {
            let start = Instant::now();
            (0..calls).for_each(&mut call);
            start.elapsed().as_secs_f64()
        })
    }

    fn rounds(&self, round: impl FnMut(usize) -> f64) -> f64 {
        let elements = self.elements() as f64;
        seconds(self.flops * elements, self.bytes * elements, round)
    }

    fn dropout(&self, step: usize, probability: f32) -> Dropout {
        let (key, width) = (Key::new(1), self.width);
        Dropout { key, step: step as u64, purpose: 0, probability, row: 0, col: 0, width }
    }

    fn optimizer(&self, isa: Isa, optimizer: Optimizer, terms: Terms) -> f64 {
        let count = self.elements();
        let (mut weights, gradients) = (values(count, 1), values(count, 2));
        let slot = |i: usize| vec![0.0; if i < optimizer.slots() { count } else { 0 }];
        let mut slots = [slot(0), slot(1)];
        self.time(|i| {
            let [first, second] = &mut slots;
            let args = Update {
                optimizer,
                scalars: Scalars::new(optimizer, terms.weight_decay, 1e-3, i as u64 + 1),
                weight_decay: terms.weight_decay,
                l1: terms.l1,
                gradient_scale: terms.scale,
                weights: &mut weights,
                gradients: &gradients,
                slots: [first, second],
            };
            update(isa, args);
        })
    }

    fn forward(&self, isa: Isa, activation: Activation, probability: f32) -> f64 {
        let bias = values(self.width, 2);
        let mut kept = vec![0.0; if activation.derivative_needs_z() { self.elements() } else { 0 }];
        self.time_each(|i, c| {
            let z = (!kept.is_empty()).then(|| MatrixMut::row_major(&mut kept, self.rows, self.width));
            let dropout = (probability > 0.0).then(|| self.dropout(i, probability));
            forward(isa, c, Forward { bias: Some(&bias), z, activation, dropout, residual: None });
        })
    }

    fn backward(&self, isa: Isa, activation: Activation, probability: f32) -> f64 {
        let z = values(self.elements(), 2);
        self.time_each(|i, c| {
            let z = Matrix::row_major(&z, self.rows, self.width);
            let from_z = activation.derivative_needs_z();
            let input = if from_z { Derivative::FromZ(z) } else { Derivative::FromOutput(z) };
            let dropout = (probability > 0.0).then(|| self.dropout(i, probability));
            backward(isa, c, Backward { input, activation, dropout });
        })
    }

    /// As `time`, but each call by itself on numbers that are written anew before it: what a call leaves would go on to
    /// numbers, call by call, whose exponentials are subnormal, and slow, or be subnormal itself.
    fn time_each(&self, mut call: impl FnMut(usize, MatrixMut<'_>)) -> f64 {
        let from = values(self.elements(), 1);
        let mut c = from.clone();
        self.rounds(|calls| {
            let timed = |i: usize| {
                c.copy_from_slice(&from);
                let start = Instant::now();
                call(i, MatrixMut::row_major(&mut c, self.rows, self.width));
                start.elapsed().as_secs_f64()
            };
            (0..calls).map(timed).sum()
        })
    }

    fn cross_entropy(&self, isa: Isa) -> f64 {
        let mut logits = values(self.elements(), 1);
        let labels: Vec<u32> = (0..self.rows).map(|row| (row % self.width) as u32).collect();
        let mut losses = vec![0.0; self.rows];
        self.time(|_| {
            let args = SoftmaxCrossEntropy {
                logits: &mut logits,
                classes: self.width,
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

    /// The outputs become gradients, and these the next call's outputs; by a scale of ¼ that goes to a fixed point.
    fn pointwise(&self, isa: Isa, kind: PointwiseLoss) -> f64 {
        let (mut outputs, mut losses) = (values(self.elements(), 1), vec![0.0; self.rows]);
        let targets: Vec<f32> = values(self.elements(), 2).into_iter().map(f32::abs).collect();
        self.time(|_| {
            let args = Pointwise {
                kind,
                outputs: &mut outputs,
                width: self.width,
                targets: &targets,
                weights: None,
                scale: 0.25,
                gradient: Gradient::Write,
                losses: &mut losses,
            };
            pointwise(isa, args);
        })
    }

    /// Rows of a table of 64 MiB, in an order that no prefetcher guesses.
    fn gather(&self, isa: Isa, stored: Stored) -> f64 {
        let count = |size: usize| (64usize << 20) / (self.width * size) * self.width;
        let (raw, floats) = match stored {
            Stored::Bytes => (vec![7u8; count(1)], Vec::new()),
            Stored::F32 => (Vec::new(), vec![0.5f32; count(4)]),
        };
        let table = (raw.len() + floats.len()) / self.width;
        let features = match stored {
            Stored::Bytes => Rows::U8 { values: &raw, scale: 1.0 / 255.0 },
            Stored::F32 => Rows::F32(&floats),
        };
        let mut out = vec![0.0; self.elements()];
        let mut chosen = vec![0u32; self.rows];
        self.time(|call| {
            for (i, row) in chosen.iter_mut().enumerate() {
                *row = ((call * self.rows + i) * 40_503 % table) as u32;
            }
            gather(isa, features, self.width, &chosen, &mut out);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_the_tables_has_a_row() {
        let all = passes();
        let has = |wanted: Work| all.iter().any(|pass| pass.work == wanted);
        for optimizer in Optimizer::all() {
            assert!(has(Work::Optimizer(optimizer, PLAIN)), "{}", optimizer.name());
        }
        for &activation in Activation::ALL {
            assert!(has(Work::Forward(activation, 0.0)), "{}", activation.name());
            assert_eq!(has(Work::Backward(activation, 0.0)), activation != Activation::Identity);
        }
        for name in Loss::NAMES {
            assert!(has(Work::Loss(Loss::by_name(name).expect("a name of the table"))), "{name}");
        }
    }

    #[test]
    fn no_two_rows_have_one_name() {
        let names: Vec<String> =
            passes().iter().map(|pass| format!("{} {}×{}", pass.name, pass.rows, pass.width)).collect();
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }
}
