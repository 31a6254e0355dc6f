//! Hypergradient descent of the learning rate (see
//! [`UpdateRule::hypergradient`](crate::backend::UpdateRule::hypergradient)): the step that needs the whole gradient
//! once more, to hold it against the direction of the step before.
//!
//! The product of the two is summed in `f64` over fixed chunks in a fixed order, sixteen sums a chunk, so that neither
//! the number of workers nor the instruction set shows in the rate. It costs two passes over the arena.

use super::memory::Shared;
use super::net::{Net, Step};
use super::team::Worker;
use crate::backend::adapted;
use hpt_kernels::optimizer::{Optimizer, Scalars};
use hpt_kernels::reduce::CHUNK;

/// Sums of a chunk.
const SUMS: usize = 16;

/// What adapting a rate needs.
pub(super) struct Adapt {
    /// β
    pub beta: f64,
    /// What has been added to the rates before the even steps and before the odd ones: while one is read the other is
    /// written.
    offsets: Shared<f64>,
    /// The last step's direction, in the order of the arena: weights changed by −rate · direction.
    direction: Shared<f32>,
}

impl Adapt {
    pub fn new(beta: f64, len: usize) -> Self {
        Adapt { beta, offsets: Shared::new(2), direction: Shared::new(len) }
    }

    /// What has been added before `step`; from then on whatever the next step is.
    pub fn settle(&mut self, step: u64) {
        let offsets = self.offsets.get_mut();
        offsets.fill(offsets[(step % 2) as usize]);
    }

    pub fn offset(&self) -> f64 {
        // SAFETY: no step runs while the net is borrowed, as in `Net::weights`.
        let offsets = unsafe { self.offsets.part(0..1) };
        offsets[0]
    }
}

impl Net {
    /// New weights from the whole gradient with the rate that it asks for; each worker for its own chunks.
    pub fn learn_adapted(&self, worker: &Worker<'_>, adapt: &Adapt, at: Step<'_>) {
        worker.wait();
        let part = worker.share(self.arena.len, CHUNK);
        let chunks = part.start.div_ceil(CHUNK)..part.end.div_ceil(CHUNK);
        let (now, next) = ((at.step % 2) as usize, ((at.step + 1) % 2) as usize);
        // SAFETY: phase rule: gradients are only read; each worker writes its own chunks' sums, weights, state and
        // direction; the sums are read after the barrier; only the first worker writes the offset, where nobody reads.
        unsafe {
            let (gradients, weights) = (self.gradients.part(part.clone()), self.weights.part(part.clone()));
            let direction = adapt.direction.part_mut(part.clone());
            let sums = self.chunk_norms.part_mut(chunks);
            for (i, sum) in sums.iter_mut().enumerate() {
                let chunk = i * CHUNK..gradients.len().min((i + 1) * CHUNK);
                *sum = self.turn(&gradients[chunk.clone()], &weights[chunk.clone()], &mut direction[chunk]);
            }
            worker.wait();
            let product = self.chunk_norms.part(0..self.chunk_norms.len()).iter().sum::<f64>();
            let offset = adapt.offsets.part(now..now + 1)[0] + adapt.beta * product;
            let (rate, offset) = adapted(at.rate, offset);
            if worker.index == 0 {
                adapt.offsets.part_mut(next..next + 1)[0] = offset;
            }
            let at = Step { rate, scalars: self.scalars(rate, at.step), ..at };
            self.update(part.clone(), gradients, 1.0, at);
            let slot = |i: usize| self.slots[i].part(part.clone());
            match self.rule.optimizer {
                Optimizer::Momentum { .. } => direction.copy_from_slice(slot(0)),
                Optimizer::Nesterov { momentum } => {
                    direction.iter_mut().zip(slot(0)).for_each(|(d, b)| *d += momentum * b);
                }
                Optimizer::Adam { epsilon, .. } => {
                    let Scalars { inverse: scale, root, .. } = at.scalars;
                    for ((d, m), v) in direction.iter_mut().zip(slot(0)).zip(slot(1)) {
                        *d = m * scale / (v.sqrt() * root + epsilon);
                    }
                }
                // Sgd's is the gradient; the others are not adapted.
                _ => {}
            }
        }
    }

    /// Puts the gradient of the whole objective in the direction's place and returns the product of the two.
    fn turn(&self, gradients: &[f32], weights: &[f32], direction: &mut [f32]) -> f64 {
        let (decay, l1) = (self.rule.weight_decay, self.rule.l1);
        let mut sums = [0.0; SUMS];
        let rows = gradients.chunks(SUMS).zip(weights.chunks(SUMS)).zip(direction.chunks_mut(SUMS));
        for ((gradients, weights), direction) in rows {
            for (((sum, g), w), d) in sums.iter_mut().zip(gradients).zip(weights).zip(direction) {
                let sign = if *w == 0.0 { 0.0 } else { w.signum() };
                let whole = g + decay * w + l1 * sign;
                *sum += f64::from(whole) * f64::from(*d);
                *d = whole;
            }
        }
        sums.iter().sum()
    }
}
