"""Expert parallel ranks: which share a token uses, and which share works in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import ASSUMED, Check, Computed, Quantity, origin, value
from autoparallel.audit.wording import figure, percent
from autoparallel.audit.written import Claim
from autoparallel.performance.expert_balance import group_of
from autoparallel.solver.placement.model import place_experts

_GAIN = "expert_utilisation_gain"
_SPREAD = "the share of one token, its experts on different GPUs"
_MEAN = "the mean share of one token"


class ExpertLoadCheck(Check):
    """Ranks are busy with the tokens of a whole batch; the share of one token says nothing of idle time."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "expert_utilisation": Quantity("share", "share of expert ranks at work", "more"),
        "gpu_idle_share": Quantity("share", "share of expert ranks that wait", "less"),
        "expert_imbalance": Quantity("factor", "load of the fullest expert rank over the mean", "less"),
        "expert_ranks_per_token": Quantity("ranks", "expert ranks that one token is sent to"),
        _GAIN: Quantity("factor", "expert ranks at work against the baseline's", "more", needs_baseline=True),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        if claim.quantity == "expert_ranks_per_token":
            share, ep = case.plan.metrics.expert_ranks_per_token, case.layout.ep
            yield value("", share * ep, f"{percent(share)} of ep {ep} = {figure(share * ep)}")
        elif claim.quantity == "expert_imbalance":
            yield _imbalance(case)
        elif claim.quantity == _GAIN:
            yield from _gain(case)
        else:
            idle = claim.quantity == "gpu_idle_share"
            for one in _shares(case):
                share = 1 - one.low if idle else one.low
                formula = f"1 - {percent(one.low)} = {percent(share)}: {one.formula}" if idle else one.formula
                yield Computed(words=one.words, low=share, high=share, formula=formula, role=one.role)


def _imbalance(case: Case) -> Computed:
    """Of known loads, with the placement that the plan rests on; without, what the problem assumes."""
    workload, model = case.problem.workload, case.problem.model
    loads, factor = workload.expert_loads, workload.expert_imbalance
    if loads is None:
        formula = f"workload.expert_imbalance = {figure(factor)}"
        return Computed(words="", low=factor, high=factor, formula=formula, role=ASSUMED)
    group = group_of(case.layout, case.problem.hardware.gpus_per_node)
    placed = place_experts(loads, model.num_experts_per_tok, group).balance
    formula = f"ep {group.ep}, {group.redundant} copies, mean of {len(loads.shares)} layers"
    return value("", placed.imbalance, f"{formula}: {figure(placed.imbalance)}")


def _shares(case: Case) -> Iterator[Computed]:
    metrics, layout, model = case.plan.metrics, case.layout, case.problem.model
    tokens = case.reading.microbatch / layout.edp
    hit, busy = metrics.expert_ranks_per_token, metrics.expert_busy_share
    formula = (
        f"{figure(tokens)} tokens a decode step, each on {percent(hit)} of ep {layout.ep} ranks: "
        f"1 - (1 - {figure(hit)})^{figure(tokens)} = {percent(busy)}"
    )
    yield value("in a batch", busy, formula)
    chosen, ep = model.routed_experts_per_tok, layout.ep
    spread = min(chosen / ep, 1.0)
    yield origin(_SPREAD, spread, f"{chosen} experts of a token / ep {ep} = {percent(spread)}")
    yield origin(_MEAN, hit, f"{chosen} of {model.routed_experts} experts on ep {ep}: {percent(hit)}")


def _gain(case: Case) -> Iterator[Computed]:
    if case.baseline is None:
        return
    for now, before in zip(_shares(case), _shares(case.baseline), strict=True):
        gain = now.low / before.low
        formula = f"{percent(now.low)} / {percent(before.low)} = {figure(gain)}"
        words = now.words if now.role == "value" else f"a ratio of {now.words}"
        yield Computed(words=words, low=gain, high=gain, formula=formula, role=now.role)


CHECK = ExpertLoadCheck()
