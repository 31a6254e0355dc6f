"""Reads a study file of hpt-engine with the real Optuna and compares it with what `hpt-engine trials --json` prints.

    python check_study.py STUDY.db TRIALS.json [--continue N --out AFTER.json] [--dashboard] [--front 1,5]

- the tables are those that this Optuna creates; `load_study` gives the same trials, parameters (and their types),
  distributions, intermediate values, states, values and times; any warning of Optuna is an error;
- `--continue N` runs N more trials in Optuna and writes all trials, in the shape of TRIALS.json, to AFTER.json;
- `--front` is what `best_trials` must be, with constraints kept;
- `--dashboard` asks the API of optuna-dashboard for the same study.

Optuna's copy of the space is compared with the study's attribute `hpt:space`.
"""

import argparse
import datetime
import json
import math
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings

# Away from UTC, so that a time in the wrong zone shows.
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()

import optuna  # noqa: E402
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
MAJOR = int(optuna.__version__.split(".")[0])


def number(value):
    if value is None or math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def iso(when):
    """Optuna 5 converts the file's UTC to local time; Optuna 4 hands out what the file says."""
    if when is None:
        return None
    if MAJOR >= 5:
        when = when.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return when.isoformat(timespec="microseconds") + "Z"


def as_json(study):
    """The study as Optuna sees it, in the shape of `hpt-engine trials --json`."""
    trials = []
    for trial in study.get_trials(deepcopy=False):
        entry = {"number": trial.number, "state": STATES[trial.state.name]}
        if len(study.directions) == 1:
            entry["value"] = number(trial.values[0]) if trial.values else None
        else:
            entry["values"] = [number(value) for value in trial.values] if trial.values else None
        entry["params"] = trial.params
        entry["intermediate"] = {str(step): number(value) for step, value in trial.intermediate_values.items()}
        reported = {key[11:]: value for key, value in trial._system_attrs.items() if key.startswith("hpt:values:")}
        if reported:
            assert all(float(values[0]) == trial.intermediate_values[int(step)] or values[0] == "NaN" for step, values in reported.items())
            entry["intermediate_values"] = {step: [number(float(x)) for x in values] for step, values in reported.items()}
        seconds = trial.duration.total_seconds() if trial.duration else None
        entry.update(seconds=seconds, started=iso(trial.datetime_start), finished=iso(trial.datetime_complete))
        system = trial._system_attrs
        why = system.get("hpt:reason", system.get("hpt:lost"))
        if why is not None and trial.state.name in ["FAIL", "PRUNED"]:
            entry["pruned_because" if trial.state.name == "PRUNED" else "failed_because"] = why
        if "constraints" in system:
            entry["constraints"] = list(system["constraints"])
        entry.update({key: trial.user_attrs[key] for key in ["generation", "parent", "member"] if key in trial.user_attrs})
        trials.append(entry)
    return {"study": study.study_name, "trials": trials}


