//! The rule of population-based training (Jaderberg et al., "Population based training of neural networks", 2017).
//!
//! Slot s is member s mod K of generation ⌊s/K⌋. The first generation is quasi-random. In every later one a member that
//! was among the worst q of its generation, or failed, follows a random one of the best q (*exploit*, by truncation) with
//! that one's parameters, of which the tunable ones are changed (*explore*); every other member follows itself unchanged.
//! What following means beyond the parameters (weights are copied) is the caller's: [`Population::parent`] says whom.
//!
//! A change multiplies or divides by a factor, with equal chances, and stays within the domain (a finite domain moves at
//! least one value); now and then the value is drawn anew, since a factor never leaves 0 and walks slowly.
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

    /// The trial of the generation before that the one in `slot` follows, from all `trials`; none in the first generation,
    /// and where nobody of the generation before has a value.
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
