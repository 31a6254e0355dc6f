"""The problems of benches/search.rs for Optuna: complete grids of MLP configurations and six closed forms.

A problem has a name, its optimum, a typical value (a table's median; a function's over 100,000 random points) and an
objective that takes an optuna trial. Everything is minimised: tables of accuracies are negated. `activation_fn_*` and
`lr_schedule` are choices, every other column of a table is the whole number of its value's place.
"""

import csv
import gzip
import json
import math
import pathlib
import warnings

import numpy as np


def begin_runs(samplers, out):
    """Makes Optuna quiet and its processes sequential; the runs that the file `out` has: (sampler, problem, seed)."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if "gp" in samplers:
        import torch

        torch.set_num_threads(1)
    lines = out.read_text().splitlines() if out.exists() else []
    return {(run["sampler"], run["problem"], run["seed"]) for run in map(json.loads, lines)}


A3 = np.array([[3.0, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
P3 = np.array([[0.3689, 0.1170, 0.2673], [0.4699, 0.4387, 0.7470], [0.1091, 0.8732, 0.5547], [0.0381, 0.5743, 0.8828]])
A6 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P6 = np.array(
    [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ]
)
ALPHA = np.array([1.0, 1.2, 3.0, 3.2])


def branin(x):
    a, b = x
    term = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return term * term + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def hartmann(a, p):
    return lambda x: float(-ALPHA @ np.exp(-(a * (np.asarray(x) - p) ** 2).sum(1)))


def ackley(x):
    x = np.asarray(x)
    waves = np.exp(np.cos(2 * np.pi * x).mean())
    return float(-20 * np.exp(-0.2 * np.sqrt((x * x).mean())) - waves + 20 + math.e)


def levy(x):
    w = 1 + (np.asarray(x) - 1) / 4
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2)).sum()
    end = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + middle + end)


def rosenbrock(x):
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:]))


class Problem:
    def __init__(self, name, optimum, median, objective, budgets):
        self.name, self.optimum, self.median = name, optimum, median
        self.objective, self.budgets = objective, budgets


def closed_form(name, bounds, optimum, f):
    names = ["a", "b"] if name == "branin" else [f"x{i}" for i in range(len(bounds))]

    def objective(trial):
        return f([trial.suggest_float(key, low, high) for key, (low, high) in zip(names, bounds)])

    draws = np.random.default_rng(0).random((100_000, len(bounds)))
    low, high = np.array(bounds).T
    median = float(np.median([f(x) for x in low + draws * (high - low)]))
    return Problem(name, optimum, median, objective, [30, 60])


def closed_forms():
    return [
        closed_form("branin", [(-5.0, 10.0), (0.0, 15.0)], 0.397887, branin),
        closed_form("hartmann3", [(0.0, 1.0)] * 3, -3.86278, hartmann(A3, P3)),
        closed_form("hartmann6", [(0.0, 1.0)] * 6, -3.32237, hartmann(A6, P6)),
        closed_form("ackley5", [(-32.768, 32.768)] * 5, 0.0, ackley),
        closed_form("levy5", [(-10.0, 10.0)] * 5, 0.0, levy),
        closed_form("rosenbrock5", [(-5.0, 10.0)] * 5, 0.0, rosenbrock),
    ]


def table(path):
    name = path.name.removesuffix(".csv.gz")
    sign = -1.0 if name.startswith("hpobench") else 1.0
    with gzip.open(path, "rt") as file:
        header, *rows = csv.reader(file)
    inputs = header[:-1]
    is_choice = [key.startswith("activation_fn") or key == "lr_schedule" for key in inputs]
    levels = [list(dict.fromkeys(row[j] for row in rows)) for j in range(len(inputs))]
    for j, choice in enumerate(is_choice):
        if not choice:
            levels[j].sort(key=float)
    values = {tuple(row[:-1]): sign * float(row[-1]) for row in rows}

    def objective(trial):
        def suggest(j, key):
            if is_choice[j]:
                return trial.suggest_categorical(key, levels[j])
            return levels[j][trial.suggest_int(key, 0, len(levels[j]) - 1)]

        return values[tuple(suggest(j, key) for j, key in enumerate(inputs))]

    ordered = sorted(values.values())
    return Problem(name, ordered[0], ordered[len(ordered) // 2], objective, [30, 50, 100])


def tables(folder):
    return [table(path) for path in sorted(pathlib.Path(folder).glob("*.csv.gz"))]
