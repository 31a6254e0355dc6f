//! Chooses a sampler from the space, the objectives and the number of trials.

use super::gp::MOST_OBJECTIVES;
use super::{Ask, GpSampler, GridSampler, Nsga2Sampler, Proposal, QmcSampler, Sampler, Settings, TpeSampler};
use crate::history::Direction;
use crate::space::Space;

/// Trials from which on the Gaussian process gives way: it would see only some of them, and proposals take long.
const MOST_SEEN: usize = 500;
/// Most parameters that a Gaussian process can tell apart from a few hundred trials.
const MOST_PARAMETERS: usize = 60;

/// Trials at once from which on they would wait for the Gaussian process, whose proposals take up to a tenth of a second.
const MANY_AT_ONCE: usize = 32;

/// Trials with several objectives after which the Gaussian processes, one an objective, give way.
const MOST_SEEN_BY_SEVERAL: usize = 250;

/// Trials with several objectives from which on evolution is chosen: it is made for thousands.
const MANY: u64 = 1_000;

/// Chooses for the user; [`Sampler::describe`] says what and why.
#[derive(Clone, Debug)]
pub struct Auto {
    settings: Settings,
}

impl Auto {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        Auto { settings: settings.clone() }
    }

    /// The grid where it fits into the budget, quasi-random points where nothing can be learned from them any more,
    /// otherwise the model that needs the fewest trials, as long as it is quick: a Gaussian process first, with several
    /// objectives too unless they are so many that it could only weigh them, then the densities of [`TpeSampler`].
    fn choose(&self, space: &Space, objectives: usize, seen: usize) -> (Box<dyn Sampler>, String) {
        let many = format!("more than {MOST_PARAMETERS} parameters are too many for a Gaussian process");
        let most = if objectives > 1 { MOST_SEEN_BY_SEVERAL } else { MOST_SEEN };
        match (space.size(), self.settings.trials) {
            (Some(size), Some(trials)) if size <= trials => (
                // Every value, also of long logarithmic ranges.
                Box::new(GridSampler { resolution: usize::MAX, trials: None }),
                format!("they fit into {trials} trials"),
            ),
            (_, Some(trials)) if trials <= self.settings.startup => {
                (Box::new(QmcSampler), format!("{trials} trials are too few for a model"))
            }
            (_, Some(trials)) if objectives > 1 && trials >= MANY => (
                Box::new(Nsga2Sampler::new(&self.settings)),
                format!("{objectives} objectives and {MANY} trials or more"),
            ),
            _ if objectives > MOST_OBJECTIVES => (
                Box::new(TpeSampler::new(&self.settings)),
                format!("more than {MOST_OBJECTIVES} objectives are too many for a Gaussian process"),
            ),
            _ if self.settings.at_once >= MANY_AT_ONCE => (
                Box::new(TpeSampler::new(&self.settings)),
                format!("{} trials at once would wait for a Gaussian process", self.settings.at_once),
            ),
            _ if space.len() > MOST_PARAMETERS => (Box::new(TpeSampler::new(&self.settings)), many),
            _ if seen >= most => {
                (Box::new(TpeSampler::new(&self.settings)), format!("after {most} trials it is quicker"))
            }
            (_, trials) => {
                let later = trials.is_none_or(|trials| trials > most as u64);
                let then = if later { format!("; from trial {most} on tpe") } else { String::new() };
                (Box::new(GpSampler::new(&self.settings)), format!("it needs the fewest trials{then}"))
            }
        }
    }
}

impl Sampler for Auto {
    fn ask(&self, ask: &Ask) -> Proposal {
        self.choose(ask.space, ask.directions.len(), ask.history.len()).0.ask(ask)
    }

    fn is_exhaustive(&self, space: &Space) -> bool {
        self.choose(space, 1, 0).0.is_exhaustive(space)
    }

    fn describe(&self, space: &Space, directions: &[Direction]) -> String {
        let (sampler, why) = self.choose(space, directions.len(), 0);
        format!("auto: {} ({why})", sampler.describe(space, directions))
    }
}
