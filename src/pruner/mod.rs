//! Pruners: when to stop a trial that will not be among the best.
//!
//! A pruner is a pure function of the history and the trial's intermediate values. A trial that reports something that is
//! not a number is stopped by every pruner but `none`; what others reported as not a number counts as worse than
//! everything. It is asked at every report, with the study locked: it must be quick and must not call the study. `asha`
//! looks at the history at its rungs alone, `median` and `percentile` at every report after the warm-up: a time that
//! grows with the number of trials, about 0.1 ms a report for each 1000 trials with long histories.
//!
//! A new pruner is one file and one line in [`PRUNERS`]; the contract suite runs over that list.

mod asha;
mod hyperband;
mod percentile;
#[cfg(test)]
mod tests;

pub use asha::Asha;
pub use hyperband::Hyperband;
pub use percentile::Percentile;

use crate::history::{Direction, Trial};
use crate::{Error, Result};

/// Decides whether a trial goes on; see the module.
pub trait Pruner: Send + Sync {
    /// True where `trial` should stop after what it reported last. `history` holds all trials in any state and order;
    /// the trial itself in it is skipped.
    fn should_prune(&self, direction: Direction, history: &[Trial], trial: &Trial) -> bool;

    /// One line for a person.
    fn describe(&self) -> String;
}

/// What the user may say about a pruner.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Finished trials before median and percentile stop any.
    pub startup: usize,
    /// Steps that every trial may do before median and percentile stop it.
    pub warmup: u64,
    /// The share of better trials, in percent, that percentile keeps.
    pub percentile: f64,
    /// The first step at which successive halving compares.
    pub min_resource: u64,
    /// The steps of a trial that is not stopped, where that is known; hyperband divides them.
    pub max_resource: Option<u64>,
    /// Of how many trials successive halving lets one go on.
    pub reduction: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { startup: 5, warmup: 0, percentile: 25.0, min_resource: 1, max_resource: None, reduction: 3 }
    }
}

/// A row of the list of pruners.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    make: fn(&Settings) -> Box<dyn Pruner>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every pruner there is.
pub const PRUNERS: &[Entry] = &[
    Entry { name: "none", summary: "every trial runs to its end", make: |_| Box::new(Never) },
    Entry {
        name: "median",
        summary: "stops what is worse than the median of the others at the same step",
        make: |settings| Box::new(Percentile { percentile: 50.0, ..Percentile::new(settings) }),
    },
    Entry {
        name: "percentile",
        summary: "stops what is not among the best percent at the same step",
        make: |settings| Box::new(Percentile::new(settings)),
    },
    Entry {
        name: "asha",
        summary: "asynchronous successive halving: one in three goes on at each rung",
        make: |settings| Box::new(Asha::new(settings)),
    },
    Entry {
        name: "hyperband",
        summary: "several successive halvings that begin to stop at different steps",
        make: |settings| Box::new(Hyperband::new(settings)),
    },
];

/// The pruner of that name.
///
/// # Errors
/// [`Error::Input`] with the list of names for one that is not in it.
pub fn by_name(name: &str, settings: &Settings) -> Result<Box<dyn Pruner>> {
    match PRUNERS.iter().find(|entry| entry.name == name) {
        Some(entry) => Ok((entry.make)(settings)),
        None => Err(Error::unknown("pruner", name, PRUNERS.iter().map(|entry| entry.name))),
    }
}

/// Stops nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Never;

impl Pruner for Never {
    fn should_prune(&self, _: Direction, _: &[Trial], _: &Trial) -> bool {
        false
    }

    fn describe(&self) -> String {
        "none: every trial runs to its end".to_owned()
    }
}
