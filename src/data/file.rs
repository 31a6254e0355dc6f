//! Bytes of a file, decompressed where it is gzip.
//!
//! Gzip is told by its magic number, never by the file's name; several members one after the other (`cat a.gz
//! b.gz`, bgzip) are one stream. Files are read whole: what trains in memory fits there twice.

use crate::{Error, Result};
use std::io::Read;
use std::path::Path;

/// Reads a file whole, decompressed where it is gzip.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() {
        return Err(Error::io(path, std::io::ErrorKind::IsADirectory.into()));
    }
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
    gunzip(bytes, &path.display().to_string())
}

/// Decompresses gzip; returns anything else as it is. `origin` is for messages.
pub(crate) fn gunzip(bytes: Vec<u8>, origin: &str) -> Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    // The trailer holds the size of the last member modulo 2³²; a hint, so it is bounded by the format's best ratio.
    let trailer = bytes.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize);
    let mut plain = Vec::with_capacity(trailer.min(bytes.len().saturating_mul(1032)) + 1);
    match flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(error) => Err(Error::input(format!("{origin}: damaged or truncated gzip file ({error})"))),
    }
}
