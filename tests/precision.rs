//! Training by bf16 products, which `highest` may be too: the same bits for every number of threads, `high` and
//! `medium` close to `highest` from step to step, `highest` to f32, and no worse after a training. They run on tiles
//! where the machine has them and on their emulation everywhere.

use hpt_engine::backend::{Backend, Caps, Cpu, Precision, Reference, evaluation_products, method, natively};
use hpt_engine::data::{DataSpec, Dataset, Features, Preprocess, SplitSpec, Targets};
use hpt_engine::engine::{Device, Engine};
use hpt_engine::model::{Activation, Criterion, Init, Loss, ModelSpec, Plan, initialise};
use hpt_engine::prepared::Prepared;
use hpt_engine::train::{Control, TrainSpec, Trained, Trainer, evaluate, train};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;
use std::sync::Arc;

fn emulated() -> Isa {
    Isa::by_name("amx-emulated").expect("every machine can emulate")
}

/// The tiers of this machine that have a unit for a precision, with it.
fn tiers() -> Vec<(Isa, Precision)> {
    let lower = [Precision::High, Precision::Medium];
    let pairs = Isa::available().chain([emulated()]).flat_map(|isa| lower.map(|precision| (isa, precision)));
    pairs.filter(|&(isa, precision)| natively(precision, isa) == precision).collect()
}

/// The tiers on which larger products of `highest` are products of bf16.
fn highest_by_tiles() -> impl Iterator<Item = (Isa, Precision)> {
    let sets = Isa::available().chain([emulated()]).filter(|&isa| method(Precision::Highest).is_native(isa));
    sets.map(|isa| (isa, Precision::Highest))
}

struct Digits {
    training: Arc<Dataset>,
    validation: Arc<Dataset>,
    plan: Plan,
}

impl Digits {
    fn new(hidden: &[usize], dropout: f64) -> Self {
        Self::prepared(hidden, dropout, Preprocess::Standard)
    }

    fn prepared(hidden: &[usize], dropout: f64, preprocess: Preprocess) -> Self {
        let prepared = Prepared::load(&DataSpec::new("digits"), &SplitSpec::default()).unwrap();
        let sets = prepared.sets(preprocess).unwrap();
        let mut model = ModelSpec::uniform(hidden, Activation::Relu, dropout);
        model.residual = true;
        let plan = Plan::new(&model, sets.train.inputs, 10).unwrap();
        Digits { training: sets.train.clone(), validation: sets.validation.clone().unwrap(), plan }
    }

    fn train(&self, (isa, precision): (Isa, Precision), threads: usize, epochs: usize, seed: u64) -> Trained {
        self.train_by(&TrainSpec { epochs, precision, ..TrainSpec::default() }, isa, threads, seed)
    }

    fn train_by(&self, spec: &TrainSpec, isa: Isa, threads: usize, seed: u64) -> Trained {
        self.train_on(&Cpu::with_isa(isa, threads).unwrap(), spec, seed)
    }

    fn train_on(&self, cpu: &Cpu, spec: &TrainSpec, seed: u64) -> Trained {
        let weights = initialise(&self.plan, Init::Torch, seed, 0);
        let plan = &self.plan;
        let trainer = Trainer { plan, spec, weights: &weights, seed, slot: 0, last_epoch: None, cancelled: &|| false };
        train(cpu, &trainer, &self.training, Some(&self.validation), &mut |_| Control::Continue).unwrap()
    }
}

