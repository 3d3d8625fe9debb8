"""Sentences without anything to measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity
from autoparallel.audit.units import NO_UNIT
from autoparallel.audit.written import Claim


class StatementCheck(Check):
    """A sentence that names no quantity: it is listed, and left undecided."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "statement": Quantity(NO_UNIT, "a sentence that names nothing measurable")
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        return iter(())


CHECK = StatementCheck()
