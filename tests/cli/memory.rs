//! Memory over a long search: what a trial took is given back, and trials share the data.

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
    let mut search = folder.start("search --trials 400 --epochs 1 --sampler random --pruner none");
    drop(search.stdout.take());
    let mut lines = BufReader::new(search.stderr.take().expect("stderr is a pipe")).lines();
    let mut sizes = Vec::new();
    while let Some(Ok(line)) = lines.next() {
        if line.starts_with("trial ") {
            sizes.extend(resident(search.id()));
        }
    }
    assert!(search.wait().expect("it ends").success());
    // The first half fills caches, thread stacks and the allocator's lists.
    let (early, late) = sizes.split_at(sizes.len() / 2);
    let most = |sizes: &[u64]| sizes.iter().copied().max().unwrap_or(0);
    assert!(sizes.len() > 300 && most(late) < most(early) + (4 << 20), "{} then {} bytes", most(early), most(late));
}
