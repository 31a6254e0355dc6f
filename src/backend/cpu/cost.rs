//! What a step costs on a number of threads: a model of work, from its shapes, precision and instruction set alone.
//!
//! Seconds on n threads = Σ seconds of a product on one core / min(n, its parts) + the optimizer and the rows / min(n,
//! the most parts) + (n − 1) · meetings + 2 (n − 1)/n · (exchange + packing), of which products, meetings and packing
//! are those of every block of rows that a batch goes in.
//!
//! The constants are fitted to n = 1 and 2 on one machine; from 3 on this is an extrapolation that nothing was measured
//! of. Meetings grow with every worker, since all add to one counter and read its line. Of what others wrote a worker
//! reads (n − 1)/n, and of the packing of an operand that all need as much is repeated: twice what it is for two, at
//! the most. What more cores do to each other in a shared cache and in memory is left out.

use super::net::{EVAL_ROWS, block_rows};
use super::team::most_parts;
use super::{method, multiplies_bytes};
use crate::backend::Precision;
use crate::model::{Layer, Plan};
use hpt_kernels::gemm::{Method, panel_width};
use hpt_kernels::isa::Isa;

/// Seconds of an optimizer a weight: Adam in a second-level cache.
const LEARN: f64 = 0.3e-9;
/// Seconds of a row, from anywhere in the table to its loss, …
const ROW: f64 = 70e-9;
/// … and of each of its elements as f32 and as a byte.
const ELEMENT: [f64; 2] = [0.34e-9, 0.05e-9];
/// Seconds that two threads add to a block: for their meetings, …
const MEET: f64 = 18e-6;
/// … for each byte of the batch, activations and gradients, a part of which one worker writes and another reads, …
const EXCHANGE: f64 = 0.02e-9;
/// … and for each product of bf16 terms, of which an operand is packed by every worker. All three fitted to two cores
/// of a Xeon with AMX: networks with steps of 30 to 480 µs at three precisions (`benches/record/threads.md`).
const PACK: f64 = 7e-6;

/// A product of a step or of an evaluation: C (m × n) ← A (m × k) · B (k × n).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepProduct {
    /// Whether A are bytes.
    pub bytes: bool,
    /// Rows of A and C.
    pub m: usize,
    /// Length of the sums.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
    /// How it is computed.
    pub method: Method,
}

impl StepProduct {
    /// Additions and multiplications.
    pub fn flops(&self) -> f64 {
        2.0 * self.m as f64 * self.k as f64 * self.n as f64
    }
}

/// The products of a step over `batch` rows, `bytes` where they are that, block of rows by block: forward, dW and, but
/// for the first, dX of each layer.
pub fn products(
    isa: Isa,
    plan: &Plan,
    batch: usize,
    bytes: bool,
    precision: Precision,
) -> impl Iterator<Item = StepProduct> {
    blocks(plan, batch).flat_map(move |rows| block_products(isa, plan, rows, bytes, precision))
}

/// Rows of each block of a batch.
fn blocks(plan: &Plan, batch: usize) -> impl Iterator<Item = usize> + use<> {
    let block = block_rows(plan, batch);
    (0..batch).step_by(block.max(1)).map(move |first| block.min(batch - first))
}

/// The products of an evaluation, `bytes` where the features are that: of a whole block of rows. Fewer rows are
/// computed by the same methods, so that a row's outputs are the same alone as among others; they are as exact as f32
/// whatever the training's precision.
pub fn evaluation_products(isa: Isa, plan: &Plan, bytes: bool) -> impl Iterator<Item = StepProduct> {
    let (m, allowed) = (EVAL_ROWS, method(Precision::Highest));
    plan.layers.iter().enumerate().map(move |(l, &Layer { inputs: k, outputs: n, residual, .. })| {
        // What is added to the outputs has to be numbers.
        let bytes = bytes && l == 0 && !residual;
        let method = allowed.choose(isa, bytes, m, k, n);
        StepProduct { bytes: bytes && method != Method::F32, m, k, n, method }
    })
}

