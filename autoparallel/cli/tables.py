"""What people read of a plan or a result on a terminal, wide or narrow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from autoparallel.cli.fitting_table import FittingTable
from autoparallel.domain.plan import Memory, Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import PERCENTILES
from autoparallel.domain.result import Limit, OrderCost, SearchResult
from autoparallel.domain.simulated import Simulated
from autoparallel.report.cost_rows import cost_rows
from autoparallel.report.requirement_rows import requirement_rows
from autoparallel.report.simulated_rows import simulated_rows
from autoparallel.report.wording import (
    brief,
    gigabytes,
    given,
    number,
    percent,
    printable,
    quantity,
    seconds,
    worked_on,
)

MOST_ROWS = 12
MEMORY_LABELS = {
    "weights_bytes": "Weights",
    "expert_weights_bytes": "Expert weights",
    "kv_cache_bytes": "KV cache",
    "activation_bytes": "Activations",
    "buffer_bytes": "Buffers",
    "reserved_bytes": "Reserve",
}


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: Collection[str] = ()
) -> FittingTable:
    """A table whose first column and ``words`` are text; the others are numbers, which are never broken."""
    return FittingTable(title, columns, [[printable(cell) for cell in row] for row in rows], words)


def plan_line(plan: Plan) -> str:
    """A plan in one line.

    Examples: "2 GPUs: dp=2 ep=2, batch 128, microbatch 64"
    """
    gpus = "1 GPU" if plan.gpus == 1 else f"{plan.gpus:,} GPUs"
    return f"{gpus}: {brief(plan.layout)}, {sizes(plan)}"


def sizes(plan: Plan) -> str:
    """Batch and what goes with it; in continuous batching in the engine's words too."""
    serving = plan.serving
    if serving is None:
        return str(plan.pair)
    ranks = plan.layout.dp
    split = f" = max_num_seqs {serving.max_num_seqs:,} x dp {ranks}" if ranks > 1 else ""
    return f"batch {plan.batch:,}{split}, chunk {serving.max_num_batched_tokens:,}"


def serving_table(plan: Plan) -> FittingTable:
    """Means and percentiles of the requests' times."""
    serving, metrics = plan.serving, plan.metrics
    rows = []
    for label, name, mean in (
        ("To the first token", "ttft", metrics.ttft_s),
        ("Per token after it", "tpot", metrics.tpot_s),
        ("To the last token", "e2e", serving.e2e_s if serving else None),
    ):
        marks = (getattr(serving, f"{name}_{mark}_s") for mark in PERCENTILES)
        rows.append((label, seconds(mean), *(seconds(value) for value in marks)))
    return table("Requests", ("", "mean", *PERCENTILES), rows)


def requirements_table(problem: Problem, plan: Plan) -> FittingTable:
    """What was asked, what the plan does, and how much room is left."""
    rows = []
    for row in requirement_rows(problem, plan):
        sign = "≤" if row.at_most else "≥"
        limit = "" if row.limit is None else f"{sign} {given(row.limit, row.unit)}"
        left = percent(row.slack) if row.met else "MISSED"
        rows.append((row.label, limit, row.shown, left))
    return table("Requirements", ("", "asked", "this plan", "room left"), rows)


def memory_table(problem: Problem, memory: Memory) -> FittingTable:
    """Memory of the fullest GPU by what takes it."""
    cap = problem.memory_limit_gb * 1e9
    parts = [(label, getattr(memory, name)) for name, label in MEMORY_LABELS.items()]
    rows = [(label, gigabytes(taken), percent(taken / cap)) for label, taken in parts]
    total = ("Total", gigabytes(memory.total_bytes), percent(memory.total_bytes / cap))
    title = f"Memory of the fullest GPU, of {given(problem.memory_limit_gb, 'GB')}"
    return table(title, ("", "taken", "share"), [*rows, total])


