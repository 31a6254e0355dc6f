//! Pruners: when to stop a trial that will not be among the best.
//!
//! A pruner is a pure function of the history and the trial's intermediate values, with several objectives of all that
//! are reported (`several.rs`). A trial that reports something that is
//! not a number is stopped by every pruner but `none`; what others reported as not a number counts as worse than
//! everything. It is asked at every report, with the study locked: it must be quick and must not call the study.
//!
//! A trial that is known to break its constraints is no competitor of one that is not: feasible comes before
//! infeasible, whatever the values. Who breaks them itself is judged against all.
//!
//! Looking at every trial at every report takes a time that grows with their number. So a pruner may also [`follow`] a
//! study: it is then told of every trial and report once, keeps what it needs in order, and answers from that. The pure
//! function remains its definition; the contract suite holds one against the other.
//!
//! A new pruner is one file and one line in [`PRUNERS`], an option of one a line in [`OPTIONS`].
//!
//! [`follow`]: Pruner::follow

mod asha;
mod hyperband;
mod options;
mod patience;
mod percentile;
mod several;
#[cfg(test)]
mod several_tests;
mod standing;
#[cfg(test)]
mod tests;
mod threshold;
mod wilcoxon;

pub use asha::Asha;
pub use hyperband::Hyperband;
pub use options::{NamedBound, OPTIONS, PrunerOption, Settings};
pub use patience::Patience;
pub use percentile::Percentile;
pub use threshold::Threshold;
pub use wilcoxon::Wilcoxon;

use crate::history::{Direction, Trial};
use crate::{Error, Result};

/// Decides whether a trial goes on; see the module.
pub trait Pruner: Send + Sync {
    /// True where `trial` should stop after what it reported last. `directions` has one an objective; `history` holds
    /// all trials in any state and order; the trial itself in it is skipped.
    fn should_prune(&self, directions: &[Direction], history: &[Trial], trial: &Trial) -> bool;

    /// Whether it looks at other trials.
    fn compares(&self) -> bool {
        true
    }

    /// Whether the steps that it judges by are parts of a whole (folds, repetitions, instances) and no progress.
    fn of_parts(&self) -> bool {
        false
    }

    /// A follower of a study with these directions, which has seen nothing yet; none where looking at the history is no
    /// worse.
    fn follow(&self, _directions: &[Direction]) -> Option<Box<dyn Follower>> {
        None
    }

    /// One line for a person.
    fn describe(&self) -> String;
}

/// A pruner's memory of one study: it is told of every change once, and decides as [`Pruner::should_prune`] would. It
/// knows the feasible trials alone, so one that is known to break its constraints is judged by the pure function.
pub trait Follower: Send {
    /// This trial is new, or its state or its constraints have changed; `trial` is all of it as it is now, with what it
    /// reported.
    fn take(&mut self, trial: &Trial);

    /// A running trial, taken before, reported these: one value an objective, or that of the first alone.
    fn report(&mut self, trial: &Trial, step: u64, values: &[f64]);

    /// True where `trial`, which is feasible and of which everything was told, should stop after what it reported last.
    fn should_prune(&self, trial: &Trial) -> bool;
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
    Entry {
        name: "patience",
        summary: "stops what has not improved for some reports",
        make: |settings| Box::new(Patience::new(settings, None)),
    },
    Entry {
        name: "threshold",
        summary: "stops what leaves the bounds that are given",
        make: |settings| Box::new(Threshold::new(settings).unwrap_or_default()),
    },
    Entry {
        name: "wilcoxon",
        summary: "stops what is worse than the best on the same folds or repetitions",
        make: |settings| Box::new(Wilcoxon::new(settings)),
    },
];

/// The pruner of that name. With a patience it stops nothing that has improved within it.
///
/// # Errors
/// [`Error::Input`] with the list of names for one that is not in it; a threshold without a bound, or with one on an
/// objective that there is not.
pub fn by_name(name: &str, settings: &Settings) -> Result<Box<dyn Pruner>> {
    let entry = entry(name)?;
    if name == "threshold" {
        Threshold::new(settings)?;
    }
    let pruner = (entry.make)(settings);
    Ok(match settings.patience {
        Some(_) if !["none", "patience"].contains(&name) => Box::new(Patience::new(settings, Some(pruner))),
        _ => pruner,
    })
}

/// The row of that name.
///
/// # Errors
/// [`Error::Input`] with the list of names for one that is not in it.
pub fn entry(name: &str) -> Result<&'static Entry> {
    PRUNERS
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| Error::unknown("pruner", name, PRUNERS.iter().map(|entry| entry.name)))
}

/// Stops nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Never;

impl Pruner for Never {
    fn should_prune(&self, _: &[Direction], _: &[Trial], _: &Trial) -> bool {
        false
    }

    fn compares(&self) -> bool {
        false
    }

    fn describe(&self) -> String {
        "none: every trial runs to its end".to_owned()
    }
}
