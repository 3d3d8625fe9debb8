"""Throughput by phase, per GPU and of the deployment, and the physical limits on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, limit, origin, value
from autoparallel.audit.wording import figure
from autoparallel.audit.written import Claim
from autoparallel.domain.requirements import PHASES
from autoparallel.domain.result import Limit
from autoparallel.performance.limits import physical_limits

_PER_GPU, _ALL = "throughput_per_gpu", "throughput"


class ThroughputCheck(Check):
    """Tokens per ms; where the phase is not named, each is a reading."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        _PER_GPU: Quantity("throughput per GPU", "tokens per ms and GPU, phase not named", "more"),
        _ALL: Quantity("throughput", "tokens per ms of the deployment, phase not named", "more"),
        **{
            f"{phase}_throughput_per_gpu": Quantity(
                "throughput per GPU", f"tokens per ms and GPU, {phase}", "more"
            )
            for phase in PHASES
        },
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        if claim.quantity in (_PER_GPU, _ALL):
            for phase in ("total", "prefill", "decode"):
                yield _in_phase(claim, case, phase, case.layout.gpus if claim.quantity == _ALL else 1)
            if claim.quantity == _ALL:
                yield from _stated_product(case)
            return
        phase = claim.quantity.removesuffix("_throughput_per_gpu")
        computed = _in_phase(claim, case, phase, 1)
        yield value("", computed.low, computed.formula)
        bound = _limit(case, phase)
        yield limit(f"no layout passes {figure(bound.value)} tokens/ms/GPU", bound.value, bound.sentence)


def _in_phase(claim: Claim, case: Case, phase: str, gpus: int) -> Computed:
    """The throughput of one phase, of one GPU or of all."""
    metrics = case.plan.metrics
    per_gpu = getattr(metrics, f"{phase}_tokens_per_ms_per_gpu")
    seconds = {"prefill": metrics.prefill_s, "decode": metrics.tpot_s, "total": metrics.run_s}[phase]
    number = per_gpu * gpus
    tokens = per_gpu * case.layout.gpus * seconds * 1e3
    formula = f"{figure(round(tokens))} tokens / {figure(seconds * 1e3)} ms / {case.layout.gpus:,} GPUs"
    formula += f" x {gpus:,} = {figure(number)}" if gpus > 1 else f" = {figure(number)}"
    formula += f", {case.load_words}" if case.load_words else ""
    bound = _limit(case, phase)
    reach = f"no layout passes {figure(bound.value * gpus)}: {bound.sentence}"
    if claim.stated and claim.stated.low > bound.value * gpus:
        reach = f"{figure(claim.stated.low)} is out of reach, {reach}"
    return value(phase, number, f"{formula}; {reach}")


def _limit(case: Case, phase: str) -> Limit:
    return next(one for one in physical_limits(case.served) if one.name == phase)


def _stated_product(case: Case) -> Iterator[Computed]:
    """GPUs times tokens per GPU as both are stated."""
    gpus = case.written.stated_gpus
    if not gpus or not gpus.stated:
        return
    for claim in case.claims(_PER_GPU):
        if claim.stated and claim.stated.low == claim.stated.high:
            number = gpus.stated.low * claim.stated.low
            each = f"{figure(claim.stated.low)} tokens/ms/GPU"
            formula = f"{figure(gpus.stated.low)} GPUs x {each} = {figure(number)}"
            words = f"the product of claims {gpus.number} and {claim.number}"
            yield origin(words, number, formula)


CHECK = ThroughputCheck()