#[test]
fn a_device_takes_the_lowest_precision_that_it_has_and_that_was_allowed() {
    let cpu = Cpu::with_isa(emulated(), 1).unwrap();
    for precision in [Precision::Highest, Precision::High, Precision::Medium] {
        assert_eq!(cpu.precision(precision), precision);
        let portable = Cpu::with_isa(Isa::by_name("portable").unwrap(), 1).unwrap();
        assert_eq!(portable.precision(precision), Precision::Highest);
        assert_eq!(Engine::new(Device::Reference, 1).unwrap().precision(precision), Precision::Highest);
    }
    assert_eq!(cpu.caps(), Caps { device: "cpu".into(), isa: "amx-emulated".into(), threads: 1 });
    for isa in Isa::available() {
        let medium = natively(Precision::Medium, isa);
        assert_eq!(natively(Precision::Bf16, isa), medium);
        assert!(medium != Precision::High || natively(Precision::High, isa) == Precision::High);
    }
}

#[test]
fn bf16_products_are_the_same_bits_for_every_number_of_threads() {
    let digits = Digits::new(&[192, 192], 0.2);
    for tier in tiers().into_iter().chain(highest_by_tiles()) {
        assert_ne!(method(tier.1).choose(tier.0, false, 128, 192, 192), Method::F32, "the test would compare f32");
        let one = digits.train(tier, 1, 1, 3);
        for threads in [2, 3] {
            let several = digits.train(tier, threads, 1, 3);
            assert!(one.weights == several.weights, "{tier:?}: {threads} threads differ from one");
        }
    }
}

/// The first epochs, before rounding differences grow: losses of `high` within 1e-4 of `highest`, of `medium` within a
/// percent; and they are not the same, or nothing was tested.
#[test]
fn low_precisions_follow_the_highest() {
    let digits = Digits::new(&[192, 192], 0.0);
    for tier in tiers() {
        let exact = digits.train((tier.0, Precision::Highest), 2, 2, 5);
        let lower = digits.train(tier, 2, 2, 5);
        let limit = if tier.1 == Precision::High { 1e-4 } else { 1e-2 };
        for (exact, lower) in exact.history.iter().zip(&lower.history) {
            let ratio = lower.train_loss / exact.train_loss - 1.0;
            assert!(ratio.abs() <= limit, "{tier:?}: epoch {}: {ratio:e}", exact.epoch);
        }
        assert_ne!(exact.weights, lower.weights, "{tier:?} did what highest does");
    }
}

/// `highest` by tiles beside chains of f32: as close as rounding allows, and not the same.
#[test]
fn highest_by_tiles_follows_f32() {
    let digits = Digits::new(&[192, 192], 0.0);
    let portable = Isa::by_name("portable").unwrap();
    assert!(!method(Precision::Highest).is_native(portable));
    let chains = digits.train((portable, Precision::Highest), 2, 2, 5);
    for tier in highest_by_tiles() {
        let tiles = digits.train(tier, 2, 2, 5);
        for (chains, tiles) in chains.history.iter().zip(&tiles.history) {
            let ratio = tiles.train_loss / chains.train_loss - 1.0;
            assert!(ratio.abs() <= 1e-5, "{tier:?}: epoch {}: {ratio:e}", chains.epoch);
        }
        assert_ne!(chains.weights, tiles.weights, "{tier:?} did what chains do");
    }
}

/// What a byte of [`Digits::in_bytes`] stands for: no number of few bits.
const BYTE: f32 = 0.0123;

impl Digits {
    /// The same with features of bytes, and with the f32 numbers that these stand for.
    fn in_bytes(mut self) -> [Digits; 2] {
        let Features::F32(numbers) = &self.training.features else { panic!("standardised features are f32") };
        let values: Vec<u8> = numbers.iter().map(|x| (x * 40.0 + 100.0) as u8).collect();
        let numbers = Features::F32(values.iter().map(|&byte| f32::from(byte) * BYTE).collect());
        let training = Dataset { features: numbers, ..(*self.training).clone() };
        self.validation = Arc::new(training.clone());
        let bytes = Dataset { features: Features::U8 { values, scale: BYTE }, ..training.clone() };
        let of = |training| Digits { training, validation: self.validation.clone(), plan: self.plan.clone() };
        [of(Arc::new(bytes)), of(Arc::new(training))]
    }
}

