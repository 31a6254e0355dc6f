#![doc = include_str!("../README.md")]

pub mod backend;
pub mod bench;
pub mod check;
pub mod compare;
pub mod data;
pub mod engine;
mod error;
pub mod history;
pub mod importance;
pub mod model;
pub mod prepared;
pub mod pruner;
pub mod random;
pub mod report;
pub mod sampler;
pub mod search;
pub mod settings;
pub mod sharers;
pub mod space;
pub mod statistics;
pub mod study;
pub mod train;

pub use error::{Error, Result};
