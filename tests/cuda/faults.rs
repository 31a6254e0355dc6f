//! Kernels broken on purpose: each must be noticed, or the other tests prove nothing.

use crate::harness::{GROUP, Gpu, Job, MMA, Random, SHAPES, SIMT, WGMMA};
use hpt_engine::backend::cuda::descriptor::{Layer, Model, Run};
use hpt_ptxsim::{Generation, Mma, Module, Options};

/// The text of one kernel, from its entry on, after the lines that come before all kernels.
fn only<'a>(text: &'a str, kernel: &str) -> (&'a str, &'a str) {
    let header = &text[..text.find(".visible .entry").unwrap()];
    // nvcc declares a kernel's shared memory before its entry.
    let at = text.find(&format!(".entry {kernel}(")).unwrap();
    let start = text[..at].rfind("\n}\n").map_or(header.len(), |end| end + 3);
    let end = at + text[at..].find("\n}\n").unwrap() + 3;
    (header, &text[start..end])
}

/// Whether a forward product over `k` is as it should be: the bits of the kernel that ships, and no fault.
fn product(module: &'static Module, kernel: &str, seed: u64, k: usize) -> Result<Vec<u32>, String> {
    let [m, n] = [70, 68];
    let random = &mut Random::new(2);
    let mma = Mma::Bits(Generation::Hopper);
    let gpu = &mut Gpu::new(module, Options { seed, mma, step_limit: 1 << 22, ..Options::default() });
    let y = gpu.room(4 * m * n);
    let layer = Layer {
        x: gpu.f32s(&random.units(m * k)),
        y,
        weights: gpu.f32s(&random.units(k * n + n)),
        inputs: k as u32,
        outputs: n as u32,
        activation: 1,
        kept: 1.0,
        ..Layer::default()
    };
    let run = Run { row_count: m as u32, steps: 1, batch: m as u32, ..Run::default() };
    let model = Model { layers: 1, ..Model::default() };
    let mut job = Job { models: vec![model], layers: vec![layer], runs: vec![run], tiles: vec![] };
    job.tile(0, [m, n], &SHAPES[if kernel.ends_with('g') { GROUP } else { 0 }]);
    gpu.try_launch(kernel, &job, 0).map_err(|fault| fault.to_string())?;
    gpu.try_read_u32s(y, m * n)
}

/// Products over vectors and over single numbers, which kernels of warpgroups have apart.
fn right(text: &str, kernel: &str, seed: u64, expected: Option<&[u32]>) -> Result<Vec<u32>, String> {
    let module: &'static Module = Box::leak(Box::new(Module::parse(text).map_err(|error| error.to_string())?));
    let mut bits = product(module, kernel, seed, 68)?;
    if kernel.ends_with('g') {
        bits.extend(product(module, kernel, seed, 67)?);
    }
    match expected {
        Some(expected) if expected != bits => Err("other numbers".to_owned()),
        _ => Ok(bits),
    }
}

/// Every change of one line of `kind` must be noticed by one of a few seeds.
fn every(text: &str, kernel: &str, what: &str, change: impl Fn(&str) -> Option<String>, at_least: usize) {
    let (header, body) = only(text, kernel);
    let good = right(&format!("{header}{body}"), kernel, 0, None).unwrap();
    let lines: Vec<&str> = body.lines().collect();
    let mut changed = 0;
    for (i, line) in lines.iter().enumerate() {
        let Some(other) = change(line) else { continue };
        changed += 1;
        let mut broken = lines.clone();
        broken[i] = &other;
        let broken = format!("{header}{}\n", broken.join("\n"));
        let noticed = (1..=6).any(|seed| right(&broken, kernel, seed, Some(&good)).is_err());
        assert!(noticed, "{kernel}: {what}: line {i} of the kernel, `{}`, was broken and nobody noticed", line.trim());
    }
    assert!(changed >= at_least, "{kernel}: {what}: {changed} lines to break");
}

#[test]
fn a_missing_barrier_is_noticed() {
    let barrier = |line: &str| line.contains("bar.sync").then(String::new);
    every(SIMT, "forward_s", "no barrier", barrier, 4);
    every(MMA, "forward_tf32_s", "no barrier", barrier, 4);
    every(WGMMA, "forward_tf32_g", "no barrier", barrier, 12);
}

