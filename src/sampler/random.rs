//! Independent random points.
//!
//! The slot keys the numbers, so any number of workers draw the same points. In a finite space a configuration that
//! some trial already has is drawn again, and when none is left the search is over.

use super::{Ask, Proposal, Sampler};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::{Grid, Params, Space, Value};
use std::collections::HashMap;

/// Draws before the configurations are gone through one by one instead.
const DRAWS: u64 = 64;

/// Every active parameter uniformly over its domain.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomSampler;

impl Sampler for RandomSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        draw(ask, 0)
    }

    fn learns(&self) -> bool {
        false
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
    free_from(ask.space, size, stream.below(size), &tried)
}

/// The first configuration from place `start` on, around the end, that is not tried: at most one more is looked at than
/// there are tried ones.
fn free_from(space: &Space, size: u64, start: u64, tried: &Tried) -> Proposal {
    let grid = Grid::new(space, usize::MAX);
    let places = (start..size).chain(0..start);
    match places.filter_map(|place| grid.nth(place)).find(|params| !tried.contains(params)) {
        Some(params) => Proposal::Params(params),
        None => Proposal::Exhausted,
    }
}

/// The configurations that trials have, whatever became of them: the trials by the digest of what they try.
#[derive(Debug)]
pub(super) struct Tried<'a>(HashMap<u64, Vec<&'a Params>>);

impl<'a> Tried<'a> {
    /// Those of the whole history, pending and failed trials included.
    pub(super) fn new(ask: &Ask<'a>) -> Self {
        let mut tried: HashMap<u64, Vec<&Params>> = HashMap::with_capacity(ask.history.len());
        for trial in ask.history {
            tried.entry(digest(&trial.params)).or_default().push(&trial.params);
        }
        Tried(tried)
    }

    pub(super) fn contains(&self, params: &Params) -> bool {
        self.0.get(&digest(params)).is_some_and(|alike| alike.contains(&params))
    }
}

/// A number that equal configurations share in any order of their parameters: the sum of FNV-1a of each.
fn digest(params: &Params) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let one = |(name, value): (&String, &Value)| {
        let named = name.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
        match value {
            Value::Null => named,
            Value::Bool(value) => mix(named, u8::from(*value)),
            Value::Int(value) => value.to_le_bytes().into_iter().fold(named, mix),
            Value::Float(value) => value.to_le_bytes().into_iter().fold(named, mix),
            Value::Text(value) => value.bytes().fold(named, mix),
        }
    };
    params.iter().map(one).fold(0, u64::wrapping_add)
}
