//! Stops a trial that does worse than the best one on the same parts: folds, repetitions, instances.
//!
//! The steps are no progress but parts of the whole: at step s both trials have worked on part s, so their differences
//! are paired, and Wilcoxon's signed-rank test (Biometrics Bulletin 1, 1945) tells whether the trial is worse. A trial
//! is stopped where p < `p_threshold` in the one-sided test, unless the mean of its parts is better than that of the
//! best's (Optuna's `WilcoxonPruner` has the same rule). Zero differences are split evenly between both signs; ties
//! share ranks. Up to [`EXACT`] pairs the distribution of the rank sum is counted out, ties included; above, it is
//! normal with the variance corrected for ties.
//!
//! With several objectives a trial is stopped where one of the front is surely no worse in anything: in each objective
//! the trial is worse by that test, or, where both always have the same value each (a size), not better, and it is
//! worse in at least one. As all of these must hold at once, their levels need no correction (Berger, "Multiparameter
//! hypothesis testing and acceptance sampling", Technometrics 24, 1982).

use super::several::{competes, is_broken};
use super::{Follower, Pruner, Settings};
use crate::history::{Direction, State, Trial, pareto};
use std::collections::{BTreeMap, HashMap};
use std::f64::consts::SQRT_2;

/// Pairs up to which the distribution is counted out.
const EXACT: usize = 50;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Wilcoxon {
    /// Below this probability of such differences between equals a trial is stopped.
    pub p_threshold: f64,
    /// Parts that are compared at least.
    pub startup_steps: usize,
}

impl Default for Wilcoxon {
    fn default() -> Self {
        Self::new(&Settings::default())
    }
}

impl Wilcoxon {
    /// How many parts there must be for the test to stop anything at this threshold: of n parts that are all worse, p
    /// is 2⁻ⁿ. None where no number is enough (a threshold of 0).
    pub fn least_parts(p_threshold: f64) -> Option<u32> {
        (1..=1074).find(|&n| 0.5f64.powi(n) < p_threshold).map(|n| n as u32)
    }

    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        Wilcoxon { p_threshold: settings.p_threshold, startup_steps: settings.startup_steps.max(1) }
    }
}

impl Pruner for Wilcoxon {
    fn should_prune(&self, directions: &[Direction], history: &[Trial], trial: &Trial) -> bool {
        if is_broken(trial) {
            return true;
        }
        let [direction] = *directions else {
            let others = history.iter().filter(|other| other.number != trial.number);
            let front = pareto::front(directions, others);
            return front.into_iter().any(|other| self.is_beaten(directions, trial, other));
        };
        let complete = history.iter().filter(|other| other.state == State::Complete && competes(other, trial));
        let loss = |trial: &Trial| trial.value().map_or(f64::INFINITY, |value| direction.loss(value));
        let best = complete
            .filter(|other| !loss(other).is_nan())
            .min_by(|a, b| loss(a).total_cmp(&loss(b)).then(a.number.cmp(&b.number)));
        let Some(best) = best else { return false };
        self.is_worse(&Parts::of(direction, trial, best, 0))
    }

    fn of_parts(&self) -> bool {
        true
    }

    fn follow(&self, directions: &[Direction]) -> Option<Box<dyn Follower>> {
        Some(Box::new(Rivals { rule: *self, directions: directions.to_vec(), ..Rivals::default() }))
    }

    fn describe(&self) -> String {
        format!("wilcoxon: stops what is worse than the best on the same parts, p < {}", self.p_threshold)
    }
}

impl Wilcoxon {
    /// Whether the trial is worse than another one by the test in one objective.
    fn is_worse(&self, parts: &Parts) -> bool {
        parts.all_finite
            && parts.differences.len() >= self.startup_steps
            && parts.mean > parts.other_mean
            && p_value(&parts.differences) < self.p_threshold
    }

    /// Whether the trial is worse than `other` in some objectives and surely no better in the rest.
    pub(super) fn is_beaten(&self, directions: &[Direction], trial: &Trial, other: &Trial) -> bool {
        let parts = directions.iter().zip(0..);
        let parts: Vec<Parts> =
            parts.map(|(direction, objective)| Parts::of(*direction, trial, other, objective)).collect();
        // What has been constant so far is believed from as many parts on as could convince the test.
        let least = Self::least_parts(self.p_threshold).map_or(usize::MAX, |n| n as usize).max(self.startup_steps);
        let enough = parts.iter().all(|parts| parts.differences.len() >= least);
        let beaten = |parts: &Parts| self.is_worse(parts) || parts.is_constant() && parts.differences[0] >= 0.0;
        let worse = |parts: &Parts| self.is_worse(parts) || parts.is_constant() && parts.differences[0] > 0.0;
        enough && parts.iter().all(beaten) && parts.iter().any(worse)
    }
}

/// The complete trials that keep their constraints, of which the best, or the front, is known at any time.
#[derive(Default)]
struct Rivals {
    rule: Wilcoxon,
    directions: Vec<Direction>,
    /// By the place of the loss in order and the number; with several objectives by the number alone.
    trials: BTreeMap<(u64, u64), Trial>,
    /// Where each trial is among them.
    places: HashMap<u64, u64>,
    /// With several objectives those that no other dominates.
    front: Vec<(Vec<f64>, Trial)>,
}

