//! numpy archives: arrays `x` (n×d) and `y` (n, or n×t for several targets).
//!
//! `x_test` and `y_test` beside them are the test set (`x_train`, `y_train` are other names of `x`, `y`). An `x` of
//! unsigned bytes is images; any other type becomes columns `x_0`, `x_1`, …. Arrays of more dimensions are
//! flattened to rows. The header is that of numpy's format versions 1–3 (numpy.lib.format).

use super::open::{Arrays, named_columns, texts_of};
use super::source::{Content, MISSING, Numbers, Texts};
use super::target::TargetColumn;
use crate::{Error, Result};
use std::collections::HashMap;
use std::io::{Cursor, Read};

/// What the inputs and targets of training and of test are called; the first name found counts.
const NAMES: [&[&str]; 4] =
    [&["x", "X", "x_train", "X_train"], &["y", "Y", "y_train"], &["x_test", "X_test"], &["y_test"]];

/// An array, row-major.
struct Array {
    shape: Vec<usize>,
    values: Elements,
}

enum Elements {
    Bytes(Vec<u8>),
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

/// Training arrays and, where the archive has them, test arrays.
pub(crate) fn read(bytes: Vec<u8>, origin: &str) -> Result<(Arrays, Option<Arrays>)> {
    let (mut arrays, others) = read_archive(bytes, origin)?;
    let [x, y, x_test, y_test] = NAMES.map(|names| names.iter().find_map(|name| arrays.remove(*name)));
    let Some(x) = x else {
        return Err(Error::input(format!(
            "{origin}: an array `x` (rows × columns) is expected, found {}",
            if others.is_empty() { "no numpy array".into() } else { super::list_names(&others) }
        )));
    };
    let train = assemble(x, y, origin, "")?;
    let test = match x_test {
        Some(x) => Some(assemble(x, y_test, origin, "_test")?),
        None => None,
    };
    Ok((train, test))
}

fn assemble(x: Array, y: Option<Array>, origin: &str, suffix: &str) -> Result<Arrays> {
    let (rows, width) = match x.shape.as_slice() {
        [rows, rest @ ..] if !rest.is_empty() => (*rows, rest.iter().product::<usize>()),
        shape => {
            return Err(Error::input(format!(
                "{origin}: `x{suffix}`: rows × columns are expected, found shape {shape:?}"
            )));
        }
    };
    if rows == 0 || width == 0 {
        return Err(Error::input(format!("{origin}: `x{suffix}` is empty (shape {:?})", x.shape)));
    }
    let content = match x.values {
        Elements::Bytes(values) => Content::Bytes { values, width },
        Elements::Numbers(values) => {
            if let Some(at) = values.iter().position(|v| v.abs() > f64::from(f32::MAX)) {
                return Err(Error::input(format!(
                    "{origin}: x{suffix}[{}, {}]: a number within the range of 32-bit floats is expected, found {}",
                    at / width,
                    at % width,
                    values[at]
                )));
            }
            let column = |j| Numbers::new((0..rows).map(|row| values[row * width + j]).collect());
            Content::Table(named_columns((0..width).map(column).collect()))
        }
        Elements::Texts(_) => {
            return Err(Error::input(format!("{origin}: `x{suffix}`: numbers are expected, found text")));
        }
    };
    let targets = match y {
        Some(y) => targets(y, rows, origin, suffix)?,
        None => Vec::new(),
    };
    Ok(Arrays { origin: format!("{origin}{}", suffix.replace('_', ":")), rows, content, targets })
}

fn targets(y: Array, rows: usize, origin: &str, suffix: &str) -> Result<Vec<TargetColumn>> {
    let width: usize = y.shape.iter().skip(1).product();
    if y.shape.first() != Some(&rows) || width == 0 || y.shape.len() > 2 {
        return Err(Error::input(format!(
            "{origin}: `y{suffix}`: {rows} rows are expected, found shape {:?}",
            y.shape
        )));
    }
    let column = |j: usize| {
        let texts = match &y.values {
            Elements::Bytes(values) => texts_of((0..rows).map(|row| f64::from(values[row * width + j]))),
            Elements::Numbers(values) => texts_of((0..rows).map(|row| values[row * width + j])),
            Elements::Texts(values) => dictionary((0..rows).map(|row| values[row * width + j].as_str())),
        };
        TargetColumn { name: if width == 1 { "y".into() } else { format!("y_{j}") }, texts }
    };
    Ok((0..width).map(column).collect())
}

fn dictionary<'a>(cells: impl Iterator<Item = &'a str>) -> Texts {
    let mut texts = Texts::default();
    let mut index: HashMap<&str, u32> = HashMap::new();
    for cell in cells {
        let code = if super::csv::is_missing(cell.trim().as_bytes()) {
            MISSING
        } else {
            *index.entry(cell).or_insert_with(|| {
                texts.names.push(cell.to_owned());
                texts.names.len() as u32 - 1
            })
        };
        texts.codes.push(code);
    }
    texts
}

