//! The oracle and every instruction set against numbers that PyTorch wrote (`tests/golden/`).
//!
//! Here are the pieces: activations, losses, optimizers. Whole networks are the engine's matter. The oracle is f64 and
//! must agree to 1e-12; the fast paths are f32, and the bounds below say what that may cost. Inputs in the files are
//! exact in f32, so no tolerance pays for rounding them.

use hpt_kernels::activation::{self, Activation};
use hpt_kernels::isa::Isa;
use hpt_kernels::loss::{self, Gradient, Pointwise, PointwiseLoss, SoftmaxCrossEntropy};
use hpt_kernels::optimizer::{self, Optimizer, Scalars, Update};
use hpt_kernels::reference;
use serde_json::Value;

/// The oracle's distance to PyTorch's f64, relative.
const ORACLE: f64 = 1e-12;
/// PyTorch's own error in f64 where it subtracts (the tail of gelu): absolute.
const ORACLE_FLOOR: f64 = 1e-15;
/// f32 activations and their derivatives: relative, and the absolute error where they vanish.
const F32_CURVE: (f64, f64) = (2e-6, 2e-7);
/// f32 losses, and gradients relative to the largest element of their array.
const F32_LOSS: f64 = 1e-6;
/// f32 weights after ten updates, relative to the distance that they moved, and to themselves.
const F32_UPDATE: (f64, f64) = (2e-6, 1e-6);

fn read(file: &str) -> Value {
    let path = format!("{}/../tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// `|found − expected| ≤ bound(i, expected)` for every element i.
fn assert_close(what: &str, found: &[f64], expected: &[f64], bound: impl Fn(usize, f64) -> f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
        let (off, bound) = ((f - e).abs(), bound(i, e));
        assert!(off <= bound, "{what}, element {i}: {f:e}, PyTorch has {e:e}; {off:e} off, {bound:e} allowed");
    }
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, x| m.max(x.abs()))
}

#[test]
fn activations_are_pytorchs() {
    let file = read("activations.json");
    let z = numbers(&file["z"]);
    let rows = file["activations"].as_object().expect("activations by name");
    assert_eq!(rows.len(), Activation::ALL.len());
    for &a in Activation::ALL {
        let row = &rows[a.name()];
        let (value, slope) = (numbers(&row["value"]), numbers(&row["derivative"]));
        let exact = |_, e: f64| ORACLE * e.abs() + ORACLE_FLOOR;
        let oracle: Vec<f64> = z.iter().map(|&z| reference::activation::forward(a, z)).collect();
        assert_close(&format!("oracle, {}", a.name()), &oracle, &value, exact);
        let oracle: Vec<f64> = z.iter().map(|&z| reference::activation::derivative(a, z)).collect();
        assert_close(&format!("oracle, derivative of {}", a.name()), &oracle, &slope, exact);
        let (z, mut out) = (narrow(&z), vec![f32::NAN; z.len()]);
        let close = |_, e: f64| F32_CURVE.0 * e.abs() + F32_CURVE.1;
        for isa in Isa::available() {
            activation::forward(isa, a, &z, &mut out);
            assert_close(&format!("{}, {}", isa.name(), a.name()), &wide(&out), &value, close);
            activation::derivative(isa, a, &z, &mut out);
            assert_close(&format!("{}, derivative of {}", isa.name(), a.name()), &wide(&out), &slope, close);
        }
    }
}

/// A case of `losses.json`.
struct LossCase<'a> {
    name: &'a str,
    width: usize,
    outputs: Vec<f64>,
    targets: Vec<f64>,
    /// None is softmax cross-entropy, the targets being labels.
    pointwise: Option<PointwiseLoss>,
    /// Class weights, or the weights of the positives.
    weights: Option<Vec<f64>>,
    smoothing: f64,
    /// What PyTorch's mean divides by.
    divisor: f64,
}

