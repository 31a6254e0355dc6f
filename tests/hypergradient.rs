//! Hypergradient descent of the learning rate: the oracle against finite differences, the CPU against the oracle and
//! against itself on several threads, the schedule from end to end.

use hpt_engine::backend::{Backend, Cpu, Member, Precision, Reference, Run, UpdateRule};
use hpt_engine::data::Dataset;
use hpt_engine::engine::{Device, Engine, Fit};
use hpt_engine::model::{Activation, Criterion, Init, Loss, ModelSpec, Plan, initialise};
use hpt_engine::train::{Control, Optimizer, ScheduleKind, TrainSpec};
use std::sync::Arc;

const BATCH: usize = 16;
const SEED: u64 = 5;

fn data() -> Arc<Dataset> {
    let x = ndarray::Array2::from_shape_fn((96, 5), |(i, j)| ((i * (31 + 14 * j)) % 97) as f32 / 48.0 - 1.0);
    let labels = ndarray::Array1::from_shape_fn(96, |i| u32::from(x[[i, 0]] * x[[i, 1]] > x[[i, 2]]));
    Arc::new(Dataset::from_classes(x.view(), labels.view(), 2).unwrap())
}

fn optimizers() -> impl Iterator<Item = Optimizer> {
    ["sgd", "momentum", "nesterov", "adam"].into_iter().map(|name| Optimizer::by_name(name).unwrap())
}

struct Problem {
    data: Arc<Dataset>,
    plan: Plan,
    weights: Vec<f32>,
}

/// What steps come to: weights, losses, what was added to the rate.
type End = (Vec<f32>, Vec<f64>, f64);

impl Problem {
    fn new(hidden: &[usize]) -> Self {
        let (data, network) = (data(), ModelSpec::uniform(hidden, Activation::Tanh, 0.1));
        let plan = Plan::new(&network, data.inputs, 2).unwrap();
        let weights = initialise(&plan, Init::Torch, SEED, 0);
        Problem { data, plan, weights }
    }

    fn member(&self, optimizer: Optimizer, beta: f64) -> Member<'_> {
        let hypergradient = Some(beta);
        let update = UpdateRule { optimizer, weight_decay: 0.01, l1: 0.001, clip_norm: None, hypergradient };
        let criterion = Criterion { loss: Loss::CrossEntropy, label_smoothing: 0.0, class_weights: None };
        let (plan, weights, precision) = (&self.plan, self.weights.as_slice(), Precision::Highest);
        Member { plan, weights, batch_size: BATCH, criterion, update, seed: SEED, slot: 1, precision }
    }

    fn rows(steps: std::ops::Range<usize>) -> Vec<u32> {
        steps.flat_map(|step| (0..BATCH).map(move |i| ((step * BATCH + i * 7) % 96) as u32)).collect()
    }

    /// Steps with these rates, in runs of so many.
    fn run<B: Backend>(
        &self,
        backend: &B,
        (optimizer, beta): (Optimizer, f64),
        rates: &[f32],
        run: usize,
    ) -> (B::Cohort, End) {
        let mut cohort = backend.begin(&[self.member(optimizer, beta)]).unwrap();
        let (uploaded, mut losses) = (backend.upload(self.data.clone()).unwrap(), vec![0.0; rates.len()]);
        for start in (0..rates.len()).step_by(run) {
            let part = start..rates.len().min(start + run);
            let rows = Self::rows(part.clone());
            let (rates, losses) = (&rates[part.clone()], &mut losses[part]);
            let run = Run { first_step: start as u64, rows: &rows, batch_size: BATCH, rates, losses };
            backend.advance(&mut cohort, &uploaded, &mut [run]).unwrap();
        }
        let end = (backend.weights(&cohort, 0).unwrap(), losses, backend.rate_offset(&cohort, 0));
        (cohort, end)
    }
}

#[test]
fn the_oracle_follows_finite_differences() {
    let problem = Problem::new(&[7]);
    // A β so small that it changes nothing, and shows the hypergradient alone.
    let (beta, rate, delta) = (1e-30, 0.0625f32, 2f32.powi(-14));
    for optimizer in optimizers() {
        let offset = |steps: usize| problem.run(&Reference, (optimizer, beta), &vec![rate; steps], 100).1.2;
        let hypergradient = -(offset(4) - offset(3)) / beta;
        // The loss of the fourth step against the rate of the third.
        let loss = |rate_of_third: f32| {
            let (cohort, _) = problem.run(&Reference, (optimizer, beta), &[rate, rate, rate_of_third], 100);
            let net = &cohort.nets[0];
            let penalty: f64 = net.weights.iter().map(|w| 0.005 * w * w + 0.001 * w.abs()).sum();
            net.loss_and_gradient(&problem.data, &Problem::rows(3..4), Some(3)).0 + penalty
        };
        let difference = (loss(rate + delta) - loss(rate - delta)) / (2.0 * f64::from(delta));
        assert!(hypergradient.abs() > 1e-3, "{}: {hypergradient}", optimizer.name());
        let error = (hypergradient - difference).abs() / difference.abs();
        assert!(error < 1e-5, "{}: {hypergradient} {difference}", optimizer.name());
    }
}

