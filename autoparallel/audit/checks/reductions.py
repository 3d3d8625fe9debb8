"""How a plan compares with its baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, origin, value
from autoparallel.audit.wording import figure, percent
from autoparallel.audit.written import Claim
from autoparallel.domain.plan import Plan

_REDUCED: dict[str, tuple[str, Callable[[Plan], float]]] = {
    "gpu_reduction": ("GPUs", lambda plan: float(plan.gpus)),
    "memory_reduction": ("bytes on the fullest GPU", lambda plan: plan.memory.total_bytes),
    "ttft_reduction": ("s to the first token", lambda plan: plan.metrics.ttft_s),
}
_RAISED: dict[str, tuple[str, Callable[[Plan], float]]] = {
    "throughput_per_gpu_gain": (
        "tokens/ms/GPU in total",
        lambda plan: plan.metrics.total_tokens_per_ms_per_gpu,
    ),
    "requests_per_s_gain": ("requests a second", lambda plan: plan.metrics.requests_per_s),
}


class ReductionsCheck(Check):
    """Savings as shares of the baseline's number, gains as factors on it."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        **{
            name: Quantity("share", f"{said} saved against the baseline", "more", needs_baseline=True)
            for name, (said, _) in _REDUCED.items()
        },
        **{
            name: Quantity("factor", f"{said} against the baseline's", "more", needs_baseline=True)
            for name, (said, _) in _RAISED.items()
        },
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        if case.baseline is None:
            return
        said, read = {**_REDUCED, **_RAISED}[claim.quantity]
        now, before = read(case.plan), read(case.baseline.plan)
        if claim.quantity in _RAISED:
            yield value("", now / before, f"{figure(now)} / {figure(before)} {said} = {figure(now / before)}")
            return
        share = 1 - now / before
        yield value("", share, f"1 - {figure(now)} / {figure(before)} {said} = {percent(share)}")
        if claim.quantity == "gpu_reduction":
            yield from _between_claims(case)


def _between_claims(case: Case) -> Iterator[Computed]:
    """The same from the two numbers of GPUs that are stated."""
    own = case.written.stated_gpus
    other = case.baseline.written.stated_gpus if case.baseline else None
    if own and other and own.stated and other.stated and other.stated.low > 0:
        share = 1 - own.stated.low / other.stated.low
        formula = f"1 - {figure(own.stated.low)} / {figure(other.stated.low)} stated GPUs = {percent(share)}"
        yield origin("worked out from the stated GPUs", share, formula)


CHECK = ReductionsCheck()