impl<'a> LossCase<'a> {
    fn new(case: &'a Value) -> Self {
        let loss = &case["loss"];
        let weights = |key: &str| loss[key].is_array().then(|| numbers(&loss[key]));
        let (pointwise, weights) = match text(&loss["kind"]) {
            "softmax_cross_entropy" => (None, weights("class_weights")),
            "binary_cross_entropy" => (Some(PointwiseLoss::BinaryCrossEntropy), weights("pos_weight")),
            "mean_squared" => (Some(PointwiseLoss::MeanSquared), None),
            "huber" => (Some(PointwiseLoss::Huber { delta: number(&loss["delta"]) as f32 }), None),
            other => panic!("unknown loss {other}"),
        };
        let targets = numbers(&case["targets"]);
        let divisor = match (&pointwise, &weights) {
            (None, Some(w)) => targets.iter().map(|&label| w[label as usize]).sum(),
            _ => targets.len() as f64,
        };
        LossCase {
            name: text(&case["name"]),
            width: number(&case["width"]) as usize,
            outputs: numbers(&case["outputs"]),
            targets,
            pointwise,
            weights,
            smoothing: loss["label_smoothing"].as_f64().unwrap_or(0.0),
            divisor,
        }
    }

    /// The mean loss and its gradient by the oracle.
    fn oracle(&self) -> (f64, Vec<f64>) {
        let (mut total, mut gradient) = (0.0, Vec::new());
        for (i, row) in self.outputs.chunks(self.width).enumerate() {
            if let Some(kind) = self.pointwise {
                for (j, &x) in row.iter().enumerate() {
                    let weight = self.weights.as_ref().map_or(1.0, |w| w[j]);
                    let (value, slope) = reference::loss::pointwise(kind, x, self.targets[i * self.width + j], weight);
                    total += value;
                    gradient.push(slope);
                }
            } else {
                let (value, slope) = reference::loss::softmax_cross_entropy(reference::loss::SoftmaxRow {
                    logits: row,
                    label: self.targets[i] as usize,
                    smoothing: self.smoothing,
                    class_weights: self.weights.as_deref(),
                });
                total += value;
                gradient.extend(slope);
            }
        }
        (total / self.divisor, gradient.iter().map(|g| g / self.divisor).collect())
    }

    /// The same by the fast path; with [`Gradient::Skip`] the second are the outputs as they were.
    fn fast(&self, isa: Isa, gradient: Gradient) -> (f64, Vec<f64>) {
        let (width, scale) = (self.width, (1.0 / self.divisor) as f32);
        let mut outputs = narrow(&self.outputs);
        let mut losses = vec![f32::NAN; outputs.len() / width];
        let weights = self.weights.as_deref().map(narrow);
        if let Some(kind) = self.pointwise {
            let (targets, weights) = (&narrow(&self.targets)[..], weights.as_deref());
            let (outputs, losses) = (&mut outputs[..], &mut losses[..]);
            loss::pointwise(isa, Pointwise { kind, outputs, width, targets, weights, scale, gradient, losses });
        } else {
            let labels: Vec<u32> = self.targets.iter().map(|&label| label as u32).collect();
            let args = SoftmaxCrossEntropy {
                logits: &mut outputs,
                classes: width,
                labels: &labels,
                smoothing: self.smoothing as f32,
                class_weights: weights.as_deref(),
                scale,
                gradient,
                losses: &mut losses,
            };
            loss::softmax_cross_entropy(isa, args);
        }
        (wide(&losses).iter().sum::<f64>() / self.divisor, wide(&outputs))
    }
}

#[test]
fn losses_and_their_gradients_are_pytorchs() {
    let file = read("losses.json");
    for case in list(&file["cases"]) {
        let loss = LossCase::new(case);
        let (value, gradient) = (number(&case["expected"]["loss"]), numbers(&case["expected"]["gradient"]));
        let top = largest(&gradient);
        let (v, g) = loss.oracle();
        let exact = |_, e: f64| ORACLE * e.abs() + ORACLE_FLOOR;
        assert_close(&format!("oracle, {}", loss.name), &[v], &[value], exact);
        assert_close(&format!("oracle, gradient of {}", loss.name), &g, &gradient, exact);
        for isa in Isa::available() {
            let what = format!("{}, {}", isa.name(), loss.name);
            let (v, g) = loss.fast(isa, Gradient::Write);
            assert_close(&what, &[v], &[value], |_, e| F32_LOSS * e.abs());
            assert_close(&format!("{what}, gradient"), &g, &gradient, |_, _| F32_LOSS * top);
            assert_eq!(loss.fast(isa, Gradient::Skip), (v, loss.outputs.clone()), "{what}, without gradient");
        }
    }
}

