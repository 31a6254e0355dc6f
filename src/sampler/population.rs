//! The rule of population-based training (Jaderberg et al., "Population based training of neural networks", 2017).
//!
//! Slot s is member s mod K of generation ⌊s/K⌋. The first generation is quasi-random. In every later one a member that
//! was among the worst q of its generation, or failed, follows a random one of the best q (*exploit*, by truncation)
//! with that one's parameters, of which the tunable ones are changed (*explore*); every other member follows itself
//! unchanged. What following means beyond the parameters (weights are copied) is the caller's: [`Population::parent`]
//! says whom.
//!
//! A change multiplies or divides by a factor, with equal chances, and stays within the domain (a finite domain moves
//! at least one value); now and then the value is drawn anew, since a factor never leaves 0 and walks slowly.
//!
//! As every sampler it is a pure function, of the generation before: a barrier stands between generations. It cannot be
//! chosen by name, because its trials are no independent ones.

use super::sobol::quasi_random;
use super::{Ask, Proposal, Sampler};
use crate::history::{Direction, State, Trial};
use crate::random::{Purpose, Stream};
use crate::space::{Domain, Params, Space, Value};

/// Step of the keyed numbers that choose whom to follow.
const FOLLOW: u64 = 1 << 44;
/// Step of those that change its parameters.
const CHANGE: u64 = 1 << 45;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Population {
    /// K: members of each generation.
    pub members: u64,
    /// q: share of the members that follow, and of those that are followed; at most a half.
    pub exploit: f64,
    /// What a value is multiplied with or divided by; above 1.
    pub factor: f64,
    /// Probability that a value is drawn anew instead.
    pub resample: f64,
    /// Names of the parameters that may change.
    pub tunable: Vec<String>,
}

impl Population {
    /// The generation of a slot.
    pub fn generation(&self, slot: u64) -> u64 {
        slot / self.members
    }

    /// The trial of the generation before that the one in `slot` follows, from all `trials`; none in the first
    /// generation, and where nobody of the generation before has a value.
    pub fn parent<'a>(&self, direction: Direction, trials: &'a [Trial], seed: u64, slot: u64) -> Option<&'a Trial> {
        let generation = self.generation(slot).checked_sub(1)?;
        let mut ranked: Vec<(f64, &Trial)> = trials
            .iter()
            .filter(|trial| trial.state == State::Complete && self.generation(trial.slot()) == generation)
            .filter_map(|trial| Some((direction.loss(trial.value()?), trial)))
            .filter(|(loss, _)| !loss.is_nan())
            .collect();
        ranked.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(x.slot().cmp(&y.slot())));
        let own = ranked.iter().position(|(_, trial)| trial.slot() + self.members == slot);
        let top = self.followed().min(ranked.len());
        // Those without a value are behind all others and are among the worst too.
        let worst = self.members as usize - self.followed();
        if let Some(place) = own.filter(|&place| place < worst || place < top) {
            return Some(ranked[place].1);
        }
        let mut stream = Stream::new(seed, slot, Purpose::Propose, FOLLOW);
        (top > 0).then(|| ranked[stream.below(top as u64) as usize].1)
    }

    /// How many are followed: at least one.
    fn followed(&self) -> usize {
        ((self.members as f64 * self.exploit).floor() as usize).max(1)
    }

    /// The parameters of one who follows `parent` and is not it.
    fn explore(&self, space: &Space, parent: &Params, stream: &mut Stream) -> Params {
        space.build(|_, parameter| {
            let domain = &parameter.domain;
            let known = parent.get(&parameter.name).and_then(|value| domain.accept(value));
            // Three numbers for each, whatever becomes of them.
            let [anew, up, at] = [(); 3].map(|()| stream.uniform());
            match known {
                Some(value) if !self.tunable.contains(&parameter.name) => value,
                Some(value) if anew >= self.resample => changed(domain, &value, self.factor, up < 0.5),
                _ => domain.from_unit(at),
            }
        })
    }
}

