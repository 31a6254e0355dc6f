"""The whole: how long hpt-engine takes to the validation accuracy that Optuna and PyTorch reach in five minutes.

    python whole.py --program hpt-engine --python PYTHON_WITH_OPTUNA_AND_TORCH --data covertype.csv.gz --out whole.jsonl
        [--seconds 300] [--peer-seeds 1] [--seeds 5] [--target 0.789]

The same 20,000 rows of Covertype, the same space, epochs and early stopping (benches/studies/cli-space.toml), all
cores, each side with its defaults. Ours runs with `--stop-at` the mean of what the peer reached (or `--target`, and
then the peer does not run); the time is from the start of the program to the end of the trial that reaches it, reading
the file included; the peer's clock starts when its data are loaded. It is given a fifth of the peer's time.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import tempfile

from data import HERE, STUDIES, sample, search


def peers_mean(out, seconds):
    """The mean of the best accuracies of the peer's runs."""
    peers = [r for r in map(json.loads, out.read_text().splitlines()) if r["side"] == "optuna+pytorch"]
    target = sum(run["curve"][-1][1] for run in peers) / len(peers)
    trials = [len(run["curve"]) for run in peers]
    print(f"Optuna and PyTorch: accuracy {target:.4f} after {seconds:.0f} s ({len(peers)} seeds, {trials} trials)")
    return target


def main():
    parser = argparse.ArgumentParser(description="hpt-engine against Optuna and PyTorch")
    for name in ["--program", "--python", "--data", "--out"]:
        parser.add_argument(name, required=True)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--peer-seeds", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--target", type=float)
    arguments = parser.parse_args()
    out = pathlib.Path(arguments.out).resolve()
    program = str(pathlib.Path(arguments.program).resolve())
    with tempfile.TemporaryDirectory() as folder:
        data = sample(arguments.data, 20_000, pathlib.Path(folder) / "covertype-20000.csv")
        for seed in range(0 if arguments.target else arguments.peer_seeds):
            words = ["--data", data, "--target", "Cover_Type", "--seconds", arguments.seconds, "--seed", seed, "--out", out]
            subprocess.run([arguments.python, HERE / "torch_side.py", *map(str, words)], check=True)
        target = arguments.target or peers_mean(out, arguments.seconds)
        taken = []
        for seed in range(arguments.seeds):
            words = [STUDIES / "cli-space.toml", "--data", data, "--target", "Cover_Type", "--seed", seed]
            begin = datetime.datetime.now(datetime.timezone.utc)
            limit = ["--stop-at", target, "--time-limit", f"{arguments.seconds / 5:.0f}s"]
            outcome, trials = search(program, folder, f"whole-{seed}", [*words, *limit])
            moment = lambda trial: datetime.datetime.fromisoformat(trial["finished"].replace("Z", "+00:00"))
            good = [moment(t) for t in trials if t["state"] == "complete" and t["value"] >= target]
            seconds = (min(good) - begin).total_seconds() if good else None
            taken.append(seconds)
            run = {"side": "hpt-engine", "seed": seed, "target": target, "seconds": seconds, "trials": outcome["trials"],
                   "best": outcome["best"]["value"], "test": outcome["test"]["accuracy"]}
            with out.open("a") as file:
                file.write(json.dumps(run) + "\n")
        print(f"hpt-engine: seconds to {target:.4f}:", [taken_s and round(taken_s, 2) for taken_s in taken])


if __name__ == "__main__":
    main()
