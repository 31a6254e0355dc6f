//! Chooses a sampler from the space, the objectives and the number of trials.

use super::{Ask, GpSampler, GridSampler, Proposal, QmcSampler, Sampler, Settings};
use crate::history::Direction;
use crate::space::Space;

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
    /// otherwise the model that needs the fewest trials.
    fn choose(&self, space: &Space) -> (Box<dyn Sampler>, String) {
        match (space.size(), self.settings.trials) {
            (Some(size), Some(trials)) if size <= trials => (
                // Every value, also of long logarithmic ranges.
                Box::new(GridSampler { resolution: usize::MAX }),
                format!("they fit into {trials} trials"),
            ),
            (_, Some(trials)) if trials <= self.settings.startup => {
                (Box::new(QmcSampler), format!("{trials} trials are too few for a model"))
            }
            _ => (Box::new(GpSampler::new(&self.settings)), "it needs the fewest trials".to_owned()),
        }
    }
}

impl Sampler for Auto {
    fn ask(&self, ask: &Ask) -> Proposal {
        self.choose(ask.space).0.ask(ask)
    }

    fn is_exhaustive(&self, space: &Space) -> bool {
        self.choose(space).0.is_exhaustive(space)
    }

    fn describe(&self, space: &Space, directions: &[Direction]) -> String {
        let (sampler, why) = self.choose(space);
        format!("auto: {} ({why})", sampler.describe(space, directions))
    }
}
