"""Named costs: what the parts of the model hand to those who add them up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from autoparallel.performance.operators.cost import OperatorCost, Quantity

COMPUTE, TP, SP, EP, PP, DP = "compute", "tp", "sp", "ep", "pp", "dp"


class Term(NamedTuple):
    """An operator, or a collective of the dimension ``kind``, run once."""

    name: str
    kind: str
    cost: OperatorCost


def time_of(terms: Iterable[Term]) -> Quantity:
    """Time of terms that run one after the other. [s]"""
    total: Quantity = 0.0
    for term in terms:
        total = total + term.cost.time_s
    return total


def memory_bytes_of(terms: Iterable[Term]) -> Quantity:
    """Bytes that the operators among the terms move through the GPU's memory. [bytes]"""
    total: Quantity = 0.0
    for term in terms:
        if term.kind == COMPUTE:
            total = total + term.cost.bytes
    return total
