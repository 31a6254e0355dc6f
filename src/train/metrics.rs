//! Metrics of predictions against targets, by scikit-learn's definitions, in f64.
//!
//! Outputs are what a backend's `evaluate` writes: class probabilities, label probabilities, or standardised
//! values, row-major. Regression metrics are in the target's own units; several targets are averaged as
//! scikit-learn's `uniform_average`.

use crate::backend::{Detail, Tally};
use crate::data::Targets;
use crate::{Error, Result};
use indexmap::IndexMap;
use std::fmt;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The training criterion itself, without L1 and L2.
    Loss,
    /// Share of rows with the right class (all labels right, for several).
    Accuracy,
    /// Mean over the classes of the share of their rows found.
    BalancedAccuracy,
    /// Mean over classes (or labels) of F1.
    MacroF1,
    /// Mean negative log probability of the truth, probabilities clipped at f32's epsilon.
    LogLoss,
    /// Area under the ROC curve; one class against the rest, averaged.
    Auc,
    /// Root mean squared error.
    Rmse,
    /// Mean absolute error.
    Mae,
    /// Coefficient of determination.
    R2,
}

/// Which kind of task a metric is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    All,
    Classes,
    OneClass,
    Values,
}

/// Every metric: name, task, whether larger is better.
const METRICS: &[(&str, Metric, For, bool)] = &[
    ("loss", Metric::Loss, For::All, false),
    ("accuracy", Metric::Accuracy, For::Classes, true),
    ("balanced_accuracy", Metric::BalancedAccuracy, For::OneClass, true),
    ("macro_f1", Metric::MacroF1, For::Classes, true),
    ("log_loss", Metric::LogLoss, For::Classes, false),
    ("auc", Metric::Auc, For::Classes, true),
    ("rmse", Metric::Rmse, For::Values, false),
    ("mae", Metric::Mae, For::Values, false),
    ("r2", Metric::R2, For::Values, true),
];

