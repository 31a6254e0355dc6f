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
    // The first trials fill caches, thread stacks and the allocator's lists. A study remembers some 8 to 12 KiB of a trial
    // (names, values, short attributes); with what larger networks leave behind in the heap, 11 to 29 KiB a trial were seen
    // between the two hundredth and the six hundredth. The buffers of the smallest network here are twice what is allowed,
    // those of the usual ones twenty times.
    const REMEMBERED: u64 = 32 << 10;
    assert_eq!(sizes.len(), 700);
    let most = |sizes: &[u64]| sizes.iter().copied().max().unwrap_or(0);
    let (early, late) = (most(&sizes[..200]), most(&sizes[200..]));
    assert!(late < early + 500 * REMEMBERED, "{early} bytes after 200 trials, {late} after 700");
}