/// Our optimizer for a torch class and its options.
fn optimizer_of(class: &Value, options: &Value) -> Optimizer {
    let of = |key: &str| options[key].as_f64().unwrap_or(0.0) as f32;
    let beta = |i: usize| number(&options["betas"][i]) as f32;
    match text(class) {
        "sgd" if options["nesterov"] == true => Optimizer::Nesterov { momentum: of("momentum") },
        "sgd" if options["momentum"].is_number() => Optimizer::Momentum { momentum: of("momentum") },
        "sgd" => Optimizer::Sgd,
        "adam" => Optimizer::Adam { beta1: beta(0), beta2: beta(1), epsilon: of("eps") },
        "adamw" => Optimizer::AdamW { beta1: beta(0), beta2: beta(1), epsilon: of("eps") },
        "rmsprop" => Optimizer::RmsProp { alpha: of("alpha"), epsilon: of("eps"), momentum: of("momentum") },
        other => panic!("unknown optimizer {other}"),
    }
}

/// A case of `optimizers.json` on the gradients given there.
struct UpdateCase {
    optimizer: Optimizer,
    learning_rate: f64,
    weight_decay: f64,
    l1: f64,
}

impl UpdateCase {
    fn new(case: &Value) -> Self {
        UpdateCase {
            optimizer: optimizer_of(&case["optimizer"], &case["options"]),
            learning_rate: number(&case["options"]["lr"]),
            weight_decay: case["options"]["weight_decay"].as_f64().unwrap_or(0.0),
            l1: number(&case["l1"]),
        }
    }

    fn oracle(&self, start: &[f64], gradients: &[Vec<f64>]) -> Vec<f64> {
        let UpdateCase { optimizer, learning_rate, weight_decay, l1 } = *self;
        let step =
            |step| reference::optimizer::Step { optimizer, learning_rate, weight_decay, l1, gradient_scale: 1.0, step };
        let train = |(i, &w): (usize, &f64)| {
            let (mut w, mut a, mut b) = (w, 0.0, 0.0);
            for (t, gradient) in (1..).zip(gradients) {
                step(t).update(&mut w, gradient[i], [&mut a, &mut b]);
            }
            w
        };
        start.iter().enumerate().map(train).collect()
    }

    fn fast(&self, isa: Isa, start: &[f64], gradients: &[Vec<f64>]) -> Vec<f64> {
        let mut weights = narrow(start);
        let slot = |i: usize| vec![0f32; if i < self.optimizer.slots() { start.len() } else { 0 }];
        let [mut a, mut b] = [slot(0), slot(1)];
        for (step, gradient) in (1..).zip(gradients) {
            let args = Update {
                optimizer: self.optimizer,
                scalars: Scalars::new(self.optimizer, self.weight_decay as f32, self.learning_rate as f32, step),
                weight_decay: self.weight_decay as f32,
                l1: self.l1 as f32,
                gradient_scale: 1.0,
                weights: &mut weights,
                gradients: &narrow(gradient),
                slots: [&mut a, &mut b],
            };
            optimizer::update(isa, args);
        }
        wide(&weights)
    }
}

#[test]
fn ten_updates_of_every_optimizer_are_pytorchs() {
    let file = read("optimizers.json");
    let start = numbers(&file["updates"]["weights"]);
    let gradients: Vec<Vec<f64>> = list(&file["updates"]["gradients"]).iter().map(numbers).collect();
    let mut seen = Vec::new();
    // Clipping is the engine's: those cases have no `updated`.
    for case in list(&file["cases"]).iter().filter(|case| case["clip_norm"].is_null()) {
        let (name, expected) = (text(&case["name"]), numbers(&case["expected"]["updated"]));
        let case = UpdateCase::new(case);
        seen.push(case.optimizer.name());
        let found = case.oracle(&start, &gradients);
        assert_close(&format!("oracle, {name}"), &found, &expected, |_, e| ORACLE * e.abs() + ORACLE_FLOOR);
        let close = |i: usize, e: f64| F32_UPDATE.0 * (e - start[i]).abs() + F32_UPDATE.1 * e.abs();
        for isa in Isa::available() {
            let found = case.fast(isa, &start, &gradients);
            assert_close(&format!("{}, {name}", isa.name()), &found, &expected, close);
        }
    }
    for name in Optimizer::names() {
        assert!(seen.contains(&name), "no golden for {name}");
    }
}

#[test]
fn defaults_are_pytorchs() {
    let file = read("optimizers.json");
    for name in ["adam", "adamw", "rmsprop"] {
        let torch = optimizer_of(&Value::from(name), &file["defaults"][name]);
        assert_eq!(Optimizer::by_name(name), Some(torch), "{name}");
    }
}
