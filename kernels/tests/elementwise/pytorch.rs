//! The oracle against what PyTorch computes in double precision (`pytorch.txt`, written by `pytorch.py`).

use hpt_kernels::activation::Activation;
use hpt_kernels::loss::PointwiseLoss;
use hpt_kernels::optimizer::Optimizer;
use hpt_kernels::reference::activation::{derivative, forward};
use hpt_kernels::reference::loss::{SoftmaxRow, pointwise, softmax_cross_entropy};
use hpt_kernels::reference::optimizer::Step;

/// The lines of one kind: name and numbers.
fn lines(kind: &str) -> Vec<(&'static str, Vec<f64>)> {
    let words = include_str!("pytorch.txt").lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_kind = words.filter(|words| words[0] == kind);
    let lines: Vec<_> =
        of_kind.map(|words| (words[1], words[2..].iter().map(|x| x.parse().expect("a number")).collect())).collect();
    assert!(!lines.is_empty(), "no {kind}");
    lines
}

fn assert_close(got: &[f64], exact: &[f64], what: &str) {
    assert_eq!(got.len(), exact.len(), "{what}");
    for (got, exact) in got.iter().zip(exact) {
        assert!((got - exact).abs() <= 1e-14 + 1e-12 * exact.abs(), "{what}: {got:e}, not {exact:e}");
    }
}

#[test]
fn activations_are_pytorchs() {
    let lines = lines("activation");
    for a in Activation::ALL {
        assert!(lines.iter().any(|(name, _)| *name == a.name()), "{} is not in pytorch.txt", a.name());
    }
    for (name, x) in lines {
        let a = Activation::from_name(name).expect("a name of the table");
        assert_close(&[forward(a, x[0]), derivative(a, x[0])], &x[1..], &format!("{name} at {}", x[0]));
    }
}

#[test]
fn optimizers_are_pytorchs() {
    let lines = lines("optimizer");
    for known in Optimizer::NAMES {
        assert!(lines.iter().any(|(name, _)| *name == known), "{known} is not in pytorch.txt");
    }
    for (name, x) in lines {
        let with_momentum = Optimizer::RmsProp { alpha: 0.99, epsilon: 1e-8, momentum: 0.5 };
        let optimizer = Optimizer::by_name(name).unwrap_or(with_momentum);
        let (mut w, mut state) = ([0.25, -0.5, 0.75], [[0.0; 2]; 3]);
        let mut trace = Vec::new();
        for step in 1..=10 {
            let rule = Step { optimizer, learning_rate: x[0], weight_decay: x[1], l1: 0.0, gradient_scale: 1.0, step };
            for (i, (w, [a, b])) in w.iter_mut().zip(&mut state).enumerate() {
                let gradient = ((step as i32 * 7 + i as i32 * 3) % 11 - 5) as f64 / 4.0;
                rule.update(w, gradient, [a, b]);
            }
            trace.extend(w);
        }
        // ε is an f32 here, and a double there: 6e-9 of 1e-8.
        assert_close(&trace, &x[2..], name);
    }
}

#[test]
fn cross_entropy_is_pytorchs() {
    let weights = [0.5, 2.0, 1.25, 0.25];
    let rows = [([0.5, -1.25, 3.0, 0.0], 2), ([2.0, 2.5, -4.0, 1.0], 0)];
    for (name, x) in lines("cross_entropy") {
        let class_weights = (name == "weighted").then_some(weights.as_slice());
        let scale = if name == "weighted" { 1.0 / (weights[2] + weights[0]) } else { 0.5 };
        let (mut losses, mut gradient) = (Vec::new(), Vec::new());
        for (logits, label) in &rows {
            let row = SoftmaxRow { logits, label: *label, smoothing: x[0], class_weights };
            let (loss, slope) = softmax_cross_entropy(row);
            losses.push(loss);
            gradient.extend(slope.iter().map(|g| g * scale));
        }
        assert_close(&losses, &x[1..3], name);
        assert_close(&gradient, &x[3..], name);
    }
}

#[test]
fn pointwise_losses_are_pytorchs() {
    for (name, x) in lines("pointwise") {
        let (kind, weight) = match name {
            "bce" => (PointwiseLoss::BinaryCrossEntropy, x[2]),
            "mse" => (PointwiseLoss::MeanSquared, 1.0),
            _ => (PointwiseLoss::Huber { delta: 0.75 }, 1.0),
        };
        let (loss, slope) = pointwise(kind, x[0], x[1], weight);
        assert_close(&[loss, slope], &x[3..], &format!("{name} at {} for {}", x[0], x[1]));
    }
}
