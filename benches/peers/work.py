"""Data of the works and the main program of a contestant. The same rows, the same number of updates."""

import csv
import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
from networks import WORKS, How


def idx(path):
    raw = gzip.open(path).read()
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def mnist(folder):
    parts = []
    for name in ("train", "t10k"):
        x = idx(folder / f"{name}-images-idx3-ubyte.gz").reshape(-1, 784)
        y = idx(folder / f"{name}-labels-idx1-ubyte.gz")
        parts += [x.astype(np.float32) / 255, y.astype(np.int64)]
    return parts


def covertype(file):
    """Every fifth row is a test row; columns standardised by the training rows."""
    with gzip.open(file, "rt", newline="") as text:
        table = np.array(list(csv.reader(text))[1:], np.float32)
    x, y = table[:, :-1], table[:, -1].astype(np.int64) - 1
    test = np.arange(len(x)) % 5 == 4
    mean, deviation = x[~test].mean(0), x[~test].std(0)
    x = (x - mean) / np.where(deviation > 0, deviation, 1)
    return x[~test], y[~test], x[test], y[test]


def prepare(work, data, cache):
    """Writes train.npz and test.npz of a work's data and returns their folder."""
    folder = cache / (work.data if work.rows is None else f"{work.data}-{work.rows}")
    if not (folder / "test.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        x, y, x_test, y_test = (mnist if work.data == "mnist" else covertype)(data)
        np.savez(folder / "train.npz", x=x[: work.rows], y=y[: work.rows])
        # Under its name at last: an interruption leaves no half of it.
        np.savez(folder / "part.npz", x=x_test, y=y_test)
        (folder / "part.npz").rename(folder / "test.npz")
    return folder


def contestant(train):
    """Main program of a contestant: reads (work, folder, threads, precision, seed), prints its epochs and accuracy.

    `train(work, how, x, y, x_test, y_test)` yields the seconds of each epoch and at last the accuracy.
    """
    name, folder, threads, precision, seed = sys.argv[1:]
    work, how = WORKS[name], How(int(threads), precision, int(seed))
    arrays = [np.load(Path(folder) / f"{part}.npz")[key] for part in ("train", "test") for key in ("x", "y")]
    *seconds, accuracy = train(work, how, *arrays)
    rate = len(arrays[0]) * len(seconds[1:]) / sum(seconds[1:])
    print(json.dumps({"samples_per_second": rate, "epoch_seconds": seconds, "test_accuracy": float(accuracy)}))


class Clock:
    """Seconds since the last look."""

    def __init__(self):
        self.last = time.perf_counter()

    def lap(self):
        now = time.perf_counter()
        self.last, passed = now, now - self.last
        return passed
