#!/usr/bin/env python3
"""Instructions that two builds need for the same work: a regression check that a noisy machine does not disturb.

    python3 benches/instructions.py [--base COMMIT] [--limit 1.02]

Builds the working tree and COMMIT (default: the commit that main shares with HEAD, or HEAD's parent on main), runs each
job under `valgrind --tool=callgrind` on one thread with AVX2 (valgrind knows no AVX-512), and prints both counts and
their ratio, which in two builds of the same code is 1.000 to 1.002. Exit 1 where a ratio is above the limit. Beside two
builds it takes some ten minutes. Instructions are not time: they say nothing of caches, and an AVX-512 path has to be
timed. Needs valgrind and git.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

TRAIN = "train --data digits --seed 0 --threads 1 -q"
JOBS = {
    "start": "--version",
    "small network": f"{TRAIN} --hidden 64,64 --batch-size 32 --epochs 3",
    "wide network": f"{TRAIN} --hidden 256,256 --batch-size 128 --epochs 3",
    "dropout, gelu": f"{TRAIN} --hidden 128,128 --activation gelu --dropout 0.3 --epochs 3",
    "clipping, rmsprop": f"{TRAIN} --hidden 128 --optimizer rmsprop --clip-norm 1 --epochs 3",
    "regression": "train --data california-housing --seed 0 --threads 1 -q --hidden 64 --epochs 1",
    "search": "search --data digits --trials 12 --epochs 2 --sampler random --pruner none --jobs 1 --threads 1 --seed 0 -q",
    "search, tpe": "search --data digits --trials 12 --epochs 1 --sampler tpe --pruner none --jobs 1 --threads 1 --seed 0 -q",
}


def build(source, target):
    subprocess.run(["cargo", "build", "--release", "--quiet", "--target-dir", target], cwd=source, check=True)
    return target / "release" / "hpt-engine"


def base_commit():
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    head, shared = git("rev-parse", "HEAD"), git("merge-base", "main", "HEAD")
    return shared if shared and shared != head else git("rev-parse", "HEAD~1")


def count(binary, words):
    """Instructions of one job, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, *words.split()]
        environment = dict(os.environ, HPT_ISA="avx2")
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        found = re.search(r"Collected : (\d+)", ran.stderr)
        if ran.returncode or not found:
            sys.exit(f"`{words}` failed under valgrind:\n{ran.stderr}")
        return int(found[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=base_commit())
    parser.add_argument("--limit", type=float, default=1.02)
    args = parser.parse_args()
    new = build(ROOT, ROOT / "target")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", folder, args.base], cwd=ROOT, check=True)
        try:
            old = build(folder, ROOT / "target" / "instructions")
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=ROOT, check=True)
    print(f"{'job':<20} {args.base[:10]:>16} {'working tree':>16} {'ratio':>7}")
    worst = 0.0
    for name, words in JOBS.items():
        before, after = count(old, words), count(new, words)
        worst = max(worst, after / before)
        print(f"{name:<20} {before:>16,} {after:>16,} {after / before:>7.3f}", flush=True)
    if worst > args.limit:
        sys.exit(f"one job needs {worst:.3f} times the instructions; the limit is {args.limit}")


if __name__ == "__main__":
    main()
