"""Measures matrix products and whole decoder layers on this machine's GPU with PyTorch.

    python benchmarks/gpu/measure.py OUT.csv

Nothing is fitted to what it writes: it is a check on constants that were fitted to other measurements.
A layer is Llama's (RMS norm, grouped-query attention, gated FFN) with random bfloat16 weights; it runs as
one CUDA graph, several copies of the weights in turn, so that the cache holds none of them.
"""

from __future__ import annotations

import csv
import statistics
import sys

import torch
import torch.nn.functional as F  # noqa: N812

DEVICE, DTYPE = "cuda", torch.bfloat16
REPEATS, COPIES = 10, 8

GEMMS = [
    (m, k, n)
    for m in (1, 8, 48, 160, 700, 3000, 12000)
    for k, n in ((4096, 6144), (4096, 28672), (14336, 4096), (8192, 10240), (3584, 18944), (5120, 1536))
]
# hidden, heads, KV heads, head_dim, FFN width
MODELS = {
    "llama-3.1-8b": (4096, 32, 8, 128, 14336),
    "llama-3.1-70b/tp8": (8192, 8, 1, 128, 3584),
    "qwen3-32b/tp2": (5120, 32, 4, 128, 12800),
}
PREFILL = [(1, 512), (1, 2048), (1, 8192), (4, 1024), (8, 2048)]
DECODE = [(1, 1024), (8, 1024), (32, 2048), (64, 4096), (128, 1024), (256, 2048)]


def graph_time_us(step, copies: int) -> float:
    """Median time of one of ``copies`` calls, replayed as one CUDA graph. [us]"""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for index in range(copies):
            step(index)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for index in range(copies):
            step(index)
    times = []
    for _ in range(REPEATS + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / copies)
    return statistics.median(times[3:])


def gemm_us(m: int, k: int, n: int) -> float:
    copies = max(2, min(COPIES, int(2e9 / (2 * k * n))))
    weights = [torch.randn(n, k, device=DEVICE, dtype=DTYPE) for _ in range(copies)]
    inputs = torch.randn(m, k, device=DEVICE, dtype=DTYPE)
    return graph_time_us(lambda index: F.linear(inputs, weights[index]), copies)


class Layer:
    """One decoder layer on one of its tensor parallel ranks, without the all-reduce."""

    def __init__(self, hidden: int, heads: int, kv_heads: int, head_dim: int, width: int) -> None:
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.qkv = self._weight((heads + 2 * kv_heads) * head_dim, hidden)
        self.out = self._weight(hidden, heads * head_dim)
        self.up, self.down = self._weight(2 * width, hidden), self._weight(hidden, width)
        self.norms = [torch.ones(hidden, device=DEVICE, dtype=DTYPE) for _ in range(2)]

    @staticmethod
    def _weight(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns, device=DEVICE, dtype=DTYPE) * 0.02

    def __call__(self, x: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
        batch, seq, hidden = x.shape
        y = F.linear(F.rms_norm(x, (hidden,), self.norms[0]), self.qkv)
        q, k, v = y.split([n * self.head_dim for n in (self.heads, self.kv_heads, self.kv_heads)], dim=-1)
        k, v = (t.view(batch, seq, self.kv_heads, self.head_dim).transpose(1, 2) for t in (k, v))
        if cache is None:
            q = q.view(batch, seq, self.heads, self.head_dim).transpose(1, 2)
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:  # the query heads of a KV head are its queries
            q = q.view(batch, self.kv_heads, self.heads // self.kv_heads, self.head_dim)
            o = (
                F.scaled_dot_product_attention(q, *cache)
                .reshape(batch, 1, self.heads, self.head_dim)
                .transpose(1, 2)
            )
        x = x + F.linear(o.transpose(1, 2).reshape(batch, seq, -1), self.out)
        gate, up = F.linear(F.rms_norm(x, (hidden,), self.norms[1]), self.up).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, self.down)


def layer_us(name: str, batch: int, new_tokens: int, context: int) -> float:
    hidden, heads, kv_heads, head_dim, width = MODELS[name]
    kv_bytes = 4 * batch * kv_heads * context * head_dim
    copies = max(2, min(COPIES, int(30e9 / max(kv_bytes, 1)))) if context else COPIES
    layers = [Layer(hidden, heads, kv_heads, head_dim, width) for _ in range(copies)]
    shape = (batch, kv_heads, context, head_dim)
    caches = [
        tuple(torch.randn(shape, device=DEVICE, dtype=DTYPE) for _ in range(2)) if context else None
        for _ in range(copies)
    ]
    x = torch.randn(batch, new_tokens, hidden, device=DEVICE, dtype=DTYPE)
    with torch.no_grad():
        return graph_time_us(lambda index: compiled(layers[index], x, caches[index]), copies)


@torch.compile(dynamic=False)
def compiled(layer, x, cache):
    return layer(x, cache)


def main() -> None:
    torch.manual_seed(0)
    gpu = torch.cuda.get_device_name()
    with open(sys.argv[1], "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("gpu", "torch", "what", "m", "k", "n", "batch", "seq", "context", "latency_us"))
        for m, k, n in GEMMS:
            rows.writerow((gpu, torch.__version__, "gemm", m, k, n, "", "", "", f"{gemm_us(m, k, n):.2f}"))
        for name in MODELS:
            torch._dynamo.config.recompile_limit = 64
            for batch, seq in PREFILL:
                time_us = layer_us(name, batch, seq, 0)
                rows.writerow((gpu, torch.__version__, name, "", "", "", batch, seq, 0, f"{time_us:.2f}"))
            for batch, context in DECODE:
                time_us = layer_us(name, batch, 1, context)
                rows.writerow((gpu, torch.__version__, name, "", "", "", batch, 1, context, f"{time_us:.2f}"))
            file.flush()


if __name__ == "__main__":
    main()
