//! Losses on hard numbers, and what the compiler makes of the tables.

use crate::harness::{Gpu, Job, Random, close, wide};
use hpt_engine::backend::cuda::descriptor::{COLUMNS, Layer, Model, ROWS, Rate, Run, Tables, Tile};
use hpt_kernels::loss::PointwiseLoss;
use hpt_kernels::reference::loss::{SoftmaxRow, pointwise, softmax, softmax_cross_entropy};

/// The structs of `descriptor.cuh`, as the CUDA compiler laid them out, are those of `descriptor.rs`.
#[test]
fn tables_are_laid_out_alike_on_both_sides() {
    let expected: Vec<u32> = [Model::LAYOUT, Layer::LAYOUT, Rate::LAYOUT, Run::LAYOUT, Tile::LAYOUT, Tables::LAYOUT]
        .concat()
        .into_iter()
        .map(|offset| offset as u32)
        .collect();
    let gpu = &mut Gpu::simt(0);
    let tick = gpu.room(4 * expected.len());
    gpu.start("layout", 1, 0, Tables { tick, ..Tables::default() }).unwrap();
    assert_eq!(gpu.read_u32s(tick, expected.len()), expected);
}

struct Batch {
    loss: u32,
    rows: usize,
    width: usize,
    logits: Vec<f32>,
    smoothing: f32,
    weights: Option<Vec<f32>>,
}

/// Row losses and what stands in the outputs, after `loss` or `link`.
fn rows(kernel: &str, batch: &Batch, seed: u64) -> (Vec<f32>, Vec<f32>, Vec<f64>, Vec<f64>) {
    let &Batch { loss, rows, width, smoothing, .. } = batch;
    let random = &mut Random::new(7);
    let gpu = &mut Gpu::simt(seed);
    let labels: Vec<u32> = (0..2 * rows).map(|_| random.below(width) as u32).collect();
    let values: Vec<f32> = (0..2 * rows * width).map(|_| random.below(2) as f32).collect();
    let (outputs, row_losses, row_hits) = (gpu.f32s(&batch.logits), gpu.room(4 * rows), gpu.room(4 * rows));
    let model = Model {
        targets: if loss == 0 { gpu.u32s(&labels) } else { gpu.f32s(&values) },
        class_weights: batch.weights.as_ref().map_or(0, |w| gpu.f32s(w)),
        outputs,
        row_losses,
        row_hits,
        width: width as u32,
        loss,
        delta: 0.7,
        smoothing,
        weight_sum: batch.weights.as_ref().map_or(width as f32, |w| w.iter().sum()),
        ..Model::default()
    };
    // The second of two steps: rows `rows..2·rows` of the dataset, except that link's outputs advance too.
    let first = if kernel == "link" { 0 } else { rows };
    let numbers: Vec<u32> = (0..2 * rows as u32).collect();
    let numbers = if kernel == "link" { 0 } else { gpu.u32s(&numbers) };
    let run = Run { rows: numbers, row_count: 2 * rows as u32, steps: 2, batch: rows as u32, ..Run::default() };
    let mut job = Job { models: vec![model], runs: vec![run], ..Job::default() };
    job.parts(0, rows.div_ceil(ROWS));
    gpu.launch(kernel, &job, u32::from(kernel != "link"));
    if kernel == "link" {
        let targets = if loss == 0 { labels.iter().map(|&l| l as f32).collect() } else { values.clone() };
        rows_that_are_right(gpu, &job, loss, &targets);
    }
    let class_weights: Option<Vec<f64>> = batch.weights.as_ref().map(|w| wide(w));
    let (mut losses, mut outcome, mut scale) = (vec![], vec![], 0.0);
    for (r, logits) in batch.logits.chunks(width).enumerate() {
        let (logits, label) = (wide(logits), labels[first + r] as usize);
        if loss == 0 {
            let smoothing = f64::from(smoothing);
            let row = SoftmaxRow { logits: &logits, label, smoothing, class_weights: class_weights.as_deref() };
            let (value, slope) = softmax_cross_entropy(row);
            losses.push(value);
            outcome.extend(if kernel == "link" { softmax(&logits) } else { slope });
            scale += class_weights.as_ref().map_or(1.0, |w| w[label]);
        } else {
            let kind =
                [PointwiseLoss::BinaryCrossEntropy, PointwiseLoss::MeanSquared, PointwiseLoss::Huber { delta: 0.7 }];
            let targets = &values[(first + r) * width..][..width];
            let of = |(c, (&x, &t)): (usize, (&f64, &f32))| {
                pointwise(kind[loss as usize - 1], x, f64::from(t), class_weights.as_ref().map_or(1.0, |w| w[c]))
            };
            let row: Vec<_> = logits.iter().zip(targets).enumerate().map(of).collect();
            losses.push(row.iter().map(|r| r.0).sum());
            let linked = logits.iter().map(|x| if loss == 1 { 1.0 / (1.0 + (-x).exp()) } else { *x });
            outcome.extend(if kernel == "link" {
                linked.collect::<Vec<_>>()
            } else {
                row.iter().map(|r| r.1).collect()
            });
            scale += width as f64;
        }
    }
    if kernel == "loss" {
        outcome.iter_mut().for_each(|x| *x /= scale);
    }
    (gpu.read_f32s(row_losses, rows), gpu.read_f32s(outputs, rows * width), losses, outcome)
}