/// The first layer multiplies bytes as they are: the same bits for every number of threads, and what their numbers give
/// as close as rounding allows. The last batch is one whose bytes become numbers; a clipped norm takes the gradient
/// whole.
#[test]
fn bytes_train_as_their_numbers_do() {
    let [bytes, numbers] = Digits::new(&[192, 192], 0.2).in_bytes();
    let (rows, inputs) = (bytes.training.rows, bytes.training.inputs);
    for (isa, precision) in tiers().into_iter().chain(highest_by_tiles()) {
        let by_units = |m, k, n| method(precision).choose(isa, true, m, k, n) != Method::F32;
        let of_bytes = |&batch: &usize| by_units(batch, inputs, 192) && by_units(inputs, batch, 192);
        let batch_size = (96..rows).filter(|batch| (1..32).contains(&(rows % batch))).find(of_bytes);
        let batch_size = batch_size.unwrap_or_else(|| panic!("{isa:?} {precision:?}: the test would compare f32"));
        for clip_norm in [None, Some(0.5)] {
            let spec = TrainSpec { epochs: 2, precision, batch_size, clip_norm, ..TrainSpec::default() };
            let (one, exact) = (bytes.train_by(&spec, isa, 1, 3), numbers.train_by(&spec, isa, 1, 3));
            let limit = [1e-5, 1e-4, 1e-2][precision as usize];
            for (one, exact) in one.history.iter().zip(&exact.history) {
                let ratio = one.train_loss / exact.train_loss - 1.0;
                assert!(ratio.abs() <= limit, "{isa:?} {precision:?}: epoch {}: {ratio:e}", one.epoch);
            }
            assert_ne!(one.weights, exact.weights, "{isa:?} {precision:?}: no bytes were multiplied");
            for threads in [2, 3] {
                let several = bytes.train_by(&spec, isa, threads, 3);
                assert!(one.weights == several.weights, "{isa:?} {precision:?}: {threads} threads differ from one");
            }
        }
    }
}

/// The same of a batch that goes block by block, the last of which is multiplied as numbers.
#[test]
fn bytes_train_in_blocks_as_their_numbers_do() {
    let [bytes, numbers] = Digits::new(&[192, 192], 0.2).in_bytes();
    let inputs = bytes.training.inputs;
    for (isa, precision) in tiers().into_iter().chain(highest_by_tiles()) {
        let by_units = |m, k, n| method(precision).choose(isa, true, m, k, n) != Method::F32;
        let of_bytes = |&block: &usize| by_units(block, inputs, 192) && by_units(inputs, block, 192);
        let block = (96..400).find(of_bytes).expect("a number of rows that are multiplied as bytes");
        let last = (1..32).find(|rows| !of_bytes(rows)).expect("a number that are not");
        let spec = TrainSpec { epochs: 2, precision, batch_size: 2 * block + last, ..TrainSpec::default() };
        let cpu = |threads| Cpu::with_isa(isa, threads).unwrap().in_blocks_of(block);
        let (one, exact) = (bytes.train_on(&cpu(1), &spec, 3), numbers.train_on(&cpu(1), &spec, 3));
        let limit = [1e-5, 1e-4, 1e-2][precision as usize];
        for (one, exact) in one.history.iter().zip(&exact.history) {
            let ratio = one.train_loss / exact.train_loss - 1.0;
            assert!(ratio.abs() <= limit, "{isa:?} {precision:?}: epoch {}: {ratio:e}", one.epoch);
        }
        assert_ne!(one.weights, exact.weights, "{isa:?} {precision:?}: no bytes were multiplied");
        let several = bytes.train_on(&cpu(3), &spec, 3);
        assert!(one.weights == several.weights, "{isa:?} {precision:?}: three threads differ from one");
    }
}

