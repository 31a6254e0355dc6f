//! What the target columns mean: the task, the classes and their order, and the value of every row.
//!
//! Target cells arrive as texts, whatever they look like, so that class names stay as written; equal numbers
//! written differently (`1`, `1.0`) are one class. [`detect`] decides for training data, [`conform`] reads the
//! target of another file by the classes that are already known.

use super::TaskChoice;
use super::csv::parse_number;
use super::source::{MISSING, TargetValues, Task, Texts};
use crate::{Error, Result};
use std::collections::HashMap;

/// At most this many distinct integers are classes where the task is left to detection.
const MOST_INTEGER_CLASSES: usize = 50;

/// One target column as read.
#[derive(Debug)]
pub(crate) struct TargetColumn {
    pub name: String,
    pub texts: Texts,
}

/// Where rows come from, to name a place in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub origin: &'a str,
    /// The file's line of each row; `None` where rows have no lines.
    pub lines: Option<&'a [u64]>,
}

impl Place<'_> {
    /// `file:line` or `file: row N`.
    pub fn row(&self, row: usize) -> String {
        match self.lines.and_then(|lines| lines.get(row)) {
            Some(line) => format!("{}:{line}", self.origin),
            None => format!("{}: row {}", self.origin, row + 1),
        }
    }
}

/// The task and the targets of training data.
pub(crate) fn detect(columns: &[TargetColumn], choice: TaskChoice, place: Place) -> Result<(Task, TargetValues)> {
    for column in columns {
        no_missing(column, place)?;
    }
    let names = || columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    if let [column] = columns {
        let classes = match choice {
            TaskChoice::Classification => true,
            TaskChoice::Regression => false,
            TaskChoice::Auto => is_classes(column, place)?,
        };
        if classes {
            return classify(column, choice, place);
        }
    } else if choice != TaskChoice::Regression {
        let binary: Option<Vec<Vec<f32>>> = columns.iter().map(zeros_and_ones).collect();
        match binary {
            Some(values) => {
                return Ok((Task::MultiLabel { labels: names() }, TargetValues::Binary(interleave(&values))));
            }
            None if choice == TaskChoice::Classification => {
                let bad = columns.iter().find(|column| zeros_and_ones(column).is_none()).map_or("", |c| &c.name);
                return Err(Error::input(format!(
                    "{}: target `{bad}`: several targets of a classification must hold 0 and 1 only (one column a label)",
                    place.origin
                )));
            }
            None => {}
        }
    }
    let values = columns.iter().map(|column| reals(column, place)).collect::<Result<Vec<_>>>()?;
    Ok((Task::Regression { targets: names() }, TargetValues::Real(interleave(&values))))
}

/// The targets of another file for a known task.
pub(crate) fn conform(columns: &[TargetColumn], task: &Task, place: Place) -> Result<TargetValues> {
    for column in columns {
        no_missing(column, place)?;
    }
    Ok(match task {
        Task::Classification { classes } => {
            let column = &columns[0];
            let matched = match_names(&column.texts.names, classes);
            if let Some(code) = matched.iter().position(|&class| class == MISSING) {
                let class = &column.texts.names[code];
                let known = classes.iter().map(String::as_str);
                let what = format!("{}: target `{}`: class", row_of(column, code as u32, place), column.name);
                return Err(Error::unknown(&what, class, known));
            }
            TargetValues::Classes(column.texts.codes.iter().map(|&code| matched[code as usize]).collect())
        }
        Task::MultiLabel { .. } => {
            let labels = columns.iter().map(|column| {
                zeros_and_ones(column).ok_or_else(|| {
                    let bad = column.texts.names.iter().position(|name| zero_or_one(name).is_none()).unwrap_or(0);
                    let found = &column.texts.names[bad];
                    let row = row_of(column, bad as u32, place);
                    Error::input(format!("{row}: target `{}`: 0 or 1 is expected, found `{found}`", column.name))
                })
            });
            TargetValues::Binary(interleave(&labels.collect::<Result<Vec<_>>>()?))
        }
        Task::Regression { .. } => {
            let values = columns.iter().map(|column| reals(column, place)).collect::<Result<Vec<_>>>()?;
            TargetValues::Real(interleave(&values))
        }
    })
}

/// For each name the position of the same name in `known`, or of the same number written differently; else
/// [`MISSING`].
pub(crate) fn match_names(names: &[String], known: &[String]) -> Vec<u32> {
    let exact: HashMap<&str, u32> = known.iter().enumerate().map(|(i, name)| (name.as_str(), i as u32)).collect();
    let number = |name: &str| parse_number(name.as_bytes()).filter(|n| n.is_finite()).map(|n| (n + 0.0).to_bits());
    let numeric: HashMap<u64, u32> =
        known.iter().enumerate().rev().filter_map(|(i, name)| Some((number(name)?, i as u32))).collect();
    let find = |name: &String| exact.get(name.as_str()).or_else(|| numeric.get(&number(name)?)).copied();
    names.iter().map(|name| find(name).unwrap_or(MISSING)).collect()
}

