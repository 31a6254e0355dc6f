"""Several objectives: Optuna's samplers, and the comparison of runs with theirs.

    python several.py --tables FOLDER --out several-optuna.jsonl [--seeds 10] [--seconds 600]   # ends and goes on at will
    python several.py --judge several-optuna.jsonl [others.jsonl]

All objectives are minimised. A line is a run: the volume that is dominated within the reference point after 30, 60 and
100 trials. The judge reports 1 − volume/largest, the part of what can be dominated that is not, and the ratio of its
means (over seeds, then over problems) with 95 % intervals by resampling seeds within problems. ZDT (Zitzler, Deb and
Thiele, Evol. Comput. 8, 2000) and DTLZ2 (Deb et al., CEC 2002) have six parameters here; Branin–Currin is that of
Belakaria, Deshwal and Doppa (NeurIPS 2019); the tables hold a network's error against the logarithm of its number of
parameters.
"""

import argparse
import collections
import json
import math
import pathlib
import sys
import time

import numpy as np

from problems import begin_runs

BUDGETS = [30, 60, 100]
WIDTHS = [16, 25, 40, 64, 101, 161, 256, 406, 645, 1024]
UNITS = [16, 32, 64, 128, 256, 512]
# What is the largest volume: in closed form, for zdt3 and Branin–Currin by a fine grid, for tables the largest of all
# runs.
PROBLEMS = {
    "zdt1": ((1.1, 6.0), 6.6 - 1 / 3),
    "zdt2": ((1.1, 6.0), 6.6 - 2 / 3),
    "zdt3": ((1.1, 6.0), 6.721763),
    "dtlz2": ((1.1, 1.1, 1.1), 1.331 - math.pi / 6),
    "branin-currin": ((18.0, 6.0), 59.36011874867746),
    "hpobench-phoneme": ((-0.5, 15.0), None),
    "fcnet-protein_structure": ((0.5, 13.0), None),
}


def zdt(kind, x):
    f, g = x[0], 1 + 9 * sum(x[1:]) / (len(x) - 1)
    if kind == 2:
        return f, g * (1 - (f / g) ** 2)
    return f, g * (1 - math.sqrt(f / g) - (f / g * math.sin(10 * math.pi * f) if kind == 3 else 0))


def dtlz2(x):
    far = 1 + sum((v - 0.5) ** 2 for v in x[2:])
    a, b = x[0] * math.pi / 2, x[1] * math.pi / 2
    return far * math.cos(a) * math.cos(b), far * math.cos(a) * math.sin(b), far * math.sin(a)


def branin_currin(x):
    from problems import branin

    u, v = x
    fall = 1 - math.exp(-1 / (2 * v)) if v > 0 else 1.0
    top, bottom = 2300 * u**3 + 1900 * u * u + 2092 * u + 60, 100 * u**3 + 500 * u * u + 4 * u + 20
    return branin((15 * u - 5, 15 * v)), fall * top / bottom


def size(params):
    """ln of the number of parameters of a table's network."""
    if "width" in params:
        w, depth = WIDTHS[params["width"]], params["depth"] + 1
        return math.log(5 * w + w + (depth - 1) * (w * w + w) + w + 1)
    a, b = UNITS[params["n_units_1"]], UNITS[params["n_units_2"]]
    return math.log(9 * a + a + a * b + b + b + 1)


def objectives(folder):
    """{problem: function of an optuna trial}"""
    from problems import table

    out = {}
    forms = {f"zdt{k}": (6, lambda x, k=k: zdt(k, x)) for k in (1, 2, 3)}
    forms |= {"dtlz2": (6, dtlz2), "branin-currin": (2, branin_currin)}
    for name, (n, f) in forms.items():
        out[name] = lambda trial, n=n, f=f: f([trial.suggest_float(f"x{i}", 0.0, 1.0) for i in range(n)])
    for name in list(PROBLEMS)[5:]:
        one = table(pathlib.Path(folder) / f"{name}.csv.gz").objective

        def both(trial, one=one):
            error = one(trial)
            return error, size(trial.params)

        out[name] = both
    return out


