//! CMA-ES with restarts: an evolution strategy that learns the covariance of its steps.
//!
//! Slots come in generations. What the generations before an asking slot have found is replayed from the history with the
//! same keyed numbers ([`strategy`] holds one run), so nothing is kept between proposals, and a resumed study goes on as if
//! it had never stopped. A replay costs O(n·d²).
//! - Points are drawn again until they are in the cube, and clamped after some attempts.
//! - Whole numbers and steps are drawn as numbers and keep a margin: no value's chance falls below 1/(d·λ).
//! - A choice is drawn from a distribution of its own over its values that moves towards the better half of each generation
//!   (the multinomial part of CatCMA, Hamano et al., GECCO 2024, with a fixed rate) and keeps the same margin.
//! - Parameters that do not exist in a configuration are drawn all the same: idle, they do not count.
//! - Trials that failed, run, or wait take no part; pruned ones come after complete ones. A configuration that somebody
//!   else chose takes part with its step shortened to a likely length (Hansen, "Injecting external solutions into
//!   CMA-ES", 2011).
//! - A run that stands still is followed by one elsewhere, by turns with a population twice as large as ever before and
//!   with a small one (BIPOP, Hansen, GECCO 2009), whichever has had fewer trials.

mod strategy;

use super::codec::{Codec, Kind, Point};
use super::outcome::{Rank, ranked};
use super::random::{Tried, draw};
use super::{Ask, Proposal, Sampler};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::Space;
use std::collections::HashMap;
use strategy::{Draw, Strategy};

/// Steps of the keyed numbers: of a proposal (the attempt is added), and of the n-th run's beginning.
const ATTEMPT: u64 = 1 << 44;
const RUN: u64 = 1 << 45;
/// Attempts to draw a configuration that no trial has.
const ATTEMPTS: u64 = 16;
/// The first step's deviation, in widths of a range.
const FIRST_STEP: f64 = 0.25;

/// CMA-ES; see the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct CmaEsSampler;

impl Sampler for CmaEsSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let codec = Codec::new(ask.space);
        let known: HashMap<u64, (Point, Rank)> = ranked(ask)
            .into_iter()
            .filter(|(trial, rank)| trial.slot() < ask.slot && rank.is_measured())
            .filter_map(|(trial, rank)| Some((trial.slot(), (codec.observed(&trial.params)?, rank))))
            .collect();
        let strategy = Runs::new(ask.seed, codec.kinds()).replay(&codec, ask.slot, &known);
        let tried = ask.space.size().map(|_| Tried::new(ask));
        for attempt in 0..ATTEMPTS {
            let point = settled(&codec, &strategy.draw(&mut numbers(ask.seed, ask.slot, attempt)));
            let params = codec.params(&point);
            if tried.as_ref().is_none_or(|tried| !tried.contains(&params)) {
                return Proposal::Params(params);
            }
        }
        draw(ask, 0)
    }

    fn describe(&self, space: &Space, directions: &[Direction]) -> String {
        let scalar = if directions.len() > 1 { ", objectives weighed anew each trial" } else { "" };
        let codec = Codec::new(space);
        let population = strategy::population(codec.kinds());
        format!("cmaes: evolution strategy with generations of {population} trials and restarts{scalar}")
    }
}

fn numbers(seed: u64, slot: u64, attempt: u64) -> Stream {
    Stream::new(seed, slot, Purpose::Propose, ATTEMPT + attempt)
}

/// The point that a draw stands for.
fn settled(codec: &Codec, draw: &Draw) -> Point {
    let of = |(j, kind): (usize, &Kind)| match kind {
        Kind::Choice(_) => draw.at[j],
        _ => codec.settle(j, draw.at[j]),
    };
    codec.kinds().iter().enumerate().map(of).collect()
}

/// Which run follows which.
struct Runs<'a> {
    seed: u64,
    kinds: &'a [Kind],
    /// Number of runs so far.
    runs: u64,
    /// Trials of runs with large and with small populations.
    spent: [u64; 2],
    /// The largest population so far, in first populations.
    doublings: u32,
    is_small: bool,
}

impl<'a> Runs<'a> {
    fn new(seed: u64, kinds: &'a [Kind]) -> Self {
        Runs { seed, kinds, runs: 0, spent: [0, 0], doublings: 0, is_small: false }
    }

    /// The state in which the strategy draws for `slot`.
    fn replay(mut self, codec: &Codec, slot: u64, known: &HashMap<u64, (Point, Rank)>) -> Strategy {
        let mut strategy = self.next();
        let mut first = 0;
        while first + strategy.population() as u64 <= slot {
            let slots = first..first + strategy.population() as u64;
            first = slots.end;
            self.spent[usize::from(self.is_small)] += strategy.population() as u64;
            let mut generation: Vec<(Draw, Rank)> = slots
                .filter_map(|slot| known.get(&slot).map(|(point, rank)| (slot, point, rank)))
                .map(|(slot, point, rank)| (self.again(codec, &strategy, slot, point), *rank))
                .collect();
            generation.sort_by(|(_, a), (_, b)| a.order(b));
            strategy.learn(&generation);
            if strategy.stands_still() {
                strategy = self.next();
            }
        }
        strategy
    }

