//! Chooses a sampler from the space, the objectives and the number of trials.

use super::gp::MOST_OBJECTIVES;
use super::{Ask, GpSampler, GridSampler, Nsga2Sampler, Proposal, QmcSampler, Sampler, Settings, TpeSampler};
use crate::history::Direction;
use crate::space::Space;

/// Trials from which on the Gaussian process gives way: it would see only some of them, and proposals take long.
const MOST_SEEN: usize = 500;
/// Most parameters that a Gaussian process can tell apart from a few hundred trials.
const MOST_PARAMETERS: usize = 60;

/// Trials at once from which on they would wait for the Gaussian process: one proposal follows the other, at some 10 ms
/// each, and a GPU trains hundreds of networks in a second. Below, it is worth the wait: with 31 under way the regret
/// is 0.4 of that of [`TpeSampler`] after 150 trials and 0.7 after 300 (`benches/search/README.md`).
const MANY_AT_ONCE: u64 = 128;

/// Trials with several objectives from which on evolution follows the processes: it is made for thousands, and its
/// parents are the best of what they found.
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
        // There is a process for each objective.
        let most = MOST_SEEN / objectives.max(1);
        let is_for_evolution = objectives > 1 && self.settings.trials.is_some_and(|trials| trials >= MANY);
        // No more than there are trials, and configurations, can be under way.
        let most_at_once = self.settings.trials.unwrap_or(u64::MAX).min(space.size().unwrap_or(u64::MAX));
        let at_once = most_at_once.min(self.settings.at_once as u64);
        let later = |why: String| -> (Box<dyn Sampler>, String) {
            match is_for_evolution {
                true => (Box::new(Nsga2Sampler::new(&self.settings)), format!("{why}, for {MANY} trials or more")),
                false => (Box::new(TpeSampler::new(&self.settings)), why),
            }
        };
        match (space.size(), self.settings.trials) {
            (Some(size), Some(trials)) if size <= trials => (
                // Every value, also of long logarithmic ranges.
                Box::new(GridSampler { resolution: usize::MAX, trials: None }),
                format!("they fit into {trials} trials"),
            ),
            (_, Some(trials)) if trials <= self.settings.startup => {
                (Box::new(QmcSampler), format!("a model needs more than {} trials", self.settings.startup))
            }
            _ if objectives > MOST_OBJECTIVES => {
                later(format!("more than {MOST_OBJECTIVES} objectives are too many for a Gaussian process"))
            }
            _ if at_once >= MANY_AT_ONCE => {
                later(format!("{at_once} trials at once would wait for a Gaussian process"))
            }
            _ if space.len() > MOST_PARAMETERS => later(many),
            _ if seen >= most => later(format!("after {most} trials it is quicker")),
            (_, trials) => {
                let gives_way = trials.is_none_or(|trials| trials > most as u64);
                let next = if is_for_evolution { "nsga2" } else { "tpe" };
                let then = if gives_way { format!("; from trial {most} on {next}") } else { String::new() };
                (Box::new(GpSampler::new(&self.settings)), format!("it needs the fewest trials{then}"))
            }
        }
    }
}

impl Sampler for Auto {
    fn ask(&self, ask: &Ask) -> Proposal {
        self.choose(ask.space, ask.directions.len(), ask.history.len()).0.ask(ask)
    }

    fn transfers(&self, space: &Space, directions: &[Direction]) -> bool {
        self.choose(space, directions.len(), 0).0.transfers(space, directions)
    }

    fn is_exhaustive(&self, space: &Space) -> bool {
        self.choose(space, 1, 0).0.is_exhaustive(space)
    }

    fn describe(&self, space: &Space, directions: &[Direction]) -> String {
        let (sampler, why) = self.choose(space, directions.len(), 0);
        format!("auto: {} ({why})", sampler.describe(space, directions))
    }
}
