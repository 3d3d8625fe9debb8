"""How long a search takes as the problem grows: writes docs/scale.md and docs/scale.svg.

python benchmarks/scale.py
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autoparallel.domain.problem import Problem
from autoparallel.planner import search
from autoparallel.problem_file import load_problem

ROOT = Path(__file__).resolve().parent.parent
PROBLEM = ROOT / "problems" / "deepseek-v3-2048xh100.toml"
# DeepSeek-V3 on up to 1,024 GPUs, six pairs of batch and microbatch; one size varies at a time.
BASE = (
    'hardware.gpu="h200-sxm"', "search.constraints=[]", "search.batch=[32, 256, 1024]",
    "search.microbatch=[32, 256, 1024]", "requirements.ttft_s=600", "requirements.tpot_s=10",
)  # fmt: skip
GPUS = 1024
HEAD = """# Scale

`python benchmarks/scale.py` measured how long a search takes, to the proof: DeepSeek-V3 on H200, layers of
the stages free, up to 1,024 GPUs, 256 experts, 61 layers, six pairs of batch and microbatch. One size
varies at a time. CPU seconds of one core.

![Search time against GPUs, experts and layers](scale.svg)
"""
SIZES = {
    "GPUs": (8, 64, 512, 2048, 16384),
    "experts": (8, 32, 128, 512),
    "layers": (16, 32, 64, 128),
}
TICKS = (0.1, 1.0, 10.0)
COLOURS = {"GPUs": "#0072b2", "experts": "#d55e00", "layers": "#009e73"}
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 320, 56, 44


class Measured(NamedTuple):
    """A search: the size that varied, layouts and solves, CPU time. [s]"""

    size: int
    layouts: int
    solves: int
    plans: int
    seconds: float


def problem_of(name: str, size: int) -> Problem:
    """The base problem with one size changed; one instance may take all GPUs."""
    gpus = size if name == "GPUs" else GPUS
    limits = (f"search.max_gpus={gpus}", f"requirements.max_gpus={gpus}")
    problem = load_problem(PROBLEM, (*BASE, *limits))
    problem = replace(problem, workload=replace(problem.workload, concurrency=None))
    model = problem.model
    if name == "GPUs":
        return problem
    if name == "experts":
        model = replace(model, num_experts=size, num_experts_per_tok=min(8, size // 2))
    else:
        kinds = ("dense",) * 3 + ("sparse",) * (size - 3)
        model = replace(
            model, num_hidden_layers=size, layer_types=("full_attention",) * size, mlp_layer_types=kinds
        )
    return replace(problem, model=model)


def measured(name: str, size: int) -> Measured:
    """One search; CPU time, so that other work on the machine does not count."""
    problem = problem_of(name, size)
    started = time.process_time()
    result = search(problem)
    seconds = time.process_time() - started
    if not result.proof.complete:
        raise RuntimeError(f"{size} {name}: {result.proof.statement}")
    proof = result.proof
    return Measured(size, proof.layouts_spanned, len(proof.solves), len(result.front), seconds)


def exponent(rows: Sequence[Measured]) -> float:
    """Growth: the slope of log time over log size."""
    sizes, times = (np.log([getattr(row, name) for row in rows]) for name in ("size", "seconds"))
    return float(np.polyfit(sizes, times, 1)[0])


def figure(found: dict[str, list[Measured]]) -> str:
    """Time over size, both logarithmic, a line for every size that varies."""
    rows = [row for many in found.values() for row in many]
    last = math.log2(max(row.size for row in rows))
    top = math.log10(max(*TICKS, *(row.seconds for row in rows)))
    low = math.log10(min(*TICKS, *(row.seconds for row in rows)))

    def place(size: float, seconds: float) -> str:
        x = LEFT + (math.log2(size) - 3) / (last - 3) * (WIDTH - LEFT - 90)
        y = HEIGHT - BOTTOM - (math.log10(seconds) - low) / (top - low) * (HEIGHT - BOTTOM - 16)
        return f"{x:.1f},{y:.1f}"

    def parts() -> Iterator[str]:
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        yield 'font-family="sans-serif" font-size="12" fill="#1c1f23">'
        yield '<rect width="100%" height="100%" fill="#ffffff"/>'
        for tick in TICKS:
            y = place(8, tick).split(",")[1]
            yield f'<path d="M{LEFT} {y}H{WIDTH - 80}" stroke="#d0d4da"/>'
            yield f'<text x="{LEFT - 8}" y="{y}" dy="4" text-anchor="end">{tick:g} s</text>'
        for power in range(3, int(last) + 1, 2):
            x = place(2**power, TICKS[0]).split(",")[0]
            yield f'<text x="{x}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{2**power:,}</text>'
        yield f'<text x="{(WIDTH - 24) / 2}" y="{HEIGHT - 8}" text-anchor="middle">size</text>'
        for name, many in found.items():
            points = [place(row.size, row.seconds) for row in many]
            paint = COLOURS[name]
            line = " ".join(points)
            yield f'<polyline points="{line}" fill="none" stroke="{paint}" stroke-width="2"/>'
            for x, y in (point.split(",") for point in points):
                yield f'<circle cx="{x}" cy="{y}" r="3.5" fill="{paint}"/>'
            x, y = points[-1].split(",")
            yield f'<text x="{x}" y="{y}" dx="8" dy="4" fill="{paint}">{name}</text>'
        yield "</svg>"

    return "".join(parts()) + "\n"


def page(found: dict[str, list[Measured]]) -> str:
    """The page: what was measured, the figure, the tables."""
    grown = ", ".join(f"{name} {exponent(rows):.2f}" for name, rows in found.items())
    lines = [HEAD, f"Time grows with the power of the size: {grown}."]
    for name, rows in found.items():
        lines += [
            "",
            f"| {name} | layouts | solves | plans on the front | time |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.size:,} | {row.layouts:,} | {row.solves} | {row.plans} | {row.seconds:.2f} s |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    measurements = {name: [measured(name, size) for size in sizes] for name, sizes in SIZES.items()}
    (ROOT / "docs" / "scale.md").write_text(page(measurements), encoding="utf-8")
    (ROOT / "docs" / "scale.svg").write_text(figure(measurements), encoding="utf-8")