    /// The draw that led to the slot's configuration, or that configuration itself where none did.
    fn again(&self, codec: &Codec, strategy: &Strategy, slot: u64, observed: &Point) -> Draw {
        let is_it = |draw: &Draw| {
            let alike = |(a, b): (&f64, &f64)| b.is_nan() || (a - b).abs() < 1e-9;
            settled(codec, draw).iter().zip(observed).all(alike)
        };
        let found = (0..ATTEMPTS).map(|attempt| strategy.draw(&mut numbers(self.seed, slot, attempt))).find(is_it);
        found.unwrap_or_else(|| strategy.injected(observed))
    }

    /// The next run: the first starts in the middle, others anywhere.
    fn next(&mut self) -> Strategy {
        let mut stream = Stream::new(self.seed, 0, Purpose::Propose, RUN + self.runs);
        let least = strategy::population(self.kinds);
        self.runs += 1;
        if self.runs == 1 {
            return Strategy::new(self.kinds, least, FIRST_STEP, |_| 0.5);
        }
        self.is_small = self.spent[1] < self.spent[0];
        let (population, step) = if self.is_small {
            let u = stream.uniform();
            let most = 0.5 * f64::from(1u32 << self.doublings.min(20));
            let population = (least as f64 * most.max(1.0).powf(u * u)).floor() as usize;
            (population, FIRST_STEP * 10f64.powf(-2.0 * stream.uniform()))
        } else {
            self.doublings += 1;
            (least << self.doublings.min(20), FIRST_STEP)
        };
        Strategy::new(self.kinds, population, step, |_| stream.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Record, State, Trial};
    use crate::space::{Expand, Params};

    /// Values of `n` trials of a function, and the trials.
    fn run(text: &str, n: u64, seed: u64, f: impl Fn(&Params) -> f64) -> Vec<Trial> {
        let space = Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap();
        let mut history: Vec<Trial> = Vec::new();
        for slot in 0..n {
            let ask = Ask { space: &space, directions: &[Direction::Minimize], history: &history, seed, slot };
            let Proposal::Params(params) = CmaEsSampler.ask(&ask) else { break };
            let blank = Record::blank(slot, State::Complete);
            history.push(Trial::from(Record { values: vec![f(&params)], params, ..blank }));
        }
        history
    }

    fn least(history: &[Trial]) -> f64 {
        history.iter().filter_map(Trial::value).fold(f64::INFINITY, f64::min)
    }

    fn number(params: &Params, name: &str) -> f64 {
        params[name].as_f64().unwrap()
    }

    #[test]
    fn a_turned_and_stretched_bowl_is_found_to_many_digits() {
        let text = "x = { float = [-1.0, 1.0] }\ny = { float = [-1.0, 1.0] }\nz = { float = [-1.0, 1.0] }";
        let bowl = |params: &Params| {
            let (x, y, z) = (number(params, "x"), number(params, "y"), number(params, "z"));
            (x + y - 0.5).powi(2) + 1e3 * (x - y - 0.1).powi(2) + 30.0 * (z + x).powi(2)
        };
        for seed in 0..3 {
            let found = least(&run(text, 700, seed, bowl));
            assert!(found < 1e-6, "seed {seed}: {found}");
        }
    }

    /// Without a margin whole numbers freeze far away from the optimum.
    #[test]
    fn whole_numbers_and_choices_are_found() {
        let text = "i = { int = [0, 20] }\nj = { int = [0, 1] }\nx = { float = [-1.0, 1.0] }\nc = { choice = [\"a\", \"b\", \"c\", \"d\"] }";
        let f = |params: &Params| {
            let wrong = f64::from(u8::from(params["c"] != "c".into()));
            (number(params, "i") - 17.0).powi(2)
                + 4.0 * (1.0 - number(params, "j"))
                + number(params, "x").powi(2)
                + 3.0 * wrong
        };
        for seed in 0..3 {
            let found = least(&run(text, 400, seed, f));
            assert!(found < 1e-3, "seed {seed}: {found}");
        }
    }

    #[test]
    fn restarts_leave_a_local_optimum() {
        // Two bowls; the wider one is the worse.
        let f = |params: &Params| {
            let x = number(params, "x");
            (5.0 * (x - 0.45).powi(2) + 0.1).min(60.0 * (x - 0.93).powi(2))
        };
        let found = least(&run("x = { float = [0.0, 1.0] }\ny = { float = [0.0, 1.0] }", 900, 1, f));
        assert!(found < 1e-3, "{found}");
    }
}
