"""Pruners on a sample of Covertype: the best validation accuracy against the epochs that were trained.

    python pruning.py run --program hpt-engine --data covertype.csv.gz --out pruning.jsonl [--seeds 20] [--pruners asha:3]
    python pruning.py judge pruning.jsonl

For each seed 40 random configurations (benches/studies/covertype-pruning.toml, 81 epochs) run to their end; then each
pruner goes on with the same sequence of configurations until it has trained a quarter of those epochs: it sees more
configurations, the first 40 are the same. One job, so nothing depends on timing; the seed also divides the 20,000 rows.
What counts is the best accuracy of a trial that ran to its end. A run that is in the file already is not repeated. A
pruner is named with its first rung, whatever the program's default is (3 of 81 epochs; in the first version it was 9).
"""

import argparse
import json
import pathlib
import tempfile

from data import STUDIES, interval, sample, search

TRIALS, EPOCHS, SHARE = 40, 81, 0.25
# Pruners with their first rung, and enough trials to spend a quarter of the epochs.
PRUNERS = {("asha", 3): 160, ("asha", 9): 120, ("hyperband", 3): 120, ("hyperband", 9): 120}
DEFAULT = "asha:3,hyperband:3"
NONE = ("none", None)


def curve(trials):
    """After each trial: epochs so far, best accuracy of a complete one so far."""
    epochs, best, points = 0, 0.0, []
    for trial in sorted(trials, key=lambda trial: trial["number"]):
        epochs += len(trial["intermediate"])
        if trial["state"] == "complete":
            best = max(best, trial["value"])
        points.append((epochs, best))
    return points


def chosen(text):
    """`asha:3,hyperband:9` as keys of PRUNERS."""
    keys = [(name, int(rung)) for name, rung in (part.split(":") for part in text.split(","))]
    unknown = [f"{name}:{rung}" for name, rung in keys if (name, rung) not in PRUNERS]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(f'{name}:{rung}' for name, rung in PRUNERS)}")
    return keys


def read(path):
    """The curve of each run, by pruner with its first rung and by seed."""
    rows = map(json.loads, pathlib.Path(path).read_text().splitlines())
    return {((row["pruner"], row["min_resource"]), row["seed"]): row["curve"] for row in rows}


def run(arguments):
    out, pruners = pathlib.Path(arguments.out), chosen(arguments.pruners)
    done = read(out) if out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        data = sample(arguments.data, 20_000, pathlib.Path(folder) / "covertype-20000.csv")
        program = str(pathlib.Path(arguments.program).resolve())
        for seed in range(arguments.seeds):
            for key in [NONE, *pruners]:
                if (key, seed) in done:
                    continue
                pruner, rung = key
                option = [] if rung is None else ["--pruner-option", f"min_resource={rung}"]
                words = ["--pruner", pruner, *option, "--trials", PRUNERS.get(key, TRIALS)]
                fixed = ["--epochs", EPOCHS, "--sampler", "random", "--jobs", 1, "--threads", 1]
                study = [STUDIES / "covertype-pruning.toml", "--data", data, "--target", "Cover_Type"]
                _, found = search(program, folder, f"{pruner}-{rung}-{seed}", [*study, *fixed, *words, "--seed", seed])
                row = {"pruner": pruner, "min_resource": rung, "seed": seed, "curve": curve(found)}
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def judge(path):
    runs = read(path)
    whole = {seed: points[-1] for (key, seed), points in runs.items() if key == NONE}
    mean = sum(best for _, best in whole.values()) / len(whole)
    print(f"no pruning: {TRIALS} trials, {TRIALS * EPOCHS} epochs, best accuracy {mean:.4f} ({len(whole)} seeds)")
    for pruner in PRUNERS:
        seeds = sorted(seed for seed in whole if (pruner, seed) in runs)
        if not seeds:
            continue
        differences, trials, first, spent, reached = [], [], [], [], []
        for seed in seeds:
            points, limit = runs[pruner, seed], SHARE * whole[seed][0]
            inside = [point for point in points if point[0] <= limit]
            differences.append(inside[-1][1] - whole[seed][1])
            trials.append(len(inside))
            first.append(points[TRIALS - 1][1] - whole[seed][1])
            spent.append(points[TRIALS - 1][0] / whole[seed][0])
            reached += [next((e for e, best in points if best >= whole[seed][1]), None)]
        text = "{:+.4f} [{:+.4f}, {:+.4f}]"
        wins, ties = sum(d > 0 for d in differences), sum(d == 0 for d in differences)
        name = f"{pruner[0]} from epoch {pruner[1]}"
        print(f"{name}, {len(seeds)} seeds, in {SHARE:.0%} of the epochs ({min(trials)} to {max(trials)} trials): accuracy "
              f"{text.format(*interval(differences))} against no pruning, better {wins}, equal {ties}, "
              f"worse {len(seeds) - wins - ties}")
        print(f"    the same {TRIALS} configurations: accuracy {text.format(*interval(first))} "
              f"in {sum(spent) / len(spent):.0%} of the epochs ({min(spent):.0%} to {max(spent):.0%})")
        shares = sorted(e / whole[seed][0] if e else float("inf") for e, seed in zip(reached, seeds))
        print(f"    as good as no pruning at its end after {shares[len(shares) // 2]:.0%} of the epochs (median); "
              f"within a quarter on {sum(s <= SHARE for s in shares)} of {len(seeds)} seeds")


def main():
    parser = argparse.ArgumentParser(description="Pruners on Covertype")
    verbs = parser.add_subparsers(dest="verb", required=True)
    runner = verbs.add_parser("run")
    for name in ["--program", "--data", "--out"]:
        runner.add_argument(name, required=True)
    runner.add_argument("--seeds", type=int, default=20)
    runner.add_argument("--pruners", default=DEFAULT, help=f"[{DEFAULT}]")
    verbs.add_parser("judge").add_argument("file")
    arguments = parser.parse_args()
    run(arguments) if arguments.verb == "run" else judge(arguments.file)


if __name__ == "__main__":
    main()
