"""PyTorch's products on a GPU (cuBLAS): `products_torch.py PRECISION 4096×4096×4096 …` prints {shape: TFLOP/s}."""

import json
import statistics
import sys

import torch


def rate(m, k, n):
    a, b = (torch.rand(*shape, device="cuda") - 0.5 for shape in ((m, k), (k, n)))
    c = torch.empty(m, n, device="cuda")
    calls = max(1, int(2e-3 * 50e12 / (2 * m * k * n)))
    times = []
    for _ in range(23):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            torch.mm(a, b, out=c)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1e3 / calls)
    return 2 * m * k * n / statistics.median(times[3:]) / 1e12


precision, *shapes = sys.argv[1:]
torch.set_float32_matmul_precision(precision)
print(json.dumps({"precision": precision, "tflops": {shape: rate(*map(int, shape.split("×"))) for shape in shapes}}))
