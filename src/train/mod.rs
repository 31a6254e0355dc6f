//! Training: the one loop, schedules, metrics, early stopping.
//!
//! [`train`] drives any backend through epochs; it knows no device and no search. What happens inside a step
//! is the backend's; what a trial is, nobody here knows.

mod bootstrap;
mod checkpoint;
mod diagnostics;
mod epochs;
mod metrics;
mod paused;
mod schedule;
mod spec;

pub use bootstrap::{Interval, intervals, rehearse};
pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::{hash, hash_of, read, write};
pub use diagnostics::{Bin, Diagnostics};
pub use epochs::{Control, Epoch, Stopped, Trained, Trainer, evaluate, go_on, resume, train};
pub use hpt_kernels::optimizer::Optimizer;
pub use metrics::{Metric, Scores};
pub use paused::Paused;
pub use schedule::{Kind as ScheduleKind, Plateau, Schedule};
pub use spec::{ClassWeights, TrainSpec};

pub use crate::backend::Precision;
pub use crate::model::Loss;
