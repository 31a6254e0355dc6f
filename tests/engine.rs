//! The training engine held against the oracle and against itself: gradients by finite differences, the CPU
//! against the f64 reference step by step, bit-identity over threads, no allocation in a step, learning at all.

use hpt_engine::backend::{Backend, Cpu, Member, Precision, Reference, Run, UpdateRule, method};
use hpt_engine::check::{self, Case, Kind};
use hpt_engine::data::{Dataset, Features};
use hpt_engine::engine::{Device, Engine, Fit};
use hpt_engine::model::{Activation, Init, LayerSpec, ModelSpec, Plan, initialise};
use hpt_engine::random::{Purpose, Stream};
use hpt_engine::sharers::Sharers;
use hpt_engine::train::{Control, Optimizer, Schedule, ScheduleKind, TrainSpec};
use hpt_kernels::isa::Isa;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // At a thread's end its counter is gone before its last allocations.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `hpt-engine check` compares on a device, without the larger networks that are there for GPUs; a wide one.
fn cases() -> Vec<Case> {
    let small = check::cases().into_iter().filter(|case| !case.name.ends_with("features"));
    small.chain(check::edges().into_iter().filter(|case| case.batch == BATCH)).collect()
}

const INPUTS: usize = 11;
const BATCH: usize = 19;

/// Losses of each step and the weights after them, with the rates of the steps.
fn steps<B: Backend>(backend: &B, member: &Member<'_>, data: &Arc<Dataset>, rates: &[f32]) -> (Vec<f64>, Vec<f32>) {
    let mut cohort = backend.begin(std::slice::from_ref(member)).unwrap();
    let uploaded = backend.upload(data.clone()).unwrap();
    let batch_size = member.batch_size;
    let rows: Vec<u32> = (0..rates.len() * batch_size).map(|i| (i * 7 % data.rows) as u32).collect();
    let mut losses = vec![0.0; rates.len()];
    let run = Run { first_step: 0, rows: &rows, batch_size, rates, losses: &mut losses };
    backend.advance(&mut cohort, &uploaded, &mut [run]).unwrap();
    (losses, backend.weights(&cohort, 0).unwrap())
}

fn member<'a>(case: &Case, plan: &'a Plan, weights: &'a [f32], data: &Dataset) -> Member<'a> {
    let spec = &case.train;
    Member {
        plan,
        weights,
        batch_size: BATCH,
        criterion: spec.criterion(data).unwrap(),
        update: UpdateRule {
            optimizer: spec.optimizer,
            weight_decay: spec.weight_decay as f32,
            l1: spec.l1 as f32,
            clip_norm: spec.clip_norm.map(|norm| norm as f32),
            hypergradient: None,
        },
        seed: 5,
        slot: 1,
        precision: Precision::Highest,
    }
}

#[test]
fn the_oracles_gradients_are_those_of_finite_differences() {
    for case in cases() {
        let data = case.data();
        let plan = Plan::new(&case.model, INPUTS, data.targets.outputs()).unwrap();
        let weights = initialise(&plan, Init::Torch, 5, 1);
        let mut cohort = Reference.begin(&[member(&case, &plan, &weights, &data)]).unwrap();
        let net = &mut cohort.nets[0];
        let rows: Vec<u32> = (0..BATCH as u32).collect();
        let (_, gradient) = net.loss_and_gradient(&data, &rows, Some(3));
        let mut stream = Stream::new(9, 0, Purpose::Bootstrap, 1);
        let direction: Vec<f64> = gradient.iter().map(|_| stream.normal()).collect();
        let along: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let start = net.weights.clone();
        // relu and its kin have corners: a small step keeps the chance of crossing one negligible.
        let h = 1e-7;
        let mut at = |t: f64| {
            net.weights.iter_mut().zip(start.iter().zip(&direction)).for_each(|(w, (s, d))| *w = s + t * d);
            net.loss_and_gradient(&data, &rows, Some(3)).0
        };
        let difference = (at(h) - at(-h)) / (2.0 * h);
        assert!((difference - along).abs() <= 1e-6 * (1.0 + along.abs()), "{}: {difference} is not {along}", case.name);
    }
}

