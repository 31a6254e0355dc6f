//! Tables of text: CSV and TSV with a header row.
//!
//! The whole file is in memory and known to be UTF-8 before the first cell is looked at. A column is numeric if
//! every cell that is not missing is a number, otherwise it is text; columns are first parsed as numbers and the
//! ones that fail are read again as text, so that a table of numbers costs one pass and no allocation a cell.
//! Missing is an empty cell, `NA`, `N/A`, `NaN`, `null` (any case) and `?`. Cells are trimmed of blanks.

use super::source::{MISSING, Numbers, Texts, Values};
use crate::{Error, Result};
use std::collections::HashMap;

/// What the reader makes of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Not read.
    Skip,
    /// Numbers if all cells are, else text.
    Auto,
    /// Numbers; text is an error with its line.
    Number,
    /// Text, even where the cells are numbers.
    Text,
}

/// A file whose header has been read.
#[derive(Debug)]
pub(crate) struct CsvFile {
    /// For messages.
    pub origin: String,
    /// Column names, unique; a blank one is named `column_N`.
    pub names: Vec<String>,
    /// Whether the name of the column was blank in the file.
    pub unnamed: Vec<bool>,
    bytes: Vec<u8>,
    delimiter: u8,
}

/// The columns read, in the file's order (skipped ones are absent), and the file's line of every row.
#[derive(Debug)]
pub(crate) struct Table {
    pub rows: usize,
    pub lines: Vec<u64>,
    /// (index of the column in the file, its cells)
    pub columns: Vec<(usize, Values)>,
}

/// Whether a (trimmed) cell holds no value.
pub(crate) fn is_missing(cell: &[u8]) -> bool {
    match cell.len() {
        0 => true,
        1 => cell[0] == b'?',
        2 => cell.eq_ignore_ascii_case(b"na"),
        3 => cell.eq_ignore_ascii_case(b"n/a") || cell.eq_ignore_ascii_case(b"nan"),
        4 => cell.eq_ignore_ascii_case(b"null"),
        _ => false,
    }
}

const POWERS_OF_TEN: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// The number written in a (trimmed) cell, rounded correctly; `None` if it is not one.
///
/// Up to 15 digits are an exact integer divided by an exact power of ten, hence one rounding (Clinger 1990, the
/// fast path); anything else goes through the standard library.
pub(crate) fn parse_number(cell: &[u8]) -> Option<f64> {
    let (negative, digits) = match cell {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, cell),
    };
    let (mut mantissa, mut count, mut decimals, mut point) = (0u64, 0usize, 0usize, false);
    for &byte in digits {
        if byte.is_ascii_digit() && count < 15 {
            mantissa = mantissa * 10 + u64::from(byte - b'0');
            count += 1;
            decimals += usize::from(point);
        } else if byte == b'.' && !point {
            point = true;
        } else {
            return std::str::from_utf8(cell).ok()?.parse().ok();
        }
    }
    if count == 0 {
        return None;
    }
    let value = mantissa as f64 / POWERS_OF_TEN[decimals];
    Some(if negative { -value } else { value })
}

