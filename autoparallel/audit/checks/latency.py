"""Time to first token and time per output token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, value
from autoparallel.audit.wording import figure
from autoparallel.audit.written import Claim


class LatencyCheck(Check):
    """Latencies of a full batch."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "ttft": Quantity("time", "time to first token of the last sequence of a full batch", "less"),
        "ttft_longest_prompts": Quantity("time", "time to first token at the longest prompts", "less"),
        "tpot": Quantity("time", "time per output token after the first", "less"),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        if case.plan.serving is not None:
            yield from _served(claim, case)
            return
        metrics, prompts = case.plan.metrics, case.problem.workload.prompt_tokens
        slots = case.reading.batch // case.reading.microbatch
        waves = f"{slots} microbatches of {case.reading.microbatch} sequences through {case.layout.pp} stages"
        if claim.quantity == "tpot":
            context = prompts.mean + case.problem.workload.output_tokens.mean / 2
            formula = f"{waves} at {context:,.0f} tokens of context: {figure(metrics.tpot_s * 1e3)} ms"
            yield value("", metrics.tpot_s, formula)
            return
        formula = f"{waves}, prompts of {prompts.max:,} tokens: {figure(metrics.ttft_s)} s"
        alone = claim.quantity == "ttft_longest_prompts"
        yield value("" if alone else "the longest prompts", metrics.ttft_s, formula)
        if alone:
            return
        stages = case.plan.prefill_stage_s
        sums = (
            f"{figure(sum(stages))} s + {slots - 1} x {figure(max(stages))} s = {figure(metrics.prefill_s)} s"
        )
        formula = f"{waves}, prompts of {prompts.mean:,.0f} tokens: {sums}"
        yield value("prompts of mean length", metrics.prefill_s, formula)


def _served(claim: Claim, case: Case) -> Iterator[Computed]:
    """Means of all requests under continuous batching; of the longest prompts only where all are as long."""
    metrics, workload, serving = case.plan.metrics, case.problem.workload, case.plan.serving
    running = f"{figure(serving.running if serving else 0.0)} sequences in service of an instance"
    if claim.quantity == "tpot":
        context = workload.prompt_tokens.mean + workload.output_tokens.mean / 2
        formula = f"mean of all requests, {running} at {context:,.0f} tokens of context"
        yield value("", metrics.tpot_s, f"{formula}: {figure(metrics.tpot_s * 1e3)} ms")
    elif claim.quantity == "ttft" or workload.prompt_tokens.min == workload.prompt_tokens.max:
        formula = f"mean of all requests, waits included, {running}: {figure(metrics.ttft_s)} s"
        yield value("", metrics.ttft_s, formula)


CHECK = LatencyCheck()
