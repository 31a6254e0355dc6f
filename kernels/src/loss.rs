//! Losses: the value of every row, and the gradient written over the network's outputs.
//!
//! One pass reads a row from memory once; what it needs twice it finds in the cache. The formulas are PyTorch's
//! (`cross_entropy` with class weights and label smoothing, `binary_cross_entropy_with_logits`, `mse_loss`,
//! `huber_loss`), in forms that neither overflow nor cancel. The mean over the batch is the caller's: a row's loss is
//! not divided by anything, the gradient is multiplied by `scale`. **A non-finite output gives a non-finite loss**,
//! even where the formula alone would not show it, so that a diverged network is never taken for a good one.

use crate::isa::{Isa, Op, Simd};
use crate::math::{exp, ln_1p, sigmoid, sigmoids, softplus_of_minus_abs};

/// Whether the gradient is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gradient {
    /// The outputs stay.
    Skip,
    /// The outputs are overwritten by the gradient.
    Write,
}

/// Softmax and cross-entropy of `rows × classes` logits, one label a row.
///
/// With p = softmax(logits), weights w (or 1) and smoothing ε:
/// `loss = −(1 − ε)·w[y]·ln p[y] − ε/classes · Σ w[c]·ln p[c]`.
#[derive(Debug)]
pub struct SoftmaxCrossEntropy<'a> {
    /// rows × classes, row-major and contiguous; with [`Gradient::Write`] overwritten by `scale · ∂loss/∂logits`.
    pub logits: &'a mut [f32],
    /// Columns, at least 1.
    pub classes: usize,
    /// One label a row, below `classes`.
    pub labels: &'a [u32],
    /// Label smoothing ε in `[0, 1]`.
    pub smoothing: f32,
    /// One weight a class.
    pub class_weights: Option<&'a [f32]>,
    /// Multiplies the gradient: for the mean, 1 / Σ w[y] over the whole batch.
    pub scale: f32,
    /// Whether the gradient is wanted.
    pub gradient: Gradient,
    /// One loss a row.
    pub losses: &'a mut [f32],
}

/// Losses of each row, and the gradient. See [`SoftmaxCrossEntropy`].
///
/// # Panics
/// Lengths do not fit, or a label is not below `classes`.
pub fn softmax_cross_entropy(isa: Isa, args: SoftmaxCrossEntropy) {
    let rows = args.labels.len();
    assert!(args.classes > 0, "no classes");
    assert_eq!(args.logits.len(), rows * args.classes, "logits are labels × classes");
    assert_eq!(args.losses.len(), rows, "one loss a row");
    assert!(args.class_weights.is_none_or(|w| w.len() == args.classes), "one weight a class");
    isa.run(args);
}

/// Lanes of the vector at `i` of a row of `n`, as a mask.
#[inline(always)]
fn lanes_below<S: Simd>(s: S, i: usize, n: usize) -> S::M {
    s.ge_u(s.splat_u((n - i).min(S::LANES) as u32 - 1), s.iota(0))
}

/// Lane 0.
#[inline(always)]
fn first<S: Simd>(s: S, v: S::F) -> f32 {
    let mut lane = [0.0];
    s.store(&mut lane, v);
    lane[0]
}

/// The largest element (of those that are not NaN).
#[inline(always)]
fn max_of_row<S: Simd>(s: S, x: &[f32]) -> f32 {
    let low = s.splat(f32::NEG_INFINITY);
    let mut max = low;
    for i in (0..x.len()).step_by(S::LANES) {
        max = s.max(s.select(lanes_below(s, i, x.len()), s.load(&x[i..]), low), max);
    }
    s.max_lane(max)
}

impl Op for SoftmaxCrossEntropy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let smooth = self.smoothing / self.classes as f32;
        let weight_sum = match self.class_weights {
            Some(w) => w.iter().map(|&w| f64::from(w)).sum::<f64>() as f32,
            None => self.classes as f32,
        };
        for ((x, &label), loss) in self.logits.chunks_mut(self.classes).zip(self.labels).zip(self.losses) {
            let label = label as usize;
            assert!(label < x.len(), "label {label} of {} classes", x.len());
            let hard = (1.0 - self.smoothing) * self.class_weights.map_or(1.0, |w| w[label]);
            let row = Row { hard, smooth, weight_sum, weights: self.class_weights };
            let (value, sum) = row.loss(s, x, label, self.gradient);
            *loss = value;
            if self.gradient == Gradient::Write {
                row.gradient(s, x, self.scale, sum);
                x[label] -= self.scale * hard;
            }
        }
    }
}

/// What a row's loss needs besides its logits: `hard = (1 − ε)·w[y]`, `smooth = ε/classes`, `Σ w`, `w`.
struct Row<'a> {
    hard: f32,
    smooth: f32,
    weight_sum: f32,
    weights: Option<&'a [f32]>,
}

