//! Samplers: which configuration to try next.
//!
//! A sampler is a pure function of the space, the history and the trial's keyed random numbers ([`Ask`] →
//! [`Proposal`]): it holds no state, reads no clock and does not care in which order the history is given. So a
//! study that was interrupted goes on with exactly the proposals it would have had. A new sampler is one file and
//! one line in [`SAMPLERS`]; the contract suite runs over that list.

mod auto;
mod cmaes;
mod codec;
mod designs;
mod gp;
mod grid;
mod normal;
mod nsga2;
mod outcome;
mod population;
mod random;
mod rung;
mod several;
mod sobol;
#[cfg(test)]
mod tests;
mod tpe;

pub use auto::Auto;
pub use cmaes::CmaEsSampler;
pub use designs::{HaltonSampler, LatinSampler};
pub use gp::{Acquisition, GpSampler, REGRET_TRIALS, regret_bound};
pub use grid::GridSampler;
pub use nsga2::Nsga2Sampler;
pub use population::Population;
pub use random::RandomSampler;
pub use sobol::QmcSampler;
pub use tpe::{BohbSampler, TpeSampler};

use crate::history::{Direction, Trial};
use crate::space::{Params, Space};
use crate::{Error, Result};

/// All that a proposal may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What varies.
    pub space: &'a Space,
    /// One direction an objective.
    pub directions: &'a [Direction],
    /// All trials so far, in every state; waiting and running ones are pending.
    pub history: &'a [Trial],
    /// The study's seed.
    pub seed: u64,
    /// The new trial's place in the plan: it keys the random numbers.
    pub slot: u64,
    /// Complete trials of another study with the same directions, on a scale of their own. They are no trials of this
    /// one: a model may ask what they say as far as it agrees with the history, and others leave them alone.
    pub source: &'a [Trial],
}

/// What a sampler answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Proposal {
    /// Try this.
    Params(Params),
    /// Nothing is left that has not been tried.
    Exhausted,
}

/// Proposes configurations; see the module.
pub trait Sampler: Send + Sync {
    /// The configuration of the trial in slot `ask.slot`.
    fn ask(&self, ask: &Ask) -> Proposal;

    /// Whether what trials came to has a say in what is proposed, not only which configurations there were.
    fn learns(&self) -> bool {
        true
    }

    /// Whether it makes use of what another study found ([`Ask::source`]).
    fn transfers(&self, _space: &Space, _directions: &[Direction]) -> bool {
        false
    }

    /// Whether it goes through every configuration once and then stops.
    fn is_exhaustive(&self, _space: &Space) -> bool {
        false
    }

    /// One line for a person: what it does with this space, and why.
    fn describe(&self, space: &Space, directions: &[Direction]) -> String;
}

/// What the user may say about a sampler.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Trials that the study should reach in all, where that is known.
    pub trials: Option<u64>,
    /// Points of the grid along a continuum.
    pub resolution: usize,
    /// Quasi-random trials before a model is trusted.
    pub startup: u64,
    /// What the Gaussian process maximises.
    pub acquisition: Acquisition,
    /// Trials that may run at once, where there are so many; proposals come one after the other.
    pub at_once: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { trials: None, resolution: 5, startup: 10, acquisition: Acquisition::default(), at_once: 1 }
    }
}

/// A row of the list of samplers.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    make: fn(&Settings) -> Box<dyn Sampler>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every sampler there is.
pub const SAMPLERS: &[Entry] = &[
    Entry {
        name: "auto",
        summary: "chooses from the space and the number of trials",
        make: |settings| Box::new(Auto::new(settings)),
    },
    Entry { name: "random", summary: "independent random points", make: |_| Box::new(RandomSampler) },
    Entry {
        name: "grid",
        summary: "every combination once, in an order drawn by the seed, then stops",
        make: |settings| Box::new(GridSampler { resolution: settings.resolution, trials: settings.trials }),
    },
    Entry { name: "qmc", summary: "quasi-random points: a scrambled Sobol sequence", make: |_| Box::new(QmcSampler) },
    Entry {
        name: "halton",
        summary: "quasi-random points: a scrambled Halton sequence",
        make: |_| Box::new(HaltonSampler),
    },
    Entry { name: "lhs", summary: "Latin hypercubes", make: |settings| Box::new(LatinSampler::new(settings)) },
    Entry {
        name: "gp",
        summary: "Gaussian process, of the largest rung with enough trials where a pruner stops some",
        make: |settings| Box::new(GpSampler::new(settings)),
    },
    Entry { name: "cmaes", summary: "evolution strategy with restarts", make: |_| Box::<CmaEsSampler>::default() },
    Entry {
        name: "tpe",
        summary: "tree-structured Parzen estimator",
        make: |settings| Box::new(TpeSampler::new(settings)),
    },
    Entry {
        name: "bohb",
        summary: "Parzen estimators of the largest budget with enough trials, for hyperband",
        make: |settings| Box::new(BohbSampler::new(settings)),
    },
    Entry {
        name: "nsga2",
        summary: "evolution, for several objectives",
        make: |settings| Box::new(Nsga2Sampler::new(settings)),
    },
];

/// The sampler of that name.
///
/// # Errors
/// [`Error::Input`] with the list of names for one that is not in it.
pub fn by_name(name: &str, settings: &Settings) -> Result<Box<dyn Sampler>> {
    match SAMPLERS.iter().find(|entry| entry.name == name) {
        Some(entry) => Ok((entry.make)(settings)),
        None => Err(Error::unknown("sampler", name, SAMPLERS.iter().map(|entry| entry.name))),
    }
}
