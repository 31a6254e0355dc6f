//! The CUDA backend as a whole, from a training down to the kernels that ship, on an interpreter: it follows the oracle,
//! gives the same bits alone and among others, and goes on from a checkpoint as if nothing had happened.

mod device;
mod training;

use device::{Look, simulated};
use hpt_engine::backend::{Backend, Member, Precision, Reference, Run, UpdateRule};
use hpt_engine::data::{Dataset, Features, Targets};
use hpt_engine::model::{Activation, Init, ModelSpec, Plan, initialise};
use hpt_engine::random::{Purpose, Stream};
use hpt_engine::train::{ClassWeights, Loss, Optimizer, TrainSpec};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Classes(usize),
    Labels(usize),
    Numbers(usize),
}

fn data(rows: usize, inputs: usize, kind: Kind, seed: u64) -> Arc<Dataset> {
    let mut stream = Stream::new(seed, 0, Purpose::Bootstrap, 0);
    let x: Vec<f32> = (0..rows * inputs).map(|_| stream.normal() as f32).collect();
    let targets = match kind {
        Kind::Classes(classes) => {
            Targets::Classes { labels: (0..rows).map(|_| stream.below(classes as u64) as u32).collect(), classes }
        }
        Kind::Labels(width) => {
            Targets::Binary { values: (0..rows * width).map(|_| stream.below(2) as f32).collect(), width }
        }
        Kind::Numbers(width) => Targets::Real {
            values: (0..rows * width).map(|_| stream.normal() as f32).collect(),
            width,
            mean: vec![3.0; width],
            deviation: vec![2.0; width],
        },
    };
    Arc::new(Dataset { rows, inputs, features: Features::F32(x), targets })
}

/// A network, a training, data.
struct Case {
    name: String,
    model: ModelSpec,
    train: TrainSpec,
    kind: Kind,
}

fn cases() -> Vec<Case> {
    let base = TrainSpec { learning_rate: 0.02, ..TrainSpec::default() };
    let mut cases = Vec::new();
    let mut add = |name: &str, model: &ModelSpec, train: TrainSpec, kind: Kind| {
        cases.push(Case { name: name.to_owned(), model: model.clone(), train, kind });
    };
    for &activation in Activation::ALL {
        let mut model = ModelSpec::uniform(&[9, 9, 6], activation, 0.3);
        (model.residual, model.input_dropout) = (true, 0.1);
        add(activation.name(), &model, base.clone(), Kind::Classes(3));
    }
    let plain = ModelSpec::uniform(&[17, 33], Activation::Tanh, 0.0);
    for optimizer in Optimizer::all().chain([Optimizer::RmsProp { alpha: 0.9, epsilon: 1e-6, momentum: 0.5 }]) {
        let decayed = TrainSpec { optimizer, weight_decay: 0.01, l1: 0.001, ..base.clone() };
        add(optimizer.name(), &plain, decayed.clone(), Kind::Classes(4));
        add(optimizer.name(), &plain, TrainSpec { clip_norm: Some(0.5), ..decayed }, Kind::Classes(4));
    }
    for (loss, kind) in [
        (Loss::BinaryCrossEntropy, Kind::Labels(3)),
        (Loss::Mse, Kind::Numbers(2)),
        (Loss::Huber { delta: 0.7 }, Kind::Numbers(1)),
    ] {
        add(loss.name(), &plain, TrainSpec { loss: Some(loss), ..base.clone() }, kind);
    }
    let balanced = TrainSpec { class_weights: ClassWeights::Balanced, ..base.clone() };
    add("weighted", &plain, TrainSpec { label_smoothing: 0.1, ..balanced.clone() }, Kind::Classes(5));
    add("positives", &plain, balanced, Kind::Labels(2));
    add("linear", &ModelSpec::uniform(&[], Activation::Relu, 0.0), base.clone(), Kind::Numbers(1));
    add("wide", &ModelSpec::uniform(&[130, 70], Activation::Relu, 0.2), base, Kind::Classes(10));
    cases
}

const ROWS: usize = 53;
const INPUTS: usize = 11;
const BATCH: usize = 19;

fn member<'a>(case: &Case, plan: &'a Plan, weights: &'a [f32], data: &Dataset) -> Member<'a> {
    let spec = &case.train;
    let update = UpdateRule {
        optimizer: spec.optimizer,
        weight_decay: spec.weight_decay as f32,
        l1: spec.l1 as f32,
        clip_norm: spec.clip_norm.map(|norm| norm as f32),
    };
    let criterion = spec.criterion(data).unwrap();
    Member { plan, weights, batch_size: BATCH, criterion, update, seed: 5, slot: 1, precision: Precision::Highest }
}

