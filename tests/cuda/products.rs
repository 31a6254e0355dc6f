//! forward, backward and learn in every tile shape, around the edges of tiles, with everything that their epilogues do.

use crate::harness::{
    BF16, F32, GROUP, GROUP_TF32, GROUP_TF32X3, Gpu, Job, Method, Random, SHAPES, TF32, TF32X3, close, wide,
};
use hpt_engine::backend::cuda::descriptor::{Layer, Model, Rate, Run, flags};
use hpt_kernels::activation::Activation;
use hpt_kernels::dropout::Dropout;
use hpt_kernels::philox::Key;
use hpt_kernels::reference::{View, activation, column_sums, dropout_factor, gemm};

const KEY: Key = Key([0x1234_5678, 0x9abc_def0]);
const STEP: u64 = 0x1_0000_0007;
const PURPOSE: u32 = 0x0600_0002;

/// m, n, k around the sizes of tiles, of warps' parts and of the steps through k.
const EDGES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [64, 64, 8],
    [63, 65, 7],
    [65, 63, 9],
    [129, 17, 16],
    [128, 128, 24],
    [5, 131, 33],
    [130, 10, 64],
    [97, 4, 100],
];

fn dropout(probability: f32, width: usize) -> Option<Dropout> {
    let of = Dropout { key: KEY, step: STEP, purpose: PURPOSE, probability, row: 0, col: 0, width };
    (probability > 0.0).then_some(of)
}

fn model() -> Model {
    Model { key: KEY.0, scale: 1.0, layers: 1, ..Model::default() }
}

/// The second of two steps of `m` rows each but that the second may have fewer than the batch.
fn run(rows: u64, batch: usize, m: usize) -> Run {
    let (row_count, batch) = ((batch + m) as u32, batch as u32);
    Run { rows, first_step: STEP - 1, row_count, steps: 2, batch, ..Run::default() }
}

/// What layers read.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Matrix,
    Floats,
    Bytes,
}

/// The batch as the oracle sees it, and the fields that lead a kernel to it.
fn input(gpu: &mut Gpu, random: &mut Random, source: Source, [m, k]: [usize; 2], job: &mut Job) -> Vec<f64> {
    let batch = m + 3;
    job.runs = vec![run(0, batch, m)];
    if source == Source::Matrix {
        let x = random.units(m * k);
        job.layers[0].x = gpu.f32s(&x);
        return wide(&x);
    }
    let rows = 2 * m + 5;
    let numbers: Vec<u32> = (0..batch + m).map(|_| random.below(rows) as u32).collect();
    job.runs[0].rows = gpu.u32s(&numbers);
    let values: Vec<f64> = if source == Source::Bytes {
        let bytes: Vec<u8> = (0..rows * k).map(|_| random.word() as u8).collect();
        (job.models[0].bytes, job.models[0].scale) = (1, 1.0 / 255.0);
        job.models[0].features = gpu.bytes(&bytes);
        bytes.iter().map(|&b| f64::from(b) * f64::from(1.0f32 / 255.0)).collect()
    } else {
        let values = random.units(rows * k);
        job.models[0].features = gpu.f32s(&values);
        wide(&values)
    };
    numbers[batch..].iter().flat_map(|&row| values[row as usize * k..][..k].to_vec()).collect()
}

fn forward(method: Method, shape: usize, [m, n, k]: [usize; 3], source: Source, which: Activation, probability: f32) {
    let random = &mut Random::new((m * 1000 + n * 10 + k) as u64);
    let gpu = &mut Gpu::of(method, shape as u64);
    let mut job = Job { models: vec![model()], layers: vec![Layer::default()], ..Job::default() };
    let x = input(gpu, random, source, [m, k], &mut job);
    let weights = random.units(k * n + n);
    let (y, z) = (gpu.room(4 * m * n), gpu.room(4 * m * n));
    let residual = source == Source::Matrix && n == k;
    let drop = dropout(probability, n);
    let layer = &mut job.layers[0];
    *layer = Layer {
        y,
        z: if which.derivative_needs_z() { z } else { 0 },
        weights: gpu.f32s(&weights),
        inputs: k as u32,
        outputs: n as u32,
        activation: Activation::ALL.iter().position(|a| *a == which).unwrap() as u32,
        threshold: drop.map_or(0, |d| d.threshold()),
        kept: drop.map_or(1.0, |d| d.scale()),
        purpose: PURPOSE,
        flags: if residual { flags::RESIDUAL } else { 0 },
        ..*layer
    };
    job.tile(0, [m, n], &method.tiles(shape));
    let kernel = format!("forward_{}{}", method.0, SHAPES[shape].0);
    gpu.launch(&kernel, &job, 1);
    let weights = wide(&weights);
    let mut expected = gemm(View::row_major(&x, m, k), View::row_major(&weights[..k * n], k, n));
    expected.iter_mut().enumerate().for_each(|(i, z)| *z += weights[k * n + i % n]);
    let what = format!("{kernel} {m}×{n}×{k} {}", which.name());
    if which.derivative_needs_z() {
        close(&what, &gpu.read_f32s(z, m * n), &expected, method.1);
    }
    let factor = |i: usize| drop.map_or(1.0, |d| dropout_factor(&d, i / n, i % n));
    let skip = |i: usize| if residual { x[i] } else { 0.0 };
    let of = |(i, &z): (usize, &f64)| activation::forward(which, z) * factor(i) + skip(i);
    let expected: Vec<f64> = expected.iter().enumerate().map(of).collect();
    close(&what, &gpu.read_f32s(y, m * n), &expected, method.1);
}

