//! Devices that train. A backend advances a cohort of models by runs of steps; how a step is made is its own.
//!
//! [`Reference`] composes the formulas naively in f64 and is the oracle; [`Cpu`] is the fast one and is held
//! against it. What a step needs is allocated by [`Backend::begin`]; after that nothing is.

mod cpu;
pub mod cuda;
mod reference;

pub use cpu::{
    Cpu, StepCost, StepProduct, Worker, cores, evaluation_products, method, natively, products, training_bytes,
};
pub use cuda::{Gpu, gpus};
pub use reference::Reference;

use crate::data::Dataset;
use crate::model::{Activation, Criterion, Layer, Plan};
use crate::{Error, Result};
use hpt_kernels::optimizer::Optimizer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A device that trains cohorts of networks.
///
/// A model's numbers depend on its [`Member`] and its [`Run`]s alone: not on its companions in the cohort, nor
/// on how steps are divided into runs, nor on the number of threads.
pub trait Backend: Sync {
    /// A dataset where the device reads it.
    type Data: AsRef<Dataset> + Sync;
    /// Models in training: weights, moments, buffers.
    type Cohort: Send;

    /// What the device is.
    fn caps(&self) -> Caps;

    /// Operations of one run of steps that the training loop should ask for: some ten milliseconds on the CPU, so that
    /// a request to stop is soon heard.
    fn run_flops(&self) -> f64 {
        2e9
    }

    /// Does something with the simpler of two kinds of kernels where the device has two for the same products, to
    /// compare them; none elsewhere. Models that begin at the same time get the simpler ones too.
    fn with_twins<T>(&self, _work: impl FnOnce(&Self) -> T) -> Option<T>
    where
        Self: Sized,
    {
        None
    }

    /// The precision that products run in where `wanted` is asked for: never a lower one.
    fn precision(&self, wanted: Precision) -> Precision;

    /// What else than [`Caps::isa`] the bits of products depend on where that precision is asked for.
    fn unit(&self, _wanted: Precision) -> Option<&'static str> {
        None
    }

    /// Makes a dataset readable for the device.
    ///
    /// # Errors
    /// It does not fit the device.
    fn upload(&self, dataset: Arc<Dataset>) -> Result<Self::Data>;

    /// Starts models with all buffers they will need.
    ///
    /// # Errors
    /// They do not fit the device.
    fn begin(&self, members: &[Member<'_>]) -> Result<Self::Cohort>;

    /// Trains each model by its run's steps; the runs are in the order of the members.
    ///
    /// # Errors
    /// The device failed. A loss that is not finite is no error here: it stands in [`Run::losses`].
    fn advance(&self, cohort: &mut Self::Cohort, data: &Self::Data, runs: &mut [Run<'_>]) -> Result<()>;

    /// Writes one model's outputs for every row of `data` (class or label probabilities, or standardised values),
    /// `rows × outputs`, and returns the mean loss, or 0 where the data have no targets.
    ///
    /// # Errors
    /// The device failed.
    fn evaluate(&self, cohort: &mut Self::Cohort, member: usize, data: &Self::Data, outputs: &mut [f32])
    -> Result<f64>;

    /// The loss that [`Backend::evaluate`] returns, and what metrics are made of, where the device counts by itself, so
    /// that outputs need not leave it. None: they have to be looked at.
    ///
    /// # Errors
    /// As [`Backend::evaluate`].
    fn tally(
        &self,
        _cohort: &mut Self::Cohort,
        _member: usize,
        _data: &Self::Data,
        _detail: Detail,
    ) -> Result<Option<(f64, Tally)>> {
        Ok(None)
    }

    /// Keeps a model's weights on the device, in place of those kept before.
    ///
    /// # Errors
    /// The device failed; here and below.
    fn snapshot(&self, cohort: &mut Self::Cohort, member: usize) -> Result<()>;

    /// Goes back to the weights kept last.
    ///
    /// # Errors
    /// As [`Backend::snapshot`].
    fn restore(&self, cohort: &mut Self::Cohort, member: usize) -> Result<()>;

    /// A model's weights, in the order of its [`Plan`].
    ///
    /// # Errors
    /// As [`Backend::snapshot`].
    fn weights(&self, cohort: &Self::Cohort, member: usize) -> Result<Vec<f32>>;

    /// What a model's optimizer remembers: [`Optimizer::slots`] vectors, each as long as the weights.
    ///
    /// # Errors
    /// As [`Backend::snapshot`].
    fn moments(&self, cohort: &Self::Cohort, member: usize) -> Result<Vec<Vec<f32>>>;

    /// Gives a model's optimizer the memory of another of the same network: what it has no slot for is left out, a slot
    /// for which there is nothing is zero.
    ///
    /// # Errors
    /// As [`Backend::snapshot`].
    fn set_moments(&self, cohort: &mut Self::Cohort, member: usize, moments: &[Vec<f32>]) -> Result<()>;

    /// What adapting has added to a model's rate so far; 0 without.
    fn rate_offset(&self, cohort: &Self::Cohort, member: usize) -> f64;
}

/// The adapted rate, and what has been added to the given one: no rate is below 0, and what is not a number shows.
fn adapted(given: f32, offset: f64) -> (f32, f64) {
    let rate = f64::from(given) + offset;
    if rate < 0.0 { (0.0, -f64::from(given)) } else { (rate as f32, offset) }
}

/// Whether the backward pass of a layer needs its pre-activations: relu's derivative can be read off its output,
/// unless a skip connection was added to that.
fn keeps_z(layer: &Layer) -> bool {
    layer.activation.derivative_needs_z() || (layer.residual && layer.activation != Activation::Identity)
}

/// How much of outputs is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// The rows that are right.
    Rows,
    /// And every column.
    Columns,
}

/// What a device has counted of the outputs of rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Rows whose outputs are right: the class is the first of the largest; every label is on its side of ½; none where
    /// targets are numbers.
    pub right: u64,
    /// Four sums an output, where columns are counted. Of classes and labels: rows where it is said and true, where it
    /// is said, where it is true; the sum of −ln p of the truth (of a class: over its own rows), p at least f32's
    /// epsilon away from 0 and 1. Of numbers: Σd² and Σ|d| of the differences from the targets, and two that mean
    /// nothing.
    pub columns: Vec<[f64; 4]>,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq)]
