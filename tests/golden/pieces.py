"""activations.json and losses.json: the pieces by themselves, at the points where implementations go wrong."""

import torch

from common import (ACTIVATIONS, MEAN_SQUARED, binary_cross_entropy, exact, f32, flat, huber, loss_function,
                    softmax_cross_entropy)

# Zero, both sides of it, a fine walk through the middle, softplus's threshold of 20, and tails where exp overflows.
POINTS = (
    [0.0, 1e-30, -1e-30, 1e-6, -1e-6, 1e-3, -1e-3]
    + [i / 8 + 0.01 for i in range(-48, 49, 3)]
    + [-8.5, 8.5, -12.0, 12.0, -19.75, 19.75, 20.0, -20.0, 20.25, -20.25, 50.0, -50.0, 88.0, -88.0, 89.5, -89.5]
    + [104.0, -104.0, 500.0, -500.0, 1e4, -1e4]
)


def activations():
    rows = {}
    points = f32(POINTS)
    for name, function in ACTIVATIONS.items():
        z = torch.tensor(points, requires_grad=True)
        value = function(z)
        value.sum().backward()
        rows[name] = {"value": flat(value), "derivative": flat(z.grad)}
    return {"z": points, "activations": rows}


def loss_case(name, loss, rows, targets):
    """`targets` are labels for softmax cross-entropy, otherwise as many numbers as logits."""
    outputs = exact(torch.tensor(rows)).requires_grad_()
    labels = loss["kind"] == "softmax_cross_entropy"
    y = torch.tensor(targets) if labels else exact(torch.tensor(targets))
    value = loss_function(loss)(outputs, y)
    value.backward()
    return {
        "name": name,
        "loss": loss,
        "rows": outputs.shape[0],
        "width": outputs.shape[1],
        "outputs": flat(outputs),
        "targets": flat(y),
        "expected": {"loss": value.item(), "gradient": flat(outputs.grad)},
    }


def losses():
    logits = [
        [0.0, 0.0, 0.0, 0.0],
        [100.0, -100.0, 0.0, 1.0],
        [-1000.0, 1000.0, 999.0, 0.0],
        [1e4, 1e4, -1e4, 0.0],
        [0.1, -0.2, 0.3, -0.4],
        [3.0, 2.0, 1.0, -7.5],
    ]
    labels = [2, 1, 2, 0, 3, 0]
    zeros_and_ones = [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0],
                      [1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]]
    # Residuals on both sides of a delta of 1 and of 0.5, exactly on each, and zero.
    outputs = [[0.0, 1.0], [0.5, -0.5], [1.5, -1.0], [0.25, 40.0], [-3.0, 0.75], [1.25, -0.125], [2.0, 2.0]]
    reals = [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.5, -40.0], [-2.0, 1.25], [0.0, 0.0], [2.0, 2.0]]
    weights = [0.5, 2.0, 1.25, 3.0]
    return {"cases": [
        loss_case("softmax", softmax_cross_entropy(), logits, labels),
        loss_case("softmax, smoothing", softmax_cross_entropy(0.125), logits, labels),
        loss_case("softmax, smoothing 1", softmax_cross_entropy(1.0), logits, labels),
        loss_case("softmax, weights", softmax_cross_entropy(0.0, weights), logits, labels),
        loss_case("softmax, smoothing and weights", softmax_cross_entropy(0.25, weights), logits, labels),
        loss_case("softmax, a weight of zero", softmax_cross_entropy(0.125, [0.0, 1.0, 1.0, 1.0]), logits, labels),
        loss_case("softmax, one class", softmax_cross_entropy(), [[3.0], [-4.0]], [0, 0]),
        loss_case("softmax, one row", softmax_cross_entropy(0.0625), [[0.5, -0.5, 0.25]], [1]),
        loss_case("binary", binary_cross_entropy(), logits, zeros_and_ones),
        loss_case("binary, positive weights", binary_cross_entropy([1.0, 3.0, 0.5, 2.5]), logits, zeros_and_ones),
        loss_case("mean squared", MEAN_SQUARED, outputs, reals),
        loss_case("huber 1", huber(1.0), outputs, reals),
        loss_case("huber 0.5", huber(0.5), outputs, reals),
    ]}
