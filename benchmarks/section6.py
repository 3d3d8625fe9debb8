"""The plan that started this, checked: figures worked by hand against the model's own.

``python benchmarks/section6.py`` prints the table of docs/model.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from autoparallel import Layout, Plan, Problem, evaluate, load_problem
from autoparallel.performance.architecture import derived_parameters, kv_cache_bytes, parameters_by_part
from autoparallel.performance.limits import physical_limits

PROBLEM = Path(__file__).resolve().parent.parent / "problems" / "moe10b.toml"
LONGEST = 10_240
# Sequences of a microbatch that is small enough for latencies to show.
SMALL = 16
# The layout of the plan, and what beats it.
PLAN = Layout(tp=2, sp=2, sp_kind="tensor", dp=4, pp=2, ep=4, etp=2)
PAIR, TWO_OF_ONE, TWO_OF_EIGHT = Layout(dp=2, ep=2), Layout(replicas=2), Layout(dp=8, ep=8, replicas=2)


class Row(NamedTuple):
    """A figure: by hand (a number, or the ends of a range), the model's, and what makes the difference."""

    what: str
    unit: str
    by_hand: float | tuple[float, float]
    value: float
    why: str = ""

    @property
    def difference(self) -> float:
        """Relative distance from the figure by hand, 0 within its range. [1]"""
        low, high = self.by_hand if isinstance(self.by_hand, tuple) else (self.by_hand, self.by_hand)
        nearest = min(max(self.value, low), high)
        return self.value / nearest - 1


def table() -> tuple[Row, ...]:
    """Every figure of the check, prompts of the longest length throughout unless the row says otherwise."""
    problem = load_problem(PROBLEM, [f"workload.prompt_tokens={LONGEST}"])
    return (
        *_model(problem),
        *_one_gpu(problem),
        *_two_gpus(problem),
        *_sixteen_gpus(problem),
        *_limit(problem),
    )


def _model(problem: Problem) -> Iterator[Row]:
    model = problem.model
    ends = 2 * parameters_by_part(model).embedding
    plain = derived_parameters(replace(model, ffn_matrices=2)) - ends
    gated = derived_parameters(model) - ends
    yield Row("parameters, two matrices an expert, without embeddings", "1e9", 0.285, plain / 1e9)
    yield Row("parameters, three matrices an expert, without embeddings", "1e9", 0.420, gated / 1e9)
    yield Row("KV cache of a token", "bytes", 32_768, kv_cache_bytes(model, 1.0))
    cache = 128 * kv_cache_bytes(model, LONGEST)
    yield Row("KV cache of 128 sequences of 10,240 tokens", "GB", 43, cache / 1e9)


def _one_gpu(problem: Problem) -> Iterator[Row]:
    plan = evaluate(problem, Layout(), batch=128, microbatch=128)
    why = "norms, router and head: 0.9 %"
    yield Row("one GPU: prefill of 128 sequences", "s", 14.7, plan.metrics.ttft_s, why)
    why = "128 output tokens more a sequence, embedding and head"
    yield Row("one GPU: weights and KV cache", "GB", 63.5, _held_gb(plan), why)


def _two_gpus(problem: Problem) -> Iterator[Row]:
    for name, layout, batch, by_hand in (
        ("EP 2, DP 2 at batch 128", PAIR, 128, (7.4, 32.0, 64.0)),
        ("two replicas at batch 64", TWO_OF_ONE, 64, (7.4, 42.0, 60.0)),
    ):
        plan = evaluate(problem, layout, batch=batch, microbatch=batch)
        yield Row(
            f"{name}: TTFT", "s", by_hand[0], plan.metrics.ttft_s, "as above; dispatch 0.4 %" * (batch == 128)
        )
        yield Row(f"{name}: weights and KV cache a GPU", "GB", by_hand[1], _held_gb(plan))
        yield Row(f"{name}: throughput", "tokens/ms/GPU", by_hand[2], _total(plan))


def _sixteen_gpus(problem: Problem) -> Iterator[Row]:
    pair = evaluate(problem, PAIR, batch=128, microbatch=128)
    for microbatch in (SMALL, 32, 64):
        plan, name = (
            evaluate(problem, PLAN, batch=128, microbatch=microbatch),
            f"microbatches of {microbatch}",
        )
        yield Row(f"the plan on 16 GPUs, {name}: TTFT", "s", (1.1, 1.4), plan.metrics.ttft_s)
        why = "latencies: at none it is 0.605" * (microbatch == SMALL)
        share = _total(plan) / _total(pair)
        yield Row("the same: throughput a GPU over that of EP 2, DP 2", "1", (0.6, 0.7), share, why)
    eight = evaluate(problem, TWO_OF_EIGHT, batch=64, microbatch=64)
    yield Row("two replicas of EP 8, DP 8 on 16 GPUs: TTFT", "s", 0.94, eight.metrics.ttft_s)
    why = "latencies, again"
    yield Row("two replicas of EP 8, DP 8 on 16 GPUs: throughput", "tokens/ms/GPU", 59, _total(eight), why)


def _limit(problem: Problem) -> Iterator[Row]:
    bound = {limit.name: limit.value for limit in physical_limits(problem)}
    why = "context of 10,240 + 64 tokens, the mean of a run; by hand 10,240"
    yield Row("decode cannot pass", "tokens/ms/GPU", 4.3, bound["decode"], why)
    mean = load_problem(PROBLEM)
    alone = evaluate(mean, Layout(dp=16, ep=16), batch=128, microbatch=128).metrics
    why = "the plan says 12.5 %, counting one token; a step has 128"
    yield Row("EP 16: share of its time that the mean expert rank is busy in a step", "1", 1.0,
              alone.expert_busy_share, why)  # fmt: skip


def _held_gb(plan: Plan) -> float:
    memory = plan.memory
    return (memory.weights_bytes + memory.expert_weights_bytes + memory.kv_cache_bytes) / 1e9


def _total(plan: Plan) -> float:
    return plan.metrics.total_tokens_per_ms_per_gpu


def _by_hand(row: Row) -> str:
    if isinstance(row.by_hand, tuple):
        return " to ".join(f"{end:g}" for end in row.by_hand)
    return f"{row.by_hand:,.5g}"


def markdown(rows: tuple[Row, ...]) -> str:
    """The table as text."""
    lines = ["| figure | unit | by hand | model | difference |", "| --- | --- | ---: | ---: | --- |"]
    for row in rows:
        change = f"{row.difference:+.1%}".replace("-0.0%", "+0.0%").replace("+0.0%", "none")
        note = f"{change}: {row.why}" if row.why else change
        lines.append(f"| {row.what} | {row.unit} | {_by_hand(row)} | {row.value:,.5g} | {note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown(table()))
