//! One model in training: its arenas and the buffers of a step, all allocated at the start.

use super::adapt::Adapt;
use super::arena::Arena;
use super::memory::{Shared, rows_of};
use super::{Cpu, Member, multiplies_bytes};
use crate::backend::{Precision, Run, UpdateRule, keeps_z};
use crate::data::{Dataset, Features};
use crate::model::{Criterion, Layer, Loss, Plan};
use hpt_kernels::gemm::{Left, Method, Scratch};
use hpt_kernels::isa::Isa;
use hpt_kernels::matrix::Matrix;
use hpt_kernels::optimizer::Scalars;
use hpt_kernels::philox::Key;
use hpt_kernels::reduce::CHUNK;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows of one block of an evaluation: enough to amortise packing the weights, few enough to stay in the cache.
pub(super) const EVAL_ROWS: usize = 256;

/// Bytes of features, activations and their gradients that a block of rows may have: about what stays in the caches of
/// a core.
const BLOCK: usize = 3 << 20;

/// Blocks have a multiple of so many rows, the last of a batch excepted.
const BLOCK_ROWS: usize = 32;

/// Rows of a batch that go through the network together, forward and back. Large batches go block by block, and what
/// forward products write is still in the cache when dW reads it. Every block adds its gradient to the sum of those
/// before it, which takes a pass over the weights: so the larger the network, the larger its blocks.
///
/// From shapes alone, since sums are rounded block by block: nothing depends on the threads or on the machine.
pub fn block_rows(plan: &Plan, batch: usize) -> usize {
    let outputs: usize = plan.layers.iter().map(|layer| layer.outputs).sum();
    let row = 4 * (plan.inputs + 2 * outputs);
    let most = (BLOCK.max(16 * plan.parameters) / row.max(1)).max(BLOCK_ROWS);
    batch.div_ceil(batch.div_ceil(most).max(1)).next_multiple_of(BLOCK_ROWS).min(batch)
}

/// Bytes that a training takes, its data aside: initial and kept weights, weights, gradient and two moments; of each
/// layer output, pre-activation and gradient of a block of rows; targets and loss of the whole batch; of every worker
/// two layers' outputs of a block of an evaluation. What operands are packed in is left out.
pub fn training_bytes(plan: &Plan, batch: usize, threads: usize) -> f64 {
    let widths: usize = plan.layers.iter().map(|layer| layer.outputs).sum::<usize>() + plan.inputs;
    let (parameters, block) = (plan.parameters as f64, block_rows(plan, batch) as f64);
    let workers = threads as f64 * 2.0 * EVAL_ROWS as f64 * plan.widest() as f64;
    4.0 * (6.0 * parameters + 3.0 * widths as f64 * block + (plan.outputs + 1) as f64 * batch as f64 + workers)
}

pub(super) struct Net {
    pub plan: Plan,
    pub arena: Arena,
    pub isa: Isa,
    /// What products may be computed by at the least exact.
    method: Method,
    pub criterion: Criterion,
    pub rule: UpdateRule,
    pub key: Key,
    /// Weights, gradient and optimizer state, each in the order of the arena.
    pub weights: Shared<f32>,
    pub gradients: Shared<f32>,
    pub slots: [Shared<f32>; 2],
    /// Hypergradient descent of the rate, where it was asked for.
    pub adapt: Option<Adapt>,
    /// The weights kept last by `snapshot`.
    kept: Vec<f32>,
    /// Rows of a batch that go through the network together ([`block_rows`]).
    pub block: usize,
    /// h[0] are the rows of a block, h[l + 1] the output of layer l: rows × width.
    pub h: Vec<Shared<f32>>,
    /// The rows of a dataset of bytes, in place of h[0]; empty where bytes are never multiplied.
    pub bytes: Shared<u8>,
    /// Pre-activations of the layers whose derivative needs them, else empty.
    pub z: Vec<Shared<f32>>,
    /// dL/dz of every layer but the last: rows × width.
    pub dz: Vec<Shared<f32>>,
    /// dL/dh of one layer and of the one before it, in turn: rows × widest, where layers have skip connections.
    pub dh: [Shared<f32>; 2],
    /// Targets and losses of the whole batch.
    pub labels: Shared<u32>,
    pub values: Shared<f32>,
    pub row_losses: Shared<f32>,
    /// Σg² of each chunk of the arena, for clipping.
    pub chunk_norms: Shared<f64>,
    /// Summed loss of each block of an evaluation.
    pub block_sums: Vec<f64>,
    pub workers: Vec<Mutex<WorkerMemory>>,
}