impl Row<'_> {
    /// The loss and Σ e^(x − m), m being the largest logit; with [`Gradient::Write`] leaves e^(x − m) in place of x.
    #[inline(always)]
    fn loss<S: Simd>(&self, s: S, x: &mut [f32], label: usize, gradient: Gradient) -> (f32, f32) {
        let max = max_of_row(s, x);
        let at_label = x[label] - max;
        let (zero, m) = (s.splat(0.0), s.splat(max));
        let (mut sum, mut weighted, mut poison) = (zero, zero, zero);
        for i in (0..x.len()).step_by(S::LANES) {
            let inside = lanes_below(s, i, x.len());
            let v = s.load(&x[i..]);
            let d = s.select(inside, s.sub(v, m), zero);
            let e = s.select(inside, exp(s, d), zero);
            sum = s.add(sum, e);
            // 0·x is NaN where x is not finite: a logit of −∞ would otherwise leave no trace.
            poison = s.mul_add(v, zero, poison);
            if self.smooth != 0.0 {
                weighted = s.mul_add(self.weights(s, i), d, weighted);
            }
            if gradient == Gradient::Write {
                s.store(&mut x[i..], e);
            }
        }
        let sum = s.sum(sum);
        let log_sum = first(s, ln_1p(s, s.splat(sum - 1.0)));
        let mut loss = self.hard * (log_sum - at_label) + s.sum(poison);
        if self.smooth != 0.0 {
            loss += self.smooth * (self.weight_sum * log_sum - s.sum(weighted));
        }
        (loss, sum)
    }

    /// From e^(x − m) to `scale·((hard + smooth·Σw)·p[c] − smooth·w[c])`; the label's own `−scale·hard` is left out.
    #[inline(always)]
    fn gradient<S: Simd>(&self, s: S, x: &mut [f32], scale: f32, sum: f32) {
        let factor = s.splat(scale * (self.hard + self.smooth * self.weight_sum) / sum);
        let pull = s.splat(-scale * self.smooth);
        for i in (0..x.len()).step_by(S::LANES) {
            let mut v = s.mul(s.load(&x[i..]), factor);
            if self.smooth != 0.0 {
                v = s.mul_add(self.weights(s, i), pull, v);
            }
            s.store(&mut x[i..], v);
        }
    }

    #[inline(always)]
    fn weights<S: Simd>(&self, s: S, i: usize) -> S::F {
        match self.weights {
            Some(w) => s.load(&w[i..]),
            None => s.splat(1.0),
        }
    }
}

/// A loss that is a sum over single outputs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PointwiseLoss {
    /// Of the logit x of one yes-or-no: `−w·t·ln σ(x) − (1 − t)·ln σ(−x)`; targets in `[0, 1]`.
    BinaryCrossEntropy,
    /// `(x − t)²`
    MeanSquared,
    /// `½(x − t)²`, from `|x − t| = delta` on `delta·(|x − t| − ½delta)`.
    Huber {
        /// Where the parabola becomes a line.
        delta: f32,
    },
}

/// A pointwise loss of `rows × width` outputs.
#[derive(Debug)]
pub struct Pointwise<'a> {
    /// The formula.
    pub kind: PointwiseLoss,
    /// rows × width, row-major and contiguous; with [`Gradient::Write`] overwritten by `scale · ∂loss/∂outputs`.
    pub outputs: &'a mut [f32],
    /// Columns, at least 1.
    pub width: usize,
    /// What the outputs should be: rows × width.
    pub targets: &'a [f32],
    /// One weight a column for the positive targets of [`PointwiseLoss::BinaryCrossEntropy`] (`pos_weight` in PyTorch).
    pub weights: Option<&'a [f32]>,
    /// Multiplies the gradient: for the mean, 1 / (rows · width) with the rows of the whole batch.
    pub scale: f32,
    /// Whether the gradient is wanted.
    pub gradient: Gradient,
    /// One loss a row: the sum over its columns.
    pub losses: &'a mut [f32],
}

/// Losses of each row, and the gradient. See [`Pointwise`].
///
/// # Panics
/// Lengths do not fit, or weights were given to a loss that has none.
pub fn pointwise(isa: Isa, args: Pointwise) {
    assert!(args.width > 0, "no outputs");
    assert_eq!(args.outputs.len(), args.losses.len() * args.width, "outputs are losses × width");
    assert_eq!(args.targets.len(), args.outputs.len(), "one target an output");
    assert!(args.weights.is_none_or(|w| w.len() == args.width), "one weight a column");
    assert!(
        args.weights.is_none() || args.kind == PointwiseLoss::BinaryCrossEntropy,
        "only binary cross-entropy weighs the positive targets"
    );
    isa.run(args);
}

/// Value and slope of a pointwise loss at output `x`, target `t`, weight `w`.
trait Penalty: Copy {
    fn at<S: Simd>(self, s: S, x: S::F, t: S::F, w: S::F) -> (S::F, S::F);
}