#[test]
fn the_cpu_follows_the_oracle_in_every_instruction_set() {
    for case in cases() {
        let data = case.data();
        let plan = Plan::new(&case.model, INPUTS, data.targets.outputs()).unwrap();
        let start = initialise(&plan, Init::Torch, 5, 1);
        let (member, rates) = (member(&case, &plan, &start, &data), [case.train.learning_rate as f32; 10]);
        let (losses, weights) = steps(&Reference, &member, &data, &rates);
        // Whole batches, and three blocks of each.
        let cpus = |isa| [BATCH, 8].map(|rows| (isa, rows, Cpu::with_isa(isa, 1).unwrap().in_blocks_of(rows)));
        for (isa, rows, cpu) in Isa::available().flat_map(cpus) {
            let isa = format!("{isa:?}, {rows} rows at a time,");
            let (fast_losses, fast_weights) = steps(&cpu, &member, &data, &rates);
            for (i, (fast, exact)) in fast_losses.iter().zip(&losses).enumerate() {
                let name = &case.name;
                assert!(
                    (fast - exact).abs() <= 2e-5 * (1.0 + exact.abs()),
                    "{name} {isa} step {i}: {fast} is not {exact}"
                );
            }
            // Adam's and RMSprop's first steps divide by √v, which magnifies rounding where a gradient is near zero.
            let worst = fast_weights.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 2e-3, "{} {isa}: a weight is off by {worst}", case.name);
            let mean =
                fast_weights.iter().zip(&weights).map(|(a, b)| (a - b).abs()).sum::<f32>() / weights.len() as f32;
            assert!(mean <= 2e-6, "{} {isa}: weights are off by {mean} on average", case.name);
        }
    }
}

/// As wide as tiles want it: at every precision the products are those of its method, of numbers and of bytes, and the
/// updates are as near to the oracle's as the method promises.
#[test]
fn products_by_tiles_follow_the_oracle() {
    const RATES: [f32; 4] = [0.5; 4];
    let isa = Isa::by_name("amx-emulated").unwrap();
    let (batch, inputs, units) = (128, 96, 192);
    let numbers = Kind::Classes(10).data(300, inputs, 4);
    let mut stream = Stream::new(4, 0, Purpose::Bootstrap, 2);
    let values = (0..300 * inputs).map(|_| stream.below(256) as u8).collect();
    let bytes = Arc::new(Dataset { features: Features::U8 { values, scale: 1.0 / 255.0 }, ..(*numbers).clone() });
    // Smooth, so that what is near in every product is near in its gradient.
    let mut model = ModelSpec::uniform(&[units, units], Activation::Silu, 0.1);
    model.residual = true;
    let plan = Plan::new(&model, inputs, 10).unwrap();
    let start = initialise(&plan, Init::Torch, 5, 1);
    let norm = |weights: &[f32], from: &[f32]| {
        weights.iter().zip(from).map(|(w, from)| (f64::from(*w) - f64::from(*from)).powi(2)).sum::<f64>().sqrt()
    };
    for (what, data) in [("numbers", &numbers), ("bytes", &bytes)] {
        let criterion = TrainSpec::default().criterion(data).unwrap();
        let plain =
            UpdateRule { optimizer: Optimizer::Sgd, weight_decay: 0.0, l1: 0.0, clip_norm: None, hypergradient: None };
        let of = |precision| Member {
            plan: &plan,
            weights: &start,
            batch_size: batch,
            criterion: criterion.clone(),
            update: plain,
            seed: 5,
            slot: 1,
            precision,
        };
        let (exact_losses, exact) = steps(&Reference, &of(Precision::Highest), data, &RATES);
        let moved = norm(&exact, &start);
        let mut last = 0.0;
        // Of six products the bound is that of a chain.
        let chain = units as f64 * 2f64.powi(-24);
        for (precision, product) in
            [(Precision::Highest, chain), (Precision::High, 2f64.powi(-15)), (Precision::Medium, 2f64.powi(-7))]
        {
            let allowed = method(precision);
            let choose = |bytes: bool| move |(m, k, n)| allowed.choose(isa, bytes, m, k, n);
            let first = [(batch, inputs, units), (inputs, batch, units)].map(choose(what == "bytes"));
            // The second layer's, of which that of its inputs' gradient has the shape of the first.
            let second = [(batch, units, units), (units, batch, units)].map(choose(false));
            assert_eq!([first, second], [[allowed; 2]; 2], "{what}, {precision:?}: another method would be tested");
            let (losses, weights) = steps(&Cpu::with_isa(isa, 1).unwrap(), &of(precision), data, &RATES);
            // A weight's gradient is behind a product of each layer forward and back. A step rounds the weight once.
            let products = 2.0 * plan.layers.len() as f64;
            let rounded = RATES.len() as f64 * 2f64.powi(-24) * norm(&exact, &vec![0.0; exact.len()]);
            let (error, limit) = (norm(&weights, &exact) / moved, products * product + rounded / moved);
            println!("{what}, {precision:?}: updates are off by {error:e} of their norm, limit {limit:e}");
            assert!(error <= limit, "{what}, {precision:?}: updates are off by {error:e} of their norm");
            // What is f32 at every precision leaves 1e-6, products of `high` 4e-6.
            assert!(error > last, "{what}, {precision:?}: no less exact than the precision above, {last:e}");
            for (fast, exact) in losses.iter().zip(&exact_losses) {
                let off = (fast - exact).abs() / exact.abs();
                assert!(off <= limit, "{what}, {precision:?}: the loss {fast} is not {exact}");
            }
            last = error;
        }
    }
}

