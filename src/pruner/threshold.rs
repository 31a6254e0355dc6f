//! Stops a trial of which a value leaves the bounds that the user gave, after a warm-up; the others do not matter. Each
//! of several objectives has bounds of its own.

use super::several::is_broken;
use super::{Pruner, Settings};
use crate::history::{Direction, Trial};
use crate::{Error, Result};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Threshold {
    /// Of each objective, as far as there are some.
    pub bounds: Vec<Bounds>,
    /// Steps that every trial may do.
    pub warmup: u64,
}

/// The bounds of one objective.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Values below are stopped.
    pub lower: Option<f64>,
    /// Values above are stopped.
    pub upper: Option<f64>,
}

impl Bounds {
    fn has_left(&self, value: f64) -> bool {
        self.lower.is_some_and(|lower| value < lower) || self.upper.is_some_and(|upper| value > upper)
    }
}

impl Threshold {
    /// With what the user said.
    ///
    /// # Errors
    /// There is no bound, or one on an objective that there is not.
    pub fn new(settings: &Settings) -> Result<Self> {
        let names = &settings.objectives;
        let bounds_of = |name: &String| Bounds { name: Some(name.clone()), ..Bounds::default() };
        let mut bounds: Vec<Bounds> = names.iter().map(bounds_of).collect();
        if bounds.is_empty() {
            bounds.push(Bounds::default());
        }
        (bounds[0].lower, bounds[0].upper) = (settings.lower, settings.upper);
        for bound in &settings.bounds {
            // Where no names are known there is one objective, whatever it is called.
            let only = names.is_empty().then_some(0);
            let Some(place) = only.or_else(|| names.iter().position(|name| *name == bound.objective)) else {
                let what = format!("threshold: {}.{}: objective", bound.side, bound.objective);
                return Err(Error::unknown(&what, &bound.objective, names.iter().map(String::as_str)));
            };
            let side = if bound.side == "lower" { &mut bounds[place].lower } else { &mut bounds[place].upper };
            *side = Some(bound.limit);
        }
        if bounds.iter().all(|bounds| bounds.lower.is_none() && bounds.upper.is_none()) {
            return Err(Error::input(
                "the pruner threshold needs a bound: --pruner-option lower=X or --pruner-option upper=X",
            ));
        }
        Ok(Threshold { bounds, warmup: settings.warmup })
    }
}

impl Pruner for Threshold {
    fn should_prune(&self, _: &[Direction], _: &[Trial], trial: &Trial) -> bool {
        let Some((step, _)) = trial.last_intermediate() else { return false };
        let values = trial.report_at(step).unwrap_or_default();
        let outside = || self.bounds.iter().zip(values).any(|(bounds, value)| bounds.has_left(*value));
        is_broken(trial) || step > self.warmup && outside()
    }

    fn compares(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        let bound = |of: &Option<String>, what: &str, bound: Option<f64>| {
            let of =
                of.as_ref().filter(|_| self.bounds.len() > 1).map(|name| format!("in {name} ")).unwrap_or_default();
            bound.map(|bound| format!("{of}{what} {bound}"))
        };
        let sides = |one: &Bounds| [bound(&one.name, "below", one.lower), bound(&one.name, "above", one.upper)];
        let bounds: Vec<String> = self.bounds.iter().flat_map(sides).flatten().collect();
        format!("threshold: stops what is {}", bounds.join(" or "))
    }
}
