//! The engine against numbers that PyTorch, Keras and scikit-learn wrote (`tests/golden/`).
//!
//! Both backends start from PyTorch's parameters and must come to its outputs, losses and gradients, and to the same
//! weights after ten steps of every optimizer; schedules, metrics and initial weights are compared by themselves. The
//! reference computes in f64 and has f64's distance; the CPU, in every instruction set, has the bounds of [`CPU`].
//! What the files give is exact in f32, so no tolerance pays for rounding it.

use hpt_engine::backend::{Backend, Cpu, Member, Precision, Reference, Run, UpdateRule};
use hpt_engine::data::{Dataset, Features, Targets};
use hpt_engine::model::{Activation, Criterion, Init, LayerSpec, ModelSpec, Plan, initialise};
use hpt_engine::train::{Loss, Metric, Optimizer, Plateau, Schedule, ScheduleKind};
use hpt_kernels::isa::Isa;
use serde_json::Value;
use std::sync::Arc;

/// The reference's distance to PyTorch's f64, relative to the largest number of the quantity.
const REFERENCE: f64 = 1e-12;
/// Schedules' and metrics' distance, relative.
const SCALAR: f64 = 1e-12;

/// What f32 may cost, relative to the largest number of the quantity.
struct Bounds {
    loss: f64,
    prediction: f64,
    gradient: f64,
    /// Losses of ten steps.
    losses: f64,
    /// Weights after ten steps.
    weights: f64,
}

const CPU: Bounds = Bounds { loss: 2e-7, prediction: 5e-7, gradient: 1e-6, losses: 5e-7, weights: 5e-6 };

fn read(file: &str) -> Value {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("not a count: {value}")) as usize
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn narrow(value: &Value) -> Vec<f32> {
    list(value).iter().map(|x| number(x) as f32).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Every element is within `tolerance` times the largest expected one.
fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let bound = tolerance * expected.iter().fold(0.0, |top: f64, e| top.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let off = (f - e).abs();
        assert!(off <= bound, "{what}, element {i}: {f:e}, expected {e:e}; {off:e} off, {bound:e} allowed");
    }
}

/// A network with its data, as `networks.json` and `optimizers.json` write them.
struct Problem {
    plan: Plan,
    weights: Vec<f32>,
    data: Arc<Dataset>,
    criterion: Criterion,
}

impl Problem {
    fn new(case: &Value) -> Self {
        let activation = |name: &Value| Activation::from_name(text(name)).expect("a known activation");
        let layers = list(&case["hidden"]).iter().zip(list(&case["activations"]));
        let spec = ModelSpec {
            hidden: layers
                .map(|(units, name)| LayerSpec { units: count(units), activation: activation(name), dropout: 0.0 })
                .collect(),
            residual: case["residual"] == true,
            input_dropout: 0.0,
            init: Init::Torch,
        };
        let (inputs, outputs, rows) = (count(&case["inputs"]), count(&case["outputs"]), count(&case["batch"]));
        let plan = Plan::new(&spec, inputs, outputs).expect("a valid network");
        let weights = arena(&plan, &case["parameters"]).into_iter().map(|w| w as f32).collect();
        let (criterion, targets) = criterion(&case["loss"], &case["targets"], outputs);
        let data = Arc::new(Dataset { rows, inputs, features: Features::F32(narrow(&case["x"])), targets });
        Problem { plan, weights, data, criterion }
    }