#[test]
fn forward_at_the_edges_of_tiles() {
    for shape in 0..3 {
        for (i, mnk) in EDGES.into_iter().enumerate() {
            let source = [Source::Matrix, Source::Floats, Source::Bytes][i % 3];
            forward(F32, shape, mnk, source, Activation::Relu, 0.0);
        }
    }
    forward(F32, 0, [70, 33, 40], Source::Bytes, Activation::Identity, 0.5);
    forward(F32, 1, [3, 200, 20], Source::Floats, Activation::Tanh, 0.3);
    forward(F32, 2, [3, 50, 21], Source::Floats, Activation::Relu, 0.7);
    forward(F32, 0, [20, 20, 20], Source::Matrix, Activation::Gelu, 0.2);
}

#[test]
fn forward_with_every_activation() {
    for (i, &which) in Activation::ALL.iter().enumerate() {
        forward(F32, i % 3, [9, 21, 5], Source::Matrix, which, 0.25);
    }
}

fn backward(
    method: Method,
    shape: usize,
    [m, n, k]: [usize; 3],
    which: Activation,
    probability: f32,
    residual: [bool; 2],
) {
    let random = &mut Random::new((m * 1000 + n * 10 + k) as u64);
    let gpu = &mut Gpu::of(method, shape as u64 + 10);
    // The layer has n inputs and k outputs; the one before has n outputs.
    let (dz, weights) = (random.units(m * k), random.units(n * k + k));
    let (z, dy) = (random.units(m * n), random.units(m * n));
    let drop = dropout(probability, n);
    let factor = |i: usize| drop.map_or(1.0, |d| dropout_factor(&d, i / n, i % n));
    let by_output = which == Activation::Relu && !residual[0];
    let output: Vec<f32> =
        (0..m * n).map(|i| (activation::forward(which, f64::from(z[i])) * factor(i)) as f32).collect();
    let (kept_dy, result) = (gpu.room(4 * m * n), gpu.room(4 * m * n));
    let before = Layer {
        z: if which.derivative_needs_z() || residual[0] { gpu.f32s(&z) } else { 0 },
        dz: result,
        dy: kept_dy,
        outputs: n as u32,
        activation: Activation::ALL.iter().position(|a| *a == which).unwrap() as u32,
        threshold: drop.map_or(0, |d| d.threshold()),
        kept: drop.map_or(1.0, |d| d.scale()),
        purpose: PURPOSE,
        flags: u32::from(residual[0]) * flags::RESIDUAL,
        ..Layer::default()
    };
    let layer = Layer {
        x: if by_output { gpu.f32s(&output) } else { 0 },
        dz: gpu.f32s(&dz),
        dy: gpu.f32s(&dy),
        weights: gpu.f32s(&weights),
        inputs: n as u32,
        outputs: k as u32,
        flags: u32::from(residual[1]) * flags::RESIDUAL,
        ..Layer::default()
    };
    let mut job = Job { models: vec![model()], layers: vec![before, layer], runs: vec![run(0, m, m)], tiles: vec![] };
    job.tile(1, [m, n], &method.tiles(shape));
    let kernel = format!("backward_{}{}", method.0, SHAPES[shape].0);
    gpu.launch(&kernel, &job, 1);
    let (dz, weights) = (wide(&dz), wide(&weights[..n * k]));
    let mut expected = gemm(View::row_major(&dz, m, k), View::row_major(&weights, n, k).t());
    let what = format!("{kernel} {m}×{n}×{k} {}", which.name());
    if residual[1] {
        expected.iter_mut().zip(&dy).for_each(|(d, &dy)| *d += f64::from(dy));
    }
    if residual[0] {
        close(&what, &gpu.read_f32s(kept_dy, m * n), &expected, method.1);
    }
    let of = |(i, d): (usize, &f64)| d * factor(i) * activation::derivative(which, f64::from(z[i]));
    let expected: Vec<f64> = expected.iter().enumerate().map(of).collect();
    close(&what, &gpu.read_f32s(result, m * n), &expected, method.1);
}