#[test]
fn the_cpu_follows_the_oracle_and_is_the_same_on_any_number_of_threads() {
    // Several chunks of the arena, and widths that fill no panel.
    for hidden in [vec![7], vec![131, 67]] {
        let problem = Problem::new(&hidden);
        for optimizer in optimizers() {
            let name = optimizer.name();
            let (rate, beta) = if name == "adam" { (0.004, 1e-6) } else { (0.02, 1e-3) };
            let (rule, rates) = ((optimizer, beta), vec![rate; 12]);
            let (_, oracle) = problem.run(&Reference, rule, &rates, 12);
            let (_, one) = problem.run(&Cpu::new(1).unwrap(), rule, &rates, 12);
            assert!(oracle.2.abs() > 1e-3 * f64::from(rate), "{name}: the rate has moved by {}", oracle.2);
            assert!((one.2 - oracle.2).abs() < 1e-3 * oracle.2.abs(), "{name}: {} {}", one.2, oracle.2);
            let off = one.0.iter().zip(&oracle.0).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 2e-4, "{name}: {off}");
            for (threads, run) in [(2, 12), (3, 5), (1, 1)] {
                let (_, several) = problem.run(&Cpu::new(threads).unwrap(), rule, &rates, run);
                assert!(several == one, "{name}: {threads} threads, runs of {run}");
            }
        }
    }
}

#[test]
fn a_rate_stops_at_zero() {
    let problem = Problem::new(&[7]);
    let sgd = Optimizer::by_name("sgd").unwrap();
    // So large a β that the second step turns the rate to either side.
    let rates = [0.5f32, 0.5, 0.5, 0.5, 0.5, 0.5];
    let all = (1..=6).map(|steps| {
        let offset = problem.run(&Reference, (sgd, 1e3), &rates[..steps], 6).1.2;
        assert!(offset >= -0.5, "{offset}");
        offset
    });
    assert!(all.collect::<Vec<_>>().contains(&-0.5), "the rate has been 0");
}

fn train(spec: &TrainSpec) -> hpt_engine::Result<Vec<f64>> {
    let (data, network) = (data(), ModelSpec::uniform(&[16], Activation::Relu, 0.0));
    let fit = Fit::new(&data, &network, spec);
    let trained = Engine::new(Device::Cpu, 1)?.fit(&fit, &mut |_| Control::Continue)?;
    Ok(trained.history.iter().map(|epoch| epoch.learning_rate).collect())
}

#[test]
fn the_schedule_raises_a_rate_that_is_too_small_and_says_so() {
    let mut spec = TrainSpec { epochs: 8, batch_size: BATCH, ..TrainSpec::default() };
    spec.schedule.kind = ScheduleKind::Hypergradient;
    for optimizer in optimizers() {
        spec.optimizer = optimizer;
        spec.learning_rate = 1e-4;
        spec.schedule.hypergradient_rate = None;
        let rates = train(&spec).unwrap();
        assert!(rates.is_sorted() && rates[7] > 1.0001 * rates[0], "{}: {rates:?}", optimizer.name());
        spec.schedule.hypergradient_rate = Some(1e-12);
        let still = train(&spec).unwrap();
        assert!(still.iter().all(|rate| (rate - 1e-4).abs() < 1e-8), "{still:?}");
    }
    for name in ["adamw", "rmsprop"] {
        spec.optimizer = Optimizer::by_name(name).unwrap();
        let message = train(&spec).unwrap_err().to_string();
        assert!(message.contains("sgd, momentum, nesterov and adam") && message.contains(name), "{message}");
    }
    spec.optimizer = Optimizer::by_name("sgd").unwrap();
    spec.clip_norm = Some(1.0);
    assert!(train(&spec).unwrap_err().to_string().contains("clip_norm"));
    (spec.clip_norm, spec.schedule.hypergradient_rate) = (None, Some(-1.0));
    assert!(train(&spec).unwrap_err().to_string().contains("hypergradient_rate is -1"));
}
