//! A whole run in one multiprocessor gives the bits that the kernels of single phases give, and leaves nothing unread.

use crate::harness::{Gpu, Job, Random, SHAPES};
use hpt_engine::backend::cuda::descriptor::{Layer, Model, ROWS, Rate, Run, Tables, Tile, flags};
use hpt_engine::backend::cuda::persistent::settle;

/// What a model is made of.
#[derive(Clone)]
struct Spec {
    widths: Vec<usize>,
    activation: u32,
    threshold: u32,
    input_threshold: u32,
    residual: bool,
    loss: u32,
    optimizer: u32,
    constants: [f32; 4],
    bytes: bool,
    batch: usize,
    rows: usize,
}

const SLOTS: [usize; 7] = [0, 1, 1, 2, 2, 1, 2];

/// A model on the device: its entries, and where its weights and losses are.
fn build(gpu: &mut Gpu, spec: &Spec) -> Job {
    let random = &mut Random::new(9);
    let steps = spec.rows.div_ceil(spec.batch);
    let data = 40;
    let (inputs, width) = (spec.widths[0], *spec.widths.last().unwrap());
    let parameters: usize = spec.widths.windows(2).map(|w| (w[0] + 1) * w[1]).sum();
    let features = if spec.bytes {
        let bytes: Vec<u8> = (0..data * inputs).map(|_| random.word() as u8).collect();
        gpu.bytes(&bytes)
    } else {
        gpu.f32s(&random.units(data * inputs))
    };
    let targets = match spec.loss {
        0 => gpu.u32s(&(0..data).map(|_| random.below(width) as u32).collect::<Vec<_>>()),
        _ => gpu.f32s(&(0..data * width).map(|_| random.below(2) as f32).collect::<Vec<_>>()),
    };
    let weights: Vec<f32> = random.units(parameters).iter().map(|w| 0.5 * w).collect();
    let weights = gpu.f32s(&weights);
    let slots = [0, 1].map(|i| if i < SLOTS[spec.optimizer as usize] { gpu.f32s(&vec![0.0; parameters]) } else { 0 });
    let class_weights: Vec<f32> = (0..width).map(|c| 1.0 + 0.5 * c as f32).collect();
    let mut model = Model {
        features,
        targets,
        class_weights: if spec.loss < 2 { gpu.f32s(&class_weights) } else { 0 },
        x0: if spec.input_threshold > 0 { gpu.room(4 * spec.batch * inputs) } else { 0 },
        row_losses: gpu.room(4 * spec.batch),
        weights,
        slots,
        parameters: parameters as u64,
        bytes: u32::from(spec.bytes),
        scale: 1.0 / 255.0,
        inputs: inputs as u32,
        width: width as u32,
        layers: spec.widths.len() as u32 - 1,
        key: [3, 4],
        input_threshold: spec.input_threshold,
        input_scale: 1.25,
        loss: spec.loss,
        delta: 0.5,
        smoothing: 0.1,
        weight_sum: class_weights.iter().sum(),
        optimizer: spec.optimizer,
        constants: spec.constants,
        weight_decay: 0.01,
        l1: 0.001,
        ..Model::default()
    };
    let (mut layers, mut x, mut offset) = (vec![], model.x0, 0);
    for (l, w) in spec.widths.windows(2).enumerate() {
        let last = l + 2 == spec.widths.len();
        let mut room = |wanted: bool| if wanted { gpu.room(4 * spec.batch * w[1]) } else { 0 };
        let residual = spec.residual && l > 0 && !last && w[0] == w[1];
        let y = room(true);
        layers.push(Layer {
            x,
            y,
            z: room(!last && (spec.activation > 1 || residual)),
            dz: if last { y } else { room(true) },
            dy: room(residual),
            weights: weights + 4 * offset,
            slots: slots.map(|slot| if slot == 0 { 0 } else { slot + 4 * offset }),
            inputs: w[0] as u32,
            outputs: w[1] as u32,
            activation: if last { 0 } else { spec.activation },
            threshold: if last { 0 } else { spec.threshold },
            kept: 1.5,
            purpose: 0x0600_0001 + l as u32,
            flags: if residual { flags::RESIDUAL } else { 0 },
            ..Layer::default()
        });
        x = y;
        offset += ((w[0] + 1) * w[1]) as u64;
    }
    model.outputs = x;
    let rate = |i: usize| Rate {
        rate: 0.05,
        shrink: 0.999,
        corrected: 0.05 / (i + 1) as f32,
        root: 1.5,
        inverse: 1.0,
        rest: [0.0; 3],
    };
    let numbers: Vec<u32> = (0..spec.rows).map(|_| random.below(data) as u32).collect();
    let run = Run {
        rows: gpu.u32s(&numbers),
        rates: gpu.put(&(0..steps).map(rate).collect::<Vec<_>>()),
        losses: gpu.room(8 * steps),
        first_step: 17,
        row_count: spec.rows as u32,
        steps: steps as u32,
        batch: spec.batch as u32,
        unused: 0,
    };
    Job { models: vec![model], layers, runs: vec![run], tiles: vec![] }
}

