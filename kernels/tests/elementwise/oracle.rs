//! The oracle itself: derivatives against finite differences, functions against values of 40 digits.

use crate::{uniform, widen};
use hpt_kernels::activation::Activation;
use hpt_kernels::loss::PointwiseLoss;
use hpt_kernels::optimizer::Optimizer;
use hpt_kernels::reference::activation::{derivative, erf, erfc, forward};
use hpt_kernels::reference::loss::{SoftmaxRow, pointwise, softmax, softmax_cross_entropy};
use hpt_kernels::reference::optimizer::Step;
use hpt_kernels::reference::{View, gemm};

/// x, erf x, erfc x, by mpmath 1.4.1 (`mp.dps = 40`), to 20 digits.
#[allow(clippy::excessive_precision, reason = "as the other program printed them")]
const ERF: [(f64, f64, f64); 20] = [
    (1e-300, 1.1283791670955126022e-300, 1.0),
    (1e-8, 1.1283791670955125599e-8, 0.99999998871620832904),
    (0.03125, 0.035250373867322825999, 0.964749626132677174),
    (0.25, 0.27632639016823693299, 0.72367360983176306701),
    (0.5, 0.52049987781304653768, 0.47950012218695346232),
    (0.84375, 0.76722566123234163346, 0.23277433876765836654),
    (1.0, 0.84270079294971486934, 0.15729920705028513066),
    (1.25, 0.92290012825645823014, 0.077099871743541769863),
    (1.5, 0.96610514647531072707, 0.033894853524689272933),
    (1.75, 0.98667167121918244377, 0.013328328780817556228),
    (1.9375, 0.99385680639521319999, 0.0061431936047868000069),
    (2.0, 0.99532226501895273416, 0.0046777349810472658379),
    (2.0625, 0.99646375087479021101, 0.0035362491252097889874),
    (2.5, 0.99959304798255504106, 0.00040695201744495893956),
    (3.0, 0.99997790950300141456, 2.2090496998585441373e-5),
    (4.0, 0.99999998458274209972, 1.5417257900280018852e-8),
    (5.5, 0.99999999999999264215, 7.3578479179743980631e-15),
    (8.0, 1.0, 1.122429717298292708e-29),
    (13.0, 1.0, 1.7395573154667245218e-75),
    (26.0, 1.0, 5.6631924088561428465e-296),
];

/// z, gelu, gelu', mish, mish' by mpmath, likewise.
#[allow(clippy::excessive_precision, reason = "as the other program printed them")]
const GELU_AND_MISH: [(f64, [f64; 4]); 7] = [
    (
        -12.0,
        [-2.1317785344932147972e-32, -2.5578956616748956241e-31, -7.3730321731865864634e-5, -6.7585901746137731995e-5],
    ),
    (-5.0, [-1.4332578593959695584e-6, -7.1469460017922946279e-6, -0.033576237730161705396, -0.026747498019901933504]),
    (-1.0, [-0.15865525393145705141, -0.083315470587686298383, -0.30340146137410891807, 0.059216755877394948006]),
    (-0.5, [-0.15426876936299344818, 0.13250487534383715747, -0.22074377465172999682, 0.2895106779135121924]),
    (0.5, [0.34573123063700655182, 0.86749512465616284253, 0.37524521130489510482, 0.88642437535772725845]),
    (1.0, [0.84134474606854294859, 1.0833154705876862984, 0.86509838826731034612, 1.0490362200997921591]),
    (3.0, [2.9959503059051097164, 1.011945647204183927, 2.9865350049679573191, 1.0211069109294437727]),
];

fn assert_close(got: f64, exact: f64, relative: f64, what: &str) {
    assert!((got - exact).abs() <= relative * exact.abs(), "{what}: {got:e}, not {exact:e}");
}

#[test]
fn the_error_function_has_the_known_values() {
    for (x, value, complement) in ERF {
        assert_close(erf(x), value, 4e-16, &format!("erf {x}"));
        assert_close(erf(-x), -value, 4e-16, &format!("erf −{x}"));
        // e^(−x²) alone costs x² roundings; below 2 erfc is a difference.
        assert_close(erfc(x), complement, 1e-13, &format!("erfc {x}"));
    }
    assert_eq!((erf(0.0), erf(f64::INFINITY), erfc(f64::INFINITY)), (0.0, 1.0, 0.0));
    assert!(erf(f64::NAN).is_nan() && erfc(f64::NAN).is_nan());
}

#[test]
fn gelu_and_mish_have_the_known_values() {
    for (z, values) in GELU_AND_MISH {
        let got = [Activation::Gelu, Activation::Mish].map(|a| [forward(a, z), derivative(a, z)]);
        for (got, exact) in got.as_flattened().iter().zip(values) {
            assert_close(*got, exact, 1e-12, &format!("at {z}"));
        }
    }
}

/// Central difference of `f` at `x` along `d`, of fourth order.
fn slope(f: impl Fn(&[f64]) -> f64, x: &[f64], d: &[f64]) -> f64 {
    const H: f64 = 1e-3;
    let at = |h: f64| f(&x.iter().zip(d).map(|(x, d)| x + h * d).collect::<Vec<_>>());
    (8.0 * (at(H) - at(-H)) - (at(2.0 * H) - at(-2.0 * H))) / (12.0 * H)
}

