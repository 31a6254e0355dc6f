//! One training step: gather, forward, loss, backward; `learn.rs` has what changes the weights.
//!
//! A phase ends at a barrier. Within a phase a worker writes its own rows or columns, or its own part of the arena,
//! and reads what earlier phases or it itself wrote: that is what every `SAFETY` comment here and in `learn.rs` refers
//! to as *the phase rule*.

use super::memory::{Shared, rows_of};
use super::net::{Net, Step, WorkerMemory};
use super::team::{Split, Worker};
use crate::backend::keeps_z;
use crate::data::{Dataset, Features, Targets};
use crate::model::{Activation, Loss};
use crate::random::Purpose;
use hpt_kernels::dropout::{Dropout, dropout_rows};
use hpt_kernels::epilogue::{Backward, Derivative, Epilogue, Forward, backward};
use hpt_kernels::gather::{Rows, gather, gather_bytes};
use hpt_kernels::gemm::{Beta, Gemm, Packed, Right, Scratch, gemm_by, panel_width};
use hpt_kernels::loss::{Gradient, Pointwise, PointwiseLoss, SoftmaxCrossEntropy, pointwise, softmax_cross_entropy};
use hpt_kernels::matrix::{Matrix, MatrixMut};
use std::ops::Range;

impl Net {
    /// Makes one step over the rows of a batch and returns its mean loss (on every worker).
    pub fn step(&self, worker: &Worker<'_>, memory: &mut WorkerMemory, data: &Dataset, batch: Step<'_>) -> f64 {
        let blocks = || {
            let starts = (0..batch.rows.len()).step_by(self.block);
            starts.map(|first| self.block_of(data, batch, first..batch.rows.len().min(first + self.block)))
        };
        // All targets first, each by who will read it: with class weights the mean needs those of all rows.
        blocks().for_each(|at| self.gather_targets(worker, data, at));
        let scale = blocks().fold(1.0, |_, at| self.step_block(worker, memory, data, at));
        // SAFETY: phase rule; losses were written before the last block's barriers and are written next after the last
        // one.
        let losses = unsafe { self.row_losses.part(0..batch.rows.len()) };
        let loss = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() * scale;
        if let Some(adapt) = &self.adapt {
            self.learn_adapted(worker, adapt, batch);
        } else if let Some(limit) = self.rule.clip_norm {
            self.learn_clipped(worker, limit, batch);
        }
        worker.wait();
        loss
    }

