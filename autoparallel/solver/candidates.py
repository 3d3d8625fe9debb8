"""The candidates of every part of a layout, as arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import ORDERS, RING, TENSOR, ULYSSES, Layout
from autoparallel.domain.problem import Problem
from autoparallel.performance.degrees import SP_KIND_NAMES, AttentionDegrees, ExpertDegrees

Ints = npt.NDArray[np.int64]


def divisors(number: int) -> tuple[int, ...]:
    """All divisors of a positive number, smallest first."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return tuple(sorted({*small, *(number // d for d in small)}))


class AttentionCandidates(NamedTuple):
    """Attention layouts, one a row; ``kind`` indexes ``SP_KIND_NAMES``."""

    tp: Ints
    sp: Ints
    kind: Ints
    dp: Ints

    @property
    def cp(self) -> Ints:
        """Context parallel ranks."""
        return np.where(self.kind >= SP_KIND_NAMES.index(RING), self.sp, 1)

    @property
    def reach(self) -> Ints:
        """Ranks that one copy of attention takes: tp times cp."""
        return self.tp * self.cp

    @property
    def gpus_per_stage(self) -> Ints:
        """GPUs of the stage."""
        return self.reach * self.dp

    def degrees(self, batch: int, microbatch: int) -> AttentionDegrees:
        """For the performance core."""
        return AttentionDegrees(
            tp=self.tp.astype(np.float64),
            cp=self.cp.astype(np.float64),
            dp=self.dp.astype(np.float64),
            tensor_sp=self.kind == SP_KIND_NAMES.index(TENSOR),
            ring=self.kind == SP_KIND_NAMES.index(RING),
            microbatch=np.full(len(self.tp), float(microbatch)),
            batch=np.full(len(self.tp), float(batch)),
        )


class ExpertCandidates(NamedTuple):
    """Expert layouts, one a row."""

    ep: Ints
    etp: Ints
    edp: Ints
    redundant_experts: Ints

    @property
    def reach(self) -> Ints:
        """Ranks that one copy of the experts takes: ep times etp."""
        return self.ep * self.etp

    @property
    def gpus_per_stage(self) -> Ints:
        """GPUs of the stage."""
        return self.reach * self.edp

    def degrees(self, microbatch: int) -> ExpertDegrees:
        """For the performance core."""
        ep, etp, edp, redundant = (column.astype(np.float64) for column in self)
        return ExpertDegrees(ep, etp, edp, np.full(len(self.ep), float(microbatch)), redundant)


class Candidates(NamedTuple):
    """All parts that the layouts of one batch and microbatch are made of."""

    attention: AttentionCandidates
    experts: ExpertCandidates
    pp: Ints
    replicas: int
    order: tuple[str, ...] = ()

    def layout(self, attention: int, experts: int, pp: int) -> Layout:
        """The layout made of one candidate of each part."""
        a, e = self.attention, self.experts
        return Layout(
            tp=int(a.tp[attention]),
            sp=int(a.sp[attention]),
            sp_kind=SP_KIND_NAMES[int(a.kind[attention])],
            dp=int(a.dp[attention]),
            pp=int(self.pp[pp]),
            ep=int(e.ep[experts]),
            etp=int(e.etp[experts]),
            replicas=self.replicas,
            order=self.order,
            redundant_experts=int(e.redundant_experts[experts]),
        )

    def has(self, layout: Layout) -> bool:
        """Whether a layout is made of these candidates."""
        return self.order == layout.order and all(map(len, self._parts(layout)))

    def chosen(self, layout: Layout) -> tuple[int, int, int]:
        """Inverse of :meth:`layout`.

        Raises
        ------
        ValueError
            The layout is made of other parts.
        """
        if not self.has(layout):
            raise ValueError(f"{layout} is not made of these candidates")
        attention, experts, pp = (int(part[0]) for part in self._parts(layout))
        return attention, experts, pp

    def _parts(self, layout: Layout) -> list[npt.NDArray[np.int64]]:
        """Rows of attention, experts and stages that make the layout."""
        a, e = self.attention, self.experts
        kind = SP_KIND_NAMES.index(layout.sp_kind)
        of_attention = (a.tp == layout.tp) & (a.sp == layout.sp) & (a.kind == kind) & (a.dp == layout.dp)
        of_experts = (e.ep == layout.ep) & (e.etp == layout.etp) & (e.edp == layout.edp)
        of_experts &= e.redundant_experts == layout.redundant_experts
        return [np.flatnonzero(mask) for mask in (of_attention, of_experts, self.pp == layout.pp)]


