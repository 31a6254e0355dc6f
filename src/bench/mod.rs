//! How fast this machine does what a training consists of: products, the passes around them, whole steps, evaluations.
//!
//! The measurements of `hpt-engine bench` and of `cargo bench`, which sets other libraries beside them. Every rate is a
//! median over rounds after a warm-up, on data that are not zero and, where they are larger than a cache, change from
//! call to call. Each comes with what the arithmetic and the bytes of it must cost ([`Roofs`]), so that it can be read as
//! a share of what is possible.

mod cohort;
mod evaluation;
mod passes;
mod products;
mod roofline;
mod steps;

pub use cohort::{COHORTS, CohortRate, CohortRow};
pub use evaluation::{Evaluation, evaluations};
pub use passes::{Pass, passes};
pub use products::{Kind, PRODUCTS, Product, Timer};
pub use roofline::{Mark, Units, svg};
pub use steps::{STEPS, StepRow};

use hpt_kernels::isa::{Isa, bandwidth, peak};
use serde::Serialize;

/// The limits of this machine, measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roofs {
    /// Multiply-adds on registers, two operations each, of one core: 10⁹ operations a second.
    pub peak_gflops: f64,
    /// Two streams read and one written by one core, 10⁹ bytes a second: in a first-level cache …
    pub l1_gbytes: f64,
    /// … in a second-level cache …
    pub l2_gbytes: f64,
    /// … and from memory.
    pub memory_gbytes: f64,
}

impl Roofs {
    /// Measures them; takes some tenths of a second.
    pub fn measure(isa: Isa) -> Self {
        Roofs {
            peak_gflops: peak(isa) / 1e9,
            l1_gbytes: bandwidth(isa, 16 << 10) / 1e9,
            l2_gbytes: bandwidth(isa, 384 << 10) / 1e9,
            memory_gbytes: bandwidth(isa, 256 << 20) / 1e9,
        }
    }
}

/// The median of times, which are sorted by this.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Numbers in [−1, 1), none of them zero.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) | 1) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Rounds of which the median is taken, and those before them that are not counted.
const ROUNDS: (usize, usize) = (11, 2);

/// Seconds a call of `call`, which is told how many calls to make and returns the seconds they took.
fn seconds(flops: f64, bytes: f64, mut call: impl FnMut(usize) -> f64) -> f64 {
    // About two milliseconds a round at rates that any machine of today has.
    let calls = ((2e-3 / (flops / 100e9).max(bytes / 20e9).max(1e-9)) as usize).max(1);
    let mut times: Vec<f64> = (0..ROUNDS.0 + ROUNDS.1).map(|_| call(calls) / calls as f64).skip(ROUNDS.1).collect();
    median(&mut times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;

    #[test]
    fn what_is_measured_is_positive_and_below_the_roofs() {
        let isa = Isa::available().last().expect("the portable set is everywhere");
        let roofs = Roofs::measure(isa);
        let cpu = Cpu::with_isa(isa, 2).expect("threads can be started");
        assert!(roofs.peak_gflops > 0.0 && roofs.memory_gbytes > 0.0 && roofs.l1_gbytes > 0.0, "{roofs:?}");
        let product = Product { kind: Kind::Forward, m: 33, k: 17, n: 19 };
        let rate = product.flops() / Timer::new(isa, product).median(&cpu) / 1e9;
        // Two cores; a debug build is far below, a broken clock far above.
        assert!(rate > 0.0 && rate < 4.0 * roofs.peak_gflops, "{rate}");
        for pass in passes() {
            assert!(pass.seconds(isa) > 0.0, "{}", pass.name);
        }
        let small = evaluations().into_iter().min_by(|a, b| a.flops().total_cmp(&b.flops())).expect("there are some");
        let rate = small.rate(&small.data(), &cpu).expect("it is measured") * small.flops() / 1e9;
        assert!(rate > 0.0 && rate < 4.0 * roofs.peak_gflops, "{rate}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert!(median(&mut []).is_nan());
    }
}
