#!/usr/bin/env python3
"""The same training work by hpt-engine, PyTorch, JAX, scikit-learn and Keras, in turn: A B C A B C.

    python3 benches/peers/run.py --data FOLDER [--works mnist-448,…] [--rounds 3] [--record benches/record/NAME.json]

FOLDER holds `mnist/` (the four IDX files, gzipped) and `covertype.csv.gz` (header, target last). On the first call it makes
a virtual environment with the pinned versions and builds the program. Every contestant is a process of its own that trains
whole epochs; the first is not timed. Printed are medians over the rounds with their range, and the ratio of ours to the
best of the peers; `--record` keeps every round, and of each work the commit and the times that it was measured at.

`--works keras-tuner` is the whole job of a Keras Tuner tutorial (keras_tuner_job.py), which takes minutes a round, beside
`hpt-engine search`, pruned by ASHA and with a last training on all rows, or without.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from datetime import datetime, timezone
from pathlib import Path

from machine import CORES, commit, machine
from networks import WORKS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Of hpt-engine, most exact first.
PRECISIONS = ("highest", "high", "medium")
JOB = "keras-tuner"
# Of hpt-engine for that job.
SEARCHES = ([], ["--pruner", "none"], ["--retrain", "none"], ["--pruner", "none", "--retrain", "none"])


def ours_at(precision):
    return "hpt-engine" if precision == "highest" else f"hpt-engine {precision}"


def environment():
    """The interpreter with the pinned packages."""
    folder = ROOT / ".venv" / "peers"
    python = folder / "bin" / "python"
    if not python.exists():
        print("making a virtual environment; the peers are several gigabytes", file=sys.stderr)
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                    HERE / "requirements.txt"], check=True)
    return python


def document(*command, stderr=None):
    """The JSON document that a program prints."""
    ran = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, stderr=stderr)
    return json.loads(ran.stdout)


def native(binary):
    """The precisions that this machine has for themselves."""
    cpu = document(binary, "devices", "--json")["cpu"]
    own = next(tier["precisions"] for tier in cpu["tiers"] if tier["isa"] == cpu["isa"])
    return [precision for precision in PRECISIONS if precision in own]


def rounds(count, times):
    """Numbers of the rounds; `times` receives when each began."""
    for number in range(count):
        times.append(datetime.now(timezone.utc).isoformat(timespec="minutes"))
        yield number


def contestants(work, precisions):
    """(name, threads, precision, program) of those that do this work."""
    both = sorted({1, CORES})
    rows = [("torch", threads, "highest", "torch") for threads in both]
    if "medium" in precisions:
        rows.append(("torch medium", CORES, "medium", "torch"))
    rows += [("jax", threads, "highest", "jax") for threads in both]
    rows += [(name, CORES, "highest", name) for name in work.slow]
    for precision in precisions:
        rows += [(ours_at(precision), threads, precision, None) for threads in both]
    return rows


def ours(binary, work, folder, data, threads, precision, seed):
    # MNIST's own files where all rows are wanted: bytes, as users have them.
    where = (["--data", data] if data.is_dir() and work.rows is None else
             ["--data", folder / "train.npz", "--test", folder / "test.npz", "--preprocess", "none"])
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            binary, "train", *where, "--validation-split", "0", "--hidden", ",".join(map(str, work.hidden)),
            "--batch-size", str(work.batch), "--epochs", str(work.epochs), "--dropout", str(work.dropout),
            "--learning-rate", "1e-3", "--threads", str(threads), "--precision", precision, "--seed", str(seed), "--json", "-q",
            "--out", Path(scratch) / "model.safetensors",
        ]
        report = document(*command)
    seconds = [epoch["seconds"] for epoch in report["history"]]
    rate = report["rows"]["train"] * len(seconds[1:]) / sum(seconds[1:])
    return {"samples_per_second": rate, "epoch_seconds": seconds, "test_accuracy": report["test"]["accuracy"],
            "precision": report["precision"], "isa": report["isa"]}


def peer(python, program, name, folder, threads, precision, seed):
    program = HERE / f"peer_{program}.py"
    return document(python, program, name, folder, threads, precision, seed, stderr=subprocess.DEVNULL)


def compare(args, python, binary, cache, name, work, times):
    data = args.data / ("mnist" if work.data == "mnist" else "covertype.csv.gz")
    folder = prepare(work, data, cache)
    rows = contestants(work, args.precisions)
    results = {f"{who}, {threads}": [] for who, threads, *_ in rows}
    for seed in rounds(args.rounds, times):
        for who, threads, precision, program in rows:
            start = time.perf_counter()
            if program is None:
                result = ours(binary, work, folder, data, threads, precision, seed)
            else:
                result = peer(python, program, name, folder, threads, precision, seed)
            result["process_seconds"] = time.perf_counter() - start
            results[f"{who}, {threads}"].append(result)
    return results


def product_rates(report, precisions):
    """{shape: {contestant: [GFLOP/s of one thread, of all]}} from a report of `bench forward`. Where a shape has no method
    of its own at a precision, a training takes that of the precision before."""
    rate = lambda row: [row["one_thread"], row.get("all_threads")]
    lower = {(row["precision"], row["name"]): rate(row) for row in report["lower"]}
    results = {}
    for row in report["products"]:
        if row["name"].startswith("forward of bytes"):
            continue
        mine, here = {}, rate(row)
        for precision in PRECISIONS:
            here = lower.get((precision, row["name"]), here)
            if precision in precisions:
                mine[ours_at(precision)] = here
        results[row["name"].removeprefix("forward ")] = mine
    return results


def compare_products(args, python, binary, times):
    """GFLOP/s of the products of `bench` by PyTorch and by us, one after the other in every round."""
    results = {}
    for _ in rounds(args.rounds, times):
        report = document(binary, "bench", "forward", "--json", "-q", "--threads", CORES)
        rates = product_rates(report, args.precisions)
        theirs = document(python, HERE / "products_torch.py", CORES, *rates)
        for shape, mine in rates.items():
            for who, pair in {**mine, "torch": theirs[shape]}.items():
                results.setdefault(shape, {}).setdefault(who, []).append(pair)
    return results


def show_products(results):
    """Medians and their ratios to PyTorch's products in f32."""
    ours = [who for who in next(iter(results.values()), {}) if who != "torch"]
    for i, threads in enumerate(sorted({1, CORES})):
        columns = "".join(f" {who.replace('hpt-engine', 'ours'):>11} {'ratio':>6}" for who in ours)
        print(f"\nproducts, GFLOP/s, {threads} thread{'s' if threads > 1 else ''}\n{'m×k×n':<16} {'torch':>9}{columns}")
        for shape, rounds in results.items():
            middle = {who: statistics.median(pair[i] for pair in pairs) for who, pairs in rounds.items()}
            cells = "".join(f" {middle[who]:>11.1f} {middle[who] / middle['torch']:>6.2f}" for who in ours)
            print(f"{shape:<16} {middle['torch']:>9.1f}{cells}", flush=True)