impl Rivals {
    /// Its place among those it competes with; none where it is none.
    fn place(&self, trial: &Trial) -> Option<u64> {
        if trial.state != State::Complete || !trial.is_feasible() {
            return None;
        }
        let [direction] = *self.directions else { return pareto::losses(&self.directions, trial).map(|_| 0) };
        let loss = trial.value().map_or(f64::INFINITY, |value| direction.loss(value));
        (!loss.is_nan()).then(|| in_order(loss))
    }

    /// Takes a trial that is complete into the front, unless it is dominated there.
    fn offer(&mut self, trial: &Trial) {
        let Some(own) = pareto::losses(&self.directions, trial) else { return };
        if !self.front.iter().any(|(losses, _)| pareto::dominates(losses, &own)) {
            self.front.retain(|(losses, _)| !pareto::dominates(&own, losses));
            self.front.push((own, trial.clone()));
        }
    }
}

/// A whole number that is larger for a larger loss, in the order of [`f64::total_cmp`].
fn in_order(loss: f64) -> u64 {
    let bits = loss.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

impl Follower for Rivals {
    fn take(&mut self, trial: &Trial) {
        let (number, several) = (trial.number, self.directions.len() > 1);
        if let Some(place) = self.places.remove(&number) {
            self.trials.remove(&(place, number));
            if self.front.iter().any(|(_, other)| other.number == number) {
                // Whom it dominated may be there now. That is rare: somebody has deleted it.
                self.front.clear();
                let all: Vec<Trial> = self.trials.values().cloned().collect();
                all.iter().for_each(|trial| self.offer(trial));
            }
        }
        if let Some(place) = self.place(trial) {
            self.places.insert(number, place);
            self.trials.insert((place, number), trial.clone());
            if several {
                self.offer(trial);
            }
        }
    }

    fn report(&mut self, _: &Trial, _: u64, _: &[f64]) {}

    fn should_prune(&self, trial: &Trial) -> bool {
        if is_broken(trial) {
            return true;
        }
        let others = |other: &&Trial| other.number != trial.number;
        match *self.directions {
            [direction] => {
                let best = self.trials.values().find(others);
                best.is_some_and(|best| self.rule.is_worse(&Parts::of(direction, trial, best, 0)))
            }
            _ => {
                let mut front = self.front.iter().map(|(_, other)| other).filter(others);
                front.any(|other| self.rule.is_beaten(&self.directions, trial, other))
            }
        }
    }
}

/// Losses of two trials on the same parts, in one objective.
struct Parts {
    /// Own less the other's, of each part that both have worked on.
    differences: Vec<f64>,
    /// Means over all parts of each.
    mean: f64,
    other_mean: f64,
    /// Whether neither has one that is infinite or not a number.
    all_finite: bool,
    /// Whether each has one value only.
    constant: bool,
}

impl Parts {
    fn of(direction: Direction, trial: &Trial, other: &Trial, objective: usize) -> Self {
        let at = |trial: &Trial, step: u64| Some(direction.loss(*trial.report_at(step)?.get(objective)?));
        let all = |of: &Trial| of.intermediate.keys().filter_map(|step| at(of, *step)).collect::<Vec<f64>>();
        let (own, others) = (all(trial), all(other));
        let pairs = trial.intermediate.keys().filter_map(|step| Some((at(trial, *step)?, at(other, *step)?)));
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let constant = |losses: &[f64]| losses.windows(2).all(|pair| pair[0] == pair[1]);
        Parts {
            differences: pairs.map(|(own, other)| own - other).collect(),
            mean: mean(&own),
            other_mean: mean(&others),
            all_finite: own.iter().chain(&others).all(|loss| loss.is_finite()),
            constant: constant(&own) && constant(&others),
        }
    }

    fn is_constant(&self) -> bool {
        self.constant && !self.differences.is_empty()
    }
}

/// The probability of a sum of positive ranks as large as this between equals.
fn p_value(differences: &[f64]) -> f64 {
    let n = differences.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| differences[*a].abs().total_cmp(&differences[*b].abs()));
    // Twice the ranks, so that shared ones are whole; groups of equals for the normal's variance.
    let (mut ranks, mut groups, mut start) = (vec![0usize; n], Vec::<f64>::new(), 0);
    while start < n {
        let size =
            order[start..].iter().take_while(|i| differences[**i].abs() == differences[order[start]].abs()).count();
        order[start..start + size].iter().for_each(|i| ranks[*i] = 2 * start + size + 1);
        groups.push(size as f64);
        start += size;
    }
    // Four times the sum of positive ranks: a zero adds half its rank.
    let part = |i: usize| match differences[i] {
        d if d > 0.0 => 2 * ranks[i],
        0.0 => ranks[i],
        _ => 0,
    };
    let sum: usize = (0..n).map(part).sum();
    if n <= EXACT {
        let zeros: usize = (0..n).filter(|i| differences[*i] == 0.0).map(|i| ranks[i]).sum();
        let signed: Vec<usize> = (0..n).filter(|i| differences[*i] != 0.0).map(|i| ranks[i]).collect();
        return counted(&signed, (sum - zeros) / 2);
    }
    let n = n as f64;
    let mean = n * (n + 1.0) / 4.0;
    let ties: f64 = groups.iter().map(|size| size.powi(3) - size).sum();
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    upper_tail((sum as f64 / 4.0 - mean) / variance.sqrt())
}

