//! Bootstrap intervals of every metric (Efron 1979), without copies of rows and without sorting them again.
//!
//! A resample draws as many rows as there are, with replacement; all that matters is how often each was drawn. What a
//! metric needs of a row (its class, its loss, its place on a ROC curve) is found once, and a resample is a sum over
//! rows, each as often as it was drawn: O(rows) a metric and class, where the area under a resampled curve took a sort.
//! The rows drawn are a function of the seed and the number of the resample, so nothing depends on the number of
//! threads.
//!
//! The formulas of `metrics.rs` stand here a second time, weighted; a test holds each against the metric of rows that
//! were copied as often as they were drawn.

use super::metrics::{Metric, argmax, class_loss, label_loss, mean};
use crate::data::Targets;
use crate::random::{Purpose, Stream};
use indexmap::IndexMap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Values that all resamples together may look at, so that a test of many rows ends in seconds.
const RESAMPLED: usize = 40_000_000;

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The 2.5 % quantile.
    pub low: f64,
    /// The 97.5 % quantile.
    pub high: f64,
}

/// 95 % percentile intervals of every metric but the loss, by the bootstrap over rows (Efron 1979).
///
/// Up to 1,000 resamples, fewer for many rows; none below 100.
pub fn intervals(outputs: &[f32], targets: &Targets, seed: u64) -> IndexMap<String, Interval> {
    let rows = outputs.len().checked_div(targets.outputs()).unwrap_or(0);
    if rows == 0 {
        return IndexMap::new();
    }
    let metrics = metrics_of(targets);
    let scores = resampled(outputs, targets, seed, resamples(outputs.len()));
    let mut intervals = IndexMap::new();
    for (j, metric) in metrics.iter().enumerate() {
        let mut values: Vec<f64> = scores.iter().map(|scores| scores[j]).filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let quantile = |q: f64| values[(q * (values.len() - 1) as f64).round() as usize];
        if !values.is_empty() {
            intervals.insert(metric.name().to_owned(), Interval { low: quantile(0.025), high: quantile(0.975) });
        }
    }
    intervals
}

/// How often that many outputs are resampled.
fn resamples(outputs: usize) -> u64 {
    (RESAMPLED / outputs.max(1)).clamp(100, 1000) as u64
}

/// The metrics of each of so many resamples.
fn resampled(outputs: &[f32], targets: &Targets, seed: u64, resamples: u64) -> Vec<Vec<f64>> {
    let (metrics, rows) = (metrics_of(targets), outputs.len() / targets.outputs().max(1));
    let statistics = Statistics::of(outputs, targets);
    let score = |i: u64| {
        let times = drawn(rows, seed, i);
        metrics.iter().map(|metric| statistics.score(*metric, &times)).collect()
    };
    (0..resamples).into_par_iter().map(score).collect()
}

/// Does a part of [`intervals`], for who wants to know how long that takes: some of the resamples that `rows` rows
/// would have. Returns how many times as many there would be.
pub fn rehearse(outputs: &[f32], targets: &Targets, seed: u64, rows: usize) -> f64 {
    let all = resamples(rows * targets.outputs());
    let some = all.div_ceil(8);
    drop(resampled(outputs, targets, seed, some));
    all as f64 / some as f64
}

/// The metrics that have an interval.
fn metrics_of(targets: &Targets) -> Vec<Metric> {
    let all = Metric::names().filter_map(|name| Metric::by_name(name).ok());
    all.filter(|metric| *metric != Metric::Loss && metric.applies_to(targets)).collect()
}

/// How often each of so many rows is in resample `i`.
fn drawn(rows: usize, seed: u64, i: u64) -> Vec<u32> {
    let mut stream = Stream::new(seed, 0, Purpose::Bootstrap, i);
    let mut times = vec![0; rows];
    (0..rows).for_each(|_| times[stream.below(rows as u64) as usize] += 1);
    times
}

/// What metrics need of each row.
enum Statistics<'a> {
    Nothing,
    Classes {
        classes: usize,
        labels: &'a [u32],
        guesses: Vec<u32>,
        losses: Vec<f64>,
        /// One a class; of two classes that of the second alone.
        curves: Vec<Curve>,
    },
    Labels {
        width: usize,
        outputs: &'a [f32],
        truth: &'a [f32],
        /// 1 where all labels of a row are right.
        right: Vec<u32>,
        /// Of all labels of a row.
        losses: Vec<f64>,
        curves: Vec<Curve>,
    },
    Numbers(Vec<Column>),
}

