//! From a member to the tables that kernels read: its model, its layers, and what blocks do in each phase of a step.
//!
//! Nothing here talks to a device: a [`Network`] is made from a member and an address, and is added to the rounds that
//! it takes part in.

use super::descriptor::{Address, CHUNK, COLUMNS, Layer, Model, ROWS, Rate, Tile, flags};
use super::memory::{Layout, needs_whole_gradient};
use super::persistent;
use super::products::{Pass, Products};
use crate::backend::{Member, Precision, UpdateRule};
use crate::model::{Activation, Criterion, Loss, Plan};
use crate::random::Purpose;
use hpt_kernels::dropout::Dropout;
use hpt_kernels::optimizer::{Optimizer, Scalars, one_less};
use hpt_kernels::philox::Key;

/// What a dispatcher needs to know of a member.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Shapes and offsets.
    pub plan: Plan,
    /// What is minimised.
    pub criterion: Criterion,
    /// The update rule.
    pub update: UpdateRule,
    /// Keys dropout.
    pub key: Key,
    /// Largest number of rows of a step.
    pub batch: usize,
    /// How its products may be computed.
    pub precision: Precision,
    /// Initial weights.
    pub weights: Vec<f32>,
    /// Where its buffers are.
    pub layout: Layout,
}

impl Blueprint {
    /// That of a member.
    pub fn new(member: &Member<'_>) -> Self {
        Blueprint {
            plan: member.plan.clone(),
            criterion: member.criterion.clone(),
            update: member.update,
            key: Key::new(member.seed).derive(member.slot),
            batch: member.batch_size,
            precision: member.precision,
            weights: member.weights.to_vec(),
            layout: Layout::new(member),
        }
    }

    /// The scalars of the steps from `first` on.
    pub fn rates(update: &UpdateRule, first: u64, rates: &[f32]) -> Vec<Rate> {
        let of = |(i, &rate): (usize, &f32)| {
            let t = first + i as u64 + 1;
            let Scalars { shrink, corrected, root, inverse } =
                Scalars::new(update.optimizer, update.weight_decay, rate, t);
            Rate { rate, shrink, corrected, root, inverse, rest: [0.0; 3] }
        };
        rates.iter().enumerate().map(of).collect()
    }
}

/// What the subject of a tile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A layer of the model.
    Layer,
    /// The model.
    Model,
}

/// When in a step a kernel runs; the order of the numbers is that of the phases.
pub mod order {
    /// Input dropout.
    pub const GATHER: u32 = 0;
    /// Forward of the first layer; the others follow.
    pub const FORWARD: u32 = 1;
    /// The loss, or of an evaluation the link.
    pub const LOSS: u32 = 1 << 30;
    /// Backward of layer l comes l before this.
    pub const BACKWARD: u32 = 1 << 31;
    /// dW and what it does at once.
    pub const LEARN: u32 = BACKWARD + 1;
    /// Sums over the whole gradient.
    pub const NORMS: u32 = BACKWARD + 2;
    /// The optimizer on the whole gradient.
    pub const UPDATE: u32 = BACKWARD + 3;
    /// The step's loss.
    pub const FINISH: u32 = BACKWARD + 4;
    /// All steps of a round by one block.
    pub const WHOLE: u32 = u32::MAX;
}

/// A model's part of one launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// See [`order`].
    pub order: u32,
    /// The kernel.
    pub kernel: &'static str,
    /// What the tiles' subjects are, counted from the model's first layer or the model itself.
    pub subject: Subject,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// One a block.
    pub tiles: Vec<Tile>,
}

impl Phase {
    /// One tile a part of the model.
    fn of_model(order: u32, kernel: &'static str, parts: usize) -> Self {
        let tiles = (0..parts as u32).map(|place| Tile { subject: 0, place }).collect();
        Phase { order, kernel, subject: Subject::Model, shared: 0, tiles }
    }
}