impl CsvFile {
    /// Checks the encoding, finds the delimiter unless given, and reads the header row.
    pub fn open(mut bytes: Vec<u8>, origin: &str, delimiter: Option<u8>) -> Result<Self> {
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            bytes.drain(..3);
        }
        check_text(&bytes, origin)?;
        let delimiter = delimiter.unwrap_or_else(|| sniff(&bytes, origin));
        let mut file = CsvFile { origin: origin.into(), names: Vec::new(), unnamed: Vec::new(), bytes, delimiter };
        let mut header = ::csv::ByteRecord::new();
        let found = file.reader().read_byte_record(&mut header).map_err(|error| file.broken(&error))?;
        if !found || header.iter().all(|cell| cell.trim_ascii().is_empty()) {
            return Err(Error::input(format!(
                "{origin}: the file is empty; a header row and rows of data are expected"
            )));
        }
        file.name_columns(&header)?;
        Ok(file)
    }

    fn name_columns(&mut self, header: &::csv::ByteRecord) -> Result<()> {
        let origin = &self.origin;
        if header.len() > 1 && looks_like_data(header) {
            return Err(Error::input(format!(
                "{origin}:1: a header row with column names is expected, found numbers (`{}…`)",
                String::from_utf8_lossy(&header[0])
            )));
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, cell) in header.iter().enumerate() {
            let name = String::from_utf8_lossy(cell.trim_ascii()).into_owned();
            self.unnamed.push(name.is_empty());
            let name = if name.is_empty() { format!("column_{}", index + 1) } else { name };
            if let Some(earlier) = seen.insert(name.clone(), index) {
                return Err(Error::input(format!(
                    "{origin}:1: columns {} and {} are both named `{name}`; column names must differ",
                    earlier + 1,
                    index + 1
                )));
            }
            self.names.push(name);
        }
        Ok(())
    }

    fn reader(&self) -> ::csv::Reader<&[u8]> {
        ::csv::ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(self.bytes.as_slice())
    }

    fn broken(&self, error: &::csv::Error) -> Error {
        Error::input(format!("{}: not a readable table ({error})", self.origin))
    }

    /// Reads the rows; `wants` has one entry a column of the file.
    pub fn read(&self, wants: &[Want]) -> Result<Table> {
        let mut table = self.pass(wants)?;
        let mut again = vec![Want::Skip; wants.len()];
        for (index, _) in table.columns.iter().filter(|(_, cells)| matches!(cells, Cells::Failed)) {
            again[*index] = Want::Text;
        }
        if again.contains(&Want::Text) {
            let mut texts = self.pass(&again)?.columns.into_iter();
            for (_, cells) in table.columns.iter_mut().filter(|(_, cells)| matches!(cells, Cells::Failed)) {
                if let Some((_, text)) = texts.next() {
                    *cells = text;
                }
            }
        }
        if table.lines.is_empty() {
            return Err(Error::input(format!("{}: a header row but no rows of data", self.origin)));
        }
        let columns = table.columns.into_iter().map(|(index, cells)| Ok((index, cells.finish(self, index)?)));
        Ok(Table { rows: table.lines.len(), lines: table.lines, columns: columns.collect::<Result<_>>()? })
    }

    fn pass(&self, wants: &[Want]) -> Result<Pass> {
        let mut pass = Pass { lines: Vec::new(), columns: Vec::new() };
        for (index, want) in wants.iter().enumerate() {
            match want {
                Want::Skip => {}
                Want::Auto => pass.columns.push((index, Cells::numbers(true))),
                Want::Number => pass.columns.push((index, Cells::numbers(false))),
                Want::Text => pass.columns.push((index, Cells::Text(Dictionary::default()))),
            }
        }
        let mut reader = self.reader();
        let mut record = ::csv::ByteRecord::new();
        let mut header = true;
        let mut lines = Lines::new(&self.bytes);
        loop {
            let more = reader.read_byte_record(&mut record).map_err(|error| self.broken(&error))?;
            if !more {
                return Ok(pass);
            }
            if std::mem::take(&mut header) {
                continue;
            }
            let line = lines.at(record.position().map_or(0, |position| position.byte() as usize));
            if record.len() != self.names.len() {
                if record.len() == 1 && record[0].trim_ascii().is_empty() {
                    continue;
                }
                return Err(self.ragged(line, &record));
            }
            for (index, cells) in &mut pass.columns {
                cells.push(record[*index].trim_ascii(), line).map_err(|bad| self.bad_cell(*index, line, bad))?;
            }
            pass.lines.push(line);
        }
    }

    fn ragged(&self, line: u64, record: &::csv::ByteRecord) -> Error {
        let quote = if record.iter().any(|cell| cell.contains(&b'\n')) { " (is a quote left open?)" } else { "" };
        Error::input(format!(
            "{}:{line}: the row has {} cell{}, the header has {}{quote}",
            self.origin,
            record.len(),
            if record.len() == 1 { "" } else { "s" },
            self.names.len()
        ))
    }

    fn bad_cell(&self, index: usize, line: u64, found: &[u8]) -> Error {
        Error::input(format!(
            "{}:{line}: column `{}`: a number is expected, found `{}`",
            self.origin,
            self.names[index],
            String::from_utf8_lossy(found)
        ))
    }
}

/// Counts lines up to where records begin. (The positions that the reader itself gives lie before the line feed of
/// the record before and before blank lines.)
struct Lines<'a> {
    bytes: &'a [u8],
    mark: u8,
    counted: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mark = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
        Lines { bytes, mark, counted: 0, line: 1 }
    }

    /// The line of the first character at or after `offset` that ends no line. Offsets must not decrease.
    fn at(&mut self, offset: usize) -> u64 {
        let rest = &self.bytes[offset..];
        let start = offset + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.line += self.bytes[self.counted..start].iter().filter(|&&byte| byte == self.mark).count() as u64;
        self.counted = start;
        self.line
    }
}

struct Pass {
    lines: Vec<u64>,
    columns: Vec<(usize, Cells)>,
}

/// A column while it is read.
enum Cells {
    Numbers {
        values: Vec<f64>,
        or_text: bool,
        excess: Option<(u64, f64)>,
    },
    Text(Dictionary),
    /// Not numbers after all: to be read again as text.
    Failed,
}

impl Cells {
    fn numbers(or_text: bool) -> Self {
        Cells::Numbers { values: Vec::new(), or_text, excess: None }
    }