/// Puts distinct names in the order of their numbers if all are numbers, else in alphabetic order.
pub(crate) fn order_names(names: &mut [String]) {
    let number = |name: &String| parse_number(name.as_bytes());
    if names.iter().all(|name| number(name).is_some()) {
        names.sort_by_cached_key(|name| {
            // Bits of a number in an order of integers: flip the sign bit, and all bits of negative numbers.
            let bits = number(name).unwrap_or(0.0).to_bits() as i64;
            (bits ^ (((bits >> 63) as u64) >> 1) as i64, name.len(), name.clone())
        });
    } else {
        names.sort();
    }
}

fn row_of(column: &TargetColumn, code: u32, place: Place) -> String {
    place.row(column.texts.codes.iter().position(|&c| c == code).unwrap_or(0))
}

fn no_missing(column: &TargetColumn, place: Place) -> Result<()> {
    let missing = column.texts.codes.iter().filter(|&&code| code == MISSING).count();
    if missing == 0 {
        return Ok(());
    }
    Err(Error::input(format!(
        "{}: target `{}` is missing ({missing} of {} rows); remove the rows without a target",
        row_of(column, MISSING, place),
        column.name,
        column.texts.codes.len()
    )))
}

/// The number of each distinct text; `None` where it is not a number.
fn numbers(column: &TargetColumn) -> Vec<Option<f64>> {
    column.texts.names.iter().map(|name| parse_number(name.as_bytes())).collect()
}

fn is_classes(column: &TargetColumn, place: Place) -> Result<bool> {
    let numbers = numbers(column);
    let known: Vec<f64> = numbers.iter().copied().flatten().collect();
    let integers = known.iter().all(|n| n.fract() == 0.0);
    let few = known.len() <= MOST_INTEGER_CLASSES;
    if known.len() == numbers.len() {
        return Ok(integers && few);
    }
    // Text makes classes, but a stray text among measurements is a mistake in the file.
    let numeric_rows = column.texts.codes.iter().filter(|&&code| numbers[code as usize].is_some()).count();
    if numeric_rows * 2 > column.texts.codes.len() && !(integers && few) {
        let bad = numbers.iter().position(Option::is_none).unwrap_or(0);
        return Err(Error::input(format!(
            "{}: target `{}`: a number is expected as in {numeric_rows} other rows, found `{}` (`--task classification` takes every text as a class)",
            row_of(column, bad as u32, place),
            column.name,
            column.texts.names[bad]
        )));
    }
    Ok(true)
}

fn classify(column: &TargetColumn, choice: TaskChoice, place: Place) -> Result<(Task, TargetValues)> {
    let mut ordered = column.texts.names.clone();
    order_names(&mut ordered);
    let numeric = numbers(column).iter().all(Option::is_some);
    // The first of equal numbers is the shortest, and the others are matched to it.
    ordered.dedup_by(|b, a| numeric && parse_number(a.as_bytes()) == parse_number(b.as_bytes()));
    let class_of = match_names(&column.texts.names, &ordered);
    let classes = ordered;
    if classes.len() < 2 {
        let remedy = if choice == TaskChoice::Auto && numeric { " (or is the target another column?)" } else { "" };
        return Err(Error::input(format!(
            "{}: target `{}` has one class only, `{}`; a classification needs at least two{remedy}",
            place.origin, column.name, classes[0]
        )));
    }
    let labels = column.texts.codes.iter().map(|&code| class_of[code as usize]).collect();
    Ok((Task::Classification { classes }, TargetValues::Classes(labels)))
}

fn zero_or_one(text: &str) -> Option<f32> {
    match text {
        "true" | "True" | "TRUE" => Some(1.0),
        "false" | "False" | "FALSE" => Some(0.0),
        _ => match parse_number(text.as_bytes()) {
            Some(0.0) => Some(0.0),
            Some(1.0) => Some(1.0),
            _ => None,
        },
    }
}

fn zeros_and_ones(column: &TargetColumn) -> Option<Vec<f32>> {
    let by_code: Option<Vec<f32>> = column.texts.names.iter().map(|name| zero_or_one(name)).collect();
    let by_code = by_code?;
    Some(column.texts.codes.iter().map(|&code| by_code[code as usize]).collect())
}

fn reals(column: &TargetColumn, place: Place) -> Result<Vec<f64>> {
    let by_code = numbers(column);
    for (code, number) in by_code.iter().enumerate() {
        let row = || row_of(column, code as u32, place);
        let found = &column.texts.names[code];
        match number {
            Some(n) if n.abs() <= f64::from(f32::MAX) => {}
            Some(_) => {
                let target = &column.name;
                return Err(Error::input(format!(
                    "{}: target `{target}`: a finite number is expected, found `{found}`",
                    row()
                )));
            }
            None => {
                let target = &column.name;
                return Err(Error::input(format!(
                    "{}: target `{target}`: a number is expected, found `{found}`",
                    row()
                )));
            }
        }
    }
    Ok(column.texts.codes.iter().map(|&code| by_code[code as usize].unwrap_or(f64::NAN)).collect())
}

/// Columns to row-major.
fn interleave<T: Copy>(columns: &[Vec<T>]) -> Vec<T> {
    let rows = columns.first().map_or(0, Vec::len);
    (0..rows).flat_map(|row| columns.iter().map(move |column| column[row])).collect()
}
