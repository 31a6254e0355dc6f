"""Two small comparisons on 20,000 rows of Covertype, one job, the seed also divides the rows.

    python schedules.py --program hpt-engine --data covertype.csv.gz --out schedules.jsonl [--seeds 10]

- Samplers under Hyperband: BOHB, the Gaussian process and TPE against random configurations: best accuracy of a trial
  that ran to its end, after the same epochs (benches/studies/covertype-pruning.toml, 27 epochs, 60 trials, cut where
  the cheapest ends).
- The hypergradient schedule against a constant rate: accuracy after 10 epochs from rates that are too small, common and
  too large, with SGD and Adam.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

from data import STUDIES, interval, sample, search
from pruning import curve

SAMPLERS = ["bohb", "gp", "tpe", "random"]
RATES = {"sgd": [0.001, 0.01, 0.1], "adam": [1e-5, 1e-4, 1e-3]}


def hyperband(program, folder, data, seed):
    curves = {}
    for sampler in SAMPLERS:
        words = [STUDIES / "covertype-pruning.toml", "--data", data, "--target", "Cover_Type", "--epochs", 27,
                 "--sampler", sampler, "--pruner", "hyperband", "--trials", 60, "--jobs", 1, "--threads", 1, "--seed", seed]
        curves[sampler] = curve(search(program, folder, f"{sampler}-{seed}", words)[1])
    epochs = min(points[-1][0] for points in curves.values())
    return {name: max(best for spent, best in points if spent <= epochs) for name, points in curves.items()}


def hypergradient(program, folder, data, seed):
    found = {}
    for optimizer, rates in RATES.items():
        for rate in rates:
            for schedule in ["constant", "hypergradient"]:
                words = ["train", "--data", data, "--target", "Cover_Type", "--optimizer", optimizer, "--learning-rate", rate,
                         "--schedule", schedule, "--epochs", 10, "--seed", seed, "--threads", 1, "--out", "m.safetensors"]
                words = [program, *map(str, words), "--quiet", "--json"]
                done = json.loads(subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)
                found[f"{optimizer} {rate} {schedule}"] = done["validation"]["accuracy"]
    return found


def main():
    parser = argparse.ArgumentParser(description="Samplers under Hyperband, and the hypergradient schedule, on Covertype")
    for name in ["--program", "--data", "--out"]:
        parser.add_argument(name, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    out = pathlib.Path(arguments.out).resolve()
    program = str(pathlib.Path(arguments.program).resolve())
    runs = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        data = sample(arguments.data, 20_000, pathlib.Path(folder) / "covertype-20000.csv")
        for seed in range(len(runs), arguments.seeds):
            run = {"seed": seed, "hyperband": hyperband(program, folder, data, seed),
                   "rates": hypergradient(program, folder, data, seed)}
            runs.append(run)
            with out.open("a") as file:
                file.write(json.dumps(run) + "\n")
    text = "{:+.4f} [{:+.4f}, {:+.4f}]"
    for sampler in SAMPLERS[:-1]:
        differences = [run["hyperband"][sampler] - run["hyperband"]["random"] for run in runs]
        print(f"{sampler} against random configurations under Hyperband ({len(runs)} seeds): accuracy {text.format(*interval(differences))}")
    for optimizer, rates in RATES.items():
        for rate in rates:
            pair = [(run["rates"][f"{optimizer} {rate} hypergradient"], run["rates"][f"{optimizer} {rate} constant"]) for run in runs]
            constant = sum(c for _, c in pair) / len(pair)
            print(f"hypergradient from {optimizer} {rate}: {text.format(*interval([h - c for h, c in pair]))} on {constant:.4f}")


if __name__ == "__main__":
    main()
