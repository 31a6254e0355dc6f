"""Optuna's regret bounds of studies, written to regret.json beside this file.

    VENV/bin/python -B tests/golden/regret.py      # VENV: tests/python/requirements-optuna5.txt and PyTorch

`optuna.terminator.RegretBoundEvaluator` (experimental in Optuna 5) after 30 and after 60 trials of Optuna's own
TPESampler on eight functions, three seeds each. The trials are part of the file: both sides see the same. Not part of
`write.py`, whose environment has no Optuna.
"""

import json
import math
import pathlib
import warnings

import optuna
import torch
from optuna.distributions import FloatDistribution
from optuna.terminator import RegretBoundEvaluator

TRIALS, LOOKS, SEEDS = 60, (30, 60), (0, 1, 2)


def branin(x):
    a, b = 15 * x[0] - 5, 15 * x[1]
    return (b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def hartmann3(x):
    rates = [[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]]
    middles = [[0.3689, 0.1170, 0.2673], [0.4699, 0.4387, 0.7470], [0.1091, 0.8732, 0.5547], [0.0381, 0.5743, 0.8828]]
    terms = [math.exp(-sum(r * (v - m) ** 2 for r, v, m in zip(row, x, middle))) for row, middle in zip(rates, middles)]
    return -sum(height * term for height, term in zip([1, 1.2, 3, 3.2], terms))


def rosenbrock(x):
    z = [4 * v - 2 for v in x]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(z, z[1:]))


def ackley(x):
    z = [10 * v - 4 for v in x]
    root = math.sqrt(sum(v * v for v in z) / len(z))
    return 20 + math.e - 20 * math.exp(-0.2 * root) - math.exp(sum(math.cos(2 * math.pi * v) for v in z) / len(z))


def bowl(x):
    return (4 * x[0] - 2.3) ** 2 + (4 * x[1] - 1.8) ** 2


def waves(x):
    return bowl(x) + 0.3 * math.sin(9 * (4 * x[0] - 2))


def slope(x):
    return math.log1p(5 * x[0]) + 0.1 * x[1] - 0.3 * x[2]


def noisy_bowl(x):
    # Noise that anybody can repeat: a hash of the point.
    return bowl(x) + 0.2 * math.sin(1e4 * (x[0] + 3 * x[1]))


FUNCTIONS = {"bowl": (bowl, 2), "waves": (waves, 2), "noisy bowl": (noisy_bowl, 2), "branin": (branin, 2), "slope": (slope, 3),
             "hartmann3": (hartmann3, 3), "rosenbrock": (rosenbrock, 3), "ackley": (ackley, 4)}


def study(function, dimensions, seed):
    names = [f"x{i}" for i in range(dimensions)]
    space = {name: FloatDistribution(0.0, 1.0) for name in names}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    rows = []
    for _ in range(TRIALS):
        trial = study.ask(space)
        x = [round(trial.params[name], 6) for name in names]
        value = round(function(x), 9)
        study.tell(trial, value)
        rows.append([*x, value])
    # The same trials with the rounded numbers that the file has.
    trials = [
        optuna.trial.create_trial(params=dict(zip(names, row)), distributions=space, value=row[-1]) for row in rows
    ]
    bounds = [RegretBoundEvaluator(seed=seed).evaluate(trials[:n], study.direction) for n in LOOKS]
    return {"seed": seed, "bounds": bounds, "trials": rows}


def main():
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    cases = [
        {"function": name, "dimensions": d, **study(f, d, seed)} for name, (f, d) in FUNCTIONS.items() for seed in SEEDS
    ]
    text = ",\n".join(json.dumps(case) for case in cases)
    head = json.dumps({"optuna": optuna.__version__, "torch": torch.__version__})
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(f'{{"written_by": {head}, "looks": {json.dumps(LOOKS)}, "cases": [\n{text}\n]}}\n')


if __name__ == "__main__":
    main()
