"""Writes docs/stages.md: best splits of DeepSeek-V3's layers against even ones.

python docs/make_stages.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jinja2 import StrictUndefined, Template

from autoparallel.domain.layout import spelled
from autoparallel.domain.plan import Plan
from autoparallel.planner import search
from autoparallel.problem_file import load_problem

DOCS = Path(__file__).resolve().parent
PROBLEM = DOCS.parent / "problems" / "deepseek-v3-2048xh100.toml"
MICROBATCH = 64
PINNED = (
    'hardware.gpu="h200-sxm"', "workload.concurrency=1024", "search.batch=1024", "search.constraints=[]",
    f"search.microbatch={MICROBATCH}", "search.tp=1", "search.sp=1", "search.dp=8", "search.ep=8",
    "search.etp=1", "requirements.ttft_s=600", "requirements.tpot_s=10",
)  # fmt: skip
STAGES = (4, 8, 16)


def plans(pp: int, stages: str) -> tuple[Plan, ...]:
    """The front with this many stages."""
    return search(load_problem(PROBLEM, (*PINNED, f"search.pp={pp}", f'search.stages="{stages}"'))).front


def shown(pp: int) -> Iterator[tuple[str, Plan]]:
    """The even split, and the ends of the front of those that beat it."""
    yield "even", plans(pp, "even")[0]
    best = [plan for plan in plans(pp, "optimal") if plan.layout.layers]
    if best:
        yield "most throughput", max(best, key=lambda plan: plan.metrics.total_tokens_per_ms_per_gpu)


def row(pp: int, name: str, plan: Plan) -> tuple[str, ...]:
    """A line of the table."""
    metrics = plan.metrics
    return (
        str(pp),
        name,
        spelled(plan.layout.layers_of_stages(61)),
        f"{metrics.ttft_s:.2f} s",
        f"{metrics.tpot_s * 1e3:.1f} ms",
        f"{metrics.total_tokens_per_ms_per_gpu:.4f}",
        f"{plan.memory.total_bytes / 1e9:.1f} GB",
    )


def gain(pp: int, found: dict[str, Plan]) -> str:
    """What the best split gains over the even one, in words."""
    even, best = found["even"].metrics, found.get("most throughput")
    if best is None:
        return f"over {pp} stages no split is better than the even one"
    more = best.metrics.total_tokens_per_ms_per_gpu / even.total_tokens_per_ms_per_gpu - 1
    later = best.metrics.ttft_s / even.ttft_s - 1
    return f"over {pp} stages {more:.1%} more throughput for {later:.1%} more TTFT"


def page() -> str:
    """The page, whole."""
    found = {pp: dict(shown(pp)) for pp in STAGES}
    rows = [row(pp, name, plan) for pp, plans in found.items() for name, plan in plans.items()]
    summary = "Proven: " + "; ".join(gain(pp, plans) for pp, plans in found.items()) + "."
    template = (DOCS / "stages.md.jinja").read_text(encoding="utf-8")
    return Template(template, undefined=StrictUndefined, keep_trailing_newline=True).render(
        rows=rows, summary=summary, microbatch=MICROBATCH
    )


if __name__ == "__main__":
    (DOCS / "stages.md").write_text(page(), encoding="utf-8")