/// What steps come to: their losses, the weights, outputs of all rows and their loss.
type End = (Vec<f64>, Vec<f32>, Vec<f32>, f64);

/// Steps in runs of `run`, the last with fewer rows.
fn steps<B: Backend>(backend: &B, case: &Case, data: &Arc<Dataset>, steps: usize, run: usize) -> End {
    let plan = Plan::new(&case.model, INPUTS, data.targets.outputs()).unwrap();
    let weights = initialise(&plan, Init::Torch, 5, 1);
    let uploaded = backend.upload(data.clone()).unwrap();
    let mut cohort = backend.begin(&[member(case, &plan, &weights, data)]).unwrap();
    let rows: Vec<u32> = (0..steps * BATCH - 2).map(|i| (i * 7 % ROWS) as u32).collect();
    let rates = vec![case.train.learning_rate as f32; steps];
    let mut losses = vec![0.0; steps];
    for start in (0..steps).step_by(run) {
        let part = start..steps.min(start + run);
        let run = Run {
            first_step: start as u64,
            rows: &rows[start * BATCH..rows.len().min(part.end * BATCH)],
            batch_size: BATCH,
            rates: &rates[part.clone()],
            losses: &mut losses[part],
        };
        backend.advance(&mut cohort, &uploaded, &mut [run]).unwrap();
    }
    let mut outputs = vec![0.0; data.rows * plan.outputs];
    let loss = backend.evaluate(&mut cohort, 0, &uploaded, &mut outputs).unwrap();
    (losses, backend.weights(&cohort, 0).unwrap(), outputs, loss)
}

#[test]
fn the_gpu_follows_the_oracle() {
    let cuda = simulated(&[Look::default()]);
    for case in cases() {
        let data = data(ROWS, INPUTS, case.kind, 1);
        let (losses, weights, outputs, loss) = steps(&Reference, &case, &data, 5, 5);
        let fast = steps(&cuda, &case, &data, 5, 5);
        let name = format!("{}, clip {:?}", case.name, case.train.clip_norm);
        for (i, (fast, exact)) in fast.0.iter().zip(&losses).enumerate() {
            assert!((fast - exact).abs() <= 2e-5 * (1.0 + exact.abs()), "{name} step {i}: {fast} is not {exact}");
        }
        // Adam's and RMSprop's first steps divide by √v, which magnifies rounding where a gradient is near zero.
        let off = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).collect::<Vec<f32>>();
        let (weights, outputs) = (off(&fast.1, &weights), off(&fast.2, &outputs));
        let worst = weights.iter().copied().fold(0.0, f32::max);
        assert!(worst <= 2e-3, "{name}: a weight is off by {worst}");
        let mean = weights.iter().sum::<f32>() / weights.len() as f32;
        assert!(mean <= 2e-6, "{name}: weights are off by {mean} on average");
        let worst = outputs.iter().copied().fold(0.0, f32::max);
        assert!(worst <= 1e-3, "{name}: an output is off by {worst}");
        assert!((fast.3 - loss).abs() <= 1e-4 * (1.0 + loss.abs()), "{name}: {} is not {loss}", fast.3);
    }
}

/// The same model alone, among others of other shapes that come and go in any order, on another schedule of blocks, and
/// in runs of other lengths.
#[test]
fn companions_change_no_bit() {
    let cases = cases();
    let chosen: Vec<&Case> = cases.iter().step_by(4).take(7).collect();
    let alone: Vec<End> = chosen
        .iter()
        .map(|case| steps(&simulated(&[Look::default()]), case, &data(ROWS, INPUTS, case.kind, 1), 6, 6))
        .collect();
    for (seed, order) in [(2, [0, 1, 2, 3, 4, 5, 6]), (3, [6, 3, 1, 5, 0, 2, 4])] {
        let cuda = &simulated(&[Look { seed, ..Look::default() }]);
        let together: Vec<(usize, End)> = std::thread::scope(|scope| {
            let run = |i: usize| {
                let case = chosen[i];
                (i, steps(cuda, case, &data(ROWS, INPUTS, case.kind, 1), 6, 1 + i % 4))
            };
            let threads: Vec<_> = order.into_iter().map(|i| scope.spawn(move || run(i))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (i, end) in together {
            assert!(end == alone[i], "{} has other bits among others (seed {seed})", chosen[i].name);
        }
    }
}

#[test]
fn no_step_has_a_race() {
    let case = |name: &str| cases().into_iter().find(|case| case.name == name).unwrap();
    let cuda = simulated(&[Look { races: true, seed: 9, ..Look::default() }]);
    for case in [case("gelu"), case("adam"), case("positives"), case("wide")] {
        steps(&cuda, &case, &data(ROWS, INPUTS, case.kind, 1), 2, 2);
    }
}
