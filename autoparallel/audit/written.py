"""A plan that somebody wrote: degrees, batches, and the sentences that it claims."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autoparallel.audit.wording import span

PLAN, BASELINE = "plan", "baseline"


@dataclass(frozen=True, kw_only=True)
class Stated:
    """The number of a claim: everything from ``low`` to ``high``, in base units of its dimension.

    ``tolerance`` is the share of a number by which a computed one may pass it.
    """

    low: float
    high: float
    tolerance: float = 0.0

    def includes(self, low: float, high: float) -> bool:
        """Whether a computed number, or a computed range, is what was stated."""
        if low != high:
            return self._near(low, self.low) and self._near(high, self.high)
        above = low >= self.low or self._near(low, self.low)
        return above and (high <= self.high or self._near(high, self.high))

    def within(self, limit: float) -> bool:
        """Whether all that was stated is at most ``limit``; what has no upper end starts at most there."""
        most = self.low if math.isinf(self.high) else self.high
        return most <= limit or self._near(limit, most)

    def meets(self, other: Stated) -> bool:
        """Whether both can be true of one number."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        return low <= high or self._near(low, high) or other._near(low, high)

    def _near(self, computed: float, stated: float) -> bool:
        if math.isinf(stated):
            return math.isinf(computed)
        # Sums of floats of a right answer miss it by less than this.
        return abs(computed - stated) <= (self.tolerance + 1e-9) * abs(stated)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One sentence of a plan.

    Attributes
    ----------
    number : int
        Place in the plan file, from 1.
    quantity : str
        What is claimed, a name that some check knows.
    stated : Stated or None
        The number, ``None`` where the sentence has none.
    unit : str
        The unit it was written in.
    of : str
        ``plan``, or ``baseline`` for a sentence about the plan that it is compared with.
    """

    number: int
    quantity: str
    stated: Stated | None
    unit: str
    says: str = ""
    section: str = ""
    of: str = PLAN

    @property
    def stated_text(self) -> str:
        """The number as people read it, empty where there is none."""
        return span(self.stated.low, self.stated.high, self.unit) if self.stated else ""


@dataclass(frozen=True, kw_only=True)
class WrittenPlan:
    """What a plan file says.

    Attributes
    ----------
    degrees : mapping
        The degrees that the plan names, ``sp_kind`` and ``layers`` among them; others are free.
    batch : int
        Sequences in service at once in one instance.
    microbatch : int or None
        Sequences in a pipeline slot, ``None`` where the plan does not say.
    chunk : int or None
        Continuous batching: tokens of a step of a data parallel rank; ``None`` where the plan does not say.
    exact : bool
        Whether the degrees are all there and mean what the program means by them (a plan.json).
    """

    title: str
    degrees: Mapping[str, Any]
    batch: int
    microbatch: int | None = None
    chunk: int | None = None
    claims: tuple[Claim, ...] = ()
    baseline: WrittenPlan | None = None
    exact: bool = False
    warnings: tuple[str, ...] = field(default=())

    @property
    def stated_gpus(self) -> Claim | None:
        """The first claim that says how many GPUs the plan itself takes."""
        for claim in self.claims:
            stated = claim.stated
            if claim.quantity == "gpus" and claim.of == PLAN and stated and stated.low == stated.high:
                return claim
        return None

    @property
    def stated_sequences(self) -> Claim | None:
        """The first claim that says how many sequences the plan itself has in service."""
        for claim in self.claims:
            stated = claim.stated
            if claim.quantity == "sequences" and claim.of == PLAN and stated and stated.low == stated.high:
                return claim
        return None
