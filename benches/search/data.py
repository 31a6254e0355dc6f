"""What the comparisons on data share: a sample of Covertype, runs of hpt-engine in a folder of their own, statistics."""

import gzip
import json
import pathlib
import random
import subprocess

HERE = pathlib.Path(__file__).parent
STUDIES = HERE.parent / "studies"


def sample(source, rows, path):
    """Writes `rows` rows of a gzip file with a header, drawn with seed 0, unless they are there."""
    if not path.exists():
        with gzip.open(source, "rt") as file:
            header, *lines = file.readlines()
        path.write_text(header + "".join(random.Random(0).sample(lines, rows)))
    return path


def search(program, folder, name, arguments):
    """Runs `hpt-engine search` in `folder` and returns its JSON document and the trials of the study."""
    storage = pathlib.Path(folder) / f"{name}.db"
    if storage.exists():
        storage.unlink()
    common = ["--storage", storage.name, "--study", name, "--keep-models", "0", "--out", f"{name}-models"]
    words = [program, "search", *map(str, arguments), *common, "--quiet", "--json"]
    outcome = json.loads(subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)
    words = [program, "trials", "--storage", storage.name, "--json"]
    trials = json.loads(subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)["trials"]
    storage.unlink()
    return outcome, trials


def interval(values, draws=10_000):
    """Mean and its 95 % interval by resampling."""
    generator = random.Random(1)
    n = len(values)
    means = sorted(sum(generator.choices(values, k=n)) / n for _ in range(draws))
    return sum(values) / n, means[int(0.025 * draws)], means[int(0.975 * draws)]
