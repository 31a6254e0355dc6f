//! Memory over a long search: what a training took is given back, and trials share the data.

use super::*;
use std::io::{BufRead, BufReader};

/// Resident memory of a process in bytes, as Linux tells it.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_from_trial_to_trial() {
    let folder = Folder::new();
    let words = "search --trials 700 --epochs 1 --sampler random --pruner none";
    let mut search = folder.command(&words.split(' ').collect::<Vec<_>>());
    // One arena: what threads free in an arena of their own stays resident until it happens to be needed again.
    search.env("MALLOC_ARENA_MAX", "1").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut search = search.spawn().expect("the program starts");
    let mut lines = BufReader::new(search.stderr.take().expect("stderr is a pipe")).lines();
    let mut sizes = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if line.starts_with("trial ") {
            sizes.extend(resident(search.id()));
        }
    }
    assert!(search.wait().expect("it ends").success());
    // The first trials fill caches, thread stacks and the allocator's lists; what trainings under way hold comes and goes,
    // so middles are compared. A study remembers 8 to 12 KiB of a trial (names, values, short attributes), with one job or
    // two; the buffers of the smallest network here are four times what is allowed, those of the usual ones forty times.
    const REMEMBERED: u64 = 16 << 10;
    assert_eq!(sizes.len(), 700);
    let middle = |sizes: &mut [u64]| {
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    };
    let (early, late) = (middle(&mut sizes[100..300]), middle(&mut sizes[500..]));
    assert!(late < early + 400 * REMEMBERED, "{early} bytes around trial 200, {late} around trial 600");
}