#[test]
fn backward_at_the_edges_of_tiles() {
    for shape in 0..3 {
        for mnk in EDGES {
            backward(F32, shape, mnk, Activation::Relu, 0.0, [false, false]);
        }
    }
    backward(F32, 0, [70, 33, 40], Activation::Relu, 0.5, [false, false]);
    backward(F32, 1, [3, 200, 20], Activation::Relu, 0.3, [true, false]);
    backward(F32, 2, [3, 50, 21], Activation::Identity, 0.7, [false, true]);
}

#[test]
fn backward_with_every_activation() {
    for (i, &which) in Activation::ALL.iter().enumerate() {
        backward(F32, i % 3, [9, 21, 5], which, 0.25, [i % 2 == 0, i % 4 < 2]);
    }
}

/// dW and db by the optimizer SGD with rate 1 from weights of 0, or into the gradient.
fn learn(method: Method, shape: usize, [m, n, k]: [usize; 3], source: Source, into_gradient: bool) {
    let random = &mut Random::new((m * 1000 + n * 10 + k) as u64);
    let gpu = &mut Gpu::of(method, shape as u64 + 20);
    let mut job = Job { models: vec![model()], layers: vec![Layer::default()], ..Job::default() };
    let x = input(gpu, random, source, [k, m], &mut job);
    let dz = random.units(k * n);
    let out = if into_gradient { gpu.room(4 * (m * n + n)) } else { gpu.f32s(&vec![0.0; m * n + n]) };
    let rates = [Rate::default(), Rate { rate: 1.0, ..Rate::default() }];
    job.runs[0].rates = gpu.put(&rates);
    let layer = &mut job.layers[0];
    (layer.dz, layer.inputs, layer.outputs) = (gpu.f32s(&dz), m as u32, n as u32);
    (layer.weights, layer.gradient) = if into_gradient { (0, out) } else { (out, 0) };
    job.tile(0, [m, n], &method.tiles(shape));
    let kernel = format!("learn_{}{}", method.0, SHAPES[shape].0);
    gpu.launch(&kernel, &job, 1);
    let sign = if into_gradient { 1.0 } else { -1.0 };
    let dz = wide(&dz);
    let mut expected = gemm(View::row_major(&x, k, m).t(), View::row_major(&dz, k, n));
    expected.extend(column_sums(View::row_major(&dz, k, n)));
    expected.iter_mut().for_each(|g| *g *= sign);
    let what = format!("{kernel} {m}×{n}×{k}");
    close(&what, &gpu.read_f32s(out, m * n + n), &expected, method.1);
}

#[test]
fn learn_at_the_edges_of_tiles() {
    for shape in 0..3 {
        for (i, mnk) in EDGES.into_iter().enumerate() {
            let source = [Source::Bytes, Source::Matrix, Source::Floats][i % 3];
            learn(F32, shape, mnk, source, i % 2 == 0);
        }
    }
}

/// One output's bits depend on nothing but its own row and column: not on the shape of the tile.
#[test]
fn tile_shapes_give_the_same_bits() {
    let [m, n, k] = [70, 40, 37];
    let random = &mut Random::new(5);
    let (x, weights) = (random.units(m * k), random.units(k * n + n));
    let bits = |shape: usize, seed: u64| {
        let gpu = &mut Gpu::simt(seed);
        let y = gpu.room(4 * m * n);
        let (x, weights) = (gpu.f32s(&x), gpu.f32s(&weights));
        let layer =
            Layer { x, y, weights, inputs: k as u32, outputs: n as u32, activation: 5, kept: 1.0, ..Layer::default() };
        let mut job = Job { models: vec![model()], layers: vec![layer], runs: vec![run(0, m, m)], tiles: vec![] };
        job.tile(0, [m, n], &SHAPES[shape]);
        gpu.launch(&format!("forward_{}", SHAPES[shape].0), &job, 1);
        gpu.read_u32s(y, m * n)
    };
    let first = bits(0, 1);
    assert_eq!(first, bits(1, 2));
    assert_eq!(first, bits(2, 3));
    assert_eq!(first, bits(0, 4));
}

