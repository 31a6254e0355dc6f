//! `cargo bench --bench gemm [-- FILTER]`: the matrix product on one thread, in GFLOP/s, as a share of the peak of the
//! instruction set (`HPT_ISA` chooses it), and beside `matrixmultiply` and `gemm` in the same run.
//! Ours are those of `--precision highest`: on AMX larger ones are six bf16 products (`*`), which share the peak of
//! bf16.
//!
//! Each row times the peak and the three in turn, P A B C P A B C, and prints medians and ratios: a clock that goes up
//! and down does so for all of them. Operands are not zero, and where they are larger than a cache, several copies are
//! used in turn. `packed` multiplies by a B that was packed before the clock started, by ours alone.

#![allow(missing_docs)]

use hpt_engine::backend::Cpu;
use hpt_engine::bench::{PRODUCTS, Product, Timer, in_turn};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;
use hpt_kernels::matrix::Matrix;
use std::time::Instant;

/// An operand as other libraries take it: where it lies, and its row and column strides.
type Strided = (*const f32, isize, isize);

/// Seconds that `calls` products of another library take.
fn theirs(timer: &Timer, calls: usize, mut multiply: impl FnMut(Strided, Strided)) -> f64 {
    let strided = |x: Matrix<'_>| (x.as_ptr(), x.row_stride() as isize, x.col_stride() as isize);
    let start = Instant::now();
    (0..calls).for_each(|i| multiply(strided(timer.operands(i).0), strided(timer.right(i))));
    start.elapsed().as_secs_f64()
}

/// C ← A·B by `matrixmultiply`.
fn matrixmultiply(&Product { m, k, n, .. }: &Product, a: Strided, b: Strided, c: *mut f32) {
    // SAFETY: the strides are those of matrices that live as long as the timer; C is m × n.
    unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a.0, a.1, a.2, b.0, b.1, b.2, 0.0, c, n as isize, 1) }
}

/// C ← A·B by `gemm`: by its part for f32, which is what it calls itself.
fn gemm_crate(&Product { m, k, n, .. }: &Product, a: Strided, b: Strided, c: *mut f32) {
    let (product, threads) = (gemm_f32::gemm::f32::get_gemm_fn(), gemm_common::Parallelism::None);
    let (step, none) = (n as isize, false);
    // SAFETY: as above.
    unsafe { product(m, n, k, c, 1, step, none, a.0, a.2, a.1, b.0, b.2, b.1, 0.0, 1.0, none, none, none, threads) }
}

fn main() -> hpt_engine::Result<()> {
    let isa = Isa::detect().map_err(hpt_engine::Error::Input)?;
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    println!("{}: one thread; medians of 21 rounds, GFLOP/s", isa.name());
    println!(
        "{:>8} {:>15} {:>8} {:>8} {:>8} {:>15} {:>6} {:>8} {:>6}",
        "product", "m×k×n", "ours", "peak", "of it", "matrixmultiply", "ratio", "gemm", "ratio"
    );
    let cpu = Cpu::with_isa(isa, 1)?;
    for product in PRODUCTS {
        let (name, shape) = (product.kind.name(), product.shape());
        let fits = |f: &String| name.contains(f.as_str()) || shape.contains(&f.replace('x', "×"));
        if product.kind.of_bytes() || (!filter.is_empty() && !filter.iter().any(fits)) {
            continue;
        }
        let timer = Timer::new(isa, *product);
        let mut c = vec![f32::NAN; product.m * product.n];
        let calls = product.calls();
        let rates = in_turn(isa, timer.work(calls), 21, || {
            Ok(vec![
                timer.run(&cpu, calls),
                theirs(&timer, calls, |a, b| matrixmultiply(product, a, b, c.as_mut_ptr())),
                theirs(&timer, calls, |a, b| gemm_crate(product, a, b, c.as_mut_ptr())),
            ])
        })?;
        let [ours, first, second] = [0, 1, 2].map(|who| rates[who].per_second / 1e9);
        let share = rates[0].share.unwrap_or(f64::NAN);
        println!(
            "{name:>8} {shape:>15} {ours:>8.1} {:>8.1} {:>7.0}% {first:>15.1} {:>6.2} {second:>8.1} {:>6.2} {}",
            ours / share,
            100.0 * share,
            ours / first,
            ours / second,
            if timer.method() == Method::F32 { "" } else { "*" }
        );
    }
    Ok(())
}
