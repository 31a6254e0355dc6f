//! `cargo bench --bench precision [-- highest|high|medium] [FILTER]`: products by a precision's method beside chains of
//! f32 multiply-adds, and training steps beside those of `highest`, in one run, on one thread and (steps) on all cores.
//!
//! A product is timed by its method on every shape; `*` marks the shapes for which the method is chosen. Steps use the
//! choice. `HPT_ISA` chooses the tier; without an argument the lowest precision that it has natively is taken.

#![allow(missing_docs)]

use hpt_engine::backend::{Cpu, Precision, cores, method, natively};
use hpt_engine::bench::{Kind, PRODUCTS, STEPS, Timer, in_turn};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::{Isa, peak};

fn main() -> hpt_engine::Result<()> {
    let isa = Isa::detect().map_err(hpt_engine::Error::Input)?;
    let mut filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let asked = filter.first().and_then(|name| Precision::by_name(name).ok());
    if asked.is_some() {
        filter.remove(0);
    }
    let precision = natively(asked.unwrap_or(Precision::Medium), isa);
    println!("{}: FMA peak {:.0} GFLOP/s a core; {}", isa.name(), peak(isa) / 1e9, precision.name());
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    // What is there is measured, also where trainings do not take it.
    let asked = asked.unwrap_or(precision);
    if method(asked).is_available(isa) {
        products(isa, asked, &wanted)?;
    } else {
        println!("no unit for it");
    }
    if precision == Precision::Highest { Ok(()) } else { steps(isa, precision, &wanted) }
}

fn products(isa: Isa, precision: Precision, wanted: &dyn Fn(&str) -> bool) -> hpt_engine::Result<()> {
    println!(
        "{:>8} {:>15} {:>9} {:>9} {:>6}  GFLOP/s, one thread, medians of 11 rounds",
        "product", "m×k×n", "chains", "method", "ratio"
    );
    let (cpu, method) = (Cpu::with_isa(isa, 1)?, method(precision));
    for product in PRODUCTS.iter().filter(|product| product.kind != Kind::Packed) {
        let name = format!("{} {}", product.kind.name(), product.shape());
        if !wanted(&name) {
            continue;
        }
        let [chains, other] = [Method::F32, method].map(|method| Timer::new(isa, *product).by(method));
        let calls = product.calls();
        let turn = || Ok(vec![chains.run(&cpu, calls), other.run(&cpu, calls)]);
        let rates = in_turn(isa, other.work(calls), 11, turn)?;
        let [chains, other] = [0, 1].map(|who| rates[who].per_second / 1e9);
        let chosen = if product.method(isa, precision) == method { "*" } else { "" };
        println!(
            "{:>8} {:>15} {chains:>9.1} {other:>9.1} {:>6.2} {chosen}",
            product.kind.name(),
            product.shape(),
            other / chains
        );
    }
    Ok(())
}

fn steps(isa: Isa, precision: Precision, wanted: &dyn Fn(&str) -> bool) -> hpt_engine::Result<()> {
    println!(
        "{:>28} {:>6} {:>12} {:>12} {:>6} {:>12} {:>12} {:>6}  samples/s",
        "network", "batch", "1: highest", "lower", "ratio", "all: highest", "lower", "ratio"
    );
    let devices = [Cpu::with_isa(isa, 1)?, Cpu::with_isa(isa, cores())?];
    for row in STEPS.iter().filter(|row| wanted(&format!("step {}", row.name()))) {
        let data = row.data();
        let mut line = format!("{:>28} {:>6}", row.name(), row.batch);
        for cpu in &devices {
            let [exact, lower] = [Precision::Highest, precision].map(|precision| row.rates(&data, &[cpu], precision));
            let (exact, lower) = (exact?[0].per_second, lower?[0].per_second);
            line += &format!(" {exact:>12.0} {lower:>12.0} {:>6.2}", lower / exact);
        }
        println!("{line}");
    }
    Ok(())
}
