#!/usr/bin/env python3
"""Cohorts of networks on one GPU by hpt-engine, PyTorch and JAX, in turn.

    python3 benches/peers/gpu/run.py --binary hpt-engine [--works cohort-256-128,…] [--rounds 2] [--record FILE.json]
                                     [--only hpt-engine,jax] [--limit 240] [--total 550]

Needs a GPU, and a Python with torch and jax of its own choice: their versions are recorded. Every contestant is a
process of its own that warms up before its clock starts. `torch eager` and `torch graph` train one network, and their
rate stands for training the networks one after the other; the others train the whole cohort. A contestant that fails is
shown as failed, with its last line; for one that takes longer than --limit the time is up, and for those that --total
leaves no time they are not run, and say so. The record is written anew after every contestant.
"""

import argparse
import importlib.metadata
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from work import WORKS

HERE = Path(__file__).resolve().parent
# (name, program, method, precisions, steps: 0 is a whole epoch)
PEERS = [
    ("torch eager", "peer_torch.py", "eager", ("highest", "high"), 400),
    ("torch graph", "peer_torch.py", "graph", ("highest", "high"), 0),
    ("torch vmap + compile", "peer_torch.py", "vmap", ("highest", "high"), 100),
    ("jax vmap + jit", "peer_jax.py", "vmap", ("highest", "high"), 100),
]
OURS = ("highest", "high", "medium")
PRODUCTS = ("512×512×512", "1024×1024×1024", "2048×2048×2048", "4096×4096×4096")


def call(command, limit):
    """The JSON document that a program prints, or why there is none."""
    if limit < 5:
        return {"not_run": "the time is up"}
    # A session of its own: compilers that it has started end with it.
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    try:
        out, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"failed": f"took more than {limit:.0f} s"}
    if process.returncode:
        lines = said.strip().splitlines() or [f"exit status {process.returncode}"]
        # What comes after the error's own line is advice.
        errors = [line for line in lines if "Error" in line.split(":")[0] and not line.startswith(" ")]
        return {"failed": (errors or lines)[-1]}
    try:
        return json.loads(out)
    except ValueError:
        return {"failed": f"printed no JSON but {out[:100]!r}"}


def contestants(args, name):
    """(name, command) of all that do this work."""
    ours = [args.binary, "bench", "--device", args.device, "--json", "-q"]
    for precision in OURS:
        yield f"hpt-engine {precision}", [*ours, "--precision", precision, "product" if name == "products" else name]
    if name == "products":
        for precision in ("highest", "high", "medium"):
            yield f"torch {precision}", [sys.executable, HERE / "products_torch.py", precision, *PRODUCTS]
        return
    if name not in WORKS:  # mixed shapes: the frameworks have no answer
        return
    for who, program, method, precisions, steps in PEERS:
        if WORKS[name].models == 1 and method == "vmap":
            continue
        for precision in precisions:
            yield f"{who} {precision}", [sys.executable, HERE / program, name, method, precision, "cuda", steps]


def rate(result):
    """Steps of all networks a second."""
    return result["cohorts"][0]["steps_per_second"] if "cohorts" in result else result["steps_per_second"]


def show(who, rounds):
    """A line of what a contestant has reached so far."""
    good = [result for result in rounds if "failed" not in result and "not_run" not in result]
    if not good:
        last = rounds[-1]
        why = f"failed: {last['failed'][:90]}" if "failed" in last else f"not run: {last['not_run']}"
        print(f"{who:<34} {why}", flush=True)
    elif good[0].get("tflops") or good[0].get("products_tflops"):
        print(f"{who:<34} TFLOP/s {good[-1].get('tflops') or good[-1]['products_tflops']}", flush=True)
    else:
        rates = [rate(result) for result in good]
        spread = f"{min(rates):,.0f}–{max(rates):,.0f}"
        print(f"{who:<34} {statistics.median(rates):>14,.0f} model-steps/s {spread:>25}", flush=True)


def versions():
    found = {}
    for package in ("torch", "jax", "jaxlib", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="hpt-engine")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--works", default="cohort-256-128,products,large-4096,cohort-64-64,cohort-mixed")
    parser.add_argument("--only", default="", help="contestants whose names have one of these texts, by commas")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit", type=float, default=240, help="seconds a contestant may take")
    parser.add_argument("--total", type=float, default=float("inf"), help="seconds for everything")
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    began = time.monotonic()
    record = {"device": call([args.binary, "devices", "--json"], 60), "versions": versions(), "works": {}}
    for number in range(args.rounds):
        for name in args.works.split(","):
            print(f"\n{name}" + (f", round {number + 1}" if args.rounds > 1 else ""), flush=True)
            for who, command in contestants(args, name):
                if not any(text in who for text in args.only.split(",")):
                    continue
                left = args.total - (time.monotonic() - began)
                results = record["works"].setdefault(name, {}).setdefault(who, [])
                results.append(call(command, min(args.limit, left)))
                show(who, results)
                if args.record:
                    args.record.parent.mkdir(parents=True, exist_ok=True)
                    args.record.write_text(json.dumps(record, indent=1) + "\n")
    # A peer that fails is shown; an error it is only where the engine does.
    ours = [result for work in record["works"].values() for who, rounds in work.items() if who.startswith("hpt-engine")
            for result in rounds]
    sys.exit(any("failed" in result for result in ours))


if __name__ == "__main__":
    main()
