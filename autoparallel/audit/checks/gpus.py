"""GPUs of the deployment: degrees multiply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, value
from autoparallel.audit.written import Claim


class GpusCheck(Check):
    """The product of the degrees."""

    quantities: ClassVar[Mapping[str, Quantity]] = {"gpus": Quantity("GPUs", "GPUs of the deployment")}

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        one = case.layout
        formula = (
            f"tp {one.tp} x cp {one.cp} x dp {one.dp} x pp {one.pp} x replicas {one.replicas} = {one.gpus:,}"
        )
        if case.reading.changes:
            formula += f", with {', '.join(case.reading.changes)}"
        yield value("", one.gpus, formula)


CHECK = GpusCheck()
