//! How one column becomes inputs of a network: scaling, filling, one-hot.
//!
//! An [`Encoder`] is fitted on the training rows of its column and says everything needed to encode any other
//! row. Text becomes one input a category of the training rows, one for a missing cell where training rows had
//! one, and a last one for anything else ("unseen", always 0 in training).

use super::dataset::moments;
use super::source::{Column, MISSING, Numbers, Texts, Values};
use super::target::{match_names, order_names};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is done to numbers before training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preprocess {
    /// Mean 0, standard deviation 1.
    #[default]
    Standard,
    /// Median 0, interquartile range 1.349 (that of the standard normal); for outliers. A column whose middle half
    /// is one value is standardised.
    Robust,
    /// Normal scores: the rank of a value among the training rows, through the inverse of the normal distribution.
    Quantile,
    /// As read.
    None,
}

impl Preprocess {
    /// Every variant with its name on the command line.
    pub const ALL: [(&'static str, Preprocess); 4] = [
        ("standard", Preprocess::Standard),
        ("robust", Preprocess::Robust),
        ("quantile", Preprocess::Quantile),
        ("none", Preprocess::None),
    ];

    /// The variant of this name; `place` (as `--preprocess`) is for the message.
    pub fn by_name(place: &str, name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, variant)| *variant);
        found.ok_or_else(|| Error::unknown(place, name, Self::ALL.iter().map(|(known, _)| *known)))
    }
}

/// A map of numbers to inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// (value − center) / scale.
    Affine {
        /// What becomes 0.
        center: f64,
        /// What becomes 1 above it; positive.
        scale: f64,
    },
    /// Straight lines between points, constant outside.
    Curve {
        /// Ascending, at least 2.
        values: Vec<f64>,
        /// What each value becomes, ascending.
        scores: Vec<f64>,
    },
}

/// What kind of inputs a column becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// A number, then 1 where it was missing if training rows had missing cells.
    Number {
        /// `None` where the training rows hold one value only, so that just the missing cells say something.
        scale: Option<Scale>,
        /// What a missing cell is taken for: the median of the training rows.
        fill: f64,
        /// Whether there is an input for "missing".
        indicator: bool,
    },
    /// One input a category, one for missing if training rows had missing cells, one for unseen.
    Categories {
        /// Distinct, in the order of the inputs.
        names: Vec<String>,
        /// Whether there is an input for "missing"; else a missing cell counts as unseen.
        missing: bool,
    },
}

/// One column and its encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encoder {
    /// The column's name.
    pub column: String,
    /// What becomes of its cells.
    pub encoding: Encoding,
}

/// Why a column is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// The same value in every training row.
    Constant,
    /// Missing in every training row.
    Empty,
    /// So many distinct texts that they are names or remarks rather than categories.
    FreeText(usize),
}

/// Points of a [`Scale::Curve`], at most.
const CURVE_POINTS: usize = 256;
/// Interquartile range of the standard normal distribution.
const NORMAL_QUARTILES: f64 = 1.3489795003921634;

impl Encoder {
    /// Fits the column on these rows.
    pub(crate) fn fit(column: &Column, rows: &[usize], preprocess: Preprocess) -> Result<Self, LeftOut> {
        let encoding = match &column.values {
            Values::Numbers(numbers) => fit_numbers(numbers, rows, preprocess)?,
            Values::Text(texts) => fit_texts(texts, rows, column.declared)?,
        };
        Ok(Encoder { column: column.name.clone(), encoding })
    }

    /// Number of inputs.
    pub fn width(&self) -> usize {
        match &self.encoding {
            Encoding::Number { scale, indicator, .. } => usize::from(scale.is_some()) + usize::from(*indicator),
            Encoding::Categories { names, missing } => names.len() + usize::from(*missing) + 1,
        }
    }

    /// Checks what was read from a file that anyone may have written, so that encoding cannot fail later.
    pub(crate) fn validate(&self) -> Result<(), String> {
        // Well inside the range of 64 bits, so that differences and quotients stay finite.
        let sane = |value: f64| value.abs() < 1e300;
        let fine = match &self.encoding {
            Encoding::Number { scale, fill, .. } => {
                sane(*fill)
                    && self.width() > 0
                    && match scale {
                        None => true,
                        Some(Scale::Affine { center, scale }) => {
                            sane(*center) && sane(*scale) && scale.is_normal() && *scale > 0.0
                        }
                        Some(Scale::Curve { values, scores }) => {
                            let ascending = |list: &[f64]| list.windows(2).all(|pair| pair[0] < pair[1]);
                            values.len() >= 2
                                && values.len() == scores.len()
                                && values.iter().chain(scores).all(|&v| sane(v))
                                && ascending(values)
                                && ascending(scores)
                        }
                    }
            }
            Encoding::Categories { names, .. } => {
                names.iter().collect::<std::collections::HashSet<_>>().len() == names.len()
            }
        };
        if fine { Ok(()) } else { Err(format!("the encoding of column `{}` is damaged", self.column)) }
    }

