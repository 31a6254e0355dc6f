//! `cargo bench --bench train [-- FILTER]`: whole training steps in samples a second, on one thread and on all cores,
//! and the share of the measured FMA peak that their products' arithmetic is.
//!
//! The data are random with the shapes of MNIST and Covertype; a rate is the median of several runs of steps.

#![allow(missing_docs)]

use hpt_engine::backend::{Backend, Cpu, Member, Run, UpdateRule, cores};
use hpt_engine::data::{Dataset, Features, Targets};
use hpt_engine::model::{Activation, Init, ModelSpec, Plan, initialise};
use hpt_engine::random::{Purpose, Stream};
use hpt_engine::train::TrainSpec;
use hpt_kernels::isa::{Isa, peak};
use std::sync::Arc;
use std::time::Instant;

struct Row {
    name: &'static str,
    inputs: usize,
    hidden: &'static [usize],
    classes: usize,
    batch: usize,
    dropout: f64,
}

const fn row(name: &'static str, inputs: usize, hidden: &'static [usize], classes: usize, batch: usize) -> Row {
    Row { name, inputs, hidden, classes, batch, dropout: 0.0 }
}

const ROWS: &[Row] = &[
    row("784-512-512-10", 784, &[512, 512], 10, 128),
    Row { dropout: 0.3, ..row("784-512-512-10 dropout 0.3", 784, &[512, 512], 10, 128) },
    row("784-448-10", 784, &[448], 10, 128),
    row("784-448-10", 784, &[448], 10, 32),
    row("784-64-64-10", 784, &[64, 64], 10, 32),
    row("784-64-64-10", 784, &[64, 64], 10, 128),
    row("54-256-256-7", 54, &[256, 256], 7, 256),
    row("784-2048-2048-2048-10", 784, &[2048, 2048, 2048], 10, 512),
];

/// Rows of the data: more than a cache holds.
const DATA: usize = 20_000;

fn data(row: &Row) -> Arc<Dataset> {
    let mut stream = Stream::new(1, 0, Purpose::Bootstrap, 0);
    let count = DATA * row.inputs;
    let features = match row.inputs {
        784 => Features::U8 { values: (0..count).map(|_| stream.below(256) as u8).collect(), scale: 1.0 / 255.0 },
        _ => Features::F32((0..count).map(|_| stream.uniform() as f32 * 2.0 - 1.0).collect()),
    };
    let labels = (0..DATA).map(|_| stream.below(row.classes as u64) as u32).collect();
    Arc::new(Dataset {
        rows: DATA,
        inputs: row.inputs,
        features,
        targets: Targets::Classes { labels, classes: row.classes },
    })
}

/// Samples a second: the median of 9 runs of some 50 ms.
fn rate(row: &Row, data: &Arc<Dataset>, threads: usize) -> f64 {
    let spec = TrainSpec::default();
    let plan = Plan::new(&ModelSpec::uniform(row.hidden, Activation::Relu, row.dropout), row.inputs, row.classes)
        .expect("the rows describe networks");
    let weights = initialise(&plan, Init::Torch, 1, 0);
    let cpu = Cpu::new(threads).expect("threads can be started");
    let update = UpdateRule { optimizer: spec.optimizer, weight_decay: 0.0, l1: 0.0, clip_norm: None };
    let criterion = spec.criterion(data).expect("the data have classes");
    let member = Member { plan: &plan, weights: &weights, batch_size: row.batch, criterion, update, seed: 1, slot: 0 };
    let mut cohort = cpu.begin(&[member]).expect("the CPU takes every model");
    let steps = ((5e9 / plan.step_flops(row.batch)) as usize).clamp(1, DATA / row.batch);
    let mut order: Vec<u32> = (0..DATA as u32).collect();
    Stream::new(1, 0, Purpose::Shuffle, 0).shuffle(&mut order);
    let (rates, mut losses) = (vec![1e-3f32; steps], vec![0.0; steps]);
    let mut seconds: Vec<f64> = (0..11)
        .map(|i| {
            let rows = &order[..steps * row.batch];
            let first_step = (i * steps) as u64;
            let run = Run { first_step, rows, batch_size: row.batch, rates: &rates, losses: &mut losses };
            let start = Instant::now();
            cpu.advance(&mut cohort, data, &mut [run]).expect("the CPU does not fail");
            start.elapsed().as_secs_f64()
        })
        .skip(2)
        .collect();
    seconds.sort_by(f64::total_cmp);
    (steps * row.batch) as f64 / seconds[seconds.len() / 2]
}

fn main() {
    let isa = match Isa::detect() {
        Ok(isa) => isa,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let peak = peak(isa);
    println!("{}: FMA peak {:.0} GFLOP/s a core; samples/s with Adam, medians of 9 runs", isa.name(), peak / 1e9);
    println!(
        "{:>28} {:>6} {:>12} {:>8} {:>12} {:>8} {:>6}",
        "network", "batch", "1 thread", "of peak", "all cores", "of peak", "ratio"
    );
    for row in ROWS {
        if !filter.is_empty() && !filter.iter().any(|f| row.name.contains(f.as_str())) {
            continue;
        }
        let data = data(row);
        let weights: usize = [&[row.inputs], row.hidden, &[row.classes]].concat().windows(2).map(|w| w[0] * w[1]).sum();
        let first = row.inputs * row.hidden.first().copied().unwrap_or(row.classes);
        // Forward, dW and, but for the first layer, dX.
        let flops = (6 * weights - 2 * first) as f64;
        let (one, all) = (rate(row, &data, 1), rate(row, &data, cores()));
        let share = |rate: f64, threads: usize| 100.0 * rate * flops / (peak * threads as f64);
        println!(
            "{:>28} {:>6} {:>12.0} {:>7.0}% {:>12.0} {:>7.0}% {:>6.2}",
            row.name,
            row.batch,
            one,
            share(one, 1),
            all,
            share(all, cores()),
            all / one
        );
    }
}
