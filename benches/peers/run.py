#!/usr/bin/env python3
"""The same training work by hpt-engine, PyTorch, JAX, scikit-learn and Keras, in turn: A B C A B C.

    python3 benches/peers/run.py --data FOLDER [--works mnist-448,…] [--rounds 3] [--record benches/record/NAME.json]

FOLDER holds `mnist/` (the four IDX files, gzipped) and `covertype.csv.gz` (header, target last). On the first call it
makes a virtual environment with the pinned versions and builds the program. Every contestant is a process of its own
that trains whole epochs; the first is not timed. Printed are medians over the rounds with their range, and the ratio of
ours to the best of the peers.

`--record` keeps every round as soon as it is measured, and of each work the commit and the times at which its rounds
began. A record belongs to one machine, and a work in it to one commit. The same command again goes on after an
interruption, with all contestants of the first round that is not whole.

`--works keras-tuner` is the whole job of a Keras Tuner tutorial (keras_tuner_job.py), which takes minutes a round,
beside `hpt-engine search`, pruned by ASHA and with a last training on all rows, or without. Both are timed from
outside, from the start of the process to its end.

HPT_PEERS_HERE=1: the interpreter that runs this has the packages; nothing is installed.
HPT_PEERS_SMALL=1: fewer epochs, trials and products, to see that everything runs; such times are not recorded.
"""

import argparse
import contextlib
import errno
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from machine import CORES, commit, machine
from networks import EPOCHS, FILES, SMALL, TRIALS, WORKS, on

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Of hpt-engine, most exact first.
PRECISIONS = ("highest", "high", "medium")
JOB = "keras-tuner"
# Of hpt-engine for that job.
SEARCHES = ([], ["--pruner", "none"], ["--retrain", "none"], ["--pruner", "none", "--retrain", "none"])


def ours_at(precision):
    return "hpt-engine" if precision == "highest" else f"hpt-engine {precision}"


def has_packages():
    """Whether the interpreter that runs this has them."""
    return Path(sys.prefix).name == "peers" or on("HPT_PEERS_HERE")


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


def document(*command):
    """The last JSON object that begins a line of what a program prints: libraries print around it."""
    command = [str(word) for word in command]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
    why = f"failed with status {ran.returncode}"
    if ran.returncode == 0:
        try:
            return json.JSONDecoder().raw_decode(ran.stdout, f"\n{ran.stdout}".rindex("\n{"))[0]
        except ValueError:
            why = "printed no JSON object"
    said = [*ran.stdout.splitlines()[-5:], *ran.stderr.splitlines()[-15:]]
    sys.exit("\n  ".join([f"{' '.join(command)}\n{why}; its last lines:", *said]))


def native(binary):
    """The precisions that this machine has for themselves."""
    cpu = document(binary, "devices", "--json")["cpu"]
    own = next(tier["precisions"] for tier in cpu["tiers"] if tier["isa"] == cpu["isa"])
    return [precision for precision in PRECISIONS if precision in own]


def rounds(count, measured, times):
    """Numbers of the rounds that the lists of what has been measured lack; `times` receives when each begins. What an
    interruption left of a round gives way to the whole one, which is measured at one time."""
    whole = min(map(len, measured), default=0)
    for done in (*measured, times):
        del done[whole:]
    for number in range(whole, count):
        times.append(datetime.now(timezone.utc).isoformat(timespec="minutes"))
        yield number


