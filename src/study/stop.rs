//! When a study has done enough: rules that look at its trials and say stop.
//!
//! Each rule is a pure function of the finished trials, so a study that has stopped stops again when it is opened, and
//! goes on where the rule is taken away. What still runs when a rule says stop is put back, like at a time limit.
//!
//! - **Target**: the best value is at least as good as one that was named; with several objectives, one trial is in
//!   all.
//! - **Regret bound**: by a Gaussian process ([`regret_bound`]) the best there is can be better than the best so far by
//!   no more than was named, or by no more than the error of the best value. That error is what differs between the
//!   repetitions or folds that the value is the mean of: √(1/k + 1/(k − 1)) times their deviation (Makarova et al.
//!   2022, section 4, after Nadeau and Bengio). Complete trials alone say something, from [`REGRET_TRIALS`] on.
//! - **Patience**: so many trials in a row brought nothing better; with several objectives, no growth of the front that
//!   matters: where parameters are continuous nearly every good trial enters the front, by however little, and no such
//!   study would ever end. What counts is the volume that the front dominates, each objective taken from its best value
//!   to its median or the worst of the front, whichever is worse: it must have grown by more than [`GROWTH`] of the
//!   whole since it last did, in one step or in many. Trials count in the order in which they finished, or of their
//!   slots where results have a fixed order; pruned and failed ones count too.

use super::cache::PARTS;
use crate::history::pareto::{self, dominates};
use crate::history::{Direction, State, Trial};
#[cfg(doc)]
use crate::sampler::REGRET_TRIALS;
use crate::sampler::regret_bound;
use crate::space::Space;
use crate::{Error, Result};

/// What ends a study beside the number of its trials and the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StopRules {
    /// What is good enough, one value an objective; empty for no such thing.
    pub target: Vec<f64>,
    /// Finished trials without an improvement, with several objectives without one that matters ([`GROWTH`]); at
    /// least 1.
    pub patience: Option<u64>,
    /// How little may be left to gain; only with one objective.
    pub regret: Option<Regret>,
}

/// By how much a front must grow to be an improvement, as a share of the volume between its best and its worst values.
pub const GROWTH: f64 = 0.001;

/// How little may be left to gain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regret {
    /// So much, in units of the objective.
    Value(f64),
    /// The error of the best value, from what its trial kept of its repetitions
    /// ([`Context::set_parts`](super::Context::set_parts)); a best trial without them says nothing.
    Error,
}

/// Where volumes end, of a front that reaches from 0 to 1.
const EDGE: f64 = 1.1;

/// Which rule it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Target,
    Patience,
    Regret,
}

impl StopRules {
    /// Refuses rules that mean nothing.
    ///
    /// # Errors
    /// A target that is not a number or for several objectives; a patience of 0.
    pub fn check(&self, directions: &[Direction]) -> Result<()> {
        match self {
            StopRules { target, .. } if target.iter().any(|target| target.is_nan()) => {
                Err(Error::input("the value to stop at is not a number"))
            }
            StopRules { target, .. } if !target.is_empty() && target.len() != directions.len() => {
                Err(Error::input(format!(
                    "there are {} values to stop at; one an objective is expected, and this study has {}",
                    target.len(),
                    directions.len()
                )))
            }
            StopRules { patience: Some(0), .. } => Err(Error::input(
                "0 trials without an improvement end every study before it begins; at least 1 is expected",
            )),
            StopRules { regret: Some(Regret::Value(bound)), .. } if !bound.is_finite() || *bound < 0.0 => {
                Err(Error::input(format!("the regret to stop at is {bound}; a number from 0 on is expected")))
            }
            StopRules { regret: Some(_), .. } if directions.len() != 1 => {
                Err(Error::input(format!("a regret bound needs one objective; this study has {}", directions.len())))
            }
            _ => Ok(()),
        }
    }
}

/// In which order trials count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// That in which they finished.
    #[default]
    Time,
    /// That of their places in the plan.
    Slots,
}

/// The rules with what they need to know of the trials so far: each finished trial is looked at once.
#[derive(Debug, Default)]
pub(super) struct Watch {
    rules: StopRules,
    order: Order,
    /// The slot after the highest of those that it knows.
    next: u64,
    directions: Vec<Direction>,
    /// Losses of the best trials so far: one, or the front.
    best: Vec<Vec<f64>>,
    /// Finished trials since the last improvement.
    without: u64,
    /// By how much the front has grown since then.
    grown: f64,
    /// With several objectives the losses of all complete trials, in order, by objective.
    losses: Vec<Vec<f64>>,
    space: Option<Space>,
    /// The complete trials, where the regret bound is asked for.
    complete: Vec<Trial>,
    /// What the bound said of them.
    settled: bool,
}