def candidates_for(
    problem: Problem, batch: int, microbatch: int, *, keep_refused: bool = False, max_gpus: int | None = None
) -> Candidates:
    """Candidates of every part for a batch and microbatch.

    Parameters
    ----------
    keep_refused : bool
        Keep candidates that a rule would refuse (``explain`` and the rules' contract test do); by
        default they are left out, which changes no answer.
    max_gpus : int, optional
        GPUs of the largest deployment; by default what search and requirements allow.
    """
    replicas = problem.replicas_for(batch)
    largest = (problem.max_gpus if max_gpus is None else max_gpus) // replicas
    attention = _attention(problem, microbatch, largest)
    stages = _stages(problem, largest)
    experts = _experts(problem, sorted(set(attention.gpus_per_stage.tolist())))
    candidates = Candidates(attention, experts, stages, replicas, problem.search.pinned_order)
    return candidates if keep_refused else _allowed(problem, candidates, batch, microbatch)


def _attention(problem: Problem, microbatch: int, largest: int) -> AttentionCandidates:
    search, heads = problem.search, problem.model.num_attention_heads
    degrees = search.sp if search.sp is not None else divisors(heads)
    rows = []
    for tp in search.tp if search.tp is not None else divisors(heads):
        for kind, sp in _sequence_parallel(tp, degrees, search.sp_kind):
            reach = tp * (sp if kind in (RING, ULYSSES) else 1)
            for dp in search.dp if search.dp is not None else divisors(microbatch):
                if reach * dp <= largest:
                    rows.append((tp, sp, SP_KIND_NAMES.index(kind), dp))  # noqa: PERF401
    return AttentionCandidates(*_columns(rows, 4))


def _sequence_parallel(
    tp: int, degrees: tuple[int, ...], kinds: tuple[str, ...]
) -> Iterable[tuple[str | None, int]]:
    if 1 in degrees:
        yield None, 1
    if TENSOR in kinds and tp > 1 and tp in degrees:
        yield TENSOR, tp
    for kind in (RING, ULYSSES):
        if kind in kinds:
            yield from ((kind, sp) for sp in degrees if sp > 1)


def _stages(problem: Problem, largest: int) -> Ints:
    return np.array(sorted(pp for pp in _tried_stages(problem) if pp <= largest), dtype=np.int64)


def _tried_stages(problem: Problem) -> tuple[int, ...]:
    search, layers = problem.search, problem.model.num_hidden_layers
    return search.pp if search.pp is not None else stage_counts(layers, even=search.even_stages)


def stage_counts(layers: int, *, even: bool) -> tuple[int, ...]:
    """Numbers of stages that are tried by default: divisors of the layers, and powers of two."""
    powers = () if even else (1 << bits for bits in range(layers.bit_length()))
    return tuple(sorted({*divisors(layers), *powers}))


