//! Cohorts of networks trained at once on one device, whatever the device: what GPUs are compared by.
//!
//! Classes are blobs, so that a cohort which is fast and does not learn is found out. `benches/peers/gpu` does the same
//! work with PyTorch and JAX.

use super::median;
use crate::backend::cuda::{Cuda, Pace};
use crate::backend::{Backend, Member, Precision, Run, UpdateRule};
use crate::data::{Dataset, Features, Targets};
use crate::model::{Activation, Init, ModelSpec, Plan, initialise};
use crate::random::{Purpose, Stream};
use crate::train::TrainSpec;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// Networks of relu layers, each trained with Adam on rows in an order of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CohortRow {
    /// Its name, here and for the peers.
    pub name: &'static str,
    /// How many networks.
    pub models: usize,
    /// Features of a row.
    pub inputs: usize,
    /// Units of the hidden layers, the same for all; none: 1 to 5 layers of 32 to 512 units and batches of 32 to 512
    /// rows, drawn for each network.
    pub hidden: Option<&'static [usize]>,
    /// Classes.
    pub classes: usize,
    /// Rows a step, where `hidden` is given.
    pub batch: usize,
    /// Rows of the data: an epoch.
    pub rows: usize,
}

/// What is measured.
pub const COHORTS: &[CohortRow] = &[
    CohortRow {
        name: "cohort-256-128",
        models: 512,
        inputs: 784,
        hidden: Some(&[256, 128]),
        classes: 10,
        batch: 128,
        rows: 60_000,
    },
    CohortRow { name: "cohort-mixed", models: 512, inputs: 784, hidden: None, classes: 10, batch: 0, rows: 60_000 },
    CohortRow {
        name: "cohort-64-64",
        models: 1000,
        inputs: 54,
        hidden: Some(&[64, 64]),
        classes: 7,
        batch: 128,
        rows: 92_962,
    },
    CohortRow {
        name: "large-4096",
        models: 1,
        inputs: 784,
        hidden: Some(&[4096, 4096, 4096]),
        classes: 10,
        batch: 4096,
        rows: 61_440,
    },
];

/// What one epoch of a cohort took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CohortRate {
    /// Seconds of an epoch of all networks: the median of the rounds.
    pub seconds: f64,
    /// Steps of all networks together.
    pub steps: u64,
    /// Additions and multiplications of all products.
    pub flops: f64,
    /// Mean loss of the first step of the first epoch …
    pub before: f64,
    /// … and of the last step of the last.
    pub after: f64,
}

/// One network of a cohort.
struct Net {
    plan: Plan,
    weights: Vec<f32>,
    batch: usize,
    order: Vec<u32>,
    rates: Vec<f32>,
    losses: Vec<f64>,
}

impl CohortRow {
    /// Rows of classes around centres: bytes where they have the shape of MNIST.
    pub fn data(&self) -> Arc<Dataset> {
        let mut stream = Stream::new(1, 0, Purpose::Bootstrap, 0);
        let labels: Vec<u32> = (0..self.rows).map(|_| stream.below(self.classes as u64) as u32).collect();
        let centres: Vec<f64> = (0..self.classes * self.inputs).map(|_| stream.uniform()).collect();
        let value = |row: usize, j: usize, stream: &mut Stream| {
            0.5 * centres[labels[row] as usize * self.inputs + j] + 0.5 * stream.uniform()
        };
        let places = (0..self.rows).flat_map(|row| (0..self.inputs).map(move |j| (row, j)));
        let features = match self.inputs {
            784 => Features::U8 {
                values: places.map(|(row, j)| (255.0 * value(row, j, &mut stream)) as u8).collect(),
                scale: 1.0 / 255.0,
            },
            _ => Features::F32(places.map(|(row, j)| (4.0 * value(row, j, &mut stream) - 2.0) as f32).collect()),
        };
        let targets = Targets::Classes { labels, classes: self.classes };
        Arc::new(Dataset { rows: self.rows, inputs: self.inputs, features, targets })
    }

    /// Trains every network for `1 + rounds` epochs, the first of them not timed.
    ///
    /// # Errors
    /// The device failed, or the networks learned nothing.
    pub fn rate<B: Backend>(&self, backend: &B, precision: Precision, rounds: usize) -> Result<CohortRate> {
        let mut running = self.begin(backend, precision)?;
        running.epoch(backend)?;
        let before = mean(running.nets.iter().map(|net| net.losses[0]));
        let mut times = (0..rounds).map(|_| running.epoch(backend)).collect::<Result<Vec<f64>>>()?;
        let nets = &running.nets;
        let after = mean(nets.iter().map(|net| net.losses[net.losses.len() - 1]));
        if after >= before || after.is_nan() {
            let name = self.name;
            return Err(Error::Device(format!(
                "{name} learned nothing in {} epochs: loss {before} to {after}",
                rounds + 1
            )));
        }
        let flops = nets.iter().map(|net| net.rates.len() as f64 * net.flops()).sum();
        Ok(CohortRate { seconds: median(&mut times), steps: running.steps(), flops, before, after })
    }