#[test]
fn numbers_are_the_same_bits_for_every_number_of_threads() {
    for case in cases() {
        let data = case.data();
        let plan = Plan::new(&case.model, INPUTS, data.targets.outputs()).unwrap();
        let weights = initialise(&plan, Init::Torch, 5, 1);
        let (member, rates) = (member(&case, &plan, &weights, &data), [case.train.learning_rate as f32; 4]);
        for (isa, rows) in Isa::available().flat_map(|isa| [(isa, BATCH), (isa, 8)]) {
            let cpu = |threads| Cpu::with_isa(isa, threads).unwrap().in_blocks_of(rows);
            let one = steps(&cpu(1), &member, &data, &rates);
            for threads in [2, 3, 5] {
                let several = steps(&cpu(threads), &member, &data, &rates);
                let name = &case.name;
                assert!(one == several, "{name}: {threads} threads of {isa:?}, {rows} rows at a time, differ from one");
            }
        }
    }
}

/// Several chunks of the arena, several blocks of every product: where threads really share a sum or a matrix.
#[test]
fn large_networks_are_the_same_bits_for_every_number_of_threads() {
    let data = Kind::Classes(5).data(257, 37, 3);
    // Of the last of these a layer's dW is divided by rows.
    let large = (&[301, 301, 1100][..], Some(0.05));
    for ((hidden, clip_norm), optimizer, precision) in [
        (large, "momentum", Precision::Highest),
        (large, "adam", Precision::Medium),
        ((&[128, 64], None), "adam", Precision::High),
    ] {
        let mut model = ModelSpec::uniform(hidden, Activation::Silu, 0.2);
        model.residual = true;
        let plan = Plan::new(&model, 37, 5).unwrap();
        let weights = initialise(&plan, Init::Torch, 5, 1);
        let run = |threads: usize, rows: usize| {
            let update = UpdateRule {
                optimizer: Optimizer::by_name(optimizer).unwrap(),
                weight_decay: 1e-4,
                l1: 0.0,
                clip_norm,
                hypergradient: None,
            };
            let criterion = TrainSpec::default().criterion(&data).unwrap();
            let member = Member {
                plan: &plan,
                weights: &weights,
                batch_size: 257,
                criterion,
                update,
                seed: 1,
                slot: 2,
                precision,
            };
            steps(&Cpu::new(threads).unwrap().in_blocks_of(rows), &member, &data, &[0.01; 3])
        };
        // Whole batches, and blocks of which the last is smaller.
        for rows in [257, 96] {
            let one = run(1, rows);
            for threads in [2, 3, 4, 16] {
                // A race shows in some runs only.
                for _ in 0..5 {
                    let several = run(threads, rows);
                    assert!(several == one, "{optimizer}, {rows} rows at a time: {threads} threads differ from one");
                }
            }
        }
    }
}

