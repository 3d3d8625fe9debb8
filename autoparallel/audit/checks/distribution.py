"""Layers, heads, experts and sequence over the GPUs, and how even they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, value
from autoparallel.audit.wording import figure, percent
from autoparallel.audit.written import Claim
from autoparallel.domain.layout import spelled


class DistributionCheck(Check):
    """What each GPU holds of the model, in whole pieces."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "layers_per_stage": Quantity("layers", "layers of the largest pipeline stage"),
        "heads_per_gpu": Quantity("heads", "attention heads of a GPU"),
        "experts_per_gpu": Quantity("experts", "routed experts of a layer on a GPU, whole or in part"),
        "stage_imbalance": Quantity("factor", "slowest pipeline stage over the fastest", "less"),
        "pipeline_bubble_share": Quantity("share", "share of prefill in which a stage waits", "less"),
        "sequence_shards": Quantity("ranks", "parts into which one sequence is cut"),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        yield from getattr(self, f"_{claim.quantity}")(case)

    def _layers_per_stage(self, case: Case) -> Iterator[Computed]:
        layers, pp = case.problem.model.num_hidden_layers, case.layout.pp
        sizes = case.layout.layers_of_stages(layers)
        given = f", split {spelled(sizes)}" if case.layout.layers else ""
        yield value("", max(sizes), f"{layers} layers / pp {pp} = {figure(layers / pp)}{given}")

    def _heads_per_gpu(self, case: Case) -> Iterator[Computed]:
        heads, tp = case.problem.model.num_attention_heads, case.layout.tp
        yield value("", heads / tp, f"{heads} heads / tp {tp} = {figure(heads / tp)}")

    def _experts_per_gpu(self, case: Case) -> Iterator[Computed]:
        experts, ep, etp = case.problem.model.routed_experts, case.layout.ep, case.layout.etp
        part = f", 1/{etp} of each" if etp > 1 else ""
        yield value("", experts / ep, f"{experts} experts / ep {ep} = {figure(experts / ep)}{part}")

    def _stage_imbalance(self, case: Case) -> Iterator[Computed]:
        phases = (("prefill", case.plan.prefill_stage_s), ("decode", case.plan.decode_stage_s))
        for phase, times in phases:
            slowest, fastest = max(times), min(times)
            formula = f"{figure(slowest * 1e3)} ms / {figure(fastest * 1e3)} ms = {figure(slowest / fastest)}"
            yield value(phase, slowest / fastest, formula)

    def _pipeline_bubble_share(self, case: Case) -> Iterator[Computed]:
        slots = case.reading.batch // case.reading.microbatch
        share = case.plan.metrics.pipeline_bubble_share
        yield value("", share, f"{slots} microbatches through pp {case.layout.pp} stages: {percent(share)}")

    def _sequence_shards(self, case: Case) -> Iterator[Computed]:
        one = case.layout
        yield value(
            "the KV cache and attention", one.cp, f'cp = {one.cp}: sp_kind is "{one.sp_kind or "none"}"'
        )
        formula = f"sp {one.sp}" if one.sp > 1 else "sp 1"
        yield value("activations outside the matrix products", one.sp, formula)


CHECK = DistributionCheck()
