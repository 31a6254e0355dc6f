//! The one error type.
//!
//! What matters to a caller is whose fault it is: [`Error::Input`] is the user's (the command line exits with
//! 2), everything else is not (exit 1). Messages name the place, what was found, what was expected and the
//! remedy, in one or a few plain lines; nobody downstream adds to them.

use std::path::{Path, PathBuf};

/// Anything that can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the user gave is wrong: an option, a file's content, a study file, a value out of range.
    #[error("{0}")]
    Input(String),
    /// The operating system refused to read or write.
    #[error("{path}: {source}")]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The study's storage failed: locked for too long, full disk, damaged.
    #[error("{0}")]
    Storage(String),
    /// Training met a loss that is not finite.
    #[error(
        "the training loss became {loss} in epoch {epoch} (learning rate {learning_rate:e}); a smaller learning rate or clip_norm helps"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Learning rate at that step.
        learning_rate: f64,
        /// The loss: NaN or infinite.
        loss: f64,
    },
    /// The user asked to stop (SIGINT, SIGTERM) and everything finished was kept.
    #[error("interrupted")]
    Interrupted,
    /// A network does not fit the memory that is free.
    #[error("{0}")]
    TooLarge(String),
    /// A device (GPU, instruction set) that was asked for is not there.
    #[error("{0}")]
    Device(String),
}

/// The result of anything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The user's input is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Error::Input(message.into())
    }

    /// A mistake in the user's input, with the place where it stands in front; any other error as it is.
    #[must_use]
    pub fn at(self, place: &str) -> Self {
        match self {
            Error::Input(what) if !what.starts_with(place) => Error::Input(format!("{place}: {what}")),
            other => other,
        }
    }

    /// The operating system refused; a path that does not exist or is not a file is the user's input.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref();
        match source.kind() {
            std::io::ErrorKind::NotFound => Error::Input(format!("{}: no such file or directory", path.display())),
            std::io::ErrorKind::IsADirectory => {
                Error::Input(format!("{}: is a directory, a file is expected", path.display()))
            }
            _ => Error::Io { path: path.to_owned(), source },
        }
    }

    /// `found` is not among `known`: says so, with the nearest known name and the list.
    ///
    /// `what` is the place and kind of thing, as in `study.toml: key` or `--optimizer`.
    pub fn unknown<'a>(what: &str, found: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        if known.is_empty() {
            return Error::Input(format!("{what}: `{found}` is not known, and there is none to choose from"));
        }
        let nearest = Self::nearest(found, known.iter().copied());
        let nearest = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        Error::Input(format!("{what}: `{found}` is not known{nearest} (known: {})", known.join(", ")))
    }

    /// The exit status of the command line: 2 for the user's input, 130 for an interrupt, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input(_) | Error::TooLarge(_) => 2,
            Error::Interrupted => 130,
            _ => 1,
        }
    }

    /// The name that is most like `found`, if any is like it at all; of equals, the one that begins alike for longest.
    pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let found = found.to_lowercase();
        let likeness = |name: &str| {
            let name = name.to_lowercase();
            let alike = name.chars().zip(found.chars()).take_while(|(a, b)| a == b).count();
            (strsim::damerau_levenshtein(&found, &name), std::cmp::Reverse(alike))
        };
        let (near, name) = known.into_iter().map(|name| (likeness(name), name)).min()?;
        // Names without a letter in common are not alike, however short.
        let (a, b) = (name.chars().count(), found.chars().count());
        (near.0 <= 1 + a.min(b) / 4 && near.0 < a.max(b)).then_some(name)
    }
}