/// Forward alone is by tiles too, of numbers and of bytes: as exact as by chains of f32, and a row's outputs depend
/// neither on the number of threads nor on where it stands, nor on how many there are.
#[test]
fn evaluations_by_tiles_are_as_exact_as_f32() {
    let digits = Digits::new(&[192, 192], 0.0);
    let (plan, weights) = (digits.plan.clone(), initialise(&digits.plan, Init::Torch, 3, 0));
    let criterion = Criterion { loss: Loss::Mse, label_smoothing: 0.0, class_weights: None };
    let on = |isa, threads, data: &Arc<Dataset>| {
        let cpu = Cpu::with_isa(isa, threads).unwrap();
        evaluate(&cpu, &plan, &weights, criterion.clone(), data).unwrap().0
    };
    let portable = Isa::by_name("portable").unwrap();
    for data in digits.in_bytes() {
        let data = Arc::new(Dataset { targets: Targets::None, ..(*data.training).clone() });
        let exact = evaluate(&Reference, &plan, &weights, criterion.clone(), &data).unwrap().0;
        let error = |outputs: &[f32]| {
            let squares = outputs.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2));
            (squares.sum::<f64>() / exact.len() as f64).sqrt()
        };
        let chains = on(portable, 1, &data);
        for (isa, _) in highest_by_tiles() {
            let bytes = matches!(data.features, Features::U8 { .. });
            let products: Vec<_> = evaluation_products(isa, &plan, bytes).collect();
            assert!(products[..2].iter().all(|product| product.method == Method::Bf16x6), "{products:?}");
            assert_eq!(products[0].bytes, bytes);
            let tiles = on(isa, 1, &data);
            assert!(error(&tiles) <= error(&chains), "{isa:?}: {:e} of {:e}", error(&tiles), error(&chains));
            assert!(on(isa, 3, &data) == tiles, "{isa:?}: three threads differ from one");
            let backwards: Vec<f32> = tiles.rchunks(plan.outputs).flatten().copied().collect();
            assert!(on(isa, 1, &reversed(&data)) == backwards, "{isa:?}: a row's outputs depend on its place");
            for rows in [1, 2, 17, 300] {
                let few = on(isa, 1, &first_rows(&data, rows));
                assert!(few == tiles[..few.len()], "{isa:?}: {rows} rows alone are not the same as among others");
            }
        }
    }
}

/// Some rows alone.
fn first_rows(data: &Dataset, rows: usize) -> Arc<Dataset> {
    let count = rows * data.inputs;
    let features = match &data.features {
        Features::F32(values) => Features::F32(values[..count].to_vec()),
        Features::U8 { values, scale } => Features::U8 { values: values[..count].to_vec(), scale: *scale },
    };
    Arc::new(Dataset { rows, features, ..data.clone() })
}

/// The last row first.
fn reversed(data: &Dataset) -> Arc<Dataset> {
    fn turned<T: Copy>(values: &[T], width: usize) -> Vec<T> {
        values.rchunks(width).flatten().copied().collect()
    }
    let features = match &data.features {
        Features::F32(values) => Features::F32(turned(values, data.inputs)),
        Features::U8 { values, scale } => Features::U8 { values: turned(values, data.inputs), scale: *scale },
    };
    Arc::new(Dataset { features, ..data.clone() })
}

/// Dropout of the inputs and skip connections around the first layer need its numbers.
#[test]
fn bytes_that_are_needed_as_numbers_train_as_those() {
    let inputs = Digits::new(&[1], 0.0).training.inputs;
    let [bytes, numbers] = Digits::new(&[inputs, 192], 0.0).in_bytes();
    for input_dropout in [0.0, 0.3] {
        let of = |digits: &Digits| {
            let mut plan = digits.plan.clone();
            plan.input_dropout = input_dropout;
            plan.layers[0].residual = input_dropout == 0.0;
            Digits { training: digits.training.clone(), validation: digits.validation.clone(), plan }
        };
        let (bytes, numbers) = (of(&bytes), of(&numbers));
        for tier in tiers().into_iter().chain(highest_by_tiles()) {
            let plain = method(tier.1).choose(tier.0, true, 128, inputs, inputs);
            assert_ne!(plain, Method::F32, "{tier:?}: nobody would multiply bytes");
            let (bytes, numbers) = (bytes.train(tier, 2, 1, 3), numbers.train(tier, 2, 1, 3));
            assert!(bytes.weights == numbers.weights, "{tier:?}, dropout {input_dropout}");
        }
    }
}

