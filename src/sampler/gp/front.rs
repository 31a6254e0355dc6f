//! Several objectives: a process for each, and the hypervolume by which an outcome is expected to enlarge the front.
//!
//! ln EHVI ([`boxes`](super::boxes)) + Σ ln P(constraint is kept), with a process for each constraint as well (Gardner
//! et al., "Bayesian optimization with inequality constraints", ICML 2014). The front is that of the values observed
//! and of the means at the trials under way; with means everywhere, as for one objective, DTLZ2 was found more slowly
//! (`benches/search/README.md`).
//!
//! Objectives are scaled, not bent: a volume should be that of the values. Bent ones ([`normalise`]) missed twice as
//! much of DTLZ2. Beyond the worst tenth, by more than [`CAP`] times the range of the others, values are all the same:
//! else one training that diverged would make all others the same.

use super::boxes::Boxes;
use super::condition;
use super::ensemble::Landscape;
use super::expected::log_cumulative;
use super::fit::Prior;
use super::surrogate::Surrogate;
use crate::history::pareto::ranks;
use crate::sampler::codec::Codec;
use crate::sampler::outcome::{normalise, standardise};
use crate::sampler::several::Observation;
use std::sync::Arc;

/// How far bad values count; see the module.
const CAP: f64 = 2.0;
/// The reference lies so far on the way from the worst values of the front to the worst values of all, and so much of
/// the range beyond either. The first alone (Ishibuchi et al., Evol. Comput. 26, 2018) leaves the ends of a front
/// unexplored: ZDT1 missed 0.06 instead of 0.002. The second alone, which is Optuna's, explores nothing but the ends:
/// DTLZ2 missed 0.43 instead of 0.27.
const FAR: f64 = 0.3;
const BEYOND: f64 = 0.1;

/// The processes and what they are expected to add; see the module.
#[derive(Clone, Debug)]
pub(super) struct Front {
    objectives: Vec<Surrogate>,
    /// Processes of constraints with the largest outcome that keeps them.
    constraints: Vec<(Surrogate, f64)>,
    boxes: Boxes,
    /// Whether the improvement itself is wanted, instead of its logarithm.
    is_plain: bool,
}

/// Rows of columns with the outcomes of one process, and for a constraint the largest outcome that keeps it.
struct Series {
    rows: Vec<Vec<f64>>,
    y: Vec<f64>,
    limit: f64,
}

/// What is known, apart from a prior.
pub(super) struct Subject {
    objectives: Vec<Series>,
    constraints: Vec<Series>,
    /// Outcomes of the trials that may be in the front.
    results: Vec<Vec<f64>>,
    /// Rows of those under way.
    pending: Vec<Vec<f64>>,
}

impl Subject {
    /// From rows of columns and what was observed there, and from the rows of trials under way.
    pub(super) fn new(known: &[(Vec<f64>, &Observation)], objectives: usize, pending: Vec<Vec<f64>>) -> Self {
        let series = |values: &[Option<f64>], limit: f64| -> Series {
            let (rows, y) = known.iter().zip(values).filter_map(|((row, _), y)| Some((row.clone(), (*y)?))).unzip();
            Series { rows, y, limit }
        };
        let values: Vec<Vec<Option<f64>>> = (0..objectives).map(|k| objective(known, k)).collect();
        let outcomes = |place: usize| values.iter().map(|own| own[place]).collect::<Option<Vec<f64>>>();
        let constraints = known.iter().map(|(_, one)| one.constraints.len()).max().unwrap_or(0);
        let limited = |c: usize| {
            let (values, limit) = constraint(known, c);
            series(&values, limit)
        };
        Subject {
            results: (0..known.len()).filter(|place| known[*place].1.is_result).filter_map(outcomes).collect(),
            objectives: values.iter().map(|values| series(values, 0.0)).collect(),
            constraints: (0..constraints).map(limited).collect(),
            pending,
        }
    }

