//! Outputs and loss of a whole dataset, in blocks of rows that the workers take independently.

use super::net::{EVAL_ROWS, Net, WorkerMemory};
use super::step::{features, pointwise_kind};
use super::{Cpu, evaluation_products};
use crate::data::{Dataset, Features, Targets};
use crate::model::Loss;
use hpt_kernels::epilogue::{Epilogue, Forward};
use hpt_kernels::gather::gather;
use hpt_kernels::gemm::{Beta, Gemm, Left, Right, gemm_by};
use hpt_kernels::loss::{
    Gradient, Pointwise, SoftmaxCrossEntropy, pointwise, sigmoid_rows, softmax_cross_entropy, softmax_rows,
};
use hpt_kernels::matrix::{Matrix, MatrixMut};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

impl Net {
    /// Writes the outputs of every row and returns the mean loss. The sum of each block is kept apart and all are
    /// added in order, so the loss does not depend on who computed which.
    pub fn evaluate(&mut self, cpu: &Cpu, data: &Dataset, outputs: &mut [f32]) -> f64 {
        let mut sums = std::mem::take(&mut self.block_sums);
        sums.clear();
        sums.resize(data.rows.div_ceil(EVAL_ROWS), 0.0);
        let loss = self.evaluate_all(cpu, data, outputs, &mut sums);
        self.block_sums = sums;
        loss
    }

    fn evaluate_all(&self, cpu: &Cpu, data: &Dataset, outputs: &mut [f32], sums: &mut [f64]) -> f64 {
        let width = self.plan.outputs;
        assert_eq!(outputs.len(), data.rows * width, "outputs are rows × outputs");
        let blocks = sums.iter_mut().zip(outputs.chunks_mut(EVAL_ROWS * width)).enumerate();
        let blocks = Mutex::new(blocks);
        cpu.team(|worker| {
            let mut memory = self.memory(worker.index);
            loop {
                let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((i, (sum, out))) = next else { break };
                let start = i * EVAL_ROWS;
                let rows = start..data.rows.min(start + EVAL_ROWS);
                *sum = self.evaluate_block(&mut memory, data, rows, out);
            }
        });
        let labels = if let Targets::Classes { labels, .. } = &data.targets { labels.as_slice() } else { &[] };
        if matches!(data.targets, Targets::None) || data.rows == 0 {
            return 0.0;
        }
        sums.iter().sum::<f64>() * self.criterion.scale(labels, data.rows, width)
    }

    fn evaluate_block(&self, memory: &mut WorkerMemory, data: &Dataset, rows: Range<usize>, out: &mut [f32]) -> f64 {
        let WorkerMemory { scratch, eval: [ping, pong], losses, .. } = memory;
        let (n, width) = (rows.len(), self.plan.inputs);
        let (mut from, mut to) = (ping, pong);
        let of_bytes = matches!(data.features, Features::U8 { .. });
        let products = || evaluation_products(self.isa, &self.plan, of_bytes);
        let elements = rows.start * width..rows.end * width;
        // Rows lie in order: they are read where they are, unless bytes have to become numbers.
        let mut x: Left = match &data.features {
            Features::F32(values) => Matrix::row_major(&values[elements], n, width).into(),
            Features::U8 { values, scale } if products().next().is_some_and(|first| first.bytes) => {
                Left::Bytes(Matrix::row_major(&values[elements], n, width), *scale)
            }
            Features::U8 { .. } => {
                let mut numbers = [0u32; EVAL_ROWS];
                numbers.iter_mut().zip(rows.clone()).for_each(|(number, row)| *number = row as u32);
                gather(self.isa, features(data), width, &numbers[..n], &mut from[..n * width]);
                Matrix::row_major(&from[..n * width], n, width).into()
            }
        };
        // SAFETY: no step runs during an evaluation, so nobody writes the weights.
        let weights = unsafe { self.weights.part(0..self.weights.len()) };
        for (l, (layer, product)) in self.plan.layers.iter().zip(products()).enumerate() {
            let area = &self.arena.areas[l];
            let last = l + 1 == self.plan.layers.len();
            let c = if last { &mut *out } else { &mut to[..n * layer.outputs] };
            let forward = Forward {
                bias: Some(&weights[area.bias.clone()]),
                z: None,
                activation: layer.activation,
                dropout: None,
                residual: x.strided().filter(|_| layer.residual),
            };
            let b = Right::Packed(self.arena.weights(area, &weights[area.weights.clone()]));
            let c = MatrixMut::row_major(c, n, layer.outputs);
            let args = Gemm { a: x, b, c, beta: Beta::Zero, epilogue: Epilogue::Forward(forward) };
            gemm_by(self.isa, product.method, args, scratch);
            if !last {
                std::mem::swap(&mut from, &mut to);
                x = Matrix::row_major(&from[..n * layer.outputs], n, layer.outputs).into();
            }
        }
        self.loss_and_link(data, rows, out, &mut losses[..n])
    }

    /// The sum of the rows' losses, and the outputs as probabilities.
    fn loss_and_link(&self, data: &Dataset, rows: Range<usize>, out: &mut [f32], losses: &mut [f32]) -> f64 {
        let (isa, width, gradient) = (self.isa, self.plan.outputs, Gradient::Skip);
        let weights = self.criterion.class_weights.as_deref();
        losses.fill(0.0);
        match &data.targets {
            Targets::None => {}
            Targets::Classes { labels, .. } => {
                let (logits, labels, smoothing) = (&mut *out, &labels[rows], self.criterion.label_smoothing);
                let (classes, class_weights) = (width, weights);
                let args = SoftmaxCrossEntropy {
                    logits,
                    classes,
                    labels,
                    smoothing,
                    class_weights,
                    scale: 1.0,
                    gradient,
                    losses,
                };
                softmax_cross_entropy(isa, args);
            }
            Targets::Binary { values, .. } | Targets::Real { values, .. } => {
                let targets = &values[rows.start * width..rows.end * width];
                if let Some(kind) = pointwise_kind(self.criterion.loss) {
                    let outputs = &mut *out;
                    pointwise(isa, Pointwise { kind, outputs, width, targets, weights, scale: 1.0, gradient, losses });
                }
            }
        }
        match self.criterion.loss {
            Loss::CrossEntropy => softmax_rows(isa, out, width),
            Loss::BinaryCrossEntropy => sigmoid_rows(isa, out),
            Loss::Mse | Loss::Huber { .. } => {}
        }
        losses.iter().map(|&loss| f64::from(loss)).sum()
    }
}
