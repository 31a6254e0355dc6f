"""initialisation.json: the bounds and deviations that torch.nn.init draws with, read off its own calls.

`uniform_` and `normal_` of torch.Tensor are watched while an initialiser runs, so the number is the one PyTorch used
and no formula of ours. Beside it, the spread of one large layer as really drawn.
"""

from unittest import mock

import common  # noqa: F401  (one thread, float64)
import torch
from torch.nn import init

SHAPES = [(1, 1), (5, 7), (64, 10), (784, 512), (512, 784)]
LARGE = (400, 300)

# He and LeCun are Kaiming's with the gains of relu (√2) and of a linear unit (1), by fan-in.
SCHEMES = {
    "he_uniform": lambda w: init.kaiming_uniform_(w, nonlinearity="relu"),
    "he_normal": lambda w: init.kaiming_normal_(w, nonlinearity="relu"),
    "glorot_uniform": init.xavier_uniform_,
    "glorot_normal": init.xavier_normal_,
    "lecun_uniform": lambda w: init.kaiming_uniform_(w, nonlinearity="linear"),
    "lecun_normal": lambda w: init.kaiming_normal_(w, nonlinearity="linear"),
}


def watched(run):
    """What `run` passed to uniform_ ({"bound"}) and normal_ ({"deviation"}), in order."""
    seen = []

    def uniform(tensor, low=0.0, high=1.0, **_):
        assert low == -high
        seen.append({"bound": high})
        return tensor

    def normal(tensor, mean=0.0, std=1.0, **_):
        assert mean == 0.0
        seen.append({"deviation": std})
        return tensor

    with mock.patch.object(torch.Tensor, "uniform_", uniform), mock.patch.object(torch.Tensor, "normal_", normal):
        run()
    return seen


def drawn(tensor):
    return {"min": tensor.min().item(), "max": tensor.max().item(), "deviation": tensor.std().item()}


def cases():
    torch.manual_seed(500)
    rows = []
    for inputs, outputs in SHAPES:
        weight, bias = watched(lambda: torch.nn.Linear(inputs, outputs))
        rows.append({"scheme": "torch", "inputs": inputs, "outputs": outputs, "weight": weight, "bias": bias})
        for name, scheme in SCHEMES.items():
            (weight,) = watched(lambda: scheme(torch.empty(outputs, inputs)))
            rows.append({"scheme": name, "inputs": inputs, "outputs": outputs, "weight": weight})
    inputs, outputs = LARGE
    layer = torch.nn.Linear(inputs, outputs)
    large = {"torch": drawn(layer.weight.detach())}
    for name, scheme in SCHEMES.items():
        large[name] = drawn(scheme(torch.empty(outputs, inputs)))
    return {"cases": rows, "drawn": {"inputs": inputs, "outputs": outputs, "schemes": large}}