impl<'a> Statistics<'a> {
    fn of(outputs: &'a [f32], targets: &'a Targets) -> Self {
        match targets {
            Targets::None => Statistics::Nothing,
            Targets::Classes { labels, classes } => {
                let rows = || outputs.chunks_exact(*classes).zip(labels);
                let curve =
                    |c: usize| Curve::of(labels.len(), |row| (outputs[row * classes + c], labels[row] as usize == c));
                let first = usize::from(*classes == 2);
                Statistics::Classes {
                    classes: *classes,
                    labels,
                    guesses: rows().map(|(row, _)| argmax(row) as u32).collect(),
                    losses: rows().map(|(row, label)| class_loss(row[*label as usize])).collect(),
                    curves: (first..*classes).into_par_iter().map(curve).collect(),
                }
            }
            Targets::Binary { values, width } => {
                let rows = || outputs.chunks_exact(*width).zip(values.chunks_exact(*width));
                let is_right = |(p, t): (&f32, &f32)| (*p > 0.5) == (*t > 0.5);
                let curve = |j: usize| {
                    let of = |row: usize| (outputs[row * width + j], values[row * width + j] > 0.5);
                    Curve::of(values.len() / width, of)
                };
                Statistics::Labels {
                    width: *width,
                    outputs,
                    truth: values,
                    right: rows().map(|(p, t)| u32::from(p.iter().zip(t).all(is_right))).collect(),
                    losses: rows().map(|(p, t)| p.iter().zip(t).map(|(p, t)| label_loss(*p, *t)).sum()).collect(),
                    curves: (0..*width).into_par_iter().map(curve).collect(),
                }
            }
            Targets::Real { values, width, deviation, .. } => {
                let column = |j: usize| Column::of(outputs, values, [j, *width], deviation[j]);
                Statistics::Numbers((0..*width).into_par_iter().map(column).collect())
            }
        }
    }

    /// The metric of the rows, each so many times; NaN where it is undefined.
    fn score(&self, metric: Metric, times: &[u32]) -> f64 {
        match self {
            Statistics::Nothing => f64::NAN,
            Statistics::Classes { classes, labels, guesses, losses, curves } => match metric {
                Metric::LogLoss => weighted(times, losses) / total(times),
                Metric::Auc => areas(curves, times),
                _ => of_counts(metric, &counts(*classes, labels, guesses, times), total(times)),
            },
            Statistics::Labels { width, outputs, truth, right, losses, curves } => match metric {
                Metric::Accuracy => {
                    let right: u64 = times.iter().zip(right).map(|(n, right)| u64::from(n * right)).sum();
                    right as f64 / total(times)
                }
                Metric::LogLoss => weighted(times, losses) / (total(times) * *width as f64),
                Metric::MacroF1 => macro_f1(*width, outputs, truth, times),
                Metric::Auc => areas(curves, times),
                _ => f64::NAN,
            },
            Statistics::Numbers(columns) => {
                columns.iter().map(|column| column.score(metric, times)).sum::<f64>() / columns.len() as f64
            }
        }
    }
}

fn total(times: &[u32]) -> f64 {
    times.iter().map(|&n| u64::from(n)).sum::<u64>() as f64
}

fn weighted(times: &[u32], values: &[f64]) -> f64 {
    // What is not there is not multiplied: it may be no number.
    times.iter().zip(values).map(|(&n, value)| if n == 0 { 0.0 } else { f64::from(n) * value }).sum()
}

/// Of each class: rows that were found, rows that there are, rows that were taken for it.
fn counts(classes: usize, labels: &[u32], guesses: &[u32], times: &[u32]) -> Vec<[u64; 3]> {
    let mut counts = vec![[0; 3]; classes];
    for ((&label, &guess), &n) in labels.iter().zip(guesses).zip(times) {
        let n = u64::from(n);
        counts[label as usize][0] += if label == guess { n } else { 0 };
        counts[label as usize][1] += n;
        counts[guess as usize][2] += n;
    }
    counts
}

fn of_counts(metric: Metric, counts: &[[u64; 3]], rows: f64) -> f64 {
    let share = |part: u64, of: u64| part as f64 / of as f64;
    match metric {
        Metric::Accuracy => counts.iter().map(|count| count[0]).sum::<u64>() as f64 / rows,
        Metric::BalancedAccuracy => {
            mean(counts.iter().filter(|[_, there, _]| *there > 0).map(|[found, there, _]| share(*found, *there)))
        }
        Metric::MacroF1 => {
            let f1 = |[found, there, taken]: &[u64; 3]| share(2 * found, there + taken);
            mean(counts.iter().filter(|[_, there, taken]| there + taken > 0).map(f1))
        }
        _ => f64::NAN,
    }
}