#[test]
fn evaluations_agree_with_the_oracle_and_over_threads() {
    for case in cases() {
        let data = case.kind.data(600, INPUTS, 2);
        let plan = Plan::new(&case.model, INPUTS, data.targets.outputs()).unwrap();
        let weights = initialise(&plan, Init::Torch, 5, 1);
        fn run<B: Backend>(backend: &B, member: &Member<'_>, data: &Arc<Dataset>) -> (f64, Vec<f32>) {
            let mut cohort = backend.begin(std::slice::from_ref(member)).unwrap();
            let mut outputs = vec![f32::NAN; data.rows * member.plan.outputs];
            let uploaded = backend.upload(data.clone()).unwrap();
            (backend.evaluate(&mut cohort, 0, &uploaded, &mut outputs).unwrap(), outputs)
        }
        let member = member(&case, &plan, &weights, &data);
        let exact = run(&Reference, &member, &data);
        let one = run(&Cpu::new(1).unwrap(), &member, &data);
        let three = run(&Cpu::new(3).unwrap(), &member, &data);
        assert!(one == three, "{}", case.name);
        assert!((one.0 - exact.0).abs() <= 1e-5 * (1.0 + exact.0.abs()), "{}: {} is not {}", case.name, one.0, exact.0);
        assert!(one.1.iter().zip(&exact.1).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs())), "{}", case.name);
    }
}

#[test]
fn a_step_allocates_nothing() {
    for case in cases() {
        let data = case.data();
        let plan = Plan::new(&case.model, INPUTS, data.targets.outputs()).unwrap();
        let weights = initialise(&plan, Init::Torch, 5, 1);
        let cpu = Cpu::new(1).unwrap();
        let mut cohort = cpu.begin(&[member(&case, &plan, &weights, &data)]).unwrap();
        let (rows, rates) = (vec![0u32; BATCH * 3], [0.01f32; 3]);
        let mut losses = [0.0; 3];
        let counted = allocations(|| {
            let run = Run { first_step: 0, rows: &rows, batch_size: BATCH, rates: &rates, losses: &mut losses };
            cpu.advance(&mut cohort, &data, &mut [run]).unwrap();
        });
        assert_eq!(counted, 0, "{}", case.name);
    }
    let counted = allocations(|| drop(std::hint::black_box(vec![1u8; 100])));
    assert_eq!(counted, 1, "the counter counts");
}

#[test]
fn a_training_allocates_as_often_for_many_epochs_as_for_few() {
    for kind in [Kind::Classes(3), Kind::Numbers(1)] {
        let (training, validation) = (kind.data(64, INPUTS, 1), kind.data(600, INPUTS, 2));
        let model = ModelSpec::uniform(&[16], Activation::Relu, 0.2);
        let engine = Engine::new(Device::Cpu, 1).unwrap();
        let count = |epochs| {
            let train = TrainSpec { epochs, batch_size: 8, ..TrainSpec::default() };
            let fit = Fit { validation: Some(&validation), ..Fit::new(&training, &model, &train) };
            allocations(|| drop(engine.fit(&fit, &mut |_| Control::Continue).unwrap()))
        };
        assert_eq!(count(2), count(50), "{kind:?}");
    }
}

/// Allocations of this thread while `work` runs; other tests run beside on theirs.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_network_overfits_32_rows() {
    for kind in [Kind::Classes(3), Kind::Labels(2), Kind::Numbers(2)] {
        let data = kind.data(32, INPUTS, 4);
        let model = ModelSpec::uniform(&[64, 64], Activation::Relu, 0.0);
        let train = TrainSpec { epochs: 300, batch_size: 8, learning_rate: 3e-3, ..TrainSpec::default() };
        let engine = Engine::new(Device::Cpu, 1).unwrap();
        let trained = engine.fit(&Fit::new(&data, &model, &train), &mut |_| Control::Continue).unwrap();
        let last = trained.history.last().unwrap().train_loss;
        assert!(last < 1e-2, "{kind:?}: the loss is still {last}");
    }
}

