//! What is compared: small networks that together use every activation, loss, optimizer and option, and shapes around
//! the edges of tiles.

use crate::backend::Precision;
use crate::data::{Dataset, Features, Targets};
use crate::model::{Activation, Loss, ModelSpec};
use crate::random::{Purpose, Stream};
use crate::train::{ClassWeights, Optimizer, Schedule, ScheduleKind, TrainSpec};
use std::sync::Arc;

/// What is to be predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// One of so many classes.
    Classes(usize),
    /// So many labels, each yes or no.
    Labels(usize),
    /// So many numbers.
    Numbers(usize),
}

impl Kind {
    /// Rows of random features and targets.
    pub fn data(self, rows: usize, inputs: usize, seed: u64) -> Arc<Dataset> {
        let mut stream = Stream::new(seed, 0, Purpose::Bootstrap, 0);
        let features = Features::F32((0..rows * inputs).map(|_| stream.normal() as f32).collect());
        Arc::new(Dataset { rows, inputs, features, targets: self.targets(rows, &mut stream) })
    }

    fn targets(self, rows: usize, stream: &mut Stream) -> Targets {
        match self {
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
        }
    }
}

/// A network, a training and data.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is.
    pub name: String,
    /// The network.
    pub model: ModelSpec,
    /// How it is trained.
    pub train: TrainSpec,
    /// Rows a step.
    pub batch: usize,
    /// What its rows have as targets.
    pub kind: Kind,
    pub(super) rows: usize,
    pub(super) inputs: usize,
    /// Of the data.
    pub(super) seed: u64,
    /// Features are bytes.
    pub(super) bytes: bool,
    /// Steps that are compared.
    pub(super) steps: usize,
}

impl Case {
    fn new(name: impl Into<String>, model: &ModelSpec, train: TrainSpec, kind: Kind) -> Self {
        let (name, model) = (name.into(), model.clone());
        Case { name, model, train, batch: 19, kind, rows: 53, inputs: 11, seed: 1, bytes: false, steps: 5 }
    }

    /// Its data.
    pub fn data(&self) -> Arc<Dataset> {
        let Case { kind, rows, inputs, seed, .. } = *self;
        if !self.bytes {
            return kind.data(rows, inputs, seed);
        }
        let mut stream = Stream::new(seed, 0, Purpose::Bootstrap, 0);
        let values = (0..rows * inputs).map(|_| stream.below(256) as u8).collect();
        let features = Features::U8 { values, scale: 1.0 / 255.0 };
        Arc::new(Dataset { rows, inputs, features, targets: kind.targets(rows, &mut stream) })
    }

    /// Whether a GPU takes large tiles for some of its products.
    pub(super) fn is_large(&self) -> bool {
        self.model.hidden.iter().any(|layer| layer.units > 1000)
    }
}

fn base() -> TrainSpec {
    TrainSpec { learning_rate: 0.02, precision: Precision::Highest, ..TrainSpec::default() }
}

/// Every activation (with skip connections and dropout), optimizer (with penalties, with and without clipping) and
/// loss.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &activation in Activation::ALL {
        let mut model = ModelSpec::uniform(&[9, 9, 6], activation, 0.3);
        (model.residual, model.input_dropout) = (true, 0.1);
        cases.push(Case::new(activation.name(), &model, base(), Kind::Classes(3)));
    }
    let plain = ModelSpec::uniform(&[17, 33], Activation::Tanh, 0.0);
    // Numbers that the usual ones would hide.
    let (beta1, beta2, epsilon) = (0.8, 0.95, 0.03);
    let others = [
        ("rmsprop with momentum", Optimizer::RmsProp { alpha: 0.9, epsilon: 1e-6, momentum: 0.5 }),
        ("adam with a large epsilon", Optimizer::Adam { beta1, beta2, epsilon }),
        ("adamw with a large epsilon", Optimizer::AdamW { beta1, beta2, epsilon }),
    ];
    for (name, optimizer) in Optimizer::all().map(|optimizer| (optimizer.name(), optimizer)).chain(others) {
        let decayed = TrainSpec { optimizer, weight_decay: 0.01, l1: 0.001, ..base() };
        cases.push(Case::new(name, &plain, decayed.clone(), Kind::Classes(4)));
        let clipped = TrainSpec { clip_norm: Some(0.5), ..decayed };
        cases.push(Case::new(format!("{name}, clipped"), &plain, clipped, Kind::Classes(4)));
    }
    for (loss, kind) in [
        (Loss::BinaryCrossEntropy, Kind::Labels(3)),
        (Loss::Mse, Kind::Numbers(2)),
        (Loss::Huber { delta: 0.7 }, Kind::Numbers(1)),
    ] {
        cases.push(Case::new(loss.name(), &plain, TrainSpec { loss: Some(loss), ..base() }, kind));
    }
    let balanced = TrainSpec { class_weights: ClassWeights::Balanced, ..base() };
    let smoothed = TrainSpec { label_smoothing: 0.1, ..balanced.clone() };
    cases.push(Case::new("class weights, smoothing", &plain, smoothed, Kind::Classes(5)));
    cases.push(Case::new("weights of labels", &plain, balanced, Kind::Labels(2)));
    cases.push(Case::new("linear", &ModelSpec::uniform(&[], Activation::Relu, 0.0), base(), Kind::Numbers(1)));
    // A GPU trains a network that fits one multiprocessor in another way, so each of them is there in two sizes: a
    // batch of these does not fit. With as many more features a step at the same rate is as much larger, and so is
    // rounding.
    let larger = |case: &Case| Case {
        train: TrainSpec { learning_rate: 0.002, ..case.train.clone() },
        name: format!("{}, {LARGER} features", case.name),
        inputs: LARGER,
        batch: 97,
        rows: 200,
        steps: 3,
        ..case.clone()
    };
    let twins: Vec<Case> = cases.iter().map(larger).collect();
    cases.into_iter().zip(twins).flat_map(|(case, twin)| [case, twin]).collect()
}

