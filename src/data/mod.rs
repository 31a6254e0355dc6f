//! From a file to what an engine trains on: readers, task detection, splits, encoders.
//!
//! [`load`] reads raw rows ([`Source`]) and decides what the target means; [`split`] divides the rows; a
//! [`Pipeline`] is fitted on the training rows alone and turns any rows into a [`Dataset`]. Nothing here trains, and
//! nothing is learned from rows that a model is judged by.
//!
//! ```
//! use hpt_engine::data::{DataSpec, Pipeline, Preprocess, SplitSpec, load, split};
//!
//! let loaded = load(&DataSpec::new("digits"))?;
//! let parts = split(&loaded.source, loaded.test.is_some(), &SplitSpec::default())?;
//! let (pipeline, notes) = Pipeline::fit(&loaded.source, &parts.train, Preprocess::Standard)?;
//! let train = pipeline.transform(&loaded.source, &parts.train)?;
//! assert_eq!((train.rows, train.targets.outputs()), (1150, 10));
//! # assert_eq!(notes.len(), 1);
//! # Ok::<(), hpt_engine::Error>(())
//! ```
//!
//! What is decided for the user, each with a note or an error that says so:
//!
//! - A missing cell is an empty one, `NA`, `N/A`, `NaN`, `null` (any case) or `?`. In numbers it becomes the median
//!   and an input of its own; in text a category of its own where training rows have it, else "unseen". In a
//!   target it is an error.
//! - Left out: columns with one value, columns without any, texts that look like names or remarks (more than 1,000
//!   distinct, or more than 50 and a fifth of the rows, unless declared categorical), a nameless index of rows.
//! - Every class needs a row in every part of a split.

mod builtin;
mod csv;
mod dataset;
mod encoder;
mod file;
mod idx;
mod npz;
mod open;
mod pages;
mod pipeline;
mod schema;
mod sketch;
mod source;
mod split;
mod target;
#[cfg(test)]
mod tests;

pub use dataset::{Dataset, Features, Targets};
pub use encoder::{Encoder, Encoding, Preprocess, Scale};
pub use pipeline::{Inputs, Pipeline, ReadTargets};
pub use sketch::Sketch;
pub use source::{Column, Content, MISSING, Numbers, Source, TargetValues, Task, Texts, Values};
pub use split::{Fold, Folds, Split, SplitSpec, balanced_weights, fold_count, folds, split};

use crate::{Error, Result};
use csv::{CsvFile, Want};
use open::{Arrays, Raw};
use target::{Place, TargetColumn};

/// How the target is understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskChoice {
    /// Text, or at most 50 distinct integers, is classes; other numbers are a regression. Several targets of 0 and 1
    /// are labels.
    #[default]
    Auto,
    /// Classes; of several targets, labels.
    Classification,
    /// Numbers.
    Regression,
}

impl TaskChoice {
    /// Every variant with its name on the command line.
    pub const ALL: [(&'static str, TaskChoice); 3] = [
        ("auto", TaskChoice::Auto),
        ("classification", TaskChoice::Classification),
        ("regression", TaskChoice::Regression),
    ];

    /// The variant of this name; `place` (as `--task`) is for the message.
    pub fn by_name(place: &str, name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, variant)| *variant);
        found.ok_or_else(|| Error::unknown(place, name, Self::ALL.iter().map(|(known, _)| *known)))
    }
}

/// Which data, and how to read them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DataSpec {
    /// A path, or the name of a built-in set (`digits`, `california-housing`), which comes before a file of that name.
    pub path: String,
    /// The target columns; none for the last column (or a built-in set's own target).
    pub target: Vec<String>,
    /// What separates cells; found out unless given.
    pub delimiter: Option<u8>,
    /// A file of test rows.
    pub test: Option<String>,
    /// Columns of numbers to be taken as categories.
    pub categorical: Vec<String>,
    /// A column that says to which fold a row belongs; it is not an input.
    pub fold_column: Option<String>,
    /// What the target means.
    pub task: TaskChoice,
}

impl DataSpec {
    /// Everything by default from this path or built-in set.
    pub fn new(path: impl Into<String>) -> Self {
        DataSpec { path: path.into(), ..DataSpec::default() }
    }

