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
RISES = [0.5 + 0.04 * t if t < 8 else 0.7 + 0.01 * ((t * 3) % 4) for t in range(STEPS)]


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)


def walk(name, options, build, metrics=None, after=None):
    """Runs a torch scheduler; `build(optimizer)` makes it."""
    sgd = optimizer()
    schedule = build(sgd)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR itself calls step(epoch), which is deprecated
        for t in range(STEPS):
            rates.append(float(sgd.param_groups[0]["lr"]))
            sgd.step()
            if t + 1 < STEPS:
                schedule.step(*([] if metrics is None else [metrics[t]]))
    row = {"name": name, "base": BASE, "options": options}
    if metrics is not None:
        row["metrics"] = metrics
    return {**row, "expected": {"rates": rates}}


def torch_case(name, **options):
    return walk(name, options, lambda sgd: getattr(torch_schedules, name)(sgd, **options))


def plateau(metrics, **options):
    options = {"mode": "min", "factor": 0.1, "patience": 10, "threshold": 1e-4, **options}
    return walk("ReduceLROnPlateau", options, lambda sgd: torch_schedules.ReduceLROnPlateau(sgd, **options), metrics)


def warm_up(how, warm, then, options):
    """LinearLR over the first `warm` steps (rates base/warm, 2 base/warm, ..., base), then or times another schedule.

    "product": both run from step 0 and multiply (ChainedScheduler). "sequence": the second starts at step `warm`.
    """

    def build(sgd):
        iterations = warm - 1 if how == "product" else warm
        first = torch_schedules.LinearLR(sgd, start_factor=1 / warm, total_iters=iterations)
        second = getattr(torch_schedules, then)(sgd, **options)
        if how == "product":
            return torch_schedules.ChainedScheduler([first, second], optimizer=sgd)
        return torch_schedules.SequentialLR(sgd, [first, second], milestones=[warm])

    linear = {"start_factor": 1 / warm, "total_iters": warm - 1 if how == "product" else warm}
    return walk(f"warm-up, {how}", {"warm_up": linear, "milestone": warm, "then": then, **options}, build)


def keras_case(name, **options):
    schedule = getattr(keras.optimizers.schedules, name)(BASE, **options)
    rates = [float(schedule(t)) for t in range(STEPS)]
    return {"name": name, "base": BASE, "options": options, "expected": {"rates": rates}}


def cases():
    keras.config.set_floatx("float64")
    constant = {"factor": 1.0, "total_iters": 1}
    return {
        "steps": STEPS,
        "torch": [
            torch_case("StepLR", step_size=7, gamma=0.5),
            torch_case("StepLR", step_size=1, gamma=0.9),
            torch_case("ExponentialLR", gamma=0.93),
            torch_case("CosineAnnealingLR", T_max=40, eta_min=0.0),
            torch_case("CosineAnnealingLR", T_max=40, eta_min=0.002),
            torch_case("OneCycleLR", max_lr=BASE, total_steps=40, pct_start=0.3, div_factor=25.0,
                       final_div_factor=1e4, anneal_strategy="cos", cycle_momentum=False),
            torch_case("OneCycleLR", max_lr=BASE, total_steps=41, pct_start=0.25, div_factor=10.0,
                       final_div_factor=100.0, anneal_strategy="cos", cycle_momentum=False),
            torch_case("PolynomialLR", total_iters=40, power=1.0),
            torch_case("PolynomialLR", total_iters=40, power=2.0),
            torch_case("PolynomialLR", total_iters=25, power=0.5),
            warm_up("product", 5, "ConstantLR", constant),
            warm_up("product", 5, "CosineAnnealingLR", {"T_max": 40, "eta_min": 0.0}),
            warm_up("product", 6, "StepLR", {"step_size": 10, "gamma": 0.5}),
            warm_up("sequence", 5, "CosineAnnealingLR", {"T_max": 35, "eta_min": 0.0}),
            warm_up("sequence", 8, "ExponentialLR", {"gamma": 0.93}),
        ],
        "plateau": [
            plateau(IMPROVES_THEN_STALLS),
            plateau(IMPROVES_THEN_STALLS, factor=0.5, patience=2),
            plateau(CREEPS, factor=0.5, patience=2),
            plateau(CREEPS, factor=0.5, patience=0),
            plateau(RISES, mode="max", factor=0.5, patience=2),
        ],
        "keras": [
            keras_case("ExponentialDecay", decay_steps=8, decay_rate=0.5, staircase=False),
            keras_case("ExponentialDecay", decay_steps=8, decay_rate=0.5, staircase=True),
            keras_case("InverseTimeDecay", decay_steps=8, decay_rate=0.5, staircase=False),
            keras_case("InverseTimeDecay", decay_steps=8, decay_rate=0.5, staircase=True),
            keras_case("PolynomialDecay", decay_steps=40, end_learning_rate=0.0, power=1.0),
            keras_case("PolynomialDecay", decay_steps=30, end_learning_rate=0.001, power=2.0),
            keras_case("CosineDecay", decay_steps=40, alpha=0.0),
            keras_case("CosineDecay", decay_steps=30, alpha=0.1),
        ],
    }
