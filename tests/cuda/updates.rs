//! Steps that need the whole gradient: the rate that descends along its own gradient (`turn`, `update`, `finish`),
//! against the formulas in f64; steps that a model does not have.

use crate::harness::{Gpu, Job, Random, close, wide};
use hpt_engine::backend::cuda::descriptor::{Address, CHUNK, Model, Rate, Run};

/// Two chunks, of which the second is not full.
const PARAMETERS: usize = CHUNK + 700;
const STEPS: usize = 3;
const BATCH: u32 = 5;
const DECAY: f32 = 0.02;
const L1: f32 = 0.001;

/// Optimizers that adapt a rate, by their number, with their constants.
const RULES: [(u32, [f32; 4]); 4] =
    [(0, [0.0; 4]), (1, [0.9, 0.0, 0.0, 0.0]), (2, [0.9, 0.0, 0.0, 0.0]), (3, [0.95, 0.2, 0.05, 1e-3])];

fn rate(step: usize) -> Rate {
    let t = (step + 1) as f32;
    let (rate, inverse) = (0.01 * t, 1.0 / (1.0 - 0.8f32.powf(t)));
    Rate {
        rate,
        shrink: 1.0,
        corrected: rate * inverse,
        root: 1.0 / (1.0 - 0.95f32.powf(t)).sqrt(),
        inverse,
        rest: [0.0; 3],
    }
}

/// The state after each step in f64.
#[derive(Clone, Default)]
struct Exact {
    weights: Vec<f64>,
    slots: [Vec<f64>; 2],
    direction: Vec<f64>,
    offset: f64,
}

impl Exact {
    fn step(&mut self, (optimizer, constants): (u32, [f32; 4]), rate: Rate, beta: f64, gradient: &[f64]) {
        let c = constants.map(f64::from);
        let whole: Vec<f64> = self
            .weights
            .iter()
            .zip(gradient)
            .map(|(w, g)| g + w * f64::from(DECAY) + if *w == 0.0 { 0.0 } else { w.signum() * f64::from(L1) })
            .collect();
        let product: f64 = whole.iter().zip(&self.direction).map(|(g, d)| g * d).sum();
        self.offset = (self.offset + beta * product).max(-f64::from(rate.rate));
        let (step, root) = (f64::from(rate.rate) + self.offset, f64::from(rate.root));
        let [first, second] = &mut self.slots;
        for (i, &g) in whole.iter().enumerate() {
            let (a, b) = (&mut first[i], &mut second[i]);
            let direction = match optimizer {
                0 => g,
                1 => {
                    *a = *a * c[0] + g;
                    *a
                }
                2 => {
                    *a = *a * c[0] + g;
                    *a * c[0] + g
                }
                _ => {
                    (*a, *b) = (*a + (g - *a) * c[1], *b * c[0] + g * g * c[2]);
                    *a * f64::from(rate.inverse) / (b.sqrt() * root + c[3])
                }
            };
            self.weights[i] -= step * direction;
            self.direction[i] = direction;
        }
    }
}

struct Arena {
    gpu: Gpu,
    job: Job,
}

impl Arena {
    fn new(rule: (u32, [f32; 4]), beta: f64, start: &Exact, seed: u64) -> Self {
        let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let mut gpu = Gpu::simt(seed);
        let rates: Vec<Rate> = (0..STEPS).map(rate).collect();
        let model = Model {
            weights: gpu.f32s(&narrow(&start.weights)),
            slots: [0, 1].map(|i| gpu.f32s(&narrow(&start.slots[i]))),
            gradient: gpu.room(4 * PARAMETERS),
            direction: gpu.f32s(&narrow(&start.direction)),
            partials: gpu.room(16),
            offset: gpu.u32s(&[0; 2]),
            row_losses: gpu.f32s(&[1.0; BATCH as usize]),
            parameters: PARAMETERS as u64,
            beta,
            width: 1,
            loss: 2,
            weight_sum: 1.0,
            optimizer: rule.0,
            constants: rule.1,
            weight_decay: DECAY,
            l1: L1,
            ..Model::default()
        };
        // The last step has fewer rows.
        let (row_count, steps) = (BATCH * STEPS as u32 - 2, STEPS as u32);
        let (rates, losses) = (gpu.put(&rates), gpu.u32s(&[0; 2 * (STEPS + 1)]));
        let run = Run { rates, losses, row_count, steps, batch: BATCH, ..Run::default() };
        let mut job = Job { models: vec![model], runs: vec![run], ..Job::default() };
        job.parts(0, 2);
        Arena { gpu, job }
    }