    /// Steps a second of all networks together with rounds and legs of each of these lengths: where all networks are at
    /// work, and where one more is there which wants nothing, so that rounds are short.
    ///
    /// # Errors
    /// The device failed.
    pub fn paces(&self, cuda: &Cuda, precision: Precision, paces: &[Pace]) -> Result<Vec<[f64; 2]>> {
        let mut running = self.begin(cuda, precision)?;
        running.epoch(cuda)?;
        let steps = running.steps() as f64;
        let rates = |running: &mut Running<Cuda>| -> Result<Vec<f64>> {
            let rate = |pace: &Pace| {
                cuda.set_pace(*pace);
                running.epoch(cuda).map(|seconds| steps / seconds)
            };
            let rates = paces.iter().map(rate).collect();
            cuda.set_pace(Pace::default());
            rates
        };
        let together = rates(&mut running)?;
        let _idle = self.begin_some(cuda, precision, 1)?;
        let apart = rates(&mut running)?;
        Ok(together.into_iter().zip(apart).map(|(together, apart)| [together, apart]).collect())
    }

    fn begin<B: Backend>(&self, backend: &B, precision: Precision) -> Result<Running<B>> {
        self.begin_some(backend, precision, self.models)
    }

    /// So many of the networks on the device, with their data.
    fn begin_some<B: Backend>(&self, backend: &B, precision: Precision, models: usize) -> Result<Running<B>> {
        let dataset = self.data();
        let nets = (0..models as u64).map(|slot| self.net(slot)).collect::<Result<Vec<Net>>>()?;
        let spec = TrainSpec::default();
        let update =
            UpdateRule { optimizer: spec.optimizer, weight_decay: 0.0, l1: 0.0, clip_norm: None, hypergradient: None };
        let criterion = spec.criterion(&dataset)?;
        let members = (0..).zip(&nets).map(|(slot, net)| Member {
            plan: &net.plan,
            weights: &net.weights,
            batch_size: net.batch,
            criterion: criterion.clone(),
            update,
            seed: 1,
            slot,
            precision,
        });
        let cohort = backend.begin(&members.collect::<Vec<_>>())?;
        Ok(Running { data: backend.upload(dataset)?, nets, cohort, epochs: 0 })
    }

    fn net(&self, slot: u64) -> Result<Net> {
        let mut stream = Stream::new(1, slot, Purpose::Shuffle, 0);
        let (hidden, batch) = match self.hidden {
            Some(hidden) => (hidden.to_vec(), self.batch),
            None => {
                // Powers of two and what lies between them, evenly on a logarithmic scale.
                let mut size = || (32.0 * 16f64.powf(stream.uniform())).round() as usize;
                let batch = size();
                let widths = [size(), size(), size(), size(), size()];
                (widths[..1 + stream.below(5) as usize].to_vec(), batch)
            }
        };
        let plan = Plan::new(&ModelSpec::uniform(&hidden, Activation::Relu, 0.0), self.inputs, self.classes)?;
        let steps = (self.rows / batch).max(1);
        let mut order: Vec<u32> = (0..self.rows as u32).collect();
        stream.shuffle(&mut order);
        order.truncate(steps * batch);
        let weights = initialise(&plan, Init::Torch, 1, slot);
        Ok(Net { plan, weights, batch, order, rates: vec![1e-3; steps], losses: vec![0.0; steps] })
    }
}

/// A cohort in training.
struct Running<B: Backend> {
    data: B::Data,
    nets: Vec<Net>,
    cohort: B::Cohort,
    epochs: u64,
}

impl<B: Backend> Running<B> {
    /// Trains every network by an epoch and returns the seconds.
    fn epoch(&mut self, backend: &B) -> Result<f64> {
        let mut runs: Vec<Run<'_>> = self.nets.iter_mut().map(|net| net.run(self.epochs)).collect();
        let start = Instant::now();
        backend.advance(&mut self.cohort, &self.data, &mut runs)?;
        self.epochs += 1;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Steps of an epoch of all networks.
    fn steps(&self) -> u64 {
        self.nets.iter().map(|net| net.rates.len() as u64).sum()
    }
}

impl Net {
    /// An epoch.
    fn run(&mut self, epoch: u64) -> Run<'_> {
        let first_step = epoch * self.rates.len() as u64;
        let Net { batch, order, rates, losses, .. } = self;
        Run { first_step, rows: order, batch_size: *batch, rates, losses }
    }

    /// Operations of a step's products: forward, dW and, but for the first layer, dX.
    fn flops(&self) -> f64 {
        let products = self.plan.layers.iter().enumerate().map(|(l, layer)| {
            let passes = if l == 0 { 2 } else { 3 };
            2 * passes * self.batch * layer.inputs * layer.outputs
        });
        products.sum::<usize>() as f64
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;

    #[test]
    fn cohorts_of_one_and_of_many_shapes_learn() {
        let small = CohortRow { models: 5, inputs: 20, classes: 4, rows: 1200, batch: 32, ..COHORTS[0] };
        let cpu = Cpu::new(1).expect("a thread");
        for hidden in [Some(&[16, 8][..]), None] {
            let rate = CohortRow { hidden, ..small }.rate(&cpu, Precision::Highest, 1).expect("it learns");
            assert!(rate.seconds > 0.0 && rate.after < rate.before, "{rate:?}");
            assert!(hidden.is_none() || rate.steps == 5 * 37, "{rate:?}");
        }
        let mixed = COHORTS.iter().find(|row| row.hidden.is_none()).expect("one is mixed");
        let nets: Vec<Net> = (0..40).map(|slot| mixed.net(slot).expect("a network")).collect();
        let widths = || nets.iter().flat_map(|net| net.plan.layers.split_last().expect("layers").1).map(|l| l.outputs);
        assert!(widths().all(|w| (32..=512).contains(&w)) && widths().max() > Some(400) && widths().min() < Some(40));
        assert!((1..=5).all(|depth| nets.iter().any(|net| net.plan.layers.len() == depth + 1)));
    }
}