/// Which step, and which rows of its batch.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// Rows of the dataset.
    pub rows: &'a [u32],
    /// Where they begin in the batch …
    pub first: usize,
    /// … and how many that has.
    pub batch: usize,
    /// Its number, from 0.
    pub step: u64,
    /// Learning rate.
    pub rate: f32,
    /// What the optimizer makes of both.
    pub scalars: Scalars,
    /// What a byte of these rows stands for, where the first layer multiplies bytes.
    pub byte: Option<f32>,
}

impl Step<'_> {
    /// Whether these are the last rows of the batch.
    pub fn is_last(&self) -> bool {
        self.first + self.rows.len() == self.batch
    }

    /// Where some of these rows lie in the batch.
    pub fn in_batch(&self, rows: &Range<usize>) -> Range<usize> {
        self.first + rows.start..self.first + rows.end
    }
}

/// What a worker needs for itself.
pub(super) struct WorkerMemory {
    pub scratch: Scratch,
    /// db of a layer: at most the widest.
    pub sums: Vec<f32>,
    /// Two layers' outputs of an evaluation block: EVAL_ROWS × widest.
    pub eval: [Vec<f32>; 2],
    pub losses: Vec<f32>,
}

impl Net {
    pub fn new(member: &Member<'_>, cpu: &Cpu) -> Self {
        let Cpu { isa, threads, .. } = *cpu;
        let (plan, batch, method) = (member.plan.clone(), member.batch_size, super::method(member.precision));
        let block = cpu.block.unwrap_or_else(|| block_rows(&plan, batch));
        let arena = Arena::new(&plan, isa);
        let slot = |i: usize| Shared::new(if i < member.update.optimizer.slots() { arena.len } else { 0 });
        let mut weights = Shared::new(arena.len);
        arena.arrange(&plan, member.weights, weights.get_mut());
        let widest_output = plan.layers.iter().map(|layer| layer.outputs).max().unwrap_or(0);
        let residual = plan.layers.iter().any(|layer| layer.residual);
        let dh = || Shared::new(if residual { block * widest_output } else { 0 });
        let classes = member.criterion.loss == Loss::CrossEntropy;
        let widths = std::iter::once(plan.inputs).chain(plan.layers.iter().map(|layer| layer.outputs));
        let native = |method: Method| if method.is_native(isa) { method } else { Method::F32 };
        let (most, exact) = (native(method), native(super::method(Precision::Highest)));
        let bytes = if multiplies_bytes(isa, &plan, block, method) { block * plan.inputs } else { 0 };
        let worker = || {
            let widest = plan.widest();
            let mut scratch = Scratch::default();
            for &Layer { inputs, outputs, .. } in &plan.layers {
                // Evaluation, forward, dX, dW; a smaller last batch may be computed by another method than the others.
                scratch.reserve_by(isa, exact, EVAL_ROWS, inputs, outputs);
                scratch.reserve_by(isa, most, block, inputs, outputs);
                scratch.reserve_by(isa, most, block, outputs, inputs);
                scratch.reserve_parts(isa, most, inputs, block, outputs);
            }
            Mutex::new(WorkerMemory {
                scratch,
                sums: vec![0.0; widest],
                eval: [vec![0.0; EVAL_ROWS * widest], vec![0.0; EVAL_ROWS * widest]],
                losses: vec![0.0; EVAL_ROWS],
            })
        };
        Net {
            isa,
            method,
            criterion: member.criterion.clone(),
            rule: member.update,
            key: Key::new(member.seed).derive(member.slot),
            gradients: Shared::new(arena.len),
            slots: [slot(0), slot(1)],
            adapt: member.update.hypergradient.map(|beta| Adapt::new(beta, arena.len)),
            kept: weights.get_mut().to_vec(),
            weights,
            h: widths.map(|width| Shared::new(block * width)).collect(),
            block,
            bytes: Shared::new(bytes),
            z: plan.layers.iter().map(|l| Shared::new(if keeps_z(l) { block * l.outputs } else { 0 })).collect(),
            dz: plan.layers.iter().rev().skip(1).rev().map(|l| Shared::new(block * l.outputs)).collect(),
            dh: [dh(), dh()],
            labels: Shared::new(if classes { batch } else { 0 }),
            values: Shared::new(if classes { 0 } else { batch * plan.outputs }),
            row_losses: Shared::new(batch),
            chunk_norms: Shared::new(arena.len.div_ceil(CHUNK)),
            block_sums: Vec::new(),
            workers: (0..threads).map(|_| worker()).collect(),
            plan,
            arena,
        }
    }

