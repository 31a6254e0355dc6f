//! Every combination once, then the search stops by itself.
//!
//! The trial in slot i has the i-th point of the grid, not counting trials that the user enqueued: no worker, crash or
//! failure can make a point come twice or not at all.

use super::{Ask, Proposal, Sampler};
use crate::history::{Direction, Trial};
use crate::space::{Grid, Space};
use std::collections::BTreeMap;

/// The system attribute by which Optuna marks a trial whose parameters somebody gave.
const ENQUEUED: &str = "fixed_params";

/// The full grid; see the module.
#[derive(Clone, Copy, Debug)]
pub struct GridSampler {
    /// Points along a continuum, ends included, and most points along a logarithmic whole number.
    pub resolution: usize,
}

impl Sampler for GridSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let place = ask.slot - enqueued_before(ask).min(ask.slot);
        Grid::new(ask.space, self.resolution).nth(place).map_or(Proposal::Exhausted, Proposal::Params)
    }

    fn is_exhaustive(&self, _: &Space) -> bool {
        true
    }

    fn learns(&self) -> bool {
        false
    }

    fn describe(&self, space: &Space, _: &[Direction]) -> String {
        let grid = Grid::new(space, self.resolution);
        match grid.size() {
            Some(size) if space.size().is_some_and(|all| all == size) => format!("grid: all {size} configurations"),
            Some(size) => format!("grid: {size} configurations, {} values along a continuum", self.resolution),
            None => "grid: more configurations than can be counted".to_owned(),
        }
    }
}

/// Earlier slots that hold given parameters instead of a grid point. A repeated trial has its predecessor's slot, and
/// given parameters because of that: the first trial of a slot decides.
fn enqueued_before(ask: &Ask) -> u64 {
    let mut first: BTreeMap<u64, &Trial> = BTreeMap::new();
    for trial in ask.history.iter().filter(|trial| trial.slot() < ask.slot) {
        let known = first.entry(trial.slot()).or_insert(trial);
        if trial.number < known.number {
            *known = trial;
        }
    }
    first.values().filter(|trial| trial.system.contains_key(ENQUEUED)).count() as u64
}