def same(ours, theirs, where):
    """Equal in value and in kind (1, 1.0 and true are three things); seconds to the microsecond."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        assert set(ours) == set(theirs), f"{where}: keys {sorted(ours)} and {sorted(theirs)}"
        for key in ours:
            same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        assert len(ours) == len(theirs), f"{where}: {len(ours)} and {len(theirs)} entries"
        for i, (a, b) in enumerate(zip(ours, theirs)):
            same(a, b, f"{where}[{i}]")
    elif where.endswith(".seconds") and ours is not None and theirs is not None:
        assert abs(ours - theirs) < 1.5e-6, f"{where}: {ours} and {theirs}"
    else:
        assert type(ours) is type(theirs) and ours == theirs, f"{where}: {ours!r} here, {theirs!r} in Optuna"


def tables(path):
    rows = sqlite3.connect(path).execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: re.sub(r"\s*([(),])\s*", r"\1", re.sub(r"\s+", " ", sql)) for name, sql in rows}


def distribution(domain):
    (kind, fields), = domain.items()
    return {
        "float": lambda: FloatDistribution(fields["low"], fields["high"], log=fields["log"], step=fields["step"]),
        "int": lambda: IntDistribution(fields["low"], fields["high"], log=fields["log"], step=fields["step"]),
        "choice": lambda: CategoricalDistribution(fields),
    }[kind]()


def check_distributions(study):
    space = study._storage.get_study_system_attrs(study._study_id)["hpt:space"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an upper end off the grid is moved here; the file must have it moved already
        known = {parameter["name"]: distribution(parameter["domain"]) for parameter in space}
    for trial in study.get_trials(deepcopy=False):
        for name, found in trial.distributions.items():
            assert found == known[name], f"trial {trial.number}: {name} is {found}, the space has {known[name]}"
            assert found._contains(found.to_internal_repr(trial.params[name])), f"trial {trial.number}: {name}"
    return known


def check_best(study, expected):
    complete = [trial for trial in expected["trials"] if trial["state"] == "complete"]
    if len(study.directions) == 1 and complete:
        sign = -1 if study.direction.name == "MAXIMIZE" else 1
        best = min(complete, key=lambda trial: sign * float(trial["value"]))
        assert study.best_trial.number == best["number"], "the best trial"


def check_front(study, expected):
    """The Pareto front, to which a trial that breaks a constraint does not belong."""
    found = [trial.number for trial in study.best_trials]
    assert found == expected, f"the front is {expected} here, {found} in Optuna"
    broken = [trial for trial in study.get_trials(deepcopy=False) if max(constraints(trial), default=0.0) > 0]
    assert broken, "some trials break a constraint"
    assert not {trial.number for trial in broken} & set(found)


def constraints(trial):
    if MAJOR >= 5:
        from optuna.study._constrained_optimization import _get_constraints_from_system_attrs as read

        return list(read(trial.system_attrs).values())
    return trial.system_attrs.get("constraints") or []


def go_on(study, distributions, trials):
    """More trials in Optuna: those that wait come first, with their given parameters."""

    def suggest(trial, name, known):
        if isinstance(known, FloatDistribution):
            return trial.suggest_float(name, known.low, known.high, log=known.log, step=known.step)
        if isinstance(known, IntDistribution):
            return trial.suggest_int(name, known.low, known.high, log=known.log, step=known.step)
        return trial.suggest_categorical(name, known.choices)

    def objective(trial):
        for name, known in distributions.items():
            suggest(trial, name, known)
        trial.report(0.5, 1)
        trial.set_user_attr("by", {"optuna": optuna.__version__, "loss": float("nan")})
        return [0.125] * len(study.directions)

    study.sampler = optuna.samplers.RandomSampler(seed=0)
    study.optimize(objective, n_trials=trials)


def check_dashboard(path, expected):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = "import sys; from optuna_dashboard._cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, f"sqlite:///{path}", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:

        def get(what):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{what}", timeout=30) as answer:
                return json.load(answer)

        until = time.monotonic() + 60
        while True:
            try:
                studies = get("studies")["study_summaries"]
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, "optuna-dashboard ended"
                assert time.monotonic() < until, "optuna-dashboard does not answer"
                time.sleep(0.1)
        ids = {study["study_name"]: study["study_id"] for study in studies}
        shown = get(f"studies/{ids[expected['study']]}?after=0")
        assert len(shown["trials"]) == len(expected["trials"]), "the dashboard's number of trials"
        for ours, theirs in zip(expected["trials"], shown["trials"]):
            where = f"dashboard, trial {ours['number']}"
            assert STATES[theirs["state"].upper()] == ours["state"], f"{where}: {theirs['state']}"
            assert [p["name"] for p in theirs["params"]] == list(ours["params"]), f"{where}: parameters"
            steps = {str(report["step"]) for report in theirs["intermediate_values"]}
            assert steps == set(ours["intermediate"]), f"{where}: steps {steps}"
    finally:
        server.terminate()
        server.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("study")
    parser.add_argument("trials")
    parser.add_argument("--continue", dest="more", type=int, default=0)
    parser.add_argument("--out")
    parser.add_argument("--dashboard", action="store_true")
    parser.add_argument("--front", help="numbers of the trials that no other beats, with commas")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("error")
    with open(arguments.trials) as file:
        expected = json.load(file)

    with tempfile.TemporaryDirectory() as folder:
        own = os.path.join(folder, "own.db")
        optuna.create_study(storage=f"sqlite:///{own}")
        same(tables(arguments.study), tables(own), "tables")

    study = optuna.load_study(study_name=expected["study"], storage=f"sqlite:///{arguments.study}")
    same(expected, as_json(study), "study")
    distributions = check_distributions(study)
    check_best(study, expected)
    if arguments.front:
        check_front(study, [int(number) for number in arguments.front.split(",")])
    if arguments.dashboard:
        check_dashboard(os.path.abspath(arguments.study), expected)
    if arguments.more:
        go_on(study, distributions, arguments.more)
        with open(arguments.out, "w") as file:
            json.dump(as_json(study), file)
    print(f"optuna {optuna.__version__}: {len(expected['trials'])} trials of `{expected['study']}` are the same")


if __name__ == "__main__":
    main()