/// The value times or divided by a factor, within the domain; of a finite domain at least the next value where there is
/// one (a choice of numbers in the order of its list).
fn changed(domain: &Domain, value: &Value, factor: f64, up: bool) -> Value {
    let (Some(x), false) = (value.as_f64(), domain.is_choice()) else {
        return neighbour(domain, value, up);
    };
    let wanted = if up { x * factor } else { x / factor };
    match *domain {
        Domain::Float { low, high, step: None, .. } => Value::Float(wanted.clamp(low, high)),
        Domain::Float { low, step: Some(step), .. } => nearest(domain, (wanted - low) / step, value, up),
        Domain::Int { low, step, .. } => nearest(domain, (wanted - low as f64) / step as f64, value, up),
        Domain::Choice(_) => value.clone(),
    }
}

/// The value nearest to a place of a grid, but not the one there was.
fn nearest(domain: &Domain, place: f64, value: &Value, up: bool) -> Value {
    let last = domain.size().map_or(u64::MAX, |size| size.saturating_sub(1));
    let found = domain.nth((place.round().max(0.0) as u64).min(last));
    if found.same(value) { neighbour(domain, value, up) } else { found }
}

fn neighbour(domain: &Domain, value: &Value, up: bool) -> Value {
    let (Some(place), Some(size)) = (domain.index_of(value), domain.size()) else { return value.clone() };
    domain.nth(if up { (place + 1).min(size.saturating_sub(1)) } else { place.saturating_sub(1) })
}