/// The arrays of [`NAMES`] by their names, and the names of all others.
fn read_archive(bytes: Vec<u8>, origin: &str) -> Result<(HashMap<String, Array>, Vec<String>)> {
    let broken = |error: &dyn std::fmt::Display| Error::input(format!("{origin}: damaged npz file ({error})"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    let (mut arrays, mut others) = (HashMap::new(), Vec::new());
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| broken(&error))?;
        let name = entry.name().map_err(|error| broken(&error))?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
        if !NAMES.iter().any(|names| names.contains(&name.as_str())) {
            others.push(name);
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|error| broken(&error))?;
        let array = parse(&content).map_err(|what| Error::input(format!("{origin}: array `{name}`: {what}")))?;
        arrays.insert(name, array);
    }
    Ok((arrays, others))
}

/// One `.npy` file.
fn parse(bytes: &[u8]) -> Result<Array, String> {
    let cut = || "the file is cut off".to_owned();
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else { return Err("not a numpy array".into()) };
    let (&[major, _minor], rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match major {
        1 => rest.split_first_chunk::<2>().map(|(size, rest)| (u16::from_le_bytes(*size) as usize, rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(size, rest)| (u32::from_le_bytes(*size) as usize, rest)),
        _ => return Err(format!("numpy's format version {major} is not known")),
    }
    .ok_or_else(cut)?;
    let header = std::str::from_utf8(rest.get(..length).ok_or_else(cut)?).map_err(|_| "the header is not text")?;
    let data = &rest[length..];
    let kind =
        field(header, "descr").and_then(|v| v.strip_prefix('\'')?.split('\'').next()).ok_or("no element type")?;
    let fortran = field(header, "fortran_order").is_some_and(|value| value.starts_with("True"));
    let shape = field(header, "shape").and_then(|v| v.strip_prefix('(')?.split(')').next()).ok_or("no shape")?;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.trim_end_matches('L').parse().map_err(|_| format!("`{size}` is no size")))
        .collect::<Result<_, _>>()?;
    let count = shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n)).ok_or("the shape is too large")?;
    let values = elements(kind, count, data)?;
    let values = if fortran && shape.len() > 1 { values.reordered(&shape) } else { values };
    Ok(Array { shape, values })
}

/// The text after `'key':` in the header, a Python dictionary.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, after) = header.split_once(&format!("'{key}'"))?;
    Some(after.trim_start().strip_prefix(':')?.trim_start())
}

