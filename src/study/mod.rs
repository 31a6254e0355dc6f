//! Studies: ask for a trial, report, tell its result, in Optuna's own SQLite schema; and the loop that does so on
//! many threads.
//!
//! - [`Storage`] is the file, [`Study`] one study in it: a handle that threads share.
//! - [`Study::ask`], [`Study::report`], [`Study::should_prune`] and [`Study::tell`] for objectives outside;
//!   [`Study::optimize`] for a closure. [`Study::serve`] makes a loop of the former as quick as the latter.
//! - [`Study::add_trial`], [`Study::delete_trial`], [`Study::copy_to`] and [`Study::delete`] change a study by hand;
//!   [`Study::warm_start`] takes over what another one found; [`StopRules`] end one that has done enough.
//! - [`Method`] is how a study proposes and stops trials; it is kept for whoever goes on with it.
//! - `optuna.load_study` and `optuna-dashboard` open the same file. What Optuna has no column for (space, slot, owner)
//!   are system attributes under `hpt:`.
//!
//! A trial whose process died is marked failed (`hpt:lost`) and waits again with the same parameters and the same slot,
//! so a study that was killed ends where it would have ended; a trial that three processes died with has failed.
//! Nothing here knows what is being tuned.
//!
//! ```
//! use hpt_engine::history::Direction;
//! use hpt_engine::pruner::Never;
//! use hpt_engine::sampler::RandomSampler;
//! use hpt_engine::space::{Domain, Parameter, Space};
//! use hpt_engine::study::{ObjectiveEnd, OptimizeSpec, Outcome, Study, StudyConfig, Verdict};
//!
//! let rate = Domain::Float { low: 1e-4, high: 1.0, log: true, step: None };
//! let space = Space::new(vec![Parameter { name: "rate".into(), domain: rate, when: vec![] }])?;
//! let study = Study::in_memory(&StudyConfig::new("example", Direction::Minimize, space))?;
//!
//! // A closure, on two threads, until the study has 20 trials.
//! let spec = OptimizeSpec { trials: Some(20), jobs: 2, ..OptimizeSpec::new(&RandomSampler, &Never) };
//! study.optimize(&spec, |context| {
//!     let rate = context.params()["rate"].as_f64().unwrap_or(1.0);
//!     for epoch in 1..=3 {
//!         match context.report(epoch, rate / epoch as f64) {
//!             Verdict::Continue => {}
//!             Verdict::Prune => return Err(ObjectiveEnd::Pruned),
//!             Verdict::Stop => return Err(ObjectiveEnd::Stopped),
//!         }
//!     }
//!     Ok(vec![rate / 3.0])
//! })?;
//!
//! // One by one, for an objective that runs elsewhere.
//! if let Some(trial) = study.ask(&RandomSampler, 0)? {
//!     study.tell(trial.number, Outcome::Complete(vec![0.5]))?;
//! }
//! assert_eq!((study.trials()?.len(), study.best()?.len()), (21, 1));
//! # Ok::<(), hpt_engine::Error>(())
//! ```

mod ask;
mod cache;
mod codec;
mod context;
mod edit;
mod handle;
mod method;
mod optimize;
mod order;
#[cfg(test)]
mod order_tests;
mod owner;
mod repeat;
mod rows;
mod schema;
#[cfg(test)]
mod several_tests;
mod stop;
mod storage;
#[cfg(test)]
mod storage_tests;
mod tell;
#[cfg(test)]
mod tests;
mod transfer;
#[cfg(test)]
mod transfer_tests;

pub use ask::is_repetition;
pub use cache::{Counts, PARTS};
pub use context::{Context, ObjectiveEnd, Verdict};
pub use handle::{Study, StudyConfig, objective_names};
pub use method::{Begun, Method, Told, ToldOption, has_acquisition};
pub use optimize::{OptimizeSpec, Stopped, Summary};
pub use stop::{GROWTH, Regret, StopRules};
pub use storage::Storage;
pub use tell::{Outcome, Serving};
pub use transfer::Transfer;

pub(crate) use codec::datetime;