def in_turn(args, contestants, results, times, keep):
    """Rounds of all that are in {contestant: its measurement with a seed}; `keep` is called after each measurement."""
    measured = [results.get(who, []) for who in contestants]
    for seed in rounds(args.rounds, measured, times):
        for who, measure in contestants.items():
            start = time.perf_counter()
            result = measure(seed)
            result["process_seconds"] = time.perf_counter() - start
            results.setdefault(who, []).append(result)
            print(f"round {seed + 1}, {who}: {json.dumps(result)}", file=sys.stderr)
            keep()


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
            "--learning-rate", "1e-3", "--threads", str(threads), "--precision", precision, "--seed", str(seed),
            "--json", "-q", "--out", Path(scratch) / "model.safetensors",
        ]
        report = document(*command)
    seconds = [epoch["seconds"] for epoch in report["history"]]
    rate = report["rows"]["train"] * len(seconds[1:]) / sum(seconds[1:])
    return {"samples_per_second": rate, "epoch_seconds": seconds, "test_accuracy": report["test"]["accuracy"],
            "precision": report["precision"], "isa": report["isa"]}


def trainings(args, python, binary, name, work):
    """{contestant: its training} of a work, with the data that they read prepared."""
    from work import prepare

    data = args.data / ("mnist" if work.data == "mnist" else "covertype.csv.gz")
    folder = prepare(work, data, ROOT / "target" / "peers")
    ran = {}
    for who, threads, precision, program in contestants(work, args.precisions):
        if program is None:
            training = partial(ours, binary, work, folder, data, threads, precision)
        else:
            training = partial(document, python, HERE / f"peer_{program}.py", name, folder, threads, precision)
        ran[f"{who}, {threads}"] = training
    return ran


def product_rates(report, precisions):
    """{shape: {contestant: [GFLOP/s of one thread, of all]}} from a report of `bench forward`. Where a shape has no
    method of its own at a precision, a training takes that of the precision before."""
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


def compare_products(args, python, binary, results, times, keep):
    """GFLOP/s of the products of `bench` by PyTorch and by us, one after the other in every round."""
    contestants = [*map(ours_at, args.precisions), "torch"]
    measured = [ran.get(who, []) for ran in results.values() for who in contestants]
    for number in rounds(args.rounds, measured, times):
        report = document(binary, "bench", "forward 32×" if SMALL else "forward", "--json", "-q", "--threads", CORES)
        rates = product_rates(report, args.precisions)
        theirs = document(python, HERE / "products_torch.py", CORES, *rates)
        for shape, mine in rates.items():
            for who, pair in {**mine, "torch": theirs[shape]}.items():
                print(f"round {number + 1}, {shape}, {who}: {pair}", file=sys.stderr)
                results.setdefault(shape, {}).setdefault(who, []).append(pair)
        keep()


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
    """The same search by ours."""
    study = ROOT / "benches" / "studies" / "mnist-keras-tuner.toml"
    with tempfile.TemporaryDirectory() as scratch:
        places = ["--storage", Path(scratch) / "study.db", "--out", Path(scratch) / "models"]
        report = document(binary, "search", study, "--data", data, "--trials", TRIALS, "--epochs", EPOCHS,
                          "--seed", seed, *options, *places, "--json", "-q")
    return {"test_accuracy": report["test"]["accuracy"]}


def jobs(args, python, binary):
    """{contestant: the whole job}, ours in all its ways and theirs."""
    data = args.data / "mnist"
    ran = {" ".join(["hpt-engine", *options]): partial(our_job, binary, data, options) for options in SEARCHES}
    return ran | {"Keras Tuner": partial(document, python, HERE / "keras_tuner_job.py", data)}


def show_job(results):
    middle = {who: statistics.median(r["process_seconds"] for r in ran) for who, ran in results.items()}
    print(f"\n{JOB}: {TRIALS} trials of {EPOCHS} epochs")
    print(f"{'contestant':<44} {'seconds':>8} {'range':>15} {'times':>6} {'accuracy':>16}")
    for who, ran in results.items():
        seconds, accuracy = ([r[key] for r in ran] for key in ("process_seconds", "test_accuracy"))
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
        return list(dict.fromkeys(chosen))
    return names


