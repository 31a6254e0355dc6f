//! How a network is trained: everything that `train` takes but the data, the network and the device.

use super::{Metric, Schedule, ScheduleKind};
use crate::backend::Precision;
use crate::model::Loss;
use crate::{Error, Result};
use hpt_kernels::optimizer::Optimizer;
use serde::{Deserialize, Serialize};

/// How classes count in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// All alike.
    None,
    /// n / (k · count), scikit-learn's `balanced`, from the training rows; for labels, negatives / positives.
    Balanced,
}

/// Everything about training but the data, the network and the device. Defaults are those of the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSpec {
    /// What is minimised; none takes the task's: cross-entropy, binary cross-entropy or mean squared error.
    pub loss: Option<Loss>,
    /// The update rule with its constants.
    pub optimizer: Optimizer,
    /// The (largest) learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// Rows a step; the last step of an epoch takes what is left.
    pub batch_size: usize,
    /// Most passes over the training rows.
    pub epochs: usize,
    /// L2 added to the gradient (decoupled for AdamW), on every parameter as in PyTorch.
    pub weight_decay: f64,
    /// L1 added to the gradient, on every parameter.
    pub l1: f64,
    /// Label smoothing ε in [0, 1) of the cross-entropy.
    pub label_smoothing: f64,
    /// How classes count.
    pub class_weights: ClassWeights,
    /// Largest global norm of the gradient; it is scaled down to it beyond.
    pub clip_norm: Option<f64>,
    /// Stop when the validation metric has not improved for this many epochs, and take the best epoch's weights.
    pub early_stopping: Option<usize>,
    /// What early stopping and the search look at; none takes accuracy or RMSE.
    pub metric: Option<Metric>,
    /// Further metrics to measure after every epoch.
    pub also: Vec<Metric>,
    /// Keep the weights of each epoch, so that a training that is cancelled in the midst of one ends with those of the last
    /// that was whole.
    pub keep_epochs: bool,
    /// How products are computed.
    pub precision: Precision,
}

impl Default for TrainSpec {
    fn default() -> Self {
        TrainSpec {
            loss: None,
            optimizer: Optimizer::by_name("adam").expect("adam is in the kernels' table"),
            learning_rate: 1e-3,
            schedule: Schedule::default(),
            batch_size: 128,
            epochs: 20,
            weight_decay: 0.0,
            l1: 0.0,
            label_smoothing: 0.0,
            class_weights: ClassWeights::None,
            clip_norm: None,
            early_stopping: None,
            metric: None,
            also: Vec::new(),
            keep_epochs: false,
            precision: Precision::High,
        }
    }
}

impl TrainSpec {
    /// Checks every number.
    ///
    /// # Errors
    /// A value outside its range, named with the range.
    pub fn validate(&self) -> Result<()> {
        let positive = |name: &str, x: f64| match (x as f32).is_finite() && x as f32 > 0.0 {
            true => Ok(()),
            false => Err(Error::input(format!("{name} is {x}; a number above 0 is expected"))),
        };
        let not_negative = |name: &str, x: f64| match (x as f32).is_finite() && x >= 0.0 {
            true => Ok(()),
            false => Err(Error::input(format!("{name} is {x}; 0 or a number above is expected"))),
        };
        let at_least_1 = |name: &str, x: usize| match x {
            0 => Err(Error::input(format!("{name} is 0; at least 1 is expected"))),
            _ => Ok(()),
        };
        positive("learning_rate", self.learning_rate)?;
        at_least_1("batch_size", self.batch_size)?;
        at_least_1("epochs", self.epochs)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("l1", self.l1)?;
        if !(self.label_smoothing >= 0.0 && (self.label_smoothing as f32) < 1.0) {
            let found = self.label_smoothing;
            return Err(Error::input(format!("label_smoothing is {found}; a number in [0, 1) is expected")));
        }
        if let Some(norm) = self.clip_norm {
            positive("clip_norm", norm)?;
        }
        if let Some(patience) = self.early_stopping {
            at_least_1("early_stopping", patience)?;
        }
        if let Some(Loss::Huber { delta }) = self.loss {
            positive("huber_delta", delta)?;
        }
        self.schedule.validate()?;
        self.hypergradient().map(drop)
    }

    /// β of hypergradient descent; none for another schedule.
    ///
    /// # Errors
    /// An optimizer that it is not made for, or clipping.
    pub fn hypergradient(&self) -> Result<Option<f64>> {
        if self.schedule.kind != ScheduleKind::Hypergradient {
            return Ok(None);
        }
        let usual = match self.optimizer {
            Optimizer::Sgd | Optimizer::Momentum { .. } | Optimizer::Nesterov { .. } => 1e-3,
            Optimizer::Adam { .. } => 1e-7,
            other => {
                let name = other.name();
                return Err(Error::input(format!(
                    "schedule hypergradient is made for sgd, momentum, nesterov and adam, not for {name}"
                )));
            }
        };
        if self.clip_norm.is_some() {
            return Err(Error::input("schedule hypergradient and clip_norm exclude each other"));
        }
        Ok(Some(self.schedule.hypergradient_rate.unwrap_or(usual)))
    }
}