    /// Makes the steps of a run.
    pub fn advance(&mut self, cpu: &Cpu, data: &Dataset, run: &mut Run<'_>) {
        let steps = run.rates.len();
        // Only the first worker writes losses; the lock, never contended, says so to the compiler.
        let losses = Mutex::new(std::mem::take(&mut run.losses));
        let (net, steps_of) = (&*self, &*run);
        let workers = cpu.team(|worker| {
            let mut memory = net.memory(worker.index);
            let mut losses = (worker.index == 0).then(|| losses.lock().unwrap_or_else(PoisonError::into_inner));
            for i in 0..steps {
                let step = steps_of.first_step + i as u64;
                let rate = steps_of.rates[i];
                let rows = steps_of.step_rows(i);
                let scalars = net.scalars(rate, step);
                let at = Step { rows, first: 0, batch: rows.len(), step, rate, scalars, byte: None };
                let loss = net.step(worker, &mut memory, data, at);
                if let Some(losses) = &mut losses {
                    losses[i] = loss;
                }
            }
        });
        cpu.count(steps, workers);
        if let Some(adapt) = &mut self.adapt {
            adapt.settle(run.first_step + steps as u64);
        }
        run.losses = losses.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// What the optimizer makes of the rate in that step, counted from 0.
    pub fn scalars(&self, rate: f32, step: u64) -> Scalars {
        Scalars::new(self.rule.optimizer, self.rule.weight_decay, rate, step + 1)
    }

    /// How a product m × k × n of layer `l` is computed, whichever part of it a worker has; `byte` is that of the step.
    pub fn method(&self, l: usize, byte: Option<f32>, m: usize, k: usize, n: usize) -> Method {
        self.method.choose(self.isa, l == 0 && byte.is_some(), m, k, n)
    }

    /// What a byte stands for, where `rows` rows of `data` are multiplied as bytes; a smaller last block may not be.
    pub fn byte(&self, data: &Dataset, rows: usize) -> Option<f32> {
        let Features::U8 { scale, .. } = &data.features else { return None };
        let room = rows * self.plan.inputs <= self.bytes.len();
        (room && multiplies_bytes(self.isa, &self.plan, rows, self.method)).then_some(*scale)
    }

    /// Features of those rows of a block.
    ///
    /// # Safety
    /// Nobody writes them while the view lives.
    pub unsafe fn batch(&self, byte: Option<f32>, rows: Range<usize>, cols: Range<usize>) -> Left<'_> {
        let width = self.plan.inputs;
        // SAFETY: by the caller's promise.
        unsafe {
            match byte {
                None => self.h[0].block(rows_of(width), rows, cols).into(),
                Some(scale) => {
                    let bytes =
                        Matrix::row_major(self.bytes.part(rows.start * width..rows.end * width), rows.len(), width);
                    Left::Bytes(bytes.block(0..rows.len(), cols), scale)
                }
            }
        }
    }

