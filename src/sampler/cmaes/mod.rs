//! CMA-ES with restarts: an evolution strategy that learns the covariance of its steps.
//!
//! Slots come in generations. What the generations before an asking slot have found is replayed from the history with
//! the same keyed numbers ([`strategy`] holds one run), so a proposal is a function of the history, and a resumed study
//! goes on as if it had never stopped. A replay costs O(n·d²); how far the last one came is kept ([`Memo`]) and gone on
//! from where the history still says the same, which leaves a look at each trial (always anew: several objectives,
//! whose weights change).
//! - Points are drawn again until they are in the cube, and clamped after some attempts.
//! - Whole numbers and steps are drawn as numbers and keep a margin: no value's chance falls below 1/(d·λ).
//! - A choice is drawn from a distribution of its own over its values that moves towards the better half of each
//!   generation (the multinomial part of CatCMA, Hamano et al., GECCO 2024, with a fixed rate) and keeps the same
//!   margin.
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
use crate::history::{Direction, Trial};
use crate::random::{Purpose, Stream};
use crate::space::Space;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use strategy::{Draw, Strategy};

/// Steps of the keyed numbers: of a proposal (the attempt is added), and of the n-th run's beginning.
const ATTEMPT: u64 = 1 << 44;
const RUN: u64 = 1 << 45;
/// Attempts to draw a configuration that no trial has.
const ATTEMPTS: u64 = 16;
/// The first step's deviation, in widths of a range.
const FIRST_STEP: f64 = 0.25;

/// CMA-ES; see the module.
#[derive(Debug, Default)]
pub struct CmaEsSampler {
    memo: Mutex<Option<Memo>>,
}

/// What trials before the asking one came to, by slot.
type Known<'a> = BTreeMap<u64, (&'a Trial, Rank)>;

/// That, and the first slot whose trial has not ended: what the generations before it have taught stays so.
fn known<'a>(ask: &Ask<'a>) -> (Known<'a>, Option<u64>) {
    let ranked = ranked(ask);
    let earlier = || ranked.iter().filter(|(trial, _)| trial.slot() < ask.slot);
    let known = earlier().filter(|(_, rank)| rank.is_measured()).map(|(trial, rank)| (trial.slot(), (*trial, *rank)));
    let open = earlier().filter(|(_, rank)| *rank == Rank::Pending).map(|(trial, _)| trial.slot()).min();
    (known.collect(), open)
}

/// How far a replay has come, and by way of which trials.
#[derive(Debug)]
struct Memo {
    space: Space,
    replay: Replay,
    seen: Vec<(u64, Trial, Rank)>,
}

impl Memo {
    /// Before anything is known.
    fn new(ask: &Ask, codec: &Codec) -> Self {
        Memo { space: ask.space.clone(), replay: Replay::new(ask.seed, codec.kinds()), seen: Vec::new() }
    }

    /// Whether it is what a replay of this history comes to on its way.
    fn led_here(&self, ask: &Ask, known: &Known) -> bool {
        let Replay { first, runs, .. } = &self.replay;
        let mut before = known.range(..first);
        let alike = |(slot, trial, rank): &(u64, Trial, Rank)| {
            before.next().is_some_and(|(other, (now, ranked))| {
                slot == other && rank == ranked && (trial.is_shared_with(now) || trial.params == now.params)
            })
        };
        let same = runs.seed == ask.seed && *first <= ask.slot && self.space == *ask.space;
        same && self.seen.iter().all(alike) && before.next().is_none()
    }

    /// Goes on to the generation of that slot.
    fn go_on(&mut self, codec: &Codec, slot: u64, known: &Known) {
        let first = self.replay.first;
        self.replay.go_on(codec, slot, known);
        let new = known.range(first..self.replay.first);
        self.seen.extend(new.map(|(slot, (trial, rank))| (*slot, Trial::clone(trial), *rank)));
    }
}

impl Sampler for CmaEsSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let codec = Codec::new(ask.space);
        let (known, open) = known(ask);
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        let mut led = memo.take().filter(|memo| memo.led_here(ask, &known)).unwrap_or_else(|| Memo::new(ask, &codec));
        led.go_on(&codec, open.unwrap_or(ask.slot), &known);
        let mut replay = led.replay.clone();
        *memo = Some(led);
        drop(memo);
        replay.go_on(&codec, ask.slot, &known);
        let strategy = replay.strategy;
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

/// The state in which a strategy draws for the slots from `first` on.
#[derive(Clone, Debug)]
struct Replay {
    runs: Runs,
    strategy: Strategy,
    first: u64,
}

impl Replay {
    fn new(seed: u64, kinds: &[Kind]) -> Self {
        let mut runs = Runs { seed, kinds: kinds.to_vec(), runs: 0, spent: [0, 0], doublings: 0, is_small: false };
        let strategy = runs.next();
        Replay { runs, strategy, first: 0 }
    }

