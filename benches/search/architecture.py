"""Architecture search against tuning a fixed architecture for the same time, on California housing.

    python architecture.py --program hpt-engine --out architecture.jsonl [--seconds 20] [--seeds 5]

benches/studies/architecture.toml against fixed-architecture.toml, in turn, each with its defaults and the same seeds,
which also divide the rows. Reported: RMSE of the best trial on the validation rows, of the retrained model on the test
rows.
"""

import argparse
import json
import pathlib
import tempfile

from data import STUDIES, interval, search

SIDES = ["architecture", "fixed-architecture"]


def main():
    parser = argparse.ArgumentParser(description="Architecture search on California housing")
    for name in ["--program", "--out"]:
        parser.add_argument(name, required=True)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    out = pathlib.Path(arguments.out).resolve()
    program = str(pathlib.Path(arguments.program).resolve())
    done = {(r["side"], r["seed"]): r for r in map(json.loads, out.read_text().splitlines())} if out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            for side in SIDES:
                if (side, seed) in done:
                    continue
                words = [STUDIES / f"{side}.toml", "--data", "california-housing", "--seed", seed]
                found, _ = search(program, folder, f"{side}-{seed}", [*words, "--time-limit", f"{arguments.seconds}s"])
                run = {"side": side, "seed": seed, "seconds": arguments.seconds, "trials": found["trials"],
                       "validation": found["best"]["value"], "test": found["test"]["rmse"], "params": found["best"]["params"]}
                done[side, seed] = run
                with out.open("a") as file:
                    file.write(json.dumps(run) + "\n")
    for side in SIDES:
        mine = [done[side, seed] for seed in range(arguments.seeds)]
        mean = lambda key: sum(run[key] for run in mine) / len(mine)
        trials = [sum(run["trials"].values()) for run in mine]
        print(f"{side:20} validation RMSE {mean('validation'):.0f}, test RMSE {mean('test'):.0f}, trials {trials}")
    for key in ["validation", "test"]:
        ratios = [done[SIDES[0], seed][key] / done[SIDES[1], seed][key] for seed in range(arguments.seeds)]
        print(f"{key}: architecture search / fixed {'{:.3f} [{:.3f}, {:.3f}]'.format(*interval(ratios))}")


if __name__ == "__main__":
    main()
