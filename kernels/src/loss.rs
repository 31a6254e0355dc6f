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
    /// Multiplies the gradient: for the mean, `1 / Σ w[y]` over the whole batch.
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

/// Rows whose logarithms are taken together.
const BLOCK: usize = 16;

impl Op for SoftmaxCrossEntropy<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let smooth = self.smoothing / self.classes as f32;
        let weight_sum = match self.class_weights {
            Some(w) => w.iter().map(|&w| f64::from(w)).sum::<f64>() as f32,
            None => self.classes as f32,
        };
        let blocks = self.logits.chunks_mut(BLOCK * self.classes).zip(self.labels.chunks(BLOCK));
        for ((x, labels), losses) in blocks.zip(self.losses.chunks_mut(BLOCK)) {
            let short = self.classes <= S::LANES;
            let mut gradients = [s.splat(0.0); BLOCK];
            // loss = total·ln(1 + others) + rest
            let (mut others, mut totals, mut rests) = ([0.0; BLOCK], [0.0; BLOCK], [0.0; BLOCK]);
            for (r, (x, &label)) in x.chunks_mut(self.classes).zip(labels).enumerate() {
                let label = label as usize;
                assert!(label < x.len(), "label {label} of {} classes", x.len());
                let hard = (1.0 - self.smoothing) * self.class_weights.map_or(1.0, |w| w[label]);
                let total = hard + smooth * weight_sum;
                let row = Row { label, hard, smooth, total, weights: self.class_weights, scale: self.scale };
                let (sum, rest);
                if short {
                    (sum, rest, gradients[r]) = row.short(s, x);
                } else {
                    (sum, rest) = row.long(s, x, self.gradient);
                }
                (others[r], totals[r], rests[r]) = (sum - 1.0, total, rest);
            }
            // Stored when the whole block is read: a load that overlaps the unused lanes of the previous row's store
            // would wait for it.
            if short && self.gradient == Gradient::Write {
                for (x, v) in x.chunks_mut(self.classes).zip(gradients) {
                    s.store(x, v);
                }
            }
            for i in (0..losses.len()).step_by(S::LANES) {
                let log_sum = ln_1p(s, s.load(&others[i..]));
                s.store(&mut losses[i..], s.mul_add(log_sum, s.load(&totals[i..]), s.load(&rests[i..])));
            }
        }
    }
}

/// A row's loss is `total·ln Σe^(x − m) − hard·(x[y] − m) − smooth·Σ w[c]·(x[c] − m)`, m being the largest logit, and
/// its gradient `scale·(total·p[c] − smooth·w[c] − hard·[c = y])`, with `hard = (1 − ε)·w[y]`, `smooth = ε/classes`,
/// `total = hard + smooth·Σw`.
struct Row<'a> {
    label: usize,
    hard: f32,
    smooth: f32,
    total: f32,
    weights: Option<&'a [f32]>,
    scale: f32,
}

/// Sums over the columns of a row, a part of them in each lane.
struct Sums<S: Simd> {
    /// Σ e^(x − m)
    exp: S::F,
    /// Σ w·(x − m)
    weighted: S::F,
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    fn new(s: S) -> Self {
        Sums { exp: s.splat(0.0), weighted: s.splat(0.0) }
    }
}

impl Row<'_> {
    /// For a row of at most `LANES` columns: `Σ e^(x − m)`, the loss without its logarithm, and the gradient.
    #[inline(always)]
    fn short<S: Simd>(&self, s: S, x: &[f32]) -> (f32, f32, S::F) {
        let max = max_of_row(s, x);
        let mut sums = Sums::new(s);
        let e = self.add(s, &mut sums, s.load(x), max, 0, x.len());
        let sum = s.sum(sums.exp);
        (sum, self.rest(s, &sums, x[self.label] - max), self.gradient(s, e, sum, 0))
    }

    /// For any row: `Σ e^(x − m)` and the loss without its logarithm; leaves the gradient in `x` if it is wanted.
    #[inline(always)]
    fn long<S: Simd>(&self, s: S, x: &mut [f32], gradient: Gradient) -> (f32, f32) {
        let n = x.len();
        let max = max_of_row(s, x);
        let at_label = x[self.label] - max;
        let mut sums = Sums::new(s);
        for i in (0..n).step_by(S::LANES) {
            let e = self.add(s, &mut sums, s.load(&x[i..]), max, i, n);
            if gradient == Gradient::Write {
                s.store(&mut x[i..], e);
            }
        }
        let sum = s.sum(sums.exp);
        if gradient == Gradient::Write {
            for i in (0..n).step_by(S::LANES) {
                let v = self.gradient(s, s.load(&x[i..]), sum, i);
                s.store(&mut x[i..], v);
            }
        }
        (sum, self.rest(s, &sums, at_label))
    }

    /// The loss without its logarithm.
    #[inline(always)]
    fn rest<S: Simd>(&self, s: S, sums: &Sums<S>, at_label: f32) -> f32 {
        let rest = -self.hard * at_label;
        if self.smooth == 0.0 { rest } else { rest - self.smooth * s.sum(sums.weighted) }
    }

    /// Adds columns `i ..` of `n` to the sums; returns their `e^(x − m)`.
    #[inline(always)]
    fn add<S: Simd>(&self, s: S, sums: &mut Sums<S>, x: S::F, max: f32, i: usize, n: usize) -> S::F {
        let zero = s.splat(0.0);
        let inside = lanes_below(s, i, n);
        let d = s.select(inside, s.sub(x, s.splat(max)), zero);
        // 0·x is NaN where x is not finite: a logit of −∞ would otherwise leave no trace.
        let e = s.mul_add(x, zero, s.select(inside, exp(s, d), zero));
        sums.exp = s.add(sums.exp, e);
        if self.smooth != 0.0 {
            sums.weighted = s.mul_add(self.weights(s, i), d, sums.weighted);
        }
        e
    }

    /// The gradient of columns `i ..` from their `e^(x − m)` and its sum over the row.
    #[inline(always)]
    fn gradient<S: Simd>(&self, s: S, e: S::F, sum: f32, i: usize) -> S::F {
        let mut v = s.mul(e, s.splat(self.scale * self.total / sum));
        if self.smooth != 0.0 {
            v = s.mul_add(self.weights(s, i), s.splat(-self.scale * self.smooth), v);
        }
        let (column, label, zero) = (s.iota(i as u32), s.splat_u(self.label as u32), s.splat(0.0));
        let push = s.select(s.ge_u(label, column), s.splat(self.scale * self.hard), zero);
        s.sub(v, s.select(s.ge_u(column, label), push, zero))
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
        // The gradient where nothing is subtracted.
        let row = Row { label: 0, hard: 0.0, smooth: 0.0, total: 1.0, weights: None, scale: 1.0 };
        for x in self.x.chunks_mut(self.classes) {
            row.long(s, x, Gradient::Write);
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
