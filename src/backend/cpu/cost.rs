//! What several threads gain a training: a model of work, from its shapes, precision and instruction set alone.

use super::method;
use crate::backend::Precision;
use crate::model::{Layer, Plan};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;

/// Seconds of an optimizer a weight: Adam in a second-level cache.
const LEARN: f64 = 0.3e-9;
/// Seconds of a row, from anywhere in the table to its loss, and of each of its elements.
const ROW: [f64; 2] = [70e-9, 0.34e-9];
/// Seconds that several threads add to a step: for their meetings, …
const MEET: f64 = 16e-6;
/// … for each byte of the batch, activations and gradients, a part of which one worker writes and another reads, …
const EXCHANGE: f64 = 0.04e-9;
/// … and for each product of bf16 terms, of which an operand is packed by every worker. All three fitted to two cores of a
/// Xeon with AMX: 14 networks with steps of 40 to 480 µs at three precisions (`benches/record/threads.md`).
const PACK: f64 = 6e-6;

/// How many times as fast a step over `batch` rows is on two threads. What more threads add to each other's work was not
/// measured, so the question is that of two.
pub fn threads_gain(isa: Isa, plan: &Plan, batch: usize, precision: Precision) -> f64 {
    let product = |(m, k, n)| {
        let method = method(precision).choose(isa, m, k, n);
        (method.seconds(isa, m, k, n), usize::from(method != Method::F32))
    };
    let layers = plan.layers.iter().enumerate().flat_map(|(l, &Layer { inputs, outputs, .. })| {
        let back = (l > 0).then_some((batch, outputs, inputs));
        [Some((batch, inputs, outputs)), Some((inputs, batch, outputs)), back].into_iter().flatten()
    });
    let (products, packed) = layers.map(product).fold((0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let rows = batch as f64 * (ROW[0] + ROW[1] * plan.inputs as f64);
    let one = products + LEARN * plan.parameters as f64 + rows;
    one / (one / 2.0 + MEET + EXCHANGE * exchanged(plan, batch) as f64 + PACK * packed as f64)
}

/// Bytes of the batch and of every layer's activations and their gradients.
fn exchanged(plan: &Plan, batch: usize) -> usize {
    let outputs: usize = plan.layers.iter().map(|layer| layer.outputs).sum();
    4 * batch * (plan.inputs + 2 * outputs)
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
            threads_gain(isa, &plan, batch, precision) > 1.0
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
