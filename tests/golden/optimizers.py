"""optimizers.json: ten full-batch steps of every optimizer on one small network, and PyTorch's defaults.

Rates, decays, norms and epsilons are exact in float32. The decay constants of the moments (0.9, 0.999) are not: a user
who writes 0.999 means it, and 1 - 0.999 shows the difference in its fifth digit.
"""

import inspect

import torch

from common import Network, exact, f32, flat, loss_function, random_targets, softmax_cross_entropy

STEPS = 10
LOSS = softmax_cross_entropy()
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
              "rmsprop": torch.optim.RMSprop}


def problem():
    torch.manual_seed(300)
    network = Network(5, [7, 6], ["tanh", "silu"], 3)
    with torch.no_grad():
        network.layers[0].weight[0, 0] = 0.0  # sign(0) = 0 matters to L1
    x = exact(1.5 * torch.randn(16, 5))
    return network, x, random_targets(LOSS, 16, 3)


def given():
    """Weights and ten gradients without a network: also zeros, a gradient that is always zero, and very small ones."""
    torch.manual_seed(301)
    weights = exact(torch.randn(9))
    gradients = exact(torch.randn(STEPS, 9) * torch.tensor([1.0, 1.0, 1.0, 0.1, 10.0, 0.0, 1e-6, 1.0, 100.0]))
    weights[1] = 0.0
    gradients[3:6, 2] = 0.0
    return weights, gradients


def updated(optimizer, options, l1):
    """The given weights after steps with the given gradients."""
    weights, gradients = given()
    weights = torch.nn.Parameter(weights)
    step = OPTIMIZERS[optimizer]([weights], foreach=False, **options)
    for gradient in gradients:
        weights.grad = gradient + l1 * torch.sign(weights.detach())
        step.step()
    return flat(weights)


def case(name, optimizer, options, clip_norm=None, l1=0.0):
    """L1 adds `l1 * sign(w)` to the loss gradient of every parameter, biases too. Never combined with clipping here."""
    numbers = [l1, clip_norm, *(options.get(key) for key in ("lr", "weight_decay", "eps"))]
    assert f32(numbers) == numbers, f"{name}: {numbers} are not exact in float32"
    network, x, targets = problem()
    step = OPTIMIZERS[optimizer](network.parameters(), foreach=False, **options)
    loss = loss_function(LOSS)
    losses, norms = [], []
    for _ in range(STEPS):
        step.zero_grad()
        value = loss(network(x), targets)
        value.backward()
        losses.append(value.item())
        if l1:
            for p in network.parameters():
                p.grad += l1 * torch.sign(p.detach())
        if clip_norm is not None:
            norms.append(torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm).item())
        step.step()
    if norms:
        assert min(norms) < clip_norm < max(norms), f"{name}: {clip_norm} clips all or none of {norms}"
    losses.append(loss(network(x), targets).item())
    expected = {"losses": losses, "norms": norms, "parameters": network.written()}
    if clip_norm is None:
        expected["updated"] = updated(optimizer, options, l1)
    return {
        "name": name,
        "optimizer": optimizer,
        "options": options,
        "clip_norm": clip_norm,
        "l1": l1,
        "expected": expected,
    }


def defaults():
    """The defaults of each torch class that we have an option for."""
    known = ("lr", "momentum", "nesterov", "dampening", "weight_decay", "betas", "eps", "alpha", "centered")
    return {
        name: {key: list(p.default) if isinstance(p.default, tuple) else p.default
               for key, p in inspect.signature(cls.__init__).parameters.items() if key in known}
        for name, cls in OPTIMIZERS.items()
    }


def cases():
    adam = {"lr": 2.0**-7, "betas": [0.9, 0.999], "eps": f32(1e-8)}
    rmsprop = {"lr": 2.0**-7, "alpha": 0.99, "eps": f32(1e-8)}
    momentum = {"lr": 0.125, "momentum": 0.9}
    decay = {"weight_decay": 0.0625}
    rows = [
        case("sgd", "sgd", {"lr": 0.125}),
        case("sgd, weight decay", "sgd", {"lr": 0.125, **decay}),
        case("sgd, clipped", "sgd", {"lr": 1.0}, clip_norm=0.203125),
        case("sgd, weight decay, clipped", "sgd", {"lr": 1.0, **decay}, clip_norm=0.1875),
        case("sgd, l1", "sgd", {"lr": 0.125}, l1=2.0**-6),
        case("momentum", "sgd", momentum),
        case("momentum, weight decay", "sgd", {**momentum, **decay}),
        case("nesterov", "sgd", {**momentum, "nesterov": True}),
        case("nesterov, weight decay", "sgd", {**momentum, "nesterov": True, **decay}),
        case("adam", "adam", adam),
        case("adam, other options", "adam", {"lr": 2.0**-6, "betas": [0.8, 0.95], "eps": 2.0**-10}),
        case("adam, coupled weight decay", "adam", {**adam, **decay}),
        case("adam, clipped", "adam", {**adam, "lr": 2.0**-4}, clip_norm=0.25),
        case("adam, l1", "adam", adam, l1=2.0**-6),
        case("adamw", "adamw", {**adam, "weight_decay": 2.0**-6}),
        case("adamw, large weight decay", "adamw", {**adam, "weight_decay": 0.5}),
        case("rmsprop", "rmsprop", rmsprop),
        case("rmsprop, other options", "rmsprop", {"lr": 2.0**-6, "alpha": 0.9, "eps": 2.0**-10}),
        case("rmsprop, momentum", "rmsprop", {**rmsprop, "momentum": 0.9}),
        case("rmsprop, weight decay", "rmsprop", {**rmsprop, **decay}),
        case("rmsprop, momentum, weight decay", "rmsprop", {**rmsprop, "momentum": 0.5, **decay}),
    ]
    network, x, targets = problem()
    start = {
        "inputs": 5,
        "hidden": [7, 6],
        "activations": network.activations,
        "outputs": 3,
        "residual": False,
        "loss": LOSS,
        "batch": 16,
        "x": flat(x),
        "targets": flat(targets),
        "parameters": network.written(),
    }
    weights, gradients = given()
    updates = {"weights": flat(weights), "gradients": gradients.tolist()}
    return {"steps": STEPS, "defaults": defaults(), "updates": updates, "problem": start, "cases": rows}
