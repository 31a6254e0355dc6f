//! Whole training steps with Adam, in samples a second.
//!
//! The data are random with the shapes of MNIST (bytes) and Covertype, more rows than a cache holds, in shuffled order.

use super::{ROUNDS, Rate, Units, WARM_UP, Work, calls, in_turn, median};
use crate::Result;
use crate::backend::{Backend, Cpu, Member, Precision, Run, UpdateRule, products};
use crate::data::{Dataset, Features, Targets};
use crate::model::{Activation, Init, ModelSpec, Plan, initialise};
use crate::random::{Purpose, Stream};
use crate::train::TrainSpec;
use hpt_kernels::isa::Isa;
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// A network and how it is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRow {
    /// Features.
    pub inputs: usize,
    /// Units of each hidden layer.
    pub hidden: &'static [usize],
    /// Classes.
    pub classes: usize,
    /// Rows a step.
    pub batch: usize,
    /// Dropout of every hidden layer.
    pub dropout: f64,
}

const fn row(inputs: usize, hidden: &'static [usize], classes: usize, batch: usize) -> StepRow {
    StepRow { inputs, hidden, classes, batch, dropout: 0.0 }
}

/// What is measured.
pub const STEPS: &[StepRow] = &[
    row(784, &[512, 512], 10, 128),
    StepRow { dropout: 0.3, ..row(784, &[512, 512], 10, 128) },
    row(784, &[448], 10, 128),
    row(784, &[448], 10, 32),
    row(784, &[64, 64], 10, 1),
    row(784, &[64, 64], 10, 8),
    row(784, &[64, 64], 10, 32),
    row(784, &[64, 64], 10, 64),
    row(784, &[64, 64], 10, 128),
    row(784, &[64, 64], 10, 512),
    row(784, &[64, 64], 10, 4096),
    row(54, &[64, 64], 7, 128),
    row(54, &[256, 256], 7, 32),
    row(54, &[256, 256], 7, 256),
    row(54, &[256, 256], 7, 1024),
    row(54, &[256, 256], 7, 4096),
    row(784, &[2048, 2048, 2048], 10, 512),
];

/// Rows of the data.
pub(super) const ROWS: usize = 20_000;

impl StepRow {
    /// `784-512-512-10`, and its dropout.
    pub fn name(&self) -> String {
        let dropout = if self.dropout > 0.0 { format!(" dropout {}", self.dropout) } else { String::new() };
        format!("{}{dropout}", self.network())
    }

    /// `784-512-512-10`.
    pub(super) fn network(&self) -> String {
        let widths = [&[self.inputs], self.hidden, &[self.classes]].concat();
        widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
    }

    /// Weights of the layers, biases not counted.
    pub(super) fn weights(&self) -> usize {
        [&[self.inputs], self.hidden, &[self.classes]].concat().windows(2).map(|w| w[0] * w[1]).sum()
    }

    /// Additions and multiplications of a sample's products: forward, dW and, but for the first layer, dX.
    pub fn flops(&self) -> f64 {
        let first = self.inputs * self.hidden.first().copied().unwrap_or(self.classes);
        (6 * self.weights() - 2 * first) as f64
    }

    /// Bytes that a sample costs at least: its features, and its share of one pass of Adam, which reads weight,
    /// gradient and two moments and writes three of them.
    pub fn bytes(&self) -> f64 {
        self.feature_bytes() + 28.0 * self.weights() as f64 / self.batch as f64
    }

    /// What the products of a step are made by.
    ///
    /// # Errors
    /// The network has no plan.
    pub fn units(&self, isa: Isa, precision: Precision) -> Result<Units> {
        let plan = self.plan()?;
        Ok(Units::of_all(products(isa, &plan, self.batch, self.of_bytes(), precision)))
    }

    /// Whether its features are bytes, as MNIST's.
    pub(super) fn of_bytes(&self) -> bool {
        self.inputs == 784
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        Plan::new(&ModelSpec::uniform(self.hidden, Activation::Relu, self.dropout), self.inputs, self.classes)
    }

    /// Bytes of a sample's features.
    pub(super) fn feature_bytes(&self) -> f64 {
        (self.inputs * if self.of_bytes() { 1 } else { 4 }) as f64
    }

    /// Data of its shape.
    pub fn data(&self) -> Arc<Dataset> {
        self.data_of(ROWS)
    }

    /// So many rows of its shape.
    pub(super) fn data_of(&self, rows: usize) -> Arc<Dataset> {
        let mut stream = Stream::new(1, 0, Purpose::Bootstrap, 0);
        let count = rows * self.inputs;
        let features = match self.of_bytes() {
            true => Features::U8 { values: (0..count).map(|_| stream.below(256) as u8).collect(), scale: 1.0 / 255.0 },
            false => Features::F32((0..count).map(|_| stream.uniform() as f32 * 2.0 - 1.0).collect()),
        };
        let labels = (0..rows).map(|_| stream.below(self.classes as u64) as u32).collect();
        let targets = Targets::Classes { labels, classes: self.classes };
        Arc::new(Dataset { rows, inputs: self.inputs, features, targets })
    }

