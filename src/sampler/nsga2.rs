//! NSGA-II, an evolutionary search for several objectives (Deb et al., IEEE Trans. Evol. Comput. 6, 2002).
//!
//! Quasi-random points first. Then parents are chosen by binary tournaments, the better rank winning and of equal ranks
//! the one with more room around it; their child takes from both (a choice from either, a number by simulated binary
//! crossover, Deb and Agrawal 1995) and is changed at random in about one parameter (a choice drawn anew, a number by
//! polynomial mutation). Trials that break constraints come after all others, by how much they break them; those that
//! failed, were pruned by what they reported or have no number leave no children.
//!
//! There are no generations: the parents are always the best of the whole history (the steady state of Durillo et al.,
//! EMO 2009). So a proposal is a pure function of the history, no job waits for others, and what an interrupt cut short
//! goes on. A child of the same configuration as some trial is bred again, in a finite space until every one is tried.

use super::codec::{Codec, Kind, Point};
use super::random::{Tried, draw};
use super::sobol::quasi_random;
use super::{Ask, Proposal, Sampler, Settings};
use crate::history::pareto::{Merit, constrained_ranks, crowding};
use crate::history::{Direction, State, Trial};
use crate::random::{Purpose, Stream};
use crate::space::Space;

/// Step of the keyed numbers of one proposal.
const BREEDING: u64 = 1 << 43;
/// Most parents.
const LARGEST: u64 = 50;
/// Fewest parents.
const SMALLEST: u64 = 10;
/// Share of children that take from both parents.
const CROSSOVER: f64 = 0.9;
/// Distribution indices of Deb et al.: the larger, the nearer children are to their parents.
const CROSSOVER_INDEX: f64 = 20.0;
const MUTATION_INDEX: f64 = 20.0;
/// Children that are bred before a random point is taken.
const ATTEMPTS: usize = 32;

/// NSGA-II; see the module.
#[derive(Clone, Copy, Debug)]
pub struct Nsga2Sampler {
    /// Parents: so many trials are quasi-random before the first child.
    pub population: u64,
}

impl Nsga2Sampler {
    /// A quarter of the trials, from 10 to 50.
    pub fn new(settings: &Settings) -> Self {
        let population = settings.trials.map_or(LARGEST, |trials| (trials / 4).clamp(SMALLEST, LARGEST));
        Nsga2Sampler { population }
    }
}

/// A trial that may have children.
struct Parent {
    point: Point,
    rank: usize,
    room: f64,
}

impl Sampler for Nsga2Sampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let codec = Codec::new(ask.space);
        let parents = self.parents(ask, &codec);
        if (parents.len() as u64) < self.population {
            return quasi_random(ask);
        }
        let tried = Tried::new(ask);
        let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, BREEDING);
        for _ in 0..ATTEMPTS {
            let params = codec.params(&child(&codec, &parents, &mut stream));
            if !tried.contains(&params) {
                return Proposal::Params(params);
            }
        }
        draw(ask, 0)
    }

    fn describe(&self, _: &Space, _: &[Direction]) -> String {
        format!("nsga2: evolution of the best {} after as many quasi-random trials", self.population)
    }
}

impl Nsga2Sampler {
    /// The best of the history, in the order of their numbers.
    fn parents(&self, ask: &Ask, codec: &Codec) -> Vec<Parent> {
        let mut trials: Vec<&Trial> = ask.history.iter().collect();
        trials.sort_by_key(|trial| trial.number);
        let known = trials.into_iter().filter_map(|trial| {
            let merit = merit(ask.directions, trial)?;
            Some((codec.observed(&trial.params)?, merit))
        });
        let (points, merits): (Vec<Point>, Vec<Merit>) = known.unzip();
        let ranks = constrained_ranks(&merits);
        let room = room(&merits, &ranks);
        let mut places: Vec<usize> = (0..merits.len()).collect();
        places.sort_by(|a, b| ranks[*a].cmp(&ranks[*b]).then(room[*b].total_cmp(&room[*a])).then(a.cmp(b)));
        places.truncate(self.population as usize);
        places.sort_unstable();
        let parent = |place: usize| Parent { point: points[place].clone(), rank: ranks[place], room: room[place] };
        places.into_iter().map(parent).collect()
    }
}

/// What a trial is judged by; a trial that was stopped because it breaks a constraint is judged by that alone.
fn merit(directions: &[Direction], trial: &Trial) -> Option<Merit> {
    let untrained = trial.state == State::Pruned && !trial.is_feasible();
    let alone = || untrained.then(|| Merit { losses: Vec::new(), violation: trial.violation() });
    Merit::of(directions, trial).or_else(alone)
}

