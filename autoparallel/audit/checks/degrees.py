"""The degrees of the layout, as far as GPUs allow them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, value
from autoparallel.audit.written import Claim

_SENTENCES = {
    "tp": "GPUs of a tensor parallel group",
    "sp": "sequence parallel degree",
    "pp": "pipeline stages",
    "ep": "expert parallel degree",
    "etp": "tensor parallel degree inside an expert",
}


class DegreesCheck(Check):
    """Each degree of the layout, and what ``dp`` counts."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        **{name: Quantity("stages" if name == "pp" else "ranks", said) for name, said in _SENTENCES.items()},
        "dp": Quantity("ranks", "data parallel groups: attention ranks or independent instances"),
        "expert_group_gpus": Quantity("GPUs", "GPUs of an expert group"),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        layout = case.layout
        if claim.quantity == "expert_group_gpus":
            formula = f"ep {layout.ep} x etp {layout.etp} = {layout.ep * layout.etp}"
            yield value("GPUs that hold all experts of a layer", layout.ep * layout.etp, formula)
            yield value("GPUs that exchange tokens over ep", layout.ep, f"ep = {layout.ep}")
        elif claim.quantity == "dp":
            ranks = layout.dp * layout.replicas
            formula = f"dp {layout.dp} x replicas {layout.replicas} = {ranks}"
            yield value("data parallel ranks of attention", ranks, f"{formula}; {_room(case)}")
            yield value("independent instances", layout.replicas, f"replicas = {layout.replicas}")
        else:
            degree = getattr(layout, claim.quantity)
            yield value("", degree, f"{claim.quantity} = {degree}")


def _room(case: Case) -> str:
    """How many data parallel ranks the GPUs leave room for."""
    layout = case.layout
    others = f"tp {layout.tp} x cp {layout.cp} x pp {layout.pp}"
    ranks = layout.gpus // (layout.tp * layout.cp * layout.pp)
    return f"{layout.gpus:,} GPUs / ({others}) = {ranks}"


CHECK = DegreesCheck()
