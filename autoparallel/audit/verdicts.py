"""From computed numbers to verdicts: what a claim is worth, and which claims exclude each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoparallel.audit.checks import ASSUMED, LIMIT, ORIGIN, QUANTITIES, VALUE
from autoparallel.audit.wording import figure, span
from autoparallel.audit.written import Claim

HOLDS, FAILS, CONTRADICTS, UNDECIDED = "holds", "fails", "contradicts", "cannot be decided"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A claim against one computed number.

    Attributes
    ----------
    readings : tuple of str
        Readings of the plan under which this number comes out.
    words : str
        Reading of the claim's own words.
    role : str
        ``value``, ``limit``, ``origin`` or ``assumed``.
    holds : bool or None
        Whether the stated number agrees; ``None`` where the claim states none.
    """

    readings: tuple[str, ...]
    words: str
    role: str
    low: float
    high: float
    formula: str
    holds: bool | None
    rests_on: str = ""

    def text(self, unit: str) -> str:
        """The computed number in a unit."""
        return span(self.low, self.high, unit)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim, what was computed for it, and what follows.

    ``contradicts`` holds the numbers of the claims that cannot be true together with this one;
    ``because`` says in a sentence what decides.
    """

    claim: Claim
    verdict: str
    because: str
    judgements: tuple[Judgement, ...] = ()
    contradicts: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The verdict as people read it."""
        if self.verdict != CONTRADICTS:
            return self.verdict
        others = ", ".join(map(str, self.contradicts[:3])) + (", …" if len(self.contradicts) > 3 else "")
        return f"contradicts claim{'s' if len(self.contradicts) > 1 else ''} {others}"

    @property
    def passed(self) -> bool:
        """Whether no reading of the claim fails."""
        values = [j for j in self.judgements if j.role != ORIGIN]
        return self.verdict in (HOLDS, UNDECIDED) and all(j.holds is not False for j in values)

    @property
    def computed_text(self) -> str:
        """The numbers that the claim was held against."""
        unit = self.claim.unit
        values = [j.text(unit).removesuffix(f" {unit}") for j in self.judgements if j.role == VALUE]
        distinct = list(dict.fromkeys(values))
        if not distinct:
            return ""
        more = f" or {len(distinct) - 3} others," if len(distinct) > 3 else ""
        return f"{' or '.join(distinct[:3])}{more} {unit}"


def judge(claim: Claim, judgements: Sequence[Judgement], readings: Sequence[str]) -> Verdict:
    """The verdict on a claim by itself."""
    values = [j for j in judgements if j.role == VALUE]
    broken = [j for j in judgements if j.role == LIMIT and j.holds is False]
    made = Verdict(claim=claim, verdict=UNDECIDED, because="", judgements=tuple(judgements))
    if not claim.stated:
        return replace(made, because="the claim states no number")
    if not values:
        return replace(made, because=_nothing_known(claim, judgements, readings))
    if all(j.holds is False for j in values):
        return replace(made, verdict=FAILS, because=_why_it_fails(claim, values, judgements))
    if broken:
        return replace(made, verdict=FAILS, because=f"more than the limit: {broken[0].words}")
    if all(j.holds for j in values):
        return replace(made, verdict=HOLDS, because="")
    return replace(made, because=_depends(values))


def _nothing_known(claim: Claim, judgements: Sequence[Judgement], readings: Sequence[str]) -> str:
    if taken := [j for j in judgements if j.role == ASSUMED]:
        return f"nothing computes it: the problem assumes {taken[0].formula}"
    if QUANTITIES[claim.quantity].needs_baseline:
        return "there is no baseline plan to compare with"
    return "nothing to compute it from" if readings else "no layout near the written one can be launched"


def _why_it_fails(claim: Claim, values: Sequence[Judgement], judgements: Sequence[Judgement]) -> str:
    source = next((j for j in judgements if j.role == ORIGIN and j.holds), None)
    if source:
        return f"the stated number is {source.words}"
    stated, better = claim.stated, QUANTITIES[claim.quantity].better
    if stated and better == "less" and all(j.high < stated.low for j in values):
        return "less than stated: better than the plan says"
    if stated and better == "more" and all(j.low > stated.high for j in values):
        return "more than stated: better than the plan says"
    return _times_off(claim, values)


def _times_off(claim: Claim, values: Sequence[Judgement]) -> str:
    """By how much a number is off, from the nearest computed one."""
    stated = claim.stated
    if stated is None or stated.low != stated.high or stated.low <= 0 or any(j.low <= 0 for j in values):
        return ""
    nearest = min((j.low for j in values), key=lambda number: abs(math.log(stated.low / number)))
    ratio = stated.low / nearest
    if ratio > 1:
        return f"{figure(ratio)} times the nearest computed number"
    return f"the nearest computed number is {figure(1 / ratio)} times as much"


def _depends(values: Sequence[Judgement]) -> str:
    """Under which readings a claim holds and under which it fails."""

    def label(one: Judgement) -> str:
        uniform = len({bool(j.holds) for j in values if j.words == one.words}) == 1
        if one.words and uniform:
            return one.words
        return ", ".join(filter(None, (one.words, " or ".join(one.readings))))

    def named(outcome: bool) -> str:
        return "; ".join(dict.fromkeys(label(j) for j in values if bool(j.holds) is outcome))

    return f"depends on the reading: holds for {named(True)}; fails for {named(False)}"


def with_contradictions(verdicts: Sequence[Verdict], readings: Sequence[str]) -> tuple[Verdict, ...]:
    """Add which claims exclude each other: the verdict where one is true only at another's expense."""
    result = []
    for one in verdicts:
        excluded = [other for other in verdicts if _excludes(one, other, readings)]
        if one.verdict == HOLDS:
            # What is true whatever the plan means is not put in doubt by what never is.
            excluded = [other for other in excluded if not _fails_anyway(other)]
        others = sorted({other.claim.number for other in excluded})
        found = replace(one, contradicts=tuple(others))
        if others and not _fails_anyway(one):
            because = one.because if one.verdict == FAILS else _at_whose_expense(one)
            found = replace(found, verdict=CONTRADICTS, because=because)
        result.append(found)
    return tuple(result)


def _fails_anyway(one: Verdict) -> bool:
    values = [j for j in one.judgements if j.role == VALUE]
    return bool(values) and all(j.holds is False for j in values)


def _at_whose_expense(one: Verdict) -> str:
    readings = [name for j in one.judgements if j.role == VALUE and j.holds for name in j.readings]
    return f"true only if read as: {'; '.join(dict.fromkeys(readings))}" if readings else one.because


def _excludes(one: Verdict, other: Verdict, readings: Sequence[str]) -> bool:
    if one is other or one.claim.of != other.claim.of or not one.claim.stated or not other.claim.stated:
        return False
    broken = {j.rests_on for j in one.judgements if j.role == LIMIT and j.holds is False}
    if other.claim.quantity in broken:
        return True
    if one.claim.quantity == other.claim.quantity and not one.claim.stated.meets(other.claim.stated):
        return True
    first, second = _true_under(one, readings), _true_under(other, readings)
    return bool(first) and bool(second) and not first & second


def _true_under(one: Verdict, readings: Sequence[str]) -> set[str]:
    """Readings of the plan under which some reading of the words holds."""
    names: set[str] = set()
    for judgement in one.judgements:
        if judgement.role == VALUE and judgement.holds:
            names |= set(judgement.readings)
    return names & set(readings)
