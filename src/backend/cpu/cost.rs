//! What several threads gain a training: a model of work, from its shapes, precision and instruction set alone.

use super::{method, multiplies_bytes};
use crate::backend::Precision;
use crate::model::{Layer, Plan};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;

/// Seconds of an optimizer a weight: Adam in a second-level cache.
const LEARN: f64 = 0.3e-9;
/// Seconds of a row, from anywhere in the table to its loss, …
const ROW: f64 = 70e-9;
/// … and of each of its elements as f32 and as a byte.
const ELEMENT: [f64; 2] = [0.34e-9, 0.05e-9];
/// Seconds that several threads add to a step: for their meetings, …
const MEET: f64 = 18e-6;
/// … for each byte of the batch, activations and gradients, a part of which one worker writes and another reads, …
const EXCHANGE: f64 = 0.02e-9;
/// … and for each product of bf16 terms, of which an operand is packed by every worker. All three fitted to two cores of a
/// Xeon with AMX: networks with steps of 30 to 480 µs at three precisions (`benches/record/threads.md`).
const PACK: f64 = 7e-6;

/// A product of a step: C (m × n) ← A (m × k) · B (k × n).
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

/// The products of a step over `batch` rows, `bytes` where they are that: forward, dW and, but for the first, dX of
/// each layer.
pub fn products(
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
        let method = if bytes { allowed.choose_of_bytes(isa, m, k, n) } else { allowed.choose(isa, m, k, n) };
        StepProduct { bytes, m, k, n, method }
    })
}

/// How many times as fast a step over `batch` rows, `bytes` where they are that, is on two threads. What more threads add
/// to each other's work was not measured, so the question is that of two.
pub fn threads_gain(isa: Isa, plan: &Plan, batch: usize, bytes: bool, precision: Precision) -> f64 {
    let all: Vec<StepProduct> = products(isa, plan, batch, bytes, precision).collect();
    let bytes = all.iter().any(|product| product.bytes);
    let packed = all.iter().filter(|product| product.method != Method::F32).count();
    let products: f64 =
        all.iter().map(|&StepProduct { bytes, m, k, n, method }| method.seconds(isa, bytes, m, k, n)).sum();
    let rows = batch as f64 * (ROW + ELEMENT[usize::from(bytes)] * plan.inputs as f64);
    let one = products + LEARN * plan.parameters as f64 + rows;
    one / (one / 2.0 + MEET + EXCHANGE * exchanged(plan, batch, bytes) as f64 + PACK * packed as f64)
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

    #[test]
    fn several_threads_are_for_steps_that_are_worth_their_meetings() {
        let isa = Isa::by_name("amx-emulated").expect("every machine can emulate");
        let gains = |inputs, hidden: &[usize], batch, precision| {
            let plan = Plan::new(&ModelSpec::uniform(hidden, Activation::Relu, 0.0), inputs, 10).expect("a network");
            threads_gain(isa, &plan, batch, false, precision) > 1.0
        };
        for precision in [Precision::Highest, Precision::High, Precision::Medium] {
            assert!(gains(784, &[512, 512], 128, precision), "{precision:?}");
            assert!(!gains(784, &[32], 16, precision), "{precision:?}");
        }
        // As much arithmetic, by instructions of which nothing is packed and by others.
        assert!(gains(54, &[128, 128], 64, Precision::Highest));
        assert!(!gains(54, &[128, 128], 64, Precision::Medium));
    }
}
