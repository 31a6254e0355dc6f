//! Training on the CPU with the kernels of `hpt-kernels`.
//!
//! [`Cpu`] is the device: an instruction set and a team of workers. `net.rs` holds what one model in training
//! needs, `step.rs` makes a step, `eval.rs` the outputs of a dataset, `team.rs` and `memory.rs` divide work and
//! memory among the workers. Results are bit-identical for every number of workers: each output element is
//! computed by one worker by the same operations, and sums run over fixed chunks in a fixed order.

mod adapt;
mod arena;
mod cost;
mod eval;
mod learn;
mod memory;
mod net;
mod step;
mod team;

use super::{Backend, Caps, Member, Precision, Run};
use crate::data::Dataset;
use crate::model::{Layer, Plan};
use crate::{Error, Result};
pub use cost::{StepProduct, products, threads_gain};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;
use net::Net;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use team::Barrier;
pub use team::Worker;

/// The CPU as a device.
#[derive(Debug)]
pub struct Cpu {
    isa: Isa,
    threads: usize,
    pool: Option<rayon::ThreadPool>,
    sharers: Option<Arc<AtomicUsize>>,
}

impl Cpu {
    /// A device of `threads` workers (0: one a core) with the fastest instruction set, or the one of `HPT_ISA`.
    ///
    /// # Errors
    /// `HPT_ISA` names a set that is unknown or not there, or threads could not be started.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_isa(Isa::detect().map_err(Error::Input)?, threads)
    }

    /// A device with this instruction set.
    ///
    /// # Errors
    /// Threads could not be started.
    pub fn with_isa(isa: Isa, threads: usize) -> Result<Self> {
        let threads = if threads == 0 { cores() } else { threads };
        let pool = match threads {
            1 => None,
            _ => {
                let named = |i| format!("train-{i}");
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(named).build();
                Some(pool.map_err(|e| Error::Device(format!("cannot start {threads} threads: {e}")))?)
            }
        };
        Ok(Cpu { isa, threads, pool, sharers: None })
    }

    /// Its instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The same device among others: every run of steps takes the share of the cores that `sharers` devices leave it at
    /// that moment, and at most as many workers as the device has. Numbers do not change with it.
    #[must_use]
    pub fn shared(self, sharers: Arc<AtomicUsize>) -> Self {
        Cpu { sharers: Some(sharers), ..self }
    }

    /// How many workers a run would have now.
    fn workers(&self) -> usize {
        let share = |sharers: &Arc<AtomicUsize>| (cores() / sharers.load(Relaxed).max(1)).clamp(1, self.threads);
        self.sharers.as_ref().map_or(self.threads, share)
    }

    /// Runs `work` on every worker of the team at once, and returns when all have ended.
    pub fn team(&self, work: impl Fn(&Worker<'_>) + Sync) {
        let (barrier, size) = (Barrier::default(), self.workers());
        match &self.pool {
            Some(pool) if size > 1 => {
                pool.broadcast(|context| match context.index() {
                    index if index < size => work(&Worker::new(index, size, &barrier)),
                    _ => {}
                });
            }
            _ => work(&Worker::new(0, 1, &barrier)),
        }
    }
}

/// The least exact method that a precision allows.
pub fn method(precision: Precision) -> Method {
    match precision {
        Precision::Highest => Method::Bf16x6,
        Precision::High => Method::Bf16x3,
        Precision::Medium | Precision::Bf16 => Method::Bf16,
    }
}

/// Whether the first layer of a network multiplies `batch` rows of bytes as they are: where nothing has to be made of them
/// (dropout, or a sum with the outputs), and units of bf16 are the fastest for both of its products.
fn multiplies_bytes(isa: Isa, plan: &Plan, batch: usize, allowed: Method) -> bool {
    let Some(&Layer { inputs, outputs, residual, .. }) = plan.layers.first() else { return false };
    let by_units = |m, k, n| allowed.choose_of_bytes(isa, m, k, n) != Method::F32;
    plan.input_dropout == 0.0 && !residual && by_units(batch, inputs, outputs) && by_units(inputs, batch, outputs)
}

/// The precision that products have on an instruction set where `wanted` is asked for: the lowest that is no lower and
/// that the set computes faster than f32. f32 meets every promise of the lower ones.
pub fn natively(wanted: Precision, isa: Isa) -> Precision {
    let lower = [Precision::Medium, Precision::High].into_iter();
    let mut fitting = lower.filter(|&precision| method(precision) <= method(wanted));
    fitting.find(|&precision| method(precision).is_native(isa)).unwrap_or(Precision::Highest)
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Models in training on the CPU.
pub struct Cohort {
    nets: Vec<Net>,
}

impl std::fmt::Debug for Cohort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cohort").field("models", &self.nets.len()).finish()
    }
}

impl Backend for Cpu {
    type Data = Arc<Dataset>;
    type Cohort = Cohort;

    fn caps(&self) -> Caps {
        Caps { device: "cpu".to_owned(), isa: self.isa.name().to_owned(), threads: self.threads }
    }

    fn precision(&self, wanted: Precision) -> Precision {
        natively(wanted, self.isa)
    }

    fn upload(&self, dataset: Arc<Dataset>) -> Result<Arc<Dataset>> {
        Ok(dataset)
    }

    fn begin(&self, members: &[Member<'_>]) -> Result<Cohort> {
        Ok(Cohort { nets: members.iter().map(|member| Net::new(member, self.isa, self.threads)).collect() })
    }

    fn advance(&self, cohort: &mut Cohort, data: &Arc<Dataset>, runs: &mut [Run<'_>]) -> Result<()> {
        for (net, run) in cohort.nets.iter_mut().zip(runs) {
            net.advance(self, data, run);
        }
        Ok(())
    }

    fn evaluate(&self, cohort: &mut Cohort, member: usize, data: &Arc<Dataset>, outputs: &mut [f32]) -> Result<f64> {
        Ok(cohort.nets[member].evaluate(self, data, outputs))
    }

    fn snapshot(&self, cohort: &mut Cohort, member: usize) -> Result<()> {
        cohort.nets[member].snapshot();
        Ok(())
    }

    fn restore(&self, cohort: &mut Cohort, member: usize) -> Result<()> {
        cohort.nets[member].restore();
        Ok(())
    }

    fn weights(&self, cohort: &Cohort, member: usize) -> Result<Vec<f32>> {
        Ok(cohort.nets[member].weights())
    }

    fn moments(&self, cohort: &Cohort, member: usize) -> Result<Vec<Vec<f32>>> {
        Ok(cohort.nets[member].moments())
    }

    fn set_moments(&self, cohort: &mut Cohort, member: usize, moments: &[Vec<f32>]) -> Result<()> {
        cohort.nets[member].set_moments(moments);
        Ok(())
    }

    fn rate_offset(&self, cohort: &Cohort, member: usize) -> f64 {
        cohort.nets[member].adapt.as_ref().map_or(0.0, adapt::Adapt::offset)
    }
}