/// The share of all choices of signs whose sum of (doubled) ranks is at least `sum`.
fn counted(ranks: &[usize], sum: usize) -> f64 {
    let total: usize = ranks.iter().sum();
    let mut ways = vec![0.0f64; total + 1];
    ways[0] = 1.0;
    let mut reached = 0;
    for &rank in ranks {
        for at in (0..=reached).rev() {
            ways[at + rank] += ways[at];
        }
        reached += rank;
    }
    ways[sum.min(total)..].iter().sum::<f64>() / 2f64.powi(ranks.len() as i32)
}

/// P(Z ≥ z) of the standard normal: the continued fraction of erfc (Lentz) away from 0, its series near it.
fn upper_tail(z: f64) -> f64 {
    let x = z.abs() / SQRT_2;
    let erfc = if x < 2.0 {
        let (mut term, mut sum, mut k) = (x, x, 0.0);
        while term.abs() > 1e-17 * sum.abs() && k < 200.0 {
            k += 1.0;
            term *= -x * x / k;
            sum += term / (2.0 * k + 1.0);
        }
        1.0 - sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..=60).rev().fold(x, |below, k| x + f64::from(k) / 2.0 / below);
        (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt())
    };
    if z >= 0.0 { erfc / 2.0 } else { 1.0 - erfc / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_number_of_parts_is_the_first_that_can_be_significant() {
        for (threshold, least) in
            [(0.1, Some(4)), (0.05, Some(5)), (0.5, Some(2)), (0.6, Some(1)), (0.125, Some(4)), (0.0, None)]
        {
            assert_eq!(Wilcoxon::least_parts(threshold), least, "{threshold}");
            let Some(least) = least else { continue };
            let worse = |n: u32| p_value(&(1..=n).map(f64::from).collect::<Vec<_>>());
            assert!(worse(least) < threshold && (least == 1 || worse(least - 1) >= threshold), "{threshold}");
        }
    }

    #[test]
    fn small_samples_are_counted_out() {
        // All positive: one choice of signs in 2ⁿ.
        assert_eq!(p_value(&[1.0, 2.0, 3.0]), 1.0 / 8.0);
        assert_eq!(p_value(&[-1.0, -2.0, -3.0]), 1.0);
        // 1 + 3 of the ranks 1, 2, 3: the sums 4, 5 and 6 come in three of eight ways.
        assert_eq!(p_value(&[0.1, -0.2, 0.3]), 3.0 / 8.0);
        // Equal differences share the rank 1.5: sums of at least 1.5 come in three of four ways.
        assert_eq!(p_value(&[1.0, -1.0]), 3.0 / 4.0);
        assert_eq!(p_value(&[0.0, 0.0, 0.0]), 1.0);
        // A zero has rank 1 and no sign: of the ranks 2 and 3 both are positive in one of four ways.
        assert_eq!(p_value(&[0.0, 2.0, 3.0]), 1.0 / 4.0);
    }

    #[test]
    fn the_normal_meets_what_is_counted_out() {
        for shift in [-0.2, 0.0, 0.1, 0.3] {
            let value = |i: u64| crate::random::Stream::new(3, i, crate::random::Purpose::Propose, 0).normal() + shift;
            let fifty: Vec<f64> = (0..50).map(value).collect();
            let exact = p_value(&fifty);
            // One more pair of the least size changes little, and is above the limit.
            let more: Vec<f64> = fifty.iter().copied().chain([1e-9]).collect();
            assert!((p_value(&more) - exact).abs() < 0.02, "{shift}: {exact} {}", p_value(&more));
        }
        for (z, expected) in
            [(0.0, 0.5), (1.0, 0.158_655_253_931_457), (-1.0, 0.841_344_746_068_543), (4.0, 3.167_124_183_312e-5)]
        {
            assert!((upper_tail(z) - expected).abs() < 1e-9 * expected.max(1e-5), "{z}: {}", upper_tail(z));
        }
    }

    /// `scipy.stats.wilcoxon(x, alternative="greater", zero_method="zsplit")` of SciPy 1.17.1.
    #[test]
    fn probabilities_are_scipys() {
        for (n, modulus, shift, expected) in [
            (12, 101, 40, 0.395_507_812_5),
            (60, 101, 45, 0.132_354_095_973_961_75),
            (60, 23, 9, 0.023_140_243_472_985_8),
            (80, 17, 9, 0.955_237_251_129_669_1),
        ] {
            let x: Vec<f64> = (0..n).map(|i| f64::from(i * 37 % modulus - shift) / 10.0).collect();
            let p = p_value(&x);
            assert!((p - expected).abs() < 1e-9, "{n} {modulus}: {p} {expected}");
        }
    }
}
