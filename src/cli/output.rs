//! Places that options name: that files can be made there is known before anything is computed.

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

/// Sees that the file that an option names can be written in a folder that is there, and leaves no trace of having
/// looked.
pub fn existing_place(option: &str, path: &Path) -> Result<(), Failure> {
    let refused = |why: String| Failure::input(format!("{option} {}: {why}", path.display()));
    let folder = folder_of(path);
    if path.is_dir() {
        return Err(refused("is a directory, the name of a file is expected".to_owned()));
    }
    if !folder.is_dir() {
        let what = if folder.exists() { "is no folder" } else { "is not there" };
        return Err(refused(format!("{} {what}; give another", folder.display())));
    }
    // What is there is not emptied before there is something to put in its place; a pipe would wait for its reader.
    let tried = match std::fs::metadata(path) {
        Ok(there) if there.is_file() => std::fs::OpenOptions::new().append(true).open(path).map(drop),
        Ok(_) => Ok(()),
        Err(_) => tempfile::tempfile_in(folder).map(drop),
    };
    tried.map_err(|error| refused(format!("cannot be written ({error}); give another")))
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