impl Watch {
    /// After the trials that are finished already.
    pub fn new(
        rules: StopRules,
        order: Order,
        directions: &[Direction],
        space: Option<&Space>,
        trials: &[Trial],
    ) -> Self {
        let (directions, space) = (directions.to_vec(), space.cloned());
        let mut watch = Watch { rules, order, directions, space, ..Watch::default() };
        let mut finished: Vec<&Trial> = trials.iter().filter(|trial| trial.state.is_finished()).collect();
        match order {
            Order::Time => finished.sort_by_key(|trial| (trial.finished, trial.number)),
            Order::Slots => finished.sort_by_key(|trial| (trial.slot(), trial.number)),
        }
        finished.into_iter().for_each(|trial| watch.note(trial));
        watch.settle();
        watch
    }

    /// Takes a trial that has just finished.
    pub fn add(&mut self, trial: &Trial) {
        self.note(trial);
        if trial.state == State::Complete {
            self.settle();
        }
    }

    /// Whether a trial comes after those that it knows.
    pub fn follows(&self, trial: &Trial) -> bool {
        self.order == Order::Time || trial.slot() >= self.next
    }

    /// Looks at how much is left to gain.
    fn settle(&mut self) {
        let (Some(regret), Some(space)) = (self.rules.regret, &self.space) else { return };
        let allowed = match regret {
            Regret::Value(bound) => Some(bound),
            Regret::Error => self.error(),
        };
        // Drawn anew with each trial: points that were missed once are seen soon.
        let seed = self.complete.len() as u64;
        let bound = || regret_bound(space, &self.directions, &self.complete, seed);
        self.settled = allowed.is_some_and(|allowed| bound().is_some_and(|bound| bound <= allowed));
    }

    /// The error of the best value.
    fn error(&self) -> Option<f64> {
        let loss = |trial: &&Trial| pareto::losses(&self.directions, trial).filter(|_| trial.is_feasible());
        let best = self.complete.iter().filter_map(|trial| Some((loss(&trial)?[0], trial)));
        let (_, best) = best.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let parts: Vec<f64> =
            best.system.get(PARTS)?.as_array()?.iter().filter_map(serde_json::Value::as_f64).collect();
        let k = parts.len() as f64;
        let mean = parts.iter().sum::<f64>() / k;
        let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / k;
        (parts.len() > 1).then(|| ((1.0 / k + 1.0 / (k - 1.0)) * variance).sqrt())
    }

    /// Remembers a finished trial. What was lost or deleted has not been tried.
    fn note(&mut self, trial: &Trial) {
        if super::cache::is_put_aside(trial) {
            return;
        }
        self.next = self.next.max(trial.slot() + 1);
        if self.rules.regret.is_some() && trial.state == State::Complete {
            self.complete.push(trial.clone());
        }
        self.without += 1;
        let Some(losses) = pareto::losses(&self.directions, trial).filter(|_| trial.is_feasible()) else { return };
        let (several, is_first) = (self.directions.len() > 1, self.best.is_empty());
        if several && self.rules.patience.is_some() {
            self.losses.resize(losses.len(), Vec::new());
            for (all, loss) in self.losses.iter_mut().zip(&losses) {
                all.insert(all.partition_point(|other| other < loss), *loss);
            }
        }
        if self.improves(&losses) {
            if several && self.rules.patience.is_some() {
                self.grown += self.growth(&losses);
            }
            self.best.retain(|known| !dominates(&losses, known));
            self.best.push(losses);
            if !several || is_first || self.grown > GROWTH {
                (self.without, self.grown) = (0, 0.0);
            }
        }
    }

    /// The volume that a point adds to the front, as a share of that of the box around both; see the module.
    fn growth(&self, losses: &[f64]) -> f64 {
        let sides = |k: usize| {
            let all = &self.losses[k];
            let front = self.best.iter().map(|known| known[k]).chain([losses[k]]);
            let finite = || front.clone().chain([all[all.len() / 2]]).filter(|x| x.is_finite());
            let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
            if low <= high { (low, high) } else { (0.0, 0.0) }
        };
        let sides: Vec<(f64, f64)> = (0..losses.len()).map(sides).collect();
        // What is no better than another is as good as it: both stand at the same end.
        let scaled = |point: &[f64]| -> Vec<f64> {
            let share = |(x, (low, high)): (&f64, &(f64, f64))| {
                if high > low { (x.clamp(*low, *high) - low) / (high - low) } else { 0.0 }
            };
            point.iter().zip(&sides).map(share).collect()
        };
        let own = scaled(losses);
        let edge = vec![EDGE; own.len()];
        let shared: Vec<Vec<f64>> = self
            .best
            .iter()
            .map(|known| scaled(known).iter().zip(&own).map(|(known, own)| known.max(*own)).collect())
            .collect();
        let alone = pareto::hypervolume(std::slice::from_ref(&own), &edge) - pareto::hypervolume(&shared, &edge);
        alone / pareto::hypervolume(&[vec![0.0; own.len()]], &edge)
    }