    /// A worker's own memory. Each worker locks its own, so nobody ever waits.
    pub fn memory(&self, worker: usize) -> MutexGuard<'_, WorkerMemory> {
        self.workers[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a step needs the whole gradient before it changes a weight.
    pub fn needs_whole_gradient(&self) -> bool {
        self.rule.clip_norm.is_some() || self.adapt.is_some()
    }

    pub fn snapshot(&mut self) {
        self.kept.copy_from_slice(self.weights.get_mut());
    }

    pub fn restore(&mut self) {
        self.weights.get_mut().copy_from_slice(&self.kept);
    }

    pub fn weights(&self) -> Vec<f32> {
        self.restored(&self.weights)
    }

    pub fn moments(&self) -> Vec<Vec<f32>> {
        self.slots.iter().take(self.rule.optimizer.slots()).map(|slot| self.restored(slot)).collect()
    }

    /// A buffer of the arena in the order of the plan.
    fn restored(&self, values: &Shared<f32>) -> Vec<f32> {
        let mut plain = vec![0.0; self.plan.parameters];
        // SAFETY: no step runs while the net is borrowed here: steps run inside `&mut self` methods.
        self.arena.restore(&self.plan, unsafe { values.part(0..values.len()) }, &mut plain);
        plain
    }

    pub fn set_moments(&mut self, moments: &[Vec<f32>]) {
        for (i, slot) in self.slots.iter_mut().take(self.rule.optimizer.slots()).enumerate() {
            match moments.get(i) {
                Some(given) => self.arena.arrange(&self.plan, given, slot.get_mut()),
                None => slot.get_mut().fill(0.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, ModelSpec};

    #[test]
    fn memory_is_for_a_block_of_rows_and_for_every_worker() {
        let plan = Plan::new(&ModelSpec::uniform(&[1000], Activation::Relu, 0.0), 8, 2).expect("a network");
        let bytes = |batch, threads| training_bytes(&plan, batch, threads);
        assert!(bytes(1_000_000, 1) < 100e6, "not 12 GB for all rows: {:e}", bytes(1_000_000, 1));
        assert!(bytes(64, 1) >= 4.0 * (6 * plan.parameters + 2 * 256 * 1000) as f64);
        assert_eq!(bytes(64, 3) - bytes(64, 1), 4.0 * (2 * 2 * 256 * 1000) as f64);
    }

    #[test]
    fn blocks_are_even_and_no_smaller_than_the_pass_over_the_weights_is_worth() {
        let block = |inputs, hidden: &[usize], batch| {
            let plan = Plan::new(&ModelSpec::uniform(hidden, Activation::Relu, 0.0), inputs, 10).expect("a network");
            block_rows(&plan, batch)
        };
        assert_eq!(block(784, &[64, 64], 1), 1);
        assert_eq!(block(784, &[64, 64], 512), 512);
        assert_eq!(block(784, &[64, 64], 1024), 512);
        assert_eq!(block(784, &[64, 64], 4096), 704);
        // Large networks: adding up gradients would cost more than the caches save.
        assert_eq!(block(784, &[2048, 2048, 2048], 2048), 2048);
        assert_eq!(block(54, &[], 100_000), 10_016);
        // Rows that are wider than all caches: 39 at the most, three even blocks of 34, rounded up.
        assert_eq!(block(5_000_000, &[], 100), 64);
        assert_eq!(block(5_000_000, &[], 32), 32);
    }
}
