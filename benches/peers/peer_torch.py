"""PyTorch at its best: tensors in memory, randperm and slices, fused Adam."""

import torch
from torch import nn

from networks import LEARNING_RATE
from work import Clock, contestant


def train(work, how, x, y, x_test, y_test):
    torch.set_num_threads(how.threads)
    torch.set_float32_matmul_precision(how.precision)
    torch.manual_seed(how.seed)
    x, y, x_test, y_test = (torch.from_numpy(a) for a in (x, y, x_test, y_test))
    layers, width = [], x.shape[1]
    for units in work.hidden:
        layers += [nn.Linear(width, units), nn.ReLU()] + ([nn.Dropout(work.dropout)] if work.dropout else [])
        width = units
    model = nn.Sequential(*layers, nn.Linear(width, int(y.max()) + 1))
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    loss = nn.CrossEntropyLoss()
    clock = Clock()
    for _ in range(work.epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), work.batch):
            rows = order[start : start + work.batch]
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        yield clock.lap()
    model.eval()
    with torch.no_grad():
        yield (model(x_test).argmax(1) == y_test).float().mean()


contestant(train)