/// Panics unless `gradient` is that of `f` at `x`, seen along random directions.
fn assert_gradient(f: impl Fn(&[f64]) -> f64, x: &[f64], gradient: &[f64], what: &str) {
    for stream in 900..905 {
        let d = widen(&uniform(stream, x.len(), -1.0, 1.0));
        let along: f64 = gradient.iter().zip(&d).map(|(g, d)| g * d).sum();
        let difference = slope(&f, x, &d);
        assert!((along - difference).abs() < 1e-9, "{what}: {along}, but by differences {difference}");
    }
}

#[test]
fn derivatives_of_activations_agree_with_finite_differences() {
    for &a in Activation::ALL {
        for stream in 0..20 {
            // Kept away from the kink at 0 by more than the differences reach.
            let z: Vec<f64> = widen(&uniform(stream, 5, -6.0, 6.0)).iter().map(|z| z + 0.01f64.copysign(*z)).collect();
            let gradient: Vec<f64> = z.iter().map(|&z| derivative(a, z)).collect();
            assert_gradient(|z| z.iter().map(|&z| forward(a, z)).sum(), &z, &gradient, a.name());
        }
    }
}

#[test]
fn gradients_of_losses_agree_with_finite_differences() {
    for classes in [1, 2, 3, 10, 17] {
        let weights = widen(&uniform(7, classes, 0.25, 2.0));
        for class_weights in [None, Some(weights.as_slice())] {
            for (label, smoothing) in [(0, 0.0), (classes - 1, 0.125), (classes / 2, 1.0)] {
                let logits = widen(&uniform(8, classes, -3.0, 3.0));
                let loss = |x: &[f64]| softmax_cross_entropy(SoftmaxRow { logits: x, label, smoothing, class_weights });
                assert_gradient(|x| loss(x).0, &logits, &loss(&logits).1, "softmax cross-entropy");
            }
        }
    }
    for kind in [PointwiseLoss::BinaryCrossEntropy, PointwiseLoss::MeanSquared, PointwiseLoss::Huber { delta: 0.75 }] {
        for (target, weight) in [(0.0, 1.0), (1.0, 1.0), (0.25, 3.0), (1.0, 0.5)] {
            for x in widen(&uniform(9, 40, -4.0, 4.0)) {
                if ((x - target).abs() - 0.75).abs() > 0.01 {
                    let gradient = [pointwise(kind, x, target, weight).1];
                    assert_gradient(|x| pointwise(kind, x[0], target, weight).0, &[x], &gradient, &format!("{kind:?}"));
                }
            }
        }
    }
}

#[test]
fn losses_have_known_values() {
    let two = |logits: &[f64], smoothing, class_weights: Option<&[f64]>| {
        softmax_cross_entropy(SoftmaxRow { logits, label: 0, smoothing, class_weights }).0
    };
    assert_close(two(&[0.0, 0.0], 0.0, None), 2f64.ln(), 1e-15, "two equal logits");
    assert_close(two(&[0.0, 0.0], 0.3, Some(&[2.0, 4.0])), (0.7 * 2.0 + 0.15 * 6.0) * 2f64.ln(), 1e-15, "weights");
    assert_close(two(&[0.0, 1000.0], 0.0, None), 1000.0, 1e-15, "huge logits");
    assert_eq!(softmax(&[5.0, 5.0]), [0.5, 0.5]);
    assert_close(pointwise(PointwiseLoss::BinaryCrossEntropy, 0.0, 1.0, 3.0).0, 3.0 * 2f64.ln(), 1e-15, "bce");
    assert_eq!(pointwise(PointwiseLoss::MeanSquared, 3.0, 1.0, 1.0), (4.0, 4.0));
    assert_eq!(pointwise(PointwiseLoss::Huber { delta: 0.5 }, 3.0, 1.0, 1.0), (0.5 * 1.75, 0.5));
}

#[test]
fn the_first_step_of_each_optimizer_is_the_one_in_its_formula() {
    for (optimizer, moved) in [
        ("sgd", 0.1 * 0.5),
        ("momentum", 0.1 * 0.5),
        ("nesterov", 0.1 * 0.5 * 1.9),
        ("adam", 0.1 * 0.5 / (0.5 + 1e-8)),
        ("adamw", 0.1 * 0.5 / (0.5 + 1e-8)),
        ("rmsprop", 0.1 * 0.5 / (0.05 + 1e-8)),
    ] {
        let rule = Step {
            optimizer: Optimizer::by_name(optimizer).expect("a name of the table"),
            learning_rate: 0.1,
            weight_decay: 0.0,
            l1: 0.0,
            gradient_scale: 0.5,
            step: 1,
        };
        let (mut w, mut a, mut b) = (2.0, 0.0, 0.0);
        rule.update(&mut w, 1.0, [&mut a, &mut b]);
        assert_close(2.0 - w, moved, 1e-8, optimizer);
    }
}

#[test]
fn products_of_views() {
    let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let a = View::row_major(&a, 2, 3);
    assert_eq!(gemm(a, a.t()), [14.0, 32.0, 32.0, 77.0]);
    assert_eq!(gemm(a.t(), a), [17.0, 22.0, 27.0, 22.0, 29.0, 36.0, 27.0, 36.0, 45.0]);
}
