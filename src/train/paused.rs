//! A training that was cancelled somewhere, with all it takes to go on to the same numbers.
//!
//! Beyond a [`Checkpoint`] that is the epochs so far, from which early stopping and the plateau schedule are what they
//! were, and the losses of the steps that were made of the next epoch: the order of the rows, dropout and the schedule
//! are functions of epoch and step. A checkpoint alone serves trainings in pieces, whose settings may differ from piece
//! to piece.

use super::{Checkpoint, Epoch};
use crate::model::Plan;
use crate::{Error, Result};

/// See the module.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Paused {
    /// Weights and the optimizer's memory after the last step.
    #[serde(skip)]
    pub checkpoint: Checkpoint,
    /// The whole epochs.
    pub history: Vec<Epoch>,
    /// Losses of the steps that were made of the next one.
    pub losses: Vec<f64>,
    /// Seconds that those took.
    pub seconds: f64,
    /// Weights to go back to: of the best epoch with early stopping, else of the last whole one, where that was asked
    /// for.
    #[serde(skip)]
    pub kept: Option<Vec<f32>>,
}

impl Paused {
    /// Sees that a training of this network with so many steps an epoch can go on from here; the checkpoint is of it.
    pub(super) fn check(&self, plan: &Plan, steps: usize) -> Result<()> {
        if self.kept.as_ref().is_some_and(|kept| kept.len() != plan.parameters)
            || self.losses.len() > steps
            || self.checkpoint.epochs != self.history.len()
        {
            return Err(Error::input("what was kept of a paused training does not fit it: other data or batch size"));
        }
        Ok(())
    }
}