/// A model as the tables have it; `features`, `targets` and `first` are set when it takes part in a round.
#[derive(Clone, Debug)]
pub struct Network {
    /// Bytes of shared memory of the block that makes all steps of a round; none where a step is made of launches.
    pub resident: Option<u32>,
    /// The entry of the model.
    pub model: Model,
    /// The entries of its layers.
    pub layers: Vec<Layer>,
    /// What its steps are made of.
    pub phases: Vec<Phase>,
}

impl Network {
    /// The network of a member whose allocation begins at `base`, on a device whose blocks have `shared` bytes.
    pub fn of(blueprint: &Blueprint, base: Address, products: &Products, shared: usize) -> Self {
        let Blueprint { plan, layout, update, .. } = blueprint;
        let at = |offset: usize| base + offset as Address;
        let or_none = |offset: Option<usize>| offset.map_or(0, at);
        let gradient = or_none(layout.gradient);
        let mut model = entry(blueprint, or_none(layout.class_weights));
        model.x0 = or_none(layout.x0);
        model.outputs = layout.layers.last().map_or(0, |layer| at(layer.y));
        model.row_losses = at(layout.row_losses);
        model.weights = at(layout.weights);
        model.slots = layout.slots.map(or_none);
        model.gradient = gradient;
        (model.partials, model.offset) = (at(layout.partials), at(layout.offset));
        (model.direction, model.beta) = (or_none(layout.direction), update.hypergradient.unwrap_or(0.0));
        model.clip_norm = update.clip_norm.unwrap_or(0.0);
        let mut layers = layers(blueprint, model.weights);
        let mut x = model.x0;
        for (l, (layer, buffers)) in layers.iter_mut().zip(&layout.layers).enumerate() {
            let offset = 4 * plan.layers[l].weights.start as Address;
            let part = |arena: Address| if arena == 0 { 0 } else { arena + offset };
            (layer.x, layer.y, layer.z) = (x, at(buffers.y), or_none(buffers.z));
            (layer.dz, layer.dy) = (at(buffers.dz), or_none(buffers.dy));
            layer.slots = model.slots.map(part);
            layer.gradient = part(gradient);
            let dropout = dropout(plan.layers[l].dropout);
            (layer.threshold, layer.kept) = dropout;
            x = layer.y;
        }
        let slots = update.optimizer.slots();
        let resident = match products.has_epoch() {
            true => persistent::settle(&mut model, &mut layers, slots, blueprint.batch, shared),
            false => None,
        };
        let phases = match resident {
            Some(bytes) => vec![Phase { shared: alike(bytes, shared), ..Phase::of_model(order::WHOLE, "epoch", 1) }],
            None => step(blueprint, products),
        };
        Network { resident, model, layers, phases }
    }

    /// The network for outputs of rows in blocks of `block`: each layer's outputs go to one of two buffers in turn,
    /// those of the last to `outputs`.
    pub fn evaluating(blueprint: &Blueprint, base: Address, buffers: &Evaluating, products: &Products) -> Self {
        let Blueprint { plan, layout, .. } = blueprint;
        let class_weights = layout.class_weights.map_or(0, |offset| base + offset as Address);
        let mut model = entry(blueprint, class_weights);
        model.weights = base + layout.weights as Address;
        (model.outputs, model.row_losses, model.row_hits) = (buffers.outputs, buffers.row_losses, buffers.row_hits);
        let mut layers = layers(blueprint, model.weights);
        let (last, mut x) = (layers.len() - 1, 0);
        for (l, layer) in layers.iter_mut().enumerate() {
            (layer.x, layer.y) = (x, if l == last { buffers.outputs } else { buffers.between[l % 2] });
            layer.kept = 1.0;
            if l == last {
                layer.flags |= flags::STEPPING;
            }
            x = layer.y;
        }
        let mut phases = forward(plan, buffers.block, Precision::Highest, products);
        phases.push(Phase::of_model(order::LOSS, "link", buffers.block.div_ceil(ROWS)));
        phases.push(Phase::of_model(order::FINISH, "total", 1));
        if let Some(columns) = buffers.columns {
            model.partials = columns;
            phases.push(Phase::of_model(order::FINISH, "count", plan.outputs.div_ceil(COLUMNS)));
        }
        Network { resident: None, model, layers, phases }
    }
}