    /// Samples a second of one training on each of these devices with products of that precision, in turn; rounds take
    /// some 50 ms.
    ///
    /// # Errors
    /// A device failed.
    pub fn rates(&self, data: &Arc<Dataset>, cpus: &[&Cpu], precision: Precision) -> Result<Vec<Rate>> {
        let begin = |cpu: &&Cpu| Training::new(self, data, cpu, precision);
        let mut trainings = cpus.iter().map(begin).collect::<Result<Vec<Training>>>()?;
        let Some(first) = trainings.first() else { return Ok(Vec::new()) };
        let (isa, count) = (cpus[0].isa(), first.rows() as f64);
        let work = Work { count, flops: count * self.flops(), units: self.units(isa, precision)? };
        in_turn(isa, work, ROUNDS.1, || {
            cpus.iter().zip(&mut trainings).map(|(cpu, one)| one.round(cpu, data)).collect()
        })
    }

    /// Samples a second of `jobs` trainings side by side with products of that precision, one thread each, all
    /// together: each one's median of rounds.
    ///
    /// # Errors
    /// Threads could not be started, or the device failed.
    pub fn rate_side_by_side(&self, data: &Arc<Dataset>, isa: Isa, jobs: usize, precision: Precision) -> Result<f64> {
        let start = Barrier::new(jobs);
        let job = || -> Result<(usize, Vec<f64>)> {
            let prepared = Cpu::with_isa(isa, 1).and_then(|cpu| Ok((Training::new(self, data, &cpu, precision)?, cpu)));
            // Before the question mark: one that failed must not let the others wait for ever.
            start.wait();
            let (mut training, cpu) = prepared?;
            let times = (0..ROUNDS.1 + WARM_UP).map(|_| training.round(&cpu, data)).collect::<Result<Vec<f64>>>()?;
            Ok((training.rows(), times))
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(job)).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        let mut total = 0.0;
        for outcome in outcomes {
            let (rows, mut times) = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            total += rows as f64 / median(&mut times[WARM_UP..]);
        }
        Ok(total)
    }

    /// One training of it at its start.
    pub(super) fn begin(
        &self,
        data: &Dataset,
        cpu: &Cpu,
        precision: Precision,
    ) -> Result<(Plan, <Cpu as Backend>::Cohort)> {
        let spec = TrainSpec::default();
        let plan = self.plan()?;
        let weights = initialise(&plan, Init::Torch, 1, 0);
        let update =
            UpdateRule { optimizer: spec.optimizer, weight_decay: 0.0, l1: 0.0, clip_norm: None, hypergradient: None };
        let member = Member {
            plan: &plan,
            weights: &weights,
            batch_size: self.batch,
            criterion: spec.criterion(data)?,
            update,
            seed: 1,
            slot: 0,
            precision,
        };
        let cohort = cpu.begin(&[member])?;
        Ok((plan, cohort))
    }
}

/// A training under way.
struct Training {
    cohort: <Cpu as Backend>::Cohort,
    batch: usize,
    order: Vec<u32>,
    rates: Vec<f32>,
    losses: Vec<f64>,
    done: u64,
}

impl Training {
    fn new(row: &StepRow, data: &Arc<Dataset>, cpu: &Cpu, precision: Precision) -> Result<Self> {
        let (_, cohort) = row.begin(data, cpu, precision)?;
        let of_step = |sample: f64| sample * row.batch as f64;
        let steps = calls(50e-3, of_step(row.flops()), of_step(row.bytes())).min(ROWS / row.batch);
        let mut order: Vec<u32> = (0..ROWS as u32).collect();
        Stream::new(1, 0, Purpose::Shuffle, 0).shuffle(&mut order);
        order.truncate(steps * row.batch);
        Ok(Training { cohort, batch: row.batch, order, rates: vec![1e-3; steps], losses: vec![0.0; steps], done: 0 })
    }

    /// Rows of a round.
    fn rows(&self) -> usize {
        self.order.len()
    }

    /// Seconds of a round of steps.
    fn round(&mut self, cpu: &Cpu, data: &Arc<Dataset>) -> Result<f64> {
        let run = Run {
            first_step: self.done,
            rows: &self.order,
            batch_size: self.batch,
            rates: &self.rates,
            losses: &mut self.losses,
        };
        let start = Instant::now();
        cpu.advance(&mut self.cohort, data, &mut [run])?;
        self.done += self.rates.len() as u64;
        Ok(start.elapsed().as_secs_f64())
    }
}
