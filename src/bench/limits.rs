//! What a core can do at most, and rounds of measurements beside it.

use super::{WARM_UP, median};
use crate::Result;
use crate::backend::StepProduct;
use hpt_kernels::gemm::{Method, bf16_multiply_adds, bf16_peak};
use hpt_kernels::isa::{Isa, bandwidth, multiply_adds, peak};
use serde::Serialize;

/// The limits of this machine, measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Roofs {
    /// Multiply-adds on registers, two operations each, of one core: 10⁹ operations a second.
    pub peak_gflops: f64,
    /// The same of bf16, where there is a unit for them: what one product of bf16 may reach, not the three of `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bf16_peak_gflops: Option<f64>,
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
            bf16_peak_gflops: bf16_peak(isa).map(|peak| peak / 1e9),
            l1_gbytes: bandwidth(isa, 16 << 10) / 1e9,
            l2_gbytes: bandwidth(isa, 384 << 10) / 1e9,
            memory_gbytes: bandwidth(isa, 256 << 20) / 1e9,
        }
    }
}

/// What arithmetic is made by: how many operations of each kind there are for one that is counted. Their sum is more
/// than one where a product of numbers is several of bf16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Units {
    /// Of f32, by multiply-adds and other vector arithmetic.
    pub f32: f64,
    /// Of bf16.
    pub bf16: f64,
}

impl Units {
    /// Vectors of f32 alone.
    pub const F32: Units = Units { f32: 1.0, bf16: 0.0 };

    /// Those of a product, of which A is `bytes` or not.
    pub fn of(method: Method, bytes: bool) -> Self {
        match method {
            Method::F32 => Units::F32,
            method => Units { f32: 0.0, bf16: method.products(bytes) as f64 },
        }
    }

    /// Those of several products together.
    pub fn of_all(products: impl Iterator<Item = StepProduct>) -> Self {
        let (mut all, mut flops) = (Units { f32: 0.0, bf16: 0.0 }, 0.0);
        for product in products {
            let (of, own) = (Units::of(product.method, product.bytes), product.flops());
            (all.f32, all.bf16, flops) = (all.f32 + own * of.f32, all.bf16 + own * of.bf16, flops + own);
        }
        Units { f32: all.f32 / flops, bf16: all.bf16 / flops }
    }

    /// Whether there are products of bf16.
    pub fn by_bf16(&self) -> bool {
        self.bf16 > 0.0
    }

    /// The rate of what is counted, if each kind runs at its peak, one after the other; `None` where no peak is known.
    pub fn peak(&self, f32: impl FnOnce() -> f64, bf16: impl FnOnce() -> Option<f64>) -> Option<f64> {
        let by_f32 = if self.f32 > 0.0 { self.f32 / f32() } else { 0.0 };
        let by_bf16 = if self.by_bf16() { self.bf16 / bf16()? } else { 0.0 };
        Some(1.0 / (by_f32 + by_bf16))
    }
}

/// The work of a round.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// What a rate counts: products' operations, or samples.
    pub count: f64,
    /// Its operations.
    pub flops: f64,
    /// What makes them.
    pub units: Units,
}

/// How fast a work was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Of what is counted, by the median round.
    pub per_second: f64,
    /// Of one core's peak at the clock of the round; the median.
    pub share: Option<f64>,
}

/// Rates of several ways to do a work, over so many rounds. A round times the peak and each way in turn and returns the
/// seconds of each: a clock that goes up and down does so for all of them.
///
/// # Errors
/// Those of a round.
pub fn in_turn(isa: Isa, work: Work, rounds: usize, mut round: impl FnMut() -> Result<Vec<f64>>) -> Result<Vec<Rate>> {
    let mut one = || -> Result<(Option<f64>, Vec<f64>)> {
        let peak = work.units.peak(|| multiply_adds(isa), || bf16_multiply_adds(isa));
        Ok((peak, round()?))
    };
    let rounds = (0..rounds + WARM_UP).map(|_| one()).collect::<Result<Vec<_>>>()?.split_off(WARM_UP);
    let ways = rounds.first().map_or(0, |(_, seconds)| seconds.len());
    let rate = |way: usize| {
        let share = |(peak, seconds): &(Option<f64>, Vec<f64>)| peak.map(|peak| work.flops / seconds[way] / peak);
        let shares = rounds.iter().map(share).collect::<Option<Vec<f64>>>();
        let mut seconds: Vec<f64> = rounds.iter().map(|(_, seconds)| seconds[way]).collect();
        Rate { per_second: work.count / median(&mut seconds), share: shares.map(|mut all| median(&mut all)) }
    };
    Ok((0..ways).map(rate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_products_of_bf16_share_their_peak() {
        let peak = |units: Units| units.peak(|| 100.0, || Some(600.0));
        assert_eq!(peak(Units::of(Method::F32, true)), Some(100.0));
        assert_eq!(peak(Units::of(Method::Bf16, false)), Some(600.0));
        assert_eq!(peak(Units::of(Method::Bf16x3, false)), Some(200.0));
        assert_eq!(peak(Units::of(Method::Bf16x3, true)), Some(300.0));
        // Half the operations by vectors, half by three products each: 0.5/100 + 1.5/600 seconds.
        let mixed = peak(Units { f32: 0.5, bf16: 1.5 }).expect("both are known");
        assert!((mixed - 1.0 / 0.0075).abs() < 1e-9, "{mixed}");
        assert_eq!(Units::of(Method::Bf16, false).peak(|| 100.0, || None), None);
        assert_eq!(Units::F32.peak(|| 100.0, || None), Some(100.0));
    }

    #[test]
    fn a_rate_is_that_of_the_median_round_after_the_warm_up() {
        let isa = Isa::by_name("portable").expect("it is everywhere");
        let mut times = [9.0, 9.0, 1.0, 4.0, 2.0].into_iter();
        let work = Work { count: 8.0, flops: 16.0, units: Units::F32 };
        let rates = in_turn(isa, work, 3, || {
            let time = times.next().expect("five rounds");
            Ok(vec![time, 2.0 * time])
        });
        let [once, twice] = rates.expect("no round fails")[..] else { panic!("two ways") };
        assert_eq!((once.per_second, twice.per_second), (4.0, 2.0));
        let (once, twice) = (once.share.expect("a peak"), twice.share.expect("a peak"));
        assert!(once > 0.0 && (once / twice - 2.0).abs() < 1e-9, "{once} {twice}");
        let emulated = Isa::by_name("amx-emulated").expect("every machine can emulate");
        let work = Work { units: Units::of(Method::Bf16, false), ..work };
        let rates = in_turn(emulated, work, 1, || Ok(vec![2.0])).expect("no round fails");
        assert_eq!(rates, [Rate { per_second: 4.0, share: None }]);
    }
}