    fn member(&self, update: UpdateRule) -> Member<'_> {
        let (plan, weights, criterion) = (&self.plan, &self.weights[..], self.criterion.clone());
        let precision = Precision::Highest;
        Member { plan, weights, batch_size: self.data.rows, criterion, update, seed: 0, slot: 0, precision }
    }

    /// `steps` steps on all rows: the loss before each.
    fn advance<B: Backend>(
        &self,
        backend: &B,
        cohort: &mut B::Cohort,
        data: &B::Data,
        rate: f64,
        steps: usize,
    ) -> Vec<f64> {
        let rows: Vec<u32> = (0..steps).flat_map(|_| 0..self.data.rows as u32).collect();
        let (rates, mut losses) = (vec![rate as f32; steps], vec![f64::NAN; steps]);
        let run = Run { first_step: 0, rows: &rows, batch_size: self.data.rows, rates: &rates, losses: &mut losses };
        backend.advance(cohort, data, &mut [run]).expect("steps");
        losses
    }
}

/// Parameters or gradients of the files in the order of the plan.
fn arena(plan: &Plan, layers: &Value) -> Vec<f64> {
    let mut arena = vec![f64::NAN; plan.parameters];
    assert_eq!(plan.layers.len(), list(layers).len());
    for (layer, written) in plan.layers.iter().zip(list(layers)) {
        arena[layer.weights.clone()].copy_from_slice(&numbers(&written["weight"]));
        arena[layer.bias.clone()].copy_from_slice(&numbers(&written["bias"]));
    }
    arena
}

fn criterion(loss: &Value, targets: &Value, width: usize) -> (Criterion, Targets) {
    let weights = |key: &str| loss[key].is_array().then(|| narrow(&loss[key]));
    let real = |values: Vec<f32>| Targets::Real { values, width, mean: vec![0.0; width], deviation: vec![1.0; width] };
    let (kind, class_weights, targets) = match text(&loss["kind"]) {
        "softmax_cross_entropy" => {
            let labels = list(targets).iter().map(|label| count(label) as u32).collect();
            (Loss::CrossEntropy, weights("class_weights"), Targets::Classes { labels, classes: width })
        }
        "binary_cross_entropy" => {
            (Loss::BinaryCrossEntropy, weights("pos_weight"), Targets::Binary { values: narrow(targets), width })
        }
        "mean_squared" => (Loss::Mse, None, real(narrow(targets))),
        "huber" => (Loss::Huber { delta: number(&loss["delta"]) }, None, real(narrow(targets))),
        other => panic!("unknown loss {other}"),
    };
    let label_smoothing = loss["label_smoothing"].as_f64().unwrap_or(0.0) as f32;
    (Criterion { loss: kind, label_smoothing, class_weights }, targets)
}

/// Outputs as `evaluate` gives them: probabilities of classes or labels, else values.
fn predictions(loss: Loss, outputs: &[f64], width: usize) -> Vec<f64> {
    match loss {
        Loss::CrossEntropy => outputs.chunks(width).flat_map(hpt_kernels::reference::loss::softmax).collect(),
        Loss::BinaryCrossEntropy => outputs.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
        Loss::Mse | Loss::Huber { .. } => outputs.to_vec(),
    }
}

const PLAIN: UpdateRule =
    UpdateRule { optimizer: Optimizer::Sgd, weight_decay: 0.0, l1: 0.0, clip_norm: None, hypergradient: None };

/// Every instruction set of this machine, one thread each.
fn cpus() -> impl Iterator<Item = (String, Cpu)> {
    Isa::available().map(|isa| (isa.name().to_owned(), Cpu::with_isa(isa, 1).expect("a CPU")))
}