def positive(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = ["products", *WORKS]
    known = [*works, JOB]
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--works", type=several(known), default=works,
                        help=f"{','.join(known)}; default all but {JOB}")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--precisions", type=several(PRECISIONS),
                        help=f"of hpt-engine, {','.join(PRECISIONS)}; default those that the machine has of its own")
    parser.add_argument("--record", type=Path, help="a JSON file that receives every round; works in it stay")
    args = parser.parse_args()
    if SMALL and args.record:
        parser.error("HPT_PEERS_SMALL=1 is for trying out: leave --record away")
    kinds = {"mnist" if name == JOB else WORKS[name].data for name in args.works if name != "products"}
    lacking = [file for kind in sorted(kinds) for file in FILES[kind] if not (args.data / file).exists()]
    if lacking:
        parser.error(f"{args.data} lacks {', '.join(lacking)}")
    if args.record:
        try:
            # Before hours of measurements, not after the first.
            writing(args.record).touch()
            writing(args.record).unlink()
            if args.record.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        except OSError as error:
            parser.error(f"--record {args.record} cannot be written: {error.strerror}; "
                         "name a file in a folder of yours")
    return args


def versions():
    """Of the packages in requirements.txt those that are installed."""
    found = []
    for line in (HERE / "requirements.txt").read_text().split("\n")[1:-1]:
        name = line.partition("==")[0]
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name}=={importlib.metadata.version(name)}")
    return found


def begin(file, works, built):
    """A new record, or the one that is in the file, if these works may be added to it here."""
    record = {"machine": machine(), "versions": versions(), "commits": {}, "times": {}, "works": {}}
    if not (file and file.exists()):
        return record
    try:
        before = json.loads(file.read_text())
        if not isinstance(before, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        sys.exit(f"{file} is no record: {error}; name another file by --record")
    for part in ("machine", "versions"):
        if before.get(part) != record[part]:
            sys.exit(f"{file} is of a different {part!r}; name another file by --record\n"
                     f"  there: {json.dumps(before.get(part))}\n  here:  {json.dumps(record[part])}")
    record |= {part: before.get(part) or {} for part in ("commits", "times", "works")}
    for name in works:
        commit = record["commits"].get(name)
        if name in record["works"] and str(commit).endswith("-dirty"):
            sys.exit(f"{file} has {name} of {commit}, a tree that nobody can name: name another file by --record, "
                     f"leave {name} out of --works, or remove it from the file")
        if name in record["works"] and commit != built:
            sys.exit(f"{file} has {name} of commit {commit}, and this is {built}: name another file by --record, "
                     f"leave {name} out of --works, or remove it from the file")
    return record


def writing(file):
    """Where a record is written until it is whole, in a folder that is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(f"{file.name}.part")


def keep(record, file):
    """Writes the record so that a reader, or an interruption, finds the whole one before or after."""
    if file:
        part = writing(file)
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(file)


def main(args):
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    binary, python = ROOT / "target" / "release" / "hpt-engine", sys.executable
    built = commit(ROOT, args.record)
    record = begin(args.record, args.works, built)
    args.precisions = args.precisions or native(binary)
    for name in args.works:
        record["commits"][name] = built
        results, times = (record[part].setdefault(name, empty) for part, empty in (("works", {}), ("times", [])))
        places = results, times, partial(keep, record, args.record)
        if name == "products":
            compare_products(args, python, binary, *places)
            show_products(results)
        elif name == JOB:
            in_turn(args, jobs(args, python, binary), *places)
            show_job(results)
        else:
            in_turn(args, trainings(args, python, binary, name, WORKS[name]), *places)
            show(name, WORKS[name], results)


if __name__ == "__main__":
    chosen = arguments()
    try:
        if not has_packages():
            # Once more, by the interpreter that has the packages.
            python = environment()
            os.execv(python, [str(python), __file__, *sys.argv[1:]])
        main(chosen)
    except KeyboardInterrupt:
        sys.exit("\nstopped; all that was measured is printed above, and kept where --record names a file")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