impl Sampler for Population {
    fn ask(&self, ask: &Ask) -> Proposal {
        if self.generation(ask.slot) == 0 {
            return match quasi_random(ask) {
                // A population may be larger than a finite space.
                Proposal::Exhausted => {
                    Proposal::Params(ask.space.sample(&mut Stream::new(ask.seed, ask.slot, Purpose::Propose, CHANGE)))
                }
                found => found,
            };
        }
        let direction = ask.directions.first().copied().unwrap_or(Direction::Minimize);
        match self.parent(direction, ask.history, ask.seed, ask.slot) {
            None => Proposal::Exhausted,
            Some(parent) if parent.slot() + self.members == ask.slot => Proposal::Params(parent.params.clone()),
            Some(parent) => {
                let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, CHANGE);
                Proposal::Params(self.explore(ask.space, &parent.params, &mut stream))
            }
        }
    }

    fn describe(&self, _: &Space, _: &[Direction]) -> String {
        format!(
            "population: {} members; in each generation the worst {} follow one of the best {}, with {} changed",
            self.members,
            self.followed(),
            self.followed(),
            self.tunable.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Record;
    use crate::space::{Condition, Parameter, Test};

    fn rule() -> Population {
        Population {
            members: 10,
            exploit: 0.2,
            factor: 1.2,
            resample: 0.25,
            tunable: vec!["rate".into(), "drop".into()],
        }
    }

    fn space() -> Space {
        let parameter = |name: &str, domain, when| Parameter { name: name.into(), domain, when };
        let rate = Domain::Float { low: 1e-4, high: 1e-1, log: true, step: None };
        let drop = Domain::Float { low: 0.0, high: 0.5, log: false, step: Some(0.1) };
        let width = Domain::Int { low: 8, high: 64, log: false, step: 8 };
        let only = Condition { parent: "width".into(), test: Test::AtLeast(32.0) };
        Space::new(vec![
            parameter("rate", rate, vec![]),
            parameter("width", width, vec![]),
            parameter("drop", drop, vec![only]),
        ])
        .unwrap()
    }

    /// A whole first generation with these values; NaN for one that failed.
    fn generation(values: &[f64]) -> Vec<Trial> {
        let trial = |(slot, &value): (usize, &f64)| {
            let Proposal::Params(params) = rule().ask(&ask(&space(), &[], slot as u64)) else { panic!("{slot}") };
            let (state, values) = if value.is_nan() { (State::Failed, vec![]) } else { (State::Complete, vec![value]) };
            Trial::from(Record { params, values, ..Record::blank(slot as u64, state) })
        };
        values.iter().enumerate().map(trial).collect()
    }

    fn ask<'a>(space: &'a Space, history: &'a [Trial], slot: u64) -> Ask<'a> {
        Ask { space, directions: &[Direction::Maximize], history, seed: 5, slot, source: &[] }
    }

    #[test]
    fn the_worst_and_the_failed_follow_one_of_the_best() {
        let values = [0.5, 0.9, 0.1, 0.6, f64::NAN, 0.8, 0.7, 0.2, 0.55, 0.65];
        let history = generation(&values);
        let mut followed = std::collections::BTreeSet::new();
        for seed in 0..40 {
            for slot in 10..20u64 {
                let parent = rule().parent(Direction::Maximize, &history, seed, slot).unwrap().number;
                match slot - 10 {
                    // With one failed, one more makes the worst two.
                    2 | 4 => {
                        followed.insert(parent);
                    }
                    own => assert_eq!(parent, own),
                }
            }
        }
        assert_eq!(followed.into_iter().collect::<Vec<_>>(), [1, 5], "the best two, both");
        assert!(rule().parent(Direction::Maximize, &history, 0, 3).is_none());
        assert!(rule().parent(Direction::Maximize, &generation(&[f64::NAN; 10]), 0, 13).is_none());
        let one = generation(&[f64::NAN, 0.3, f64::NAN]);
        assert!((10..20).all(|slot| rule().parent(Direction::Maximize, &one, 0, slot).unwrap().number == 1));
        // In the other direction the other end is followed.
        assert_eq!(rule().parent(Direction::Minimize, &history, 0, 12).unwrap().number, 2);
    }

    #[test]
    fn proposals_change_what_is_tunable_by_the_factor_or_anew_and_do_not_depend_on_order() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        let (history, space) = (generation(&values), space());
        let (mut by_factor, mut anew) = (0, 0);
        for seed in 0..200 {
            let ask = Ask { seed, ..ask(&space, &history, 10) };
            let Proposal::Params(params) = rule().ask(&ask) else { panic!() };
            space.contains(&params).unwrap();
            let parent = rule().parent(Direction::Maximize, &history, seed, 10).unwrap();
            assert_eq!(params["width"], parent.params["width"]);
            assert_eq!(params.get("drop").is_some(), parent.params.get("drop").is_some());
            let [old, new] = [&parent.params, &params].map(|p| p["rate"].as_f64().unwrap());
            let ratio = (new / old).max(old / new);
            if (ratio - 1.2).abs() < 1e-9 {
                by_factor += 1
            } else {
                anew += 1
            }
            let mut backwards = history.clone();
            backwards.reverse();
            assert_eq!(rule().ask(&Ask { history: &backwards, ..ask }), Proposal::Params(params));
        }
        assert!((130..170).contains(&by_factor) && anew > 0, "{by_factor} {anew}");
        // Who is good goes on as it is.
        assert_eq!(rule().ask(&ask(&space, &history, 15)), Proposal::Params(history[5].params.clone()));
    }

    #[test]
    fn a_change_stays_in_the_domain_and_moves_at_least_one_step() {
        let grid = Domain::Float { low: 0.0, high: 0.5, log: false, step: Some(0.1) };
        let change = |domain: &Domain, x: f64, up| changed(domain, &Value::Float(x), 1.2, up).as_f64().unwrap();
        assert_eq!([change(&grid, 0.1, true), change(&grid, 0.1, false)], [0.2, 0.0]);
        assert_eq!([change(&grid, 0.5, true), change(&grid, 0.0, false), change(&grid, 0.0, true)], [0.5, 0.0, 0.1]);
        let rate = Domain::Float { low: 1e-3, high: 1e-1, log: true, step: None };
        assert_eq!([change(&rate, 0.09, true), change(&rate, 1.1e-3, false)], [0.1, 1e-3]);
        let int = Domain::Int { low: 1, high: 100, log: true, step: 1 };
        assert_eq!(changed(&int, &Value::Int(50), 1.2, true), Value::Int(60));
        assert_eq!(changed(&int, &Value::Int(1), 1.2, true), Value::Int(2));
        let choice = Domain::Choice([0.1, 0.01, 0.001].map(Value::Float).to_vec());
        assert_eq!(changed(&choice, &Value::Float(0.01), 1.2, true), Value::Float(0.001));
        assert_eq!(changed(&choice, &Value::Float(0.1), 1.2, false), Value::Float(0.1));
    }
}
