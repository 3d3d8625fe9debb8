"""Links: which one carries what, and what smaller groups save."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, limit, origin, value
from autoparallel.audit.wording import figure, percent
from autoparallel.audit.written import Claim
from autoparallel.domain.dtypes import DTYPES
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.operators.cost import OperatorCost
from autoparallel.performance.operators.cost import Quantity as Costs

_DIMENSIONS = ("tp", "sp", "ep", "pp", "dp")


class CommunicationCheck(Check):
    """Bandwidth of the links, time that communication takes, and all-reduces of other sizes."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "link_bandwidth": Quantity("bandwidth", "bandwidth of a GPU's link, one way"),
        "communication_share": Quantity("share", "share of a microbatch's time in communication", "less"),
        "tp_communication_share": Quantity("share", "share of its time in all-reduces of tp", "less"),
        "dp_communication_share": Quantity("share", "share of its time between data parallel ranks", "less"),
        "tp_communication_reduction": Quantity(
            "share", "all-reduce cost that the plan saves against the baseline", "more", needs_baseline=True
        ),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        if claim.quantity == "link_bandwidth":
            yield from _links(claim, case)
        elif claim.quantity == "tp_communication_reduction":
            yield from _saved(case)
        else:
            kinds = {"tp_communication_share": ("tp", "sp"), "dp_communication_share": ("dp",)}
            yield from _shares(case, kinds.get(claim.quantity, _DIMENSIONS))


def _links(claim: Claim, case: Case) -> Iterator[Computed]:
    hardware = case.problem.hardware
    for words, link in (("inside a node", hardware.scale_up), ("between nodes", hardware.scale_out)):
        reached = link.bandwidth_gb_per_s * link.efficiency
        formula = (
            f"{figure(link.bandwidth_gb_per_s)} GB/s x {percent(link.efficiency)} = {figure(reached)} GB/s"
        )
        yield value(words, reached * 1e9, formula)
    fastest = max(hardware.scale_up.bandwidth_gb_per_s, hardware.scale_out.bandwidth_gb_per_s)
    yield limit("the fastest link", fastest * 1e9, f"{figure(fastest)} GB/s on the data sheet")
    vram = hardware.memory_bandwidth_gb_per_s
    if claim.stated and fastest * 1e9 < claim.stated.low <= vram * 1e9:
        share = claim.stated.low / 1e9 / vram
        formula = f"{figure(vram)} GB/s x {percent(share)} = {figure(vram * share)} GB/s"
        yield origin("a share of the memory's bandwidth, not a link's", claim.stated.low, formula)


def _shares(case: Case, kinds: tuple[str, ...]) -> Iterator[Computed]:
    totals = case.plan.communication()
    for phase in ("prefill", "decode"):
        spent = sum(totals[phase][kind]["time_s"] for kind in kinds)
        whole = sum(one.time_s for one in case.plan.operations if one.phase == phase)
        formula = f"{figure(spent * 1e3)} ms / {figure(whole * 1e3)} ms = {percent(spent / whole)}"
        yield value(phase, spent / whole, formula)


def _all_reduce(case: Case, tokens: float) -> OperatorCost:
    """The all-reduce of one layer's attention over tp, for this many tokens."""
    model = case.problem.model
    degrees, _ = PlanTable.of([case.layout], [case.reading.batch], [case.reading.microbatch]).split()
    tensor = tokens * model.hidden_size * DTYPES[model.activation_dtype].bytes
    return AttentionPart(Machine(case.problem), degrees).groups.tp.all_reduce(tensor)


def _one(quantity: Costs) -> float:
    """The number of a table of one plan."""
    return float(np.max(quantity))


def _saved(case: Case) -> Iterator[Computed]:
    baseline = case.baseline
    if baseline is None or baseline.layout.tp == 1:
        return
    isl = case.problem.workload.prompt_tokens.mean
    sizes = f"tp {case.layout.tp} against tp {baseline.layout.tp}"
    now, before = _one(_all_reduce(case, isl).bytes), _one(_all_reduce(baseline, isl).bytes)
    formula = f"{sizes}, {figure(isl)} tokens: 1 - {figure(now / 1e6)} MB / {figure(before / 1e6)} MB"
    yield value("bytes that a GPU sends", 1 - now / before, f"{formula} = {percent(1 - now / before)}")
    for words, tokens in (("time in prefill", isl), ("time in decode", float(case.reading.microbatch))):
        now, before = _one(_all_reduce(case, tokens).time_s), _one(_all_reduce(baseline, tokens).time_s)
        formula = f"{sizes}, {figure(tokens)} tokens: 1 - {figure(now * 1e6)} us / {figure(before * 1e6)} us"
        yield value(words, 1 - now / before, f"{formula} = {percent(1 - now / before)}")


CHECK = CommunicationCheck()
