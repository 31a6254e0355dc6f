//! `cargo bench --bench train [-- FILTER]`: whole training steps in samples a second, on one thread, on all cores, and
//! as many trainings side by side as there are cores; and the share that their products' arithmetic is of the peak,
//! which is measured in turn with them. The same measurements as `hpt-engine bench step`.

#![allow(missing_docs)]

use hpt_engine::backend::{Cpu, Precision, cores};
use hpt_engine::bench::STEPS;
use hpt_kernels::isa::{Isa, peak};

fn main() -> hpt_engine::Result<()> {
    let isa = Isa::detect().map_err(hpt_engine::Error::Input)?;
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let peak = peak(isa) / 1e9;
    println!("{}: FMA peak {peak:.0} GFLOP/s a core; samples/s with Adam, medians of 9 rounds", isa.name());
    println!(
        "{:>28} {:>6} {:>12} {:>8} {:>12} {:>8} {:>6} {:>13} {:>6}",
        "network", "batch", "1 thread", "of peak", "all cores", "of peak", "ratio", "side by side", "ratio"
    );
    let (one, all) = (Cpu::with_isa(isa, 1)?, Cpu::with_isa(isa, cores())?);
    for row in STEPS {
        let name = row.name();
        if !filter.is_empty() && !filter.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let data = row.data();
        let rates = row.rates(&data, &[&one, &all], Precision::Highest)?;
        let (single, whole) = (rates[0].per_second, rates[1].per_second);
        let beside = row.rate_side_by_side(&data, isa, cores(), Precision::Highest)?;
        let share = |who: usize, threads: usize| 100.0 * rates[who].share.unwrap_or(f64::NAN) / threads as f64;
        println!(
            "{name:>28} {:>6} {single:>12.0} {:>7.0}% {whole:>12.0} {:>7.0}% {:>6.2} {beside:>13.0} {:>6.2}",
            row.batch,
            share(0, 1),
            share(1, cores()),
            whole / single,
            beside / single
        );
    }
    Ok(())
}
