//! Raw rows as read, before anything is fitted: typed columns or image bytes, and the target.
//!
//! A [`Source`] knows names, kinds and missing cells, and nothing of training: medians, deviations and lists of
//! categories belong to the pipeline, which sees training rows alone. Numbers stay in 64 bits where 32 would
//! lose something (timestamps, identifiers), so that standardising them is exact enough.

use serde::{Deserialize, Serialize};

/// The code of a missing cell in [`Values::Text`].
pub const MISSING: u32 = u32::MAX;

/// The numbers of one column, one a row; a missing cell is NaN.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// Every number is exact in 32 bits.
    Single(Vec<f32>),
    /// Some number needs 64 bits.
    Double(Vec<f64>),
}

impl Numbers {
    /// Keeps the numbers in 32 bits where that loses nothing.
    pub fn new(values: Vec<f64>) -> Self {
        if values.iter().all(|&v| v.is_nan() || f64::from(v as f32) == v) {
            Numbers::Single(values.into_iter().map(|v| v as f32).collect())
        } else {
            Numbers::Double(values)
        }
    }

    /// The number of a row; NaN where it is missing.
    #[inline]
    pub fn get(&self, row: usize) -> f64 {
        match self {
            Numbers::Single(values) => f64::from(values[row]),
            Numbers::Double(values) => values[row],
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Numbers::Single(values) => values.len(),
            Numbers::Double(values) => values.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Distinct texts in the order of their first appearance, and for each row the position of its text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    /// One a row: an index into `names`, or [`MISSING`].
    pub codes: Vec<u32>,
    /// The distinct texts.
    pub names: Vec<String>,
}

impl Texts {
    /// The same without names that no row has.
    pub(crate) fn compact(self) -> Self {
        let mut new_code = vec![MISSING; self.names.len()];
        let mut names = Vec::new();
        let codes = self.codes.iter().map(|&code| {
            let Some(new) = new_code.get_mut(code as usize) else { return MISSING };
            if *new == MISSING {
                *new = names.len() as u32;
                names.push(self.names[code as usize].clone());
            }
            *new
        });
        let codes = codes.collect();
        Texts { codes, names }
    }
}

/// The cells of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers.
    Numbers(Numbers),
    /// Text, or numbers that the user declared to be categories.
    Text(Texts),
}

/// One input column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the header.
    pub name: String,
    /// Its cells.
    pub values: Values,
    /// Whether the user named it as categorical (then any number of categories is accepted).
    pub declared: bool,
}

/// The inputs of a source.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Columns of a table, the target and the fold column not among them.
    Table(Vec<Column>),
    /// Bytes (images), row-major: rows × `width`, to be divided by 255.
    Bytes {
        /// rows × width.
        values: Vec<u8>,
        /// Bytes a row.
        width: usize,
    },
}

/// What is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// One class of several a row.
    Classification {
        /// Names as written in the data; integers in numeric order, text in alphabetic order.
        classes: Vec<String>,
    },
    /// Any subset of the labels a row.
    MultiLabel {
        /// The target columns.
        labels: Vec<String>,
    },
    /// Real numbers.
    Regression {
        /// The target columns.
        targets: Vec<String>,
    },
}

impl Task {
    /// Outputs of a network for this task: classes, labels or targets.
    pub fn outputs(&self) -> usize {
        match self {
            Task::Classification { classes } => classes.len(),
            Task::MultiLabel { labels } => labels.len(),
            Task::Regression { targets } => targets.len(),
        }
    }

    /// `classification`, `multi-label` or `regression`.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Classification { .. } => "classification",
            Task::MultiLabel { .. } => "multi-label",
            Task::Regression { .. } => "regression",
        }
    }
}

/// The target of every row.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetValues {
    /// Not read (prediction).
    None,
    /// An index into the classes of the task, one a row.
    Classes(Vec<u32>),
    /// 0 or 1, row-major: rows × labels.
    Binary(Vec<f32>),
    /// Own units, row-major: rows × targets.
    Real(Vec<f64>),
}

/// Raw rows: inputs, target, folds.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub(crate) origin: String,
    pub(crate) rows: usize,
    pub(crate) content: Content,
    pub(crate) task: Task,
    pub(crate) target_names: Vec<String>,
    pub(crate) target: TargetValues,
    pub(crate) folds: Option<Vec<u32>>,
}

impl Source {
    /// The file or built-in set that the rows come from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The inputs.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Names of the input columns; empty for bytes.
    pub fn column_names(&self) -> Vec<&str> {
        match &self.content {
            Content::Table(columns) => columns.iter().map(|column| column.name.as_str()).collect(),
            Content::Bytes { .. } => Vec::new(),
        }
    }

    /// Number of input columns, before encoding.
    pub fn columns(&self) -> usize {
        match &self.content {
            Content::Table(columns) => columns.len(),
            Content::Bytes { width, .. } => *width,
        }
    }

    /// What is learned.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Names of the target columns.
    pub fn target_names(&self) -> &[String] {
        &self.target_names
    }

    /// The target of every row.
    pub fn target(&self) -> &TargetValues {
        &self.target
    }

    /// The given fold of every row (from 0), where a fold column was named.
    pub fn given_folds(&self) -> Option<&[u32]> {
        self.folds.as_deref()
    }

    /// A number that tells this data from other data: it depends on every name, cell and target, and on nothing else
    /// (not on the path, not on the machine).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fingerprint(0xcbf2_9ce4_8422_2325);
        hash.number(self.rows as u64);
        match &self.content {
            Content::Bytes { values, width } => {
                hash.number(*width as u64);
                hash.bytes(values);
            }
            Content::Table(columns) => columns.iter().for_each(|column| hash.column(column)),
        }
        self.target_names.iter().for_each(|name| hash.bytes(name.as_bytes()));
        hash.bytes(self.task.name().as_bytes());
        match &self.target {
            TargetValues::None => {}
            TargetValues::Classes(labels) => {
                if let Task::Classification { classes } = &self.task {
                    classes.iter().for_each(|class| hash.bytes(class.as_bytes()));
                }
                labels.iter().for_each(|&label| hash.number(u64::from(label)));
            }
            TargetValues::Binary(values) => values.iter().for_each(|value| hash.number(u64::from(value.to_bits()))),
            TargetValues::Real(values) => values.iter().for_each(|value| hash.number(value.to_bits())),
        }
        self.folds.iter().flatten().for_each(|&fold| hash.number(u64::from(fold)));
        hash.0
    }

    /// The row's class, for a classification whose target was read.
    pub fn label(&self, row: usize) -> Option<u32> {
        match &self.target {
            TargetValues::Classes(labels) => labels.get(row).copied(),
            _ => None,
        }
    }
}

/// A running hash: multiply and rotate for each 64-bit word (the constants of FNV-1a and of the golden ratio).
struct Fingerprint(u64);

impl Fingerprint {
    fn number(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_add(0x0100_0000_01b3);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0u8; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    fn column(&mut self, column: &Column) {
        self.bytes(column.name.as_bytes());
        match &column.values {
            // All missing cells are one, whatever the bits of their NaN.
            Values::Numbers(numbers) => (0..numbers.len()).for_each(|row| {
                let value = numbers.get(row);
                self.number(if value.is_nan() { u64::MAX } else { value.to_bits() });
            }),
            Values::Text(texts) => {
                texts.names.iter().for_each(|name| self.bytes(name.as_bytes()));
                texts.codes.iter().for_each(|&code| self.number(u64::from(code)));
            }
        }
    }
}