/// The products of a block of rows.
fn block_products(
    isa: Isa,
    plan: &Plan,
    batch: usize,
    bytes: bool,
    precision: Precision,
) -> impl Iterator<Item = StepProduct> {
    let allowed = method(precision);
    let bytes = bytes && multiplies_bytes(isa, plan, batch, allowed);
    let layers = plan.layers.iter().enumerate().flat_map(move |(l, &Layer { inputs, outputs, .. })| {
        let (bytes, back) = (bytes && l == 0, (l > 0).then_some((false, batch, outputs, inputs)));
        [Some((bytes, batch, inputs, outputs)), Some((bytes, inputs, batch, outputs)), back].into_iter().flatten()
    });
    layers.map(move |(bytes, m, k, n)| {
        let method = allowed.choose(isa, bytes, m, k, n);
        StepProduct { bytes, m, k, n, method }
    })
}

/// What a step costs, to say how many threads suit it.
#[derive(Debug)]
pub struct StepCost {
    /// Seconds of each piece of work on one core, and the most workers that it is divided among.
    work: Vec<(f64, usize)>,
    /// Seconds that two workers meet, …
    meet: f64,
    /// … exchange what they wrote, …
    exchange: f64,
    /// … and pack the same.
    pack: f64,
}

impl StepCost {
    /// A step over `batch` rows, `bytes` where they are that.
    pub fn new(isa: Isa, plan: &Plan, batch: usize, bytes: bool, precision: Precision) -> Self {
        let panel = panel_width(isa);
        let all: Vec<StepProduct> = products(isa, plan, batch, bytes, precision).collect();
        let blocks = blocks(plan, batch).count();
        let bytes = all.iter().any(|product| product.bytes);
        let packed = all.iter().filter(|product| product.method != Method::F32).count();
        let cost = |&StepProduct { bytes, m, k, n, method }: &StepProduct| {
            (method.seconds(isa, bytes, m, k, n), most_parts((m, n), panel))
        };
        let mut work: Vec<(f64, usize)> = all.iter().map(cost).collect();
        let most = work.iter().map(|&(_, parts)| parts).max().unwrap_or(1);
        work.push((LEARN * plan.parameters as f64, most));
        work.push((batch as f64 * (ROW + ELEMENT[usize::from(bytes)] * plan.inputs as f64), most));
        let exchange = EXCHANGE * exchanged(plan, batch, bytes) as f64;
        StepCost { work, meet: MEET * blocks as f64, exchange, pack: PACK * packed as f64 }
    }

    /// Seconds of the step on so many threads; a mean number of them need not be whole.
    pub fn seconds(&self, threads: f64) -> f64 {
        let work: f64 = self.work.iter().map(|&(seconds, parts)| seconds / threads.min(parts as f64)).sum();
        let foreign = 2.0 * (threads - 1.0) / threads;
        work + (threads - 1.0) * self.meet + foreign * self.exchange + foreign * self.pack
    }

    /// The number of threads, at least 1 and at most `cores`, on which the step takes the least time.
    pub fn threads(&self, cores: usize) -> usize {
        let seconds = |threads: &usize| self.seconds(*threads as f64);
        (1..=cores).min_by(|a, b| seconds(a).total_cmp(&seconds(b))).unwrap_or(1)
    }
}

