"""Every rule of the constraint model, one file each, found by looking through this package.

What a problem's own conditions ask for is a rule each, too (:func:`structure_of`).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.performance.estimate import estimates_of
from autoparallel.solver.rules.base import Facts, LimitRule, ServedRule, ServedStructureRule, StructureRule
from autoparallel.solver.rules.constraint import ConstraintRule

__all__ = [
    "LIMITS",
    "STRUCTURE",
    "Facts",
    "LimitRule",
    "ServedRule",
    "ServedStructureRule",
    "StructureRule",
    "facts_of",
    "fulfilled",
    "structure_of",
    "violations",
]


NO_RULES = ("base", "constraint")
# The rule that what a problem names can launch a layout.
ENGINE = "engine"


def _rules() -> Iterator[StructureRule | LimitRule]:
    """``RULE`` of every module, or its ``RULES`` where one form serves many names."""
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if name not in NO_RULES:
            module = import_module(f"{__name__}.{name}")
            yield from getattr(module, "RULES", None) or (module.RULE,)


_ALL = tuple(_rules())
STRUCTURE: tuple[StructureRule, ...] = tuple(rule for rule in _ALL if isinstance(rule, StructureRule))
_LIMITS = (rule for rule in _ALL if isinstance(rule, LimitRule))
# Where a rate is beyond saturation no time is kept either: the last of these is named as the reason.
LIMITS: tuple[LimitRule, ...] = tuple(sorted(_LIMITS, key=lambda rule: rule.decides))


def structure_of(problem: Problem) -> tuple[StructureRule, ...]:
    """The rules about degrees, the conditions that the problem adds among them."""
    return (*STRUCTURE, *_conditions(problem.search.constraints))


@cache
def _conditions(texts: tuple[str, ...]) -> tuple[ConstraintRule, ...]:
    return tuple(ConstraintRule(text) for text in texts)


def violations(facts: Facts, *, launched: bool = True) -> tuple[str, ...]:
    """What of the structure a layout breaks, in words; empty where it can be launched.

    ``launched`` says whether that is by the problem's engine.
    """
    rules = [rule for rule in structure_of(facts.problem) if launched or rule.name != ENGINE]
    return tuple(rule.violation(facts) for rule in rules if not rule.holds(facts))


def facts_of(problem: Problem, plan: Plan) -> Facts:
    """A plan as the rules see it, with the numbers that it holds: nothing is estimated anew."""
    return Facts(problem, plan.layout, plan.batch, plan.microbatch, estimates_of(plan), plan.pair.chunk)


def fulfilled(facts: Facts) -> dict[str, bool]:
    """Every limit that the problem sets, and whether a plan keeps it."""
    return {rule.name: rule.holds(facts) for rule in LIMITS if rule.limit(facts.problem) is not None}
