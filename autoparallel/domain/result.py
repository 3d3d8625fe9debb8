"""What a search answers: plans, the proof behind them, and what limits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from autoparallel.domain.expert_loads import ExpertPlacement
from autoparallel.domain.layout import Layout, spelled
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.simulated import Simulated

if TYPE_CHECKING:
    import pandas as pd

SEARCH_SCHEMA = "autoparallel.search/1"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A physical limit that no layout beats.

    ``required`` is what the requirements ask of the same quantity, ``None`` where they ask nothing.
    """

    name: str
    value: float
    unit: str
    sentence: str
    required: float | None = None

    @property
    def allows(self) -> bool:
        """Whether the requirement, if any, is within the limit."""
        return self.required is None or self.required <= self.value


@dataclass(frozen=True, kw_only=True)
class Solve:
    """One call of the constraint solver, for one batch and microbatch.

    ``objective`` and ``bound`` are in the solver's own weighted units; ``gap`` is their relative
    distance, 0 where the optimum is proven. ``model_sha256`` is the fingerprint of the model as it was
    solved, ``layout`` what the solve found.
    """

    batch: int
    microbatch: int
    status: str
    objective: float | None
    bound: float | None
    gap: float | None
    layouts_spanned: int
    model_sha256: str
    layout: Layout | None
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Why the answer is the best one.

    Attributes
    ----------
    complete : bool
        Whether every batch and microbatch of the domain was solved or ruled out by a bound, and every
        solve ended with a proof.
    layouts_spanned : int
        Layouts, over all batches and microbatches, that the models span.
    pairs, trials, pairs_visited, pairs_bounded : int
        Batch and microbatch pairs of the domain; those that were to be visited; those that were; of these,
        those that a bound ruled out without a solve.
    rounding : float
        Relative error bound of the solver's integer times.
    gap : float or None
        By how much, relatively, a plan of a pair that was not visited or not finished can beat the best one,
        in ``gap_in``, the first preferred objective in which it can; 0 where no such plan is preferred,
        ``None`` where no bound is known.
    time_limit_s : float or None
        Time that the search was given, where that cut it short. [s]
    """

    complete: bool
    statement: str
    layouts_spanned: int
    pairs: int
    trials: int
    pairs_visited: int
    pairs_bounded: int
    rounding: float
    seed: int
    versions: Mapping[str, str]
    solves: tuple[Solve, ...]
    wall_s: float
    gap: float | None = 0.0
    gap_in: str = ""
    time_limit_s: float | None = None

    def to_dict(self, *, timings: bool = True) -> dict[str, Any]:
        """The proof as JSON-compatible data, without wall times unless asked for."""
        data = asdict(self)
        if not timings:
            del data["wall_s"]
            for solve in data["solves"]:
                del solve["wall_s"]
        return data


@dataclass(frozen=True, kw_only=True)
class Binding:
    """How much room the best plan leaves under one rule.

    ``slack`` is the share of the limit that is left: 0 binds, 0.5 uses half.
    """

    rule: str
    sentence: str
    limit: float
    value: float
    unit: str
    slack: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A plan that the report shows as a point: no more than its numbers and what it fails."""

    layout: Mapping[str, Any]
    batch: int
    microbatch: int
    gpus: int
    ttft_s: float
    total_tokens_per_ms_per_gpu: float
    memory_gb: float
    fails: tuple[str, ...]
    chunk: int | None = None


@dataclass(frozen=True, kw_only=True)
class OrderCost:
    """What the best plan would do with its groups in another order on the network.

    ``order`` is as in ``Layout.order``, empty for the usual one.
    """

    order: tuple[str, ...]
    ttft_s: float
    tpot_s: float
    total_tokens_per_ms_per_gpu: float


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The answer to a problem.

    Attributes
    ----------
    best, runner_up : Plan
        The preferred plan and the next one of another layout, batch or microbatch (or ``None``).
    runner_up_reason : str
        Why the runner-up lost.
    front : tuple of Plan
        The plans that no other dominates, best first.
    equals : tuple of int
        For each plan of the front, how many layouts have the same objectives.
    binding : tuple of Binding
        The slack of every rule at the best plan, tightest first.
    limits : tuple of Limit
        Physical limits.
    warnings : tuple of str
        What the problem leaves to defaults, and where it contradicts itself.
    sample : tuple of Candidate
        Feasible and infeasible plans around the front, for the report.
    orders : tuple of OrderCost
        The best plan in every order that its groups can have, its own first; empty where the problem leaves
        the order no choice.
    placements : tuple of ExpertPlacement
        Experts on ranks, where their loads are known: of every group of ranks that a plan of the front, or
        one that was compared with it, has. Layouts of other groups are rated by a bound.
    simulated : tuple of Simulated
        The best plan and the runner-up in the event simulation, where that was asked for.
    balanced_choice : Plan or None
        Where loads by expert are known, the plan that would be the best had they been taken as even, rated
        with the loads as they are.
    """

    problem: Problem
    best: Plan
    runner_up: Plan | None
    runner_up_reason: str
    front: tuple[Plan, ...]
    equals: tuple[int, ...]
    binding: tuple[Binding, ...]
    proof: Proof
    limits: tuple[Limit, ...]
    warnings: tuple[str, ...] = ()
    sample: tuple[Candidate, ...] = field(default=(), repr=False)
    orders: tuple[OrderCost, ...] = ()
    placements: tuple[ExpertPlacement, ...] = field(default=(), repr=False)
    balanced_choice: Plan | None = None
    simulated: tuple[Simulated, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What ``search --json`` prints."""
        return {
            "schema": SEARCH_SCHEMA,
            "problem": self.problem.name,
            "fingerprint": self.problem.fingerprint,
            "best": self.best.to_dict(),
            "runner_up": self.runner_up.to_dict() if self.runner_up else None,
            "runner_up_reason": self.runner_up_reason,
            "front": [
                {**plan.to_dict(), "equal_layouts": count}
                for plan, count in zip(self.front, self.equals, strict=True)
            ],
            "binding": [asdict(binding) for binding in self.binding],
            "proof": self.proof.to_dict(),
            "limits": [{**asdict(limit), "allows": limit.allows} for limit in self.limits],
            "warnings": list(self.warnings),
            **({"orders": [asdict(order) for order in self.orders]} if self.orders else {}),
            **({"balanced_choice": self.balanced_choice.to_dict()} if self.balanced_choice else {}),
            **({"simulated": [one.to_dict() for one in self.simulated]} if self.simulated else {}),
        }

    def to_frame(self) -> pd.DataFrame:
        """The front as a table, one plan a row, best first."""
        import pandas as pd

        copied = {"redundant_experts": 0} if any(plan.layout.redundant_experts for plan in self.front) else {}
        return pd.DataFrame(
            [
                {
                    **copied,
                    **plan.layout.to_dict(),
                    **({"layers": spelled(plan.layout.layers)} if plan.layout.layers else {}),
                    **({"order": "+".join(plan.layout.order)} if plan.layout.order else {}),
                    "batch": plan.batch,
                    "microbatch": plan.microbatch,
                    "gpus": plan.gpus,
                    **asdict(plan.metrics),
                    **(asdict(plan.serving) if plan.serving else {}),
                    "memory_gb": plan.memory.total_bytes / 1e9,
                    "equal_layouts": count,
                }
                for plan, count in zip(self.front, self.equals, strict=True)
            ]
        )
