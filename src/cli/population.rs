//! The options of population-based training: flags `--population 16`, or keys of `[search]`.
//!
//! Options of their own and no sampler's name: a population takes the place of sampler, pruner and number of trials at
//! once, and so none of them may be given beside it.

use super::options::Options;
use hpt_engine::search::PopulationSpec;
use hpt_engine::{Error, Result};

impl Options {
    /// How a population is trained; none where there is none.
    ///
    /// # Errors
    /// A value out of range, one of the options without `population`, or one that a population replaces.
    pub fn population(&self) -> Result<Option<PopulationSpec>> {
        let place = |name: &str| self.place(name).map(str::to_owned);
        let Some(members) = self.count("population", 2)? else {
            let lonely = ["generation_epochs", "exploit", "explore_factor", "explore_resample"];
            return match lonely.into_iter().find_map(place) {
                Some(place) => {
                    Err(Error::input(format!("{place} belongs to a population; give --population K as well")))
                }
                None => Ok(None),
            };
        };
        if let Some(other) = ["sampler", "pruner", "pruner_option", "trials"].into_iter().find_map(place) {
            let own = place("population").unwrap_or_default();
            return Err(Error::input(format!(
                "{own} and {other} exclude each other: in a population the worst members follow the best, for as many epochs as --epochs says"
            )));
        }
        let default = PopulationSpec::new(members);
        Ok(Some(PopulationSpec {
            members,
            generation_epochs: self
                .count("generation_epochs", 1)?
                .map_or(default.generation_epochs, |epochs| epochs as usize),
            exploit: self.share("exploit")?.unwrap_or(default.exploit),
            explore_factor: self.real("explore_factor")?.unwrap_or(default.explore_factor),
            explore_resample: self.share("explore_resample")?.unwrap_or(default.explore_resample),
        }))
    }
}
