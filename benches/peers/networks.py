"""What every contestant trains: networks, data, batch sizes, epochs. Needs no package."""

import os
from dataclasses import dataclass, field, replace

LEARNING_RATE = 1e-3


def on(flag):
    """Whether an environment variable asks for what it names: it is neither absent nor empty nor 0."""
    return os.environ.get(flag, "") not in ("", "0")


# To see that everything runs; times of it mean nothing.
SMALL = on("HPT_PEERS_SMALL")
# Of the job of Keras Tuner.
TRIALS, EPOCHS = (2, 1) if SMALL else (10, 10)
FILES = {
    "mnist": [f"mnist/{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")],
    "covertype": ["covertype.csv.gz"],
}


@dataclass(frozen=True)
class Work:
    """A network of relu layers trained with Adam on softmax cross-entropy."""

    data: str  # mnist or covertype
    hidden: tuple
    batch: int
    epochs: int  # the first is not timed: compilation and caches
    dropout: float = 0.0
    rows: int | None = None  # the first so many training rows
    slow: tuple = field(default=())  # contestants that are asked for here besides PyTorch and JAX


@dataclass(frozen=True)
class How:
    """What changes between two runs of one contestant."""

    threads: int
    precision: str
    seed: int


WORKS = {
    "mnist-512-512": Work("mnist", (512, 512), 128, 4),
    "mnist-512-512-dropout": Work("mnist", (512, 512), 128, 4, dropout=0.3),
    "mnist-64-64": Work("mnist", (64, 64), 32, 4, slow=("sklearn",)),
    "mnist-448": Work("mnist", (448,), 32, 3, slow=("sklearn", "keras")),
    "covertype-256-256": Work("covertype", (256, 256), 256, 6),
    "mnist-2048": Work("mnist", (2048, 2048, 2048), 512, 3, rows=12_800),
}
if SMALL:
    WORKS = {name: replace(work, epochs=2) for name, work in WORKS.items()}
