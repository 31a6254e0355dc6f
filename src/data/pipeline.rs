//! From raw rows to what a network eats, and from its outputs back: fitted once, on training rows alone.
//!
//! A [`Pipeline`] is stored in every model file as JSON, exactly (64-bit numbers survive the round trip), and is
//! all that prediction needs to know of the data: which columns by which names, their statistics and categories,
//! the task, the classes, the units of a regression. One read from a file passes [`Pipeline::validate`] first.

use super::dataset::{Dataset, Features, Targets, moments};
use super::encoder::{Encoder, LeftOut, Preprocess};
use super::pages::huge;
use super::schema::{self, Schema, SchemaColumns};
use super::source::{Column, Content, MISSING, Source, TargetValues, Task, Values};
use super::{csv::Want, list_names};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Rows encoded by one task at a time: enough to amortise a column's dispatch, few enough to stay in cache.
const CHUNK: usize = 256;
/// Dense rows wider than this are a mistake rather than a data set.
const MOST_INPUTS: usize = 65_536;

/// What the inputs are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inputs {
    /// Bytes divided by 255.
    Bytes {
        /// Bytes a row.
        width: usize,
    },
    /// The columns that are used, in the order of their inputs.
    Columns(Vec<Encoder>),
}

/// Everything between a file and a network, fitted on training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    inputs: Inputs,
    preprocess: Preprocess,
    task: Task,
    target_names: Vec<String>,
    target_mean: Vec<f64>,
    target_deviation: Vec<f64>,
    /// Inputs after those of the columns that are always 0 ([`Pipeline::widen`]).
    #[serde(default, skip_serializing_if = "is_none")]
    spare: usize,
}

fn is_none(spare: &usize) -> bool {
    *spare == 0
}

/// Whether, and under which names, targets are read with the inputs.
#[derive(Clone, Copy, Debug)]
pub enum ReadTargets<'a> {
    /// Inputs alone: for prediction.
    No,
    /// The columns that the model was trained on.
    Yes,
    /// Columns of other names.
    Named(&'a [String]),
}

impl Pipeline {
    /// Fits on `rows` (the training rows) of a source whose target was read; returns notes for the user.
    ///
    /// Errors: no rows, no column left that varies, a regression target or a class set that does not vary.
    pub fn fit(source: &Source, rows: &[usize], preprocess: Preprocess) -> Result<(Self, Vec<String>)> {
        let origin = source.origin();
        if rows.is_empty() {
            return Err(Error::input(format!("{origin}: no rows to train on")));
        }
        let (inputs, notes) = match &source.content {
            Content::Bytes { width, .. } => (Inputs::Bytes { width: *width }, Vec::new()),
            Content::Table(columns) => fit_columns(columns, rows, preprocess, origin)?,
        };
        let (target_mean, target_deviation) = fit_targets(source, rows)?;
        let pipeline = Pipeline {
            inputs,
            preprocess,
            task: source.task.clone(),
            target_names: source.target_names.clone(),
            target_mean,
            target_deviation,
            spare: 0,
        };
        Ok((pipeline, notes))
    }

    /// Makes it so many inputs where there are fewer: the further ones are always 0. So networks for rows that lack
    /// some categories, or in which a column is constant, have the size of those for rows that do not. Images have all
    /// inputs.
    pub fn widen(&mut self, inputs: usize) {
        if let Inputs::Columns(_) = self.inputs {
            self.spare += inputs.saturating_sub(self.inputs());
        }
    }

    /// Encodes these rows with their targets.
    pub fn transform(&self, source: &Source, rows: &[usize]) -> Result<Dataset> {
        self.encode(source, rows, true)
    }

    /// Encodes all rows without targets: for prediction.
    pub fn features(&self, source: &Source) -> Result<Dataset> {
        self.encode(source, &(0..source.rows()).collect::<Vec<_>>(), false)
    }

    fn encode(&self, source: &Source, rows: &[usize], with_targets: bool) -> Result<Dataset> {
        if let Some(row) = rows.iter().find(|&&row| row >= source.rows()) {
            return Err(Error::input(format!("{}: there is no row {row}, only {}", source.origin(), source.rows())));
        }
        let features = match (&self.inputs, &source.content) {
            (Inputs::Bytes { width }, Content::Bytes { values, width: found }) if width == found => {
                let mut bytes = Vec::with_capacity(rows.len() * width);
                huge(&mut bytes);
                for &row in rows {
                    bytes.extend_from_slice(&values[row * width..(row + 1) * width]);
                }
                Features::U8 { values: bytes, scale: 1.0 / 255.0 }
            }
            (Inputs::Columns(encoders), Content::Table(columns)) => {
                Features::F32(self.encode_columns(encoders, columns, rows, source.origin())?)
            }
            _ => return Err(self.other_inputs(source)),
        };
        let targets = if with_targets { self.encode_targets(source, rows)? } else { Targets::None };
        Ok(Dataset { rows: rows.len(), inputs: self.inputs(), features, targets })
    }

