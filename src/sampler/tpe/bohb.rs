//! BOHB (Falkner et al., "BOHB: robust and efficient hyperparameter optimization at scale", ICML 2018): the Parzen
//! estimators of one budget, for a study whose pruner stops trials at rungs.
//!
//! The model is built from the largest rung that enough trials have reached ([`rung`]) and from the values there alone:
//! a trial that went on counts with what it had reported there, one that was stopped before does not count. With
//! several objectives what trials reported there is divided into good and other ones by fronts, as
//! [`TpeSampler`](super::TpeSampler) divides what they came to. Every third configuration is drawn at random, which
//! keeps Hyperband's guarantees; before there is a model configurations are quasi-random.

use super::{gamma, propose};
use crate::history::{Direction, State, Trial};
use crate::random::{Purpose, Stream};
use crate::sampler::codec::Codec;
use crate::sampler::outcome::{Rank, ranked};
use crate::sampler::random::draw;
use crate::sampler::sobol::quasi_random;
use crate::sampler::{Ask, Proposal, Sampler, Settings, rung, several};
use crate::space::Space;

/// Step of the keyed number that says whether a configuration is drawn at random.
const COIN: u64 = 1 << 46;
/// Share of those.
const RANDOM: f64 = 1.0 / 3.0;

/// BOHB; see the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct BohbSampler;

impl BohbSampler {
    /// With what the user said.
    pub fn new(_: &Settings) -> Self {
        BohbSampler
    }
}

impl Sampler for BohbSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let Some((_, seen)) = rung::at_largest(ask) else { return quasi_random(ask) };
        if Stream::new(ask.seed, ask.slot, Purpose::Propose, COIN).uniform() < RANDOM {
            return draw(ask, 0);
        }
        // What was stopped for being no number is known to be bad.
        let is_broken = |trial: &Trial| trial.last_intermediate().is_none_or(|(_, value)| value.is_nan());
        let is_there = |trial: &&Trial| trial.state != State::Pruned || is_broken(trial);
        let there: Vec<Trial> = seen.iter().filter(is_there).cloned().collect();
        let view = Ask { history: &there, ..*ask };
        let known: Vec<(&Trial, Rank)> =
            if ask.directions.len() == 1 { ranked(&view) } else { several::ranked(&view, gamma) };
        propose(ask, &Codec::new(ask.space), &known).map_or_else(|| draw(ask, 0), Proposal::Params)
    }

    fn describe(&self, _: &Space, directions: &[Direction]) -> String {
        let fronts = if directions.len() > 1 { ", good ones by fronts and hypervolume" } else { "" };
        format!("bohb: Parzen estimators of the largest budget with enough trials, every third at random{fronts}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Record;
    use crate::space::{Domain, Parameter};

    fn space() -> Space {
        let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
        Space::new(vec![Parameter { name: "x".into(), domain, when: vec![] }]).unwrap()
    }

    fn trial(number: u64, x: f64, state: State, curve: &[(u64, f64)]) -> Trial {
        Trial::from(Record {
            params: [("x".to_owned(), x.into())].into_iter().collect(),
            values: curve.last().map(|(_, value)| *value).into_iter().collect(),
            intermediate: curve.iter().copied().collect(),
            ..Record::blank(number, state)
        })
    }

    /// At step 3 x near `early` is best, at step 9 near `late`; one trial came to step 27.
    fn history(early: f64, late: f64) -> Vec<Trial> {
        let curve = |x: f64| [(3, (x - early).abs()), (9, (x - late).abs()), (27, x)];
        let at = |i: u64| (i as f64 * 0.618).fract();
        let mut trials: Vec<Trial> = (0..40).map(|i| trial(i, at(i), State::Pruned, &curve(at(i))[..1])).collect();
        trials.extend((40..60).map(|i| trial(i, at(i), State::Pruned, &curve(at(i))[..2])));
        trials.push(trial(60, 0.5, State::Complete, &curve(0.5)));
        trials
    }

    fn proposals(history: &[Trial]) -> Vec<f64> {
        let (sampler, space) = (BohbSampler::new(&Settings::default()), space());
        let ask = |slot| Ask { space: &space, directions: &[Direction::Minimize], history, seed: 2, slot, source: &[] };
        let x = |slot| match sampler.ask(&ask(slot)) {
            Proposal::Params(params) => params["x"].as_f64().unwrap(),
            Proposal::Exhausted => panic!("{slot}"),
        };
        (61..121).map(x).collect()
    }

    #[test]
    fn the_model_is_that_of_the_largest_budget_with_enough_trials() {
        let found = proposals(&history(0.1, 0.8));
        let near = |x: f64| found.iter().filter(|found| (*found - x).abs() < 0.15).count();
        // A third is random, of which three in ten fall there too.
        assert!(near(0.8) > 35 && near(0.1) < 15, "{found:?}");
        assert_eq!(found, proposals(&history(0.6, 0.8)), "values of a smaller budget do not count");
        assert_ne!(found, proposals(&history(0.1, 0.3)));
        // Four complete trials are enough for one parameter, and are the larger budget.
        let mut more = history(0.1, 0.8);
        more.extend((61..64).map(|i| trial(i, 0.2, State::Complete, &[(3, 9.0), (9, 9.0), (27, 0.0)])));
        assert_ne!(found, proposals(&more));
    }

    /// The front at step 9 is 0.2 to 0.4; what the pruned ones would have come to is elsewhere.
    #[test]
    fn several_objectives_are_divided_by_the_fronts_at_the_rung() {
        let at = |i: u64| (i as f64 * 0.618).fract();
        let trial = |i: u64| {
            let (x, mut trial) = (at(i), trial(i, at(i), State::Pruned, &[]));
            trial.take_report(3, &[(x - 0.9).abs(), (x - 0.9).abs()]);
            if i.is_multiple_of(2) {
                trial.take_report(9, &[(x - 0.2).abs(), (x - 0.4).abs()]);
            }
            trial
        };
        let history: Vec<Trial> = (0..60).map(trial).collect();
        let (sampler, space) = (BohbSampler::new(&Settings::default()), space());
        let directions = [Direction::Minimize; 2];
        let x = |slot| {
            let ask = Ask { space: &space, directions: &directions, history: &history, seed: 2, slot, source: &[] };
            match sampler.ask(&ask) {
                Proposal::Params(params) => params["x"].as_f64().unwrap(),
                Proposal::Exhausted => panic!("{slot}"),
            }
        };
        let found: Vec<f64> = (60..120).map(x).collect();
        let inside = found.iter().filter(|x| (0.1..0.5).contains(*x)).count();
        assert!(inside > 38, "{inside} of 60: {found:?}");
    }
}
