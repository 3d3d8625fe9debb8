"""What ``explain`` answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Plan
from autoparallel.domain.result import Binding, Limit
from autoparallel.errors import Conflict
from autoparallel.pareto import Objectives

SCHEMA = "autoparallel.explain/1"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A demand that gives way: from what the problem asks to what makes it feasible.

    ``keys`` are the problem file's that have to change. ``enough`` is ``value`` in three digits, rounded to
    the side on which the plan still fits; counts stay as they are. All three numbers are ``None`` where the
    demand is given up whole, as conditions and candidates are.
    """

    rule: str
    keys: tuple[str, ...]
    limit: float | None = None
    value: float | None = None
    enough: float | None = None
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class Relaxation:
    """Changes that together make a problem feasible, and a plan that they allow.

    ``verified`` says that a solve of the problem with the changes as they are written (``enough``) found a
    plan; ``tight`` that solves proved that there is none with any one of the changes a step smaller: a
    thousandth, of counts one.
    """

    changes: tuple[Change, ...]
    layout: Layout
    batch: int
    microbatch: int
    chunk: int | None
    verified: bool
    tight: bool

    @property
    def pair(self) -> Pair:
        """Batch and what goes with it."""
        return Pair(self.batch, self.microbatch, self.chunk)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a lever buys: the preferred plan when it is moved by one step.

    ``before`` and ``after`` are ``None`` where a demand is given up whole. ``objectives`` are GPUs,
    tokens/ms/GPU and TTFT of that plan, ``None`` where nothing fits; ``exact`` says that nothing better is
    there, else time ran out and the plan is the best that was found.
    """

    lever: str
    before: float | None
    after: float | None
    unit: str
    layout: Layout | None
    objectives: Objectives | None
    exact: bool = True


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The answer of ``explain``; of a feasible problem the first part is empty, else the second.

    ``exact`` says that every solve behind it ended with a proof; ``largest_gpus`` how large the deployments
    are that were looked at where GPUs give way.
    """

    forbidden: tuple[Limit, ...] = ()
    conflicts: tuple[tuple[str, ...], ...] = ()
    structure: tuple[Conflict, ...] = ()
    relaxations: tuple[Relaxation, ...] = ()
    largest_gpus: int | None = None
    exact: bool = True
    best: Plan | None = None
    binding: tuple[Binding, ...] = ()
    gains: tuple[Gain, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether a plan meets the requirements."""
        return self.best is not None

    def to_dict(self) -> dict[str, Any]:
        """What ``explain --json`` prints."""
        return {
            "schema": SCHEMA,
            "feasible": self.feasible,
            "exact": self.exact,
            "physical_limits": [asdict(limit) for limit in self.forbidden],
            "conflicts": [list(names) for names in self.conflicts],
            "structure": [asdict(conflict) for conflict in self.structure],
            "relaxations": [asdict(relaxation) for relaxation in self.relaxations],
            "largest_gpus": self.largest_gpus,
            "best": self.best.to_dict() if self.best else None,
            "binding": [asdict(binding) for binding in self.binding],
            "gains": [
                {**asdict(gain), "objectives": gain.objectives._asdict() if gain.objectives else None}
                for gain in self.gains
            ],
        }