impl Metric {
    fn row(self) -> &'static (&'static str, Metric, For, bool) {
        METRICS.iter().find(|row| row.1 == self).unwrap_or(&METRICS[0])
    }

    /// Its name, as `--metric` and the JSON have it.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        METRICS.iter().map(|row| row.0)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Metric> {
        METRICS.iter().map(|row| row.1)
    }

    /// The metric of that name; a hyphen is as good as an underscore.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn by_name(name: &str) -> Result<Self> {
        let wanted = name.replace('-', "_");
        let row = METRICS.iter().find(|row| row.0 == wanted);
        row.map(|row| row.1).ok_or_else(|| Error::unknown("metric", name, Self::names()))
    }

    /// True where larger values are better.
    pub fn larger_is_better(self) -> bool {
        self.row().3
    }

    /// The value as a loss: negated where larger is better.
    pub fn as_loss(self, value: f64) -> f64 {
        if self.larger_is_better() { -value } else { value }
    }

    /// Accuracy for classes and labels, RMSE for values.
    pub fn default_for(targets: &Targets) -> Self {
        match targets {
            Targets::Real { .. } => Metric::Rmse,
            _ => Metric::Accuracy,
        }
    }

    /// Whether the metric is defined for such targets.
    pub fn applies_to(self, targets: &Targets) -> bool {
        match self.row().2 {
            For::All => true,
            For::Classes => matches!(targets, Targets::Classes { .. } | Targets::Binary { .. }),
            For::OneClass => matches!(targets, Targets::Classes { .. }),
            For::Values => matches!(targets, Targets::Real { .. }),
        }
    }

    /// What a device has to count for [`Metric::of_tally`]; none where the outputs themselves are needed.
    pub fn detail(self) -> Option<Detail> {
        match self {
            Metric::Loss | Metric::Accuracy => Some(Detail::Rows),
            Metric::Auc => None,
            _ => Some(Detail::Columns),
        }
    }

    /// The metric's value from what was counted of the outputs, which is [`Metric::score`]'s but for the order of sums;
    /// `loss` is the criterion's. NaN where it is undefined, or cannot be had from counts.
    pub fn of_tally(self, tally: &Tally, targets: &Targets, loss: f64) -> f64 {
        let columns = &tally.columns;
        let per_row = |rows: usize| columns.iter().map(|column| column[3]).sum::<f64>() / rows as f64;
        match (self, targets) {
            (Metric::Loss, _) => loss,
            (Metric::Accuracy, Targets::Classes { labels, .. }) => tally.right as f64 / labels.len() as f64,
            (Metric::Accuracy, Targets::Binary { values, width }) => {
                tally.right as f64 / (values.len() / (*width).max(1)) as f64
            }
            (Metric::LogLoss, Targets::Classes { labels, .. }) => per_row(labels.len()),
            (Metric::LogLoss, Targets::Binary { values, .. }) => per_row(values.len()),
            (_, Targets::Classes { .. }) => of_classes(self, columns.iter().map(|&[hit, said, is, _]| [hit, said, is])),
            (Metric::MacroF1, Targets::Binary { .. }) => {
                mean(columns.iter().map(|&[hit, said, is, _]| f1(hit, said + is)))
            }
            (_, Targets::Real { values, width, deviation, .. }) => {
                let of = |(j, column): (usize, &[f64; 4])| {
                    regression(self, column[0], column[1], self::column(values, *width, j), deviation[j])
                };
                columns.iter().enumerate().map(of).sum::<f64>() / *width as f64
            }
            _ => f64::NAN,
        }
    }

    /// The metric's value; `loss` is the criterion's, which the backend has computed.
    ///
    /// NaN where it is undefined (no rows; one class only, for `auc`; constant targets, for `r2`).
    pub fn score(self, outputs: &[f32], targets: &Targets, loss: f64) -> f64 {
        if self == Metric::Loss {
            return loss;
        }
        match targets {
            Targets::None => f64::NAN,
            Targets::Classes { labels, classes } => classification(self, outputs, labels, *classes),
            Targets::Binary { values, width } => multi_label(self, outputs, values, *width),
            Targets::Real { values, width, deviation, .. } => {
                let of = |j: usize| {
                    let truth = column(values, *width, j);
                    let errors = column(outputs, *width, j).zip(truth.clone()).map(|(p, t)| p - t);
                    let (squares, sizes) = (errors.clone().map(|e| e * e).sum(), errors.map(f64::abs).sum());
                    regression(self, squares, sizes, truth, deviation[j])
                };
                (0..*width).map(of).sum::<f64>() / *width as f64
            }
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every metric that applies, by name, in the order of the table.
#[derive(Clone, Debug, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Scores(pub IndexMap<String, f64>);

impl Scores {
    /// Measures everything that applies; undefined values are left out.
    pub fn measure(outputs: &[f32], targets: &Targets, loss: f64) -> Self {
        let applying = METRICS.iter().filter(|row| row.1.applies_to(targets));
        let measured = applying.map(|row| (row.0.to_owned(), row.1.score(outputs, targets, loss)));
        Scores(measured.filter(|(_, value)| value.is_finite()).collect())
    }

    /// The value of one metric, where it is defined.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0.get(metric.name()).copied()
    }
}

fn column(x: &[f32], width: usize, j: usize) -> impl Iterator<Item = f64> + Clone + '_ {
    x.iter().skip(j).step_by(width).map(|&x| f64::from(x))
}

/// The class of the largest probability, the first of equals.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let best = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (1..row.len()).fold(0, best)
}

/// A probability that has a logarithm, as has what is left of 1.
fn clipped(p: f32) -> f64 {
    let eps = f64::from(f32::EPSILON);
    f64::from(p).clamp(eps, 1.0 - eps)
}

/// The log loss of a row whose class has this probability.
pub(super) fn class_loss(p: f32) -> f64 {
    -clipped(p).ln()
}

/// The log loss of a label that has this probability.
pub(super) fn label_loss(p: f32, truth: f32) -> f64 {
    let p = clipped(p);
    if truth > 0.5 { -p.ln() } else { -(1.0 - p).ln() }
}