fn elements(kind: &str, count: usize, data: &[u8]) -> Result<Elements, String> {
    let (order, code) = kind.split_at_checked(1).ok_or("no element type")?;
    let big = order == ">";
    let size: usize = code.get(1..).and_then(|size| size.parse().ok()).unwrap_or(0);
    let size = if code.starts_with('U') { size * 4 } else { size };
    let expected = count.checked_mul(size).ok_or("the shape is too large")?;
    let data = data.get(..expected).ok_or_else(|| format!("{expected} bytes are announced, {} follow", data.len()))?;
    if size == 0 {
        return Err(format!("element type `{kind}` is not read (known: floats, integers, bool, text)"));
    }
    macro_rules! numbers {
        ($type:ty) => {{
            let chunks = data.chunks_exact(size_of::<$type>());
            Elements::Numbers(
                chunks
                    .map(|bytes| {
                        let mut native = [0u8; size_of::<$type>()];
                        native.copy_from_slice(bytes);
                        (if big { <$type>::from_be_bytes(native) } else { <$type>::from_le_bytes(native) }) as f64
                    })
                    .collect(),
            )
        }};
    }
    Ok(match code {
        "u1" => Elements::Bytes(data.to_vec()),
        "b1" => Elements::Numbers(data.iter().map(|&byte| f64::from(u8::from(byte != 0))).collect()),
        "i1" => numbers!(i8),
        "i2" => numbers!(i16),
        "u2" => numbers!(u16),
        "i4" => numbers!(i32),
        "u4" => numbers!(u32),
        "i8" => numbers!(i64),
        "u8" => numbers!(u64),
        "f2" => Elements::Numbers(
            data.chunks_exact(2).map(|b| half(if big { [b[1], b[0]] } else { [b[0], b[1]] })).collect(),
        ),
        "f4" => numbers!(f32),
        "f8" => numbers!(f64),
        _ if code.starts_with('U') => {
            let text = |bytes: &[u8]| -> String {
                let points = bytes.chunks_exact(4).map(|p| {
                    let point = [p[0], p[1], p[2], p[3]];
                    if big { u32::from_be_bytes(point) } else { u32::from_le_bytes(point) }
                });
                points.take_while(|&p| p != 0).map(|p| char::from_u32(p).unwrap_or('\u{fffd}')).collect()
            };
            Elements::Texts(data.chunks_exact(size).map(text).collect())
        }
        _ => return Err(format!("element type `{kind}` is not read (known: floats, integers, bool, text)")),
    })
}

/// A half-precision number (IEEE 754 binary16), little-endian.
fn half(bytes: [u8; 2]) -> f64 {
    let bits = u16::from_le_bytes(bytes);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
    let size = match exponent {
        0 => fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

impl Elements {
    /// From column-major (Fortran) to row-major order.
    fn reordered(self, shape: &[usize]) -> Self {
        fn reorder<T: Clone>(values: &[T], shape: &[usize]) -> Vec<T> {
            let mut index = vec![0usize; shape.len()];
            let strides: Vec<usize> =
                shape.iter().scan(1, |stride, &n| Some(std::mem::replace(stride, *stride * n))).collect();
            let mut out = Vec::with_capacity(values.len());
            for _ in 0..values.len() {
                let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
                out.push(values[at].clone());
                for axis in (0..shape.len()).rev() {
                    index[axis] += 1;
                    if index[axis] < shape[axis] {
                        break;
                    }
                    index[axis] = 0;
                }
            }
            out
        }
        match self {
            Elements::Bytes(values) => Elements::Bytes(reorder(&values, shape)),
            Elements::Numbers(values) => Elements::Numbers(reorder(&values, shape)),
            Elements::Texts(values) => Elements::Texts(reorder(&values, shape)),
        }
    }
}

/// The first column of the array `x` as numbers, for tests of element types.
#[cfg(test)]
pub(crate) fn first_column(bytes: &[u8]) -> Result<Vec<f64>, String> {
    let (mut arrays, _) = read_archive(bytes.to_vec(), "test").map_err(|error| error.to_string())?;
    match arrays.remove("x").map(|array| array.values) {
        Some(Elements::Numbers(values)) => Ok(values),
        Some(Elements::Bytes(values)) => Ok(values.into_iter().map(f64::from).collect()),
        _ => Err("no numbers".into()),
    }
}
