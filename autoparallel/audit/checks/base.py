"""What an audit check is: the quantities that it knows, and how each is computed for a plan.

A check computes nothing by itself: numbers come from the problem, from an estimated plan and from the
performance core.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from autoparallel.audit.written import Claim

if TYPE_CHECKING:
    from autoparallel.audit.case import Case

# What a computed number is to a claim: what its words mean; a limit that nothing stated may pass; where
# the stated number comes from although the words do not mean that; what the problem takes for granted.
VALUE, LIMIT, ORIGIN, ASSUMED = "value", "limit", "origin", "assumed"


@dataclass(frozen=True)
class Quantity:
    """Something that a plan can claim.

    ``better`` is ``"less"`` or ``"more"`` where a number that misses the claim on that side is better
    than what was claimed.
    """

    dimension: str
    sentence: str
    better: str = ""
    needs_baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A number computed for a quantity under one reading of its words, in base units of its dimension.

    Attributes
    ----------
    words : str
        The reading; empty where the words have only one.
    formula : str
        How it comes about, with the numbers put in.
    role : str
        ``value``, ``limit``, ``origin`` or ``assumed``.
    rests_on : str
        The quantity whose claim a broken limit contradicts.
    """

    words: str
    low: float
    high: float
    formula: str
    role: str = VALUE
    rests_on: str = ""


def value(words: str, number: float, formula: str) -> Computed:
    """What the words mean under one reading."""
    return Computed(words=words, low=number, high=number, formula=formula)


def origin(words: str, number: float, formula: str) -> Computed:
    """Where the stated number comes from."""
    return Computed(words=words, low=number, high=number, formula=formula, role=ORIGIN)


def limit(words: str, number: float, formula: str, rests_on: str = "") -> Computed:
    """What nothing stated may pass."""
    return Computed(words=words, low=number, high=number, formula=formula, role=LIMIT, rests_on=rests_on)


class Check:
    """One audit check; its module holds the instance ``CHECK``."""

    quantities: ClassVar[Mapping[str, Quantity]]

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        """Every reading of the claim's words for one reading of the plan; none where nothing is known."""
        raise NotImplementedError