impl Network {
    /// The forward product y (m × n) of x (m × k) and w (k × n, then n zeros or more), at these addresses, by a kernel
    /// and the size of its tiles.
    pub fn product([m, n, k]: [usize; 3], [x, w, y]: [Address; 3], kernel: (&'static str, (usize, usize))) -> Self {
        let layer = Layer { x, y, weights: w, inputs: k as u32, outputs: n as u32, kept: 1.0, ..Layer::default() };
        let (kernel, (rows, columns)) = kernel;
        let tile = |place: usize| Tile { subject: 0, place: place as u32 };
        let tiles = (0..m.div_ceil(rows) * n.div_ceil(columns)).map(tile).collect();
        let phase = Phase { order: order::FORWARD, kernel, subject: Subject::Layer, shared: 0, tiles };
        let model = Model { inputs: k as u32, width: n as u32, layers: 1, ..Model::default() };
        Network { resident: None, model, layers: vec![layer], phases: vec![phase] }
    }
}

/// Bytes of shared memory that a block of the kernel `epoch` has of its own, and that the driver keeps of each.
const OWN: u32 = 1024;

/// The dynamic shared memory for a block that needs so much, the same for all of which as many fit a multiprocessor:
/// they share a launch.
fn alike(bytes: u32, limit: usize) -> u32 {
    let limit = limit as u32;
    let count = (limit / (bytes + OWN)).max(1);
    ((limit / count - OWN) & !15).max(bytes)
}

/// Where the outputs of an evaluation go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluating {
    /// Rows of a block.
    pub block: usize,
    /// Two of block × the widest hidden layer, f32.
    pub between: [Address; 2],
    /// All rows × outputs, f32.
    pub outputs: Address,
    /// One f32 a row of a block.
    pub row_losses: Address,
    /// One u32 a row of a block.
    pub row_hits: Address,
    /// Four f64 an output and block, where columns are counted.
    pub columns: Option<Address>,
}

/// Threshold and factor of a dropout.
fn dropout(probability: f32) -> (u32, f32) {
    if probability == 0.0 {
        return (0, 1.0);
    }
    let any = Dropout { key: Key([0, 0]), step: 0, purpose: 0, probability, row: 0, col: 0, width: 1 };
    (any.threshold(), any.scale())
}

/// What a model's entry holds beside addresses of its buffers.
fn entry(blueprint: &Blueprint, class_weights: Address) -> Model {
    let Blueprint { plan, criterion, update, key, .. } = blueprint;
    let (loss, delta) = match criterion.loss {
        Loss::CrossEntropy => (0, 0.0),
        Loss::BinaryCrossEntropy => (1, 0.0),
        Loss::Mse => (2, 0.0),
        Loss::Huber { delta } => (3, delta as f32),
    };
    let (optimizer, constants) = match update.optimizer {
        Optimizer::Sgd => (0, [0.0; 4]),
        Optimizer::Momentum { momentum } => (1, [momentum, 0.0, 0.0, 0.0]),
        Optimizer::Nesterov { momentum } => (2, [momentum, 0.0, 0.0, 0.0]),
        Optimizer::Adam { beta1, beta2, epsilon } => (3, [beta2, one_less(beta1), one_less(beta2), epsilon]),
        Optimizer::AdamW { beta1, beta2, epsilon } => (4, [beta2, one_less(beta1), one_less(beta2), epsilon]),
        Optimizer::RmsProp { alpha, epsilon, momentum } => {
            let kind = if momentum == 0.0 { 5 } else { 6 };
            (kind, [alpha, one_less(alpha), epsilon, momentum])
        }
    };
    let decoupled = matches!(update.optimizer, Optimizer::AdamW { .. });
    let weight_sum = match &criterion.class_weights {
        Some(weights) => weights.iter().map(|&w| f64::from(w)).sum::<f64>() as f32,
        None => plan.outputs as f32,
    };
    let (input_threshold, input_scale) = dropout(plan.input_dropout);
    Model {
        class_weights,
        parameters: plan.parameters as u64,
        scale: 1.0,
        inputs: plan.inputs as u32,
        width: plan.outputs as u32,
        layers: plan.layers.len() as u32,
        key: key.0,
        input_threshold,
        input_scale,
        loss,
        delta,
        smoothing: criterion.label_smoothing,
        weight_sum,
        optimizer,
        constants,
        weight_decay: if decoupled { 0.0 } else { update.weight_decay },
        l1: update.l1,
        ..Model::default()
    }
}

