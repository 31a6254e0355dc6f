//! Reading a file by what is already known: a test set by its training set, any file by a model's pipeline.
//!
//! Columns are found by name and read as the kind they had in training; targets by the classes known. What a file
//! has beside that is ignored, with a note.

use super::csv::{CsvFile, Want};
use super::list_names;
use super::open::{Arrays, Raw};
use super::source::{Column, Content, Source, TargetValues, Task, Values};
use super::target::{Place, TargetColumn, conform};
use crate::{Error, Result};
use std::collections::HashMap;

/// The inputs that are expected.
pub(crate) enum SchemaColumns {
    /// Images of so many bytes.
    Bytes(usize),
    /// (name, kind, whether any number of categories is accepted)
    Named(Vec<(String, Want, bool)>),
}

/// What a file must hold.
pub(crate) struct Schema<'a> {
    pub columns: SchemaColumns,
    pub task: &'a Task,
    pub target_names: &'a [String],
    /// Who needs the columns, for messages.
    pub needed_by: &'a str,
}

impl<'a> Schema<'a> {
    /// What a training source asks of its test file.
    pub fn of_source(source: &'a Source) -> Self {
        let named = |column: &Column| {
            let want = match &column.values {
                Values::Text(_) => Want::Text,
                // Without a single value there was nothing to tell the kind from.
                Values::Numbers(numbers) if (0..numbers.len()).all(|row| numbers.get(row).is_nan()) => Want::Auto,
                Values::Numbers(_) => Want::Number,
            };
            (column.name.clone(), want, column.declared)
        };
        let columns = match &source.content {
            Content::Bytes { width, .. } => SchemaColumns::Bytes(*width),
            Content::Table(columns) => SchemaColumns::Named(columns.iter().map(named).collect()),
        };
        Schema { columns, task: &source.task, target_names: &source.target_names, needed_by: "the training data" }
    }
}

/// Reads a file, folder or built-in set by a schema; targets from these columns, or none.
pub(crate) fn read(
    schema: &Schema,
    path: &str,
    delimiter: Option<u8>,
    targets: Option<&[String]>,
) -> Result<(Source, Vec<String>)> {
    match super::open::open(path, delimiter)? {
        Raw::Csv { file, .. } => read_csv(schema, &file, targets),
        Raw::Arrays { train, test, .. } => {
            let note = test.as_ref().map(|test| format!("the test part is taken: {}", test.origin));
            let (source, mut notes) = read_arrays(schema, test.unwrap_or(train), targets)?;
            notes.extend(note);
            Ok((source, notes))
        }
    }
}

/// Reads a table by a schema.
fn read_csv(schema: &Schema, file: &CsvFile, targets: Option<&[String]>) -> Result<(Source, Vec<String>)> {
    let origin = file.origin.as_str();
    let columns = match &schema.columns {
        SchemaColumns::Named(columns) => columns,
        SchemaColumns::Bytes(width) => {
            let by = schema.needed_by;
            return Err(Error::input(format!("{origin}: {by} needs images of {width} bytes, found a table")));
        }
    };
    let places: HashMap<&str, usize> = file.names.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let position = |name: &str, what: &str| match places.get(name) {
        Some(&index) => Ok(index),
        None => Err(needed(origin, what, name, schema.needed_by, &file.names)),
    };
    let mut wants = vec![Want::Skip; file.names.len()];
    let mut column_places = Vec::with_capacity(columns.len());
    for (name, want, _) in columns {
        let index = position(name, "column")?;
        wants[index] = *want;
        column_places.push(index);
    }
    let mut target_places = Vec::new();
    for name in targets.unwrap_or_default() {
        let index = position(name, "target")?;
        if wants[index] != Want::Skip {
            return Err(Error::input(format!(
                "{origin}: column `{name}` is an input of the model or named twice, it cannot be the target"
            )));
        }
        wants[index] = Want::Text;
        target_places.push(index);
    }
    let ignored: Vec<String> =
        file.names.iter().zip(&wants).filter(|(_, want)| **want == Want::Skip).map(|(name, _)| name.clone()).collect();
    let table = file.read(&wants)?;
    let mut cells: Vec<Option<Values>> = vec![None; file.names.len()];
    for (index, values) in table.columns {
        cells[index] = Some(values);
    }
    let place = Place { origin, lines: Some(&table.lines) };
    let target = match targets {
        None => TargetValues::None,
        Some(names) => {
            let columns = names.iter().zip(target_places).filter_map(|(name, index)| match cells[index].take() {
                Some(Values::Text(texts)) => Some(TargetColumn { name: name.clone(), texts }),
                _ => None,
            });
            conform(&columns.collect::<Vec<_>>(), schema.task, place)?
        }
    };
    let columns = columns.iter().zip(column_places).filter_map(|((name, _, declared), index)| {
        Some(Column { name: name.clone(), values: cells[index].take()?, declared: *declared })
    });
    let source = Source {
        origin: origin.into(),
        rows: table.rows,
        content: Content::Table(columns.collect()),
        task: schema.task.clone(),
        target_names: schema.target_names.to_vec(),
        target,
        folds: None,
    };
    let notes = if ignored.is_empty() {
        Vec::new()
    } else {
        vec![format!("{origin}: ignored columns: {}", list_names(&ignored))]
    };
    Ok((source, notes))
}