/// Bytes of the batch and of every layer's activations and their gradients.
fn exchanged(plan: &Plan, batch: usize, bytes: bool) -> usize {
    let outputs: usize = plan.layers.iter().map(|layer| layer.outputs).sum();
    batch * (plan.inputs * if bytes { 1 } else { 4 } + 8 * outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, ModelSpec};

    fn isa() -> Isa {
        Isa::by_name("amx-emulated").expect("every machine can emulate")
    }

    fn cost(inputs: usize, hidden: &[usize], batch: usize, precision: Precision) -> StepCost {
        let plan = Plan::new(&ModelSpec::uniform(hidden, Activation::Relu, 0.0), inputs, 10).expect("a network");
        StepCost::new(isa(), &plan, batch, false, precision)
    }

    const PRECISIONS: [Precision; 3] = [Precision::Highest, Precision::High, Precision::Medium];

    #[test]
    fn two_threads_are_for_steps_that_are_worth_their_meetings() {
        let threads = |inputs, hidden: &[usize], batch, precision| cost(inputs, hidden, batch, precision).threads(2);
        for precision in PRECISIONS {
            assert_eq!(threads(784, &[512, 512], 128, precision), 2, "{precision:?}");
            assert_eq!(threads(784, &[32], 16, precision), 1, "{precision:?}");
        }
        // As much arithmetic, by instructions of which nothing is packed and by others.
        assert_eq!(threads(54, &[128, 128], 64, Precision::Highest), 2);
        assert_eq!(threads(54, &[128, 128], 64, Precision::Medium), 1);
    }

    /// All blocks but the last have the same rows, and that one fewer.
    #[test]
    fn a_large_batch_costs_what_its_blocks_do() {
        let plan = Plan::new(&ModelSpec::uniform(&[64, 64], Activation::Relu, 0.0), 784, 10).expect("a network");
        let (batch, block) = (4090, block_rows(&plan, 4090));
        let rows: Vec<usize> = blocks(&plan, batch).collect();
        assert!(rows.len() > 2 && rows.iter().sum::<usize>() == batch, "{rows:?}");
        assert!(rows[..rows.len() - 1].iter().all(|&rows| rows == block) && rows[rows.len() - 1] < block, "{rows:?}");
        let all: Vec<StepProduct> = products(isa(), &plan, batch, false, Precision::High).collect();
        let each = rows.iter().flat_map(|&rows| products(isa(), &plan, rows, false, Precision::High));
        assert_eq!(all, each.collect::<Vec<_>>());
        let step = StepCost::new(isa(), &plan, batch, false, Precision::High);
        assert_eq!(step.meet, rows.len() as f64 * MEET);
    }

    /// What `benches/record/threads.md` was fitted to: half the work, and everything else once.
    #[test]
    fn two_threads_halve_the_work_and_add_what_was_measured() {
        for (hidden, batch) in [(&[512, 512][..], 128), (&[32], 16), (&[1], 3), (&[], 1)] {
            let step = cost(784, hidden, batch, Precision::High);
            let one = step.seconds(1.0);
            assert_eq!(step.seconds(2.0), one / 2.0 + step.meet + step.exchange + step.pack);
            assert_eq!(one, step.work.iter().map(|&(seconds, _)| seconds).sum::<f64>());
        }
    }

    #[test]
    fn larger_steps_get_more_threads() {
        let threads = |hidden: &[usize], batch, precision| cost(784, hidden, batch, precision).threads(64);
        for precision in PRECISIONS {
            assert_eq!(threads(&[32], 16, precision), 1, "{precision:?}");
            let between = threads(&[512, 512], 128, precision);
            assert!((2..16).contains(&between), "{between} at {precision:?}");
            let many = threads(&[2048, 2048, 2048], 512, precision);
            assert!(many >= 24, "{many} at {precision:?}");
            let widths = [16, 32, 64, 128, 256, 512, 1024, 2048].map(|width| threads(&[width, width], 128, precision));
            assert!(widths.is_sorted(), "{widths:?} at {precision:?}");
        }
        // Work for 64, where dW is divided by rows, and for no more.
        let step = cost(784, &[2048, 2048, 2048], 512, Precision::Highest);
        assert_eq!(step.work.iter().map(|&(_, parts)| parts).max(), Some(64));
        assert!((32..=64).contains(&step.threads(1000)), "{}", step.threads(1000));
    }

    /// So whoever has fewer cores than would be best does well to take them all.
    #[test]
    fn every_thread_up_to_the_best_number_saves_time() {
        for precision in PRECISIONS {
            for width in [16, 32, 64, 128, 256, 512, 1024, 2048] {
                for batch in [1, 16, 33, 128, 512, 4096] {
                    let step = cost(54, &[width, 2 * width], batch, precision);
                    let best = step.threads(64);
                    let seconds: Vec<f64> = (1..=best).map(|threads| step.seconds(threads as f64)).collect();
                    assert!(seconds.is_sorted_by(|a, b| a > b), "{width}, {batch}, {precision:?}: {seconds:?}");
                    assert!((1..=64).all(|cores| step.threads(cores) == best.min(cores)));
                }
            }
        }
    }
}