/// A step that a model does not have, and rows beyond the batch's, change nothing.
#[test]
fn models_that_are_through_are_left_alone() {
    let gpu = &mut Gpu::simt(1);
    let weights = gpu.f32s(&[1.0; 6]);
    let (dz, x) = (gpu.f32s(&[1.0; 4]), gpu.f32s(&[1.0; 4]));
    let layer = Layer { x, dz, y: dz, weights, inputs: 2, outputs: 2, ..Layer::default() };
    let mut job = Job { models: vec![model()], layers: vec![layer], runs: vec![run(0, 2, 2)], tiles: vec![] };
    job.tile(0, [64, 64], &SHAPES[0]);
    for kernel in ["forward_s", "learn_s"] {
        gpu.launch(kernel, &job, 2);
    }
    job.tiles[0].place = 1;
    gpu.launch("forward_s", &job, 1);
    assert_eq!(gpu.read_f32s(weights, 6), [1.0; 6]);
    assert_eq!(gpu.read_f32s(dz, 4), [1.0; 4]);
}

#[test]
fn tensor_cores_at_the_edges_of_tiles() {
    for method in [TF32, TF32X3, BF16] {
        for shape in 0..3 {
            for (i, mnk) in EDGES.into_iter().enumerate() {
                let source = [Source::Matrix, Source::Floats, Source::Bytes][i % 3];
                forward(method, shape, mnk, source, Activation::Identity, 0.0);
                backward(method, shape, mnk, Activation::Identity, 0.0, [false, false]);
                learn(method, shape, mnk, source, i % 2 == 0);
            }
        }
    }
    forward(TF32X3, 1, [33, 40, 68], Source::Matrix, Activation::Gelu, 0.3);
    backward(TF32X3, 0, [33, 40, 68], Activation::Tanh, 0.3, [true, true]);
}

/// m, n, k around the tiles of warpgroups and their steps through k.
const GROUP_EDGES: [[usize; 3]; 8] = [
    [1, 1, 1],
    [128, 256, 32],
    [127, 257, 31],
    [129, 255, 33],
    [60, 300, 48],
    [130, 12, 64],
    [97, 4, 100],
    [64, 132, 17],
];

#[test]
fn warpgroups_at_the_edges_of_tiles() {
    for (method, shape) in [(GROUP_TF32, GROUP), (GROUP_TF32X3, GROUP)] {
        for (i, mnk) in GROUP_EDGES.into_iter().enumerate() {
            let source = [Source::Matrix, Source::Floats, Source::Bytes][i % 3];
            forward(method, shape, mnk, source, Activation::Identity, 0.0);
            backward(method, shape, mnk, Activation::Identity, 0.0, [false, false]);
            learn(method, shape, mnk, source, i % 2 == 0);
        }
        forward(method, shape, [33, 68, 68], Source::Matrix, Activation::Gelu, 0.3);
        backward(method, shape, [33, 40, 68], Activation::Tanh, 0.3, [true, true]);
        learn(method, shape, [132, 260, 40], Source::Matrix, false);
    }
}

/// Sums of numbers of one sign: cutting digits off instead of rounding, of operands or of sums, would show here.
#[test]
fn tensor_cores_are_not_biased() {
    let [m, n, k] = [64, 64, 1024];
    let random = &mut Random::new(3);
    let mut positive = |n: usize| random.units(n).into_iter().map(f32::abs).collect::<Vec<_>>();
    let (x, mut weights) = (positive(m * k), positive(k * n));
    weights.extend(vec![0.0; n]);
    let wide_weights = wide(&weights);
    let expected = gemm(View::row_major(&wide(&x), m, k), View::row_major(&wide_weights[..k * n], k, n));
    for (method, tolerance) in [(BF16, 5e-4), (TF32, 1e-4), (TF32X3, 1e-6), (GROUP_TF32, 1e-4), (GROUP_TF32X3, 1e-6)] {
        let gpu = &mut Gpu::of(method, 0);
        let y = gpu.room(4 * m * n);
        let (x, weights) = (gpu.f32s(&x), gpu.f32s(&weights));
        let layer = Layer { x, y, weights, inputs: k as u32, outputs: n as u32, kept: 1.0, ..Layer::default() };
        let mut job = Job { models: vec![model()], layers: vec![layer], runs: vec![run(0, m, m)], tiles: vec![] };
        let tiles = method.tiles(method.shape());
        job.tile(0, [m, n], &tiles);
        gpu.launch(&format!("forward_{}{}", method.0, tiles.0), &job, 1);
        let got = gpu.read_f32s(y, m * n);
        close(&format!("{method:?}"), &got, &expected, tolerance);
        let bias = got.iter().zip(&expected).map(|(&y, e)| f64::from(y) / e - 1.0).sum::<f64>() / (m * n) as f64;
        assert!(bias.abs() < 0.3 * tolerance, "{method:?}: biased by {bias}");
    }
}

