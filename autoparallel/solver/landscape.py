"""Every layout of some batches and microbatches, estimated: what lies around the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.pareto import rounded
from autoparallel.performance.degrees import PlanTable, even_stages, order_bits
from autoparallel.performance.estimate import Estimates
from autoparallel.performance.machine import Machine
from autoparallel.performance.rate import rate
from autoparallel.solver.candidates import Candidates, Ints, candidates_for, layouts_spanned, order_variants
from autoparallel.solver.replicas import Rater, with_replicas
from autoparallel.solver.rules import LIMITS, LimitRule, structure_of

# Plans that are looked at, at most; of larger spaces a seeded sample is.
LARGEST = 400_000


class Landscape(NamedTuple):
    """Plans with their estimates and, a column a rule, whether they keep the problem's limits.

    ``complete`` says that no plan of the pairs was left out.
    """

    table: PlanTable
    values: Estimates
    rules: tuple[LimitRule, ...]
    keeps: npt.NDArray[np.bool_]
    complete: bool

    @property
    def feasible(self) -> npt.NDArray[np.bool_]:
        """Plans that keep every limit."""
        mask: npt.NDArray[np.bool_] = np.asarray(self.keeps.all(axis=1))
        return mask

    def preferred(self, rows: npt.NDArray[np.int64], prefer: Sequence[str]) -> int | None:
        """The row among ``rows`` that comes first in the order of preference."""
        if not len(rows):
            return None
        values = self.values
        columns = {
            "gpus": values.gpus,
            "throughput": -values.total_tokens_per_ms_per_gpu,
            "ttft_s": values.ttft_s,
        }
        order = [*prefer, *(name for name in columns if name not in prefer)]
        return int(rows[np.lexsort([rounded(columns[name][rows]) for name in reversed(order)])[0]])


def landscape(
    machine: Machine,
    pairs: Sequence[Pair],
    *,
    seed: int = 0,
    max_gpus: int | None = None,
    rate: Rater = rate,
) -> Landscape:
    """All layouts that can be launched for the pairs, or a sample where they are too many.

    ``max_gpus`` looks at larger deployments than the requirements allow; ``rate`` rates them.
    """
    problem = machine.problem
    largest = problem.max_gpus if max_gpus is None else max_gpus
    if not pairs:
        raise ValueError("a landscape of no pairs")
    variants = tuple(order_variants(problem))
    tables = [
        launchable(
            variant, candidates_for(variant, pair.batch, pair.microbatch, max_gpus=largest), pair, largest
        )
        for pair in pairs
        for variant in variants
    ]
    table = with_replicas(machine, PlanTable.joined(tables), largest, rate)
    kept = [rule.allows_deployments(problem, table) for rule in structure_of(problem)]
    table = table.rows(np.flatnonzero(np.all(kept, axis=0)))
    complete = len(table.tp) <= LARGEST
    if not complete:
        chosen = np.random.default_rng(seed).choice(len(table.tp), LARGEST, replace=False)
        table = table.rows(np.sort(chosen))
    values = rate(machine, table, spreads=problem.requirements.asks_of_requests)
    rules = tuple(rule for rule in LIMITS if rule.limit(problem) is not None)
    keeps = [rule.kept(problem, table, values) for rule in rules]
    everything = np.ones((len(table.tp), 0), dtype=bool)
    return Landscape(table, values, rules, np.stack(keeps, axis=1) if rules else everything, complete)


def count_layouts(problem: Problem, candidates: Candidates, pair: Pair) -> int:
    """How many layouts the candidates of a batch and microbatch make that can be launched."""
    if problem.engine is None and not any(rule.tells_apart(problem) for rule in structure_of(problem)):
        # No rule about several parts at once but that an instance hangs together.
        return layouts_spanned(candidates, problem.max_gpus)
    return len(launchable(problem, candidates, pair, problem.max_gpus).tp)


def launchable(
    problem: Problem, candidates: Candidates, pair: Pair, max_gpus: int, *, without: str | None = None
) -> PlanTable:
    """Every layout of the candidates that no rule about several degrees refuses, ``without`` one of them."""
    table = _layouts(candidates, pair, max_gpus)
    rules = [rule for rule in structure_of(problem) if rule.name != without]
    launched = np.all([rule.allows_rows(problem, table) for rule in rules], axis=0)
    return table.rows(np.flatnonzero(launched))


def _layouts(candidates: Candidates, pair: Pair, max_gpus: int) -> PlanTable:
    """Every layout of the candidates that hangs together."""
    attention, experts, pp = candidates.attention, candidates.experts, candidates.pp
    same = attention.gpus_per_stage[:, None] == experts.gpus_per_stage[None, :]
    same &= np.lcm.outer(attention.reach, experts.reach) == attention.gpus_per_stage[:, None]
    a, e = np.nonzero(same)
    stages = np.tile(pp, len(a))
    a, e = np.repeat(a, len(pp)), np.repeat(e, len(pp))
    fits = attention.gpus_per_stage[a] * stages * candidates.replicas <= max_gpus
    return table_of(candidates, pair, a[fits], e[fits], stages[fits])


def table_of(candidates: Candidates, pair: Pair, a: Ints, e: Ints, stages: Ints) -> PlanTable:
    """Layouts of rows of candidates, attention's and the experts', with so many stages."""
    attention, experts, full = candidates.attention, candidates.experts, np.ones(len(a))
    return PlanTable(
        tp=attention.tp[a].astype(np.float64),
        sp=attention.sp[a].astype(np.float64),
        sp_kind=attention.kind[a].astype(np.int8),
        dp=attention.dp[a].astype(np.float64),
        pp=stages.astype(np.float64),
        ep=experts.ep[e].astype(np.float64),
        etp=experts.etp[e].astype(np.float64),
        replicas=full * candidates.replicas,
        redundant_experts=experts.redundant_experts[e].astype(np.float64),
        batch=full * pair.batch,
        microbatch=full * pair.microbatch,
        chunk=None if pair.chunk is None else full * pair.chunk,
        layers=even_stages(len(a)),
        order=np.full(len(a), order_bits(candidates.order), dtype=np.int8),
    )
