//! What an engine trains on: dense, row-major, every value finite.
//!
//! Images stay bytes (`value · scale` when a batch is gathered), so that MNIST is 47 MB and not 188. Everything is
//! checked where a [`Dataset`] is made; engines index it without a second look.

use super::pages::table;
use crate::{Error, Result};
use ndarray::{ArrayView1, ArrayView2};

/// The inputs, row-major: rows × inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Encoded values.
    F32(Vec<f32>),
    /// Bytes, to be multiplied by `scale`.
    U8 {
        /// rows × inputs.
        values: Vec<u8>,
        /// What a byte is multiplied by.
        scale: f32,
    },
}

/// What is to be predicted.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Unknown.
    None,
    /// One class a row.
    Classes {
        /// rows; each less than `classes`.
        labels: Vec<u32>,
        /// Number of classes.
        classes: usize,
    },
    /// Labels that are each present (1) or absent (0).
    Binary {
        /// rows × width.
        values: Vec<f32>,
        /// Number of labels.
        width: usize,
    },
    /// Real numbers, standardised.
    Real {
        /// rows × width, (own units − mean) / deviation.
        values: Vec<f32>,
        /// Number of targets.
        width: usize,
        /// `width`; mean of each target over the training rows, own units.
        mean: Vec<f64>,
        /// `width`; standard deviation (denominator n) of each target over the training rows, own units.
        deviation: Vec<f64>,
    },
}

impl Targets {
    /// Outputs of a network for these targets: classes, labels or targets; 0 where there is no target.
    pub fn outputs(&self) -> usize {
        match self {
            Targets::None => 0,
            Targets::Classes { classes, .. } => *classes,
            Targets::Binary { width, .. } | Targets::Real { width, .. } => *width,
        }
    }

    /// Those of the first `rows` rows; of all where there are fewer.
    #[must_use]
    pub fn first(&self, rows: usize) -> Self {
        let mut first = self.clone();
        match &mut first {
            Targets::None => {}
            Targets::Classes { labels, .. } => labels.truncate(rows),
            Targets::Binary { values, width } | Targets::Real { values, width, .. } => values.truncate(rows * *width),
        }
        first
    }
}

/// Rows to train on or to predict.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Number of rows.
    pub rows: usize,
    /// Inputs a row.
    pub inputs: usize,
    /// rows × inputs.
    pub features: Features,
    /// One or several values a row.
    pub targets: Targets,
}