def our_job(binary, data, options, seed):
    """The same search by ours, from the first second to the last."""
    study = ROOT / "benches" / "studies" / "mnist-keras-tuner.toml"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        places = ["--storage", Path(scratch) / "study.db", "--out", Path(scratch) / "models"]
        report = document(binary, "search", study, "--data", data, "--trials", 10, "--epochs", 10, "--seed", seed,
                          *options, *places, "--json", "-q")
    return {"seconds": time.perf_counter() - start, "test_accuracy": report["test"]["accuracy"]}


def compare_job(args, python, binary, times):
    """Seconds and test accuracy of the whole job, ours in all its ways and theirs in turn."""
    data, results = args.data / "mnist", {}
    for seed in rounds(args.rounds, times):
        for options in SEARCHES:
            results.setdefault(" ".join(["hpt-engine", *options]), []).append(our_job(binary, data, options, seed))
        theirs = document(python, HERE / "keras_tuner_job.py", data, seed)
        results.setdefault("Keras Tuner", []).append(theirs)
    return results


def show_job(results):
    middle = {who: statistics.median(r["seconds"] for r in ran) for who, ran in results.items()}
    print(f"\n{JOB}: 10 trials of 10 epochs")
    print(f"{'contestant':<44} {'seconds':>8} {'range':>15} {'times':>6} {'accuracy':>16}")
    for who, ran in results.items():
        seconds, accuracy = ([r[key] for r in ran] for key in ("seconds", "test_accuracy"))
        spread = f"{min(seconds):.1f}–{max(seconds):.1f}"
        print(f"{who:<44} {middle[who]:>8.1f} {spread:>15} {middle['Keras Tuner'] / middle[who]:>6.1f} "
              f"{f'{min(accuracy):.4f}–{max(accuracy):.4f}':>16}", flush=True)


