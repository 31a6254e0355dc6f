//! Memory over a long search: what a training took is given back, and trials share the data. What was measured over
//! 3,000 trials, with the allocator as users have it too, is in `benches/record/memory.md`.

#![cfg(target_os = "linux")]

use super::*;
use std::io::{BufRead, BufReader};

/// Resident memory of a process in bytes, as Linux tells it.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

/// The most that was resident in the first fifth of the trials and after it, over a search of so many trials of one
/// epoch.
fn over(trials: usize, words: &str) -> (u64, u64) {
    let folder = Folder::new();
    let words = format!("search --trials {trials} --epochs 1 --sampler random --pruner none {words}");
    let mut search = folder.command(&words.split_whitespace().collect::<Vec<_>>());
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
    assert_eq!(sizes.len(), trials);
    let most = |sizes: &[u64]| sizes.iter().copied().max().unwrap_or(0);
    (most(&sizes[..trials / 5]), most(&sizes[trials / 5..]))
}

#[test]
fn memory_does_not_grow_from_trial_to_trial() {
    // Networks of one size, so that what grows is what the study remembers: names, values, short attributes (4.6 KiB a
    // trial where this was written, two thirds of it the least that two maps of attributes take) and, up to 2 MiB,
    // SQLite's pages.
    const REMEMBERED: u64 = 6 << 10;
    let one = "--hidden 32 --batch-size 64 --optimizer adam --activation relu --dropout 0 --schedule constant --weight-decay 0";
    let (early, late) = over(1000, one);
    println!("one size: {early} bytes after 200 trials, {late} after 1,000");
    assert!(late < early + 800 * REMEMBERED, "{early} bytes after 200 trials, {late} after 1,000");
}

#[test]
fn memory_of_networks_of_all_sizes_is_used_again() {
    // The heap grows to what the largest network so far took (in 1,000 trials some MiB), beside what the study
    // remembers. The buffers of the smallest network here are three times what is allowed, those of the usual ones
    // thirty times.
    const ALLOWED: u64 = 20 << 10;
    // One job: of two, the most that was resident is that of the two largest that ever met.
    let (early, late) = over(700, "--jobs 1");
    println!("all sizes: {early} bytes after 140 trials, {late} after 700");
    assert!(late < early + 560 * ALLOWED, "{early} bytes after 140 trials, {late} after 700");
}
