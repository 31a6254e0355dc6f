"""PyTorch on a GPU: eager, with a CUDA graph, and a cohort at once with torch.func.vmap and torch.compile."""

import torch
from torch import nn

from work import LEARNING_RATE, Clock, contestant


def network(work, device):
    layers = []
    for inputs, outputs in zip(work.widths, work.widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(device)


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def on(device, precision, x, y):
    torch.manual_seed(0)
    torch.set_float32_matmul_precision(precision)
    return torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)


def orders(work, steps, models, device):
    """models × steps × batch row numbers, an order of its own for each model."""
    need = steps * work.batch
    rows = [torch.cat([torch.randperm(work.rows, device=device) for _ in range(-(-need // work.rows))])[:need]
            for _ in range(models)]
    return torch.stack(rows).view(models, steps, work.batch)


def eager(work, x, y, precision, device, steps):
    """One model in the way of the tutorials, though with its rows on the device and the fused optimizer."""
    x, y = on(device, precision, x, y)
    model, criterion = network(work, device), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    rows = orders(work, steps, 1, device)[0]
    whole = lambda: criterion(model(x[: work.batch]), y[: work.batch]).item()

    def step(batch):
        optimizer.zero_grad()
        criterion(model(x[batch]), y[batch]).backward()
        optimizer.step()

    before = whole()
    for i in range(min(steps, 20)):
        step(rows[i])
    wait(device)
    clock = Clock()
    for i in range(steps):
        step(rows[i])
    wait(device)
    return 1, clock.lap(), before, whole()


def graph(work, x, y, precision, device, steps):
    """One model, a whole step as a CUDA graph; the rows of a step are copied into place."""
    x, y = on(device, precision, x, y)
    model, criterion = network(work, device), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True, capturable=True)
    rows = orders(work, steps, 1, device)[0]
    whole = lambda: criterion(model(x[: work.batch]), y[: work.batch]).item()
    batch = rows[0].clone()

    def step():
        optimizer.zero_grad(set_to_none=True)
        criterion(model(x[batch]), y[batch]).backward()
        optimizer.step()

    before = whole()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()
    for warm in (True, False):
        clock = Clock()
        for i in range(min(steps, 20) if warm else steps):
            batch.copy_(rows[i])
            recorded.replay()
        wait(device)
    return 1, clock.lap(), before, whole()


def vmap(work, x, y, precision, device, steps):
    """The whole cohort at once: stacked parameters, vmap over models, the step compiled."""
    x, y = on(device, precision, x, y)
    networks = [network(work, device) for _ in range(work.models)]
    parameters, buffers = torch.func.stack_module_state(networks)
    base = networks[0].to("meta")
    parameters = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    del networks
    optimizer = torch.optim.Adam(parameters.values(), LEARNING_RATE, fused=True)
    rows = orders(work, steps, work.models, device)

    def loss(parameters, x, y):
        return nn.functional.cross_entropy(torch.func.functional_call(base, (parameters, buffers), (x,)), y)

    @torch.compile(mode="max-autotune-no-cudagraphs" if device == "cuda" else "default")
    def gradients(parameters, batch):
        return torch.func.vmap(torch.func.grad_and_value(loss))(parameters, x[batch], y[batch])

    def step(i):
        found, values = gradients({name: p.detach() for name, p in parameters.items()}, rows[:, i])
        for name, p in parameters.items():
            p.grad = found[name]
        optimizer.step()
        return values

    before = step(0).mean().item()
    for i in range(min(steps, 5)):
        step(i)
    wait(device)
    clock = Clock()
    for i in range(steps):
        values = step(i)
    wait(device)
    return work.models, clock.lap(), before, values.mean().item()


contestant({"eager": eager, "graph": graph, "vmap": vmap})
