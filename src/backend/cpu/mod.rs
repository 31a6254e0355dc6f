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
use crate::sharers::{Place, Sharers};
use crate::{Error, Result};
pub use cost::{StepCost, StepProduct, evaluation_products, products};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;
use net::Net;
pub use net::training_bytes;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use team::Barrier;
pub use team::Worker;

/// The CPU as a device.
#[derive(Debug)]
pub struct Cpu {
    isa: Isa,
    threads: usize,
    pool: Option<rayon::ThreadPool>,
    place: Option<Place>,
    /// Rows of a batch at a time, where it is said.
    block: Option<usize>,
    /// Steps that were made, …
    steps: AtomicU64,
    /// … and the sum of their workers.
    worked: AtomicU64,
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
        let (steps, worked) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Cpu { isa, threads, pool, place: None, block: None, steps, worked })
    }

    /// The same device, on which batches go through a network so many rows (at least one) at a time, instead of as many
    /// as stay in the caches. Numbers change with it in their last digits: each block's gradients are summed first.
    #[must_use]
    pub fn in_blocks_of(self, rows: usize) -> Self {
        Cpu { block: Some(rows.max(1)), ..self }
    }

    /// Its instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The same device among others: every run of steps takes the share of the cores that the others leave it at that
    /// moment, and at most as many workers as the device has. Numbers do not change with it.
    #[must_use]
    pub fn shared(self, sharers: Arc<Sharers>) -> Self {
        Cpu { place: Some(Place::new(sharers, self.threads)), ..self }
    }

    /// How many workers a run would have now.
    fn workers(&self) -> usize {
        self.place.as_ref().map_or(self.threads, |place| place.share(cores()))
    }

    /// How many workers its steps had, on average; before the first one as many as it would have now.
    pub fn mean_workers(&self) -> f64 {
        match self.steps.load(Relaxed) {
            0 => self.workers() as f64,
            steps => self.worked.load(Relaxed) as f64 / steps as f64,
        }
    }

    fn count(&self, steps: usize, workers: usize) {
        self.steps.fetch_add(steps as u64, Relaxed);
        self.worked.fetch_add((steps * workers) as u64, Relaxed);
    }

    /// Runs `work` on every worker of the team at once, and returns when all have ended: how many they were.
    pub fn team(&self, work: impl Fn(&Worker<'_>) + Sync) -> usize {
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
        size
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

/// Whether the first layer of a network multiplies `batch` rows of bytes as they are: where nothing has to be made of
/// them (dropout, or a sum with the outputs), and units of bf16 are the fastest for both of its products.
fn multiplies_bytes(isa: Isa, plan: &Plan, batch: usize, allowed: Method) -> bool {
    let Some(&Layer { inputs, outputs, residual, .. }) = plan.layers.first() else { return false };
    let by_units = |m, k, n| allowed.choose(isa, true, m, k, n) != Method::F32;
    plan.input_dropout == 0.0 && !residual && by_units(batch, inputs, outputs) && by_units(inputs, batch, outputs)
}

/// The precision that products have on an instruction set where `wanted` is asked for: the lowest that is no lower and
/// that the set computes faster than f32. f32 meets every promise of the lower ones.
pub fn natively(wanted: Precision, isa: Isa) -> Precision {
    let lower = [Precision::Medium, Precision::High].into_iter();
    let mut fitting = lower.filter(|&precision| method(precision) <= method(wanted));
    fitting.find(|&precision| method(precision).is_native(isa)).unwrap_or(Precision::Highest)
}

/// Cores that this process may use. Asked once: the answer is in files of the control groups, which take longer to read
/// than some runs of steps.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
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

    fn unit(&self, wanted: Precision) -> Option<&'static str> {
        method(wanted).unit(self.isa)
    }

    fn upload(&self, dataset: Arc<Dataset>) -> Result<Arc<Dataset>> {
        Ok(dataset)
    }

    fn begin(&self, members: &[Member<'_>]) -> Result<Cohort> {
        Ok(Cohort { nets: members.iter().map(|member| Net::new(member, self)).collect() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Makes them so many.
    fn set(sharers: &Sharers, workers: usize) {
        (sharers.workers()..workers).for_each(|_| sharers.enter());
        (workers..sharers.workers()).for_each(|_| sharers.leave());
    }

    #[test]
    fn a_team_has_the_share_of_the_moment() {
        let sharers = Sharers::new(1);
        let cpu = Cpu::new(cores()).expect("threads").shared(Arc::clone(&sharers));
        let workers = |now: usize| {
            set(&sharers, now);
            let seen = AtomicUsize::new(0);
            let size = cpu.team(|worker| {
                assert!(worker.index < worker.size);
                seen.fetch_add(1, Relaxed);
                worker.wait();
            });
            assert_eq!(seen.into_inner(), size);
            size
        };
        let share = |now: usize| cores().saturating_sub(now - 1).max(1);
        assert_eq!([1, 2, 1000, 1].map(workers), [1, 2, 1000, 1].map(share), "the others do not train yet");
        let threads = cores() + 1;
        let alone = Cpu::new(threads).expect("threads");
        assert_eq!(alone.team(|_| {}), threads, "a device that shares with nobody has what it was made with");
    }

    #[test]
    fn the_mean_of_workers_is_over_steps() {
        let sharers = Sharers::new(1000);
        let cpu = Cpu::new(cores()).expect("threads").shared(Arc::clone(&sharers));
        assert_eq!(cpu.mean_workers(), 1.0, "what it would have now");
        set(&sharers, 1);
        assert_eq!(cpu.mean_workers(), cores() as f64);
        cpu.count(30, 1);
        cpu.count(10, 5);
        assert_eq!(cpu.mean_workers(), 2.0);
    }
}