/// The crowding distance of each within its rank.
fn room(merits: &[Merit], ranks: &[usize]) -> Vec<f64> {
    let mut room = vec![0.0; merits.len()];
    let mut fronts: Vec<Vec<usize>> = vec![Vec::new(); ranks.iter().max().map_or(0, |last| last + 1)];
    ranks.iter().enumerate().for_each(|(place, rank)| fronts[*rank].push(place));
    for front in fronts {
        let kept: Vec<usize> = front.into_iter().filter(|place| merits[*place].violation <= 0.0).collect();
        let losses: Vec<&[f64]> = kept.iter().map(|place| merits[*place].losses.as_slice()).collect();
        kept.iter().zip(crowding(&losses)).for_each(|(place, distance)| room[*place] = distance);
    }
    room
}

/// The better of two drawn at random.
fn winner<'a>(parents: &'a [Parent], stream: &mut Stream) -> &'a Parent {
    let mut drawn = || &parents[stream.below(parents.len() as u64) as usize];
    let (a, b) = (drawn(), drawn());
    if b.rank < a.rank || (b.rank == a.rank && b.room > a.room) { b } else { a }
}

/// A child of two winners.
fn child(codec: &Codec, parents: &[Parent], stream: &mut Stream) -> Point {
    let (a, b) = (winner(parents, stream), winner(parents, stream));
    let crosses = stream.uniform() < CROSSOVER;
    let alive = a.point.iter().filter(|x| !x.is_nan()).count().max(1);
    let rate = 1.0 / alive as f64;
    let coordinate = |j: usize| {
        // What a parent has not is the other's, or new.
        let (x, y) = match (a.point[j], b.point[j]) {
            (x, y) if x.is_nan() && y.is_nan() => return codec.settle(j, stream.uniform()),
            (x, y) if x.is_nan() => (y, y),
            (x, y) if y.is_nan() => (x, x),
            both => both,
        };
        let is_choice = matches!(codec.kinds()[j], Kind::Choice(_));
        let taken = match crosses && stream.uniform() < 0.5 {
            false => x,
            true if is_choice => y,
            true => crossed(x, y, stream),
        };
        match (stream.uniform() < rate, codec.kinds()[j]) {
            (true, Kind::Choice(_)) => codec.settle(j, stream.uniform()),
            (true, kind) => codec.settle(j, stepped(kind, taken, mutated(taken, stream), stream)),
            (false, Kind::Choice(_)) => taken,
            (false, _) => codec.settle(j, taken),
        }
    };
    (0..a.point.len()).map(coordinate).collect()
}

/// One of the two children of simulated binary crossover.
fn crossed(x: f64, y: f64, stream: &mut Stream) -> f64 {
    let u = stream.uniform();
    let power = 1.0 / (CROSSOVER_INDEX + 1.0);
    let spread = if u < 0.5 { (2.0 * u).powf(power) } else { (0.5 / (1.0 - u)).powf(power) };
    let side = if stream.uniform() < 0.5 { 1.0 } else { -1.0 };
    (0.5 * (x + y) + side * 0.5 * spread * (x - y)).clamp(0.0, 1.0)
}

/// Polynomial mutation within the unit interval.
fn mutated(x: f64, stream: &mut Stream) -> f64 {
    let u = stream.uniform();
    let power = 1.0 / (MUTATION_INDEX + 1.0);
    let change = match u < 0.5 {
        true => (2.0 * u + (1.0 - 2.0 * u) * (1.0 - x).powf(MUTATION_INDEX + 1.0)).powf(power) - 1.0,
        false => 1.0 - (2.0 * (1.0 - u) + (2.0 * u - 1.0) * x.powf(MUTATION_INDEX + 1.0)).powf(power),
    };
    (x + change).clamp(0.0, 1.0)
}

/// A change that is too small to leave the cell of a stepped number goes to a neighbouring one.
fn stepped(kind: Kind, from: f64, to: f64, stream: &mut Stream) -> f64 {
    match kind {
        Kind::Steps(n) if (from - to).abs() * (n as f64) < 1.0 => {
            let side = if stream.uniform() < 0.5 { 1.0 } else { -1.0 };
            (from + side / n as f64).clamp(0.0, 1.0)
        }
        _ => to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_stay_near_their_parents_and_inside() {
        let mut stream = Stream::new(1, 0, Purpose::Propose, 0);
        let draws = 20_000;
        let (mut sum, mut far) = (0.0, 0);
        for _ in 0..draws {
            let x = crossed(0.2, 0.6, &mut stream);
            assert!((0.0..=1.0).contains(&x));
            sum += x;
            far += usize::from((x - 0.2).abs().min((x - 0.6).abs()) > 0.1);
        }
        assert!((sum / f64::from(draws) - 0.4).abs() < 0.005, "symmetric about the middle");
        assert!(far < 2_000, "{far}");
        let mean = (0..draws).map(|_| mutated(0.5, &mut stream)).sum::<f64>() / f64::from(draws);
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        for x in [0.0, 1.0, 0.3] {
            assert!((0..1000).all(|_| (0.0..=1.0).contains(&mutated(x, &mut stream))));
        }
        assert_eq!(crossed(0.4, 0.4, &mut stream), 0.4);
    }
}