def front_table(result: SearchResult) -> FittingTable:
    """The plans that no other dominates, best first."""
    rows = [
        (
            brief(plan.layout), str(plan.gpus), str(plan.batch), str(plan.pair.chunk or plan.microbatch),
            seconds(plan.metrics.ttft_s), number(plan.metrics.total_tokens_per_ms_per_gpu),
            gigabytes(plan.memory.total_bytes),
        )
        for plan in result.front[:MOST_ROWS]
    ]  # fmt: skip
    shown = (
        f"the first {MOST_ROWS} of {len(result.front)} plans"
        if len(result.front) > MOST_ROWS
        else "best first"
    )
    second = "micro" if result.best.serving is None else "chunk"
    columns = ("layout", "GPUs", "batch", second, "TTFT", "tokens/ms/GPU", "memory")
    return table(f"Front, {shown}", columns, rows)


def operations_table(plan: Plan, phase: str) -> FittingTable:
    """The operators of a phase that take most of its time."""
    timed = sorted((item for item in plan.operations if item.phase == phase), key=lambda item: -item.time_s)
    total = sum(item.time_s for item in timed) or 1.0
    rows = [
        (item.name, "" if item.kind == "compute" else item.kind, seconds(item.time_s),
         percent(item.time_s / total), item.bound)
        for item in timed[:MOST_ROWS]
    ]  # fmt: skip
    title = f"{phase.capitalize()}, {worked_on(plan, phase)}"
    return table(title, ("operator", "over", "time", "share", "bound by"), rows)


def simulated_table(simulated: Simulated) -> FittingTable:
    """The analysis of a plan next to its simulation."""
    rows = simulated_rows(simulated)
    return table(rows.title, ("", "analysis", "simulated", "analysis is off by"), rows.rows)


def metrics_table(rows: Sequence[tuple[str, str]]) -> FittingTable:
    """Label and value."""
    return table("Plan", ("", "value"), rows)


def limit_lines(limits: Iterable[Limit]) -> Iterator[str]:
    """Physical limits, one sentence each."""
    for limit in limits:
        asked = "" if limit.required is None else f" (asked: {given(limit.required)})"
        yield f"{limit.name}: at most {quantity(limit.value, limit.unit)}{asked}; {limit.sentence}"


def order_lines(orders: Sequence[OrderCost]) -> Iterator[str]:
    """The best plan's order, and what others would cost."""
    own = orders[0]
    for cost in orders:
        name = " and ".join(cost.order) + " closer together" if cost.order else "the usual one"
        if cost is own:
            others = "" if len(orders) > 1 else "; its groups can have no other"
            yield f"best: {name}{others}"
        else:
            rate = number(cost.total_tokens_per_ms_per_gpu)
            yield f"{name}: {seconds(cost.ttft_s)} to the first token, {rate} tokens/ms/GPU"


def search_answer(result: SearchResult) -> Iterator[Any]:
    """Everything that a search tells, in reading order."""
    from rich.padding import Padding
    from rich.text import Text

    def text(words: str, style: str = "") -> Any:
        return Padding(Text(printable(words), style=style), (0, 0, 1, 0))

    yield text(plan_line(result.best), "bold")
    yield requirements_table(result.problem, result.best)
    if result.best.serving is not None:
        yield serving_table(result.best)
    yield memory_table(result.problem, result.best.memory)
    if costs := tuple(cost_rows(result.best.cost)):
        yield table("Cost", ("", "value"), costs)
    yield front_table(result)
    if result.runner_up is not None:
        yield text(f"Runner-up: {plan_line(result.runner_up)}\n  Why it lost: {result.runner_up_reason}")
    if result.orders:
        yield text("\n".join(("Order on the network", *(f"  {line}" for line in order_lines(result.orders)))))
    yield text(f"Proof: {result.proof.statement}")
    for simulated in result.simulated:
        yield simulated_table(simulated)
    if result.limits:
        yield text("\n".join(("Physical limits", *(f"  {line}" for line in limit_lines(result.limits)))))
