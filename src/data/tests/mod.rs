//! Tests of reading, splitting and encoding, on generated or built-in data alone.

mod arrays;
mod built_in;
mod pipeline;
mod split;
mod table;

use super::*;
use std::path::Path;

/// Writes a file into a folder and gives its path as text.
fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A fresh folder that is removed with its content.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// One gzip member.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Loads a table written as text, with this target.
fn table(text: impl AsRef<[u8]>, target: &[&str]) -> Result<Loaded> {
    let folder = folder();
    let path = write(folder.path(), "t.csv", text);
    load(&DataSpec { target: target.iter().map(|name| (*name).to_owned()).collect(), ..DataSpec::new(path) })
}

/// The message of an error, which must be the user's; the folder is left out.
fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.expect_err("an error is expected");
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = error.to_string();
    match text.rsplit_once("/t.csv") {
        Some((_, rest)) => format!("t.csv{rest}"),
        None => text,
    }
}

/// All rows of a source.
fn all(source: &Source) -> Vec<usize> {
    (0..source.rows()).collect()
}
