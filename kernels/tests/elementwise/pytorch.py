"""Writes pytorch.txt: what PyTorch computes in double precision, for the oracle to agree with.

    python pytorch.py > pytorch.txt
"""

import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
print(f"# written by pytorch.py with PyTorch {torch.__version__}")


def line(kind, name, *numbers):
    flat = [float(x) for group in numbers for x in torch.as_tensor(group).reshape(-1)]
    print(kind, name, *(repr(x) for x in flat))


ACTIVATIONS = {
    "identity": lambda z: z * 1.0,
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
# name, z, value, derivative
for name, f in ACTIVATIONS.items():
    for x in [-30.0, -5.5, -2.0, -1.0, -0.25, 0.0, 0.125, 0.75, 1.0, 3.0, 9.0, 25.0]:
        z = torch.tensor(x, requires_grad=True)
        y = f(z)
        y.backward()
        line("activation", name, x, y.detach(), z.grad)

OPTIMIZERS = {
    "sgd": lambda p, **k: torch.optim.SGD(p, **k),
    "momentum": lambda p, **k: torch.optim.SGD(p, momentum=0.9, **k),
    "nesterov": lambda p, **k: torch.optim.SGD(p, momentum=0.9, nesterov=True, **k),
    "adam": lambda p, **k: torch.optim.Adam(p, **k),
    "adamw": lambda p, **k: torch.optim.AdamW(p, **k),
    "rmsprop": lambda p, **k: torch.optim.RMSprop(p, **k),
    "rmsprop+momentum": lambda p, **k: torch.optim.RMSprop(p, momentum=0.5, **k),
}
# name, lr, weight_decay, then three weights after each of ten steps; gradients by formula
for name, make in OPTIMIZERS.items():
    for decay in [0.0, 0.125]:
        w = torch.tensor([0.25, -0.5, 0.75], requires_grad=True)
        optimizer = make([w], lr=0.0625, weight_decay=decay)
        trace = []
        for step in range(1, 11):
            w.grad = torch.tensor([((step * 7 + i * 3) % 11 - 5) / 4 for i in range(3)])
            optimizer.step()
            trace.append(w.detach().clone())
        line("optimizer", name, 0.0625, decay, *trace)

LOGITS = [[0.5, -1.25, 3.0, 0.0], [2.0, 2.5, -4.0, 1.0]]
LABELS = [2, 0]
WEIGHTS = [0.5, 2.0, 1.25, 0.25]
# smoothing, weighted or not, then losses of two rows and the gradient of their weighted mean
for smoothing in [0.0, 0.125]:
    for weighted in [False, True]:
        x = torch.tensor(LOGITS, requires_grad=True)
        args = dict(weight=torch.tensor(WEIGHTS) if weighted else None, label_smoothing=smoothing)
        y = torch.tensor(LABELS)
        F.cross_entropy(x, y, **args).backward()
        rows = F.cross_entropy(x.detach(), y, reduction="none", **args)
        line("cross_entropy", "weighted" if weighted else "plain", smoothing, rows, x.grad)

# output, target, weight, loss, gradient
for x in [-3.0, -0.25, 0.0, 0.5, 4.0]:
    for t in [0.0, 0.25, 1.0]:
        for name, f in {
            "bce": lambda x: F.binary_cross_entropy_with_logits(x, torch.tensor(t), pos_weight=torch.tensor(3.0)),
            "mse": lambda x: F.mse_loss(x, torch.tensor(t)),
            "huber": lambda x: F.huber_loss(x, torch.tensor(t), delta=0.75),
        }.items():
            z = torch.tensor(x, requires_grad=True)
            loss = f(z)
            loss.backward()
            line("pointwise", name, x, t, 3.0, loss.detach(), z.grad)