#[test]
fn networks_have_pytorchs_outputs_losses_and_gradients() {
    for case in list(&read("networks.json")["cases"]) {
        let (name, expected) = (text(&case["name"]), &case["expected"]);
        let problem = Problem::new(case);
        let gradient = arena(&problem.plan, &expected["gradients"]);
        let loss = number(&expected["loss"]);
        let outputs = predictions(problem.criterion.loss, &numbers(&expected["outputs"]), problem.plan.outputs);

        let mut cohort = Reference.begin(&[problem.member(PLAIN)]).expect("a cohort");
        let rows: Vec<u32> = (0..problem.data.rows as u32).collect();
        let (l, g) = cohort.nets[0].loss_and_gradient(&problem.data, &rows, Some(0));
        assert_close(&format!("reference, {name}, loss"), &[l], &[loss], REFERENCE);
        assert_close(&format!("reference, {name}, gradient"), &g, &gradient, REFERENCE);
        let mut found = vec![f32::NAN; outputs.len()];
        let l = Reference.evaluate(&mut cohort, 0, &problem.data, &mut found).expect("outputs");
        assert_close(&format!("reference, {name}, evaluated loss"), &[l], &[loss], REFERENCE);
        // They are handed out in f32.
        assert_close(&format!("reference, {name}, outputs"), &wide(&found), &outputs, f64::from(f32::EPSILON));

        for (isa, cpu) in cpus() {
            let mut cohort = cpu.begin(&[problem.member(PLAIN)]).expect("a cohort");
            let data = cpu.upload(problem.data.clone()).expect("data");
            let l = cpu.evaluate(&mut cohort, 0, &data, &mut found).expect("outputs");
            assert_close(&format!("{isa}, {name}, evaluated loss"), &[l], &[loss], CPU.loss);
            assert_close(&format!("{isa}, {name}, outputs"), &wide(&found), &outputs, CPU.prediction);
            // One step of plain descent, so long that the weights' own rounding does not show.
            let rate = 1024.0;
            let l = problem.advance(&cpu, &mut cohort, &data, rate, 1);
            assert_close(&format!("{isa}, {name}, loss"), &l, &[loss], CPU.loss);
            let moved = cpu.weights(&cohort, 0).unwrap().into_iter().zip(&problem.weights);
            let g: Vec<f64> = moved.map(|(after, &before)| (f64::from(before) - f64::from(after)) / rate).collect();
            assert_close(&format!("{isa}, {name}, gradient"), &g, &gradient, CPU.gradient);
        }
    }
}

/// The update rule and the learning rate of a case of `optimizers.json`.
fn update_rule(case: &Value) -> (UpdateRule, f64) {
    let options = &case["options"];
    let of = |key: &str| options[key].as_f64().unwrap_or(0.0) as f32;
    let beta = |i: usize| number(&options["betas"][i]) as f32;
    let optimizer = match text(&case["optimizer"]) {
        "sgd" if options["nesterov"] == true => Optimizer::Nesterov { momentum: of("momentum") },
        "sgd" if options["momentum"].is_number() => Optimizer::Momentum { momentum: of("momentum") },
        "sgd" => Optimizer::Sgd,
        "adam" => Optimizer::Adam { beta1: beta(0), beta2: beta(1), epsilon: of("eps") },
        "adamw" => Optimizer::AdamW { beta1: beta(0), beta2: beta(1), epsilon: of("eps") },
        "rmsprop" => Optimizer::RmsProp { alpha: of("alpha"), epsilon: of("eps"), momentum: of("momentum") },
        other => panic!("unknown optimizer {other}"),
    };
    let clip_norm = case["clip_norm"].as_f64().map(|norm| norm as f32);
    let (weight_decay, l1) = (of("weight_decay"), number(&case["l1"]) as f32);
    let rule = UpdateRule { optimizer, weight_decay, l1, clip_norm, hypergradient: None };
    (rule, number(&options["lr"]))
}

/// The loss before each step and after the last.
fn ten_steps<B: Backend>(problem: &Problem, backend: &B, cohort: &mut B::Cohort, rate: f64, steps: usize) -> Vec<f64> {
    let data = backend.upload(problem.data.clone()).expect("data");
    let mut losses = problem.advance(backend, cohort, &data, rate, steps);
    let mut outputs = vec![0.0; problem.data.rows * problem.plan.outputs];
    losses.push(backend.evaluate(cohort, 0, &data, &mut outputs).expect("a loss"));
    losses
}