    /// The encoder together with the column it is applied to; an error message if the column is of another kind.
    pub(crate) fn bind<'a>(&'a self, column: &'a Column) -> Result<Bound<'a>, String> {
        match (&self.encoding, &column.values) {
            (Encoding::Number { scale, fill, indicator }, Values::Numbers(numbers)) => {
                Ok(Bound::Number { numbers, scale: scale.as_ref(), fill: *fill, indicator: *indicator })
            }
            (Encoding::Categories { names, missing }, Values::Text(texts)) => {
                let unseen = (names.len() + usize::from(*missing)) as u32;
                let place = match_names(&texts.names, names).into_iter().map(|i| if i == MISSING { unseen } else { i });
                let missing = if *missing { names.len() as u32 } else { unseen };
                Ok(Bound::Categories { codes: &texts.codes, place: place.collect(), missing, unseen })
            }
            (Encoding::Number { .. }, Values::Text(_)) => {
                Err(format!("column `{}`: numbers are expected, found text", self.column))
            }
            (Encoding::Categories { .. }, Values::Numbers(_)) => {
                Err(format!("column `{}`: text is expected, found numbers", self.column))
            }
        }
    }
}

/// An encoder and the cells it encodes.
pub(crate) enum Bound<'a> {
    Number { numbers: &'a Numbers, scale: Option<&'a Scale>, fill: f64, indicator: bool },
    Categories { codes: &'a [u32], place: Vec<u32>, missing: u32, unseen: u32 },
}

impl Bound<'_> {
    /// Writes the inputs of these rows: `out` is rows × `stride`, zeroed; this encoder's inputs begin at `offset`.
    pub fn write(&self, rows: &[usize], out: &mut [f32], stride: usize, offset: usize) {
        match self {
            Bound::Number { numbers, scale, fill, indicator } => {
                let missing_at = offset + usize::from(scale.is_some());
                let affine = match scale {
                    Some(Scale::Affine { center, scale }) => Some((*center, 1.0 / scale)),
                    _ => None,
                };
                for (&row, out) in rows.iter().zip(out.chunks_exact_mut(stride)) {
                    let mut value = numbers.get(row);
                    if value.is_nan() {
                        value = *fill;
                        if *indicator {
                            out[missing_at] = 1.0;
                        }
                    }
                    if let Some((center, factor)) = affine {
                        out[offset] = to_f32((value - center) * factor);
                    } else if let Some(Scale::Curve { values, scores }) = scale {
                        out[offset] = to_f32(along(values, scores, value));
                    }
                }
            }
            Bound::Categories { codes, place, missing, .. } => {
                for (&row, out) in rows.iter().zip(out.chunks_exact_mut(stride)) {
                    let input = place.get(codes[row] as usize).copied().unwrap_or(*missing);
                    out[offset + input as usize] = 1.0;
                }
            }
        }
    }

    /// Number of rows whose cell was not met in training: an unseen category, or missing where nothing was missing.
    pub fn strange(&self, rows: usize) -> usize {
        match self {
            Bound::Number { numbers, indicator, .. } => {
                if *indicator {
                    0
                } else {
                    (0..rows).filter(|&row| numbers.get(row).is_nan()).count()
                }
            }
            Bound::Categories { codes, place, missing, unseen } => {
                codes.iter().filter(|&&code| place.get(code as usize).copied().unwrap_or(*missing) == *unseen).count()
            }
        }
    }
}

fn to_f32(value: f64) -> f32 {
    (value as f32).clamp(f32::MIN, f32::MAX)
}

fn along(values: &[f64], scores: &[f64], value: f64) -> f64 {
    let after = values.partition_point(|&v| v <= value);
    if after == 0 {
        return scores[0];
    }
    if after == values.len() {
        return scores[after - 1];
    }
    let share = (value - values[after - 1]) / (values[after] - values[after - 1]);
    scores[after - 1] + share * (scores[after] - scores[after - 1])
}

