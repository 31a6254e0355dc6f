//! What a comparison says: standings, curves, and the tests of whether differences are chance.
//!
//! Everything is over the seeds that every sampler has finished, so that all numbers are paired. Areas are means of the
//! best value so far: over the trials, and over time up to the end of the slowest run (a run that has ended keeps its
//! value). Both begin with the first value of any run: a sampler that is quick to its first results has earned them. A
//! run that has none yet counts with the worst first value of its seed, so that nobody gains by being late.

use super::{Problem, Run};
use crate::history::Direction;
use crate::statistics::{Friedman, deviation, friedman, holm, mean, quantile, ranks, wilcoxon};
use crate::{Error, Result};
use serde::Serialize;

/// Points of a curve over time.
const TIMES: usize = 60;

/// A comparison; JSON as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The problem.
    pub problem: String,
    /// `minimize` or `maximize`.
    pub direction: &'static str,
    /// The best value there is, where it is known.
    pub optimum: Option<f64>,
    /// The seeds that every sampler has finished.
    pub seeds: Vec<u64>,
    /// Trials of the longest run.
    pub trials: usize,
    /// One a sampler, the best mean rank first.
    pub standings: Vec<Standing>,
    /// Whether any sampler differs; none for fewer than three samplers or two seeds.
    pub friedman: Option<Friedman>,
    /// Every pair of samplers.
    pub duels: Vec<Duel>,
    /// The best so far against trials, from 1.
    pub by_trials: Vec<Curve>,
    /// The best so far against seconds.
    pub by_seconds: Vec<Curve>,
}

/// Mean and standard deviation over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation (n − 1).
    pub sd: f64,
}

/// How a sampler did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The sampler.
    pub sampler: String,
    /// The best value at the end.
    pub best: Spread,
    /// Its median.
    pub median: f64,
    /// Distance to the optimum, as a share of the distance from the median of the space, where both are known.
    pub regret: Option<Spread>,
    /// Mean rank of the best values within a seed, 1 the best.
    pub mean_rank: f64,
    /// Mean best value so far over the trials.
    pub area_trials: Spread,
    /// Mean best value so far over time.
    pub area_seconds: Spread,
    /// Seconds of a run.
    pub seconds: Spread,
}

/// Two samplers, seed by seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duel {
    /// The samplers.
    pub samplers: [String; 2],
    /// Seeds for which the first was better, was worse, and neither.
    pub wins: [usize; 3],
    /// Median of first − second, in the problem's values.
    pub difference: f64,
    /// Wilcoxon's signed-rank test, two-sided.
    pub p: f64,
    /// The same adjusted for all pairs (Holm).
    pub p_holm: f64,
    /// Whether `p` is exact, or the normal approximation.
    pub exact: bool,
}

/// The best value so far of one sampler over the seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The sampler.
    pub sampler: String,
    /// Trials or seconds.
    pub x: Vec<f64>,
    /// Mean over the seeds at each `x`.
    pub mean: Vec<f64>,
    /// The 10 % quantile; small values.
    pub q10: Vec<f64>,
    /// The lower quartile.
    pub q25: Vec<f64>,
    /// The median.
    pub median: Vec<f64>,
    /// The upper quartile.
    pub q75: Vec<f64>,
    /// The 90 % quantile.
    pub q90: Vec<f64>,
}

/// A run as steps: the best so far, from the first complete trial on.
struct Steps {
    /// Trials that had ended when the first value was there.
    first: usize,
    values: Vec<f64>,
    seconds: Vec<f64>,
    /// What it counts with before its first value.
    before: f64,
}

impl Steps {
    fn of(run: &Run) -> Option<Self> {
        let first = run.best.iter().position(Option::is_some)?;
        let values: Vec<f64> = run.best[first..].iter().flatten().copied().collect();
        let before = values.first().copied()?;
        Some(Steps { first: first + 1, values, seconds: run.seconds[first..].to_vec(), before })
    }

    fn last(&self) -> f64 {
        self.values.last().copied().unwrap_or(f64::NAN)
    }

    fn end(&self) -> f64 {
        self.seconds.last().copied().unwrap_or(0.0)
    }

    /// After so many trials; a run that has ended keeps its value.
    fn at_trial(&self, trial: usize) -> f64 {
        match trial.checked_sub(self.first) {
            Some(place) => self.values[place.min(self.values.len() - 1)],
            None => self.before,
        }
    }

    fn at_second(&self, second: f64) -> f64 {
        match self.seconds.partition_point(|end| *end <= second).checked_sub(1) {
            Some(place) => self.values[place],
            None => self.before,
        }
    }

