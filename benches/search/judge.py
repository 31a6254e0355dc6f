"""Holds our samplers against Optuna's on the same problems.

    python judge.py --pack runs.jsonl [...] > optuna.json     the recorded form of what optuna_side.py wrote
    python judge.py optuna.json ours.jsonl                    (ours: OUT=ours.jsonl cargo bench --bench search -- gp,tpe 20)

Normalised regret is (found − optimum)/(median − optimum). Tables: for every budget the ratio of means (over seeds, then
over tables) with its 95 % interval, by resampling seeds within each table on both sides, and the mean rank among the
samplers over (table, seed). Closed forms: the same ratio for each, without normalising.
"""

import argparse
import collections
import json
import pathlib
import platform
import sys

import numpy as np

SEPARATORS = (",", ":")


def pack(paths):
    """{problem: {optimum, median, budgets, samplers: {name: {ms, best: one list a seed}}}}, with where it was run."""
    from problems import closed_forms, tables

    paths, folder = paths[:-1], paths[-1]
    runs = [json.loads(line) for path in paths for line in pathlib.Path(path).read_text().splitlines()]
    problems = tables(folder) + closed_forms()
    # Only seeds that every problem has.
    seen = collections.Counter((r["sampler"], r["seed"]) for r in runs)
    runs = [r for r in runs if seen[r["sampler"], r["seed"]] == len(problems)]
    out = {}
    for problem in problems:
        samplers = {}
        for name in ["tpe", "gp"]:
            mine = [r for r in runs if (r["problem"], r["sampler"]) == (problem.name, name)]
            mine.sort(key=lambda r: r["seed"])
            if mine:
                ms = round(float(np.median([r["ms"] for r in mine])), 1)
                samplers[name] = {"ms": ms, "best": [r["best"] for r in mine]}
        out[problem.name] = {
            "optimum": problem.optimum,
            "median": problem.median,
            "budgets": problem.budgets,
            "samplers": samplers,
        }
    import optuna

    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
    print(f'{{"versions": {json.dumps({"optuna": optuna.__version__, "python": platform.python_version()})},')
    print(f'"machine": {json.dumps(cpu + ", one thread, other work on the machine")},\n"problems": {{')
    print(",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=SEPARATORS)}" for k, v in out.items()))
    print("}}")


def regrets(problem, bests):
    """(seeds, budgets)"""
    scale = problem["median"] - problem["optimum"]
    # Optima are known to six digits.
    return np.maximum((np.asarray(bests) - problem["optimum"]) / scale, 1e-9)


def ratio(ours, theirs, draws=2000):
    """Ratio of means over lists of samples with its interval from resampling within each."""
    random = np.random.default_rng(1)

    def means(samples):
        return sum(x[random.integers(0, len(x), (draws, len(x)))].mean(1) for x in samples)

    point = sum(x.mean() for x in ours) / sum(x.mean() for x in theirs)
    low, high = np.quantile(means(ours) / means(theirs), [0.025, 0.975])
    return f"{point:.2f} [{low:.2f}, {high:.2f}]"


def ranks(columns):
    """Mean rank of each over all places, ties shared."""
    x = np.stack(columns)
    less = (x[None] < x[:, None]).sum(1) + ((x[None] == x[:, None]).sum(1) - 1) / 2
    return (less + 1).mean(1)


def judge(theirs, lines):
    data = {}
    for name, problem in theirs["problems"].items():
        data[name] = {f"optuna {s}": regrets(problem, r["best"]) for s, r in problem["samplers"].items()}
    runs = collections.defaultdict(list)
    for r in map(json.loads, lines):
        runs[r["problem"], r["sampler"]].append((r["seed"], r["best"]))
    names = list(dict.fromkeys(sampler for _, sampler in runs))
    for (problem, sampler), found in runs.items():
        if problem in data:
            data[problem][sampler] = regrets(theirs["problems"][problem], [best for _, best in sorted(found)])
    everyone = ["optuna tpe", "optuna gp", *names]
    tables = [n for n, p in theirs["problems"].items() if len(p["budgets"]) == 3 and all(s in data[n] for s in everyone)]
    forms = [n for n, p in theirs["problems"].items() if len(p["budgets"]) == 2 and all(s in data[n] for s in everyone)]
    for b, budget in enumerate([30, 50, 100] if tables else []):
        print(f"\ntables, {budget} trials")
        least = min(len(data[t][s]) for t in tables for s in everyone)
        rank = dict(zip(everyone, ranks([np.concatenate([data[t][s][:least, b] for t in tables]) for s in everyone])))
        for s in everyone:
            row = " ".join(f"{data[t][s][:, b].mean():.4f}" for t in tables)
            mean = np.mean([data[t][s][:, b].mean() for t in tables])
            against = [ratio([data[t][s][:, b] for t in tables], [data[t][o][:, b] for t in tables]) for o in everyone[:2]]
            against = "" if s in everyone[:2] else f"  /tpe {against[0]}  /gp {against[1]}"
            print(f"  {s:12} {mean:.4f}  rank {rank[s]:.2f}  ({row}){against}")
    for form in forms:
        print(f"\n{form}, 30 and 60 trials")
        for s in everyone:
            row = "  ".join(f"{data[form][s][:, b].mean():.2e}" for b in range(2))
            against = "  ".join(
                f"/{o[7:]} {ratio([data[form][s][:, 1]], [data[form][o][:, 1]])}" for o in everyone[:2] if s not in everyone[:2]
            )
            middle = np.median(data[form][s][:, 1])
            print(f"  {s:12} {row}  (median {middle:.2e})  {against}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", action="store_true", help="runs.jsonl … and last the folder of tables")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    if arguments.pack:
        return pack(arguments.files)
    theirs, *ours = arguments.files
    lines = [line for path in ours for line in pathlib.Path(path).read_text().splitlines()]
    judge(json.loads(pathlib.Path(theirs).read_text()), lines)


if __name__ == "__main__":
    sys.exit(main())
