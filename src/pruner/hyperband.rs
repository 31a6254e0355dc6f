//! Hyperband (Li et al., JMLR 18, 2018): several successive halvings that differ in how early they begin to stop.
//!
//! Bracket b of the B = ⌊log_η(R/r)⌋ + 1 is an [`Asha`] whose first rung stands at r·η^b, R being the longest training:
//! where early values mislead, the later brackets keep what the first one would have stopped. As in the paper every
//! bracket gets about the same number of steps, so of n trials a share that goes with η^(B−1−b)/(B−b) falls to bracket
//! b. Trials are compared within their bracket alone.
//!
//! A trial's bracket follows from its slot and nothing else: multiples of the golden ratio, which spread evenly
//! whatever the number of trials, fall into intervals as long as the shares. So a repeated trial comes into the bracket
//! of the one that died, and parallel workers need not agree. Where R is not given it is the longest of the complete
//! trials.

use super::asha::Rungs;
use super::several::Field;
use super::standing::{Sorted, Standing};
use super::{Asha, Follower, Pruner, Settings};
use crate::history::{Direction, State, Trial};

/// The fractional part of the golden ratio.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Hyperband {
    /// r: the step of the first bracket's first rung, at least 1.
    pub min_resource: u64,
    /// R: the steps of a trial that is not stopped, where that is known.
    pub max_resource: Option<u64>,
    /// η: one in so many goes on; at least 2.
    pub reduction: u64,
}

impl Hyperband {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        let Asha { min_resource, reduction } = Asha::new(settings);
        Hyperband { min_resource, max_resource: settings.max_resource, reduction }
    }

    /// First rungs of the brackets; at least one.
    fn first_rungs(&self, longest: u64) -> Vec<u64> {
        let rungs = std::iter::successors(Some(self.min_resource), |rung| rung.checked_mul(self.reduction));
        let mut rungs: Vec<u64> = rungs.take_while(|rung| *rung <= longest).collect();
        if rungs.is_empty() {
            rungs.push(self.min_resource);
        }
        rungs
    }

    /// The bracket, of so many, of the trial in that slot.
    fn bracket(&self, brackets: usize, slot: u64) -> usize {
        let share = |b: usize| (self.reduction as f64).powi((brackets - 1 - b) as i32) / (brackets - b) as f64;
        let total: f64 = (0..brackets).map(share).sum();
        let mut left = (slot as f64 * GOLDEN).fract() * total;
        let within = |b: &usize| {
            left -= share(*b);
            left < 0.0
        };
        (0..brackets).find(within).unwrap_or(brackets - 1)
    }
}

impl Pruner for Hyperband {
    fn should_prune(&self, directions: &[Direction], history: &[Trial], trial: &Trial) -> bool {
        let complete = history.iter().filter(|other| other.state == State::Complete && other.number != trial.number);
        let seen = || complete.filter_map(|other| Some(other.last_intermediate()?.0)).max();
        let rungs = self.first_rungs(self.max_resource.or_else(seen).unwrap_or(0));
        let bracket = self.bracket(rungs.len(), trial.slot());
        let others = history.iter().filter(|other| self.bracket(rungs.len(), other.slot()) == bracket);
        let halving = Asha { min_resource: rungs[bracket], reduction: self.reduction };
        halving.is_behind(directions, others, trial)
    }

    fn follow(&self, directions: &[Direction]) -> Option<Box<dyn Follower>> {
        // The brackets are known from the start only where their longest trial is.
        let firsts = self.first_rungs(self.max_resource?);
        Some(match directions.len() {
            1 => Brackets::<Sorted>::boxed(*self, firsts, directions),
            _ => Brackets::<Field>::boxed(*self, firsts, directions),
        })
    }

    fn describe(&self) -> String {
        match self.max_resource {
            Some(longest) => {
                let rungs: Vec<String> = self.first_rungs(longest).iter().map(ToString::to_string).collect();
                format!(
                    "hyperband: {} successive halvings that begin at step {}; the best of {} go on",
                    rungs.len(),
                    rungs.join(", "),
                    self.reduction
                )
            }
            None => format!(
                "hyperband: successive halvings that begin at step {0}, {1}, … of the longest trial; the best of {2} go on",
                self.min_resource,
                self.min_resource.saturating_mul(self.reduction),
                self.reduction
            ),
        }
    }
}

/// The rungs of each bracket.
struct Brackets<S: Standing> {
    rule: Hyperband,
    brackets: Vec<Rungs<S>>,
}

impl<S: Standing> Brackets<S> {
    fn boxed(rule: Hyperband, firsts: Vec<u64>, directions: &[Direction]) -> Box<dyn Follower> {
        let rungs = |first: u64| Rungs::new(Asha { min_resource: first, reduction: rule.reduction }, directions);
        Box::new(Brackets::<S> { rule, brackets: firsts.into_iter().map(rungs).collect() })
    }

    fn of(&self, trial: &Trial) -> usize {
        self.rule.bracket(self.brackets.len(), trial.slot())
    }
}

impl<S: Standing> Follower for Brackets<S> {
    fn take(&mut self, trial: &Trial) {
        let bracket = self.of(trial);
        self.brackets[bracket].take(trial);
    }

    fn report(&mut self, trial: &Trial, step: u64, values: &[f64]) {
        let bracket = self.of(trial);
        self.brackets[bracket].report(trial, step, values);
    }

    fn should_prune(&self, trial: &Trial) -> bool {
        self.brackets[self.of(trial)].should_prune(trial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hyperband(longest: u64) -> Hyperband {
        Hyperband::new(&Settings { max_resource: Some(longest), ..Settings::default() })
    }

    #[test]
    fn brackets_end_with_the_longest_trial() {
        for (longest, rungs) in [(0, 1), (1, 1), (2, 1), (3, 2), (26, 3), (27, 4), (28, 4)] {
            assert_eq!(hyperband(longest).first_rungs(longest).len(), rungs, "{longest}");
        }
        assert_eq!(hyperband(27).first_rungs(27), [1, 3, 9, 27]);
        assert_eq!(hyperband(1).first_rungs(u64::MAX).len(), 41);
    }

    #[test]
    fn every_bracket_gets_its_share_of_any_run_of_slots() {
        // η^(B−1−b)/(B−b) for η = 3, B = 4: 27/4, 9/3, 3/2, 1.
        let shares = [6.75, 3.0, 1.5, 1.0].map(|share| share / 12.25);
        for start in [0, 1_000, 1_000_000] {
            let mut counts = [0.0f64; 4];
            (start..start + 100).for_each(|slot| counts[hyperband(27).bracket(4, slot)] += 0.01);
            for (count, share) in counts.iter().zip(shares) {
                assert!((count - share).abs() < 0.03, "from {start}: {counts:?} {shares:?}");
            }
        }
    }
}
