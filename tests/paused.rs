//! Trainings that are cancelled anywhere and go on: what they come to is what one training does, bit for bit.

use hpt_engine::data::Dataset;
use hpt_engine::engine::{Device, Engine, Fit};
use hpt_engine::model::{Activation, ModelSpec};
use hpt_engine::train::{Control, Epoch, Metric, Optimizer, Paused, ScheduleKind, Stopped, TrainSpec, Trained};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn data(rows: usize, seed: usize) -> Arc<Dataset> {
    let value = |(i, j)| (((i + seed) * (31 + 14 * j)) % 97) as f32 / 48.0 - 1.0;
    let x = ndarray::Array2::from_shape_fn((rows, 5), value);
    // Some labels say nothing, so that the validation loss turns.
    let label = |i: usize| u32::from(x[[i, 0]] * x[[i, 1]] > x[[i, 2]]) ^ u32::from(i.is_multiple_of(5));
    let labels = ndarray::Array1::from_shape_fn(rows, label);
    Arc::new(Dataset::from_classes(x.view(), labels.view(), 2).unwrap())
}

/// A network with several runs of steps in an epoch, and one whose epoch is one run.
fn networks() -> [ModelSpec; 2] {
    [ModelSpec::uniform(&[900, 900, 900], Activation::Relu, 0.2), ModelSpec::uniform(&[17, 9], Activation::Tanh, 0.1)]
}

struct Problem {
    network: ModelSpec,
    train: TrainSpec,
    training: Arc<Dataset>,
    validation: Arc<Dataset>,
}

impl Problem {
    fn new(network: ModelSpec, train: TrainSpec) -> Self {
        Problem { network, train, training: data(211, 0), validation: data(90, 3) }
    }

    /// One part of a training: until the clock was looked at so often.
    fn part(
        &self,
        engine: &Engine,
        looks: usize,
        from: Option<&Paused>,
        told: &mut Vec<usize>,
    ) -> (Trained, Option<Paused>) {
        let looked = AtomicUsize::new(0);
        let cancelled = || looked.fetch_add(1, Ordering::Relaxed) >= looks;
        let fit = Fit {
            seed: 3,
            slot: 7,
            validation: Some(&self.validation),
            cancelled: &cancelled,
            ..Fit::new(&self.training, &self.network, &self.train)
        };
        let mut on_epoch = |epoch: &Epoch| {
            told.push(epoch.epoch);
            Control::Continue
        };
        engine.go_on(&fit, from, &mut on_epoch).unwrap()
    }

    /// The whole in parts of so many looks; how many they were.
    fn in_parts(&self, engine: &Engine, looks: usize) -> (Trained, usize) {
        let (mut from, mut parts): (Option<Paused>, usize) = (None, 0);
        loop {
            let mut told = Vec::new();
            let (trained, paused) = self.part(engine, looks, from.as_ref(), &mut told);
            assert_eq!(told, (1..=trained.history.len()).collect::<Vec<_>>(), "all epochs are told, each once");
            parts += 1;
            match paused {
                None => return (trained, parts),
                Some(paused) => {
                    assert_eq!(trained.stopped, Stopped::Cancelled);
                    assert!(paused.losses.len() < self.training.rows.div_ceil(self.train.batch_size));
                    from = Some(paused);
                }
            }
        }
    }
}

fn same(a: &Trained, b: &Trained) {
    let bits = |trained: &Trained| trained.weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>();
    assert!(bits(a) == bits(b), "weights");
    assert_eq!((a.epoch, a.metric, a.stopped), (b.epoch, b.metric, b.stopped));
    let timeless = |trained: &Trained| {
        let history = trained.history.iter();
        history.map(|epoch| Epoch { seconds: 0.0, ..epoch.clone() }).collect::<Vec<_>>()
    };
    assert_eq!(timeless(a), timeless(b));
}