impl Dataset {
    /// Rows without targets, for prediction. `x` is rows × inputs; every value must be finite.
    pub fn from_array(x: ArrayView2<f32>) -> Result<Self> {
        let (rows, inputs) = x.dim();
        if rows == 0 || inputs == 0 {
            return Err(Error::input(format!(
                "x: at least one row and one column are expected, found {rows}×{inputs}"
            )));
        }
        if let Some(((row, column), value)) = x.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::input(format!("x[{row}, {column}]: a finite number is expected, found {value}")));
        }
        Ok(Dataset { rows, inputs, features: Features::F32(table(x.len(), x.iter().copied())), targets: Targets::None })
    }

    /// Rows with one class each. `x` is rows × inputs, `labels` is rows, each less than `classes`.
    pub fn from_classes(x: ArrayView2<f32>, labels: ArrayView1<u32>, classes: usize) -> Result<Self> {
        let mut dataset = Dataset::from_array(x)?;
        same_rows(dataset.rows, "labels", labels.len())?;
        if classes < 2 {
            return Err(Error::input(format!("classes: at least 2 are needed, found {classes}")));
        }
        if let Some((row, label)) = labels.indexed_iter().find(|(_, label)| **label as usize >= classes) {
            return Err(Error::input(format!("labels[{row}]: a class below {classes} is expected, found {label}")));
        }
        dataset.targets = Targets::Classes { labels: labels.to_vec(), classes };
        Ok(dataset)
    }

    /// Rows with any subset of labels. `x` is rows × inputs, `y` is rows × labels of 0 and 1.
    pub fn from_binary(x: ArrayView2<f32>, y: ArrayView2<f32>) -> Result<Self> {
        let mut dataset = Dataset::from_array(x)?;
        check_targets(dataset.rows, y)?;
        if let Some(((row, label), value)) = y.indexed_iter().find(|(_, value)| **value != 0.0 && **value != 1.0) {
            return Err(Error::input(format!("y[{row}, {label}]: 0 or 1 is expected, found {value}")));
        }
        dataset.targets = Targets::Binary { values: y.iter().copied().collect(), width: y.ncols() };
        Ok(dataset)
    }

    /// Rows with real targets in their own units, which are standardised here by their own mean and deviation.
    ///
    /// `x` is rows × inputs, `y` is rows × targets. A constant target keeps a deviation of 1. For rows that a model
    /// trained on other rows is to be evaluated on, see [`Dataset::from_real_like`].
    pub fn from_real(x: ArrayView2<f32>, y: ArrayView2<f32>) -> Result<Self> {
        check_targets(y.nrows(), y)?;
        let moments = y.columns().into_iter().map(|column| moments(column.iter().map(|&v| f64::from(v))));
        let (mean, deviation): (Vec<f64>, Vec<f64>) =
            moments.map(|(mean, deviation)| (mean, if deviation.is_normal() { deviation } else { 1.0 })).unzip();
        Dataset::real(x, y, mean, deviation)
    }

    /// As [`Dataset::from_real`], standardised by the mean and deviation of `training`.
    pub fn from_real_like(x: ArrayView2<f32>, y: ArrayView2<f32>, training: &Dataset) -> Result<Self> {
        let Targets::Real { mean, deviation, .. } = &training.targets else {
            return Err(Error::input("training: a data set with real targets is expected"));
        };
        if y.ncols() != mean.len() {
            return Err(Error::input(format!("y: {} targets are expected, found {}", mean.len(), y.ncols())));
        }
        Dataset::real(x, y, mean.clone(), deviation.clone())
    }

    fn real(x: ArrayView2<f32>, y: ArrayView2<f32>, mean: Vec<f64>, deviation: Vec<f64>) -> Result<Self> {
        let mut dataset = Dataset::from_array(x)?;
        check_targets(dataset.rows, y)?;
        let scaled = y.indexed_iter().map(|((_, j), &value)| ((f64::from(value) - mean[j]) / deviation[j]) as f32);
        dataset.targets = Targets::Real { values: scaled.collect(), width: y.ncols(), mean, deviation };
        Ok(dataset)
    }

    /// The rows of `self`, then those of `other`. Both must have the same inputs, kind of features and targets (for
    /// real targets: the same mean and deviation).
    pub fn concat(&self, other: &Dataset) -> Result<Self> {
        let differ = |what: &str| Error::input(format!("concatenation: the two data sets differ in {what}"));
        if self.inputs != other.inputs {
            return Err(differ("their number of inputs"));
        }
        let features = match (&self.features, &other.features) {
            (Features::F32(a), Features::F32(b)) => Features::F32(joined(a, b)),
            (Features::U8 { values: a, scale: s }, Features::U8 { values: b, scale: t }) if s == t => {
                Features::U8 { values: joined(a, b), scale: *s }
            }
            _ => return Err(differ("their kind of features")),
        };
        let targets = match (&self.targets, &other.targets) {
            (Targets::None, Targets::None) => Targets::None,
            (Targets::Classes { labels: a, classes: k }, Targets::Classes { labels: b, classes: l }) if k == l => {
                Targets::Classes { labels: [a.as_slice(), b].concat(), classes: *k }
            }
            (Targets::Binary { values: a, width: k }, Targets::Binary { values: b, width: l }) if k == l => {
                Targets::Binary { values: [a.as_slice(), b].concat(), width: *k }
            }
            (
                Targets::Real { values: a, width, mean, deviation },
                Targets::Real { values: b, mean: m, deviation: d, .. },
            ) if mean == m && deviation == d => Targets::Real {
                values: [a.as_slice(), b].concat(),
                width: *width,
                mean: mean.clone(),
                deviation: deviation.clone(),
            },
            _ => return Err(differ("their targets")),
        };
        Ok(Dataset { rows: self.rows + other.rows, inputs: self.inputs, features, targets })
    }
}

fn joined<T: Copy>(a: &[T], b: &[T]) -> Vec<T> {
    table(a.len() + b.len(), a.iter().chain(b).copied())
}

/// Mean and standard deviation (denominator n) of finite numbers; (0, 0) of none. Two passes, so that a large
/// mean does not cancel the deviation.
pub(crate) fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (count, sum) = values.clone().fold((0usize, 0.0), |(count, sum), value| (count + 1, sum + value));
    if count == 0 {
        return (0.0, 0.0);
    }
    let mean = sum / count as f64;
    let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
    (mean, (squares / count as f64).sqrt())
}

fn same_rows(expected: usize, what: &str, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::input(format!("{what}: {expected} rows are expected as in x, found {found}")))
}

fn check_targets(rows: usize, y: ArrayView2<f32>) -> Result<()> {
    same_rows(rows, "y", y.nrows())?;
    if y.ncols() == 0 {
        return Err(Error::input("y: at least one column is expected, found none"));
    }
    match y.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), value)) => {
            Err(Error::input(format!("y[{row}, {column}]: a finite number is expected, found {value}")))
        }
        None => Ok(()),
    }
}
