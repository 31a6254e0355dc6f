//! The losses and their gradients in `f64`, by definition: one row at a time, the gradient not scaled.

use super::activation::sigmoid;
use crate::loss::PointwiseLoss;

/// A row of logits for softmax cross-entropy, and what [`crate::loss::SoftmaxCrossEntropy`] says of it.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxRow<'a> {
    /// One a class.
    pub logits: &'a [f64],
    /// The true class.
    pub label: usize,
    /// ε
    pub smoothing: f64,
    /// One weight a class.
    pub class_weights: Option<&'a [f64]>,
}

/// Softmax.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = logits.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|e| e / sum).collect()
}

/// The row's loss and its gradient with respect to the logits.
pub fn softmax_cross_entropy(row: SoftmaxRow) -> (f64, Vec<f64>) {
    let SoftmaxRow { logits, label, smoothing, class_weights } = row;
    let classes = logits.len();
    let p = softmax(logits);
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
    // What each class's −ln p counts; the loss is linear in them.
    let counts: Vec<f64> = (0..classes)
        .map(|c| {
            let hard = if c == label { 1.0 - smoothing } else { 0.0 };
            (hard + smoothing / classes as f64) * class_weights.map_or(1.0, |w| w[c])
        })
        .collect();
    let loss = counts.iter().zip(logits).map(|(q, x)| q * (log_sum - (x - max))).sum();
    let total: f64 = counts.iter().sum();
    let gradient = counts.iter().zip(&p).map(|(q, p)| total * p - q).collect();
    (loss, gradient)
}

/// Loss and slope at one output, for one target and one `pos_weight`.
pub fn pointwise(kind: PointwiseLoss, output: f64, target: f64, weight: f64) -> (f64, f64) {
    let d = output - target;
    match kind {
        PointwiseLoss::BinaryCrossEntropy => {
            // −ln σ(x) = ln(1 + e^−x)
            let minus_ln_sigmoid = |x: f64| (-x).max(0.0) + (-x.abs()).exp().ln_1p();
            let loss = weight * target * minus_ln_sigmoid(output) + (1.0 - target) * minus_ln_sigmoid(-output);
            (loss, (1.0 - target) * sigmoid(output) - weight * target * sigmoid(-output))
        }
        PointwiseLoss::MeanSquared => (d * d, 2.0 * d),
        PointwiseLoss::Huber { delta } => {
            let delta = f64::from(delta);
            if d.abs() <= delta { (0.5 * d * d, d) } else { (delta * (d.abs() - 0.5 * delta), delta.copysign(d)) }
        }
    }
}