def show(name, work, results):
    rate = lambda rounds: statistics.median(r["samples_per_second"] for r in rounds)
    peers = {who: rate(rounds) for who, rounds in results.items() if not who.startswith("hpt-engine")}
    full = {who: r for who, r in peers.items() if "medium" not in who}
    best = max(full, key=full.get)
    pytorch = max(r for who, r in full.items() if who.startswith("torch"))
    print(f"\n{name}: hidden {work.hidden}, batch {work.batch}, best peer {best}")
    print(f"{'contestant, threads':<28} {'samples/s':>11} {'range':>21} {'of best':>8} {'of torch':>8} {'accuracy':>9}")
    for who, rounds in results.items():
        rates = [r["samples_per_second"] for r in rounds]
        accuracy = statistics.mean(r["test_accuracy"] for r in rounds)
        spread = f"{min(rates):,.0f}–{max(rates):,.0f}"
        print(f"{who:<28} {rate(rounds):>11,.0f} {spread:>21} {rate(rounds) / full[best]:>8.2f} "
              f"{rate(rounds) / pytorch:>8.2f} {accuracy:>9.4f}", flush=True)


def several(known):
    """The type of an argument that is names of these, with commas between them."""
    def names(text):
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)} (known: {', '.join(known)})")
        return chosen
    return names


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = ["products", *WORKS]
    known = [*works, JOB]
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--works", type=several(known), default=works,
                        help=f"{','.join(known)}; default all but {JOB}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", type=several(PRECISIONS), 
                        help=f"of hpt-engine, {','.join(PRECISIONS)}; default those that the machine has for themselves")
    parser.add_argument("--record", type=Path, help="a JSON file that receives every round; works in it stay")
    return parser.parse_args()


def main(args):
    os.environ.get("HPT_PEERS_HERE") or subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    binary, python = ROOT / "target" / "release" / "hpt-engine", sys.executable
    cache = ROOT / "target" / "peers"
    record = {"machine": machine(), "versions": (HERE / "requirements.txt").read_text().split("\n")[1:-1],
              "commits": {}, "times": {}, "works": {}}
    built = commit(ROOT, args.record)
    args.precisions = args.precisions or native(binary)
    if args.record and args.record.exists():
        before = json.loads(args.record.read_text())
        record |= {part: before.get(part, {}) for part in ("commits", "times", "works")}
    for name in args.works:
        times = []
        if name == "products":
            results = compare_products(args, python, binary, times)
            show_products(results)
        elif name == JOB:
            results = compare_job(args, python, binary, times)
            show_job(results)
        else:
            results = compare(args, python, binary, cache, name, WORKS[name], times)
            show(name, WORKS[name], results)
        record["works"][name], record["commits"][name], record["times"][name] = results, built, times
        if args.record:
            args.record.parent.mkdir(parents=True, exist_ok=True)
            args.record.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    chosen = arguments()
    if Path(sys.prefix).name != "peers" and not os.environ.get("HPT_PEERS_HERE"):
        # Once more, by the interpreter that has the packages.
        python = environment()
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    from work import prepare

    main(chosen)