    fn encode_columns(
        &self,
        encoders: &[Encoder],
        columns: &[Column],
        rows: &[usize],
        origin: &str,
    ) -> Result<Vec<f32>> {
        let bound = bind(encoders, columns, origin)?;
        let offsets: Vec<usize> =
            encoders.iter().scan(0, |next, encoder| Some(std::mem::replace(next, *next + encoder.width()))).collect();
        let inputs = self.inputs();
        let mut values = vec![0f32; rows.len() * inputs];
        huge(&mut values);
        values.par_chunks_mut(CHUNK * inputs).zip(rows.par_chunks(CHUNK)).for_each(|(out, rows)| {
            for (bound, &offset) in bound.iter().zip(&offsets) {
                bound.write(rows, out, inputs, offset);
            }
        });
        Ok(values)
    }

    fn encode_targets(&self, source: &Source, rows: &[usize]) -> Result<Targets> {
        let width = self.outputs();
        match (&self.task, &source.target) {
            (Task::Classification { .. }, TargetValues::Classes(labels)) if source.task == self.task => {
                let labels = rows.iter().map(|&row| labels[row]).collect();
                Ok(Targets::Classes { labels, classes: width })
            }
            (Task::MultiLabel { .. }, TargetValues::Binary(values)) if values.len() == source.rows() * width => {
                let values = rows.iter().flat_map(|&row| &values[row * width..(row + 1) * width]).copied().collect();
                Ok(Targets::Binary { values, width })
            }
            (Task::Regression { .. }, TargetValues::Real(values)) if values.len() == source.rows() * width => {
                let scale =
                    |(j, value): (usize, &f64)| ((value - self.target_mean[j]) / self.target_deviation[j]) as f32;
                let of_row = |&row: &usize| values[row * width..(row + 1) * width].iter().enumerate().map(scale);
                Ok(Targets::Real {
                    values: rows.iter().flat_map(of_row).collect(),
                    width,
                    mean: self.target_mean.clone(),
                    deviation: self.target_deviation.clone(),
                })
            }
            _ => Err(Error::input(format!(
                "{}: the target {} of a {} is expected and was not read",
                source.origin(),
                list_names(&self.target_names),
                self.task.name()
            ))),
        }
    }

    /// Reads a file (or built-in set) for this model: columns by their names, other columns ignored with a note.
    ///
    /// Errors name a needed column that is missing, with the nearest name there is, and a cell of the wrong kind with
    /// its line. Notes also count the rows with categories that were not met in training.
    pub fn read(&self, path: &str, delimiter: Option<u8>, targets: ReadTargets) -> Result<(Source, Vec<String>)> {
        let names = match targets {
            ReadTargets::No => None,
            ReadTargets::Yes => Some(self.target_names.as_slice()),
            ReadTargets::Named(names) => Some(names),
        };
        if names.is_some_and(|names| names.len() != self.target_names.len()) {
            return Err(Error::input(format!(
                "target: {} columns are expected ({}), found {}",
                self.target_names.len(),
                list_names(&self.target_names),
                names.map_or(0, <[_]>::len)
            )));
        }
        let columns = match &self.inputs {
            Inputs::Bytes { width } => SchemaColumns::Bytes(*width),
            Inputs::Columns(encoders) => {
                SchemaColumns::Named(encoders.iter().map(|e| (e.column.clone(), e.want(), true)).collect())
            }
        };
        let schema = Schema { columns, task: &self.task, target_names: &self.target_names, needed_by: "the model" };
        let (source, mut notes) = schema::read(&schema, path, delimiter, names)?;
        notes.extend(self.strange_cells(&source)?);
        Ok((source, notes))
    }

    fn strange_cells(&self, source: &Source) -> Result<Vec<String>> {
        let (Inputs::Columns(encoders), Content::Table(columns)) = (&self.inputs, &source.content) else {
            return Ok(Vec::new());
        };
        let bound = bind(encoders, columns, source.origin())?;
        let mut notes = Vec::new();
        for (encoder, bound) in encoders.iter().zip(bound) {
            let rows = bound.strange(source.rows());
            if rows > 0 {
                let (column, what) = (
                    &encoder.column,
                    match encoder.want() {
                        Want::Text => "a category that was not met in training",
                        _ => "no value, though every training row had one; the median is taken",
                    },
                );
                notes.push(format!("column `{column}`: {rows} of {} rows have {what}", source.rows()));
            }
        }
        Ok(notes)
    }

