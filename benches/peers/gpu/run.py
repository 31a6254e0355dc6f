#!/usr/bin/env python3
"""Cohorts of networks on one GPU by hpt-engine, PyTorch and JAX, in turn.

    python3 benches/peers/gpu/run.py --binary hpt-engine [--works cohort-256-128,…] [--rounds 2] [--record FILE.json]

Needs a GPU, and a Python with torch and jax of its own choice: their versions are recorded. Every contestant is a process
of its own that warms up before its clock starts. `torch eager` and `torch graph` train one network, and their rate stands
for training the networks one after the other; the others train the whole cohort. A contestant that fails is shown as
failed, with its last line.
"""

import argparse
import importlib.metadata
import json
import statistics
import subprocess
import sys
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
    try:
        done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=limit)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {limit} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    return json.loads(done.stdout)


def contestants(args, name):
    models = WORKS[name].models if name in WORKS else None
    for precision in OURS:
        yield f"hpt-engine {precision}", [args.binary, "bench", "--device", args.device, "--precision", precision, "--json",
                                          "-q", name]
    if models is None:  # mixed shapes: the frameworks have no answer
        return
    for who, program, method, precisions, steps in PEERS:
        if models == 1 and method == "vmap":
            continue
        for precision in precisions:
            yield f"{who} {precision}", [sys.executable, HERE / program, name, method, precision, "cuda", steps]


def rate(result):
    """Steps of all networks a second."""
    return result["cohorts"][0]["steps_per_second"] if "cohorts" in result else result["steps_per_second"]


def show(name, results):
    print(f"\n{name}\n{'contestant':<34} {'model-steps/s':>14} {'range':>25}")
    for who, rounds in results.items():
        good = [rate(r) for r in rounds if "failed" not in r]
        if not good:
            print(f"{who:<34} failed: {rounds[-1]['failed'][:70]}")
            continue
        spread = f"{min(good):,.0f}–{max(good):,.0f}"
        print(f"{who:<34} {statistics.median(good):>14,.0f} {spread:>25}", flush=True)


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
    parser.add_argument("--works", default="cohort-256-128,cohort-mixed,cohort-64-64,large-4096,products")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=float, default=120, help="seconds a contestant may take")
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    record = {"device": call([args.binary, "devices", "--json"], args.limit), "versions": versions(), "works": {}}
    for name in args.works.split(","):
        if name == "products":
            results = {f"torch {p}": [call([sys.executable, HERE / "products_torch.py", p, *PRODUCTS], args.limit)]
                       for p in ("highest", "high", "medium")}
            results |= {f"hpt-engine {p}": [call([args.binary, "bench", "--device", args.device, "--precision", p, "--json",
                                                  "-q", "product"], args.limit)] for p in OURS}
            print(f"\nproducts\n{json.dumps(results, indent=1)}", flush=True)
        else:
            results = {}
            for _ in range(args.rounds):
                for who, command in contestants(args, name):
                    results.setdefault(who, []).append(call(command, args.limit))
            show(name, results)
        record["works"][name] = results
        if args.record:
            args.record.parent.mkdir(parents=True, exist_ok=True)
            args.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
