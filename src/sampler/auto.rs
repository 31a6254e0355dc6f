//! Chooses a sampler from the space, the objectives and the number of trials.

use super::{Ask, GridSampler, Proposal, RandomSampler, Sampler, Settings};
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

    fn choose(&self, space: &Space) -> (Box<dyn Sampler>, String) {
        match (space.size(), self.settings.trials) {
            (Some(size), Some(trials)) if size <= trials => (
                Box::new(GridSampler { resolution: usize::MAX }),
                format!("the {size} configurations fit into {trials} trials"),
            ),
            _ => (Box::new(RandomSampler), "the space is larger than the number of trials".to_owned()),
        }
    }
}

impl Sampler for Auto {
    fn ask(&self, ask: &Ask) -> Proposal {
        self.choose(ask.space).0.ask(ask)
    }

    fn describe(&self, space: &Space, directions: &[Direction]) -> String {
        let (sampler, why) = self.choose(space);
        format!("auto: {} ({why})", sampler.describe(space, directions))
    }
}