    /// The rule that says stop, if one does.
    pub fn says(&self) -> Option<Rule> {
        let wanted = self.directions.iter().zip(&self.rules.target).map(|(direction, target)| direction.loss(*target));
        let wanted: Vec<f64> = wanted.collect();
        let reaches = |losses: &Vec<f64>| losses.iter().zip(&wanted).all(|(loss, wanted)| loss <= wanted);
        if !wanted.is_empty() && self.best.iter().any(reaches) {
            return Some(Rule::Target);
        }
        if self.settled {
            return Some(Rule::Regret);
        }
        // Before anything is complete there is nothing to improve on.
        let patient = |patience: u64| self.best.is_empty() || self.without < patience;
        (!self.rules.patience.is_none_or(patient)).then_some(Rule::Patience)
    }

    fn improves(&self, losses: &[f64]) -> bool {
        self.best.iter().all(|known| known != losses && !dominates(known, losses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Record;
    use crate::space::{Domain, Parameter};

    fn trial(number: u64, values: &[f64]) -> Trial {
        let state = if values.is_empty() { State::Pruned } else { State::Complete };
        Trial::from(Record { values: values.to_vec(), ..Record::blank(number, state) })
    }

    fn says(rules: StopRules, directions: &[Direction], values: &[&[f64]]) -> Option<Rule> {
        let trials: Vec<Trial> = values.iter().enumerate().map(|(i, values)| trial(i as u64, values)).collect();
        Watch::new(rules, Order::Time, directions, None, &trials).says()
    }

    #[test]
    fn a_target_is_reached_from_the_right_side() {
        let rules = StopRules { target: vec![0.5], ..StopRules::default() };
        for (direction, values, expected) in [
            (Direction::Minimize, [&[0.6][..], &[]], None),
            (Direction::Minimize, [&[0.6], &[0.5]], Some(Rule::Target)),
            (Direction::Maximize, [&[0.4], &[0.3]], None),
            (Direction::Maximize, [&[0.9], &[0.3]], Some(Rule::Target)),
        ] {
            assert_eq!(says(rules.clone(), &[direction], &values), expected, "{direction:?} {values:?}");
        }
    }

    #[test]
    fn several_targets_are_reached_by_one_trial() {
        let rules = StopRules { target: vec![0.5, 0.9], ..StopRules::default() };
        let both = [Direction::Minimize, Direction::Maximize];
        assert_eq!(says(rules.clone(), &both, &[&[0.4, 0.8], &[0.6, 0.95]]), None, "each alone");
        assert_eq!(says(rules, &both, &[&[0.4, 0.8], &[0.5, 0.9], &[0.6, 0.95]]), Some(Rule::Target));
    }

    #[test]
    fn patience_counts_what_finished_since_the_last_improvement() {
        let rules = StopRules { patience: Some(3), ..StopRules::default() };
        let one = |values: &[&[f64]]| says(rules.clone(), &[Direction::Minimize], values).is_some();
        assert!(!one(&[&[1.0], &[2.0], &[1.0]]), "two without: the same value is no improvement");
        assert!(one(&[&[1.0], &[2.0], &[1.0], &[]]), "a pruned trial counts");
        assert!(!one(&[&[1.0], &[2.0], &[], &[0.5]]));
        assert!(!one(&[&[], &[], &[], &[]]), "nothing to improve on yet");
        let both = [Direction::Minimize, Direction::Maximize];
        let front = |values: &[&[f64]]| says(rules.clone(), &both, values).is_some();
        assert!(!front(&[&[1.0, 1.0], &[2.0, 2.0], &[3.0, 3.0], &[4.0, 4.0]]), "each enters the front");
        assert!(front(&[&[1.0, 1.0], &[1.0, 1.0], &[2.0, 1.0], &[1.0, 0.5]]));
    }

    #[test]
    fn a_front_that_hardly_grows_brings_nothing_better() {
        let both = [Direction::Minimize, Direction::Minimize];
        let without = |values: &[Vec<f64>]| {
            let trials: Vec<Trial> = (0..).zip(values).map(|(number, values)| trial(number, values)).collect();
            let rules = StopRules { patience: Some(1000), ..StopRules::default() };
            Watch::new(rules, Order::Time, &both, None, &trials).without
        };
        // A front of eleven points with its middle, and a bad trial that says nothing of the scale.
        let mut values: Vec<Vec<f64>> = (0..=10).map(|i| vec![f64::from(i), f64::from(10 - i)]).collect();
        values.push(vec![1e30, f64::INFINITY]);
        assert_eq!(without(&values), 1);
        let plus = |more: &[[f64; 2]]| {
            let mut values = values.clone();
            values.extend(more.iter().map(|point| point.to_vec()));
            without(&values)
        };
        // Of the square of 11 by 11 a thousandth is 0.12; each of these enters the front.
        assert_eq!(plus(&[[4.5, 5.0]]), 0, "0.5 by 1");
        assert_eq!(plus(&[[4.95, 5.0]]), 2, "0.05 by 1");
        assert_eq!(plus(&[[4.95, 5.0], [3.95, 6.0]]), 3);
        assert_eq!(plus(&[[4.95, 5.0], [3.95, 6.0], [2.95, 7.0]]), 0, "many small steps are a large one");
        assert_eq!(plus(&[[-0.05, 11.0]]), 2, "a new end, hardly further");
        assert_eq!(plus(&[[-1.0, 10.5]]), 0);
        // Values that differ in one objective alone.
        assert_eq!(without(&[vec![1.0, 5.0], vec![0.5, 5.0]]), 0);
        // What was found at first is an improvement however few there are.
        assert_eq!(without(&[vec![f64::INFINITY, 1.0]]), 0);
    }

    #[test]
    fn rules_that_mean_nothing_are_refused() {
        let two = [Direction::Minimize; 2];
        for (rules, directions) in [
            (StopRules { target: vec![f64::NAN], ..StopRules::default() }, &two[..1]),
            (StopRules { target: vec![1.0], ..StopRules::default() }, &two),
            (StopRules { patience: Some(0), ..StopRules::default() }, &two[..1]),
        ] {
            assert!(rules.check(directions).is_err(), "{rules:?}");
        }
        assert!(StopRules { target: vec![1.0], patience: Some(1), ..StopRules::default() }.check(&two[..1]).is_ok());
    }

    /// (x − 0.3)² at points that close in on the minimum, as maximum or minimum, with noise of repetitions.
    fn closing_in(direction: Direction, n: u64, spread: f64) -> (Space, Vec<Trial>) {
        let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
        let space = Space::new(vec![Parameter { name: "x".into(), domain, when: vec![] }]).unwrap();
        let trial = |i: u64| {
            let x = 0.3 + 0.7 * (1.0 - i as f64 / n as f64).powi(2) * if i.is_multiple_of(2) { 1.0 } else { -0.42 };
            let value = direction.loss((x - 0.3).powi(2));
            let mut trial = trial(i, &[value]);
            trial.params = [("x".to_owned(), x.into())].into_iter().collect();
            trial.system.insert(PARTS.into(), serde_json::json!([value - spread, value + spread]));
            trial
        };
        (space, (0..n).map(trial).collect())
    }

    #[test]
    fn regret_bounds_end_what_has_nothing_left_to_gain() {
        for direction in [Direction::Minimize, Direction::Maximize] {
            let (space, trials) = closing_in(direction, 40, 0.02);
            let bound = |n: usize| regret_bound(&space, &[direction], &trials[..n], 0);
            assert_eq!(bound(19), None, "too few trials");
            // The whole range of values is 0.49; the best is next to the minimum.
            let best = trials[..40].iter().map(|trial| direction.loss(trial.values[0])).fold(f64::INFINITY, f64::min);
            assert!((best..0.02).contains(&bound(40).unwrap()), "{:?}", bound(40));
            let says = |regret: Regret, n: usize| {
                let rules = StopRules { regret: Some(regret), ..StopRules::default() };
                Watch::new(rules, Order::Time, &[direction], Some(&space), &trials[..n]).says()
            };
            assert_eq!(says(Regret::Value(0.02), 19), None);
            assert_eq!(says(Regret::Value(0.02), 40), Some(Rule::Regret));
            assert_eq!(says(Regret::Value(0.0), 40), None, "noise is never ruled out");
            // √(1/2 + 1)·0.02 is allowed.
            assert_eq!(says(Regret::Error, 40), Some(Rule::Regret));
            let (_, sharp) = closing_in(direction, 40, 1e-9);
            let rules = StopRules { regret: Some(Regret::Error), ..StopRules::default() };
            assert_eq!(Watch::new(rules, Order::Time, &[direction], Some(&space), &sharp).says(), None);
        }
        let rules = |regret| StopRules { regret: Some(regret), ..StopRules::default() };
        for (regret, directions) in [(Regret::Value(-1.0), 1), (Regret::Value(f64::NAN), 1), (Regret::Error, 2)] {
            assert!(rules(regret).check(&[Direction::Minimize; 2][..directions]).is_err(), "{regret:?}");
        }
    }
}
