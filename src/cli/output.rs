//! Places that `--out` names: that files can be made there is known before anything is computed.

use super::failure::Failure;
use std::path::Path;

/// Sees that the file that `--out` names can be made.
pub fn file(path: &str) -> Result<(), Failure> {
    let place = Path::new(path);
    if path.is_empty() || place.is_dir() || path.ends_with('/') {
        return Err(Failure::input(format!("--out {path}: is a directory, the name of a file is expected")));
    }
    writable(folder_of(place))
}

/// The folder that a file stands in.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Sees that files can be made in a folder, or that the folder can be made.
pub fn writable(folder: &Path) -> Result<(), Failure> {
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    tempfile::tempfile_in(there).map(drop).map_err(|error| {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let message = format!("--out {}: cannot be written to ({error}); give another", folder.display());
        Failure::new(if full { 1 } else { 2 }, message)
    })
}
