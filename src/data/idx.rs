//! IDX, the format of MNIST and its relatives (`…-images-idx3-ubyte`, `…-labels-idx1-ubyte`, plain or gzip).
//!
//! A file is a big-endian header (0, 0, type, dimensions, then each dimension in 32 bits) and the elements;
//! unsigned bytes (type 8) are read, and images of any shape become one row of bytes each.

use super::file;
use super::source::Texts;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Images and their labels: rows × width bytes, and one label a row unless there is no label file.
#[derive(Debug)]
pub(crate) struct Images {
    pub origin: String,
    pub values: Vec<u8>,
    pub width: usize,
    pub rows: usize,
    pub labels: Option<Texts>,
}

/// The pair `train` or `t10k` of a folder; `None` if the folder has no images of that name.
pub(crate) fn read_pair(folder: &Path, prefix: &str) -> Result<Option<Images>> {
    let images = [("-", ""), ("-", ".gz"), (".", ""), (".", ".gz")]
        .into_iter()
        .map(|(mark, end)| folder.join(format!("{prefix}-images{mark}idx3-ubyte{end}")))
        .find(|path| path.is_file());
    images.map(|path| read_images(&path)).transpose()
}

/// One file of images; its labels are taken from the file beside it named `labels-idx1` for `images-idx3`.
pub(crate) fn read_images(path: &Path) -> Result<Images> {
    let (images, labels) = rayon::join(|| read_file(path), || labels_beside(path).map(|p| (read_file(&p), p)));
    let (dimensions, values) = images?;
    let origin = path.display().to_string();
    let rows = dimensions[0];
    let width: usize = dimensions[1..].iter().product();
    if dimensions.len() < 2 || rows == 0 || width == 0 {
        return Err(Error::input(format!("{origin}: images are expected, found an array of shape {dimensions:?}")));
    }
    let labels = match labels {
        None => None,
        Some((read, path)) => {
            let (shape, labels) = read?;
            if shape != [rows] {
                let path = path.display();
                return Err(Error::input(format!(
                    "{path}: {rows} labels are expected, found an array of shape {shape:?}"
                )));
            }
            let names = (0..=255u8).map(|label| label.to_string()).collect();
            Some(Texts { codes: labels.into_iter().map(u32::from).collect(), names }.compact())
        }
    };
    Ok(Images { origin, values, width, rows, labels })
}

/// Whether the bytes begin as an IDX array of bytes.
pub(crate) fn is_idx(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes[..3] == [0, 0, 8] && (1..=4).contains(&bytes[3])
}

fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name).replace("images", "labels").replace("idx3", "idx1");
    [name.clone(), format!("{name}.gz")]
        .into_iter()
        .map(|n| images.with_file_name(n))
        .find(|p| p != images && p.is_file())
}

/// Shape and elements.
fn read_file(path: &Path) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut bytes = file::read(path)?;
    let origin = path.display();
    if !is_idx(&bytes) {
        return Err(Error::input(format!("{origin}: not an IDX file of unsigned bytes")));
    }
    let dimensions = usize::from(bytes[3]);
    let header = 4 + 4 * dimensions;
    if bytes.len() < header {
        return Err(Error::input(format!("{origin}: the IDX header is cut off")));
    }
    let shape: Vec<usize> = bytes[4..header]
        .chunks_exact(4)
        .map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize)
        .collect();
    let size = shape.iter().try_fold(1usize, |size, &n| size.checked_mul(n));
    if size != Some(bytes.len() - header) {
        return Err(Error::input(format!(
            "{origin}: an array of shape {shape:?} is announced, {} bytes follow (a truncated file?)",
            bytes.len() - header
        )));
    }
    bytes.drain(..header);
    Ok((shape, bytes))
}