pub struct Caps {
    /// `cpu`, `reference` or `cuda:0`.
    pub device: String,
    /// The instruction set, or the GPU's module.
    pub isa: String,
    /// Threads of one training.
    pub threads: usize,
}

/// One model of a cohort.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Shapes and offsets.
    pub plan: &'a Plan,
    /// Initial weights, `plan.parameters` long.
    pub weights: &'a [f32],
    /// Largest number of rows of a step.
    pub batch_size: usize,
    /// What is minimised.
    pub criterion: Criterion,
    /// The update rule.
    pub update: UpdateRule,
    /// Keys dropout, with the step.
    pub seed: u64,
    /// Place in the plan of the search; keys dropout too.
    pub slot: u64,
    /// How the products of its steps are computed; the device takes the nearest that it has and that is no less exact.
    /// Outputs ([`Backend::evaluate`]) are always as exact as f32's.
    pub precision: Precision,
}

/// An optimizer with what stays constant in a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpdateRule {
    /// The formula and its constants.
    pub optimizer: Optimizer,
    /// L2, or decoupled decay for AdamW.
    pub weight_decay: f32,
    /// L1.
    pub l1: f32,
    /// Largest global norm of the gradient.
    pub clip_norm: Option<f32>,
    /// β, where the learning rate is adapted by hypergradient descent (Baydin et al., "Online learning rate adaptation
    /// with hypergradient descent", ICLR 2018), in the additive form: step t takes the rate that it is given plus
    /// β · Σ ∇f(θ_i)·d_{i−1} over the steps i ≤ t, at least 0, where θ_i = θ_{i−1} − rate · d_{i−1}, so that
    /// −∇f(θ_i)·d_{i−1} is the derivative of the loss at θ_i by the rate before. f holds L1 and L2.
    ///
    /// For SGD, momentum, Nesterov and Adam without clipping: the specification of a training refuses the rest.
    pub hypergradient: Option<f64>,
}

/// Consecutive steps of one model.
#[derive(Debug)]
pub struct Run<'a> {
    /// Number of the first step, from 0, over the whole training.
    pub first_step: u64,
    /// Row numbers of all steps, one after the other; every step takes `batch_size`, the last what is left.
    pub rows: &'a [u32],
    /// Rows a step.
    pub batch_size: usize,
    /// One learning rate a step.
    pub rates: &'a [f32],
    /// Receives each step's mean loss.
    pub losses: &'a mut [f64],
}

impl Run<'_> {
    /// The rows of step `i` of the run.
    pub fn step_rows(&self, i: usize) -> &[u32] {
        let start = i * self.batch_size;
        &self.rows[start..self.rows.len().min(start + self.batch_size)]
    }
}

/// How products are computed; JAX's and PyTorch's names. Weights, moments, losses and sums are always f32 or wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// f32 multiply-adds, or, for the shapes where they are faster, products of bf16 terms that are no less exact.
    Highest,
    /// Products of low precision of operands split in two, for the shapes where the device has them and they are
    /// faster; else f32. Beside the roundings of sums, error of at most 2⁻¹⁵ = 3.05e-5 of Σ|a·b|; where one operand
    /// is bytes, 2⁻¹⁷.
    High,
    /// One low-precision product, likewise: of TF32 on GPUs, error of at most 2⁻¹⁰ of Σ|a·b|; of bf16 on the CPU.
    Medium,
    /// One product of bf16, also where TF32 would be as easily had; error of at most 2⁻⁷ of Σ|a·b|. On the CPU that is
    /// what medium is.
    Bf16,
}

impl Precision {
    /// The names that `--precision` takes.
    pub const NAMES: &[(&str, Precision)] = &[
        ("highest", Precision::Highest),
        ("high", Precision::High),
        ("medium", Precision::Medium),
        ("bf16", Precision::Bf16),
    ];

    /// The precision of that name.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn by_name(name: &str) -> Result<Self> {
        let row = Self::NAMES.iter().find(|row| row.0 == name);
        row.map(|row| row.1).ok_or_else(|| Error::unknown("precision", name, Self::NAMES.iter().map(|row| row.0)))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|row| row.1 == self).map_or("highest", |row| row.0)
    }
}