#[test]
fn a_training_is_a_function_of_its_seed_and_slot() {
    let data = Kind::Classes(3).data(200, INPUTS, 4);
    let model = ModelSpec::uniform(&[16], Activation::Relu, 0.2);
    let schedule = Schedule { kind: ScheduleKind::Cosine, ..Schedule::default() };
    let train = TrainSpec { epochs: 3, batch_size: 32, schedule, ..TrainSpec::default() };
    let run = |threads, seed, slot| {
        let engine = Engine::new(Device::Cpu, threads).unwrap();
        let fit = Fit { seed, slot, ..Fit::new(&data, &model, &train) };
        engine.fit(&fit, &mut |_| Control::Continue).unwrap().weights
    };
    assert_eq!(run(1, 1, 0), run(2, 1, 0));
    assert_ne!(run(1, 1, 0), run(1, 2, 0));
    assert_ne!(run(1, 1, 0), run(1, 1, 1));
}

/// A training that shares the cores takes more of them when others end, and gives them back.
#[test]
fn a_share_of_the_cores_that_changes_changes_no_bits() {
    let data = Kind::Classes(3).data(257, INPUTS, 4);
    let model = ModelSpec::uniform(&[300, 70], Activation::Relu, 0.2);
    let train = TrainSpec { epochs: 6, batch_size: 64, ..TrainSpec::default() };
    let sharers = Sharers::new(1);
    let fit = Fit::new(&data, &model, &train);
    let alone = Engine::new(Device::Cpu, 1).unwrap().fit(&fit, &mut |_| Control::Continue).unwrap();
    let engine = Engine::new(Device::Cpu, 0).unwrap().shared(Arc::clone(&sharers));
    let changing = engine.fit(&fit, &mut |epoch| {
        // All cores at first and in every third epoch, else one.
        match epoch.epoch % 3 {
            1 => (0..1000).for_each(|_| sharers.enter()),
            0 => (0..1000).for_each(|_| sharers.leave()),
            _ => {}
        }
        Control::Continue
    });
    assert!(alone.weights == changing.unwrap().weights);
}

#[test]
fn early_stopping_takes_the_best_epochs_weights() {
    let (training, validation) = (Kind::Classes(2).data(64, INPUTS, 4), Kind::Classes(2).data(64, INPUTS, 5));
    let model = ModelSpec {
        hidden: vec![LayerSpec { units: 64, activation: Activation::Relu, dropout: 0.0 }],
        ..ModelSpec::uniform(&[], Activation::Relu, 0.0)
    };
    // Random labels: the validation loss soon rises.
    let train = TrainSpec {
        epochs: 100,
        batch_size: 16,
        learning_rate: 1e-2,
        early_stopping: Some(4),
        metric: Some(hpt_engine::train::Metric::Loss),
        ..TrainSpec::default()
    };
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    let fit = Fit { validation: Some(&validation), ..Fit::new(&training, &model, &train) };
    let (model, trained) = engine.train(&fit, &mut |_| Control::Continue).unwrap();
    let best = trained.history.iter().min_by(|a, b| a.metric.unwrap().total_cmp(&b.metric.unwrap())).unwrap();
    assert_eq!(trained.epoch, best.epoch);
    assert_eq!(trained.history.len(), best.epoch + 4);
    let (_, loss) = engine.outputs(&model, &validation).unwrap();
    assert_eq!(Some(loss), best.validation_loss);
}

#[test]
fn a_loss_that_is_not_finite_names_the_epoch_and_the_rate() {
    let data = Kind::Numbers(1).data(64, INPUTS, 4);
    let model = ModelSpec::uniform(&[16, 16], Activation::Relu, 0.0);
    let train = TrainSpec { optimizer: Optimizer::Sgd, learning_rate: 1e9, batch_size: 8, ..TrainSpec::default() };
    let error = Engine::new(Device::Cpu, 1).unwrap().fit(&Fit::new(&data, &model, &train), &mut |_| Control::Continue);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("epoch 1") && message.contains("1e9"), "{message}");
}