/// Losses, weights and state at the end.
fn outcome(gpu: &Gpu, spec: &Spec, job: &Job) -> Vec<u32> {
    let n = job.models[0].parameters as usize;
    let mut bits = gpu.read_u32s(job.runs[0].losses, 2 * spec.rows.div_ceil(spec.batch));
    bits.extend(gpu.read_u32s(job.models[0].weights, n));
    for slot in &job.models[0].slots[..SLOTS[spec.optimizer as usize]] {
        bits.extend(gpu.read_u32s(*slot, n));
    }
    bits
}

fn by_phases(spec: &Spec) -> Vec<u32> {
    let gpu = &mut Gpu::simt(1);
    let mut job = build(gpu, spec);
    let (small, layers) = (&SHAPES[0], job.layers.clone());
    for tick in 0..job.runs[0].steps {
        let mut phase = |name: &str, fill: &dyn Fn(&mut Job)| {
            job.tiles.clear();
            fill(&mut job);
            gpu.launch(name, &job, tick);
        };
        let blocks = spec.batch.div_ceil(ROWS);
        if spec.input_threshold > 0 {
            phase("gather", &|job| job.parts(0, blocks));
        }
        for (l, layer) in layers.iter().enumerate() {
            phase("forward_s", &|job| job.tile(l, [spec.batch, layer.outputs as usize], small));
        }
        phase("loss", &|job| job.parts(0, blocks));
        for (l, layer) in layers.iter().enumerate().skip(1).rev() {
            phase("backward_s", &|job| job.tile(l, [spec.batch, layer.inputs as usize], small));
        }
        for (l, layer) in layers.iter().enumerate() {
            phase("learn_s", &|job| job.tile(l, [layer.inputs as usize, layer.outputs as usize], small));
        }
        phase("finish", &|job| job.parts(0, 1));
    }
    outcome(gpu, spec, &job)
}

fn at_once(spec: &Spec, limit: usize, seed: u64) -> Vec<u32> {
    let gpu = &mut Gpu::simt(seed);
    let mut job = build(gpu, spec);
    // Gradients and outputs that do not fit stay in global memory.
    let slots = SLOTS[spec.optimizer as usize];
    let shared = settle(&mut job.models[0], &mut job.layers, slots, spec.batch, limit).expect("it fits");
    let tables = Tables {
        models: gpu.put(&job.models),
        layers: gpu.put(&job.layers),
        runs: gpu.put(&job.runs),
        tiles: gpu.put(&[Tile { subject: 0, place: 0 }]),
        tick: 0,
    };
    gpu.start("epoch", 1, shared, tables).unwrap_or_else(|fault| panic!("{fault}"));
    outcome(gpu, spec, &job)
}

fn spec() -> Spec {
    Spec {
        widths: vec![11, 19, 19, 5],
        activation: 1,
        threshold: 0,
        input_threshold: 0,
        residual: false,
        loss: 0,
        optimizer: 3,
        constants: [0.999, 0.1, 0.001, 1e-8],
        bytes: false,
        batch: 21,
        rows: 50,
    }
}

#[test]
fn a_run_at_once_gives_the_bits_of_single_phases() {
    let specs = [
        spec(),
        Spec { threshold: 1 << 30, input_threshold: 1 << 29, bytes: true, ..spec() },
        Spec { activation: 5, threshold: 1 << 30, residual: true, optimizer: 0, ..spec() },
        Spec { activation: 1, residual: true, loss: 1, optimizer: 6, constants: [0.9, 0.1, 1e-8, 0.5], ..spec() },
        Spec { widths: vec![3, 70, 1], activation: 7, loss: 3, optimizer: 2, constants: [0.9; 4], ..spec() },
        Spec { widths: vec![3, 2], loss: 2, batch: 1, rows: 3, optimizer: 1, constants: [0.9; 4], ..spec() },
        Spec { widths: vec![5, 4, 130, 6, 2], activation: 10, threshold: 1 << 30, batch: 9, ..spec() },
        Spec { optimizer: 4, ..spec() },
        Spec { optimizer: 5, constants: [0.9, 0.1, 1e-8, 0.0], ..spec() },
    ];
    for (i, spec) in specs.iter().enumerate() {
        let expected = by_phases(spec);
        for seed in [2, 3] {
            assert!(expected == at_once(spec, 227 << 10, seed), "model {i}, seed {seed}");
        }
    }
}

/// Weights in shared memory, most of the rest in global memory.
#[test]
fn what_does_not_fit_stays_in_global_memory() {
    let spec = Spec { activation: 5, residual: true, threshold: 1 << 30, ..spec() };
    let weights = 4 * 3 * (12 * 19 + 20 * 19 + 20 * 5) + 4 * 21 * 12;
    for extra in [0, 2000, 4000] {
        assert!(by_phases(&spec) == at_once(&spec, 1024 + weights + extra, 4), "{extra} bytes more than weights");
    }
}