def _experts(problem: Problem, sizes: list[int]) -> ExpertCandidates:
    search, model = problem.search, problem.model
    widths = search.etp if search.etp is not None else divisors(model.routed_width)
    rows = [
        (ep, etp, size // (ep * etp), redundant)
        for size in sizes
        for redundant in search.redundant_experts
        for ep in (search.ep if search.ep is not None else divisors(model.routed_experts + redundant))
        for etp in widths
        if ep * etp <= size and size % (ep * etp) == 0
    ]
    return ExpertCandidates(*_columns(rows, 4))


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(-1, width).T


def _allowed(problem: Problem, candidates: Candidates, batch: int, microbatch: int) -> Candidates:
    from autoparallel.solver.rules import structure_of

    attention, experts, pp = candidates.attention, candidates.experts, candidates.pp
    for rule in structure_of(problem):
        attention = AttentionCandidates(
            *(c[rule.allows_attention(problem, attention, microbatch)] for c in attention)
        )
        experts = ExpertCandidates(*(c[rule.allows_experts(problem, experts)] for c in experts))
        pp = pp[rule.allows_stages(problem, pp)]
        if not rule.allows_pair(problem, batch, microbatch):
            pp = pp[:0]
    attention, experts = _that_fit_together(attention, experts)
    return candidates._replace(attention=attention, experts=experts, pp=pp)


def _that_fit_together(
    attention: AttentionCandidates, experts: ExpertCandidates
) -> tuple[AttentionCandidates, ExpertCandidates]:
    """Drop candidates that have no partner with which an instance hangs together."""
    sizes, reach = attention.gpus_per_stage, attention.reach
    pairs = {(int(s), int(r)) for s, r in zip(sizes, reach, strict=True)}
    groups = {(int(s), int(w)) for s, w in zip(experts.gpus_per_stage, experts.reach, strict=True)}
    by_size: dict[int, list[int]] = {}
    for size, width in groups:
        by_size.setdefault(size, []).append(width)
    matched = {(s, r): [w for w in by_size.get(s, ()) if math.lcm(r, w) == s] for s, r in pairs}
    used = {(s, w) for (s, _), widths in matched.items() for w in widths}
    keep = np.array([bool(matched[int(s), int(r)]) for s, r in zip(sizes, reach, strict=True)], dtype=bool)
    keep_experts = np.array(
        [(int(s), int(w)) in used for s, w in zip(experts.gpus_per_stage, experts.reach, strict=True)],
        dtype=bool,
    )
    return (
        AttentionCandidates(*(column[keep] for column in attention)),
        ExpertCandidates(*(column[keep_experts] for column in experts)),
    )


def order_variants(problem: Problem) -> Iterator[Problem]:
    """The problem with its order pinned, once for each that is looked at, the usual one first.

    Where ``pp`` lies inside of nodes, the number of stages is pinned too, to none where none that is tried
    divides a node. Deployments that fit into a node are in it whatever their order, and an engine knows one
    order only.
    """
    search, node = problem.search, problem.hardware.gpus_per_node
    inside = [stages for stages in _tried_stages(problem) if stages > 1 and node % stages == 0]
    if search.order is not None:
        wanted = [search.order]
    elif problem.rank_order_is_fixed or problem.max_gpus <= node:
        wanted = [()]
    else:
        wanted = [order for size in range(len(ORDERS) + 1) for order in combinations(ORDERS, size)]
    for order in wanted:
        pinned = replace(search, order=order)
        if "pp" not in order:
            yield replace(problem, search=pinned)
            continue
        for pp in [(stages,) for stages in inside] if inside else [()]:
            yield replace(problem, search=replace(pinned, pp=pp))


def is_tried(problem: Problem, layout: Layout, batch: int, microbatch: int) -> bool:
    """Whether a layout is among the candidates in an order that is looked at."""
    return any(candidates_for(variant, batch, microbatch).has(layout) for variant in order_variants(problem))


def layouts_spanned(candidates: Candidates, max_gpus: int) -> int:
    """How many layouts of at most ``max_gpus`` GPUs the candidates make."""
    attention, experts = candidates.attention, candidates.experts
    groups = _histogram(experts.gpus_per_stage, experts.reach)
    count = 0
    for (size, reach), many in _histogram(attention.gpus_per_stage, attention.reach).items():
        partners = sum(n for (s, w), n in groups.items() if s == size and math.lcm(reach, w) == size)
        stages = np.count_nonzero(candidates.pp * (size * candidates.replicas) <= max_gpus)
        count += many * partners * int(stages)
    return count


def _histogram(first: Ints, second: Ints) -> dict[tuple[int, int], int]:
    counts: dict[tuple[int, int], int] = {}
    for pair in zip(first.tolist(), second.tolist(), strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    return counts