def volume(points, reference):
    """What the points dominate within the reference: slices of one objective less, down to a single one."""
    points = [p for p in points if all(v < r for v, r in zip(p, reference))]
    if not points:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(p[0] for p in points)
    points.sort(key=lambda p: p[-1])
    ends = [p[-1] for p in points[1:]] + [reference[-1]]
    return sum(
        (end - p[-1]) * volume([q[:-1] for q in points[: i + 1]], reference[:-1])
        for i, (p, end) in enumerate(zip(points, ends))
        if end > p[-1]
    )


def run(name, problem, objective, seed):
    import optuna

    samplers = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler, "nsga2": optuna.samplers.NSGAIISampler}
    reference = PROBLEMS[problem][0]
    study = optuna.create_study(directions=["minimize"] * len(reference), sampler=samplers[name](seed=seed))
    start = time.perf_counter()
    study.optimize(objective, n_trials=max(BUDGETS))
    milliseconds = (time.perf_counter() - start) * 1e3 / max(BUDGETS)
    values = [tuple(trial.values) for trial in study.trials]
    volumes = [round(volume(values[:budget], reference), 8) for budget in BUDGETS]
    run = {"sampler": f"optuna {name}", "problem": problem, "seed": seed, "volume": volumes, "ms": round(milliseconds, 2)}
    return run | {"optuna": optuna.__version__}


def play(arguments):
    begin = time.perf_counter()
    done = begin_runs(arguments.samplers, arguments.out)
    everything = objectives(arguments.tables)
    for seed in range(arguments.seeds):
        for name in arguments.samplers.split(","):
            for problem, objective in everything.items():
                if (f"optuna {name}", problem, seed) in done:
                    continue
                if time.perf_counter() - begin > arguments.seconds:
                    return 75
                with arguments.out.open("a") as out:
                    out.write(json.dumps(run(name, problem, objective, seed)) + "\n")
    return 0


def ratio(ours, theirs, draws=2000):
    random = np.random.default_rng(1)
    means = lambda samples: sum(x[random.integers(0, len(x), (draws, len(x)))].mean(1) for x in samples)
    point = sum(x.mean() for x in ours) / sum(x.mean() for x in theirs)
    low, high = np.quantile(means(ours) / means(theirs), [0.025, 0.975])
    return f"{point:.2f} [{low:.2f}, {high:.2f}]"


def judge(paths):
    runs = [json.loads(line) for path in paths for line in pathlib.Path(path).read_text().splitlines()]
    found, ms = collections.defaultdict(dict), collections.defaultdict(list)
    for r in runs:
        found[r["problem"], r["sampler"]][r["seed"]] = r["volume"]
        if "ms" in r:  # none where others used the machine too
            ms[r["sampler"]].append(r["ms"])
    best = lambda p: max(r["volume"][-1] for r in runs if r["problem"] == p)
    largest = {p: most or best(p) for p, (_, most) in PROBLEMS.items()}
    samplers = list(dict.fromkeys(r["sampler"] for r in runs))
    missed = lambda p, s: 1 - np.array(list(found[p, s].values())) / largest[p]
    for b, budget in enumerate(BUDGETS):
        print(f"\n{budget} trials: share of the volume missed in the mean ({' '.join(PROBLEMS)})")
        for s in samplers:
            row = [missed(p, s)[:, b] for p in PROBLEMS]
            line = f"  {s:14} {np.mean([x.mean() for x in row]):.4f}  ({' '.join(f'{x.mean():.4f}' for x in row)})"
            if not s.startswith("optuna"):
                others = [o for o in samplers if o.startswith("optuna")]
                line += "".join(f"  /{o[7:]} {ratio(row, [missed(p, o)[:, b] for p in PROBLEMS])}" for o in others)
            print(line)
    print("\nms a trial: " + ", ".join(f"{s} {np.median(ms[s]):.1f}" for s in samplers))


def main():
    parser = argparse.ArgumentParser(description="Samplers with several objectives")
    parser.add_argument("--tables")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samplers", default="tpe,nsga2,gp")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--judge", nargs="+", help="files of runs")
    arguments = parser.parse_args()
    if arguments.judge:
        return judge(arguments.judge)
    return play(arguments)


if __name__ == "__main__":
    sys.exit(main())
