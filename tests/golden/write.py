"""Writes the golden files beside it: numbers of PyTorch, Keras, scikit-learn and SciPy that the engine is held against.

    python -m venv VENV && VENV/bin/pip install -r requirements.txt && VENV/bin/python write.py [FOLDER]

All arithmetic is float64 and every float is written with all its digits. What the engine is *given* (data, initial
parameters, rates and weights) is exact in float32, so that a float32 engine starts from the same numbers.
Nothing here knows the engine: no number in these files was ever produced by it.
"""

import json
import pathlib
import platform
import sys

import comparisons
import initialisation
import metrics
import networks
import optimizers
import pieces
import schedules
from common import versions

FILES = {
    "activations.json": pieces.activations,
    "losses.json": pieces.losses,
    "networks.json": networks.cases,
    "optimizers.json": optimizers.cases,
    "schedules.json": schedules.cases,
    "metrics.json": metrics.cases,
    "initialisation.json": initialisation.cases,
    "comparisons.json": comparisons.cases,
}


def text(value, depth=0):
    """JSON with one key a line, and every list of plain numbers on one line."""
    pad, inner = "  " * depth, "  " * (depth + 1)
    if isinstance(value, dict) and value:
        rows = [f"{inner}{json.dumps(key)}: {text(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        rows = [inner + text(item, depth + 1) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{pad}]"
    return json.dumps(value, allow_nan=False)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    stamp = {"python": platform.python_version(), **versions()}
    print(", ".join(f"{name} {version}" for name, version in stamp.items()))
    for name, write in FILES.items():
        body = {"written_by": stamp, **write()}
        (folder / name).write_text(text(body) + "\n")
        print(f"{name}: {(folder / name).stat().st_size} bytes")


main()
