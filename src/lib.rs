//! hpt-engine (documentation follows with the README).

mod error;
pub mod data;
pub mod history;
pub mod random;
pub mod space;

pub use error::{Error, Result};