pub(crate) fn read_arrays(
    schema: &Schema,
    arrays: Arrays,
    targets: Option<&[String]>,
) -> Result<(Source, Vec<String>)> {
    let Arrays { origin, rows, content, targets: found } = arrays;
    let content = match (&schema.columns, content) {
        (SchemaColumns::Bytes(width), content @ Content::Bytes { width: found, .. }) if *width == found => content,
        (SchemaColumns::Named(columns), Content::Table(table)) => {
            Content::Table(choose(columns, table, &origin, schema.needed_by)?)
        }
        (SchemaColumns::Bytes(width), content) => {
            let found = match content {
                Content::Bytes { width, .. } => format!("images of {width}"),
                Content::Table(_) => "numbers".to_owned(),
            };
            let by = schema.needed_by;
            return Err(Error::input(format!("{origin}: {by} needs images of {width} bytes, found {found}")));
        }
        (SchemaColumns::Named(_), Content::Bytes { .. }) => {
            return Err(Error::input(format!("{origin}: {} needs named columns, found images", schema.needed_by)));
        }
    };
    let target = match targets {
        None => TargetValues::None,
        Some(names) if found.len() == names.len() => {
            conform(&found, schema.task, Place { origin: &origin, lines: None })?
        }
        Some(names) => {
            let (needed, found) = (names.len(), found.len());
            return Err(Error::input(format!("{origin}: {needed} target columns are expected, found {found}")));
        }
    };
    let (task, target_names) = (schema.task.clone(), schema.target_names.to_vec());
    Ok((Source { origin, rows, content, task, target_names, target, folds: None }, Vec::new()))
}

/// The named columns of a table, in the order and of the kind that is wanted.
fn choose(columns: &[(String, Want, bool)], table: Vec<Column>, origin: &str, by: &str) -> Result<Vec<Column>> {
    let names: Vec<String> = table.iter().map(|column| column.name.clone()).collect();
    let mut table: HashMap<String, Values> = table.into_iter().map(|column| (column.name, column.values)).collect();
    let choose = |(name, want, declared): &(String, Want, bool)| {
        let values = table.remove(name).ok_or_else(|| needed(origin, "column", name, by, &names))?;
        let values = if *want == Want::Text { super::open::as_texts(values) } else { values };
        Ok(Column { name: name.clone(), values, declared: *declared })
    };
    columns.iter().map(choose).collect()
}

fn needed(origin: &str, what: &str, name: &str, by: &str, found: &[String]) -> Error {
    let hint = Error::nearest(name, found.iter().map(String::as_str))
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    Error::input(format!(
        "{origin}: {what} `{name}`, needed by {by}, is missing{hint} (columns: {})",
        list_names(found)
    ))
}
