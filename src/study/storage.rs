//! One SQLite file with studies in Optuna's schema: opening it, transactions, and what to say when SQLite refuses.
//!
//! Handles share one connection behind a lock: a transaction takes some tens of microseconds, so threads hardly ever
//! wait, and SQLite itself keeps processes apart (`BEGIN IMMEDIATE`, and a busy handler that waits). While trials run
//! the file is in WAL mode, where a commit needs no `fsync` and survives the death of the process; afterwards it is one
//! plain file again, which people drag into viewers and copy.

use super::schema::{self, Found};
use crate::{Error, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a lock held by another program is waited for.
const BUSY: Duration = Duration::from_secs(30);

/// A file (or memory) that holds studies. Clones share the connection.
#[derive(Clone)]
pub struct Storage {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// How many [`Running`] there are.
    running: Mutex<usize>,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("path", &self.shared.path).finish()
    }
}

/// Why a piece of work on the database failed: SQLite's reason, or one that is already in words.
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    Told(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Fault::Sqlite(error)
    }
}

impl From<rusqlite::types::FromSqlError> for Fault {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Fault::Sqlite(error.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Told(error)
    }
}

impl Storage {
    /// Opens a study file that exists. `path` may also be a URL `sqlite:///FILE`, as Optuna has it.
    ///
    /// # Errors
    /// The path is missing, a folder, no SQLite database, another program's, or of another version of the schema.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = local(path.as_ref())?;
        if let Err(error) = std::fs::metadata(&path) {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => Error::input(format!(
                    "{}: no such study file; `search` and `create-study` make one, --storage names another",
                    path.display()
                )),
                _ => Error::io(&path, error),
            });
        }
        let (storage, found) = Self::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        match found {
            Found::Empty => Err(Error::input(format!("{}: is empty, a study file is expected", path.display()))),
            Found::Studies { .. } => Ok(storage),
        }
    }

    /// Opens a study file where there is one; none where it would be created.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_if_there(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = local(path.as_ref())?;
        if !path.exists() {
            return Ok(None);
        }
        let (storage, found) = Self::connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        Ok(matches!(found, Found::Studies { .. }).then_some(storage))
    }

    /// Opens a study file, or creates it where there is none.
    ///
    /// # Errors
    /// As [`Storage::open`]; and the folder is missing or may not be written to.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        let path = local(path.as_ref())?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Error::input(format!(
                "{}: the folder {} does not exist; create it or give another --storage",
                path.display(),
                folder.display()
            )));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let (storage, found) = Self::connect(&path, flags)?;
        if !matches!(found, Found::Studies { whole: true }) {
            storage.write(schema::prepare)?;
        }
        Ok(storage)
    }

    /// Studies in memory, gone with the last clone.
    ///
    /// # Errors
    /// SQLite could not start.
    pub fn in_memory() -> Result<Self> {
        let (storage, _) = Self::connect(Path::new(":memory:"), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        storage.write(schema::prepare)?;
        Ok(storage)
    }

    /// Where the studies are.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<(Self, Found)> {
        if path.is_dir() {
            return Err(Error::input(format!("{}: is a directory, a study file is expected", path.display())));
        }
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(|error| explain(path, Fault::from(error)))?;
        let found = connection
            .busy_timeout(BUSY)
            .map_err(Fault::from)
            .and_then(|()| schema::inspect(&connection, &path.display().to_string()))
            .map_err(|fault| explain(path, fault))?;
        let shared = Shared { path: path.to_owned(), connection: Mutex::new(connection), running: Mutex::new(0) };
        Ok((Storage { shared: Arc::new(shared) }, found))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.shared.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction that holds the write lock from its start, so that what it reads stays true until
    /// it has written; an error undoes everything.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        self.write_then(work, |value| value)
    }

    /// The same; `then` takes what was committed before another thread's transaction begins, so that threads see
    /// commits in the order of the file.
    pub(super) fn write_then<T, U>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
        then: impl FnOnce(T) -> U,
    ) -> Result<U> {
        let mut connection = self.lock();
        let run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map(then).map_err(|fault| explain(&self.shared.path, fault))
    }

    /// Runs `work`, which only reads, on one unchanging view of the file.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T> {
        let mut connection = self.lock();
        let run = || {
            let transaction = connection.transaction()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|fault| explain(&self.shared.path, fault))
    }

    /// Says that trials are about to run: many small commits. The file is one plain file again when the last such
    /// guard (of all processes) is gone.
    pub(crate) fn running(&self) -> Running<'_> {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running += 1;
        if *running == 1 {
            let connection = self.lock();
            // Where WAL is not to be had (a network drive), the default mode is slower and just as safe.
            let mode: rusqlite::Result<String> =
                connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
            if mode.is_ok_and(|mode| mode == "wal") {
                connection.pragma_update(None, "synchronous", "normal").ok();
            }
        }
        Running { storage: self }
    }

    /// The connection itself, for tests that play the other program or the full disk.
    #[cfg(test)]
    pub(super) fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        work(&self.lock())
    }
}

/// While one of these lives the file is in WAL mode.
pub(crate) struct Running<'a> {
    storage: &'a Storage,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.storage.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running -= 1;
        if *running == 0 {
            let connection = self.storage.lock();
            // Another process may still be at work: it will be the one that tidies up, so a refusal is no error.
            connection.busy_timeout(Duration::from_millis(100)).ok();
            connection.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(())).ok();
            connection.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(())).ok();
            connection.pragma_update(None, "synchronous", "full").ok();
            connection.busy_timeout(BUSY).ok();
        }
    }
}

/// The path behind what the user wrote: a path, or a URL of SQLAlchemy.
fn local(path: &Path) -> Result<PathBuf> {
    let Some(text) = path.to_str() else { return Ok(path.to_owned()) };
    match text.split_once("://") {
        Some(("sqlite", rest)) => Ok(PathBuf::from(rest.strip_prefix('/').unwrap_or(rest))),
        Some((scheme, _)) => Err(Error::input(format!(
            "{text}: studies are kept in an SQLite file in this version, `{scheme}://` is not supported; give a path such as study.db"
        ))),
        None if text.is_empty() => Err(Error::input("the storage has no name; give a path such as study.db")),
        None => Ok(path.to_owned()),
    }
}

/// The error in words, with the path, and with the remedy where there is one.
fn explain(path: &Path, fault: Fault) -> Error {
    let error = match fault {
        Fault::Told(error) => return error,
        Fault::Sqlite(error) => error,
    };
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            Error::input(format!("{path}: is not an SQLite database; a study file is expected, give another --storage"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Error::input(format!(
            "{path}: cannot be opened or created; check that the file and its folder may be written to, or give another --storage"
        )),
        Some(ErrorCode::ReadOnly) => Error::input(format!(
            "{path}: may not be written to; check the permissions of the file and its folder, or give another --storage"
        )),
        Some(ErrorCode::DiskFull) => Error::Storage(format!(
            "{path}: the disk is full; all trials stored so far are kept: free some space and run the same command again"
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Storage(format!(
            "{path}: locked by another program for more than {} s; end that program and run the same command again",
            BUSY.as_secs()
        )),
        Some(ErrorCode::DatabaseCorrupt) => Error::Storage(format!(
            "{path}: the file is damaged ({error}); `sqlite3 FILE .recover` may save its content, or give another --storage"
        )),
        Some(ErrorCode::SystemIoFailure) => Error::Storage(format!(
            "{path}: reading or writing failed ({error}); all trials stored so far are kept: look after the disk and run the same command again"
        )),
        _ => Error::Storage(format!("{path}: {error}")),
    }
}