#[test]
fn ten_steps_of_every_optimizer_are_pytorchs() {
    let file = read("optimizers.json");
    let problem = Problem::new(&file["problem"]);
    let steps = count(&file["steps"]);
    for case in list(&file["cases"]) {
        let (name, expected) = (text(&case["name"]), &case["expected"]);
        let (losses, weights) = (numbers(&expected["losses"]), arena(&problem.plan, &expected["parameters"]));
        let (rule, rate) = update_rule(case);
        let member = problem.member(rule);

        let mut cohort = Reference.begin(std::slice::from_ref(&member)).expect("a cohort");
        let found = ten_steps(&problem, &Reference, &mut cohort, rate, steps);
        assert_close(&format!("reference, {name}, losses"), &found, &losses, REFERENCE);
        assert_close(&format!("reference, {name}, weights"), &cohort.nets[0].weights, &weights, REFERENCE);

        for (isa, cpu) in cpus() {
            let mut cohort = cpu.begin(std::slice::from_ref(&member)).expect("a cohort");
            let found = ten_steps(&problem, &cpu, &mut cohort, rate, steps);
            assert_close(&format!("{isa}, {name}, losses"), &found, &losses, CPU.losses);
            assert_close(
                &format!("{isa}, {name}, weights"),
                &wide(&cpu.weights(&cohort, 0).unwrap()),
                &weights,
                CPU.weights,
            );
        }
    }
}

/// Our schedule for a torch or Keras class and its options; lengths that are the default's are left out.
fn schedule(name: &str, options: &Value, warmup_steps: u64, steps: u64) -> Schedule {
    let rate = |key: &str| Some(number(&options[key]));
    let over = |key: &str| options[key].as_u64().filter(|&n| n != steps - warmup_steps);
    let exactly = |key: &str| Some(count(&options[key]) as u64);
    let plain = Schedule { warmup_steps, ..Schedule::default() };
    let decay = |kind| Schedule {
        kind,
        decay_rate: rate("decay_rate"),
        decay_steps: exactly("decay_steps"),
        staircase: options["staircase"] == true,
        ..plain
    };
    let power = |steps| Schedule {
        kind: ScheduleKind::Polynomial,
        decay_steps: steps,
        power: number(&options["power"]),
        ..plain
    };
    match name {
        "ConstantLR" => plain,
        "StepLR" => {
            let (decay_rate, decay_steps) = (rate("gamma"), exactly("step_size"));
            Schedule { kind: ScheduleKind::Step, decay_rate, decay_steps, ..plain }
        }
        "ExponentialLR" => {
            Schedule { kind: ScheduleKind::Exponential, decay_rate: rate("gamma"), decay_steps: Some(1), ..plain }
        }
        "CosineAnnealingLR" => Schedule { kind: ScheduleKind::Cosine, decay_steps: over("T_max"), ..plain },
        "CosineDecay" => Schedule { kind: ScheduleKind::Cosine, decay_steps: over("decay_steps"), ..plain },
        "OneCycleLR" => Schedule { kind: ScheduleKind::OneCycle, ..plain },
        "PolynomialLR" => power(over("total_iters")),
        "PolynomialDecay" => power(over("decay_steps")),
        "ExponentialDecay" => decay(ScheduleKind::Exponential),
        "InverseTimeDecay" => decay(ScheduleKind::InverseTime),
        other => panic!("unknown schedule {other}"),
    }
}

#[test]
fn schedules_are_pytorchs_and_keras() {
    let file = read("schedules.json");
    let cases = ["torch", "warm_up", "keras"].into_iter().flat_map(|group| list(&file[group]));
    for case in cases {
        let (name, steps) = (text(&case["name"]), count(&case["steps"]) as u64);
        let warmup = case["warm_up"]["total_iters"].as_u64().unwrap_or(0);
        let schedule = schedule(name, &case["options"], warmup, steps);
        let what = format!("{name} {}, warm-up {warmup}", case["options"]);
        let rates = numbers(&case["expected"]["rates"]);
        // An epoch of another length than any decay of the files: none of these may look at it.
        for (step, expected) in (0..steps).zip(rates) {
            let found = schedule.rate(number(&case["base"]), step, steps, 13, 1.0);
            let off = (found - expected).abs();
            assert!(off <= SCALAR * expected + 1e-16, "{what}, step {step}: {found:e}, expected {expected:e}");
        }
    }
}

