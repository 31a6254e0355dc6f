"""Runs Optuna's TPESampler and GPSampler over the problems and notes the best value after each budget.

    python optuna_side.py --tables FOLDER --out runs.jsonl --seeds 20 [--first-seed 0] [--problems hartmann6] [--seconds 50]

One line of JSON a run (sampler, problem, seed, best values at the budgets, milliseconds a trial). Runs that are in the
file already are not repeated, so it may be ended and started again at will; `--seconds` ends it by itself (then it
returns 75 while runs are left). `judge.py --pack runs.jsonl` makes the recorded optuna.json of them.
"""

import argparse
import json
import pathlib
import sys
import time

import optuna
from problems import begin_runs, closed_forms, tables


def run(name, problem, seed):
    make = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}[name]
    study = optuna.create_study(sampler=make(seed=seed))
    start = time.perf_counter()
    study.optimize(problem.objective, n_trials=max(problem.budgets))
    milliseconds = (time.perf_counter() - start) * 1e3 / max(problem.budgets)
    values = [trial.value for trial in study.trials]
    best = [min(values[:budget]) for budget in problem.budgets]
    return {"sampler": name, "problem": problem.name, "seed": seed, "best": best, "ms": round(milliseconds, 2)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", help="folder; without it the closed forms alone")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--samplers", default="tpe,gp")
    parser.add_argument("--problems", help="only those whose names contain one of these, with commas")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    begin = time.perf_counter()
    done = begin_runs(arguments.samplers, arguments.out)
    problems = (tables(arguments.tables) if arguments.tables else []) + closed_forms()
    if arguments.problems:
        problems = [p for p in problems if any(part in p.name for part in arguments.problems.split(","))]
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for name in arguments.samplers.split(","):
            for problem in problems:
                if (name, problem.name, seed) in done:
                    continue
                if time.perf_counter() - begin > arguments.seconds:
                    sys.exit(75)
                with arguments.out.open("a") as out:
                    out.write(json.dumps(run(name, problem, seed)) + "\n")


if __name__ == "__main__":
    main()