    /// Mean from one time to another.
    fn over_time(&self, from: f64, to: f64) -> f64 {
        let mut sum = self.before * (self.seconds[0].clamp(from, to) - from);
        for (i, value) in self.values.iter().enumerate() {
            let start = self.seconds[i].clamp(from, to);
            let end = self.seconds.get(i + 1).map_or(to, |end| end.clamp(from, to));
            sum += value * (end - start);
        }
        if to > from { sum / (to - from) } else { self.at_second(from) }
    }
}

impl Report {
    /// From the runs of [`super::run`].
    ///
    /// # Errors
    /// [`Error::Input`] where no seed was finished by every sampler, or no trial was complete in a run.
    pub fn new(problem: &dyn Problem, runs: &[Run]) -> Result<Self> {
        let direction = problem.direction();
        let mut samplers: Vec<&str> = Vec::new();
        for run in runs {
            if !samplers.contains(&run.sampler.as_str()) {
                samplers.push(&run.sampler);
            }
        }
        let of =
            |sampler: &str, seed: u64| runs.iter().find(|run| run.sampler == sampler && run.seed == seed && run.ended);
        let mut seeds: Vec<u64> = runs.iter().map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds.retain(|seed| samplers.iter().all(|sampler| of(sampler, *seed).is_some()));
        if seeds.is_empty() {
            return Err(Error::input(
                "compare: no seed was finished by every sampler; there is nothing to compare yet",
            ));
        }
        let mut table: Vec<Vec<Steps>> = Vec::new();
        for sampler in &samplers {
            let steps = seeds.iter().map(|seed| of(sampler, *seed).and_then(Steps::of));
            table.push(steps.collect::<Option<Vec<Steps>>>().ok_or_else(|| {
                Error::input(format!(
                    "compare: in a run of `{sampler}` no trial was complete; there is nothing to compare"
                ))
            })?);
        }
        for seed in 0..seeds.len() {
            let first = table.iter().map(|runs| runs[seed].before);
            let worst = first.reduce(|a, b| if direction.better(a, b) { b } else { a }).unwrap_or(f64::NAN);
            table.iter_mut().for_each(|runs| runs[seed].before = worst);
        }
        let finals: Vec<Vec<f64>> = table.iter().map(|runs| runs.iter().map(Steps::last).collect()).collect();
        let trials = table.iter().flatten().map(|steps| steps.first + steps.values.len() - 1).max().unwrap_or(0);
        let mut standings = standings(problem, &samplers, &table, &finals, trials);
        standings.sort_by(|a, b| a.mean_rank.total_cmp(&b.mean_rank));
        let losses: Vec<Vec<f64>> =
            finals.iter().map(|values| values.iter().map(|value| direction.loss(*value)).collect()).collect();
        Ok(Report {
            trials,
            friedman: friedman(&losses),
            duels: duels(&samplers, &finals, direction),
            by_trials: by_trials(&samplers, &table, trials),
            by_seconds: by_seconds(&samplers, &table),
            standings,
            seeds,
            ..Report::blank(problem)
        })
    }

    /// That of a comparison in which no seed is finished yet: the problem, and nothing of any sampler.
    pub fn blank(problem: &dyn Problem) -> Self {
        Report {
            problem: problem.name().to_owned(),
            direction: problem.direction().name(),
            optimum: problem.landmarks().map(|(optimum, _)| optimum),
            seeds: Vec::new(),
            trials: 0,
            standings: Vec::new(),
            friedman: None,
            duels: Vec::new(),
            by_trials: Vec::new(),
            by_seconds: Vec::new(),
        }
    }

    /// The curves as CSV: `curve` (`trials` or `seconds`), `sampler`, `x`, `mean`, `q10`, `q25`, `median`, `q75`,
    /// `q90`.
    pub fn csv(&self) -> String {
        let mut text = "curve,sampler,x,mean,q10,q25,median,q75,q90\n".to_owned();
        for (name, curves) in [("trials", &self.by_trials), ("seconds", &self.by_seconds)] {
            for curve in curves {
                let Curve { sampler, x, mean, q10, q25, median, q75, q90 } = curve;
                for i in 0..x.len() {
                    let numbers = [x, mean, q10, q25, median, q75, q90].map(|list| list[i].to_string());
                    text.push_str(&format!("{name},{sampler},{}\n", numbers.join(",")));
                }
            }
        }
        text
    }
}

fn spread(values: &[f64]) -> Spread {
    Spread { mean: mean(values), sd: deviation(values) }
}

/// The first trial after which some run has a value.
fn first_trial(table: &[Vec<Steps>]) -> usize {
    table.iter().flatten().map(|steps| steps.first).min().unwrap_or(1)
}

/// From when some run has a value to the end of the last.
fn window(table: &[Vec<Steps>]) -> (f64, f64) {
    let begins = table.iter().flatten().map(|steps| steps.seconds[0]);
    let begin = begins.reduce(f64::min).unwrap_or(0.0);
    (begin, table.iter().flatten().map(Steps::end).fold(0.0, f64::max))
}

