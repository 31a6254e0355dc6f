//! How many threads a training makes good use of: a model of work, from its shapes and the instruction set alone.

use super::{cores, method};
use crate::backend::Precision;
use crate::model::{Layer, Plan};
use hpt_kernels::isa::Isa;

/// Seconds of an optimizer a weight: Adam in a second-level cache.
const LEARN: f64 = 0.3e-9;
/// Seconds of the gather an element, from anywhere in the table.
const GATHER: f64 = 0.4e-9;
/// Seconds of a step with several threads for their meetings …
const MEET: f64 = 8e-6;
/// … and for each byte of the batch, activations and gradients, a part of which one worker writes and another reads. Both fitted to two
/// cores of a Xeon with AMX: 15 networks with steps of 40 to 400 µs at three precisions (`benches/record/threads.md`).
const EXCHANGE: f64 = 0.13e-9;

/// Threads, of as many as there are cores, that make a step over `batch` rows fastest: all or one.
pub fn useful_threads(isa: Isa, plan: &Plan, batch: usize, precision: Precision) -> usize {
    let (one, cores) = (step_seconds(isa, plan, batch, precision), cores());
    let many = one / cores as f64 + MEET + EXCHANGE * exchanged(plan, batch) as f64;
    if many < one { cores } else { 1 }
}

/// Estimated seconds of a step on one core.
fn step_seconds(isa: Isa, plan: &Plan, batch: usize, precision: Precision) -> f64 {
    let product = |m: usize, k: usize, n: usize| method(precision).choose(isa, m, k, n).seconds(isa, m, k, n);
    let layer = |(l, layer): (usize, &Layer)| {
        let (inputs, outputs) = (layer.inputs, layer.outputs);
        let back = if l == 0 { 0.0 } else { product(batch, outputs, inputs) };
        product(batch, inputs, outputs) + product(inputs, batch, outputs) + back
    };
    let products: f64 = plan.layers.iter().enumerate().map(layer).sum();
    products + LEARN * plan.parameters as f64 + GATHER * (batch * plan.inputs) as f64
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
        let threads = |inputs, hidden: &[usize], batch, precision| {
            let plan = Plan::new(&ModelSpec::uniform(hidden, Activation::Relu, 0.0), inputs, 10).expect("a network");
            useful_threads(isa, &plan, batch, precision)
        };
        for precision in [Precision::Highest, Precision::High, Precision::Medium] {
            assert_eq!(threads(784, &[512, 512], 128, precision), cores(), "{precision:?}");
            assert_eq!(threads(784, &[32], 16, precision), 1, "{precision:?}");
        }
        // As much arithmetic, and twelve times as much that one worker writes and another reads.
        assert_eq!(threads(784, &[128], 32, Precision::Medium), cores());
        assert_eq!(threads(784, &[16], 256, Precision::Medium), 1);
    }
}