    /// Rows and outcomes of each objective.
    pub(super) fn objectives(&self) -> impl Iterator<Item = (&[Vec<f64>], &[f64])> {
        self.objectives.iter().map(|own| (&own.rows[..], &own.y[..]))
    }

    /// The front of the processes under a prior, and where another study's processes explain objectives better that of
    /// the processes on top of them; none where one cannot be made.
    pub(super) fn fronts(
        &self,
        codec: &Codec,
        prior: Prior,
        is_plain: bool,
        sources: &[Option<Arc<Surrogate>>],
    ) -> Vec<Front> {
        let processes = |own: &Series, source: Option<&Arc<Surrogate>>| -> Vec<Surrogate> {
            let made = condition(codec, &own.rows, &own.y, prior, &self.pending, source);
            made.into_iter().map(|(process, _)| process).collect()
        };
        let objectives = self.objectives.iter().zip(sources).map(|(own, source)| processes(own, source.as_ref()));
        let objectives: Vec<Vec<Surrogate>> = objectives.collect();
        let constraints = self.constraints.iter().map(|own| Some((processes(own, None).pop()?, own.limit)));
        let constraints: Option<Vec<_>> = constraints.collect();
        let front = |which: fn(&Vec<Surrogate>) -> Option<&Surrogate>| {
            let objectives = objectives.iter().map(|own| which(own).cloned()).collect::<Option<_>>()?;
            Some(self.front(objectives, constraints.clone()?, is_plain))
        };
        let is_above = objectives.iter().any(|own| own.len() > 1);
        let above = is_above.then(|| front(|own| own.last())).flatten();
        front(|own| own.first()).into_iter().chain(above).collect()
    }

    fn front(&self, objectives: Vec<Surrogate>, constraints: Vec<(Surrogate, f64)>, is_plain: bool) -> Front {
        let means = |x: &Vec<f64>| objectives.iter().map(|process| process.mean(x)).collect();
        let all: Vec<Vec<f64>> = self.results.iter().cloned().chain(self.pending.iter().map(means)).collect();
        let ranks = ranks(&all);
        let front: Vec<Vec<f64>> =
            all.into_iter().zip(ranks).filter_map(|(y, rank)| (rank == 0).then_some(y)).collect();
        let worst = |own: &Series| own.y.iter().copied().reduce(f64::max).unwrap_or(0.0);
        let worst: Vec<f64> = self.objectives.iter().map(worst).collect();
        Front { boxes: Boxes::new(&front, &reference(&front, &worst)), objectives, constraints, is_plain }
    }
}

/// The scaled losses of objective `k` where they are known.
fn objective(known: &[(Vec<f64>, &Observation)], k: usize) -> Vec<Option<f64>> {
    let losses: Vec<f64> = known.iter().filter_map(|(_, one)| one.losses[k]).collect();
    let mut scaled = standardise(&capped(&losses)).into_iter();
    known.iter().map(|(_, one)| one.losses[k].and_then(|_| scaled.next())).collect()
}

/// What is known of constraint `c`, roughly normal, and the largest that keeps it.
fn constraint(known: &[(Vec<f64>, &Observation)], c: usize) -> (Vec<Option<f64>>, f64) {
    let all: Vec<Option<f64>> = known.iter().map(|(_, one)| one.constraints.get(c).copied()).collect();
    let largest = all.iter().flatten().copied().filter(|x| x.is_finite()).fold(1.0, f64::max);
    // What is just kept goes through the same curve.
    let values: Vec<f64> = [0.0].into_iter().chain(all.iter().flatten().map(|x| x.min(largest))).collect();
    let mut normal = normalise(&values).into_iter();
    let limit = normal.next().unwrap_or(0.0);
    (all.iter().map(|value| value.and_then(|_| normal.next())).collect(), limit)
}

