"""What the writers share: float32-exact inputs, the network, the losses, and the versions of the programs asked."""

import importlib.metadata
import os

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "mish": F.mish,
}


def versions():
    return {name: importlib.metadata.version(name) for name in ("torch", "keras", "scikit-learn", "numpy")}


def f32(value):
    """The float32 nearest to a number, or to each number of a nested list."""
    if isinstance(value, list):
        return [f32(item) for item in value]
    return float(np.float32(value)) if isinstance(value, float) else value


def exact(tensor):
    """The tensor with every element rounded to float32, still float64."""
    return tensor.to(torch.float32).to(torch.float64)


def flat(tensor):
    return tensor.detach().reshape(-1).tolist()


class Network:
    """Dense layers with PyTorch's default initialisation, rounded to float32.

    h_1 = act_1(x W_1 + b_1); h_l = act_l(h_{l-1} W_l + b_l), plus h_{l-1} when `residual` and the widths of the two
    *hidden* layers are equal; outputs = h_L W + b. `layers` are torch.nn.Linear, whose weight is [out x in].
    """

    def __init__(self, inputs, hidden, activations, outputs, residual=False):
        self.activations, self.residual = activations, residual
        widths = [inputs, *hidden, outputs]
        self.layers = [torch.nn.Linear(a, b) for a, b in zip(widths, widths[1:])]
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(exact(parameter))

    def parameters(self):
        return [p for layer in self.layers for p in (layer.weight, layer.bias)]

    def __call__(self, h):
        for index, (layer, name) in enumerate(zip(self.layers, self.activations)):
            out = ACTIVATIONS[name](layer(h))
            h = out + h if self.residual and index > 0 and out.shape == h.shape else out
        return self.layers[-1](h)

    def written(self):
        """Per layer: the weight as [in x out] row-major, and the bias."""
        return [{"weight": flat(l.weight.T), "bias": flat(l.bias)} for l in self.layers]

    def gradients(self):
        return [{"weight": flat(l.weight.grad.T), "bias": flat(l.bias.grad)} for l in self.layers]


def loss_function(loss):
    """The torch loss (mean reduction) of a loss as it is written in the files."""

    def tensor(key):
        return None if loss[key] is None else torch.tensor(loss[key])

    match loss["kind"]:
        case "softmax_cross_entropy":
            weight = tensor("class_weights")
            return torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=loss["label_smoothing"])
        case "binary_cross_entropy":
            return torch.nn.BCEWithLogitsLoss(pos_weight=tensor("pos_weight"))
        case "mean_squared":
            return torch.nn.MSELoss()
        case "huber":
            return torch.nn.HuberLoss(delta=loss["delta"])


def softmax_cross_entropy(label_smoothing=0.0, class_weights=None):
    return {"kind": "softmax_cross_entropy", "label_smoothing": label_smoothing, "class_weights": class_weights}


def binary_cross_entropy(pos_weight=None):
    return {"kind": "binary_cross_entropy", "pos_weight": pos_weight}


MEAN_SQUARED = {"kind": "mean_squared"}


def huber(delta):
    return {"kind": "huber", "delta": delta}


def random_targets(loss, rows, width):
    match loss["kind"]:
        case "softmax_cross_entropy":
            return torch.cat([torch.arange(width), torch.randint(0, width, (rows - width,))])
        case "binary_cross_entropy":
            return torch.randint(0, 2, (rows, width)).to(torch.float64)
        case _:
            return exact(1.5 * torch.randn(rows, width))
