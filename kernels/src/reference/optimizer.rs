//! The optimizers in `f64`, line by line as `torch.optim` writes them.

use crate::optimizer::{Optimizer, written};

/// What a step needs besides the arrays. See [`crate::optimizer::Update`].
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Which, and its constants.
    pub optimizer: Optimizer,
    /// lr
    pub learning_rate: f64,
    /// L2, decoupled for AdamW.
    pub weight_decay: f64,
    /// L1.
    pub l1: f64,
    /// Multiplies the gradient first.
    pub gradient_scale: f64,
    /// From 1.
    pub step: u64,
}

impl Step {
    /// Takes the step on one weight with its gradient and state.
    pub fn update(&self, w: &mut f64, gradient: f64, state: [&mut f64; 2]) {
        let lr = self.learning_rate;
        let [a, b] = state;
        let mut g = self.gradient_scale * gradient;
        if *w != 0.0 {
            g += self.l1 * w.signum();
        }
        if matches!(self.optimizer, Optimizer::AdamW { .. }) {
            *w -= lr * self.weight_decay * *w;
        } else {
            g += self.weight_decay * *w;
        }
        match self.optimizer {
            Optimizer::Sgd => *w -= lr * g,
            Optimizer::Momentum { momentum } => {
                *a = written(momentum) * *a + g;
                *w -= lr * *a;
            }
            Optimizer::Nesterov { momentum } => {
                *a = written(momentum) * *a + g;
                *w -= lr * (g + written(momentum) * *a);
            }
            Optimizer::Adam { beta1, beta2, epsilon } | Optimizer::AdamW { beta1, beta2, epsilon } => {
                let (beta1, beta2) = (written(beta1), written(beta2));
                *a = beta1 * *a + (1.0 - beta1) * g;
                *b = beta2 * *b + (1.0 - beta2) * g * g;
                let m = *a / (1.0 - beta1.powf(self.step as f64));
                let v = *b / (1.0 - beta2.powf(self.step as f64));
                *w -= lr * m / (v.sqrt() + f64::from(epsilon));
            }
            Optimizer::RmsProp { alpha, epsilon, momentum } => {
                let alpha = written(alpha);
                *a = alpha * *a + (1.0 - alpha) * g * g;
                let d = g / (a.sqrt() + f64::from(epsilon));
                if momentum == 0.0 {
                    *w -= lr * d;
                } else {
                    *b = written(momentum) * *b + d;
                    *w -= lr * *b;
                }
            }
        }
    }
}
