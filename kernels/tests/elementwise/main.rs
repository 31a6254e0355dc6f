//! The elementwise operations on every instruction set of the machine, against the oracle, and the oracle against
//! finite differences and values from outside. What each operation may be wrong by stands in [`tolerance`].

mod activations;
mod epilogues;
mod losses;
mod math;
mod optimizers;
mod oracle;
mod reductions;
mod tolerance;

use hpt_kernels::philox::philox4x32_10;

/// Lengths around the lanes (8 and 16), the groups of dropout (64) and some primes.
const LENGTHS: &[usize] = &[0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 47, 63, 64, 65, 127, 131, 257];

/// Numbers in `[low, high)`, the same for the same `stream`.
fn uniform(stream: u32, n: usize, low: f32, high: f32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| {
            let [word, ..] = philox4x32_10([i, 0, 0, 0], [stream, 1]);
            low + (high - low) * (word >> 8) as f32 / 16_777_216.0
        })
        .collect()
}

fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