    fn other_inputs(&self, source: &Source) -> Error {
        let describe = |bytes: Option<usize>| match bytes {
            Some(width) => format!("images of {width} bytes"),
            None => "a table of named columns".to_owned(),
        };
        let own = describe(match &self.inputs {
            Inputs::Bytes { width } => Some(*width),
            Inputs::Columns(_) => None,
        });
        let found = describe(match &source.content {
            Content::Bytes { width, .. } => Some(*width),
            Content::Table(_) => None,
        });
        Error::input(format!("{}: the model expects {own}, found {found}", source.origin()))
    }

    /// Inputs of the network.
    pub fn inputs(&self) -> usize {
        match &self.inputs {
            Inputs::Bytes { width } => *width,
            Inputs::Columns(encoders) => encoders.iter().map(Encoder::width).sum::<usize>() + self.spare,
        }
    }

    /// Outputs of the network: classes, labels or targets.
    pub fn outputs(&self) -> usize {
        self.task.outputs()
    }

    /// What is learned.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Names of the target columns.
    pub fn target_names(&self) -> &[String] {
        &self.target_names
    }

    /// What is done to numbers.
    pub fn preprocess(&self) -> Preprocess {
        self.preprocess
    }

    /// What the inputs are made of.
    pub fn encoders(&self) -> &Inputs {
        &self.inputs
    }

    /// A standardised prediction of the regression target `output`, back in the target's own units.
    pub fn unscale_target(&self, output: usize, value: f32) -> f64 {
        match (self.target_mean.get(output), self.target_deviation.get(output)) {
            (Some(mean), Some(deviation)) => mean + deviation * f64::from(value),
            _ => f64::from(value),
        }
    }

    /// Checks a pipeline that was read from a file anyone may have written, so that nothing panics later.
    pub fn validate(&self) -> Result<()> {
        let broken = |what: &str| Error::input(format!("the pipeline of the model is damaged: {what}"));
        let unique = |names: &[String]| names.iter().collect::<HashSet<_>>().len() == names.len();
        match &self.inputs {
            Inputs::Bytes { width } if *width == 0 => return Err(broken("images of no bytes")),
            Inputs::Bytes { .. } => {}
            Inputs::Columns(encoders) => {
                for encoder in encoders {
                    encoder.validate().map_err(|what| broken(&what))?;
                }
                let names: Vec<String> = encoders.iter().map(|encoder| encoder.column.clone()).collect();
                if encoders.is_empty() || !unique(&names) {
                    return Err(broken("columns are missing or named twice"));
                }
                if self.spare > MOST_INPUTS {
                    return Err(broken("more spare inputs than there may be"));
                }
            }
        }
        let (targets, names, least) = match &self.task {
            Task::Classification { classes } => (1, classes, 2),
            Task::MultiLabel { labels } => (labels.len(), labels, 1),
            Task::Regression { targets } => (targets.len(), targets, 1),
        };
        if names.len() < least || !unique(names) || self.target_names.len() != targets {
            return Err(broken("classes or targets are missing or named twice"));
        }
        let statistics = if matches!(self.task, Task::Regression { .. }) { targets } else { 0 };
        let finite = self.target_mean.iter().chain(&self.target_deviation).all(|value| value.is_finite());
        let positive = self.target_deviation.iter().all(|deviation| *deviation > 0.0 && deviation.is_normal());
        if self.target_mean.len() != statistics || self.target_deviation.len() != statistics || !finite || !positive {
            return Err(broken("the units of the target"));
        }
        Ok(())
    }
}

impl Encoder {
    fn want(&self) -> Want {
        match self.encoding {
            super::encoder::Encoding::Number { .. } => Want::Number,
            super::encoder::Encoding::Categories { .. } => Want::Text,
        }
    }
}

fn bind<'a>(encoders: &'a [Encoder], columns: &'a [Column], origin: &str) -> Result<Vec<super::encoder::Bound<'a>>> {
    let by_name: HashMap<&str, &Column> = columns.iter().map(|column| (column.name.as_str(), column)).collect();
    let bound = encoders.iter().map(|encoder| match by_name.get(encoder.column.as_str()) {
        Some(column) => encoder.bind(column),
        None => Err(format!("column `{}` is needed and missing", encoder.column)),
    });
    bound.collect::<Result<_, _>>().map_err(|what| Error::input(format!("{origin}: {what}")))
}

