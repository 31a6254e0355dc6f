//! What a model needs of a GPU's memory, planned before it starts, and how much of the memory is taken.
//!
//! A model has one allocation for everything its steps need; row numbers and rates of a long run go through a window of
//! fixed length. So nothing is allocated between [`begin`](crate::backend::Backend::begin) and the end, and what fits
//! at the start fits for good.

use super::descriptor::{CHUNK, Rate};
use super::products::Shape;
use crate::backend::{Member, UpdateRule, keeps_z};
use crate::model::Plan;

/// Where every buffer begins: a multiple of this.
pub const ALIGN: usize = 256;

/// Row numbers that a model's window holds, about: a quarter of a MiB.
const WINDOW: usize = 1 << 16;

/// Counts bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Space(pub usize);

impl Space {
    /// The offset of the next `n` elements of `size` bytes.
    pub fn take(&mut self, n: usize, size: usize) -> usize {
        let at = self.0;
        self.0 += (n * size).next_multiple_of(ALIGN);
        at
    }
}

/// Offsets of a layer's buffers, in bytes; each is rows of a batch × outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerBuffers {
    /// Outputs.
    pub y: usize,
    /// Pre-activations, where the derivative needs them.
    pub z: Option<usize>,
    /// dL/dz; of the last layer that is its y.
    pub dz: usize,
    /// dL/dy, where a skip connection goes around the layer.
    pub dy: Option<usize>,
}

/// Offsets of a model's buffers in its allocation, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Length of the allocation.
    pub bytes: usize,
    /// The arena of parameters.
    pub weights: usize,
    /// The weights kept by the last snapshot.
    pub kept: usize,
    /// The optimizer's vectors.
    pub slots: [Option<usize>; 2],
    /// The whole gradient, where a step needs it.
    pub gradient: Option<usize>,
    /// The last step's direction, where the rate is adapted.
    pub direction: Option<usize>,
    /// f64, one a chunk of the arena.
    pub partials: usize,
    /// f64, what has been added to the rate.
    pub offset: usize,
    /// The batch by itself, where it is wanted.
    pub x0: Option<usize>,
    /// One a row of a batch.
    pub row_losses: usize,
    /// One a class or label, where they are weighted.
    pub class_weights: Option<usize>,
    /// Each layer's.
    pub layers: Vec<LayerBuffers>,
    /// The window's rates, one a step.
    pub rates: usize,
    /// The window's row numbers.
    pub rows: usize,
    /// Row numbers that the window holds: at least a batch.
    pub window: usize,
    /// Rates that it holds.
    pub window_steps: usize,
}

/// Whether a step needs the whole gradient before it changes a weight.
pub fn needs_whole_gradient(update: &UpdateRule) -> bool {
    update.clip_norm.is_some() || update.hypergradient.is_some()
}

/// Whether a step begins with bringing the batch's rows together: where they have dropout, and where the first layer
/// has large products. Those are fast for operands of f32 whose rows follow one another, and the way of the rows is a
/// hundredth of them.
fn gathers(plan: &Plan, batch: usize) -> bool {
    let (inputs, outputs) = (plan.inputs, plan.layers[0].outputs);
    let large = |m: usize, k: usize| Shape::of(m, outputs, k) == Shape::Large;
    plan.input_dropout > 0.0 || large(batch, inputs) || large(inputs, batch)
}

impl Layout {
    /// The layout for a member.
    pub fn new(member: &Member<'_>) -> Self {
        let Member { plan, batch_size: batch, update, criterion, .. } = member;
        let (batch, parameters, floats) = (*batch, plan.parameters, size_of::<f32>());
        let mut space = Space::default();
        let (weights, kept) = (space.take(parameters, floats), space.take(parameters, floats));
        let slots = [0, 1].map(|i| (i < update.optimizer.slots()).then(|| space.take(parameters, floats)));
        let gradient = needs_whole_gradient(update).then(|| space.take(parameters, floats));
        let direction = update.hypergradient.map(|_| space.take(parameters, floats));
        let partials = space.take(parameters.div_ceil(CHUNK), size_of::<f64>());
        let offset = space.take(1, size_of::<f64>());
        let x0 = gathers(plan, batch).then(|| space.take(batch * plan.inputs, floats));
        let row_losses = space.take(batch, floats);
        let class_weights = criterion.class_weights.as_ref().map(|weights| space.take(weights.len(), floats));
        let layers = layers(&mut space, plan, batch);
        // Short batches would make the window of rates long.
        let window_steps = (WINDOW / batch.max(1)).clamp(1, 4096);
        let rates = space.take(window_steps, size_of::<Rate>());
        let window = window_steps * batch;
        let rows = space.take(window, size_of::<u32>());
        Layout {
            bytes: space.0,
            weights,
            kept,
            slots,
            gradient,
            direction,
            partials,
            offset,
            x0,
            row_losses,
            class_weights,
            layers,
            rates,
            rows,
            window,
            window_steps,
        }
    }
}

fn layers(space: &mut Space, plan: &Plan, batch: usize) -> Vec<LayerBuffers> {
    let last = plan.layers.len() - 1;
    let mut layers = Vec::with_capacity(plan.layers.len());
    for (l, layer) in plan.layers.iter().enumerate() {
        let mut buffer = || space.take(batch * layer.outputs, size_of::<f32>());
        let y = buffer();
        let z = keeps_z(layer).then(&mut buffer);
        let dz = if l == last { y } else { buffer() };
        let dy = layer.residual.then(&mut buffer);
        layers.push(LayerBuffers { y, z, dz, dy });
    }
    layers
}

/// How much of a GPU's memory is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// For models and data, in bytes.
    pub capacity: usize,
    /// For evaluations.
    pub evaluation: usize,
    /// Taken by models and data.
    pub taken: usize,
}

impl Budget {
    /// The plan for a device with so much free memory: an eighth, 2 GiB at most, for evaluations, a sixteenth for the
    /// tables of rounds and what the driver takes for itself.
    pub fn new(free: usize) -> Self {
        let evaluation = (free / 8).min(2 << 30);
        let rest = (free / 16).clamp((64 << 20).min(free / 4), 1 << 30);
        Budget { capacity: free - evaluation - rest, evaluation, taken: 0 }
    }

    /// Whether so much more fits now.
    pub fn has(&self, bytes: usize) -> bool {
        bytes <= self.capacity - self.taken.min(self.capacity)
    }
}

/// Bytes in MiB or GiB.
pub fn amount(bytes: usize) -> String {
    match bytes {
        1_073_741_824.. => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        _ => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}