/// Twenty seeds, validation losses after 10 epochs, paired with those of `highest`: the 95 % interval of the mean
/// difference, as a share of the mean loss. Takes minutes: `cargo test --release --test precision -- --ignored
/// --nocapture end_with_the_same_losses`.
fn compare_losses(digits: &Digits) {
    const SEEDS: u64 = 20;
    /// Student's t, 19 degrees of freedom, 97.5 %.
    const T: f64 = 2.093;
    for tier in tiers().into_iter().filter(|&tier| tier != (emulated(), Precision::Medium)) {
        let losses = |precision, seed| {
            let trained = digits.train((tier.0, precision), 2, 10, seed);
            trained.history.last().and_then(|epoch| epoch.validation_loss).unwrap()
        };
        let pairs: Vec<(f64, f64)> =
            (0..SEEDS).map(|seed| (losses(Precision::Highest, seed), losses(tier.1, seed))).collect();
        let mean = |values: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(values).sum::<f64>() / SEEDS as f64;
        let (exact, difference) = (mean(&|pair| pair.0), mean(&|pair| pair.1 - pair.0));
        let variance = mean(&|pair| (pair.1 - pair.0 - difference).powi(2)) * SEEDS as f64 / (SEEDS - 1) as f64;
        let half = T * (variance / SEEDS as f64).sqrt();
        let (low, high) = ((difference - half) / exact * 100.0, (difference + half) / exact * 100.0);
        println!("{} {}: loss {exact:.5}, difference {low:+.3} % to {high:+.3} %", tier.0.name(), tier.1.name());
        assert!(difference != 0.0, "{tier:?} did what highest does");
        if tier.1 == Precision::High {
            assert!(low >= -1.0 && high <= 1.0, "{tier:?}: {low:.3} % to {high:.3} %");
        }
    }
}

#[test]
#[ignore = "takes minutes; the recorded result stands in benches/record/precision.md"]
fn trainings_end_with_the_same_losses() {
    compare_losses(&Digits::new(&[256, 256], 0.0));
}

/// The pixels as the data have them, 0 to 16, which the first layer multiplies as bytes.
#[test]
#[ignore = "takes minutes; the recorded result stands in benches/record/precision.md"]
fn trainings_by_bytes_end_with_the_same_losses() {
    let mut digits = Digits::prepared(&[256, 256], 0.0, Preprocess::None);
    for data in [&mut digits.training, &mut digits.validation] {
        let Features::F32(numbers) = &data.features else { panic!("columns of a table are f32") };
        let values: Vec<u8> = numbers.iter().map(|&x| x as u8).collect();
        assert!(values.iter().zip(numbers).all(|(&byte, &x)| f32::from(byte) == x), "a pixel is no byte");
        *data = Arc::new(Dataset { features: Features::U8 { values, scale: 1.0 / 16.0 }, ..(**data).clone() });
    }
    let (batch, inputs) = (TrainSpec::default().batch_size, digits.training.inputs);
    assert!(!digits.plan.layers[0].residual, "a sum with the inputs needs them as numbers");
    for (m, k, n) in [(batch, inputs, 256), (inputs, batch, 256)] {
        let chosen = method(Precision::High).choose(emulated(), true, m, k, n);
        assert_eq!(chosen, Method::Bf16x3, "the test would compare something else");
    }
    compare_losses(&digits);
}