fn classification(metric: Metric, outputs: &[f32], labels: &[u32], classes: usize) -> f64 {
    let n = labels.len() as f64;
    let rows = || outputs.chunks_exact(classes).zip(labels);
    match metric {
        Metric::Accuracy => rows().filter(|(row, label)| argmax(row) == **label as usize).count() as f64 / n,
        Metric::LogLoss => rows().map(|(row, &label)| class_loss(row[label as usize])).sum::<f64>() / n,
        Metric::BalancedAccuracy | Metric::MacroF1 => {
            let mut counts = vec![[0.0; 3]; classes];
            for (row, &label) in rows() {
                let (guess, label) = (argmax(row), label as usize);
                counts[label][0] += f64::from(u8::from(guess == label));
                counts[guess][1] += 1.0;
                counts[label][2] += 1.0;
            }
            of_classes(metric, counts.into_iter())
        }
        Metric::Auc if classes == 2 => area(column(outputs, 2, 1).zip(labels.iter().map(|&l| l == 1))),
        Metric::Auc => {
            let one = |c: usize| area(column(outputs, classes, c).zip(labels.iter().map(move |&l| l as usize == c)));
            mean((0..classes).map(one).filter(|area| !area.is_nan()))
        }
        _ => f64::NAN,
    }
}

/// F1 of what was found and what was said or true; 0 where nothing was.
fn f1(hits: f64, total: f64) -> f64 {
    if total == 0.0 { 0.0 } else { 2.0 * hits / total }
}

/// A mean over the classes that there are, from each one's rows (said and true, said, true).
fn of_classes(metric: Metric, counts: impl Iterator<Item = [f64; 3]>) -> f64 {
    match metric {
        Metric::MacroF1 => {
            mean(counts.filter(|[_, said, is]| said + is > 0.0).map(|[hit, said, is]| f1(hit, said + is)))
        }
        Metric::BalancedAccuracy => mean(counts.filter(|[_, _, is]| *is > 0.0).map(|[hit, _, is]| hit / is)),
        _ => f64::NAN,
    }
}

fn multi_label(metric: Metric, outputs: &[f32], truth: &[f32], width: usize) -> f64 {
    let rows = truth.len() / width.max(1);
    let right = |(p, t): (&f32, &f32)| (*p > 0.5) == (*t > 0.5);
    match metric {
        Metric::Accuracy => {
            let rows_of = outputs.chunks_exact(width).zip(truth.chunks_exact(width));
            rows_of.filter(|(p, t)| p.iter().zip(*t).all(right)).count() as f64 / rows as f64
        }
        Metric::LogLoss => outputs.iter().zip(truth).map(|(&p, &t)| label_loss(p, t)).sum::<f64>() / truth.len() as f64,
        Metric::MacroF1 => mean((0..width).map(|j| {
            let (mut hits, mut total) = (0.0, 0.0);
            for (p, t) in column(outputs, width, j).zip(column(truth, width, j)) {
                let (p, t) = (p > 0.5, t > 0.5);
                hits += f64::from(u8::from(p && t));
                total += f64::from(u8::from(p)) + f64::from(u8::from(t));
            }
            f1(hits, total)
        })),
        Metric::Auc => {
            let one = |j: usize| area(column(outputs, width, j).zip(column(truth, width, j).map(|t| t > 0.5)));
            mean((0..width).map(one).filter(|area| !area.is_nan()))
        }
        _ => f64::NAN,
    }
}

/// From a target's Σd² and Σ|d|, its true values, and its unit.
fn regression(metric: Metric, squares: f64, sizes: f64, truth: impl Iterator<Item = f64> + Clone, unit: f64) -> f64 {
    let n = truth.clone().count() as f64;
    match metric {
        Metric::Rmse => (squares / n).sqrt() * unit,
        Metric::Mae => sizes / n * unit,
        Metric::R2 => {
            let mean = truth.clone().sum::<f64>() / n;
            let spread: f64 = truth.map(|t| (t - mean).powi(2)).sum();
            if spread == 0.0 { f64::NAN } else { 1.0 - squares / spread }
        }
        _ => f64::NAN,
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
    if count == 0.0 { f64::NAN } else { sum / count }
}

/// Area under the ROC curve: the Mann–Whitney statistic with ties at half, NaN with one class only or NaN scores.
fn area(scored: impl Iterator<Item = (f64, bool)>) -> f64 {
    let mut scored: Vec<(f64, bool)> = scored.collect();
    if scored.iter().any(|(score, _)| score.is_nan()) {
        return f64::NAN;
    }
    scored.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut area, mut positives) = (0.0, 0.0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let true_here = tied.iter().filter(|(_, truth)| *truth).count() as f64;
        let false_here = tied.len() as f64 - true_here;
        area += true_here * (below + false_here / 2.0);
        below += false_here;
        positives += true_here;
    }
    if positives == 0.0 || below == 0.0 { f64::NAN } else { area / (positives * below) }
}
