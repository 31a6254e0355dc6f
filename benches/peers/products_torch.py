"""PyTorch's f32 product: `products_torch.py CORES 32×54×64 …` prints {shape: [GFLOP/s of one thread, of all]}."""

import json
import statistics
import sys
import time

import torch


def rate(m, k, n):
    copies = max(1, min(16, 64 * 2**20 // (4 * (m * k + k * n + m * n))))
    operands = [(torch.rand(m, k) - 0.5, torch.rand(k, n) - 0.5, torch.empty(m, n)) for _ in range(copies)]
    calls = max(1, int(2e-3 * 100e9 / (2 * m * k * n)))
    times = []
    for _ in range(13):
        start = time.perf_counter()
        for i in range(calls):
            a, b, c = operands[i % copies]
            torch.mm(a, b, out=c)
        times.append((time.perf_counter() - start) / calls)
    return 2 * m * k * n / statistics.median(times[2:]) / 1e9


cores, *shapes = sys.argv[1:]
results = {shape: [] for shape in shapes}
for threads in (1, int(cores)):
    torch.set_num_threads(threads)
    for shape in shapes:
        results[shape].append(rate(*map(int, shape.split("×"))))
print(json.dumps(results))