fn macro_f1(width: usize, outputs: &[f32], truth: &[f32], times: &[u32]) -> f64 {
    let mut counts = vec![[0_u64; 2]; width];
    for ((p, t), &n) in outputs.chunks_exact(width).zip(truth.chunks_exact(width)).zip(times) {
        for ((count, p), t) in counts.iter_mut().zip(p).zip(t) {
            let (p, t) = (*p > 0.5, *t > 0.5);
            count[0] += u64::from(n) * u64::from(p && t);
            count[1] += u64::from(n) * (u64::from(p) + u64::from(t));
        }
    }
    mean(counts.iter().map(|[hits, all]| if *all == 0 { 0.0 } else { (2 * hits) as f64 / *all as f64 }))
}

/// A numeric target, in standard deviations.
struct Column {
    truth: Vec<f64>,
    /// Of the predictions.
    squared_errors: Vec<f64>,
    absolute_errors: Vec<f64>,
    /// The standard deviation.
    unit: f64,
}

impl Column {
    /// Column `j` of `width`.
    fn of(outputs: &[f32], truth: &[f32], [j, width]: [usize; 2], unit: f64) -> Self {
        let column = |values: &[f32]| values.iter().skip(j).step_by(width).map(|&x| f64::from(x)).collect();
        let (predicted, truth): (Vec<f64>, Vec<f64>) = (column(outputs), column(truth));
        let errors = || predicted.iter().zip(&truth).map(|(p, t)| p - t);
        let (squared_errors, absolute_errors) = (errors().map(|e| e * e).collect(), errors().map(f64::abs).collect());
        Column { truth, squared_errors, absolute_errors, unit }
    }

    fn score(&self, metric: Metric, times: &[u32]) -> f64 {
        let n = total(times);
        match metric {
            Metric::Rmse => (weighted(times, &self.squared_errors) / n).sqrt() * self.unit,
            Metric::Mae => weighted(times, &self.absolute_errors) / n * self.unit,
            Metric::R2 => {
                let mean = weighted(times, &self.truth) / n;
                let deviations = self.truth.iter().map(|t| (t - mean).powi(2));
                let spread: f64 = times.iter().zip(deviations).map(|(&n, d)| f64::from(n) * d).sum();
                if spread == 0.0 { f64::NAN } else { 1.0 - weighted(times, &self.squared_errors) / spread }
            }
            _ => f64::NAN,
        }
    }
}

/// Rows in the order of a score, to see how far those that are true stand above the others.
struct Curve {
    /// Row, whether it is true, whether its score is larger than that of the one before.
    order: Vec<(u32, bool, bool)>,
    /// Rows whose score is no number.
    undefined: Vec<u32>,
}

impl Curve {
    fn of(rows: usize, row: impl Fn(usize) -> (f32, bool)) -> Self {
        let (undefined, mut order): (Vec<u32>, Vec<u32>) = (0..rows as u32).partition(|&i| row(i as usize).0.is_nan());
        let score = |i: u32| row(i as usize).0;
        order.sort_unstable_by(|&a, &b| score(a).total_cmp(&score(b)));
        let mut before = f32::NAN;
        let place = |i: u32| {
            let (score, truth) = row(i as usize);
            (i, truth, std::mem::replace(&mut before, score) != score)
        };
        Curve { order: order.into_iter().map(place).collect(), undefined }
    }

    /// The Mann–Whitney statistic with ties at half; NaN with one class only or a score that is no number.
    fn area(&self, times: &[u32]) -> f64 {
        if self.undefined.iter().any(|&row| times[row as usize] > 0) {
            return f64::NAN;
        }
        // Twice the area, in pairs of rows, of which there are less than 2³² (their numbers are stored so); `true_here`
        // and `false_here` have the score of the last one.
        let (mut twice, mut positives, mut below) = (0_u64, 0_u64, 0_u64);
        let (mut true_here, mut false_here) = (0_u64, 0_u64);
        for &(row, truth, above) in &self.order {
            if above {
                twice += true_here * (2 * below + false_here);
                (positives, below) = (positives + true_here, below + false_here);
                (true_here, false_here) = (0, 0);
            }
            let n = u64::from(times[row as usize]);
            true_here += if truth { n } else { 0 };
            false_here += if truth { 0 } else { n };
        }
        twice += true_here * (2 * below + false_here);
        (positives, below) = (positives + true_here, below + false_here);
        if positives == 0 || below == 0 { f64::NAN } else { twice as f64 / 2.0 / (positives as f64 * below as f64) }
    }
}

