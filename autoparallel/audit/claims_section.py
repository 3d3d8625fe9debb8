"""Builds claims from their tables, and says what is wrong with each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from autoparallel.audit.checks import QUANTITIES
from autoparallel.audit.schema import ClaimSection
from autoparallel.audit.units import COUNTS, NO_UNIT, UNITS, units_of, usual_unit
from autoparallel.audit.written import BASELINE, Claim, Stated
from autoparallel.catalog.spelling import did_you_mean
from autoparallel.problem_file.faults import Faults, checked, shown

MOST_CLAIMS = 1000
# Numbers that were measured or worked out are stated to about two digits.
ROUNDED = 0.02
_NUMBERS = ("value", "range", "at_most", "at_least")


def build_claims(tables: Any, faults: Faults, *, has_baseline: bool) -> tuple[Claim, ...]:
    """Build every claim that can be built; what is wrong with the others is noted."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        faults.add(("claim",), "must be a list of tables: write [[claim]] and its keys below, for each claim")
        return ()
    if len(tables) > MOST_CLAIMS:
        faults.add(("claim",), f"lists {len(tables):,} claims; at most {MOST_CLAIMS:,} are judged at once")
        return ()
    claims = [_claim(index, table, faults, has_baseline) for index, table in enumerate(tables)]
    return tuple(claim for claim in claims if claim is not None)


def _claim(index: int, table: dict[str, Any], faults: Faults, has_baseline: bool) -> Claim | None:
    path = ("claim", index)
    before = len(faults.found)
    section, bad = checked(ClaimSection, table, path, faults)
    if section.quantity is None:
        if "quantity" not in bad:
            faults.add((*path, "quantity"), f"is missing: say what the claim is about, such as {_some()}")
        return None
    if section.quantity not in QUANTITIES:
        hint = did_you_mean(section.quantity, QUANTITIES)
        faults.add((*path, "quantity"), f"unknown claim {shown(section.quantity)}; {hint}")
        return None
    if section.of == BASELINE and not has_baseline:
        faults.add((*path, "of"), "there is no baseline: name its plan file in [baseline] plan = ...")
    stated = _stated(path, section, bad, faults)
    if len(faults.found) > before:
        return None
    return Claim(
        number=index + 1,
        quantity=section.quantity,
        stated=stated,
        unit=section.unit or usual_unit(QUANTITIES[section.quantity].dimension),
        says=section.says,
        section=section.section,
        of=section.of,
    )


def _some() -> str:
    return ", ".join(list(QUANTITIES)[:5])


def _stated(
    path: tuple[str | int, ...], section: ClaimSection, bad: frozenset[str], faults: Faults
) -> Stated | None:
    """The number of a claim in base units; ``None`` where it has none or is wrong."""
    dimension = QUANTITIES[str(section.quantity)].dimension
    given = [name for name in _NUMBERS if getattr(section, name) is not None]
    if dimension == NO_UNIT:
        for name in (*given, *(["unit"] if section.unit else [])):
            faults.add((*path, name), "a statement has no number and no unit; name a quantity or drop it")
        return None
    scale = _scale(path, section, bad, faults, needed=bool(given))
    if len(given) > 1:
        faults.add((*path, given[1]), f"is given next to {given[0]}; a claim states one number or one range")
        return None
    if not given or scale is None:
        return None
    limits = _limits(path, section, given[0], faults)
    if limits is None:
        return None
    rounded = 0.0 if dimension in COUNTS else ROUNDED
    low, high = (limit * scale for limit in limits)
    return Stated(low=low, high=high, tolerance=rounded if section.tolerance is None else section.tolerance)


def _scale(
    path: tuple[str | int, ...], section: ClaimSection, bad: frozenset[str], faults: Faults, *, needed: bool
) -> float | None:
    """How many base units the claim's unit is; notes a unit that is missing or of another dimension."""
    dimension = QUANTITIES[str(section.quantity)].dimension
    if section.unit is None:
        if needed and "unit" not in bad:
            faults.add(
                (*path, "unit"), f"is missing: {section.quantity} is stated in {_or(units_of(dimension))}"
            )
        return None
    unit = UNITS.get(section.unit)
    if unit is None or unit.dimension != dimension:
        known = "no unit of" if unit else "not a known unit for"
        hint = did_you_mean(section.unit, units_of(dimension)) if unit is None else _or(units_of(dimension))
        faults.add((*path, "unit"), f"{shown(section.unit)} is {known} {section.quantity}; {hint}")
        return None
    return unit.scale


def _or(names: Sequence[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _limits(
    path: tuple[str | int, ...], section: ClaimSection, given: str, faults: Faults
) -> tuple[float, float] | None:
    if section.value is not None:
        return section.value, section.value
    if section.at_most is not None:
        return -math.inf, section.at_most
    if section.at_least is not None:
        return section.at_least, math.inf
    ends = section.range or []
    if len(ends) != 2:
        faults.add((*path, given), f"must be two numbers, [lowest, highest], not {len(ends)}")
        return None
    if ends[0] > ends[1]:
        faults.add((*path, given), f"{ends[0]:g} is greater than {ends[1]:g}; swap them")
        return None
    return ends[0], ends[1]
