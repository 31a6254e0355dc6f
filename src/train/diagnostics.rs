//! What a report draws of predictions on test rows, computed when they are at hand.
//!
//! Everything here is small: counts, bins, a hundred points a curve, at most [`PAIRS`] pairs.

use super::metrics::argmax;
use crate::data::Targets;
use serde::{Deserialize, Serialize};

/// Most (predicted, true) pairs of a regression target.
const PAIRS: usize = 2000;
/// Most points of a ROC curve.
const POINTS: usize = 101;
/// Bins of equal width of the calibration.
const BINS: usize = 15;

/// What a report draws of a classification's or a regression's predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnostics {
    /// Of classes.
    Classes {
        /// `confusion[true][predicted]` counts rows.
        confusion: Vec<Vec<u64>>,
        /// Of the predicted class's probability.
        calibration: Vec<Bin>,
        /// One curve a class against the rest; empty where one side has no rows.
        roc: Vec<Vec<(f64, f64)>>,
    },
    /// Of labels.
    Labels {
        /// For each label `[true][predicted]` counts rows.
        confusion: Vec<[[u64; 2]; 2]>,
        /// Of all labels' probabilities together.
        calibration: Vec<Bin>,
        /// One curve a label; empty where one side has no rows.
        roc: Vec<Vec<(f64, f64)>>,
    },
    /// Of numbers: for each target up to 2,000 pairs (predicted, true) in its own units.
    Numbers {
        /// The pairs, of rows at even distances.
        pairs: Vec<Vec<(f64, f64)>>,
    },
    /// There are no targets.
    None,
}

/// A bin of a calibration curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Predictions in it.
    pub count: u64,
    /// Their mean probability.
    pub predicted: f64,
    /// The share of them that came true.
    pub observed: f64,
}

impl Diagnostics {
    /// Of outputs as a backend's `evaluate` writes them.
    pub fn of(outputs: &[f32], targets: &Targets) -> Self {
        match targets {
            Targets::None => Diagnostics::None,
            Targets::Classes { labels, classes } => {
                let mut confusion = vec![vec![0; *classes]; *classes];
                let mut bins = Bins::default();
                for (row, &label) in outputs.chunks_exact(*classes).zip(labels) {
                    let guess = argmax(row);
                    confusion[label as usize][guess] += 1;
                    bins.add(row[guess], guess == label as usize);
                }
                let truth = |c: usize| labels.iter().map(move |&label| label as usize == c);
                let curve = |c| roc(column(outputs, *classes, c).zip(truth(c)));
                Diagnostics::Classes { confusion, calibration: bins.finish(), roc: (0..*classes).map(curve).collect() }
            }
            Targets::Binary { values, width } => {
                let mut confusion = vec![[[0; 2]; 2]; *width];
                let mut bins = Bins::default();
                for (i, (&p, &t)) in outputs.iter().zip(values).enumerate() {
                    confusion[i % width][usize::from(t > 0.5)][usize::from(p > 0.5)] += 1;
                    bins.add(p, t > 0.5);
                }
                let curve = |j| roc(column(outputs, *width, j).zip(column(values, *width, j).map(|t| t > 0.5)));
                Diagnostics::Labels { confusion, calibration: bins.finish(), roc: (0..*width).map(curve).collect() }
            }
            Targets::Real { values, width, mean, deviation } => {
                let rows = values.len() / width;
                let step = rows.div_ceil(PAIRS).max(1);
                let own = |y: f32, j: usize| f64::from(y) * deviation[j] + mean[j];
                let pair = |row: usize, j: usize| (own(outputs[row * width + j], j), own(values[row * width + j], j));
                let pairs = |j: usize| (0..rows).step_by(step).map(|row| pair(row, j)).collect();
                Diagnostics::Numbers { pairs: (0..*width).map(pairs).collect() }
            }
        }
    }
}

fn column(x: &[f32], width: usize, j: usize) -> impl Iterator<Item = f32> + '_ {
    x.iter().skip(j).step_by(width).copied()
}

/// Sums of each bin of predicted probability.
#[derive(Default)]
struct Bins([(u64, f64, u64); BINS]);

impl Bins {
    fn add(&mut self, p: f32, came_true: bool) {
        let bin = &mut self.0[((p.clamp(0.0, 1.0) * BINS as f32) as usize).min(BINS - 1)];
        bin.0 += 1;
        bin.1 += f64::from(p);
        bin.2 += u64::from(came_true);
    }

    fn finish(self) -> Vec<Bin> {
        let bin = |(count, predicted, observed): (u64, f64, u64)| match count {
            0 => Bin::default(),
            n => Bin { count, predicted: predicted / n as f64, observed: observed as f64 / n as f64 },
        };
        self.0.into_iter().map(bin).collect()
    }
}

/// Points (false positive rate, true positive rate) from (0, 0) to (1, 1), thinned to [`POINTS`].
fn roc(scored: impl Iterator<Item = (f32, bool)>) -> Vec<(f64, f64)> {
    let mut scored: Vec<(f32, bool)> = scored.collect();
    scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let positives = scored.iter().filter(|(_, truth)| *truth).count() as f64;
    let negatives = scored.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return Vec::new();
    }
    let mut points = vec![(0.0, 0.0)];
    let (mut hits, mut misses) = (0.0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        hits += tied.iter().filter(|(_, truth)| *truth).count() as f64;
        misses += tied.iter().filter(|(_, truth)| !*truth).count() as f64;
        points.push((misses / negatives, hits / positives));
    }
    if points.len() > POINTS {
        let last = points.len() - 1;
        points = (0..POINTS).map(|i| points[i * last / (POINTS - 1)]).collect();
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_classifier_has_a_corner_for_a_curve_and_a_diagonal_for_counts() {
        let outputs = [0.9, 0.1, 0.2, 0.8, 0.7, 0.3];
        let targets = Targets::Classes { labels: vec![0, 1, 0], classes: 2 };
        let Diagnostics::Classes { confusion, calibration, roc } = Diagnostics::of(&outputs, &targets) else {
            panic!()
        };
        assert_eq!(confusion, [[2, 0], [0, 1]]);
        assert_eq!(calibration.iter().map(|bin| bin.count).sum::<u64>(), 3);
        assert!(roc[1].contains(&(0.0, 1.0)));
    }
}
