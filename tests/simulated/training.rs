//! Whole trainings on the interpreter: the loop with validation, early stopping, schedules and checkpoints.

use super::device::{Look, simulated};
use hpt_engine::backend::cuda::Cuda;
use hpt_engine::backend::{Backend, Cpu, Detail, Member, Precision, Run, UpdateRule};
use hpt_engine::check::Kind;
use hpt_engine::data::{Dataset, Features, Targets};
use hpt_engine::model::{Activation, Init, ModelSpec, Plan, initialise};
use hpt_engine::train::{
    Control, Epoch, Metric, Optimizer, Paused, Schedule, ScheduleKind, TrainSpec, Trained, Trainer, evaluate, go_on,
    resume, train,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Problem {
    training: Arc<Dataset>,
    validation: Arc<Dataset>,
    plan: Plan,
    weights: Vec<f32>,
}

impl Problem {
    fn new(kind: Kind, network: &ModelSpec) -> Self {
        let (training, validation) = (kind.data(61, 7, 3), kind.data(30, 7, 4));
        let plan = Plan::new(network, 7, training.targets.outputs()).unwrap();
        let weights = initialise(&plan, Init::Torch, 2, 0);
        Problem { training, validation, plan, weights }
    }

    fn trainer<'a>(&'a self, spec: &'a TrainSpec, last_epoch: Option<usize>) -> Trainer<'a> {
        let (plan, weights) = (&self.plan, self.weights.as_slice());
        Trainer { plan, spec, weights, seed: 2, slot: 0, last_epoch, cancelled: &|| false }
    }

    fn train<B: Backend>(&self, backend: &B, spec: &TrainSpec) -> Trained {
        let (training, validation) = (self.training.clone(), self.validation.clone());
        let (training, validation) = (backend.upload(training).unwrap(), backend.upload(validation).unwrap());
        let trainer = self.trainer(spec, None);
        train(backend, &trainer, &training, Some(&validation), &mut |_| Control::Continue).unwrap()
    }
}

/// Loss by loss, metric by metric.
fn follows(spec: &TrainSpec, problem: &Problem) -> Trained {
    let on_cpu = problem.train(&Cpu::new(1).unwrap(), spec);
    let on_gpu = problem.train(&simulated(&[Look::default()]), spec);
    assert_eq!(on_gpu.history.len(), on_cpu.history.len(), "{:?} against {:?}", on_gpu.history, on_cpu.history);
    assert_eq!(on_gpu.epoch, on_cpu.epoch);
    for (gpu, cpu) in on_gpu.history.iter().zip(&on_cpu.history) {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-4 * (1.0 + b.abs());
        assert!(near(gpu.train_loss, cpu.train_loss), "epoch {}: {} {}", gpu.epoch, gpu.train_loss, cpu.train_loss);
        assert!(near(gpu.validation_loss.unwrap(), cpu.validation_loss.unwrap()), "{gpu:?} {cpu:?}");
        // Rounding moves a row of thirty at the most.
        let (metric, on_cpu) = (gpu.metric.unwrap(), cpu.metric.unwrap());
        assert!((metric - on_cpu).abs() <= 0.04 * (1.0 + on_cpu.abs()), "epoch {}: {metric} {on_cpu}", gpu.epoch);
        // Of a rate that adapts itself what was added to it counts.
        let (moved, off) = (cpu.learning_rate - spec.learning_rate, gpu.learning_rate - cpu.learning_rate);
        assert!(off.abs() <= 1e-3 * moved.abs() + 1e-7, "{} {}", gpu.learning_rate, cpu.learning_rate);
    }
    on_gpu
}

#[test]
fn a_training_follows_the_cpus_loss_curve() {
    let mut network = ModelSpec::uniform(&[20, 20], Activation::Relu, 0.2);
    (network.residual, network.input_dropout) = (true, 0.1);
    let problem = Problem::new(Kind::Classes(3), &network);
    let schedule = Schedule { kind: ScheduleKind::Cosine, ..Schedule::default() };
    let spec = TrainSpec { epochs: 5, batch_size: 16, learning_rate: 0.01, schedule, ..TrainSpec::default() };
    follows(&spec, &problem);
}

#[test]
fn early_stopping_goes_back_to_the_best_weights() {
    let problem = Problem::new(Kind::Classes(2), &ModelSpec::uniform(&[32], Activation::Tanh, 0.0));
    let spec = TrainSpec {
        epochs: 40,
        batch_size: 16,
        learning_rate: 0.03,
        early_stopping: Some(2),
        metric: Some(Metric::Loss),
        ..TrainSpec::default()
    };
    let trained = follows(&spec, &problem);
    assert!(trained.epoch < trained.history.len(), "it has not stopped early");
    let cuda = simulated(&[Look::default()]);
    let criterion = spec.criterion(&problem.training).unwrap();
    let (_, loss) = evaluate(&cuda, &problem.plan, &trained.weights, criterion, &problem.validation).unwrap();
    assert_eq!(Some(loss), trained.history[trained.epoch - 1].validation_loss);
}

#[test]
fn the_hypergradient_schedule_moves_the_rate_as_on_the_cpu() {
    let problem = Problem::new(Kind::Classes(3), &ModelSpec::uniform(&[20], Activation::Tanh, 0.1));
    for name in ["sgd", "momentum", "nesterov", "adam"] {
        let schedule = Schedule {
            kind: ScheduleKind::Hypergradient,
            hypergradient_rate: Some(if name == "adam" { 1e-6 } else { 1e-3 }),
            ..Schedule::default()
        };
        let (optimizer, learning_rate) = (Optimizer::by_name(name).unwrap(), if name == "adam" { 0.004 } else { 0.02 });
        let spec = TrainSpec {
            epochs: 3,
            batch_size: 16,
            learning_rate,
            schedule,
            optimizer,
            weight_decay: 0.01,
            ..TrainSpec::default()
        };
        let trained = follows(&spec, &problem);
        assert_ne!(trained.history[2].learning_rate, learning_rate, "{name}: the rate has not moved");
    }
}

#[test]
fn pieces_are_the_whole() {
    let problem = Problem::new(Kind::Numbers(2), &ModelSpec::uniform(&[20], Activation::Gelu, 0.2));
    let spec = TrainSpec { epochs: 4, batch_size: 16, ..TrainSpec::default() };
    let cuda = simulated(&[Look::default()]);
    let whole = problem.train(&cuda, &spec);
    let data = cuda.upload(problem.training.clone()).unwrap();
    let validation = cuda.upload(problem.validation.clone()).unwrap();
    let piece = |from, last| {
        let trainer = problem.trainer(&spec, Some(last));
        resume(&cuda, &trainer, from, &data, Some(&validation), &mut |_| Control::Continue).unwrap()
    };
    let (_, first) = piece(None, 1);
    let (_, second) = piece(Some(&first), 3);
    let (end, _) = piece(Some(&second), 4);
    assert!(end.weights == whole.weights);
}

/// A training that is cancelled goes on to the same bits, with what early stopping has kept.
#[test]
fn parts_are_the_whole() {
    let problem = Problem::new(Kind::Numbers(2), &ModelSpec::uniform(&[20], Activation::Gelu, 0.2));
    let metric = Some(Metric::Loss);
    let spec = TrainSpec { epochs: 9, batch_size: 16, learning_rate: 0.1, metric, ..TrainSpec::default() };
    for spec in [TrainSpec { early_stopping: Some(3), ..spec.clone() }, TrainSpec { keep_epochs: true, ..spec }] {
        let cuda = simulated(&[Look::default()]);
        let whole = problem.train(&cuda, &spec);
        let data = cuda.upload(problem.training.clone()).unwrap();
        let validation = cuda.upload(problem.validation.clone()).unwrap();
        let (mut from, mut parts): (Option<Paused>, usize) = (None, 0);
        let end = loop {
            let looks = AtomicUsize::new(0);
            let cancelled = || looks.fetch_add(1, Ordering::Relaxed) == 2;
            let trainer = Trainer { cancelled: &cancelled, ..problem.trainer(&spec, None) };
            let told = &mut |_: &Epoch| Control::Continue;
            let (trained, paused) = go_on(&cuda, &trainer, from.as_ref(), &data, Some(&validation), told).unwrap();
            parts += 1;
            match paused {
                Some(paused) => from = Some(paused),
                None => break trained,
            }
        };
        assert!(parts >= 3 && end.weights == whole.weights, "{parts} parts");
        assert_eq!((end.epoch, end.metric, end.stopped), (whole.epoch, whole.metric, whole.stopped));
    }
}

/// Bytes are multiplied by their scale while they are read; without targets there is no loss.
#[test]
fn images_stay_bytes_and_rows_without_targets_have_outputs() {
    let values: Vec<u8> = (0..40 * 6).map(|i| (i * 37 % 256) as u8).collect();
    let scale = 1.0 / 255.0;
    let floats = values.iter().map(|&byte| f32::from(byte) * scale).collect();
    let targets = Targets::Classes { labels: (0..40).map(|i| i * 7 % 3).collect(), classes: 3 };
    let dataset = |features, targets| Arc::new(Dataset { rows: 40, inputs: 6, features, targets });
    let bytes = dataset(Features::U8 { values: values.clone(), scale }, targets.clone());
    let plain = dataset(Features::F32(floats), targets.clone());
    let plan = Plan::new(&ModelSpec::uniform(&[12], Activation::Silu, 0.0), 6, 3).unwrap();
    let weights = initialise(&plan, Init::Torch, 2, 0);
    let spec = TrainSpec { epochs: 2, batch_size: 16, ..TrainSpec::default() };
    let cuda = simulated(&[Look::default(), Look { seed: 4, ..Look::default() }]);
    let train_on = |dataset: &Arc<Dataset>| {
        let data = cuda.upload(dataset.clone()).unwrap();
        let trainer = Trainer {
            plan: &plan,
            spec: &spec,
            weights: &weights,
            seed: 2,
            slot: 0,
            last_epoch: None,
            cancelled: &|| false,
        };
        train(&cuda, &trainer, &data, None, &mut |_| Control::Continue).unwrap()
    };
    let trained = train_on(&bytes);
    assert!(trained.weights == train_on(&plain).weights);
    let criterion = spec.criterion(&bytes).unwrap();
    let unknown = dataset(Features::U8 { values, scale }, Targets::None);
    let of = |dataset| evaluate(&cuda, &plan, &trained.weights, criterion.clone(), dataset).unwrap();
    let ((known, loss), (outputs, none)) = (of(&bytes), of(&unknown));
    assert!(known == outputs && loss > 0.0 && none == 0.0);
}

/// More rows than the memory for outputs holds at once: each piece has its own features and targets, be they bytes or
/// floats, one a row or many.
#[test]
fn an_evaluation_in_pieces_is_that_of_the_whole() {
    let width = 100;
    let with_bytes = |dataset: Arc<Dataset>| {
        let values = (0..5000 * 3).map(|i| (i * 31 % 256) as u8).collect();
        Arc::new(Dataset { features: Features::U8 { values, scale: 1.0 / 255.0 }, ..(*dataset).clone() })
    };
    let of_kind = |kind: Kind| kind.data(5000, 3, 5);
    let datasets = [of_kind(Kind::Classes(width)), of_kind(Kind::Numbers(width)), of_kind(Kind::Labels(width))];
    let bytes = with_bytes(datasets[0].clone());
    let plan = Plan::new(&ModelSpec::uniform(&[4], Activation::Relu, 0.0), 3, width).unwrap();
    let weights = initialise(&plan, Init::Torch, 2, 0);
    // Of the smaller one an eighth is for outputs, which take 2 MB.
    let [small, large] = [14, 256].map(|mib| simulated(&[Look { memory: mib << 20, ..Look::default() }]));
    for dataset in datasets.iter().chain([&bytes]) {
        let criterion = TrainSpec::default().criterion(dataset).unwrap();
        let of = |cuda| evaluate(cuda, &plan, &weights, criterion.clone(), dataset).unwrap();
        let ((outputs, loss), whole) = (of(&small), of(&large));
        assert!(outputs == whole.0 && loss == whole.1, "{:?}", criterion.loss);
        // What is counted has the same bits too, and says of the metrics what the outputs do.
        let count = |cuda: &Cuda| {
            let spec = TrainSpec::default();
            let weights = weights.as_slice();
            let member = Member {
                plan: &plan,
                weights,
                batch_size: 1,
                criterion: criterion.clone(),
                update: UpdateRule {
                    optimizer: spec.optimizer,
                    weight_decay: 0.0,
                    l1: 0.0,
                    clip_norm: None,
                    hypergradient: None,
                },
                seed: 2,
                slot: 0,
                precision: Precision::Highest,
            };
            let mut cohort = cuda.begin(&[member]).unwrap();
            let data = cuda.upload(dataset.clone()).unwrap();
            cuda.tally(&mut cohort, 0, &data, Detail::Columns).unwrap().unwrap()
        };
        let (counted, tally) = count(&small);
        assert!((counted, &tally) == (loss, &count(&large).1), "{:?}", criterion.loss);
        let mut counts = 0;
        for metric in Metric::all().filter(|m| m.applies_to(&dataset.targets) && m.detail().is_some()) {
            let (by_counts, exact) =
                (metric.of_tally(&tally, &dataset.targets, loss), metric.score(&outputs, &dataset.targets, loss));
            assert!((by_counts - exact).abs() <= 1e-12 * exact.abs(), "{metric}: {by_counts}, not {exact}");
            counts += 1;
        }
        assert!(counts > 3);
    }
}

/// Metrics that are counted on the device are those of the CPU, alone and beside others.
#[test]
fn metrics_are_counted_where_the_outputs_are() {
    use Metric::{Accuracy, BalancedAccuracy, LogLoss, MacroF1, Mae, R2, Rmse};
    let all: [(Kind, &[Metric]); 3] = [
        (Kind::Classes(3), &[BalancedAccuracy, MacroF1, LogLoss, Accuracy]),
        (Kind::Labels(3), &[MacroF1, LogLoss]),
        (Kind::Numbers(2), &[R2, Rmse, Mae]),
    ];
    for (kind, metrics) in all {
        let problem = Problem::new(kind, &ModelSpec::uniform(&[20], Activation::Tanh, 0.0));
        for &metric in metrics {
            let spec = TrainSpec {
                epochs: 2,
                batch_size: 16,
                metric: Some(metric),
                also: metrics.to_vec(),
                ..TrainSpec::default()
            };
            let trained = follows(&spec, &problem);
            let also =
                |epoch: &hpt_engine::train::Epoch| epoch.also[metrics.iter().position(|m| *m == metric).unwrap()];
            assert!(trained.history.iter().all(|epoch| epoch.metric == Some(also(epoch))), "{metric}");
        }
    }
}

/// What one block trains in short rounds, since another model is away, has a leg of as many steps as its window holds
/// row numbers of, and no more.
#[test]
fn steps_of_a_block_stay_in_their_window() {
    let (batch, steps) = (1500, 60);
    let dataset = Kind::Classes(2).data(200, 2, 3);
    let plan = Plan::new(&ModelSpec::uniform(&[2], Activation::Relu, 0.0), 2, 2).unwrap();
    let weights = initialise(&plan, Init::Torch, 2, 0);
    let spec = TrainSpec::default();
    let update =
        UpdateRule { optimizer: Optimizer::Sgd, weight_decay: 0.0, l1: 0.0, clip_norm: None, hypergradient: None };
    let member = |batch_size| Member {
        plan: &plan,
        weights: &weights,
        batch_size,
        criterion: spec.criterion(&dataset).unwrap(),
        update,
        seed: 2,
        slot: 0,
        precision: Precision::Highest,
    };
    let rows: Vec<u32> = (0..steps * batch).map(|i| (i * 7 % 193) as u32).collect();
    let rates = vec![0.05; steps];
    let train = |piece: usize| {
        let cuda = simulated(&[Look::default()]);
        let data = cuda.upload(dataset.clone()).unwrap();
        let mut cohort = cuda.begin(&[member(batch)]).unwrap();
        let _away = cuda.begin(&[member(1)]).unwrap();
        let mut losses = vec![0.0; steps];
        for first in (0..steps).step_by(piece) {
            let part = first..steps.min(first + piece);
            let run = Run {
                first_step: first as u64,
                rows: &rows[first * batch..part.end * batch],
                batch_size: batch,
                rates: &rates[part.clone()],
                losses: &mut losses[part],
            };
            cuda.advance(&mut cohort, &data, &mut [run]).unwrap();
        }
        (losses, cuda.weights(&cohort, 0).unwrap())
    };
    // A window holds 43 of these steps, a short round of a block's has 256.
    assert!(train(steps) == train(20));
}
