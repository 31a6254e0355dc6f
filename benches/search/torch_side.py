"""Optuna (TPE, median pruner) and PyTorch tune a network on a CSV file: the loop that a careful user writes.

    python torch_side.py --data covertype-20000.csv --target Cover_Type --seconds 300 --seed 0 --out torch.jsonl

The space is benches/studies/cli-space.toml; 20 epochs, early stopping after 5 without an improvement, as there. All
data are in memory as tensors, batches are index selections, all cores are used. Rows are divided 64 : 16 : 20 by class,
columns are standardised by the training rows, as in ours (the divisions themselves differ). One line of JSON a run:
seconds and best validation accuracy after each trial.
"""

import argparse
import json
import math
import time

import numpy as np
import optuna
import torch
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}
EPOCHS, PATIENCE = 20, 5


def divide(labels, seed):
    """Places of training and validation rows, stratified."""
    generator = np.random.default_rng(seed)
    train, validation = [], []
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        test = round(0.2 * len(rows))
        held = round(0.2 * (len(rows) - test))
        validation.extend(rows[test:test + held])
        train.extend(rows[test + held:])
    return np.array(train), np.array(validation)


def load(path, target, seed):
    with open(path) as file:
        names = file.readline().strip().split(",")
    table = np.loadtxt(path, delimiter=",", skiprows=1)
    labels = np.unique(table[:, names.index(target)], return_inverse=True)[1]
    x = np.delete(table, names.index(target), axis=1)
    train, validation = divide(labels, seed)
    x = x[:, x[train].std(0) > 0]
    x = (x - x[train].mean(0)) / x[train].std(0)
    pair = lambda rows: (torch.tensor(x[rows], dtype=torch.float32), torch.tensor(labels[rows]))
    return pair(train), pair(validation), int(labels.max()) + 1


def network(trial, inputs, classes):
    parts, width = [nn.Dropout(trial.suggest_float("input_dropout", 0.0, 0.3))], inputs
    depth = trial.suggest_int("layers", 1, 5)
    activation = ACTIVATIONS[trial.suggest_categorical("activation", list(ACTIVATIONS))]
    dropout = trial.suggest_float("dropout", 0.0, 0.5)
    for layer in range(depth):
        units = trial.suggest_int(f"units_{layer}", 32, 512, step=32)
        parts += [nn.Linear(width, units), activation(), nn.Dropout(dropout)]
        width = units
    return nn.Sequential(*parts, nn.Linear(width, classes))


def optimizer_of(trial, parameters):
    rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
    name = trial.suggest_categorical("optimizer", ["sgd", "momentum", "adam", "adamw", "rmsprop"])
    decay = trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True) if name in ("adamw", "sgd") else 0.0
    momentum = trial.suggest_float("momentum", 0.5, 0.99) if name == "momentum" else 0.0
    if name in ("sgd", "momentum"):
        return torch.optim.SGD(parameters, rate, momentum=momentum, weight_decay=decay)
    if name == "rmsprop":
        return torch.optim.RMSprop(parameters, rate)
    return (torch.optim.Adam if name == "adam" else torch.optim.AdamW)(parameters, rate, weight_decay=decay)


def schedule_of(trial, optimizer):
    name = trial.suggest_categorical("schedule", ["constant", "step", "exponential", "cosine"])
    rate = trial.suggest_float("decay_rate", 0.1, 0.99) if name in ("step", "exponential") else 1.0
    factor = (lambda e: 0.5 * (1 + math.cos(math.pi * e / EPOCHS))) if name == "cosine" else (lambda e: rate**e)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def objective(trial, data, seed, deadline):
    (x, y), (held_x, held_y), classes = data
    torch.manual_seed(seed * 10_000 + trial.number)
    batch = trial.suggest_categorical("batch_size", [64, 128, 256, 512])
    model = network(trial, x.shape[1], classes)
    optimizer = optimizer_of(trial, model.parameters())
    schedule = schedule_of(trial, optimizer)
    loss, best, best_epoch = nn.CrossEntropyLoss(), 0.0, 0
    for epoch in range(1, EPOCHS + 1):
        model.train()
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch):
            rows = order[start:start + batch]
            optimizer.zero_grad(set_to_none=True)
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
            if time.perf_counter() > deadline:
                trial.study.stop()
                raise optuna.TrialPruned
        schedule.step()
        model.eval()
        with torch.inference_mode():
            accuracy = (model(held_x).argmax(1) == held_y).float().mean().item()
        trial.report(accuracy, epoch)
        if accuracy > best:
            best, best_epoch = accuracy, epoch
        if epoch - best_epoch >= PATIENCE:
            break
        if trial.should_prune():
            raise optuna.TrialPruned
    return best


def main():
    parser = argparse.ArgumentParser(description="Optuna and PyTorch on a CSV file")
    for name in ["--data", "--target", "--out"]:
        parser.add_argument(name, required=True)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data = load(arguments.data, arguments.target, arguments.seed)
    begin, curve = time.perf_counter(), []
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=arguments.seed), pruner=optuna.pruners.MedianPruner()
    )

    def note(study, trial):
        complete = [t.value for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
        curve.append([round(time.perf_counter() - begin, 2), max(complete, default=0.0)])

    one = lambda trial: objective(trial, data, arguments.seed, begin + arguments.seconds)
    study.optimize(one, timeout=arguments.seconds, callbacks=[note])
    run = {"side": "optuna+pytorch", "seed": arguments.seed, "threads": torch.get_num_threads(), "curve": curve,
           "versions": {"optuna": optuna.__version__, "torch": torch.__version__}}
    with open(arguments.out, "a") as out:
        out.write(json.dumps(run) + "\n")


if __name__ == "__main__":
    main()