/// Features of the larger ones.
const LARGER: usize = 600;

/// Widths, batches and inputs around the edges of tiles, bytes among the features, many classes.
pub fn edges() -> Vec<Case> {
    let relu = |hidden: &[usize], dropout: f64| ModelSpec::uniform(hidden, Activation::Relu, dropout);
    let shapes: [(&[usize], usize, usize, usize, bool); 10] = [
        (&[130, 70], 11, 19, 10, false),
        (&[64, 63], 64, 64, 2, false),
        (&[65, 1], 1, 1, 3, false),
        (&[16, 17, 15], 17, 65, 16, false),
        (&[127, 129], 33, 128, 17, true),
        (&[32, 33], 785, 129, 33, true),
        (&[256, 128], 784, 128, 10, true),
        (&[48], 20, 200, 300, false),
        // Large tiles: of outputs and of their gradient, of weights.
        (&[1025, 40], 5, 1025, 3, false),
        (&[1030], 1027, 2, 2, false),
    ];
    let of = |&(hidden, inputs, batch, classes, bytes): &(&[usize], usize, usize, usize, bool)| {
        let widths: Vec<String> = hidden.iter().map(ToString::to_string).collect();
        let name = format!("{inputs}-{}-{classes}, batch {batch}", widths.join("-"));
        let optimizer = Optimizer::by_name("momentum").unwrap_or(Optimizer::Sgd);
        let train = TrainSpec { optimizer, ..base() };
        let case = Case::new(name, &relu(hidden, 0.2), train, Kind::Classes(classes));
        // Rows come several times in a batch of the large ones: what they are measured on is done in f32.
        let (steps, rows) = if hidden[0] > 1000 { (2, 67) } else { (5, 2 * batch + 3) };
        Case { inputs, batch, bytes, steps, rows, ..case }
    };
    shapes.iter().map(of).collect()
}

/// The training that is compared epoch by epoch.
pub(super) fn training() -> Case {
    let mut model = ModelSpec::uniform(&[20, 20], Activation::Relu, 0.2);
    (model.residual, model.input_dropout) = (true, 0.1);
    let schedule = Schedule { kind: ScheduleKind::Cosine, ..Schedule::default() };
    let train = TrainSpec { epochs: 4, batch_size: 16, learning_rate: 0.01, schedule, ..base() };
    Case { rows: 61, inputs: 7, seed: 3, ..Case::new("training", &model, train, Kind::Classes(3)) }
}

/// One whose rate descends along its own gradient.
pub(super) fn adapting() -> Case {
    let schedule =
        Schedule { kind: ScheduleKind::Hypergradient, hypergradient_rate: Some(1e-3), ..Schedule::default() };
    let optimizer = Optimizer::by_name("momentum").unwrap_or(Optimizer::Sgd);
    let train = TrainSpec { schedule, optimizer, ..training().train };
    let model = ModelSpec::uniform(&[20], Activation::Tanh, 0.1);
    Case { name: "hypergradient".to_owned(), model, train, ..training() }
}