#[test]
fn a_training_in_parts_is_the_whole_bit_for_bit() {
    for (i, optimizer) in Optimizer::all().enumerate() {
        for (network, looks) in networks().into_iter().flat_map(|network| [(network.clone(), 1), (network, 3)]) {
            let mut train = TrainSpec {
                optimizer,
                epochs: 5,
                batch_size: 32,
                learning_rate: 0.002,
                also: vec![Metric::Loss],
                ..TrainSpec::default()
            };
            train.schedule.kind = if i % 2 == 0 { ScheduleKind::Cosine } else { ScheduleKind::Constant };
            train.keep_epochs = i % 3 == 0;
            let runs = if network.hidden.len() > 2 { 2 } else { 1 };
            let problem = Problem::new(network, train);
            let engine = Engine::new(Device::Cpu, 1 + i % 2).unwrap();
            let (whole, one) = problem.in_parts(&engine, usize::MAX);
            let (parts, several) = problem.in_parts(&engine, looks);
            same(&whole, &parts);
            assert_eq!((one, several >= 5 * runs / looks), (1, true), "{several} parts");
        }
    }
}

#[test]
fn early_stopping_and_the_plateau_schedule_look_back_on_all_parts() {
    for network in networks() {
        let mut train = TrainSpec {
            epochs: 400,
            batch_size: 32,
            learning_rate: 0.01,
            metric: Some(Metric::Loss),
            early_stopping: Some(4),
            ..TrainSpec::default()
        };
        (train.schedule.kind, train.schedule.patience) = (ScheduleKind::Plateau, 1);
        let problem = Problem::new(network, train);
        let engine = Engine::new(Device::Cpu, 1).unwrap();
        let (whole, _) = problem.in_parts(&engine, usize::MAX);
        let rates: Vec<f64> = whole.history.iter().map(|epoch| epoch.learning_rate).collect();
        assert!(whole.stopped == Stopped::Early && rates.last() < rates.first(), "{rates:?}");
        for looks in [1, 2, 3, 7] {
            same(&whole, &problem.in_parts(&engine, looks).0);
        }
    }
}

#[test]
fn a_training_that_is_paused_within_an_epoch_has_the_weights_of_the_last_whole_one_where_that_is_wanted() {
    let [network, _] = networks();
    let train = TrainSpec { epochs: 3, batch_size: 32, keep_epochs: true, ..TrainSpec::default() };
    let problem = Problem::new(network, train);
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    let told = &mut Vec::new();
    let (first, paused) = problem.part(&engine, 3, None, told);
    let paused = paused.unwrap();
    assert!(first.epoch == 1 && !paused.losses.is_empty(), "in the second epoch");
    assert_eq!(paused.kept.as_ref(), Some(&first.weights));
    assert_ne!(paused.checkpoint.weights, first.weights);
    // Paused again before anything is done: the same.
    let (second, again) = problem.part(&engine, 0, Some(&paused), told);
    let again = again.unwrap();
    assert_eq!((again.kept, again.losses, again.checkpoint), (paused.kept, paused.losses, paused.checkpoint));
    assert_eq!((second.weights, second.metric), (first.weights, first.metric));
}

#[test]
fn what_cannot_go_on_says_so() {
    let mut train = TrainSpec { epochs: 3, batch_size: 32, ..TrainSpec::default() };
    let [large, network] = networks();
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    let problem = Problem::new(network.clone(), train.clone());
    let paused = problem.part(&engine, 1, None, &mut Vec::new()).1.unwrap();
    let refused = |problem: &Problem, paused: &Paused| {
        let fit = Fit::new(&problem.training, &problem.network, &problem.train);
        engine.go_on(&fit, Some(paused), &mut |_| Control::Continue).unwrap_err().to_string()
    };
    assert!(refused(&Problem::new(large, train.clone()), &paused).contains("parameters"));
    let longer = Paused { losses: vec![0.5; 8], ..paused };
    assert!(refused(&problem, &longer).contains("does not fit"));
    train.schedule.kind = ScheduleKind::Hypergradient;
    let (trained, paused) = Problem::new(network, train).part(&engine, 1, None, &mut Vec::new());
    assert!(trained.stopped == Stopped::Cancelled && paused.is_none());
}