    /// Adds a trimmed cell; gives it back where it is not a number and must be.
    fn push<'a>(&mut self, cell: &'a [u8], line: u64) -> std::result::Result<(), &'a [u8]> {
        match self {
            Cells::Failed => {}
            Cells::Text(dictionary) => dictionary.push(cell),
            Cells::Numbers { values, or_text, excess } => match parse_number(cell) {
                Some(value) => {
                    if value.abs() > f64::from(f32::MAX) && excess.is_none() {
                        *excess = Some((line, value));
                    }
                    values.push(value);
                }
                None if is_missing(cell) => values.push(f64::NAN),
                None if *or_text => *self = Cells::Failed,
                None => return Err(cell),
            },
        }
        Ok(())
    }

    fn finish(self, file: &CsvFile, index: usize) -> Result<Values> {
        match self {
            Cells::Numbers { excess: Some((line, value)), .. } => Err(Error::input(format!(
                "{}:{line}: column `{}`: {}; leave the cell empty where the value is missing",
                file.origin,
                file.names[index],
                if value.is_infinite() {
                    "infinity is not a value"
                } else {
                    "the number is beyond the range of 32-bit floats"
                }
            ))),
            Cells::Numbers { values, .. } => Ok(Values::Numbers(Numbers::new(values))),
            Cells::Text(dictionary) => Ok(Values::Text(dictionary.texts)),
            Cells::Failed => Ok(Values::Text(Texts::default())),
        }
    }
}

#[derive(Default)]
struct Dictionary {
    texts: Texts,
    index: HashMap<Vec<u8>, u32>,
}

impl Dictionary {
    fn push(&mut self, cell: &[u8]) {
        let code = if is_missing(cell) {
            MISSING
        } else if let Some(&code) = self.index.get(cell) {
            code
        } else {
            let code = self.texts.names.len() as u32;
            self.texts.names.push(String::from_utf8_lossy(cell).into_owned());
            self.index.insert(cell.to_vec(), code);
            code
        };
        self.texts.codes.push(code);
    }
}

fn check_text(bytes: &[u8], origin: &str) -> Result<()> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::input(format!("{origin}: the text is UTF-16; save it as UTF-8")));
    }
    if bytes.starts_with(b"PAR1") {
        return Err(Error::input(format!("{origin}: Parquet is not read; export the table as CSV")));
    }
    let Err(error) = std::str::from_utf8(bytes) else { return Ok(()) };
    let at = error.valid_up_to();
    let line = 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    Err(Error::input(format!("{origin}:{line}: not UTF-8 text (byte 0x{:02x}); save the file as UTF-8", bytes[at])))
}

/// Numbers with fractions, or the same number twice, are no column names; `0,1,2,…` may be.
fn looks_like_data(header: &::csv::ByteRecord) -> bool {
    let numbers: Option<Vec<f64>> = header.iter().map(|cell| parse_number(cell.trim_ascii())).collect();
    let Some(mut numbers) = numbers else { return false };
    numbers.sort_by(f64::total_cmp);
    numbers.iter().any(|n| n.fract() != 0.0) || numbers.windows(2).any(|pair| pair[0] == pair[1])
}

/// The delimiter under which most of the first lines have as many cells as the header; of several, the one with
/// the most cells.
fn sniff(bytes: &[u8], origin: &str) -> u8 {
    let tab_first = origin.contains(".tsv") || origin.contains(".tab");
    let candidates = if tab_first { *b"\t,;|" } else { *b",;\t|" };
    let score = |delimiter: u8| {
        let counts = cell_counts(bytes, delimiter, 32);
        let header = counts.first().copied().unwrap_or(1);
        let agreeing = counts.iter().filter(|&&count| count == header).count();
        if header > 1 { (agreeing, header) } else { (0, 1) }
    };
    // `max_by_key` takes the last of equals, and the first candidate is the preferred one.
    candidates.into_iter().rev().max_by_key(|&delimiter| score(delimiter)).unwrap_or(b',')
}

fn cell_counts(bytes: &[u8], delimiter: u8, lines: usize) -> Vec<usize> {
    let (mut counts, mut cells, mut quoted, mut blank) = (Vec::new(), 1, false, true);
    for &byte in bytes {
        if byte == b'"' {
            quoted = !quoted;
        }
        if byte == delimiter && !quoted {
            cells += 1;
        }
        if (byte == b'\n' || byte == b'\r') && !quoted {
            if !blank {
                counts.push(cells);
                if counts.len() == lines {
                    return counts;
                }
            }
            (cells, blank) = (1, true);
        } else {
            blank = false;
        }
    }
    if !blank {
        counts.push(cells);
    }
    counts
}
