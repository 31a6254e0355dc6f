//! The losses on every instruction set.

use crate::tolerance::{GRADIENT, LOSS, PRODUCT};
use crate::{LENGTHS, uniform, widen};
use hpt_kernels::isa::Isa;
use hpt_kernels::loss::{
    Gradient, Pointwise, PointwiseLoss, SoftmaxCrossEntropy, pointwise, sigmoid_rows, softmax_cross_entropy,
    softmax_rows,
};
use hpt_kernels::reference::activation::forward;
use hpt_kernels::reference::loss::{self as oracle, SoftmaxRow};

const SCALE: f32 = 0.375;
const KINDS: [PointwiseLoss; 3] =
    [PointwiseLoss::BinaryCrossEntropy, PointwiseLoss::MeanSquared, PointwiseLoss::Huber { delta: 0.75 }];

fn widths() -> impl Iterator<Item = usize> {
    LENGTHS.iter().copied().filter(|&n| n > 0)
}

/// Losses, and the logits after the call.
fn softmax_rows_loss(
    isa: Isa,
    logits: &[f32],
    labels: &[u32],
    (smoothing, class_weights): (f32, Option<&[f32]>),
    gradient: Gradient,
) -> (Vec<f32>, Vec<f32>) {
    let (mut logits, mut losses) = (logits.to_vec(), vec![f32::NAN; labels.len()]);
    let classes = logits.len() / labels.len();
    softmax_cross_entropy(
        isa,
        SoftmaxCrossEntropy {
            logits: &mut logits,
            classes,
            labels,
            smoothing,
            class_weights,
            scale: SCALE,
            gradient,
            losses: &mut losses,
        },
    );
    (losses, logits)
}

fn pointwise_rows_loss(
    isa: Isa,
    kind: PointwiseLoss,
    [outputs, targets]: [&[f32]; 2],
    width: usize,
    weights: Option<&[f32]>,
    gradient: Gradient,
) -> (Vec<f32>, Vec<f32>) {
    let (mut outputs, mut losses) = (outputs.to_vec(), vec![f32::NAN; outputs.len() / width]);
    pointwise(
        isa,
        Pointwise { kind, outputs: &mut outputs, width, targets, weights, scale: SCALE, gradient, losses: &mut losses },
    );
    (losses, outputs)
}

#[test]
fn softmax_cross_entropy_agrees_with_the_oracle() {
    for isa in Isa::available() {
        for classes in widths() {
            let rows = 5;
            let logits = uniform(10, rows * classes, -9.0, 9.0);
            let labels: Vec<u32> = (0..rows).map(|r| ((r * 7 + 3) % classes) as u32).collect();
            let weights = uniform(11, classes, 0.25, 2.0);
            for smoothing in [0.0, 0.125, 1.0] {
                for class_weights in [None, Some(weights.as_slice())] {
                    let how = (smoothing, class_weights);
                    let (losses, gradient) = softmax_rows_loss(isa, &logits, &labels, how, Gradient::Write);
                    let wide_weights = class_weights.map(widen);
                    for row in 0..rows {
                        let range = row * classes..(row + 1) * classes;
                        let (loss, exact) = oracle::softmax_cross_entropy(SoftmaxRow {
                            logits: &widen(&logits[range.clone()]),
                            label: labels[row] as usize,
                            smoothing: f64::from(smoothing),
                            class_weights: wide_weights.as_deref(),
                        });
                        let what = || format!("{classes} classes, smoothing {smoothing}, {}", isa.name());
                        LOSS.check(losses[row], loss, &what);
                        let exact: Vec<f64> = exact.iter().map(|g| g * f64::from(SCALE)).collect();
                        GRADIENT.check_all(&gradient[range], &exact, &what);
                    }
                    let (same, untouched) = softmax_rows_loss(isa, &logits, &labels, how, Gradient::Skip);
                    assert_eq!((same, untouched), (losses.clone(), logits.clone()));
                    // A row by itself.
                    let one =
                        softmax_rows_loss(isa, &logits[classes..2 * classes], &labels[1..2], how, Gradient::Write);
                    assert_eq!(one, (losses[1..2].to_vec(), gradient[classes..2 * classes].to_vec()));
                }
            }
        }
    }
}

