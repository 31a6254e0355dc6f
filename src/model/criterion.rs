//! What a training minimises: a loss with everything it needs, and the scale that makes it PyTorch's mean.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Softmax cross-entropy over classes, `torch.nn.CrossEntropyLoss`.
    CrossEntropy,
    /// Binary cross-entropy on logits over labels, `torch.nn.BCEWithLogitsLoss`.
    BinaryCrossEntropy,
    /// Mean squared error, `torch.nn.MSELoss`.
    Mse,
    /// `torch.nn.HuberLoss`: quadratic within `delta` (in standardised targets), linear beyond.
    Huber {
        /// Where the loss becomes linear.
        delta: f64,
    },
}

impl Loss {
    /// The names that `--loss` takes.
    pub const NAMES: &[&str] = &["cross-entropy", "binary-cross-entropy", "mse", "huber"];

    /// The loss of that name.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn by_name(name: &str) -> Result<Self> {
        match name {
            "cross-entropy" => Ok(Loss::CrossEntropy),
            "binary-cross-entropy" => Ok(Loss::BinaryCrossEntropy),
            "mse" => Ok(Loss::Mse),
            "huber" => Ok(Loss::Huber { delta: 1.0 }),
            _ => Err(Error::unknown("loss", name, Self::NAMES.iter().copied())),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Loss::CrossEntropy => "cross-entropy",
            Loss::BinaryCrossEntropy => "binary-cross-entropy",
            Loss::Mse => "mse",
            Loss::Huber { .. } => "huber",
        }
    }
}

/// A loss with everything it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// Which loss.
    pub loss: Loss,
    /// ε of the cross-entropy.
    pub label_smoothing: f32,
    /// One weight a class (cross-entropy) or the weight of each label's positives (binary).
    pub class_weights: Option<Vec<f32>>,
}

impl Criterion {
    /// What a batch's summed loss is multiplied by to be PyTorch's mean, and the gradient with it.
    ///
    /// One over the rows' total class weight for a weighted cross-entropy, else one over the number of values.
    pub fn scale(&self, labels: &[u32], rows: usize, width: usize) -> f64 {
        match (self.loss, &self.class_weights) {
            (Loss::CrossEntropy, Some(weights)) => {
                1.0 / labels.iter().map(|&l| f64::from(weights[l as usize])).sum::<f64>()
            }
            (Loss::CrossEntropy, None) => 1.0 / rows as f64,
            _ => 1.0 / (rows * width) as f64,
        }
    }
}
