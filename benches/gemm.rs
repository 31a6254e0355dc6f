//! `cargo bench --bench gemm [-- FILTER]`: the matrix product on one thread, in GFLOP/s, as a share of the measured
//! FMA peak of the instruction set (`HPT_ISA` chooses it), and beside `matrixmultiply` in the same run.
//!
//! Each row times ours and theirs alternately, A B A B, and prints the median and the best of each and their ratios (the
//! best is what a machine with other work to do still shows); operands are not zero, and where they are larger than a
//! cache, several copies are used in turn. `packed` multiplies by a B that was packed before the clock started.
//!
//! `-- high` or `-- medium` times the bf16 products of that precision beside the f32 ones instead (column `f32`),
//! on every shape, and prints with `*` where the choice by shape takes them.

#![allow(missing_docs)]

use hpt_kernels::epilogue::Epilogue;
use hpt_kernels::gemm::{Beta, Gemm, Method, Packed, Right, Scratch, gemm_by, pack, packed_len, panel_width};
use hpt_kernels::isa::{Isa, peak};
use hpt_kernels::matrix::{Matrix, MatrixMut};
use std::time::Instant;

/// The product of the three that a training step has.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Y = X·W
    Forward,
    /// The same with W packed before the clock starts.
    Packed,
    /// dW = Xᵀ·dZ, with X stored k × m
    Dw,
    /// dX = dZ·Wᵀ, with W stored n × k
    Dx,
}

const ROWS: &[(&str, Kind, usize, usize, usize)] = &[
    ("forward", Kind::Forward, 32, 54, 64),
    ("forward", Kind::Forward, 128, 54, 128),
    ("forward", Kind::Forward, 128, 784, 512),
    ("forward", Kind::Forward, 128, 512, 512),
    ("forward", Kind::Forward, 512, 784, 512),
    ("forward", Kind::Forward, 1024, 512, 512),
    ("forward", Kind::Forward, 256, 1024, 1024),
    ("forward", Kind::Forward, 512, 512, 512),
    ("forward", Kind::Forward, 2048, 2048, 2048),
    ("forward", Kind::Forward, 32, 784, 64),
    ("forward", Kind::Forward, 32, 784, 512),
    ("forward", Kind::Forward, 32, 64, 64),
    ("forward", Kind::Forward, 128, 512, 10),
    ("forward", Kind::Forward, 256, 256, 7),
    ("packed", Kind::Packed, 32, 54, 64),
    ("packed", Kind::Packed, 32, 64, 64),
    ("packed", Kind::Packed, 32, 784, 64),
    ("packed", Kind::Packed, 128, 54, 128),
    ("packed", Kind::Packed, 128, 512, 512),
    ("packed", Kind::Packed, 512, 512, 512),
    ("dW", Kind::Dw, 784, 128, 512),
    ("dW", Kind::Dw, 512, 128, 512),
    ("dW", Kind::Dw, 54, 256, 256),
    ("dW", Kind::Dw, 784, 32, 64),
    ("dW", Kind::Dw, 64, 32, 10),
    ("dW", Kind::Dw, 512, 128, 10),
    ("dX", Kind::Dx, 128, 512, 512),
    ("dX", Kind::Dx, 256, 256, 256),
    ("dX", Kind::Dx, 32, 64, 64),
    ("dX", Kind::Dx, 128, 10, 512),
    ("dX", Kind::Dx, 256, 7, 256),
];

/// Numbers in [−1, 1), none of them zero.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) | 1) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

struct Case {
    kind: Kind,
    m: usize,
    k: usize,
    n: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    packed: Vec<f32>,
    c: Vec<f32>,
}

impl Case {
    fn new(isa: Isa, kind: Kind, (m, k, n): (usize, usize, usize), seed: u64) -> Self {
        let (a, b, c) = (values(m * k, seed), values(k * n, seed + 1), vec![f32::NAN; m * n]);
        let mut packed = vec![0.0; packed_len(isa, k, n)];
        pack(isa, Matrix::row_major(&b, k, n), 0..n.div_ceil(panel_width(isa)), &mut packed);
        Case { kind, m, k, n, a, b, packed, c }
    }