/// The mean over the curves that have an area.
fn areas(curves: &[Curve], times: &[u32]) -> f64 {
    mean(curves.iter().map(|curve| curve.area(times)).filter(|area| !area.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_of_accuracy_is_that_of_the_binomial() {
        // 80 of 100 right: the normal approximation gives 0.8 ± 0.078.
        let outputs: Vec<f32> = (0..100).flat_map(|i| if i % 5 == 0 { [0.9, 0.1] } else { [0.2, 0.8] }).collect();
        let targets = Targets::Classes { labels: vec![1; 100], classes: 2 };
        let Interval { low, high } = intervals(&outputs, &targets, 1)["accuracy"];
        assert!((0.70..0.74).contains(&low) && (0.86..0.90).contains(&high), "{low} … {high}");
    }

    /// The metrics of resample `i`, of rows that are copied as often as they were drawn: the oracle.
    fn copied(outputs: &[f32], targets: &Targets, seed: u64, i: u64) -> Vec<f64> {
        let width = targets.outputs();
        let times = drawn(outputs.len() / width, seed, i);
        let rows: Vec<usize> = (0..times.len()).flat_map(|row| vec![row; times[row] as usize]).collect();
        assert_eq!(rows.len(), times.len(), "as many as there are");
        let take = |values: &[f32]| -> Vec<f32> {
            rows.iter().flat_map(|&row| values[row * width..(row + 1) * width].iter().copied()).collect()
        };
        let targets = match targets.clone() {
            Targets::None => Targets::None,
            Targets::Classes { labels, classes } => {
                Targets::Classes { labels: rows.iter().map(|&row| labels[row]).collect(), classes }
            }
            Targets::Binary { values, width } => Targets::Binary { values: take(&values), width },
            Targets::Real { values, width, mean, deviation } => {
                Targets::Real { values: take(&values), width, mean, deviation }
            }
        };
        let outputs = take(outputs);
        metrics_of(&targets).iter().map(|metric| metric.score(&outputs, &targets, 0.0)).collect()
    }

    /// Scores with many ties, a third of them of the truth.
    fn outputs(rows: usize, width: usize, truth: impl Fn(usize, usize) -> bool) -> Vec<f32> {
        let mut stream = Stream::new(7, rows as u64, Purpose::Bootstrap, width as u64);
        let mut score =
            |i: usize| (stream.below(20) as f32 + 7.0 * f32::from(u8::from(truth(i / width, i % width)))) / 27.0;
        (0..rows * width).map(&mut score).collect()
    }

    #[test]
    fn a_sum_over_rows_is_the_metric_of_their_copies() {
        for rows in [1, 2, 3, 17, 400] {
            let mut stream = Stream::new(1, rows as u64, Purpose::Bootstrap, 0);
            for width in [1, 2, 5] {
                let labels: Vec<u32> = (0..rows).map(|_| stream.below(width as u64) as u32).collect();
                let bits: Vec<f32> = (0..rows * width).map(|_| stream.below(2) as f32).collect();
                let numbers: Vec<f32> = (0..rows * width).map(|_| stream.normal() as f32).collect();
                let (mean, deviation) = (vec![3.0; width], (1..=width).map(|j| j as f64).collect());
                let all = [
                    (outputs(rows, width, |i, c| labels[i] as usize == c), Targets::Classes { labels, classes: width }),
                    (outputs(rows, width, |i, j| bits[i * width + j] > 0.5), Targets::Binary { values: bits, width }),
                    (outputs(rows, width, |_, _| false), Targets::Real { values: numbers, width, mean, deviation }),
                ];
                for (mut outputs, targets) in all {
                    for broken in [false, true] {
                        if broken {
                            outputs[rows / 2 * width] = f32::NAN;
                        }
                        for i in 0..5 {
                            let statistics = Statistics::of(&outputs, &targets);
                            let times = drawn(rows, 3, i);
                            for (metric, wanted) in metrics_of(&targets).iter().zip(copied(&outputs, &targets, 3, i)) {
                                let found = statistics.score(*metric, &times);
                                let close = (found - wanted).abs() <= 1e-12 * wanted.abs().max(1.0);
                                let what = format!("{metric}, {rows} × {width}: {found} for {wanted}");
                                assert!(close || found.is_nan() && wanted.is_nan(), "{what}");
                            }
                        }
                    }
                }
            }
        }
    }
}