fn standings(
    problem: &dyn Problem,
    samplers: &[&str],
    table: &[Vec<Steps>],
    finals: &[Vec<f64>],
    trials: usize,
) -> Vec<Standing> {
    let direction = problem.direction();
    let (first, (from, to)) = (first_trial(table), window(table));
    let seeds = finals[0].len();
    let mut rank_sums = vec![0.0; samplers.len()];
    for seed in 0..seeds {
        let row: Vec<f64> = finals.iter().map(|values| direction.loss(values[seed])).collect();
        rank_sums.iter_mut().zip(ranks(&row)).for_each(|(sum, rank)| *sum += rank);
    }
    let standing = |i: usize| {
        let runs = &table[i];
        let area = |steps: &Steps| mean(&(first..=trials.max(first)).map(|k| steps.at_trial(k)).collect::<Vec<_>>());
        let regret = |(optimum, median): (f64, f64)| {
            let regrets = finals[i].iter().map(|value| (value - optimum) / (median - optimum));
            (optimum != median).then(|| spread(&regrets.collect::<Vec<_>>()))
        };
        Standing {
            sampler: samplers[i].to_owned(),
            best: spread(&finals[i]),
            median: quantile(&finals[i], 0.5),
            regret: problem.landmarks().and_then(regret),
            mean_rank: rank_sums[i] / seeds as f64,
            area_trials: spread(&runs.iter().map(area).collect::<Vec<_>>()),
            area_seconds: spread(&runs.iter().map(|steps| steps.over_time(from, to)).collect::<Vec<_>>()),
            seconds: spread(&runs.iter().map(Steps::end).collect::<Vec<_>>()),
        }
    };
    (0..samplers.len()).map(standing).collect()
}

fn duels(samplers: &[&str], finals: &[Vec<f64>], direction: Direction) -> Vec<Duel> {
    let pairs: Vec<(usize, usize)> =
        (0..samplers.len()).flat_map(|i| (i + 1..samplers.len()).map(move |j| (i, j))).collect();
    let tests: Vec<_> = pairs.iter().map(|&(i, j)| wilcoxon(&finals[i], &finals[j])).collect();
    let adjusted = holm(&tests.iter().map(|test| test.p).collect::<Vec<_>>());
    let duel = |((&(i, j), test), p_holm): ((&(usize, usize), &crate::statistics::Wilcoxon), f64)| {
        let both = || finals[i].iter().zip(&finals[j]);
        let wins = both().filter(|(a, b)| direction.better(**a, **b)).count();
        let losses = both().filter(|(a, b)| direction.better(**b, **a)).count();
        Duel {
            samplers: [samplers[i].to_owned(), samplers[j].to_owned()],
            wins: [wins, losses, finals[i].len() - wins - losses],
            difference: quantile(&both().map(|(a, b)| a - b).collect::<Vec<_>>(), 0.5),
            p: test.p,
            p_holm,
            exact: test.exact,
        }
    };
    pairs.iter().zip(&tests).zip(adjusted).map(duel).collect()
}

fn curves(samplers: &[&str], table: &[Vec<Steps>], x: &[f64], at: impl Fn(&Steps, f64) -> f64) -> Vec<Curve> {
    let curve = |(sampler, runs): (&&str, &Vec<Steps>)| {
        let columns: Vec<Vec<f64>> = x.iter().map(|&x| runs.iter().map(|steps| at(steps, x)).collect()).collect();
        let share = |share: f64| columns.iter().map(|values| quantile(values, share)).collect();
        Curve {
            sampler: (*sampler).to_owned(),
            x: x.to_vec(),
            mean: columns.iter().map(|values| mean(values)).collect(),
            q10: share(0.1),
            q25: share(0.25),
            median: share(0.5),
            q75: share(0.75),
            q90: share(0.9),
        }
    };
    samplers.iter().zip(table).map(curve).collect()
}

fn by_trials(samplers: &[&str], table: &[Vec<Steps>], trials: usize) -> Vec<Curve> {
    let x: Vec<f64> = (first_trial(table)..=trials).map(|trial| trial as f64).collect();
    curves(samplers, table, &x, |steps, x| steps.at_trial(x as usize))
}

/// At times whose ratios are equal: samplers differ by orders of magnitude.
fn by_seconds(samplers: &[&str], table: &[Vec<Steps>]) -> Vec<Curve> {
    let (from, to) = window(table);
    let from = from.max(to * 1e-6);
    let x: Vec<f64> = match to > from && from > 0.0 {
        true => (0..TIMES).map(|i| from * (to / from).powf(i as f64 / (TIMES - 1) as f64)).collect(),
        false => vec![to],
    };
    curves(samplers, table, &x, Steps::at_second)
}