/// What is wrong with a column of texts that was meant to be one of numbers: nearly all its cells are numbers, or would
/// be with a point for the comma.
fn spoilt_number(column: &Column) -> Option<String> {
    let Values::Text(texts) = &column.values else { return None };
    // A handful of codes, some of them numbers, are categories.
    if column.declared || texts.names.len() < 20 {
        return None;
    }
    let number = |text: &str| text.trim().parse::<f64>().is_ok();
    let (plain, comma): (Vec<bool>, Vec<bool>) =
        texts.names.iter().map(|name| (number(name), !number(name) && number(&name.replacen(',', ".", 1)))).unzip();
    let (mut all, mut numbers, mut commas, mut first) = (0, 0, 0, None);
    for (row, &code) in texts.codes.iter().enumerate().filter(|(_, code)| **code != MISSING) {
        let code = code as usize;
        all += 1;
        numbers += usize::from(plain[code]);
        commas += usize::from(comma[code]);
        if !plain[code] && first.is_none() {
            first = Some((row, &texts.names[code]));
        }
    }
    let (row, text) = first?;
    if (numbers + commas) * 10 >= all * 9 && commas * 2 > all {
        return Some(format!("`{text}` has a comma where a number has a point; write 1.5 for 1,5"));
    }
    (numbers * 10 >= all * 9).then(|| {
        format!(
            "{numbers} of {all} cells are numbers, and `{text}` (row {} under the header) is not: mend it, leave the cell \
             empty where the value is missing, or take the column as categories with --categorical",
            row + 1
        )
    })
}

fn fit_columns(
    columns: &[Column],
    rows: &[usize],
    preprocess: Preprocess,
    origin: &str,
) -> Result<(Inputs, Vec<String>)> {
    let fitted: Vec<_> = columns.par_iter().map(|column| Encoder::fit(column, rows, preprocess)).collect();
    let (mut encoders, mut notes) = (Vec::new(), Vec::new());
    let (mut constant, mut empty) = (Vec::new(), Vec::new());
    for (column, fitted) in columns.iter().zip(fitted) {
        if let Some(what) = spoilt_number(column) {
            return Err(Error::input(format!("{origin}: column `{}`: {what}", column.name)));
        }
        match fitted {
            Ok(encoder) => encoders.push(encoder),
            Err(LeftOut::Constant) => constant.push(column.name.clone()),
            Err(LeftOut::Empty) => empty.push(column.name.clone()),
            Err(LeftOut::FreeText(distinct)) => notes.push(format!(
                "column `{}` is left out: {distinct} different texts in {} training rows look like names or remarks \
                 (`--categorical {}` takes them as categories)",
                column.name,
                rows.len(),
                column.name
            )),
        }
    }
    if !constant.is_empty() {
        notes.push(format!("left out, the same value in every training row: {}", list_names(&constant)));
    }
    if !empty.is_empty() {
        notes.push(format!("left out, no value in any training row: {}", list_names(&empty)));
    }
    if encoders.is_empty() {
        let why = if notes.is_empty() { "there is no column beside the target".to_owned() } else { notes.join("; ") };
        return Err(Error::input(format!("{origin}: no column to learn from: {why}")));
    }
    let inputs: usize = encoders.iter().map(Encoder::width).sum();
    match encoders.iter().max_by_key(|encoder| encoder.width()) {
        Some(widest) if inputs > MOST_INPUTS => Err(Error::input(format!(
            "{origin}: the columns become {inputs} inputs, {} of them from `{}`; at most {MOST_INPUTS} are possible: \
             leave columns with many categories out",
            widest.width(),
            widest.column
        ))),
        _ => Ok((Inputs::Columns(encoders), notes)),
    }
}

/// Mean and deviation of regression targets; checks that the training rows hold something to learn.
fn fit_targets(source: &Source, rows: &[usize]) -> Result<(Vec<f64>, Vec<f64>)> {
    let origin = source.origin();
    match &source.target {
        TargetValues::None => Err(Error::input(format!("{origin}: the target was not read"))),
        TargetValues::Binary(_) => Ok((Vec::new(), Vec::new())),
        TargetValues::Classes(labels) => {
            let first = labels[rows[0]];
            if rows.iter().all(|&row| labels[row] == first) {
                let names = list_names(&source.target_names);
                return Err(Error::input(format!("{origin}: the training rows have one class only in target {names}")));
            }
            Ok((Vec::new(), Vec::new()))
        }
        TargetValues::Real(values) => {
            let width = source.target_names.len();
            let (mut means, mut deviations) = (Vec::new(), Vec::new());
            for (j, name) in source.target_names.iter().enumerate() {
                let first = values[rows[0] * width + j];
                let (mean, deviation) = moments(rows.iter().map(|&row| values[row * width + j]));
                if rows.iter().all(|&row| values[row * width + j] == first) || !deviation.is_normal() {
                    return Err(Error::input(format!(
                        "{origin}: target `{name}` is {first} in every training row; there is nothing to learn"
                    )));
                }
                means.push(mean);
                deviations.push(deviation);
            }
            Ok((means, deviations))
        }
    }
}