    /// Those rows of a batch.
    fn block_of<'a>(&self, data: &Dataset, batch: Step<'a>, rows: Range<usize>) -> Step<'a> {
        let byte = self.byte(data, rows.len());
        Step { rows: &batch.rows[rows.clone()], first: rows.start, byte, ..batch }
    }

    /// From the features of a block's rows to its part of the gradient and, with the last block, new weights where
    /// these need no more than their own part. Returns the scale of the mean loss.
    ///
    /// A worker that goes on in the rows that it has itself written need not wait: a network of narrow layers, all
    /// divided by rows, has two barriers a block.
    fn step_block(&self, worker: &Worker<'_>, memory: &mut WorkerMemory, data: &Dataset, at: Step<'_>) -> f64 {
        let rows = at.rows;
        let (scratch, layers) = (&mut memory.scratch, self.plan.layers.len());
        let mut written = Split::Rows;
        let meet = |written: &mut Split, next: Split| {
            if *written == Split::Columns || next == Split::Columns {
                worker.wait();
            }
            *written = next;
        };
        self.gather(worker, data, at);
        for l in 0..layers {
            let layer = &self.plan.layers[l];
            meet(&mut written, self.split(worker, (rows.len(), layer.inputs, layer.outputs)));
            self.forward(worker, scratch, l, at);
        }
        // Class weights: the mean needs the labels of all rows.
        let all = self.criterion.class_weights.is_some();
        meet(&mut written, if all { Split::Columns } else { Split::Rows });
        let scale = self.loss(worker, at);
        written = Split::Rows;
        for l in (1..layers).rev() {
            let layer = &self.plan.layers[l];
            meet(&mut written, self.split(worker, (rows.len(), layer.outputs, layer.inputs)));
            self.backward_input(worker, scratch, l, at);
        }
        worker.wait();
        for l in (0..layers).rev() {
            self.learn(worker, memory, l, at);
        }
        if !at.is_last() {
            // What the next block overwrites is read no more.
            worker.wait();
        }
        scale
    }

    /// How the workers divide the result of a product m × k × n.
    pub(super) fn split(&self, worker: &Worker<'_>, product: (usize, usize, usize)) -> Split {
        worker.split(product, panel_width(self.isa))
    }

    /// The features of a block's rows.
    fn gather(&self, worker: &Worker<'_>, data: &Dataset, at: Step<'_>) {
        let Step { rows, step, first, byte, .. } = at;
        let (part, width) = (worker.share(rows.len(), 1), self.plan.inputs);
        let mine = &rows[part.clone()];
        let elements = part.start * width..part.end * width;
        match &data.features {
            // SAFETY: phase rule: each worker writes its own rows of the batch, here and below.
            Features::U8 { values, .. } if byte.is_some() => unsafe {
                gather_bytes(self.isa, values, width, mine, self.bytes.part_mut(elements));
            },
            // SAFETY: as above.
            _ => gather(self.isa, features(data), width, mine, unsafe { self.h[0].part_mut(elements) }),
        }
        if let Some(dropout) = self.dropout(0, self.plan.input_dropout, step, first + part.start, 0, width) {
            // SAFETY: as above.
            dropout_rows(self.isa, unsafe { self.h[0].block_mut(rows_of(width), part, 0..width) }, dropout);
        }
    }

    /// The targets of a block's rows, to their places in the batch.
    fn gather_targets(&self, worker: &Worker<'_>, data: &Dataset, at: Step<'_>) {
        let part = worker.share(at.rows.len(), 1);
        let (mine, part) = (&at.rows[part.clone()], at.in_batch(&part));
        match &data.targets {
            Targets::Classes { labels, .. } => {
                // SAFETY: phase rule: each worker writes its own rows, here and below.
                let out = unsafe { self.labels.part_mut(part) };
                out.iter_mut().zip(mine).for_each(|(out, &row)| *out = labels[row as usize]);
            }
            Targets::Binary { values, width } | Targets::Real { values, width, .. } => {
                // SAFETY: as above.
                let out = unsafe { self.values.part_mut(part.start * width..part.end * width) };
                for (out, &row) in out.chunks_exact_mut(*width).zip(mine) {
                    out.copy_from_slice(&values[row as usize * width..][..*width]);
                }
            }
            Targets::None => unreachable!("`train` refuses a dataset without targets"),
        }
    }

    /// The dropout of layer `l` (0: of the input), with (0, 0) of the block at (row, col).
    fn dropout(&self, l: usize, probability: f32, step: u64, row: usize, col: usize, width: usize) -> Option<Dropout> {
        let purpose = Purpose::Dropout as u32 + l as u32;
        (probability > 0.0).then_some(Dropout { key: self.key, step, purpose, probability, row, col, width })
    }

    /// h[l + 1] = dropout(act(h[l]·W + b)) (+ h[l]).
    fn forward(&self, worker: &Worker<'_>, scratch: &mut Scratch, l: usize, at: Step<'_>) {
        let (layer, count, step) = (&self.plan.layers[l], at.rows.len(), at.step);
        let (rows, cols) = worker.block((count, layer.inputs, layer.outputs), panel_width(self.isa));
        let (inputs, width) = (layer.inputs, layer.outputs);
        // SAFETY: phase rule: weights and h[l] are only read, and each worker writes its own block of h[l + 1] and z.
        unsafe {
            let bias = &self.weights.part(self.arena.areas[l].bias.clone())[cols.clone()];
            let z = keeps_z(layer).then(|| self.z[l].block_mut(rows_of(width), rows.clone(), cols.clone()));
            let dropout = self.dropout(l + 1, layer.dropout, step, at.first + rows.start, cols.start, width);
            let residual = layer.residual.then(|| self.h[l].block(rows_of(width), rows.clone(), cols.clone()));
            let a = match l {
                0 => self.batch(at.byte, rows.clone(), 0..inputs),
                _ => self.h[l].block(rows_of(inputs), rows.clone(), 0..inputs).into(),
            };
            let args = Gemm {
                a,
                b: Right::Packed(self.packed(l).cols(cols.clone())),
                c: self.h[l + 1].block_mut(rows_of(width), rows, cols),
                beta: Beta::Zero,
                epilogue: Epilogue::Forward(Forward {
                    bias: Some(bias),
                    z,
                    activation: layer.activation,
                    dropout,
                    residual,
                }),
            };
            gemm_by(self.isa, self.method(l, at.byte, count, inputs, width), args, scratch);
        }
    }

    /// W of layer `l`.
    ///
    /// # Safety
    /// Nobody writes it while the view lives.
    pub unsafe fn packed(&self, l: usize) -> Packed<'_> {
        let area = &self.arena.areas[l];
        // SAFETY: by the caller's promise.
        self.arena.weights(area, unsafe { self.weights.part(area.weights.clone()) })
    }

    /// Row losses, and the outputs overwritten by dL/dz of the last layer. Returns the scale of the batch's mean.
    fn loss(&self, worker: &Worker<'_>, at: Step<'_>) -> f64 {
        let (mine, width, batch) = (worker.share(at.rows.len(), 1), self.plan.outputs, at.batch);
        let (range, part) = (mine.start * width..mine.end * width, at.in_batch(&mine));
        let last = &self.h[self.plan.layers.len()];
        // Class weights: the mean needs the labels of all rows, which a barrier has made readable.
        let seen = if self.criterion.class_weights.is_some() { 0..batch } else { part.clone() };
        // SAFETY: phase rule: targets are only read, each worker writes its own rows of outputs and losses.
        let (labels, logits, losses) =
            unsafe { (self.batch_labels(&seen), last.part_mut(range), self.row_losses.part_mut(part.clone())) };
        let scale = self.criterion.scale(labels, batch, width);
        let weights = self.criterion.class_weights.as_deref();
        let (gradient, gradient_scale) = (Gradient::Write, scale as f32);
        match pointwise_kind(self.criterion.loss) {
            None => softmax_cross_entropy(
                self.isa,
                SoftmaxCrossEntropy {
                    logits,
                    classes: width,
                    labels: &labels[part.start - seen.start..][..part.len()],
                    smoothing: self.criterion.label_smoothing,
                    class_weights: weights,
                    scale: gradient_scale,
                    gradient,
                    losses,
                },
            ),
            Some(kind) => {
                // SAFETY: as above.
                let targets = unsafe { self.values.part(part.start * width..part.end * width) };
                let outputs = logits;
                let scale = gradient_scale;
                pointwise(self.isa, Pointwise { kind, outputs, width, targets, weights, scale, gradient, losses });
            }
        }
        scale
    }

    /// # Safety
    /// As [`Shared::part`].
    unsafe fn batch_labels(&self, rows: &Range<usize>) -> &[u32] {
        let there = |row: usize| row.min(self.labels.len());
        // SAFETY: by the caller's promise.
        unsafe { self.labels.part(there(rows.start)..there(rows.end)) }
    }

    /// dL/dz of layer `l`: the last layer's stands in its output.
    pub fn dz(&self, l: usize) -> &Shared<f32> {
        if l + 1 == self.plan.layers.len() { &self.h[l + 1] } else { &self.dz[l] }
    }

    /// dL/dh of the layer before `l`, and from it that layer's dL/dz.
    fn backward_input(&self, worker: &Worker<'_>, scratch: &mut Scratch, l: usize, at: Step<'_>) {
        let (count, step) = (at.rows.len(), at.step);
        let (layer, before) = (&self.plan.layers[l], &self.plan.layers[l - 1]);
        let (width, outputs) = (layer.inputs, layer.outputs);
        let (rows, cols) = worker.block((count, outputs, width), panel_width(self.isa));
        let dropout = self.dropout(l, before.dropout, step, at.first + rows.start, cols.start, width);
        let method = self.method(l, None, count, outputs, width);
        // SAFETY: phase rule: what is read was written before the last barrier; each worker writes its own block of
        // dL/dh and dL/dz of the layer before.
        unsafe {
            let input = match before.activation {
                Activation::Identity => Derivative::None,
                _ if keeps_z(before) => {
                    Derivative::FromZ(self.z[l - 1].block(rows_of(width), rows.clone(), cols.clone()))
                }
                _ => Derivative::FromOutput(self.h[l].block(rows_of(width), rows.clone(), cols.clone())),
            };
            let through = Backward { input, activation: before.activation, dropout };
            let a = self.dz(l).block(rows_of(outputs), rows.clone(), 0..outputs).into();
            let b = Right::Transposed(self.packed(l).rows(cols.clone()));
            let mut dz = self.dz(l - 1).block_mut(rows_of(width), rows.clone(), cols.clone());
            // With a skip connection into this layer, its own dL/dh is added; with one into the layer before, that
            // layer's dL/dh is kept, since its input gets it too.
            let beta = if layer.residual { Beta::One } else { Beta::Zero };
            if layer.residual {
                copy(&mut dz, self.dh[l % 2].block(rows_of(width), rows.clone(), cols.clone()));
            }
            if before.residual {
                let args = Gemm { a, b, c: dz.reborrow(), beta, epilogue: Epilogue::None };
                gemm_by(self.isa, method, args, scratch);
                copy(&mut self.dh[(l - 1) % 2].block_mut(rows_of(width), rows, cols), dz.as_matrix());
                backward(self.isa, dz, through);
            } else {
                gemm_by(self.isa, method, Gemm { a, b, c: dz, beta, epilogue: Epilogue::Backward(through) }, scratch);
            }
        }
    }
}

/// to ← from, of the same shape, with contiguous columns.
fn copy(to: &mut MatrixMut<'_>, from: Matrix<'_>) {
    for i in 0..from.rows() {
        to.row_mut(i).copy_from_slice(from.row(i));
    }
}

/// The kernel's loss for a loss that is a sum over outputs, none for the cross-entropy.
pub(super) fn pointwise_kind(loss: Loss) -> Option<PointwiseLoss> {
    match loss {
        Loss::CrossEntropy => None,
        Loss::BinaryCrossEntropy => Some(PointwiseLoss::BinaryCrossEntropy),
        Loss::Mse => Some(PointwiseLoss::MeanSquared),
        Loss::Huber { delta } => Some(PointwiseLoss::Huber { delta: delta as f32 }),
    }
}

/// A dataset's features as the kernels read them.
pub(super) fn features(data: &Dataset) -> Rows<'_> {
    match &data.features {
        Features::F32(values) => Rows::F32(values),
        Features::U8 { values, scale } => Rows::U8 { values, scale: *scale },
    }
}