#[test]
fn huge_logits_are_no_trouble_and_others_than_finite_show() {
    for isa in Isa::available() {
        let loss = |logits: &[f32], label| softmax_rows_loss(isa, logits, &[label], (0.0, None), Gradient::Write);
        assert_eq!(loss(&[1e30, -1e30, 0.0], 0), (vec![0.0], vec![0.0; 3]));
        assert_eq!(loss(&[3e4, 0.0], 1), (vec![3e4], vec![SCALE, -SCALE]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for classes in widths() {
                for at in [0, classes / 2, classes - 1] {
                    let mut logits = uniform(12, classes, -1.0, 1.0);
                    logits[at] = bad;
                    for label in [0, classes as u32 - 1] {
                        let (loss, _) = loss(&logits, label);
                        assert!(!loss[0].is_finite(), "{bad} at {at} of {classes}: {loss:?} on {}", isa.name());
                    }
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "label 3 of 3 classes")]
fn a_label_beyond_the_classes_is_refused() {
    let isa = Isa::detect().expect("an instruction set");
    softmax_rows_loss(isa, &[0.0; 3], &[3], (0.0, None), Gradient::Skip);
}

#[test]
fn pointwise_losses_agree_with_the_oracle() {
    for isa in Isa::available() {
        for kind in KINDS {
            for width in widths() {
                for rows in [1, 3, 16, 19] {
                    let outputs = uniform(13, rows * width, -4.0, 4.0);
                    let targets = uniform(14, rows * width, 0.0, 1.0);
                    let all_weights = uniform(15, width, 0.25, 4.0);
                    let weights = (kind == PointwiseLoss::BinaryCrossEntropy).then_some(all_weights.as_slice());
                    let data = [outputs.as_slice(), &targets];
                    let (losses, gradient) = pointwise_rows_loss(isa, kind, data, width, weights, Gradient::Write);
                    let what = || format!("{kind:?}, {rows}×{width}, {}", isa.name());
                    let mut exact_losses = vec![0.0; rows];
                    let mut exact_gradient = Vec::new();
                    for i in 0..rows * width {
                        let w = weights.map_or(1.0, |w| f64::from(w[i % width]));
                        let (loss, slope) = oracle::pointwise(kind, f64::from(outputs[i]), f64::from(targets[i]), w);
                        exact_losses[i / width] += loss;
                        exact_gradient.push(slope * f64::from(SCALE));
                    }
                    LOSS.check_all(&losses, &exact_losses, &what);
                    GRADIENT.check_all(&gradient, &exact_gradient, &what);
                    let skipped = pointwise_rows_loss(isa, kind, data, width, weights, Gradient::Skip);
                    assert_eq!(skipped, (losses.clone(), outputs.clone()), "{}", what());
                    let cut = rows / 2 * width;
                    let last = [&outputs[cut..], &targets[cut..]];
                    let last = pointwise_rows_loss(isa, kind, last, width, weights, Gradient::Write);
                    assert_eq!(last, (losses[rows / 2..].to_vec(), gradient[cut..].to_vec()), "{}", what());
                }
            }
        }
    }
}

#[test]
fn pointwise_losses_show_what_is_not_finite_and_stand_huge_logits() {
    for isa in Isa::available() {
        for kind in KINDS {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for target in [0.0, 1.0] {
                    for width in [1, 5, 16, 33] {
                        let mut outputs = uniform(16, width, -1.0, 1.0);
                        outputs[width - 1] = bad;
                        let data = [outputs.as_slice(), &vec![target; width]];
                        let (loss, _) = pointwise_rows_loss(isa, kind, data, width, None, Gradient::Skip);
                        assert!(!loss[0].is_finite(), "{kind:?} of {bad} for {target} on {}", isa.name());
                    }
                }
            }
        }
        let bce = |x, t| pointwise_rows_loss(isa, KINDS[0], [&[x], &[t]], 1, None, Gradient::Write);
        assert_eq!(bce(1e30, 1.0), (vec![0.0], vec![0.0]));
        assert_eq!(bce(-1e30, 1.0), (vec![1e30], vec![-SCALE]));
    }
}

#[test]
fn predictions_agree_with_the_oracle() {
    for isa in Isa::available() {
        for classes in widths() {
            let x = uniform(17, 3 * classes, -20.0, 20.0);
            let (mut p, mut q) = (x.clone(), x.clone());
            softmax_rows(isa, &mut p, classes);
            sigmoid_rows(isa, &mut q);
            for (p, x) in p.chunks(classes).zip(x.chunks(classes)) {
                LOSS.check_all(p, &oracle::softmax(&widen(x)), &|| format!("softmax of {classes}"));
            }
            for (&q, &x) in q.iter().zip(&x) {
                let exact = forward(hpt_kernels::activation::Activation::Sigmoid, f64::from(x));
                PRODUCT.check(q, exact, &|| format!("sigmoid {x}"));
            }
        }
    }
}