/// The same with an end to how bad a value can be.
fn capped(losses: &[f64]) -> Vec<f64> {
    let mut sorted = losses.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(best), Some(bad)) = (sorted.first(), sorted.get(sorted.len() * 9 / 10)) else { return sorted };
    let most = if bad > best { bad + CAP * (bad - best) } else { f64::INFINITY };
    losses.iter().map(|loss| loss.min(most)).collect()
}

/// The worst outcome that counts, from the front and the worst of all outcomes; see [`FAR`].
fn reference(front: &[Vec<f64>], worst: &[f64]) -> Vec<f64> {
    let of = |(k, worst): (usize, &f64)| {
        let values = front.iter().map(|point| point[k]);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let Some(low) = Some(low).filter(|low| low.is_finite()) else { return *worst };
        let far = worst + BEYOND * (worst - low);
        // One point says nothing of how wide a front is.
        let near = if front.len() > 1 { high + BEYOND * (high - low) } else { *worst };
        let reference = near + FAR * (far - near).max(0.0);
        // Points on the edge would count as if they were not there.
        if reference > high { reference } else { high + BEYOND }
    };
    worst.iter().enumerate().map(of).collect()
}

impl Landscape for Front {
    /// The mean of the objectives'.
    fn weight(&self, parameter: usize) -> f64 {
        let sum: f64 = self.objectives.iter().map(|process| process.weight(parameter)).sum();
        sum / self.objectives.len() as f64
    }

    /// The least of the objectives'.
    fn noise(&self) -> f64 {
        self.objectives.iter().map(Landscape::noise).fold(f64::INFINITY, f64::min)
    }

    fn scores(&self, rows: &[Vec<f64>]) -> Vec<f64> {
        let outcomes: Vec<Vec<(f64, f64)>> = self.objectives.iter().map(|process| process.predict(rows)).collect();
        let at = |row: usize| outcomes.iter().map(|own| own[row]).collect::<Vec<_>>();
        let mut scores: Vec<f64> = (0..rows.len()).map(|row| self.boxes.log_improvement(&at(row))).collect();
        for (process, limit) in &self.constraints {
            for (score, (mean, deviation)) in scores.iter_mut().zip(process.predict(rows)) {
                *score += log_cumulative((limit - mean) / deviation).0;
            }
        }
        if self.is_plain {
            scores.iter_mut().for_each(|score| *score = score.exp());
        }
        scores
    }

