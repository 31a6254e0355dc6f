//! What a network is: its description ([`ModelSpec`]), the shapes and offsets that follow from it ([`Plan`]),
//! its initial weights, and the trained model with everything it needs to predict ([`Model`], on disk too).
//!
//! No buffers and no arithmetic here: those are a backend's.

mod criterion;
mod file;
mod init;
mod plan;
mod spec;

pub use criterion::{Criterion, Loss};
pub use file::{Head, Model, Training};
pub use init::{Init, initialise};
pub use plan::{Layer, Plan};
pub use spec::{LayerSpec, ModelSpec};

/// The activations of the kernels, by the names that `--activation` takes.
pub use hpt_kernels::activation::Activation;
