"""optimizers.json: ten full-batch steps of every optimizer on one small network, and PyTorch's defaults."""

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


def case(name, optimizer, options, clip_norm=None, l1=0.0):
    """L1 adds `l1 * sign(w)` to the loss gradient of every parameter, biases too. Never combined with clipping here."""
    options, clip_norm, l1 = f32(options), f32(clip_norm), f32(l1)
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
    return {
        "name": name,
        "optimizer": optimizer,
        "options": options,
        "clip_norm": clip_norm,
        "l1": l1,
        "expected": {"losses": losses, "norms": norms, "parameters": network.written()},
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
    adam = {"lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8}
    rmsprop = {"lr": 0.01, "alpha": 0.99, "eps": 1e-8}
    rows = [
        case("sgd", "sgd", {"lr": 0.1}),
        case("sgd, weight decay", "sgd", {"lr": 0.1, "weight_decay": 0.05}),
        case("sgd, clipped", "sgd", {"lr": 1.0}, clip_norm=0.2),
        case("sgd, weight decay, clipped", "sgd", {"lr": 1.0, "weight_decay": 0.05}, clip_norm=0.18),
        case("sgd, l1", "sgd", {"lr": 0.1}, l1=0.01),
        case("momentum", "sgd", {"lr": 0.1, "momentum": 0.9}),
        case("momentum, weight decay", "sgd", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
        case("nesterov", "sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        case("nesterov, weight decay", "sgd", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
        case("adam", "adam", adam),
        case("adam, other options", "adam", {"lr": 0.02, "betas": [0.8, 0.95], "eps": 1e-3}),
        case("adam, coupled weight decay", "adam", {**adam, "weight_decay": 0.05}),
        case("adam, clipped", "adam", {**adam, "lr": 0.05}, clip_norm=0.25),
        case("adam, l1", "adam", adam, l1=0.01),
        case("adamw", "adamw", {**adam, "weight_decay": 0.01}),
        case("adamw, weight decay 0.3", "adamw", {**adam, "weight_decay": 0.3}),
        case("rmsprop", "rmsprop", rmsprop),
        case("rmsprop, momentum", "rmsprop", {**rmsprop, "momentum": 0.9}),
        case("rmsprop, weight decay", "rmsprop", {**rmsprop, "weight_decay": 0.05}),
        case("rmsprop, momentum, weight decay", "rmsprop", {**rmsprop, "momentum": 0.5, "weight_decay": 0.05}),
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
    return {"steps": STEPS, "defaults": defaults(), "problem": start, "cases": rows}
