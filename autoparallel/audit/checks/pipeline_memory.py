"""What pipeline stages save in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, value
from autoparallel.audit.wording import gigabytes, percent
from autoparallel.audit.written import Claim
from autoparallel.domain.layout import Layout


class PipelineMemoryCheck(Check):
    """The plan against the same one without pipeline stages."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "pp_memory_reduction": Quantity(
            "share", "memory of the fullest GPU that pipeline stages save", "more"
        )
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        layout, pp = case.layout, case.layout.pp
        flat = replace(layout, pp=1)
        yield from _saved(case, f"against the same layout on 1/{pp} of the GPUs", flat, case.reading.batch)
        copies = replace(flat, replicas=layout.replicas * pp)
        if case.reading.batch % pp == 0:
            words = f"against {pp} instances without stages on the same GPUs"
            yield from _saved(case, words, copies, case.reading.batch // pp)


def _saved(case: Case, words: str, layout: Layout, batch: int) -> Iterator[Computed]:
    flat = case.with_layout(layout, batch)
    if flat is None:
        return
    now, before = case.plan.memory.total_bytes, flat.memory.total_bytes
    formula = f"1 - {gigabytes(now)} / {gigabytes(before)} = {percent(1 - now / before)}"
    yield value(words, 1 - now / before, formula)


CHECK = PipelineMemoryCheck()