    /// What the data are called, and a study of them where it has no name of its own: the file without its endings.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }
}

/// What [`load`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The rows.
    pub source: Source,
    /// The rows of a test set of its own.
    pub test: Option<Source>,
    /// The data's name: the file's without its endings.
    pub name: String,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Reads data and decides what the target means.
///
/// Every error is the user's ([`Error::Input`]) and names the file, and the line and column where there are any.
pub fn load(spec: &DataSpec) -> Result<Loaded> {
    let (source, own_test, mut notes) = match open::open(&spec.path, spec.delimiter)? {
        Raw::Csv { file, target } => {
            let (source, notes) = from_csv(spec, &file, target)?;
            (source, None, notes)
        }
        Raw::Arrays { train, test } => {
            let source = from_arrays(spec, train)?;
            let test = test.map(|test| conform_test(&source, test)).transpose()?;
            (source, test, Vec::new())
        }
    };
    let test = match &spec.test {
        None => own_test,
        Some(path) => {
            let schema = schema::Schema::of_source(&source);
            let (test, test_notes) = schema::read(&schema, path, spec.delimiter, Some(&source.target_names))?;
            notes.extend(test_notes);
            Some(test)
        }
    };
    Ok(Loaded { source, test, name: spec.name(), notes })
}

fn from_csv(spec: &DataSpec, file: &CsvFile, own_target: Option<&str>) -> Result<(Source, Vec<String>)> {
    let origin = file.origin.as_str();
    let mut wants = vec![Want::Auto; file.names.len()];
    let position = |what: &str, name: &str| {
        let known = file.names.iter().map(String::as_str);
        let found = file.names.iter().position(|n| n == name);
        found.ok_or_else(|| Error::unknown(&format!("{origin}: {what} column"), name, known))
    };
    let fold = spec.fold_column.as_deref().map(|name| position("fold", name)).transpose()?;
    let mut targets: Vec<usize> = spec.target.iter().map(|name| position("target", name)).collect::<Result<_>>()?;
    if targets.is_empty() {
        let last = (0..file.names.len()).rev().find(|&index| Some(index) != fold);
        targets.extend(own_target.and_then(|name| file.names.iter().position(|n| n == name)).or(last));
    }
    check_roles(file, &targets, fold)?;
    let mut declared = vec![false; file.names.len()];
    for name in &spec.categorical {
        declared[position("categorical", name)?] = true;
    }
    for index in (0..file.names.len()).filter(|i| declared[*i] || targets.contains(i) || Some(*i) == fold) {
        wants[index] = Want::Text;
    }
    let table = file.read(&wants)?;
    let place = Place { origin, lines: Some(&table.lines) };
    let (mut columns, mut target_columns, mut folds, mut notes) = (Vec::new(), Vec::new(), None, Vec::new());
    for (index, values) in table.columns {
        let name = file.names[index].clone();
        match values {
            Values::Text(texts) if targets.contains(&index) => {
                target_columns.push((index, TargetColumn { name, texts }))
            }
            Values::Text(texts) if Some(index) == fold => folds = Some(given_folds(&name, texts, place)?),
            values if file.unnamed[index] && counts_rows(&values) => {
                notes.push(format!("{origin}: column {} has no name and counts the rows; it is left out", index + 1));
            }
            values => columns.push(Column { name, values, declared: declared[index] }),
        }
    }
    // In the order in which the user named them.
    target_columns.sort_by_key(|(index, _)| targets.iter().position(|target| target == index));
    let target_columns: Vec<TargetColumn> = target_columns.into_iter().map(|(_, column)| column).collect();
    if columns.is_empty() {
        return Err(Error::input(format!("{origin}: there is no column beside the target to learn from")));
    }
    let (task, target) = target::detect(&target_columns, spec.task, place)?;
    let source = Source {
        origin: origin.into(),
        rows: table.rows,
        content: Content::Table(columns),
        task,
        target_names: target_columns.into_iter().map(|column| column.name).collect(),
        target,
        folds,
    };
    Ok((source, notes))
}

