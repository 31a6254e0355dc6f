//! A complete grid of results as a function: a CSV file, one row a configuration, the last column (or a named one) its
//! value.
//!
//! Columns of numbers become ordered levels, searched by their place (`{ int = [0, n − 1] }`), so that a sampler sees
//! neither their scale nor gaps; columns with words become choices. Rows that repeat a configuration are averaged.

use super::Function;
use crate::history::Direction;
use crate::space::{Domain, Parameter, Params, Space};
use crate::{Error, Result};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// What may be said about a table.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Whether small or large values are good.
    pub direction: Direction,
    /// The column of values; none takes the last.
    pub value: Option<String>,
}

/// A column of inputs: its name and its different cells in order.
struct Column {
    name: String,
    levels: Vec<String>,
    is_choice: bool,
}

impl Grid {
    /// Reads a table, plain or gzip.
    ///
    /// # Errors
    /// [`Error::Input`] that names the file and line: no such file, no CSV, a value that is no number, no inputs, no
    /// rows.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Function> {
        let path = path.as_ref();
        let place = path.display().to_string();
        let text = text(path)?;
        let wrong = |what: String| Error::input(format!("{place}: {what}"));
        let mut table = csv::Reader::from_reader(text.as_bytes());
        let header: Vec<String> =
            table.headers().map_err(|e| wrong(e.to_string()))?.iter().map(str::to_owned).collect();
        let value = match &self.value {
            None => header.len().saturating_sub(1),
            Some(name) => header
                .iter()
                .position(|column| column == name)
                .ok_or_else(|| Error::unknown(&format!("{place}: column"), name, header.iter().map(String::as_str)))?,
        };
        let inputs: Vec<usize> = (0..header.len()).filter(|column| *column != value).collect();
        let (mut rows, mut values): (Vec<Vec<String>>, Vec<f64>) = (Vec::new(), Vec::new());
        for record in table.records() {
            let record = record.map_err(|e| wrong(e.to_string()))?;
            let cell = record.get(value).unwrap_or_default();
            let number = cell.trim().parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(|| {
                let line = record.position().map_or(0, csv::Position::line);
                wrong(format!("line {line}: {} is `{cell}`; a number is expected", header[value]))
            })?;
            values.push(number);
            rows.push(inputs.iter().map(|&column| record.get(column).unwrap_or_default().to_owned()).collect());
        }
        if rows.is_empty() || inputs.is_empty() {
            return Err(wrong("a table of a column or more of parameters and one of values is expected".to_owned()));
        }
        let columns =
            inputs.iter().enumerate().map(|(j, &column)| levels(&header[column], rows.iter().map(|row| &row[j])));
        let columns: Vec<Column> = columns.collect();
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let name = [".csv.gz", ".csv", ".gz"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name).to_owned();
        self.function(name, &columns, &rows, &values)
    }

    fn function(&self, name: String, columns: &[Column], rows: &[Vec<String>], values: &[f64]) -> Result<Function> {
        let places: Vec<HashMap<&str, u32>> =
            columns.iter().map(|c| c.levels.iter().map(String::as_str).zip(0..).collect()).collect();
        let mut sums: HashMap<Vec<u32>, (f64, f64)> = HashMap::with_capacity(rows.len());
        for (row, value) in rows.iter().zip(values) {
            let key = row.iter().zip(&places).map(|(cell, places)| places[cell.as_str()]).collect();
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
        let found: HashMap<Vec<u32>, f64> = sums.into_iter().map(|(key, (sum, n))| (key, sum / n)).collect();
        let mut sorted: Vec<f64> = found.values().copied().collect();
        sorted.sort_by(|a, b| self.direction.loss(*a).total_cmp(&self.direction.loss(*b)));
        let space = Space::new(columns.iter().map(Column::parameter).collect())?;
        let known = Some(found.len() as u64).filter(|known| space.size() != Some(*known));
        let parameters = space.parameters().to_vec();
        let evaluate = move |params: &Params| {
            let place = |known: &Parameter| Some(known.domain.index_of(params.get(&known.name)?)? as u32);
            let key: Option<Vec<u32>> = parameters.iter().map(place).collect();
            found.get(&key?).copied()
        };
        Ok(Function {
            name,
            space,
            direction: self.direction,
            optimum: sorted[0],
            median: sorted[sorted.len() / 2],
            known,
            evaluate: Box::new(evaluate),
        })
    }
}

impl Column {
    fn parameter(&self) -> Parameter {
        let domain = match self.is_choice {
            true => Domain::Choice(self.levels.iter().map(|level| level.as_str().into()).collect()),
            false => Domain::Int { low: 0, high: self.levels.len() as i64 - 1, log: false, step: 1 },
        };
        Parameter { name: self.name.clone(), domain, when: Vec::new() }
    }
}

/// The different cells of a column: numbers in rising order, words as they come.
fn levels<'a>(name: &str, cells: impl Iterator<Item = &'a String>) -> Column {
    let mut seen = indexmap::IndexSet::new();
    cells.for_each(|cell| {
        seen.insert(cell.clone());
    });
    let mut levels: Vec<String> = seen.into_iter().collect();
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| !number.is_nan());
    let is_choice = levels.iter().any(|level| number(level).is_none());
    if !is_choice {
        levels.sort_by(|a, b| number(a).unwrap_or(0.0).total_cmp(&number(b).unwrap_or(0.0)));
    }
    Column { name: name.to_owned(), levels, is_choice }
}

fn text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let plain = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..])
                .read_to_end(&mut plain)
                .map_err(|e| Error::input(format!("{}: is no intact gzip file ({e})", path.display())))?;
            plain
        }
        false => bytes,
    };
    String::from_utf8(plain).map_err(|_| Error::input(format!("{}: is not UTF-8 text", path.display())))
}
