//! hpt-engine (documentation follows with the README).

mod error;
pub mod history;
pub mod pruner;
pub mod random;
pub mod report;
pub mod sampler;
pub mod space;
pub mod study;

pub use error::{Error, Result};
