//! `cargo bench --bench gemm [-- FILTER]`: the matrix product on one thread, in GFLOP/s, as a share of the measured
//! FMA peak of the instruction set (`HPT_ISA` chooses it), and beside `matrixmultiply` and `gemm` in the same run.
//!
//! Each row times the three in turn, A B C A B C, and prints medians and ratios; operands are not zero, and where they are
//! larger than a cache, several copies are used in turn. `packed` multiplies by a B that was packed before the clock
//! started, by ours alone.

#![allow(missing_docs)]

use hpt_engine::backend::Cpu;
use hpt_engine::bench::{PRODUCTS, Product, Timer, median};
use hpt_kernels::isa::{Isa, peak};
use std::time::Instant;

/// Seconds that `calls` products of `matrixmultiply` take.
fn matrixmultiply(timer: &Timer, product: &Product, c: &mut [f32], calls: usize) -> f64 {
    let start = Instant::now();
    for i in 0..calls {
        let (a, b) = (timer.operands(i).0, timer.right(i));
        let (ra, ca) = (a.row_stride() as isize, a.col_stride() as isize);
        let (rb, cb) = (b.row_stride() as isize, b.col_stride() as isize);
        let Product { m, k, n, .. } = *product;
        // SAFETY: the strides are those of matrices that live as long as the timer; C is m × n.
        unsafe {
            matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                a.as_ptr(),
                ra,
                ca,
                b.as_ptr(),
                rb,
                cb,
                0.0,
                c.as_mut_ptr(),
                n as isize,
                1,
            );
        }
    }
    start.elapsed().as_secs_f64()
}

/// Seconds that `calls` products of `gemm` take: of its part for f32, which is what it calls itself.
fn gemm_crate(timer: &Timer, product: &Product, c: &mut [f32], calls: usize) -> f64 {
    let start = Instant::now();
    for i in 0..calls {
        let (a, b) = (timer.operands(i).0, timer.right(i));
        let (ra, ca) = (a.row_stride() as isize, a.col_stride() as isize);
        let (rb, cb) = (b.row_stride() as isize, b.col_stride() as isize);
        let Product { m, k, n, .. } = *product;
        // SAFETY: as above.
        unsafe {
            gemm_f32::gemm::f32::get_gemm_fn()(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                ca,
                ra,
                b.as_ptr(),
                cb,
                rb,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                gemm_common::Parallelism::None,
            );
        }
    }
    start.elapsed().as_secs_f64()
}

fn main() -> hpt_engine::Result<()> {
    let isa = Isa::detect().map_err(hpt_engine::Error::Input)?;
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let peak = peak(isa) / 1e9;
    println!("{}: FMA peak {peak:.0} GFLOP/s, one thread; medians of 21 rounds, GFLOP/s", isa.name());
    println!(
        "{:>8} {:>15} {:>8} {:>8} {:>15} {:>6} {:>8} {:>6}",
        "product", "m×k×n", "ours", "of peak", "matrixmultiply", "ratio", "gemm", "ratio"
    );
    let cpu = Cpu::with_isa(isa, 1)?;
    for product in PRODUCTS {
        let (name, shape) = (product.kind.name(), product.shape());
        let fits = |f: &String| name.contains(f.as_str()) || shape.contains(&f.replace('x', "×"));
        if !filter.is_empty() && !filter.iter().any(fits) {
            continue;
        }
        let timer = Timer::new(isa, *product);
        let mut c = vec![f32::NAN; product.m * product.n];
        let calls = ((2e-3 * 100e9 / product.flops()) as usize).max(1);
        let mut times = [const { Vec::new() }; 3];
        for round in 0..23 {
            let round_times = [
                timer.run(&cpu, calls),
                matrixmultiply(&timer, product, &mut c, calls),
                gemm_crate(&timer, product, &mut c, calls),
            ];
            if round >= 2 {
                times.iter_mut().zip(round_times).for_each(|(times, time)| times.push(time / calls as f64));
            }
        }
        let [ours, first, second] = times.map(|mut times| product.flops() / median(&mut times) / 1e9);
        println!(
            "{name:>8} {shape:>15} {ours:>8.1} {:>7.0}% {first:>15.1} {:>6.2} {second:>8.1} {:>6.2}",
            100.0 * ours / peak,
            ours / first,
            ours / second
        );
    }
    Ok(())
}
