"""Splits of layers over stages: exact for one layout, and fronts equal to brute force over all of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate, combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.domain import Problem
from autoparallel.domain.layout import even_layers
from autoparallel.domain.model import DENSE, FULL, SLIDING, SPARSE
from autoparallel.performance.machine import Machine
from autoparallel.performance.stages import StageAt, stages
from autoparallel.planner import search
from autoparallel.solver.cuts import Cuts
from autoparallel.solver.front import FrontSolver
from autoparallel.solver.rules import fulfilled, violations
from autoparallel.solver.splits import UNLIMITED, StageCosts
from autoparallel.tuning.space import PairSpace


def splits(layers: int, pp: int) -> Iterator[tuple[int, ...]]:
    """Every way to cut layers into so many stages that follow each other."""
    for inner in combinations(range(1, layers), pp - 1):
        yield tuple(b - a for a, b in pairwise((0, *inner, layers)))


class Case:
    """Costs drawn at random, and the stages of a split by their definition."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.count = dice.randint(2, 8)
        self.pp = dice.randint(2, self.count)
        draw = np.random.default_rng(seed)
        # Few values, so that ties are common.
        self.layers = draw.integers(1, 4, (4, self.count)).astype(float)
        self.first, self.inner, self.last = draw.integers(0, 4, (3, 4)).astype(float)
        # Two kinds of hop in any order, which may weigh more than a layer.
        self.hops = draw.integers(0, 4, (4, 2)).astype(float)[:, draw.integers(0, 2, self.pp - 1)]
        self.costs = StageCosts(self.layers, self.first, self.inner, self.last, self.hops)

    def of(self, split: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """Costs of every stage, (stages, 4)."""
        ends = [0, *accumulate(split)]
        places = [self.first, *[self.inner] * (self.pp - 2), self.last]
        held = (self.layers[:, a:b].sum(axis=1) for a, b in pairwise(ends))
        hops = [*self.hops.T, np.zeros(4)]
        return np.array([own + place + hop for own, place, hop in zip(held, places, hops, strict=True)])

    def largest(self) -> dict[tuple[int, ...], np.ndarray[Any, Any]]:
        return {split: self.of(split).max(axis=0) for split in splits(self.count, self.pp)}


@given(seed=st.integers(0, 10**6), caps=st.tuples(*[st.sampled_from([3.0, 6.0, 9.0, np.inf])] * 4))
@settings(max_examples=150, deadline=None)
def test_the_least_largest_stage_within_caps(seed: int, caps: tuple[float, ...]) -> None:
    case = Case(seed)
    kept = [worst for worst in case.largest().values() if (worst <= caps).all()]
    for row in range(4):
        assert case.costs.least(row, caps) == min((worst[row] for worst in kept), default=np.inf)
    split = case.costs.split(caps)
    assert (split is None) == (not kept)
    assert split is None or (case.largest()[split] <= caps).all()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_the_even_split_where_it_is_within_the_caps(seed: int) -> None:
    case = Case(seed)
    even = even_layers(case.count, case.pp)
    assert case.costs.split(tuple(case.largest()[even])) == even
    assert case.costs.split(UNLIMITED) == even


KINDS = (
    {"layer_types": (FULL, SLIDING) * 4, "mlp_layer_types": (DENSE,) * 3 + (SPARSE,) * 5},
    {"layer_types": (SLIDING, SLIDING, FULL) * 2 + (SLIDING,) * 2, "mlp_layer_types": (SPARSE,) * 8},
    {"layer_types": (FULL,) * 8, "mlp_layer_types": (DENSE,) * 3 + (SPARSE,) * 5},
)


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("pp", range(2, 9))
def test_every_split_has_a_stage_of_every_cut(moe10b: Problem, kinds: Any, pp: int) -> None:
    model = replace(
        moe10b.model, num_hidden_layers=8, intermediate_size=512, sliding_window=64, **kinds
    )  # fmt: skip
    problem = replace(moe10b, model=model, search=replace(moe10b.search, even_stages=False, stages="optimal"))
    costs = np.random.default_rng(pp).uniform(1, 2, (4, 8)) * np.array([[1.0], [10.0], [0.1], [1.0]])
    # Layers of a kind cost the same.
    names = list(zip(model.layer_types, model.mlp_layer_types, strict=True))
    costs = np.stack([costs[:, names.index(name)] for name in names], axis=1)
    # Every second hop leaves the node, and takes longer than many a layer.
    hops = np.full((4, 1), 0.2) + 2.0 * (np.arange(1, pp) % 2 == 0)
    own = StageCosts(costs, np.full(4, 0.7), np.full(4, 0.2), np.full(4, 1.5), hops)
    cuts = [*Cuts(problem).of(pp), *(own.cut(model, row, own.least(row)) for row in range(4))]
    for split in splits(8, pp):
        held = [StageAt(stage, (number,)) for number, stage in enumerate(stages(model, split), start=1)]
        for cut in cuts:
            assert any(_within(member, stage) for member in cut for stage in held), (split, cut)


def _within(member: Any, stage: Any) -> bool:
    """Whether a stage of a split is at least as slow as a member of a cut, by all that it holds."""
    if not set(stage.numbers) <= set(member.numbers):
        return False
    member, stage = member.stage, stage.stage
    counts = zip(member.attention, stage.attention, strict=True)
    return (
        all(few <= many for (_, few), (_, many) in counts)
        and member.dense <= stage.dense
        and member.routed <= stage.routed
        and member.is_first <= stage.is_first
        and member.is_last == stage.is_last
    )


def with_free_stages(problem: Problem) -> Problem:
    search = replace(problem.search, stages="optimal", even_stages=False, max_gpus=16)
    return replace(problem, search=search)


def equal_to_brute_force(problem: Problem, pair: tuple[int, int], brute_force: Any, as_rows: Any) -> None:
    found = FrontSolver(Machine(problem)).solve(*pair)
    expected = brute_force.front(brute_force.plans(problem, *pair).objectives)
    assert found.complete
    got = as_rows([point.objectives for point in found.points])
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    for point in found.points:
        facts = FrontSolver(Machine(problem)).facts(point.layout, *pair)
        assert not violations(facts)
        assert all(fulfilled(facts).values())


# Chosen for their layers: dense ones before routed ones, windows that alternate, a head, none at all.
@pytest.mark.parametrize("seed", [3, 7, 10, 11, 12, 14, 15, 23, 26])
def test_random_problems(
    random_problem: Any,
    brute_force: Any,
    bind_problem: Any,
    as_rows: Any,
    seed: int,
    request: pytest.FixtureRequest,
) -> None:
    if seed % 2:
        request.getfixturevalue("solves_alone")
    problem = with_free_stages(random_problem(seed))
    pairs = [(pair.batch, pair.microbatch) for pair in PairSpace(problem).pairs]
    for pair in random.Random(seed).sample(pairs, min(3, len(pairs))):
        equal_to_brute_force(problem, pair, brute_force, as_rows)
        equal_to_brute_force(bind_problem(problem, pair, seed), pair, brute_force, as_rows)


def mixed_layers(moe10b: Problem) -> Problem:
    """Seven layers, the first two dense and slow, and a large head."""
    kinds: dict[str, Any] = {"layer_types": (FULL,) * 7, "mlp_layer_types": (DENSE,) * 2 + (SPARSE,) * 5}
    model = replace(
        moe10b.model, num_hidden_layers=7, **kinds, intermediate_size=8192, vocab_size=200_000,
        parameter_basis="derived", declared_parameters=None,
    )  # fmt: skip
    pins: dict[str, Any] = {"batch": (32,), "microbatch": (8,), "pp": (2, 3, 4)}
    space = replace(moe10b.search, even_stages=False, stages="optimal", max_gpus=8, **pins)
    return replace(moe10b, model=model, search=space)


def test_a_whole_search_with_splits(moe10b: Problem, brute_force: Any, as_rows: Any) -> None:
    problem = mixed_layers(moe10b)
    found = search(problem)
    assert found.proof.complete
    assert any(plan.layout.layers for plan in found.front)
    plans = brute_force.plans(problem, 32, 8)
    rows = [(p.gpus, p.metrics.total_tokens_per_ms_per_gpu, p.metrics.ttft_s) for p in found.front]
    np.testing.assert_allclose(as_rows(rows), brute_force.front(plans.objectives), rtol=1e-9)


def test_the_even_split_is_never_better(moe10b: Problem) -> None:
    free = mixed_layers(moe10b)
    even = search(replace(free, search=replace(free.search, stages="even"))).front
    best = search(free).front
    for plan in even:
        assert any(
            other.gpus <= plan.gpus
            and other.metrics.ttft_s <= plan.metrics.ttft_s * (1 + 1e-9)
            and other.metrics.total_tokens_per_ms_per_gpu
            >= plan.metrics.total_tokens_per_ms_per_gpu * (1 - 1e-9)
            for other in best
        )
    shortest = [min(plan.metrics.ttft_s for plan in plans) for plans in (best, even)]
    assert shortest[0] < 0.99 * shortest[1]