#[test]
fn the_plateau_rule_is_pytorchs() {
    for case in list(&read("schedules.json")["plateau"]) {
        let options = &case["options"];
        let given = Schedule { patience: count(&options["patience"]), ..Schedule::default() };
        let schedule = Schedule { kind: ScheduleKind::Plateau, decay_rate: Some(number(&options["factor"])), ..given };
        let sign = if text(&options["mode"]) == "max" { -1.0 } else { 1.0 };
        let mut plateau = Plateau::new(&schedule);
        let rates = numbers(&case["expected"]["rates"]);
        for (epoch, (expected, metric)) in rates.iter().zip(numbers(&case["metrics"])).enumerate() {
            let found = schedule.rate(number(&case["base"]), epoch as u64, rates.len() as u64, 1, plateau.factor());
            assert!(
                (found - expected).abs() <= SCALAR * expected,
                "{options}, epoch {epoch}: {found}, expected {expected}"
            );
            plateau.observe(sign * metric);
        }
    }
}

#[test]
fn metrics_are_scikit_learns() {
    let file = read("metrics.json");
    let check = |name: &str, metric: Metric, outputs: &[f32], targets: &Targets, expected: f64| {
        let found = metric.score(outputs, targets, 0.0);
        // scikit-learn takes the logarithm of f32 probabilities in f32.
        let tolerance = if metric == Metric::LogLoss { 1e-6 } else { SCALAR };
        assert!(
            (found - expected).abs() <= tolerance * expected.abs(),
            "{name}, {metric}: {found}, expected {expected}"
        );
    };
    for case in list(&file["classification"]) {
        let labels = list(&case["labels"]).iter().map(|label| count(label) as u32).collect();
        let targets = Targets::Classes { labels, classes: count(&case["classes"]) };
        let (name, outputs) = (text(&case["name"]), narrow(&case["probabilities"]));
        for (key, metric) in [
            ("accuracy", Metric::Accuracy),
            ("balanced_accuracy", Metric::BalancedAccuracy),
            ("macro_f1", Metric::MacroF1),
            ("log_loss", Metric::LogLoss),
            ("roc_auc", Metric::Auc),
        ] {
            if let Some(expected) = case["expected"][key].as_f64() {
                check(name, metric, &outputs, &targets, expected);
            }
        }
    }
    for case in list(&file["binary_auc"]) {
        // Two classes, and one label: the scores need not be probabilities to be ranked.
        let scores = narrow(&case["scores"]);
        let labels: Vec<u32> = list(&case["labels"]).iter().map(|label| count(label) as u32).collect();
        let (name, expected) = (text(&case["name"]), number(&case["expected"]));
        let binary = Targets::Binary { values: labels.iter().map(|&label| label as f32).collect(), width: 1 };
        check(name, Metric::Auc, &scores, &binary, expected);
        let both: Vec<f32> = scores.iter().flat_map(|&score| [-score, score]).collect();
        check(name, Metric::Auc, &both, &Targets::Classes { labels, classes: 2 }, expected);
    }
    for case in list(&file["regression"]) {
        let width = count(&case["targets"]);
        let (mean, deviation) = (vec![0.0; width], vec![1.0; width]);
        let targets = Targets::Real { values: narrow(&case["truth"]), width, mean, deviation };
        let (name, outputs) = (text(&case["name"]), narrow(&case["predicted"]));
        for (key, metric) in [("rmse", Metric::Rmse), ("mae", Metric::Mae), ("r2", Metric::R2)] {
            match case["expected"][key].as_f64() {
                Some(expected) => check(name, metric, &outputs, &targets, expected),
                None => assert!(metric.score(&outputs, &targets, 0.0).is_nan(), "{name}, {metric} has no value"),
            }
        }
    }
}

