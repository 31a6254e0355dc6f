//! BOHB (Falkner et al., "BOHB: robust and efficient hyperparameter optimization at scale", ICML 2018): the Parzen
//! estimators of one budget, for a study whose pruner stops trials at rungs.
//!
//! The budget of a trial is the last step that it reported. The model is built from the largest budget at which at least
//! d + 3 trials have a value (d parameters, the paper's N_min + 2), and from those values alone: a trial that went on
//! counts with what it had reported there, one that was stopped before does not count. What is complete (early stopping)
//! counts at every larger budget with its value. Every third configuration is drawn at random, which keeps Hyperband's
//! guarantees. Before there is a model, and with several objectives, it does as [`TpeSampler`] does.

use super::{TpeSampler, propose};
use crate::history::{Direction, State, Trial};
use crate::random::{Purpose, Stream};
use crate::sampler::codec::Codec;
use crate::sampler::outcome::{Rank, ranked};
use crate::sampler::random::draw;
use crate::sampler::sobol::quasi_random;
use crate::sampler::{Ask, Proposal, Sampler, Settings};
use crate::space::Space;
use std::collections::BTreeSet;

/// Step of the keyed number that says whether a configuration is drawn at random.
const COIN: u64 = 1 << 46;
/// Share of those.
const RANDOM: f64 = 1.0 / 3.0;

/// BOHB; see the module.
#[derive(Clone, Copy, Debug)]
pub struct BohbSampler {
    several: TpeSampler,
}

impl BohbSampler {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        BohbSampler { several: TpeSampler::new(settings) }
    }
}

impl Sampler for BohbSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let [direction] = *ask.directions else { return self.several.ask(ask) };
        let trials = ranked(ask);
        let Some(budget) = budget(&trials, direction, ask.space.len() + 3) else { return quasi_random(ask) };
        if Stream::new(ask.seed, ask.slot, Purpose::Propose, COIN).uniform() < RANDOM {
            return draw(ask, 0);
        }
        let known: Vec<(&Trial, Rank)> = trials
            .into_iter()
            .filter_map(|(trial, rank)| match loss_at(trial, direction, budget) {
                Some(loss) => Some((trial, Rank::Complete(loss))),
                None => (!rank.is_measured()).then_some((trial, rank)),
            })
            .collect();
        propose(ask, &Codec::new(ask.space), &known).map_or_else(|| draw(ask, 0), Proposal::Params)
    }

    fn describe(&self, _: &Space, directions: &[Direction]) -> String {
        match directions {
            [_] => "bohb: Parzen estimators of the largest budget with enough trials, every third at random".to_owned(),
            _ => "bohb: as tpe, since there are several objectives".to_owned(),
        }
    }
}

/// The largest step at which trials ended and so many have a value.
fn budget(trials: &[(&Trial, Rank)], direction: Direction, enough: usize) -> Option<u64> {
    let ended = trials.iter().filter(|(_, rank)| rank.is_measured());
    let steps: BTreeSet<u64> = ended.map(|(trial, _)| last_step(trial)).collect();
    let known = |step: u64| trials.iter().filter(|(trial, _)| loss_at(trial, direction, step).is_some()).count();
    steps.into_iter().rev().find(|&step| known(step) >= enough)
}

fn last_step(trial: &Trial) -> u64 {
    trial.last_intermediate().map_or(0, |(step, _)| step)
}

/// The loss of a trial at a step; none where it has none there, or not yet.
fn loss_at(trial: &Trial, direction: Direction, step: u64) -> Option<f64> {
    let value = match trial.state {
        State::Complete if last_step(trial) <= step => trial.value(),
        State::Failed => None,
        _ => trial.intermediate.get(&step).copied(),
    };
    value.map(|value| direction.loss(value)).filter(|loss| !loss.is_nan())
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
        let ask = |slot| Ask { space: &space, directions: &[Direction::Minimize], history, seed: 2, slot };
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
        let known = |trials: &[Trial]| {
            let ranked: Vec<(&Trial, Rank)> = trials.iter().map(|trial| (trial, Rank::Complete(0.0))).collect();
            budget(&ranked, Direction::Minimize, 4)
        };
        assert_eq!([known(&history(0.1, 0.8)), known(&more), known(&more[..2])], [Some(9), Some(27), None]);
    }

    #[test]
    fn what_goes_on_counts_where_it_was_and_what_is_complete_everywhere() {
        let loss = |trial: &Trial, step| loss_at(trial, Direction::Maximize, step);
        let running = trial(0, 0.5, State::Running, &[(3, 0.1), (9, 0.4)]);
        assert_eq!([loss(&running, 3), loss(&running, 9), loss(&running, 27)], [Some(-0.1), Some(-0.4), None]);
        let early = trial(1, 0.5, State::Complete, &[(3, 0.1), (5, 0.2)]);
        assert_eq!([loss(&early, 3), loss(&early, 9)], [Some(-0.1), Some(-0.2)]);
        assert_eq!(loss(&trial(2, 0.5, State::Failed, &[(3, 0.1)]), 3), None);
        assert_eq!(loss(&trial(3, 0.5, State::Complete, &[(3, f64::NAN)]), 3), None);
    }
}
