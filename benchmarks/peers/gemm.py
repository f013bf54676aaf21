"""What this machine's matrix products reach, GFLOP/s: the peak that FLOP/s are compared with."""

import time

import torch

SQUARE = (2048, 2048, 2048)
PANEL = (128, 576, 1536)  # rows, inner, columns: a block of rows times SmolLM2's gate projection
MANY_PANELS = (8192, 576, 1536)


def rate(product, flops, seconds):
    """The best of the batches that fit into `seconds`, each of about 50 ms."""
    start = time.perf_counter()
    product()
    repeats = max(1, int(0.05 / max(time.perf_counter() - start, 1e-6)))
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(repeats):
            product()
        best = max(best, repeats * flops / (time.perf_counter() - start) / 1e9)
    return best


def prepacked(left, weight):
    """oneDNN's product with a weight [columns, inner] that it has packed before."""
    rows = left.shape[0]
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return lambda: torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], "")


def gemm_rates(threads, seconds, dtype):
    """GFLOP/s by kernel and shape, `seconds` each."""
    torch.set_num_threads(threads)
    kind = getattr(torch, dtype)
    rates = {}
    for rows, inner, columns in (SQUARE, PANEL, MANY_PANELS):
        left = torch.randn(rows, inner).to(kind)
        weight = torch.randn(columns, inner).to(kind)
        transposed = weight.t()
        flops, shape = 2 * rows * inner * columns, f"{rows} x {inner} x {columns}"
        into = torch.empty(rows, columns, dtype=kind)
        rates[f"torch.mm {shape}"] = rate(
            lambda a=left, b=transposed, c=into: torch.mm(a, b, out=c), flops, seconds
        )
        rates[f"oneDNN prepacked {shape}"] = rate(prepacked(left, weight), flops, seconds)
    return rates