    fn ours(&mut self, isa: Isa, method: Method, scratch: &mut Scratch) {
        let (m, k, n) = (self.m, self.k, self.n);
        let a = match self.kind {
            Kind::Dw => Matrix::row_major(&self.a, k, m).t(),
            _ => Matrix::row_major(&self.a, m, k),
        };
        let b = match self.kind {
            Kind::Packed => Right::Packed(Packed::new(isa, &self.packed, k, n)),
            Kind::Dx => Right::Strided(Matrix::row_major(&self.b, n, k).t()),
            _ => Right::Strided(Matrix::row_major(&self.b, k, n)),
        };
        let c = MatrixMut::row_major(&mut self.c, m, n);
        gemm_by(isa, method, Gemm { a, b, c, beta: Beta::Zero, epilogue: Epilogue::None }, scratch);
    }

    fn theirs(&mut self) {
        let (m, k, n) = (self.m, self.k, self.n);
        let (ra, ca) = if self.kind == Kind::Dw { (1, m as isize) } else { (k as isize, 1) };
        let (rb, cb) = if self.kind == Kind::Dx { (1, k as isize) } else { (n as isize, 1) };
        let (a, b, c) = (self.a.as_ptr(), self.b.as_ptr(), self.c.as_mut_ptr());
        // SAFETY: the strides are those of matrices that the vectors hold.
        unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, ra, ca, b, rb, cb, 0.0, c, n as isize, 1) };
    }
}

/// Seconds a call, over `calls` calls.
fn time(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let start = Instant::now();
    for i in 0..calls {
        call(i);
    }
    start.elapsed().as_secs_f64() / calls as f64
}

/// The median; the times are sorted.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let isa = match Isa::detect() {
        Ok(isa) => isa,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    let mut filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let method = match filter.first().map(String::as_str) {
        Some("high") => Method::Bf16x3,
        Some("medium") => Method::Bf16,
        _ => Method::F32,
    };
    if method != Method::F32 {
        filter.remove(0);
    }
    if !method.is_native(isa) {
        eprintln!("{} has no products of that precision", isa.name());
        std::process::exit(2);
    }
    let peak = peak(isa) / 1e9;
    println!("{}: FMA peak {peak:.0} GFLOP/s, one thread; medians of 21 rounds, GFLOP/s", isa.name());
    println!(
        "{:>8} {:>16} {:>15} {:>11} {:>15} {:>13}",
        "product",
        "m×k×n",
        "ours",
        "% of peak",
        if method == Method::F32 { "matrixmultiply" } else { "f32" },
        "ratio"
    );
    for &(name, kind, m, k, n) in ROWS {
        let shape = format!("{m}×{k}×{n}");
        if !filter.is_empty()
            && !filter.iter().any(|f| name.contains(f.as_str()) || shape.contains(&f.replace('x', "×")))
        {
            continue;
        }
        if method != Method::F32 && kind == Kind::Packed {
            continue;
        }
        let chosen = if method != Method::F32 && method.choose(isa, m, k, n) == method { "*" } else { "" };
        let flops = 2.0 * (m * k * n) as f64;
        let bytes = 4 * (m * k + k * n + m * n);
        let copies = if bytes < 256 << 10 { 1 } else { (64usize << 20).div_ceil(bytes).clamp(2, 16) };
        let mut cases: Vec<_> = (0..copies).map(|i| Case::new(isa, kind, (m, k, n), i as u64)).collect();
        let mut scratch = Scratch::with_capacity_for(isa, m, k, n);
        scratch.reserve_by(isa, method, m, k, n);
        let calls = ((2e-3 * 100e9 / flops) as usize).max(1);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..23 {
            let a = time(calls, |i| cases[i % copies].ours(isa, method, &mut scratch));
            let b = match method {
                Method::F32 => time(calls, |i| cases[i % copies].theirs()),
                _ => time(calls, |i| cases[i % copies].ours(isa, Method::F32, &mut scratch)),
            };
            if round >= 2 {
                ours.push(a);
                theirs.push(b);
            }
        }
        let rates = |times: &mut [f64]| (flops / median(times) / 1e9, flops / times[0] / 1e9);
        let ((ours, best), (theirs, their_best)) = (rates(&mut ours), rates(&mut theirs));
        println!(
            "{name:>8} {shape:>16} {ours:>7.1} /{best:>6.1} {:>5.0} /{:>4.0} {theirs:>7.1} /{their_best:>6.1} {:>6.2} /{:>5.2} {chosen}",
            100.0 * ours / peak,
            100.0 * best / peak,
            ours / theirs,
            best / their_best,
        );
    }
}