fn fit_numbers(numbers: &Numbers, rows: &[usize], preprocess: Preprocess) -> Result<Encoding, LeftOut> {
    let mut values: Vec<f64> = rows.iter().map(|&row| numbers.get(row)).filter(|v| !v.is_nan()).collect();
    let missing = rows.len() - values.len();
    let (mean, deviation) = moments(values.iter().copied());
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    if values.is_empty() {
        return Err(LeftOut::Empty);
    }
    // Numbers may differ by so little that the square of it is no normal number.
    if low == high || !deviation.is_normal() {
        if missing == 0 {
            return Err(LeftOut::Constant);
        }
        return Ok(Encoding::Number { scale: None, fill: low, indicator: true });
    }
    let fill = quantile(&mut values, 0.5);
    let scale = match preprocess {
        Preprocess::Standard => Scale::Affine { center: mean, scale: deviation },
        Preprocess::None => Scale::Affine { center: 0.0, scale: 1.0 },
        Preprocess::Robust => {
            let range = quantile(&mut values, 0.75) - quantile(&mut values, 0.25);
            if range > 0.0 {
                Scale::Affine { center: fill, scale: range / NORMAL_QUARTILES }
            } else {
                Scale::Affine { center: mean, scale: deviation }
            }
        }
        Preprocess::Quantile => curve(&mut values),
    };
    Ok(Encoding::Number { scale: Some(scale), fill, indicator: missing > 0 })
}

/// The quantile p of at least one value by linear interpolation between order statistics (type 7 of Hyndman & Fan
/// 1996, numpy's default). Reorders the values.
pub(crate) fn quantile(values: &mut [f64], p: f64) -> f64 {
    let position = p * (values.len() - 1) as f64;
    let below = position as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    if high.is_finite() { low + (position - below as f64) * (high - low) } else { low }
}

/// Distinct values against normal scores of their mid-ranks (i − ½)/n, thinned to [`CURVE_POINTS`]. At least two
/// distinct values. The first and the last value are kept.
fn curve(values: &mut [f64]) -> Scale {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len() as f64;
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut start = 0;
    for run in values.chunk_by(|a, b| a == b) {
        points.push((run[0], normal_quantile((start as f64 + run.len() as f64 / 2.0) / n)));
        start += run.len();
    }
    if points.len() > CURVE_POINTS {
        // Equal steps in rank would lose the tails, which are long; equal steps in points keep distinct values.
        let last = points.len() - 1;
        points = (0..CURVE_POINTS).map(|i| points[i * last / (CURVE_POINTS - 1)]).collect();
    }
    let (values, scores) = points.into_iter().unzip();
    Scale::Curve { values, scores }
}

/// Inverse of the normal distribution function, relative error about 1e-7 (Wichura 1988, AS 241, PPND7); 0 < p < 1.
pub(crate) fn normal_quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        let numerator = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179;
        return q * numerator / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-tail.ln()).sqrt();
    let z = if r <= 5.0 {
        let r = r - 1.6;
        let numerator = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777;
        numerator / ((0.12021132975 * r + 0.73700164250) * r + 1.0)
    } else {
        let r = r - 5.0;
        let numerator = ((0.017337203997 * r + 0.42868294337) * r + 3.0812263860) * r + 6.6579051150;
        numerator / ((0.012258202635 * r + 0.24197894225) * r + 1.0)
    };
    if q < 0.0 { -z } else { z }
}

fn fit_texts(texts: &Texts, rows: &[usize], declared: bool) -> Result<Encoding, LeftOut> {
    let mut counts = vec![0usize; texts.names.len()];
    let mut missing = 0;
    for &row in rows {
        match counts.get_mut(texts.codes[row] as usize) {
            Some(count) => *count += 1,
            None => missing += 1,
        }
    }
    let mut names: Vec<String> =
        texts.names.iter().zip(&counts).filter(|(_, count)| **count > 0).map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return Err(LeftOut::Empty);
    }
    if names.len() == 1 && missing == 0 {
        return Err(LeftOut::Constant);
    }
    let free_text = names.len() > 1000 || (names.len() > 50 && names.len() * 5 > rows.len() - missing);
    if free_text && !declared {
        return Err(LeftOut::FreeText(names.len()));
    }
    order_names(&mut names);
    Ok(Encoding::Categories { names, missing: missing > 0 })
}