/// Weights and biases of a layer as `scheme` draws them.
fn drawn(scheme: &str, inputs: usize, outputs: usize) -> (Vec<f64>, Vec<f64>) {
    let init = Init::by_name(&scheme.replace('_', "-")).expect("a known initialisation");
    let plan = Plan::new(&ModelSpec { init, ..ModelSpec::uniform(&[], Activation::Relu, 0.0) }, inputs, outputs)
        .expect("a layer");
    let parameters = initialise(&plan, init, 7, 0);
    let layer = &plan.layers[0];
    (wide(&parameters[layer.weights.clone()]), wide(&parameters[layer.bias.clone()]))
}

fn deviation(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (x.len() as f64 - 1.0)).sqrt()
}

/// All within the bound, and some near both ends: each end is missed by 20/n with a chance of e^−10.
fn assert_fills(what: &str, x: &[f64], bound: f64) {
    let (low, high) = x.iter().fold((0.0, 0.0), |(low, high): (f64, f64), &x| (low.min(x), high.max(x)));
    assert!(high.max(-low) <= bound * (1.0 + f64::from(f32::EPSILON)), "{what}: from {low} to {high}, bound {bound}");
    let reached = bound * (1.0 - 20.0 / x.len() as f64);
    assert!(high >= reached && -low >= reached, "{what}: from {low} to {high}, bound {bound}");
}

#[test]
fn initial_weights_have_the_bounds_and_deviations_of_pytorchs() {
    for case in list(&read("initialisation.json")["cases"]) {
        let (scheme, inputs, outputs) = (text(&case["scheme"]), count(&case["inputs"]), count(&case["outputs"]));
        let what = format!("{scheme} {inputs}×{outputs}");
        let (weights, biases) = drawn(scheme, inputs, outputs);
        match (case["weight"]["bound"].as_f64(), case["weight"]["deviation"].as_f64()) {
            (Some(bound), _) => assert_fills(&what, &weights, bound),
            (_, Some(expected)) if weights.len() > 1 => {
                // Five deviations of a normal sample's deviation.
                let slack = 5.0 / (2.0 * weights.len() as f64).sqrt();
                let found = deviation(&weights);
                assert!((found / expected - 1.0).abs() <= slack, "{what}: deviation {found}, expected {expected}");
            }
            _ => {}
        }
        match case["bias"]["bound"].as_f64() {
            Some(bound) => assert_fills(&format!("bias of {what}"), &biases, bound),
            None => assert!(biases.iter().all(|&b| b == 0.0), "bias of {what}"),
        }
    }
}

#[test]
fn a_large_layer_spreads_as_pytorchs() {
    let file = read("initialisation.json");
    let large = &file["drawn"];
    for (scheme, expected) in large["schemes"].as_object().expect("schemes by name") {
        let (weights, _) = drawn(scheme, count(&large["inputs"]), count(&large["outputs"]));
        let (found, theirs) = (deviation(&weights), number(&expected["deviation"]));
        assert!((found / theirs - 1.0).abs() <= 0.01, "{scheme}: deviation {found}, PyTorch's {theirs}");
        // Extremes of 120,000 numbers: within a thousandth for uniform ones; a truncated normal would fall short by
        // half.
        let tolerance = if scheme.ends_with("normal") { 0.2 } else { 1e-3 };
        let largest = weights.iter().fold(0.0, |top: f64, w| top.max(w.abs()));
        let theirs = number(&expected["max"]).max(-number(&expected["min"]));
        assert!((largest / theirs - 1.0).abs() <= tolerance, "{scheme}: up to {largest}, PyTorch's up to {theirs}");
    }
}
