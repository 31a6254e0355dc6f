//! How fast this machine does what a training consists of: products, the passes around them, whole steps, evaluations.
//!
//! The measurements of `hpt-engine bench` and of `cargo bench`, which sets other libraries beside them. Every rate is a
//! median over rounds after a warm-up, on data that are not zero and, where they are larger than a cache, change from
//! call to call. Each comes with what the arithmetic and the bytes of it must cost ([`Roofs`]), so that it can be read
//! as a share of what is possible.

mod cohort;
mod evaluation;
mod limits;
mod passes;
mod products;
mod roofline;
mod steps;

pub use cohort::{COHORTS, CohortRate, CohortRow};
pub use evaluation::{Evaluation, evaluations};
pub use limits::{Rate, Roofs, Units, Work, in_turn};
pub use passes::{Pass, passes};
pub use products::{Kind, PRODUCTS, Product, Timer};
pub use roofline::{Mark, svg};
pub use steps::{STEPS, StepRow};

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

/// Rounds of products and passes, and of trainings and evaluations, which take longer.
const ROUNDS: (usize, usize) = (11, 9);
/// Rounds before them that are not counted.
const WARM_UP: usize = 2;

/// Calls of a round of `target` seconds, at rates that any machine of today has.
fn calls(target: f64, flops: f64, bytes: f64) -> usize {
    ((target / (flops / 100e9).max(bytes / 20e9).max(1e-9)) as usize).max(1)
}

/// Seconds a call of `call`, which is told how many calls to make and returns the seconds they took.
fn seconds(flops: f64, bytes: f64, mut call: impl FnMut(usize) -> f64) -> f64 {
    let calls = calls(2e-3, flops, bytes);
    let mut times: Vec<f64> = (0..ROUNDS.0 + WARM_UP).map(|_| call(calls) / calls as f64).skip(WARM_UP).collect();
    median(&mut times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Cpu;
    use hpt_kernels::isa::Isa;

    #[test]
    fn what_is_measured_is_positive_and_below_the_roofs() {
        let isa = Isa::available().last().expect("the portable set is everywhere");
        let roofs = Roofs::measure(isa);
        let cpu = Cpu::with_isa(isa, 2).expect("threads can be started");
        assert!(roofs.peak_gflops > 0.0 && roofs.memory_gbytes > 0.0 && roofs.l1_gbytes > 0.0, "{roofs:?}");
        let product = Product { kind: Kind::Forward, m: 33, k: 17, n: 19 };
        let timer = Timer::new(isa, product);
        let rate = timer.rates(&[&cpu]).expect("it is measured")[0].per_second / 1e9;
        // Two cores; a debug build is far below, a broken clock far above.
        assert!(rate > 0.0 && rate < 4.0 * roofs.peak_gflops, "{rate}");
        for pass in passes() {
            assert!(pass.seconds(isa) > 0.0, "{}", pass.name);
        }
        let small = evaluations().into_iter().min_by(|a, b| a.flops().total_cmp(&b.flops())).expect("there are some");
        let rate = small.rates(&small.data(), &[&cpu]).expect("it is measured")[0].per_second * small.flops() / 1e9;
        assert!(rate > 0.0 && rate < 4.0 * roofs.peak_gflops, "{rate}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert!(median(&mut []).is_nan());
    }
}
