//! From dL/dz to new weights: dW and db of a layer, and the optimizer on them.
//!
//! Where no norm is clipped, the gradient of a panel of W goes to a small buffer of the worker and from there, while it
//! is in the cache, into the optimizer: it is never written to memory, and W and its moments stream by while the
//! product of the next panel is computed. Clipping needs the whole gradient first.

use super::memory::{Place, Shared, rows_of};
use super::net::{Net, Step, WorkerMemory};
use super::team::Worker;
use hpt_kernels::epilogue::Epilogue;
use hpt_kernels::gemm::{Beta, Gemm, Right, Scratch, gemm};
use hpt_kernels::matrix::Matrix;
use hpt_kernels::optimizer::{Update, update};
use hpt_kernels::reduce::{CHUNK, column_sums, sum_of_squares_chunks};
use std::ops::Range;

/// Panels a worker, from which on a last one that only some workers have does not matter.
const MANY_PANELS: usize = 8;

impl Net {
    /// dW and db of layer `l` and, where no norm is clipped, the new weights, each worker for its part of W.
    pub fn learn(&self, worker: &Worker<'_>, memory: &mut WorkerMemory, l: usize, at: Step<'_>) {
        let (layer, panels) = (&self.plan.layers[l], self.arena.panels(l));
        let by_panels = panels.is_multiple_of(worker.size) || panels >= MANY_PANELS * worker.size;
        let (mine, rows, part) = if by_panels {
            let mine = worker.share(panels, 1);
            let column =
                |panel: usize| if panel == panels { layer.outputs } else { self.arena.panel(l, panel).cols.start };
            (mine.clone(), 0..layer.inputs, column(mine.start)..column(mine.end))
        } else {
            (0..panels, worker.share(layer.inputs, 1), worker.share(layer.outputs, 16))
        };
        for panel in mine {
            self.learn_panel(memory, l, panel, rows.clone(), at);
        }
        // SAFETY: phase rule: dz is only read; each worker writes its own part of b, of its gradient and state.
        unsafe {
            let dz = self.dz(l).block(rows_of(layer.outputs), 0..at.rows.len(), part.clone());
            let start = self.arena.areas[l].bias.start;
            let range = start + part.start..start + part.end;
            let db = self.gradients.part_mut(range.clone());
            column_sums(self.isa, dz, db);
            if self.rule.clip_norm.is_none() {
                self.update(range, db, 1.0, at);
            }
        }
    }

    /// Those rows of a panel of dW and, where no norm is clipped, their new weights.
    fn learn_panel(&self, memory: &mut WorkerMemory, l: usize, panel: usize, rows: Range<usize>, at: Step<'_>) {
        let (layer, panel, batch) = (&self.plan.layers[l], self.arena.panel(l, panel), at.rows.len());
        let range = panel.start + rows.start * panel.step..panel.start + rows.end * panel.step;
        let WorkerMemory { scratch, gradient, .. } = memory;
        // SAFETY: phase rule: h and dz are only read; the rows of the panel are this worker's.
        unsafe {
            let x = self.h[l].block(rows_of(layer.inputs), 0..batch, rows.clone());
            let dz = self.dz(l).block(rows_of(layer.outputs), 0..batch, panel.cols.clone());
            if self.rule.clip_norm.is_some() {
                let place = Place { start: range.start, width: panel.step };
                return self.product(scratch, x, dz, &self.gradients, place);
            }
            if panel.cols.len() < panel.step {
                // The gradient of the padding is 0.
                gradient.get_mut()[..range.len()].fill(0.0);
            }
            self.product(scratch, x, dz, gradient, rows_of(panel.step));
            self.update(range.clone(), gradient.part(0..range.len()), 1.0, at);
        }
    }

    /// Xᵀ·dZ into the buffer.
    ///
    /// # Safety
    /// Nobody else reads or writes that block of the buffer.
    unsafe fn product(&self, scratch: &mut Scratch, x: Matrix<'_>, dz: Matrix<'_>, to: &Shared<f32>, place: Place) {
        // SAFETY: by the caller's promise.
        let c = unsafe { to.block_mut(place, 0..x.cols(), 0..dz.cols()) };
        let (b, beta, epilogue) = (Right::Strided(dz), Beta::Zero, Epilogue::None);
        gemm(self.isa, Gemm { a: x.t(), b, c, beta, epilogue }, scratch);
    }

    /// New weights from the whole gradient, scaled to a norm of at most `limit`; each worker for its own chunks.
    pub fn learn_clipped(&self, worker: &Worker<'_>, limit: f32, at: Step<'_>) {
        worker.wait();
        let part = worker.share(self.arena.len, CHUNK);
        // SAFETY: phase rule: gradients are only read, each worker writes its own chunks' norms, weights and state;
        // the norms are read after the barrier.
        unsafe {
            let gradients = self.gradients.part(part.clone());
            let chunks = part.start.div_ceil(CHUNK)..part.end.div_ceil(CHUNK);
            sum_of_squares_chunks(self.isa, gradients, self.chunk_norms.part_mut(chunks));
            worker.wait();
            let norm = self.chunk_norms.part(0..self.chunk_norms.len()).iter().sum::<f64>().sqrt();
            self.update(part, gradients, clip(norm, limit), at);
        }
    }

    /// The optimizer on a range of the arena.
    ///
    /// # Safety
    /// Nobody else reads or writes this range of weights and state.
    unsafe fn update(&self, range: Range<usize>, gradients: &[f32], gradient_scale: f32, at: Step<'_>) {
        let slot = |i: usize| {
            let range = if i < self.rule.optimizer.slots() { range.clone() } else { 0..0 };
            // SAFETY: by the caller's promise.
            unsafe { self.slots[i].part_mut(range) }
        };
        let args = Update {
            optimizer: self.rule.optimizer,
            learning_rate: at.rate,
            weight_decay: self.rule.weight_decay,
            l1: self.rule.l1,
            gradient_scale,
            step: at.step + 1,
            // SAFETY: as above.
            weights: unsafe { self.weights.part_mut(range.clone()) },
            gradients,
            slots: [slot(0), slot(1)],
        };
        update(self.isa, args);
    }
}

/// `torch.nn.utils.clip_grad_norm_`: limit / (norm + 1e-6), at most 1.
pub(in crate::backend) fn clip(norm: f64, limit: f32) -> f32 {
    (f64::from(limit) / (norm + 1e-6)).min(1.0) as f32
}
