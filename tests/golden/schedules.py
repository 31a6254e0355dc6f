"""schedules.json: learning rates of torch.optim.lr_scheduler and keras.optimizers.schedules.

`rates[t]` is the rate that step t (from 0) is made with. In a plateau case `metrics[t]` is seen after step t.
Rates and options are plain float64: schedules are scalars, computed in float64 by any engine.
"""

import warnings

import common  # noqa: F401  (chooses the Keras backend before keras is imported)
import keras
import torch
from torch.optim import lr_scheduler as torch_schedules

STEPS = 40
BASE = 0.05

IMPROVES_THEN_STALLS = [1.0 / (1 + t) if t < 9 else 0.11 + 0.003 * ((t * 7) % 5) for t in range(STEPS)]
# Gains smaller than the relative threshold of 1e-4 are no improvement; later ones are.
CREEPS = [1.0 - 5e-5 * (t % 2) for t in range(14)] + [0.9 - 0.01 * (t // 4) for t in range(STEPS - 14)]
FALLS_WITH_PAUSES = [2.0 - 0.04 * (t - (t % 5 == 4) - 2 * (t % 13 == 12)) for t in range(STEPS)]
RISES = [0.5 + 0.04 * t if t < 8 else 0.7 + 0.01 * ((t * 3) % 4) for t in range(STEPS)]


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)


def walk(name, options, build, metrics=None, steps=STEPS):
    """Runs a torch scheduler; `build(optimizer)` makes it."""
    sgd = optimizer()
    schedule = build(sgd)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR itself calls step(epoch), which is deprecated
        for t in range(steps):
            rates.append(float(sgd.param_groups[0]["lr"]))
            sgd.step()
            if t + 1 < steps:
                schedule.step(*([] if metrics is None else [metrics[t]]))
    row = {"name": name, "base": BASE, "steps": steps, "options": options}
    if metrics is not None:
        row["metrics"] = metrics
    return {**row, "expected": {"rates": rates}}


def torch_case(name, **options):
    return walk(name, options, lambda sgd: getattr(torch_schedules, name)(sgd, **options))


def plateau(metrics, **options):
    options = {"mode": "min", "factor": 0.1, "patience": 10, "threshold": 1e-4, **options}
    return walk("ReduceLROnPlateau", options, lambda sgd: torch_schedules.ReduceLROnPlateau(sgd, **options), metrics)


def one_cycle(steps):
    options = {"max_lr": BASE, "total_steps": steps, "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4,
               "anneal_strategy": "cos", "cycle_momentum": False}
    return walk("OneCycleLR", options, lambda sgd: torch_schedules.OneCycleLR(sgd, **options), steps=steps)


def warm_up(warm, then, **options):
    """LinearLR from base / (warm + 1) up to the base rate at step `warm`, where the other schedule begins."""
    linear = {"start_factor": 1 / (warm + 1), "total_iters": warm}

    def build(sgd):
        first = torch_schedules.LinearLR(sgd, **linear)
        second = getattr(torch_schedules, then)(sgd, **options)
        return torch_schedules.SequentialLR(sgd, [first, second], milestones=[warm])

    row = walk(then, options, build)
    return {"name": row.pop("name"), "warm_up": linear, **row}


def keras_case(name, **options):
    schedule = getattr(keras.optimizers.schedules, name)(BASE, **options)
    rates = [float(schedule(t)) for t in range(STEPS)]
    return {"name": name, "base": BASE, "steps": STEPS, "options": options, "expected": {"rates": rates}}


def cases():
    keras.config.set_floatx("float64")
    return {
        "torch": [
            torch_case("StepLR", step_size=7, gamma=0.5),
            torch_case("StepLR", step_size=1, gamma=0.9),
            torch_case("ExponentialLR", gamma=0.93),
            torch_case("CosineAnnealingLR", T_max=40, eta_min=0.0),
            *[one_cycle(steps) for steps in (40, 41, 10, 3, 2, 1)],
            torch_case("PolynomialLR", total_iters=40, power=1.0),
            torch_case("PolynomialLR", total_iters=40, power=2.0),
            torch_case("PolynomialLR", total_iters=25, power=0.5),
        ],
        "warm_up": [
            warm_up(5, "ConstantLR", factor=1.0, total_iters=1),
            warm_up(5, "CosineAnnealingLR", T_max=35, eta_min=0.0),
            warm_up(8, "ExponentialLR", gamma=0.93),
            warm_up(1, "StepLR", step_size=10, gamma=0.5),
        ],
        "plateau": [
            plateau(IMPROVES_THEN_STALLS),
            plateau(IMPROVES_THEN_STALLS, factor=0.5, patience=2),
            plateau(CREEPS, factor=0.5, patience=2),
            plateau(FALLS_WITH_PAUSES, factor=0.5, patience=0),
            plateau(RISES, mode="max", factor=0.5, patience=2),
        ],
        "keras": [
            keras_case("ExponentialDecay", decay_steps=8, decay_rate=0.5, staircase=False),
            keras_case("ExponentialDecay", decay_steps=8, decay_rate=0.5, staircase=True),
            keras_case("InverseTimeDecay", decay_steps=8, decay_rate=0.5, staircase=False),
            keras_case("InverseTimeDecay", decay_steps=8, decay_rate=0.5, staircase=True),
            keras_case("PolynomialDecay", decay_steps=40, end_learning_rate=0.0, power=1.0),
            keras_case("PolynomialDecay", decay_steps=30, end_learning_rate=0.0, power=2.0),
            keras_case("CosineDecay", decay_steps=40, alpha=0.0),
            keras_case("CosineDecay", decay_steps=30, alpha=0.0),
        ],
    }
