//! Stops a trial whose value leaves the bounds that the user gave, after a warm-up; the others do not matter.

use super::{Pruner, Settings};
use crate::history::{Direction, Trial};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    /// Values below are stopped.
    pub lower: Option<f64>,
    /// Values above are stopped.
    pub upper: Option<f64>,
    /// Steps that every trial may do.
    pub warmup: u64,
}

impl Threshold {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        Threshold { lower: settings.lower, upper: settings.upper, warmup: settings.warmup }
    }
}

impl Pruner for Threshold {
    fn should_prune(&self, _: Direction, _: &[Trial], trial: &Trial) -> bool {
        let Some((step, value)) = trial.last_intermediate() else { return false };
        let outside = self.lower.is_some_and(|lower| value < lower) || self.upper.is_some_and(|upper| value > upper);
        value.is_nan() || step > self.warmup && outside
    }

    fn compares(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        let bound = |what: &str, bound: Option<f64>| bound.map(|bound| format!("{what} {bound}"));
        let bounds: Vec<String> =
            [bound("below", self.lower), bound("above", self.upper)].into_iter().flatten().collect();
        format!("threshold: stops what is {}", bounds.join(" or "))
    }
}