#[derive(Clone, Copy)]
struct BinaryCrossEntropy;
#[derive(Clone, Copy)]
struct MeanSquared;
#[derive(Clone, Copy)]
struct Huber(f32);

impl Penalty for BinaryCrossEntropy {
    /// `w·t·softplus(−x) + (1 − t)·softplus(x)`, slope `(1 − t)·σ(x) − w·t·σ(−x)`
    #[inline(always)]
    fn at<S: Simd>(self, s: S, x: S::F, t: S::F, w: S::F) -> (S::F, S::F) {
        let zero = s.splat(0.0);
        let (positive, negative) = (s.mul(w, t), s.sub(s.splat(1.0), t));
        let rest = softplus_of_minus_abs(s, x);
        let (up, down) = (s.add(s.max(zero, x), rest), s.add(s.max(zero, s.neg(x)), rest));
        let (sigma, one_less) = sigmoids(s, x);
        // 0·x: both terms may vanish at an infinite x.
        let value = s.mul_add(x, zero, s.mul_add(positive, down, s.mul(negative, up)));
        (value, s.sub(s.mul(negative, sigma), s.mul(positive, one_less)))
    }
}

impl Penalty for MeanSquared {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, x: S::F, t: S::F, _: S::F) -> (S::F, S::F) {
        let d = s.sub(x, t);
        (s.mul(d, d), s.add(d, d))
    }
}

impl Penalty for Huber {
    #[inline(always)]
    fn at<S: Simd>(self, s: S, x: S::F, t: S::F, _: S::F) -> (S::F, S::F) {
        let (d, delta, half) = (s.sub(x, t), s.splat(self.0), s.splat(0.5));
        let a = s.abs(d);
        let line = s.mul(delta, s.sub(a, s.mul(half, delta)));
        let value = s.select(s.le(a, delta), s.mul(half, s.mul(d, d)), line);
        (value, s.max(s.neg(delta), s.min(delta, d)))
    }
}

impl Op for Pointwise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.kind {
            PointwiseLoss::BinaryCrossEntropy => self.rows(s, BinaryCrossEntropy),
            PointwiseLoss::MeanSquared => self.rows(s, MeanSquared),
            PointwiseLoss::Huber { delta } => self.rows(s, Huber(delta)),
        }
    }
}

impl Pointwise<'_> {
    #[inline(always)]
    fn rows<S: Simd, P: Penalty>(self, s: S, penalty: P) {
        let scale = s.splat(self.scale);
        // One output a row: the rows lie side by side in the lanes.
        let part = if self.width == 1 { S::LANES } else { self.width };
        for (i, losses) in self.losses.chunks_mut(part / self.width).enumerate() {
            let at = i * part;
            let n = losses.len() * self.width;
            let (x, t) = (&mut self.outputs[at..][..n], &self.targets[at..][..n]);
            let mut total = s.splat(0.0);
            for i in (0..n).step_by(S::LANES) {
                let w = match self.weights {
                    Some(&[w]) => s.splat(w),
                    Some(w) => s.load(&w[i..]),
                    None => s.splat(1.0),
                };
                let (value, slope) = penalty.at(s, s.load(&x[i..]), s.load(&t[i..]), w);
                total = s.add(total, s.select(lanes_below(s, i, n), value, s.splat(0.0)));
                if self.gradient == Gradient::Write {
                    s.store(&mut x[i..], s.mul(slope, scale));
                }
            }
            if self.width == 1 {
                s.store(losses, total);
            } else {
                losses[0] = s.sum(total);
            }
        }
    }
}

/// Softmax of each row of `classes`, in place: probabilities from logits.
///
/// # Panics
/// `x` is not whole rows.
pub fn softmax_rows(isa: Isa, x: &mut [f32], classes: usize) {
    assert!(classes > 0 && x.len().is_multiple_of(classes), "{} elements in rows of {classes}", x.len());
    isa.run(SoftmaxRows { x, classes });
}

struct SoftmaxRows<'a> {
    x: &'a mut [f32],
    classes: usize,
}

impl Op for SoftmaxRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.x.chunks_mut(self.classes) {
            let row = Row { hard: 1.0, smooth: 0.0, weight_sum: 0.0, weights: None };
            let (_, sum) = row.loss(s, x, 0, Gradient::Write);
            row.gradient(s, x, 1.0, sum);
        }
    }
}

/// The logistic function of each element, in place: probabilities from logits.
pub fn sigmoid_rows(isa: Isa, x: &mut [f32]) {
    isa.run(SigmoidRows { x });
}

struct SigmoidRows<'a> {
    x: &'a mut [f32],
}

impl Op for SigmoidRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.x.chunks_mut(S::LANES) {
            let v = sigmoid(s, s.load(x));
            s.store(x, v);
        }
    }
}
