"""networks.json: outputs, loss and gradients of small networks, for every activation and every loss."""

import torch

from common import (ACTIVATIONS, MEAN_SQUARED, Network, binary_cross_entropy, exact, flat, huber, loss_function,
                    random_targets, softmax_cross_entropy)


def case(name, hidden, activations, loss, seed, inputs=5, outputs=3, batch=9, residual=False):
    torch.manual_seed(seed)
    if isinstance(activations, str):
        activations = [activations] * len(hidden)
    network = Network(inputs, hidden, activations, outputs, residual)
    x = exact(1.5 * torch.randn(batch, inputs))
    targets = random_targets(loss, batch, outputs)
    result = network(x)
    value = loss_function(loss)(result, targets)
    value.backward()
    return {
        "name": name,
        "inputs": inputs,
        "hidden": hidden,
        "activations": activations,
        "outputs": outputs,
        "residual": residual,
        "loss": loss,
        "batch": batch,
        "x": flat(x),
        "targets": flat(targets),
        "parameters": network.written(),
        "expected": {"outputs": flat(result), "loss": value.item(), "gradients": network.gradients()},
    }


def cases():
    plain = softmax_cross_entropy()
    weights = [0.5, 2.0, 1.25]
    rows = [case(f"activation {name}", [7, 6], name, plain, 100 + i) for i, name in enumerate(ACTIVATIONS)]
    rows += [
        case("no hidden layer", [], [], plain, 200),
        case("no hidden layer, one input, one row", [], [], MEAN_SQUARED, 201, inputs=1, outputs=1, batch=1),
        case("one hidden layer of one unit", [1], "tanh", plain, 202),
        case("three hidden layers, each its own activation", [8, 7, 6], ["gelu", "relu", "silu"], plain, 203),
        case("label smoothing", [7, 6], "relu", softmax_cross_entropy(0.125), 204),
        case("class weights", [7, 6], "relu", softmax_cross_entropy(0.0, weights), 205),
        case("label smoothing and class weights", [7, 6], "relu", softmax_cross_entropy(0.125, weights), 206),
        case("multi-label", [7, 6], "relu", binary_cross_entropy(), 207, outputs=4),
        case("multi-label, positive weights", [7, 6], "relu", binary_cross_entropy([1.0, 3.0, 0.5, 2.5]), 208, outputs=4),
        case("mean squared, two targets", [7, 6], "elu", MEAN_SQUARED, 209, outputs=2),
        case("huber 1", [7, 6], "tanh", huber(1.0), 210, outputs=1, batch=13),
        case("huber 0.5, two targets", [7, 6], "tanh", huber(0.5), 211, outputs=2, batch=13),
        # The first hidden layer is as wide as the input and gets no skip connection; 2 and 4 get one; 3 cannot.
        case("residual", [6, 6, 5, 5], "silu", plain, 212, inputs=6, residual=True),
        case("residual, relu", [6, 6, 6], "relu", plain, 213, residual=True),
    ]
    return {"cases": rows}
