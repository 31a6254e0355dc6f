//! Studies: ask for a trial, report, tell its result, in Optuna's own SQLite schema; and the loop that does so on
//! many threads.
//!
//! - [`Storage`] is the file, [`Study`] one study in it: a handle that threads share.
//! - [`Study::ask`], [`Study::report`], [`Study::should_prune`] and [`Study::tell`] for objectives outside;
//!   [`Study::optimize`] for a closure.
//! - `optuna.load_study` and `optuna-dashboard` open the same file. What Optuna has no column for (space, slot, owner)
//!   are system attributes under `hpt:`.
//!
//! A trial whose process died is marked failed (`hpt:lost`) and waits again with the same parameters and the same slot,
//! so a study that was killed ends where it would have ended. Nothing here knows what is being tuned.

mod ask;
mod cache;
mod codec;
mod handle;
mod optimize;
mod owner;
mod rows;
mod schema;
mod storage;
#[cfg(test)]
mod storage_tests;
mod tell;
#[cfg(test)]
mod tests;

pub use cache::Counts;
pub use handle::{Study, StudyConfig};
pub use optimize::{Context, ObjectiveEnd, OptimizeSpec, Stopped, Summary, Verdict};
pub use storage::Storage;
pub use tell::Outcome;

pub(crate) use codec::datetime;
