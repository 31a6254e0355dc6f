"""What every contestant on a GPU does: cohorts of networks, each on rows in an order of its own, with Adam."""

import json
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Work:
    """Networks of relu layers with softmax cross-entropy; one epoch of `rows` rows each."""

    models: int
    widths: tuple  # from the inputs to the outputs
    batch: int
    rows: int


WORKS = {
    "cohort-256-128": Work(512, (784, 256, 128, 10), 128, 60_000),
    "cohort-64-64": Work(1000, (54, 64, 64, 7), 128, 92_962),
    "large-4096": Work(1, (784, 4096, 4096, 4096, 10), 4096, 61_440),
    "tiny-for-a-test": Work(3, (20, 16, 5), 32, 400),
}


def rows_of(work):
    """Rows that can be learned: classes are blobs. Speed depends on their being numbers, not on which."""
    random = np.random.default_rng(0)
    inputs, classes = work.widths[0], work.widths[-1]
    y = random.integers(0, classes, work.rows)
    x = random.standard_normal((classes, inputs))[y] + random.standard_normal((work.rows, inputs))
    return x.astype(np.float32), y.astype(np.int64)


def contestant(methods):
    """Main program: `WORK METHOD PRECISION DEVICE STEPS` prints one JSON document.

    A method is called as method(work, x, y, precision, device, steps); it makes `steps` steps of its cohort, warm, and
    returns (number of models it trained, seconds, mean loss before, mean loss after). STEPS 0 is a whole epoch.
    """
    name, method, precision, device, steps = sys.argv[1:]
    work = WORKS[name]
    steps = int(steps) or work.rows // work.batch
    models, seconds, before, after = methods[method](work, *rows_of(work), precision, device, steps)
    assert after < before, f"{method} learned nothing: {before} to {after}"
    print(json.dumps({
        "work": name, "method": method, "precision": precision, "shape": asdict(work), "models": models, "steps": steps,
        "seconds": seconds, "steps_per_second": models * steps / seconds, "loss": [before, after],
    }))


class Clock:
    """Seconds since it was made."""

    def __init__(self):
        self.start = time.perf_counter()

    def lap(self):
        return time.perf_counter() - self.start
