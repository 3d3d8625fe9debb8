"""How much of peak and bandwidth a plan uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, limit, value
from autoparallel.audit.wording import figure, percent
from autoparallel.audit.written import Claim
from autoparallel.performance.machine import Machine


class UtilisationCheck(Check):
    """Shares of the data sheet, which the stated efficiencies cap."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "mfu": Quantity("share", "model FLOPs over data-sheet peak, phase not named", "more"),
        "prefill_mfu": Quantity("share", "model FLOPs over data-sheet peak in prefill", "more"),
        "decode_mfu": Quantity("share", "model FLOPs over data-sheet peak in decode", "more"),
        "bandwidth_utilisation": Quantity("share", "bytes moved over bandwidth, phase not named", "more"),
        "prefill_bandwidth_utilisation": Quantity("share", "bytes moved over bandwidth in prefill", "more"),
        "decode_bandwidth_utilisation": Quantity("share", "bytes moved over bandwidth in decode", "more"),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        kind = "mfu" if claim.quantity.endswith("mfu") else "bandwidth_utilisation"
        named = claim.quantity.removesuffix(kind).rstrip("_")
        for phase in (named,) if named else ("prefill", "decode"):
            share = getattr(case.plan.metrics, f"{phase}_{kind}")
            yield value("" if named else phase, share, _formula(case, kind, phase, share))
        cap = _compute_cap(case) if kind == "mfu" else _memory_cap(case)
        quantity = "compute_efficiency" if kind == "mfu" else "memory_efficiency"
        formula = f"{percent(cap)} of the data sheet for the best operator: a whole model reaches no more"
        yield limit(f"{percent(cap)} is what operators reach", cap, formula, rests_on=quantity)


def _compute_cap(case: Case) -> float:
    """What the fastest operator computes, over the peak that MFU is counted in."""
    machine = Machine(case.problem)
    fastest = max(
        gpu.peak_flops_per_s * constants.compute_efficiency
        for gpu, constants in (
            (machine.expert_gpu, machine.expert_constants),
            (machine.attention_gpu, machine.attention_gemm),
            (machine.ffn_gpu, machine.ffn_gemm),
            (machine.core_gpu, machine.prefill_constants),
        )
    )
    return fastest / machine.expert_gpu.peak_flops_per_s


def _memory_cap(case: Case) -> float:
    """The share of the bandwidth that the best operator reaches."""
    machine = Machine(case.problem)
    constants = (machine.expert_constants, machine.attention_gemm, machine.ffn_gemm, machine.decode_constants)
    return max(one.memory_efficiency for one in constants)


def _formula(case: Case, kind: str, phase: str, share: float) -> str:
    metrics, hardware = case.plan.metrics, case.problem.hardware
    if kind != "mfu":
        sheet = hardware.memory_bandwidth_gb_per_s
        return f"{figure(share * sheet)} of {figure(sheet)} GB/s = {percent(share)}"
    tokens = getattr(metrics, f"{phase}_tokens_per_ms_per_gpu")
    return f"{figure(tokens)} tokens/ms/GPU of {phase} in FLOPs over the peak = {percent(share)}"


CHECK = UtilisationCheck()