/// What warpgroups need between ordinary instructions and theirs, in both loops; one wait more than the kernel needs
/// stands at its end, where the wait before has left one group.
#[test]
fn a_missing_fence_or_wait_of_warpgroups_is_noticed() {
    let without = |what: &'static str| move |line: &str| line.contains(what).then(String::new);
    for kernel in ["forward_tf32_g", "forward_tf32x3_g"] {
        every(WGMMA, kernel, "no fence of registers", without("wgmma.fence"), 4);
        every(WGMMA, kernel, "no fence of shared memory", without("fence.proxy.async"), 6);
        let later = |line: &str| line.contains("wgmma.wait_group").then(|| line.replace("aligned 1", "aligned 2"));
        let changes = |line: &str| later(line).filter(|other| other != line);
        every(WGMMA, kernel, "waits for too little", changes, if kernel.contains("x3") { 2 } else { 4 });
        every(WGMMA, kernel, "no commit", without("wgmma.commit_group"), 4);
    }
    every(WGMMA, "forward_tf32_g", "no wait at the end", without("wgmma.wait_group.sync.aligned 0"), 2);
}

/// B by another order than its descriptor says: a swizzle, other steps along k, cells transposed in another way.
#[test]
fn a_wrong_order_in_shared_memory_is_noticed() {
    // Fields of a descriptor: 4096 bytes along k, 128 along the columns.
    let plain = (4096u64 >> 4) << 16 | (128 >> 4) << 32;
    let instead = |other: u64| {
        move |line: &str| {
            let (from, to) = (plain.to_string(), (other as i64).to_string());
            line.contains(&from).then(|| line.replace(&from, &to))
        }
    };
    let others = [plain | 1 << 62, plain | 2 << 62, plain | 3 << 62, plain + (1 << 16), plain + (8 << 32)];
    for other in others {
        every(WGMMA, "forward_tf32_g", "another descriptor", instead(other), 1);
    }
    let turned = |line: &str| {
        let operands = line.split('{').nth(1)?.split('}').next()?;
        let names: Vec<&str> = operands.split(',').map(str::trim).collect();
        let &[a, b, c, d] = names.as_slice() else { return None };
        line.contains("st.shared.v4.u32").then(|| line.replacen(operands, &format!("{a}, {c}, {b}, {d}"), 1))
    };
    every(WGMMA, "forward_tf32_g", "k transposed in a wrong way", turned, 8);
}

#[test]
fn a_copy_that_is_not_waited_for_is_noticed() {
    let wait = |line: &str| line.contains("cp.async.wait_group 2").then(|| line.replace('2', "3"));
    every(MMA, "forward_tf32_s", "waits for too little", wait, 1);
}

#[test]
fn a_wrong_end_of_rows_and_columns_is_noticed() {
    // Comparisons of stores: the last one before each st.global.
    let (header, body) = only(SIMT, "forward_s");
    let good = right(&format!("{header}{body}"), "forward_s", 0, None).unwrap();
    let lines: Vec<&str> = body.lines().collect();
    let mut noticed = 0;
    for (i, line) in lines.iter().enumerate() {
        let swaps = [("setp.ge.u32", "setp.gt.u32"), ("setp.lt.u32", "setp.le.u32"), ("setp.le.u32", "setp.lt.u32")];
        let Some((from, to)) = swaps.into_iter().find(|(from, _)| line.contains(from)) else { continue };
        let other = line.replace(from, to);
        let mut broken = lines.clone();
        broken[i] = &other;
        let broken = format!("{header}{}\n", broken.join("\n"));
        noticed += usize::from(right(&broken, "forward_s", 1, Some(&good)).is_err());
    }
    // Some compare with what is never equal, or skip work that counts for nothing.
    assert!(noticed >= 6, "{noticed} wrong comparisons were noticed");
}

#[test]
fn a_swapped_fragment_is_noticed() {
    let swap = |line: &str| {
        let operands = line.split('{').nth(2)?.split('}').next()?;
        let names: Vec<&str> = operands.split(',').map(str::trim).collect();
        let &[a, b, c, d] = names.as_slice() else { return None };
        line.contains("mma.sync").then(|| line.replacen(operands, &format!("{a}, {c}, {b}, {d}"), 1))
    };
    every(MMA, "forward_tf32_s", "a fragment's registers swapped", swap, 8);
    let swap = |line: &str| {
        let operands =
            line.split('{').nth(if line.trim_start().starts_with('{') { 3 } else { 2 })?.split('}').next()?;
        let names: Vec<&str> = operands.split(',').map(str::trim).collect();
        let &[a, b, c, d] = names.as_slice() else { return None };
        line.contains("wgmma.mma_async").then(|| line.replacen(operands, &format!("{a}, {c}, {b}, {d}"), 1))
    };
    every(WGMMA, "forward_tf32_g", "a fragment's registers swapped", swap, 8);
}