    fn score_with_slopes(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let looks: Vec<_> = self.objectives.iter().map(|process| process.look(x)).collect();
        let outcomes: Vec<(f64, f64)> = looks.iter().map(|look| (look.mean, look.deviation)).collect();
        let (mut score, by_outcomes) = self.boxes.log_improvement_with_slopes(&outcomes);
        let mut slopes = vec![0.0; x.len()];
        let mut add = |own: Vec<f64>| slopes.iter_mut().zip(own).for_each(|(slope, own)| *slope += own);
        for ((process, look), (by_mean, by_deviation)) in self.objectives.iter().zip(&looks).zip(by_outcomes) {
            add(process.slopes(x, look, by_mean, by_deviation));
        }
        for (process, limit) in &self.constraints {
            let look = process.look(x);
            let z = (limit - look.mean) / look.deviation;
            let (log, slope) = log_cumulative(z);
            score += log;
            add(process.slopes(x, &look, -slope / look.deviation, -slope * z / look.deviation));
        }
        if self.is_plain {
            score = score.exp();
            slopes.iter_mut().for_each(|slope| *slope *= score);
        }
        (score, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::space::{Expand, Params, Space};

    /// Two objectives and a constraint over two numbers and a choice.
    fn example(n: usize, prior: Prior, is_plain: bool) -> Front {
        let text = "a = { float = [0.0, 1.0] }\nb = { float = [0.0, 1.0] }\nc = { choice = [\"x\", \"y\"] }";
        let space = Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap();
        let codec = Codec::new(&space);
        let mut stream = Stream::new(8, 0, Purpose::Propose, 0);
        let params: Vec<Params> = (0..n).map(|_| space.sample(&mut stream)).collect();
        let rows: Vec<Vec<f64>> = params.iter().map(|params| codec.embed(&codec.point(params).unwrap())).collect();
        let observation = |(params, x): (_, &Vec<f64>)| Observation {
            params,
            losses: vec![Some(x[0] + (4.0 * x[1]).sin() * 0.3 + 0.2 * x[2]), Some((1.0 - x[0]).powi(2) + x[1] * x[1])],
            constraints: vec![0.2 - x[1]],
            is_result: x[1] >= 0.2,
        };
        let observations: Vec<Observation> = params.iter().zip(&rows).map(observation).collect();
        let known: Vec<(Vec<f64>, &Observation)> = rows.iter().cloned().zip(&observations).collect();
        let pending = vec![vec![0.31, 0.52, 1.0]];
        Subject::new(&known, 2, pending).fronts(&codec, prior, is_plain, &[None, None]).pop().unwrap()
    }

    #[test]
    fn slopes_are_differences() {
        for (prior, is_plain) in [(Prior::Scaled, false), (Prior::Broad, true)] {
            let front = example(18, prior, is_plain);
            for x in [[0.3, 0.6, 0.0], [0.9, 0.1, 1.0], [0.05, 0.25, 1.0]] {
                let (score, slopes) = front.score_with_slopes(&x);
                // Both sum in their own order, and a small variance has few digits left of it.
                assert!((score - front.score(&x)).abs() < 1e-9 * (1.0 + score.abs()));
                assert_eq!(slopes[2], 0.0);
                // What is nearly certain has a variance that has lost digits, which shows along the steepest way.
                let steepest = slopes.iter().fold(0.0, |most: f64, slope| most.max(slope.abs()));
                for c in 0..2 {
                    let at = |e: f64| {
                        let mut moved = x;
                        moved[c] += e;
                        front.score(&moved)
                    };
                    let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
                    let close = 1e-4 * (steepest + if is_plain { score } else { 1.0 });
                    assert!((slopes[c] - difference).abs() < close, "{slopes:?} {difference}");
                }
            }
        }
    }

    /// Where the constraint is broken for sure little is to be had, and next to the pending trial less than elsewhere.
    #[test]
    fn constraints_and_trials_under_way_keep_away() {
        let front = example(40, Prior::Scaled, false);
        assert!(front.score(&[0.2, 0.02, 0.0]) < front.score(&[0.2, 0.3, 0.0]) - 1.0);
        assert!(front.score(&[0.31, 0.52, 1.0]) < front.score(&[0.31, 0.42, 1.0]));
    }

    #[test]
    fn the_reference_lies_between_the_front_and_the_worst() {
        let found = reference(&[vec![0.0, 1.0], vec![1.0, 0.0]], &[3.0, 1.0]);
        // 1.1 and a third of the way to 3.3; the second has seen nothing worse.
        assert!((found[0] - (1.1 + 0.3 * 2.2)).abs() < 1e-12 && (found[1] - 1.1).abs() < 1e-12, "{found:?}");
        let one = reference(&[vec![1.0, 1.0]], &[2.0, 1.0]);
        assert!((one[0] - 2.03).abs() < 1e-12 && (one[1] - 1.1).abs() < 1e-12, "{one:?}");
        assert_eq!(reference(&[], &[2.0, 1.0]), [2.0, 1.0]);
    }

    #[test]
    fn one_that_diverged_does_not_make_the_others_the_same() {
        let mut losses: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(capped(&losses), losses);
        losses.push(1e9);
        assert_eq!(capped(&losses)[20], 18.0 + 36.0);
        assert_eq!(capped(&[2.0; 3]), [2.0; 3], "no scale is known");
        assert!(capped(&[]).is_empty());
    }
}
