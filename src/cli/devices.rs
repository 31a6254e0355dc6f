//! `devices`: what this machine trains on, and how fast its arithmetic is.

use super::console::Console;
use super::failure::Failure;
use super::{Verb, table};
use clap::ArgMatches;
use hpt_engine::Error;
use hpt_engine::backend::{Gpu, Precision, cores, gpus, natively};
use hpt_kernels::gemm::bf16_peak;
use hpt_kernels::isa::{Isa, peak};
use serde::Serialize;
use std::fs;

pub const VERB: Verb = Verb {
    name: "devices",
    about: "Show the CPU's instruction sets, cores, caches and measured peak, and the GPUs",
    arguments: |command| command,
    run,
};

#[derive(Serialize)]
struct Devices {
    cpu: Cpu,
    gpus: Vec<Gpu>,
}

#[derive(Serialize)]
struct Cpu {
    model: String,
    /// The set in force (`HPT_ISA` or the fastest).
    isa: &'static str,
    /// Cores that this process may use.
    cores: usize,
    tiers: Vec<Tier>,
    caches: Vec<Cache>,
}

/// An instruction set of this machine.
#[derive(Serialize)]
struct Tier {
    isa: &'static str,
    lanes: usize,
    /// Fused multiply-adds in registers, one thread, 10⁹ floating-point operations a second.
    peak_gflops: f64,
    /// The same of bf16, one product, where there is a unit for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bf16_peak_gflops: Option<f64>,
    /// Precisions of products that it computes natively; others it computes at the next more exact one.
    precisions: Vec<&'static str>,
}

/// A cache of the first core.
#[derive(Serialize)]
struct Cache {
    level: u32,
    /// `data`, `instruction` or `unified`.
    kind: String,
    bytes: u64,
    line_bytes: u64,
}

fn run(_: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let isa = Isa::detect().map_err(Error::Input)?;
    let tier = |isa: Isa| {
        let native = Precision::NAMES.iter().filter(|&&(_, precision)| natively(precision, isa) == precision);
        let precisions = native.map(|row| row.0).collect();
        let bf16_peak_gflops = bf16_peak(isa).map(|peak| peak / 1e9);
        Tier { isa: isa.name(), lanes: isa.lanes(), peak_gflops: peak(isa) / 1e9, bf16_peak_gflops, precisions }
    };
    // One that is only ever named is not among those of the machine.
    let named = (!Isa::available().any(|other| other == isa)).then_some(isa);
    let cpu = Cpu {
        model: model(),
        isa: isa.name(),
        cores: cores(),
        tiers: Isa::available().chain(named).map(tier).collect(),
        caches: caches(),
    };
    // A driver that fails takes nothing from the CPU.
    let gpus = gpus().unwrap_or_else(|error| {
        console.note(&error.to_string());
        Vec::new()
    });
    let devices = Devices { cpu, gpus };
    console.result(&devices, || text(&devices))
}

fn text(devices: &Devices) -> String {
    let Devices { cpu, gpus } = devices;
    let caches = cpu.caches.iter().filter(|cache| cache.kind != "instruction");
    let caches: Vec<String> = caches.map(|cache| format!("L{} {}", cache.level, table::bytes(cache.bytes))).collect();
    let mut lines = vec![
        format!("cpu     {}", cpu.model),
        format!("cores   {}", cpu.cores),
        format!("caches  {}", if caches.is_empty() { "unknown".to_owned() } else { caches.join(", ") }),
    ];
    for tier in cpu.tiers.iter().rev() {
        let used = if tier.isa == cpu.isa { "  (used)" } else { "" };
        let precisions = tier.precisions.join(", ");
        let bf16 = tier.bf16_peak_gflops.map_or_else(String::new, |peak| format!(", bf16 {peak:.1}"));
        lines.push(format!(
            "tier    {:<12} {:>6.1} GFLOP/s a thread, f32{bf16}; {precisions}{used}",
            tier.isa, tier.peak_gflops
        ));
    }
    if gpus.is_empty() {
        lines.push("gpus    none (no CUDA driver, or no GPU)".to_owned());
    }
    for gpu in gpus {
        let Gpu { index, name, memory, compute_capability, driver, module } = gpu;
        let memory = table::bytes(*memory as u64);
        let module = module.as_ref().map_or("no kernels for it".to_owned(), |module| format!("kernels {module}"));
        lines.push(format!(
            "cuda:{index}  {name}, {memory}, compute capability {compute_capability}, CUDA {driver}; {module}"
        ));
    }
    lines.join("\n")
}

/// The processor's name; its architecture where the system does not tell.
fn model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The caches of the first core, as the kernel lists them; none where it does not.
fn caches() -> Vec<Cache> {
    let Ok(folder) = fs::read_dir("/sys/devices/system/cpu/cpu0/cache") else { return Vec::new() };
    let mut caches: Vec<Cache> = folder
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let read = |name: &str| Some(fs::read_to_string(path.join(name)).ok()?.trim().to_owned());
            let size = read("size")?;
            let unit = match size.chars().last()? {
                'K' => 1 << 10,
                'M' => 1 << 20,
                _ => 1,
            };
            Some(Cache {
                level: read("level")?.parse().ok()?,
                kind: read("type")?.to_lowercase(),
                bytes: size.trim_end_matches(['K', 'M']).parse::<u64>().ok()? * unit,
                line_bytes: read("coherency_line_size")?.parse().ok()?,
            })
        })
        .collect();
    caches.sort_by(|a, b| (a.level, &a.kind).cmp(&(b.level, &b.kind)));
    caches
}
