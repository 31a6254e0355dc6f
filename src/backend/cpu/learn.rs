//! From dL/dz to new weights: dW and db of a layer, and the optimizer on them.
//!
//! Where no norm is clipped, the gradient of a part of W goes into the optimizer while it is in the cache, so that it
//! is never written to memory ([`gemm_parts`]). Clipping needs the whole gradient first, and where a batch goes block
//! by block the last block completes it.

use super::memory::rows_of;
use super::net::{Net, Step, WorkerMemory};
use super::team::{Split, Worker};
use hpt_kernels::gemm::{Left, Right, Take, gemm_parts};
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
        let even = panels.is_multiple_of(worker.size) || panels >= MANY_PANELS * worker.size;
        // By panels every worker reads, and packs, all of X, by rows all of dZ. Where the forward product is divided by
        // columns, panels stay with who reads them there.
        let forward = self.split(worker, (at.rows.len(), layer.inputs, layer.outputs));
        let by_panels = even && (forward == Split::Columns || layer.inputs <= layer.outputs);
        let (mine, rows, part) = if by_panels {
            let mine = worker.share(panels, 1);
            (mine.clone(), 0..layer.inputs, self.arena.columns(l, &mine))
        } else {
            (0..panels, worker.share(layer.inputs, 1), worker.share(layer.outputs, 16))
        };
        let method = self.method(l, at.byte, layer.inputs, at.rows.len(), layer.outputs);
        let WorkerMemory { scratch, sums, .. } = memory;
        // SAFETY: phase rule: h and dz are only read; each worker takes its own part of W and of b.
        unsafe {
            let (x, dz) = self.factors(l, &mine, rows.clone(), at);
            let mut taker = Part { net: self, l, panel: mine.start, row: rows.start, at };
            gemm_parts(self.isa, method, x.t(), Right::Strided(dz), scratch, &mut taker);
            let dz = self.dz(l).block(rows_of(layer.outputs), 0..at.rows.len(), part.clone());
            let (start, sums) = (self.arena.areas[l].bias.start, &mut sums[..part.len()]);
            column_sums(self.isa, dz, sums);
            self.take(start + part.start..start + part.end, sums, at);
        }
    }

    /// A block's part of the gradient, of a range of the arena: into the sum over the batch's blocks, and with the last
    /// of them into new weights, unless these need the whole gradient.
    ///
    /// # Safety
    /// Nobody else reads or writes this range of gradients, weights and state.
    unsafe fn take(&self, range: Range<usize>, gradient: &[f32], at: Step<'_>) {
        let whole = self.needs_whole_gradient();
        if at.first == 0 && at.is_last() && !whole {
            // SAFETY: by the caller's promise.
            return unsafe { self.update(range, gradient, 1.0, at) };
        }
        // SAFETY: by the caller's promise.
        let sum = unsafe { self.gradients.part_mut(range.clone()) };
        match at.first {
            0 => sum.copy_from_slice(gradient),
            _ => sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g),
        }
        if at.is_last() && !whole {
            // SAFETY: by the caller's promise.
            unsafe { self.update(range, sum, 1.0, at) }
        }
    }

    /// X of layer `l` at those columns, and dZ at the columns of those panels.
    ///
    /// # Safety
    /// Nobody writes either while the views live.
    unsafe fn factors(&self, l: usize, panels: &Range<usize>, x: Range<usize>, at: Step<'_>) -> (Left<'_>, Matrix<'_>) {
        let layer = &self.plan.layers[l];
        let cols = self.arena.columns(l, panels);
        // SAFETY: by the caller's promise.
        unsafe {
            let batch = at.rows.len();
            let x = match l {
                0 => self.batch(at.byte, 0..batch, x),
                _ => self.h[l].block(rows_of(layer.inputs), 0..batch, x).into(),
            };
            (x, self.dz(l).block(rows_of(layer.outputs), 0..batch, cols))
        }
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
    pub unsafe fn update(&self, range: Range<usize>, gradients: &[f32], gradient_scale: f32, at: Step<'_>) {
        let slot = |i: usize| {
            let range = if i < self.rule.optimizer.slots() { range.clone() } else { 0..0 };
            // SAFETY: by the caller's promise.
            unsafe { self.slots[i].part_mut(range) }
        };
        let args = Update {
            optimizer: self.rule.optimizer,
            scalars: at.scalars,
            weight_decay: self.rule.weight_decay,
            l1: self.rule.l1,
            gradient_scale,
            // SAFETY: as above.
            weights: unsafe { self.weights.part_mut(range.clone()) },
            gradients,
            slots: [slot(0), slot(1)],
        };
        update(self.isa, args);
    }
}

/// A worker's part of W, which takes its gradient.
struct Part<'a> {
    net: &'a Net,
    l: usize,
    /// Where it begins.
    panel: usize,
    row: usize,
    at: Step<'a>,
}

impl Part<'_> {
    /// Where those rows of that panel, both counted from the part's first, lie in the arena.
    fn place(&self, rows: Range<usize>, panel: usize) -> Range<usize> {
        let (start, step) = self.net.arena.panel(self.l, self.panel + panel);
        start + (self.row + rows.start) * step..start + (self.row + rows.end) * step
    }
}

impl Take for Part<'_> {
    fn take(&mut self, rows: Range<usize>, panel: usize, gradient: &[f32]) {
        // SAFETY: phase rule: these rows of this panel are this worker's.
        unsafe { self.net.take(self.place(rows, panel), gradient, self.at) }
    }

    fn needs(&self, rows: Range<usize>, panel: usize) -> [&[f32]; 3] {
        let (net, place) = (self.net, self.place(rows, panel));
        let slots = net.rule.optimizer.slots();
        // SAFETY: as above.
        unsafe {
            let slot = |i: usize| if i < slots { net.slots[i].part(place.clone()) } else { &[] };
            [net.weights.part(place.clone()), slot(0), slot(1)]
        }
    }
}

/// `torch.nn.utils.clip_grad_norm_`: limit / (norm + 1e-6), at most 1.
pub(in crate::backend) fn clip(norm: f64, limit: f32) -> f32 {
    (f64::from(limit) / (norm + 1e-6)).min(1.0) as f32
}