/// What the entries of layers hold beside the addresses of buffers.
fn layers(blueprint: &Blueprint, weights: Address) -> Vec<Layer> {
    let last = blueprint.plan.layers.len() - 1;
    let of = |(l, layer): (usize, &crate::model::Layer)| Layer {
        weights: weights + 4 * layer.weights.start as Address,
        inputs: layer.inputs as u32,
        outputs: layer.outputs as u32,
        activation: activation(layer.activation),
        purpose: Purpose::Dropout as u32 + l as u32 + 1,
        flags: (u32::from(layer.residual) * flags::RESIDUAL)
            | (u32::from(l == 0) * flags::FIRST)
            | (u32::from(l == last) * flags::LAST),
        ..Layer::default()
    };
    blueprint.plan.layers.iter().enumerate().map(of).collect()
}

/// Its number in `descriptor.cuh`, which is its place in the table of the CPU's kernels.
fn activation(activation: Activation) -> u32 {
    Activation::ALL.iter().position(|other| *other == activation).unwrap_or(0) as u32
}

/// The forward products over `rows` rows.
fn forward(plan: &Plan, rows: usize, precision: Precision, products: &Products) -> Vec<Phase> {
    let of = |(l, layer): (usize, &crate::model::Layer)| {
        let shape = [rows, layer.outputs, layer.inputs];
        product(order::FORWARD + l as u32, Pass::Forward, l, shape, precision, products)
    };
    plan.layers.iter().enumerate().map(of).collect()
}

/// A phase of all tiles of one product m × n over k.
fn product(
    order: u32,
    pass: Pass,
    layer: usize,
    shape: [usize; 3],
    precision: Precision,
    products: &Products,
) -> Phase {
    let (kernel, (rows, columns)) = products.kernel(pass, shape, precision);
    let tiles = shape[0].div_ceil(rows) * shape[1].div_ceil(columns);
    let tile = |place: usize| Tile { subject: layer as u32, place: place as u32 };
    Phase { order, kernel, subject: Subject::Layer, shared: 0, tiles: (0..tiles).map(tile).collect() }
}

/// The phases of a training step.
fn step(blueprint: &Blueprint, products: &Products) -> Vec<Phase> {
    let Blueprint { plan, update, batch, precision, layout, .. } = blueprint;
    let (batch, precision) = (*batch, *precision);
    let mut phases = Vec::new();
    if layout.x0.is_some() {
        phases.push(Phase::of_model(order::GATHER, "gather", batch.div_ceil(ROWS)));
    }
    phases.extend(forward(plan, batch, precision, products));
    phases.push(Phase::of_model(order::LOSS, "loss", batch.div_ceil(ROWS)));
    for (l, layer) in plan.layers.iter().enumerate().skip(1) {
        let shape = [batch, layer.inputs, layer.outputs];
        phases.push(product(order::BACKWARD - l as u32, Pass::Backward, l, shape, precision, products));
    }
    for (l, layer) in plan.layers.iter().enumerate() {
        let shape = [layer.inputs, layer.outputs, batch];
        phases.push(product(order::LEARN, Pass::Learn, l, shape, precision, products));
    }
    let chunks = plan.parameters.div_ceil(CHUNK);
    if needs_whole_gradient(update) {
        let sums = if update.hypergradient.is_some() { "turn" } else { "norms" };
        phases.push(Phase::of_model(order::NORMS, sums, chunks));
        phases.push(Phase::of_model(order::UPDATE, "update", chunks));
    }
    phases.push(Phase::of_model(order::FINISH, "finish", 1));
    phases
}