    /// Makes a step with that gradient.
    fn step(&mut self, tick: usize, gradient: &[f32]) {
        self.job.models[0].gradient = self.gpu.f32s(gradient);
        self.gpu.launch("turn", &self.job, tick as u32);
        self.gpu.launch("update", &self.job, tick as u32);
        let one = Job { tiles: self.job.tiles[..1].to_vec(), ..self.job.clone() };
        self.gpu.launch("finish", &one, tick as u32);
    }

    fn vector(&self, at: Address) -> Vec<f32> {
        self.gpu.read_f32s(at, PARAMETERS)
    }

    fn offset(&self) -> f64 {
        let words = self.gpu.read_u32s(self.job.models[0].offset, 2);
        f64::from_bits(u64::from(words[0]) | u64::from(words[1]) << 32)
    }
}

/// Weights, state, direction and what is added to the rate, step by step; with a large factor the rate falls to 0 and
/// comes back from there.
#[test]
fn a_rate_that_adapts_follows_the_formulas() {
    for rule in RULES {
        for (beta, falls) in [(2e-6, false), (1e-3, true)] {
            let random = &mut Random::new(11);
            let first = random.units(PARAMETERS);
            // The first direction opposes the first gradient, those after it agree with theirs.
            let mut exact = Exact {
                weights: wide(&random.units(PARAMETERS)),
                slots: [vec![0.0; PARAMETERS], vec![0.0; PARAMETERS]],
                direction: wide(&first).iter().map(|x| if falls { -x } else { *x }).collect(),
                offset: 0.0,
            };
            let mut arena = Arena::new(rule, beta, &exact, 5);
            for tick in 0..STEPS {
                let gradient: Vec<f32> = first.iter().map(|g| g * (1.0 + 0.1 * tick as f32)).collect();
                arena.step(tick, &gradient);
                exact.step(rule, rate(tick), beta, &wide(&gradient));
                let name = format!("optimizer {}, factor {beta}, step {tick}", rule.0);
                let model = arena.job.models[0];
                let off = (arena.offset() - exact.offset).abs() / exact.offset.abs();
                assert!(off < 1e-5, "{name}: {} is added, not {}", arena.offset(), exact.offset);
                close(&format!("{name}: direction"), &arena.vector(model.direction), &exact.direction, 1e-5);
                close(&format!("{name}: weights"), &arena.vector(model.weights), &exact.weights, 1e-5);
                if tick == 0 && falls {
                    assert_eq!(exact.offset, -f64::from(rate(0).rate), "the rate has not fallen to 0");
                }
            }
        }
    }
}

/// State that becomes subnormal is 0, as on the CPU.
#[test]
fn subnormal_state_is_zero() {
    for optimizer in [1, 3] {
        let (zeros, tiny) = (vec![0.0; PARAMETERS], vec![2e-38; PARAMETERS]);
        let start = Exact { weights: zeros.clone(), slots: [tiny.clone(), tiny], direction: zeros, offset: 0.0 };
        // All of them keep 0.4 of it at the most.
        let mut arena = Arena::new((optimizer, [0.4, 0.6, 0.6, 1e-3]), 1e-9, &start, 2);
        arena.step(0, &vec![0.0; PARAMETERS]);
        let slots = arena.job.models[0].slots;
        for &slot in &slots[..if optimizer == 1 { 1 } else { 2 }] {
            assert!(arena.vector(slot).iter().all(|x| *x == 0.0), "optimizer {optimizer}");
        }
    }
}

/// A model whose run is over changes nothing while others go on, where its last batch was a smaller one too.
#[test]
fn what_has_no_such_step_changes_nothing() {
    let random = &mut Random::new(3);
    let [weights, first, second, direction] = [(); 4].map(|()| wide(&random.units(PARAMETERS)));
    let start = Exact { weights, slots: [first, second.iter().map(|x| x * x).collect()], direction, offset: 0.0 };
    let mut arena = Arena::new(RULES[3], 1e-6, &start, 4);
    let all = |arena: &Arena| {
        let model = &arena.job.models[0];
        let vectors = [model.weights, model.slots[0], model.slots[1], model.direction].map(|at| arena.vector(at));
        (vectors, arena.offset(), arena.gpu.read_u32s(arena.job.runs[0].losses, 2 * (STEPS + 1)))
    };
    let before = all(&arena);
    for tick in [STEPS, STEPS + 1] {
        arena.step(tick, &random.units(PARAMETERS));
        assert!(all(&arena) == before, "step {tick} of {STEPS}");
    }
    arena.step(STEPS - 1, &random.units(PARAMETERS));
    assert!(all(&arena) != before);
}
