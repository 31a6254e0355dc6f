//! Which format a path is, decided by its content: table, IDX images, npz arrays, or a built-in set.

use super::builtin;
use super::csv::CsvFile;
use super::source::{Column, Content, MISSING, Texts, Values};
use super::target::TargetColumn;
use super::{file, idx, npz};
use crate::{Error, Result};
use std::path::Path;

/// Inputs and targets that have no header.
#[derive(Debug)]
pub(crate) struct Arrays {
    pub origin: String,
    pub rows: usize,
    pub content: Content,
    pub targets: Vec<TargetColumn>,
}

/// What a path holds.
#[derive(Debug)]
pub(crate) enum Raw {
    /// A table; a built-in one names its target.
    Csv { file: CsvFile, target: Option<&'static str> },
    /// Images or arrays, and a test set if there is one.
    Arrays { train: Arrays, test: Option<Arrays> },
}

/// Opens a path or built-in name.
pub(crate) fn open(path: &str, delimiter: Option<u8>) -> Result<Raw> {
    if let Some(set) = builtin::find(path) {
        let bytes = file::gunzip(set.bytes.to_vec(), path)?;
        return Ok(Raw::Csv { file: CsvFile::open(bytes, path, None)?, target: Some(set.target) });
    }
    let place = Path::new(path);
    if place.is_dir() {
        let (train, test) = rayon::join(|| idx::read_pair(place, "train"), || idx::read_pair(place, "t10k"));
        return match (train?, test?) {
            (Some(train), test) => Ok(Raw::Arrays { train: images(train), test: test.map(images) }),
            (None, Some(test)) => Ok(Raw::Arrays { train: images(test), test: None }),
            (None, None) => Err(Error::input(format!(
                "{path}: is a directory without IDX files (train-images-idx3-ubyte[.gz], …); a file is expected"
            ))),
        };
    }
    if !place.exists() && !path.contains(['/', '\\', '.']) {
        let known = builtin::BUILTINS.iter().map(|set| set.name);
        return Err(Error::unknown("data: no such file, and as a built-in set", path, known));
    }
    let bytes = file::read(place)?;
    if idx::is_idx(&bytes) {
        return Ok(Raw::Arrays { train: images(idx::read_images(place)?), test: None });
    }
    if bytes.starts_with(b"PK\x03\x04") {
        let (train, test) = npz::read(bytes, path)?;
        return Ok(Raw::Arrays { train, test });
    }
    Ok(Raw::Csv { file: CsvFile::open(bytes, path, delimiter)?, target: None })
}

fn images(images: idx::Images) -> Arrays {
    let targets = images.labels.map(|texts| TargetColumn { name: "label".into(), texts });
    Arrays {
        origin: images.origin,
        rows: images.rows,
        content: Content::Bytes { values: images.values, width: images.width },
        targets: targets.into_iter().collect(),
    }
}

/// The cells as texts; numbers are written as briefly as they can be read back.
pub(crate) fn as_texts(values: Values) -> Values {
    match values {
        Values::Text(texts) => Values::Text(texts),
        Values::Numbers(numbers) => Values::Text(texts_of((0..numbers.len()).map(|row| numbers.get(row)))),
    }
}

/// Numbers as texts; NaN is missing.
pub(crate) fn texts_of(numbers: impl Iterator<Item = f64>) -> Texts {
    let mut texts = Texts::default();
    let mut index = std::collections::HashMap::new();
    for number in numbers {
        if number.is_nan() {
            texts.codes.push(MISSING);
            continue;
        }
        // −0 and 0 are one number.
        let code = *index.entry((number + 0.0).to_bits()).or_insert_with(|| {
            texts.names.push((number + 0.0).to_string());
            texts.names.len() as u32 - 1
        });
        texts.codes.push(code);
    }
    texts
}

/// Columns `x_0`, `x_1`, … of a matrix.
pub(crate) fn named_columns(columns: Vec<super::source::Numbers>) -> Vec<Column> {
    let name = |(j, numbers)| Column { name: format!("x_{j}"), values: Values::Numbers(numbers), declared: false };
    columns.into_iter().enumerate().map(name).collect()
}