    /// Learns from the generations that end before that slot.
    fn go_on(&mut self, codec: &Codec, slot: u64, known: &Known) {
        while self.first + self.strategy.population() as u64 <= slot {
            let slots = self.first..self.first + self.strategy.population() as u64;
            self.first = slots.end;
            self.runs.spent[usize::from(self.runs.is_small)] += self.strategy.population() as u64;
            let mut generation: Vec<(Draw, Rank)> = known
                .range(slots)
                .filter_map(|(slot, (trial, rank))| {
                    Some((self.again(codec, *slot, &codec.observed(&trial.params)?), *rank))
                })
                .collect();
            generation.sort_by(|(_, a), (_, b)| a.order(b));
            self.strategy.learn(&generation);
            if self.strategy.stands_still() {
                self.strategy = self.runs.next();
            }
        }
    }

    /// The draw that led to the slot's configuration, or that configuration itself where none did.
    fn again(&self, codec: &Codec, slot: u64, observed: &Point) -> Draw {
        let is_it = |draw: &Draw| {
            let alike = |(a, b): (&f64, &f64)| b.is_nan() || (a - b).abs() < 1e-9;
            settled(codec, draw).iter().zip(observed).all(alike)
        };
        let drawn = |attempt| self.strategy.draw(&mut numbers(self.runs.seed, slot, attempt));
        (0..ATTEMPTS).map(drawn).find(is_it).unwrap_or_else(|| self.strategy.injected(observed))
    }
}

/// Which run follows which.
#[derive(Clone, Debug)]
struct Runs {
    seed: u64,
    kinds: Vec<Kind>,
    /// Number of runs so far.
    runs: u64,
    /// Trials of runs with large and with small populations.
    spent: [u64; 2],
    /// The largest population so far, in first populations.
    doublings: u32,
    is_small: bool,
}

impl Runs {
    /// The next run: the first starts in the middle, others anywhere.
    fn next(&mut self) -> Strategy {
        let mut stream = Stream::new(self.seed, 0, Purpose::Propose, RUN + self.runs);
        let least = strategy::population(&self.kinds);
        self.runs += 1;
        if self.runs == 1 {
            return Strategy::new(&self.kinds, least, FIRST_STEP, |_| 0.5);
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
        Strategy::new(&self.kinds, population, step, |_| stream.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Record, State, Trial};
    use crate::space::{Expand, Params};

    /// Values of `n` trials of a function, and the trials.
    fn run(text: &str, n: u64, seed: u64, f: impl Fn(&Params) -> f64) -> Vec<Trial> {
        let sampler = CmaEsSampler::default();
        let space = Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap();
        let mut history: Vec<Trial> = Vec::new();
        for slot in 0..n {
            let ask =
                Ask { space: &space, directions: &[Direction::Minimize], history: &history, seed, slot, source: &[] };
            let Proposal::Params(params) = sampler.ask(&ask) else { break };
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

    #[test]
    fn what_is_kept_changes_no_proposal() {
        let text = "x = { float = [-1.0, 1.0] }\ni = { int = [0, 9] }\nc = { choice = [\"a\", \"b\"] }";
        let space = Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap();
        let f = |params: &Params| number(params, "x").powi(2) + (number(params, "i") - 7.0).abs();
        let keeping = CmaEsSampler::default();
        let mut history: Vec<Trial> = Vec::new();
        let mut gone_on = 0;
        for slot in 0..300u64 {
            let ask = Ask {
                space: &space,
                directions: &[Direction::Minimize],
                history: &history,
                seed: 4,
                slot,
                source: &[],
            };
            let memo = keeping.memo.lock().unwrap();
            let led_here = |memo: &Memo| memo.replay.first > 0 && memo.led_here(&ask, &known(&ask).0);
            gone_on += u64::from(memo.as_ref().is_some_and(led_here));
            drop(memo);
            let proposal = keeping.ask(&ask);
            assert_eq!(proposal, CmaEsSampler::default().ask(&ask), "slot {slot}");
            let Proposal::Params(params) = proposal else { panic!("slot {slot}") };
            // Two trials are under way at any time; every seventh fails, and some are told otherwise later.
            let state = if slot % 7 == 3 { State::Failed } else { State::Running };
            history.push(Trial::from(Record { params, ..Record::blank(slot, state) }));
            if let Some(trial) = slot.checked_sub(2).and_then(|back| history.get_mut(back as usize))
                && trial.state == State::Running
            {
                (trial.state, trial.values) = (State::Complete, vec![f(&trial.params)]);
            }
            if slot == 150 {
                history[20].values = vec![-5.0];
            }
            // Another study's history, or another seed, for once.
            if slot == 200 {
                keeping.ask(&Ask { seed: 5, history: &history[..40], slot: 40, ..ask_of(&space, &history) });
            }
        }
        // The first generation has nothing to go on from, and what changed was looked at anew.
        assert!((250..298).contains(&gone_on), "{gone_on}");
    }

    fn ask_of<'a>(space: &'a Space, history: &'a [Trial]) -> Ask<'a> {
        Ask { space, directions: &[Direction::Minimize], history, seed: 4, slot: history.len() as u64, source: &[] }
    }
}
