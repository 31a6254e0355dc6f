//! Independent random points.
//!
//! The slot keys the numbers, so any number of workers draw the same points. In a finite space a configuration that
//! some trial already has is drawn again, and when none is left the search is over.

use super::{Ask, Proposal, Sampler};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::{Grid, Params, Space, fingerprint};
use std::collections::HashSet;

/// Draws before the free configurations are listed instead.
const DRAWS: u64 = 64;
/// Largest space whose configurations are listed to find a free one.
const LARGEST_LISTED: u64 = 1 << 16;

/// Every active parameter uniformly over its domain.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomSampler;

impl Sampler for RandomSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        draw(ask, 0)
    }

    fn describe(&self, _: &Space, _: &[Direction]) -> String {
        "random: independent random points".to_owned()
    }
}

/// A random configuration that no trial has yet; `step` separates the numbers of several draws for one slot.
pub(super) fn draw(ask: &Ask, step: u64) -> Proposal {
    let Some(size) = ask.space.size() else {
        let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, step);
        return Proposal::Params(ask.space.sample(&mut stream));
    };
    let tried = Tried::new(ask);
    let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, step);
    for _ in 0..DRAWS {
        let params = ask.space.sample(&mut stream);
        if !tried.contains(&params) {
            return Proposal::Params(params);
        }
    }
    if size > LARGEST_LISTED {
        return Proposal::Params(ask.space.sample(&mut stream));
    }
    free_from(ask.space, size, stream.below(size), &tried)
}

/// The first configuration from place `start` on, around the end, that is not tried.
fn free_from(space: &Space, size: u64, start: u64, tried: &Tried) -> Proposal {
    let grid = Grid::new(space, usize::MAX);
    let places = (start..size).chain(0..start);
    match places.filter_map(|place| grid.nth(place)).find(|params| !tried.contains(params)) {
        Some(params) => Proposal::Params(params),
        None => Proposal::Exhausted,
    }
}

/// The configurations that trials have, whatever became of them.
#[derive(Debug)]
pub(super) struct Tried(HashSet<String>);

impl Tried {
    /// Those of the whole history, pending and failed trials included.
    pub(super) fn new(ask: &Ask) -> Self {
        Tried(ask.history.iter().map(|trial| fingerprint(&trial.params)).collect())
    }

    pub(super) fn contains(&self, params: &Params) -> bool {
        self.0.contains(&fingerprint(params))
    }
}