fn check_roles(file: &CsvFile, targets: &[usize], fold: Option<usize>) -> Result<()> {
    for (position, &target) in targets.iter().enumerate() {
        let what = if Some(target) == fold {
            "is both a target and the fold column"
        } else if targets[..position].contains(&target) {
            "is named twice as a target"
        } else {
            continue;
        };
        return Err(Error::input(format!("{}: column `{}` {what}", file.origin, file.names[target])));
    }
    Ok(())
}

/// Whether the cells are 0, 1, 2, … or 1, 2, 3, …: an index that some program wrote with the table.
fn counts_rows(values: &Values) -> bool {
    let Values::Numbers(numbers) = values else { return false };
    let first = numbers.get(0);
    (first == 0.0 || first == 1.0) && (0..numbers.len()).all(|row| numbers.get(row) == first + row as f64)
}

fn given_folds(name: &str, texts: Texts, place: Place) -> Result<Vec<u32>> {
    if let Some(row) = texts.codes.iter().position(|&code| code == MISSING) {
        return Err(Error::input(format!("{}: fold column `{name}` is missing", place.row(row))));
    }
    let mut names = texts.names.clone();
    target::order_names(&mut names);
    if names.len() < 2 {
        let origin = place.origin;
        return Err(Error::input(format!(
            "{origin}: fold column `{name}` holds one value only; at least two are needed"
        )));
    }
    let fold_of = target::match_names(&texts.names, &names);
    Ok(texts.codes.into_iter().map(|code| fold_of[code as usize]).collect())
}

fn from_arrays(spec: &DataSpec, arrays: Arrays) -> Result<Source> {
    let Arrays { origin, rows, content, targets } = arrays;
    let found: Vec<String> = targets.iter().map(|column| column.name.clone()).collect();
    if let Some(name) = spec.target.iter().find(|name| !found.contains(name)) {
        return Err(Error::unknown(&format!("{origin}: target"), name, found.iter().map(String::as_str)));
    }
    if let Some(name) = spec.fold_column.as_ref() {
        return Err(Error::input(format!("{origin}: fold column `{name}`: only a table has named columns")));
    }
    let content = declare(content, &spec.categorical, &origin)?;
    let mut targets = targets;
    if !spec.target.is_empty() {
        targets.retain(|column| spec.target.contains(&column.name));
        targets.sort_by_key(|column| spec.target.iter().position(|name| *name == column.name));
    }
    if targets.is_empty() {
        return Err(Error::input(format!(
            "{origin}: there are no targets beside the inputs (an IDX file of labels `…-labels-idx1-ubyte[.gz]`, an array `y`)"
        )));
    }
    let (task, target) = target::detect(&targets, spec.task, Place { origin: &origin, lines: None })?;
    let target_names = targets.into_iter().map(|column| column.name).collect();
    Ok(Source { origin, rows, content, task, target_names, target, folds: None })
}

/// Takes the named columns as categories.
fn declare(content: Content, categorical: &[String], origin: &str) -> Result<Content> {
    let mut content = content;
    for name in categorical {
        let Content::Table(columns) = &mut content else {
            return Err(Error::input(format!("{origin}: categorical column `{name}`: images have no named columns")));
        };
        let Some(index) = columns.iter().position(|column| column.name == *name) else {
            let known = columns.iter().map(|column| column.name.as_str());
            return Err(Error::unknown(&format!("{origin}: categorical column"), name, known));
        };
        let column = columns.remove(index);
        columns.insert(index, Column { declared: true, values: open::as_texts(column.values), ..column });
    }
    Ok(content)
}

fn conform_test(source: &Source, test: Arrays) -> Result<Source> {
    let schema = schema::Schema::of_source(source);
    Ok(schema::read_arrays(&schema, test, Some(&source.target_names))?.0)
}

/// The file's or folder's name without endings.
fn name_of(path: &str) -> String {
    let name = std::path::Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    let mut name = name.unwrap_or_else(|| "data".into());
    for end in [".gz", ".csv", ".tsv", ".txt", ".npz"] {
        name = name.strip_suffix(end).map_or(name.clone(), str::to_owned);
    }
    if name.is_empty() { "data".into() } else { name }
}

/// "`a`, `b` and 3 more" for messages.
pub(crate) fn list_names(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
