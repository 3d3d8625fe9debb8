"""Predictions against what measure.py measured: a check on constants that were fitted to other tables.

    python benchmarks/gpu/compare.py [benchmarks/gpu/h100.csv]

Prints, per kernel library and for the plain roofline, the error of single products and of whole layers.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import AttentionDegrees, ExpertDegrees
from autoparallel.performance.ffn_part import CommonFfn, ExpertPart
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.operators import gemm
from autoparallel.performance.terms import COMPUTE, time_of
from autoparallel.problem_file import load_problem

HERE = Path(__file__).resolve().parent
# Models of measure.py in the catalog, and how many ways their layer was split.
LAYERS = {
    "llama-3.1-8b": ("llama-3.1-8b", 1),
    "llama-3.1-70b/tp8": ("llama-3.1-70b", 8),
    "qwen3-32b/tp2": ("qwen3-32b", 2),
}
PROBLEM = """
[model]
name = "{model}"
[hardware]
gpu = "h100-sxm"
backend = "{backend}"
[workload]
mode = "static"
concurrency = 1
prompt_tokens = 1024
output_tokens = 2
[search]
max_gpus = 8
"""


def machine_of(model: str, backend: str, folder: Path) -> Machine:
    """The catalog's model and an H100 with the constants of a kernel library."""
    path = folder / f"{model}.{backend}.toml"
    path.write_text(PROBLEM.format(model=model, backend=backend))
    problem = load_problem(path)
    return Machine(replace(problem, warnings=()))


def layer_us(machine: Machine, tp: int, batch: int, seq: int, context: int) -> float:
    """Operators of one layer on one rank, without collectives. [us]"""
    one = np.ones(1)
    degrees = AttentionDegrees(
        tp * one, one, one, tensor_sp=False, ring=False, microbatch=batch * one, batch=batch * one
    )
    phase = Phase("decode" if context else "prefill", float(seq), float(context), is_decode=bool(context))
    attention = AttentionPart(machine, degrees)
    experts = ExpertPart(machine, ExpertDegrees(one, tp * one, one, batch * one))
    terms = [
        *attention.layer(phase, "full_attention"),
        *CommonFfn(attention).routed_layer(phase),
        *experts.compute(phase),
    ]
    return float(np.max(time_of(term for term in terms if term.kind == COMPUTE))) * 1e6


def main(path: Path, folder: Path) -> None:
    measured = pd.read_csv(path)
    print("| constants | matrix products | prefill of a layer | decode step of a layer |")
    print("| --- | --- | --- | --- |")
    for backend in ("trtllm", "vllm", "none"):
        machines = {name: machine_of(model, backend, folder) for name, (model, _) in LAYERS.items()}
        errors: dict[str, list[float]] = {"gemm": [], "prefill": [], "decode": []}
        for row in measured.itertuples():
            if row.what == "gemm":
                machine = machines["llama-3.1-8b"]
                cost = gemm(
                    float(row.m),
                    float(row.k),
                    float(row.n),
                    gpu=machine.attention_gpu,
                    constants=machine.attention_gemm,
                    weight_bytes=2.0,
                    activation_bytes=2.0,
                )
                predicted, kind = float(np.max(cost.time_s)) * 1e6, "gemm"
            else:
                tp = LAYERS[row.what][1]
                predicted = layer_us(machines[row.what], tp, int(row.batch), int(row.seq), int(row.context))
                kind = "decode" if row.context else "prefill"
            errors[kind].append(100 * (predicted / row.latency_us - 1))
        cells = [
            f"{np.mean(np.abs(e)):.1f} / {np.median(np.abs(e)):.1f} ({np.mean(e):+.1f})"
            for e in errors.values()
        ]
        print(f"| {'roofline' if backend == 'none' else backend} | {' | '.join(cells)} |")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "h100.csv", Path(scratch))
