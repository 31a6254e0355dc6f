//! Search spaces: what a study varies, within which bounds, and when a parameter exists at all.
//!
//! A [`Space`] is an ordered list of [`Parameter`]s; a parameter with a [`Condition`] exists only in
//! configurations where the condition holds, so a configuration ([`Params`]) holds the active parameters and
//! nothing else. Nothing here knows what the parameters mean.

mod parse;
mod value;

pub use parse::Expand;
pub use value::Value;

use crate::{Error, Result};

/// The active parameters of one configuration, in the order of the space.
pub type Params = indexmap::IndexMap<String, Value>;

/// The set that a parameter's values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// Real numbers in `[low, high]`; uniform in the logarithm where `log`; on the grid `low + i·step` where given.
    Float {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Search the logarithm (then `low > 0` and no step).
        log: bool,
        /// Distance of neighbouring values.
        step: Option<f64>,
    },
    /// Whole numbers `low, low + step, … ≤ high`; uniform in the logarithm where `log` (then the step is 1).
    Int {
        /// Smallest value.
        low: i64,
        /// Largest value, a multiple of `step` above `low`.
        high: i64,
        /// Search the logarithm (then `low ≥ 1`).
        log: bool,
        /// Distance of neighbouring values, at least 1.
        step: i64,
    },
    /// One of the listed values, without order.
    Choice(Vec<Value>),
}

/// When a parameter exists: its parent is active and has one of these values.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The parent, which stands before the parameter in the space.
    pub parent: String,
    /// What the parent's value must be.
    pub test: Test,
}

/// What a [`Condition`] asks of the parent's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// One of these values.
    In(Vec<Value>),
    /// A number at least this (from `each = "layers"`: `units_2` exists where `layers ≥ 3`).
    AtLeast(f64),
}

/// One parameter of a space.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, unique in the space.
    pub name: String,
    /// Where its values come from.
    pub domain: Domain,
    /// When it exists; all must hold, none means always.
    pub when: Vec<Condition>,
}

/// An ordered list of parameters, parents before children.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Space {
    parameters: Vec<Parameter>,
}
