"""Sequences in service at once: of an instance, of a group, of the deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, origin, value
from autoparallel.audit.written import Claim


class SequencesCheck(Check):
    """Batches add up over instances, not over the data parallel ranks inside one."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "sequences": Quantity("sequences", "sequences in service at once in the deployment", "more"),
        "sequences_per_group": Quantity("sequences", "sequences in service at once in a data parallel group"),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        batch, layout = case.reading.batch, case.layout
        if claim.quantity == "sequences":
            total = case.reading.sequences
            yield value("", total, f"batch {batch} x replicas {layout.replicas} = {total:,}")
            dp = case.written.degrees.get("dp")
            if isinstance(dp, int):
                product = batch * dp
                yield origin(
                    f"batch x DP, as written: {batch} x {dp}", product, f"{batch} x {dp} = {product:,}"
                )
            return
        yield value("an instance", batch, f"batch = {batch}")
        share = batch / layout.dp
        yield value("a data parallel rank", share, f"batch {batch} / dp {layout.dp} = {share:g}")


CHECK = SequencesCheck()