/// Each row's hit is what the outputs that the kernel left say, and `total` and `count` sum up.
fn rows_that_are_right(gpu: &mut Gpu, job: &Job, loss: u32, targets: &[f32]) {
    let (model, mut job) = (job.models[0], job.clone());
    let (width, batch) = (model.width as usize, job.runs[0].batch as usize);
    let outputs = gpu.read_f32s(model.outputs, batch * width);
    let right = |(row, outputs): (usize, &[f32])| match loss {
        0 => {
            let class = (0..width).rfold(width - 1, |best, c| if outputs[c] >= outputs[best] { c } else { best });
            (class as u32) << 1 | u32::from(class as f32 == targets[row])
        }
        1 => u32::from(outputs.iter().zip(&targets[row * width..]).all(|(p, t)| (*p > 0.5) == (*t > 0.5))),
        _ => 0,
    };
    let expected: Vec<u32> = outputs.chunks(width).enumerate().map(right).collect();
    assert_eq!(gpu.read_u32s(model.row_hits, batch), expected, "loss {loss}, {batch}×{width}");
    let sums = gpu.room(4 * 8);
    job.runs[0].losses = sums;
    job.tiles.truncate(1);
    gpu.launch("total", &job, 0);
    assert_eq!(read_f64s(gpu, sums + 8, 1)[0], f64::from(expected.iter().map(|hit| hit & 1).sum::<u32>()));
    job.models[0].partials = gpu.room(32 * width);
    job.tiles.clear();
    job.parts(0, width.div_ceil(COLUMNS));
    gpu.launch("count", &job, 0);
    let found = read_f64s(gpu, job.models[0].partials, 4 * width);
    let classes: Vec<u32> = expected.iter().map(|hit| hit >> 1).collect();
    for (c, found) in found.chunks(4).enumerate() {
        let exact = column_sums(loss, c, width, &outputs, targets, &classes);
        for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
            let off = (found - exact).abs();
            assert!(
                off <= 1e-15 * batch as f64 * exact.abs(),
                "loss {loss}, column {c}, sum {i}: {found}, not {exact}"
            );
        }
    }
}

fn read_f64s(gpu: &Gpu, at: u64, n: usize) -> Vec<f64> {
    let words = gpu.read_u32s(at, 2 * n);
    words.chunks_exact(2).map(|two| f64::from_bits(u64::from(two[0]) | u64::from(two[1]) << 32)).collect()
}

/// The four sums of a column, by the definitions of `Tally`.
fn column_sums(loss: u32, c: usize, width: usize, outputs: &[f32], targets: &[f32], classes: &[u32]) -> [f64; 4] {
    let mut sums = [0.0; 4];
    let least = f64::from(f32::EPSILON);
    let surprise = |p: f64| -p.clamp(least, 1.0 - least).ln();
    let one = |it: bool| f64::from(u8::from(it));
    for (r, row) in outputs.chunks(width).enumerate() {
        let x = f64::from(row[c]);
        let of_row = match loss {
            0 => {
                let (said, is) = (classes[r] as usize == c, targets[r] == c as f32);
                [one(said && is), one(said), one(is), if is { surprise(x) } else { 0.0 }]
            }
            1 => {
                let (said, is) = (x > 0.5, targets[r * width + c] > 0.5);
                [one(said && is), one(said), one(is), surprise(if is { x } else { 1.0 - x })]
            }
            _ => {
                let d = x - f64::from(targets[r * width + c]);
                [d * d, d.abs(), 0.0, 0.0]
            }
        };
        sums.iter_mut().zip(of_row).for_each(|(sum, x)| *sum += x);
    }
    sums
}

/// Probabilities at both ends, where logarithms are cut, and between.
#[test]
fn logarithms_of_probabilities_are_those_of_the_host() {
    let random = &mut Random::new(3);
    for loss in 0..2 {
        for scale in [1e-3, 1.0, 12.0, 200.0] {
            for width in [2, 8, 9] {
                let logits = (0..97 * width).map(|_| scale * random.unit()).collect();
                rows("link", &Batch { loss, rows: 97, width, logits, smoothing: 0.0, weights: None }, 5);
            }
        }
    }
}

#[test]
fn losses_follow_the_oracle() {
    let random = &mut Random::new(1);
    for (loss, count, width) in [(0, 65, 7), (0, 3, 1000), (0, 1, 2), (1, 70, 1), (1, 5, 33), (2, 64, 3), (3, 9, 40)] {
        for weighted in [false, true] {
            let weights = (weighted && loss < 2).then(|| (0..width).map(|_| 1.5 + random.unit()).collect());
            let logits = (0..count * width).map(|_| 4.0 * random.unit()).collect();
            let smoothing = if weighted { 0.1 } else { 0.0 };
            let batch = Batch { loss, rows: count, width, logits, smoothing, weights };
            for kernel in ["loss", "link"] {
                let (losses, outputs, expected_losses, expected) = rows(kernel, &batch, 3);
                close(&format!("{kernel} {loss} losses"), &losses, &expected_losses, 2e-6);
                close(&format!("{kernel} {loss} {count}×{width}"), &outputs, &expected, 2e-6);
            }
        }
    }
}

/// Large logits neither overflow nor vanish; what is not finite shows in the loss.
#[test]
fn losses_of_extreme_outputs() {
    for loss in 0..2 {
        let batch = |logits: [f32; 4]| Batch {
            loss,
            rows: 2,
            width: 2,
            logits: logits.to_vec(),
            smoothing: 0.0,
            weights: None,
        };
        let (losses, outputs, expected, slopes) = rows("loss", &batch([1e4, -1e4, 3e38, 0.0]), 1);
        for (x, e) in losses.iter().zip(expected).chain(outputs.iter().zip(slopes)) {
            assert!((f64::from(*x) - e).abs() <= 1e-5 * e.abs(), "{loss}: {x}, not {e}");
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (losses, ..) = rows("loss", &batch([bad, 0.0, 1.0, bad]), 1);
            assert!(losses.iter().all(|x| !x.is_finite()), "{loss}, {bad}: {losses:?}");
        }
    }
}