/// Seven models of different shapes and a model alone: the same bits.
#[test]
fn companions_change_no_bits() {
    for (method, seeds) in
        [(F32, [1, 2]), (TF32X3, [0, 3]), (TF32, [0, 6]), (BF16, [0, 3]), (GROUP_TF32X3, [0, 1]), (GROUP_TF32, [0, 1])]
    {
        let shapes: Vec<[usize; 3]> = EDGES[..7].to_vec();
        let alone: Vec<Vec<u32>> = shapes.iter().map(|&shape| together(method, &[shape], seeds[0]).remove(0)).collect();
        assert!(alone == together(method, &shapes, seeds[1]), "{method:?}");
    }
}

/// y of several models, whose numbers depend on their shapes alone.
fn together(method: Method, shapes: &[[usize; 3]], seed: u64) -> Vec<Vec<u32>> {
    let gpu = &mut Gpu::of(method, seed);
    let mut job = Job::default();
    for (i, &[m, n, k]) in shapes.iter().enumerate() {
        let random = &mut Random::new((m * n * k) as u64);
        let layer = Layer {
            x: gpu.f32s(&random.units(m * k)),
            y: gpu.room(4 * m * n),
            weights: gpu.f32s(&random.units(k * n + n)),
            inputs: k as u32,
            outputs: n as u32,
            model: i as u32,
            activation: 6,
            threshold: 1 << 30,
            kept: 1.5,
            purpose: PURPOSE,
            ..Layer::default()
        };
        job.models.push(model());
        job.layers.push(layer);
        job.runs.push(run(0, m, m));
        job.tile(i, [m, n], &method.tiles(method.shape()));
    }
    gpu.launch(&format!("forward_{}{}", method.0, SHAPES[method.shape()].0), &job, 1);
    job.layers.iter().zip(shapes).map(|(layer, [m, n, _])| gpu.read_u32s(layer.y, m * n)).collect()
}

/// What a GPU would lose time by: conflicts in shared memory, scattered requests to global memory.
#[test]
fn memory_is_used_well() {
    let [m, n, k] = [128, 256, 128];
    let random = &mut Random::new(4);
    let (x, weights, dz) = (random.units(m * k), random.units(k * n + n), random.units(m * n));
    for (method, shapes) in
        [(F32, 0..2), (TF32, 0..2), (BF16, 0..2), (GROUP_TF32, GROUP..GROUP + 1), (GROUP_TF32X3, GROUP..GROUP + 1)]
    {
        for shape in shapes {
            let shape = &method.tiles(shape);
            for pass in ["forward", "backward", "learn"] {
                let gpu = &mut Gpu::of(method, 0);
                let layer = Layer {
                    x: gpu.f32s(&x),
                    y: gpu.room(4 * m * n),
                    dz: gpu.f32s(&dz),
                    weights: gpu.f32s(&weights),
                    gradient: gpu.room(4 * (k * n + n)),
                    inputs: k as u32,
                    outputs: n as u32,
                    kept: 1.0,
                    ..Layer::default()
                };
                let before = Layer { dz: gpu.room(4 * m * k), outputs: k as u32, ..layer };
                let mut run = run(0, m, m);
                run.rates = gpu.put(&[Rate::default(); 2]);
                let mut job =
                    Job { models: vec![model()], layers: vec![before, layer], runs: vec![run], tiles: vec![] };
                job.tile(1, [m, n], shape);
                let kernel = format!("{pass}_{}{}", method.0, shape.0);
                gpu.launch(&kernel, &job, 1);
                let c = gpu.counters;
                let conflicts = c.shared_conflicts as f64 / c.shared_requests as f64;
                assert!(conflicts < 0.5, "{kernel}: {conflicts} conflicts a request of shared memory");
                assert!(c.sectors_per_request() < 14.0, "{kernel}: {c:?}");
                assert_eq!((c.local_requests, c.float_atomics), (0, 0), "{kernel}");
            }
        }
    }
}
