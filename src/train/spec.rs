//! How a network is trained: everything that `train` takes but the data, the network and the device.

use super::{Metric, Schedule, ScheduleKind};
use crate::backend::Precision;
use crate::data::{Dataset, Targets, balanced_weights};
use crate::model::{Criterion, Loss};
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
    /// Keep the weights of each epoch, so that a training that is cancelled in the midst of one ends with those of the
    /// last that was whole.
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

    /// The loss in force for these targets.
    ///
    /// # Errors
    /// The loss that was asked for does not fit the targets, or an option of it does not.
    pub fn loss_for(&self, targets: &Targets) -> Result<Loss> {
        let (default, fitting): (_, &[&str]) = match targets {
            Targets::Classes { .. } => (Loss::CrossEntropy, &["cross-entropy"]),
            Targets::Binary { .. } => (Loss::BinaryCrossEntropy, &["binary-cross-entropy"]),
            Targets::Real { .. } => (Loss::Mse, &["mse", "huber"]),
            Targets::None => return Err(Error::input("the data have no target to train on")),
        };
        let loss = self.loss.unwrap_or(default);
        if !fitting.contains(&loss.name()) {
            let kind = match targets {
                Targets::Classes { .. } => "classes",
                Targets::Binary { .. } => "several 0/1 labels",
                _ => "numbers",
            };
            let fitting = fitting.join(" or ");
            return Err(Error::input(format!("loss {} does not fit a target of {kind}: {fitting} does", loss.name())));
        }
        if self.label_smoothing > 0.0 && loss != Loss::CrossEntropy {
            return Err(Error::input(format!("label_smoothing belongs to cross-entropy, not to {}", loss.name())));
        }
        if self.class_weights != ClassWeights::None && matches!(targets, Targets::Real { .. }) {
            return Err(Error::input("class_weights belong to classes or labels; the target is numeric"));
        }
        Ok(loss)
    }

    /// The metric in force for these targets.
    ///
    /// # Errors
    /// The metric that was asked for is not defined for them.
    pub fn metric_for(&self, targets: &Targets) -> Result<Metric> {
        let metric = self.metric.unwrap_or(Metric::default_for(targets));
        if metric.applies_to(targets) {
            return Ok(metric);
        }
        let fitting: Vec<_> = Metric::names()
            .filter(|name| Metric::by_name(name).is_ok_and(|metric| metric.applies_to(targets)))
            .collect();
        let target = match targets {
            Targets::None => "no target".to_owned(),
            Targets::Classes { classes, .. } => format!("a target of {classes} classes"),
            Targets::Binary { width, .. } => format!("{width} labels"),
            Targets::Real { .. } => "a numeric target".to_owned(),
        };
        Err(Error::input(format!(
            "metric {metric} is not defined for {target} (defined: {}); --target names other columns than the last",
            fitting.join(", ")
        )))
    }

    /// Whether a training can be paused: on the hypergradient schedule a backend remembers more than it gives.
    pub fn pauses(&self) -> bool {
        self.schedule.kind != ScheduleKind::Hypergradient
    }

    /// The criterion on training rows with these targets.
    ///
    /// # Errors
    /// As [`TrainSpec::loss_for`].
    pub fn criterion(&self, data: &Dataset) -> Result<Criterion> {
        let loss = self.loss_for(&data.targets)?;
        let class_weights = match self.class_weights {
            ClassWeights::None => None,
            ClassWeights::Balanced => balanced(&data.targets),
        };
        Ok(Criterion { loss, label_smoothing: self.label_smoothing as f32, class_weights })
    }
}

/// n / (k · count) of each class, negatives / positives of each label; a class or label without rows counts once.
fn balanced(targets: &Targets) -> Option<Vec<f32>> {
    match targets {
        Targets::Classes { labels, classes } => Some(balanced_weights(labels, *classes)),
        Targets::Binary { values, width } => {
            let rows = values.len() / width;
            let positives = |j: usize| values.iter().skip(j).step_by(*width).filter(|&&t| t > 0.5).count();
            let weight =
                |positives: usize| if positives == 0 { 1.0 } else { (rows - positives) as f32 / positives as f32 };
            Some((0..*width).map(|j| weight(positives(j))).collect())
        }
        _ => None,
    }
}
