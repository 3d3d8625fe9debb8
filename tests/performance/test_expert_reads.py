"""What ranks read where experts are unevenly loaded: by hand, against drawn tokens, at its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autoparallel.domain import Layout, Problem
from autoparallel.domain.expert_loads import TOKENS, ExpertGroup, ExpertLoads
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.expert_balance import balance_of, bound_of, load_spread
from autoparallel.performance.expert_copies import engine_placement, slot_loads
from autoparallel.performance.expert_reads import Reads, touched_slots
from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.machine import Machine
from autoparallel.performance.operators import ExpertConstants, touched_experts
from autoparallel.solver.placement.model import with_balance

Array = npt.NDArray[np.float64]
FITTED = ExpertConstants(
    t0_s=2e-5, compute_efficiency=0.87, memory_efficiency=0.94, activation_efficiency=0.05, waves=0.9,
    overlap="hypot",
)  # fmt: skip
DECODED = [1, 4, 16, 64, 256]


def zipf(experts: int, exponent: float, most: float) -> tuple[float, ...]:
    """Shares by Zipf's law, none above ``most``."""
    shares = np.arange(1, experts + 1.0) ** -exponent
    for _ in range(50):
        shares = np.minimum(shares / shares.sum(), most)
    return tuple((shares / shares.sum()).tolist())


def part(
    problem: Problem,
    shares: tuple[float, ...] | None,
    placed: npt.NDArray[np.int64] | None = None,
    constants: ExpertConstants | None = None,
) -> ExpertPart:
    """Experts of eight ranks, one layer's loads for all layers, placed or rated by their bound."""
    slots = problem.model.num_experts if placed is None else placed.size
    layout = Layout(dp=8, ep=8, redundant_experts=slots - problem.model.num_experts)
    if shares is not None:
        loads = ExpertLoads(source="test", layers=(0,), shares=(shares,))
        problem = replace(problem, workload=replace(problem.workload, expert_loads=loads))
        if placed is not None:
            group = ExpertGroup(8, 4, layout.redundant_experts)
            problem = with_balance(
                problem, balance_of(loads, problem.model.num_experts_per_tok, group, [placed])
            )
    machine = Machine(problem)
    if constants is not None:
        machine.expert_constants = constants
    return ExpertPart(machine, PlanTable.of([layout], [8], [8]).split()[1])


def time_s(found: ExpertPart, tokens: float) -> float:
    return float(np.squeeze(found.slowest(tokens).time_s))


def test_touched_slots_by_hand() -> None:
    # Ten tokens, a heavy expert of a rank that is used by 0.8 of them and three that 0.4/3 use each.
    used = np.array([[0.8, 0.4 / 3], [0.4 / 3, 0.4 / 3]])
    group = ExpertGroup(2, 2, 0)
    loads = ExpertLoads(source="test", layers=(0,), shares=((0.8, 0.4 / 3, 0.4 / 3, 0.4 / 3),))
    loads = replace(loads, shares=(tuple(np.array(loads.shares[0]) / 1.2),))
    found = balance_of(loads, 1, group, [np.array([[0, 1], [2, 3]])])
    heavy, light = (1 - (1 - share / 1.2) ** 16 for share in (0.8, 0.4 / 3))
    at = TOKENS.index(16.0)
    assert found.touched_fullest[at] == pytest.approx(heavy + light)
    assert found.touched_most[at] == pytest.approx(max(heavy + light, 2 * light))
    by_hand = (1 - 0.2**10) + (1 - (1 - 0.4 / 3) ** 10)
    reads = Reads(np.array([0]), touched_slots(used)[:, :1].T, touched_slots(used)[:, 1:].T)
    assert float(reads.of_fullest(10.0)[0]) == pytest.approx(by_hand, rel=3e-3)


def test_the_rank_with_most_tokens_is_not_the_one_that_reads_most() -> None:
    # One expert with half of the tokens and one hardly used, against two with a quarter each.
    loads = ExpertLoads(source="test", layers=(0,), shares=((0.5, 0.0, 0.25, 0.25),))
    found = balance_of(loads, 1, ExpertGroup(2, 2, 0), [np.array([[0, 1], [2, 3]])])
    at = TOKENS.index(8.0)
    assert found.touched_fullest[at] == pytest.approx(1 - 0.5**8)
    assert found.touched_most[at] == pytest.approx(2 * (1 - 0.75**8))


def drawn(shares: tuple[float, ...], placed: npt.NDArray[np.int64], topk: int, tokens: int) -> Array:
    """Mean pairs and mean different slots of every rank over drawn steps, a copy taken by chance."""
    dice = np.random.default_rng(3)
    rank, experts = np.repeat(np.arange(len(placed)), placed.shape[1]), len(shares)
    copies = [np.flatnonzero(placed.ravel() == expert) for expert in range(experts)]
    where = np.array([np.resize(each, max(map(len, copies))) for each in copies])
    many = np.array([len(each) for each in copies])
    steps, sums = max(20_000 // tokens, 40), np.zeros((2, len(placed)))
    for _ in range(steps):
        # Systematic sampling: k different experts a token, each with its own probability.
        order = dice.permuted(np.tile(np.arange(experts), (tokens, 1)), axis=1)
        ends = np.cumsum(topk * np.array(shares)[order], axis=1) + dice.uniform(size=(tokens, 1))
        chosen = order[np.diff(np.floor(ends), axis=1, prepend=0.0) > 0]
        slot = where[chosen, dice.integers(many[chosen])]
        sums[0] += np.bincount(rank[slot], minlength=len(placed))
        sums[1] += np.bincount(rank[np.unique(slot)], minlength=len(placed))
    return np.asarray(sums / steps)


@pytest.mark.parametrize("redundant", [0, 8])
@pytest.mark.parametrize("constants", [ExpertConstants(), FITTED])
def test_time_and_reads_against_drawn_tokens(
    problems: Any, redundant: int, constants: ExpertConstants
) -> None:
    topk, shares = 4, zipf(32, 1.2, 0.25)
    problem = problems.make(num_experts=32, num_experts_per_tok=topk)
    placed = engine_placement(np.array([shares]), 8, redundant)[0]
    found = part(problem, shares, placed, constants)
    assert found.groups.balance is not None
    for tokens in DECODED:
        pairs, slots = drawn(shares, placed, topk, tokens)
        assert float(found.groups.balance.reads.of_most(tokens)[0]) == pytest.approx(slots.max(), rel=0.04)
        spread = found.groups.balance.spread
        by_rank = [
            float(np.squeeze(found.of_rank(tokens, each * 8 / (tokens * topk), read, spread).time_s))
            for each, read in zip(pairs, slots, strict=True)
        ]
        assert time_s(found, tokens) == pytest.approx(max(by_rank), rel=0.04), tokens


def test_equal_loads_take_as_long_as_no_loads(problems: Any) -> None:
    problem = problems.make(num_experts=32, num_experts_per_tok=4)
    plain = part(problem, None, constants=FITTED)
    placed = np.arange(32).reshape(8, 4)
    for slots in (None, placed):
        even = part(problem, (1 / 32,) * 32, slots, FITTED)
        for tokens in DECODED:
            expected = float(np.squeeze(plain.of_rank(tokens, 1.0).time_s))
            assert time_s(even, tokens) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("constants", [ExpertConstants(), FITTED])
def test_between_the_bound_and_every_rank(problems: Any, constants: ExpertConstants) -> None:
    problem = problems.make(num_experts=32, num_experts_per_tok=4)
    for exponent in (0.3, 1.0, 1.8):
        shares = zipf(32, exponent, 0.25)
        placed = engine_placement(np.array([shares]), 8, 0)[0]
        found, bound = (part(problem, shares, slots, constants) for slots in (placed, None))
        used = 4 * slot_loads(np.array(shares), placed)
        touched, spread = touched_slots(used), load_spread((shares,), 0)
        for tokens in (1, 16, 64, 256, 4096, 65536):
            took, read = time_s(found, tokens), touched[TOKENS.index(tokens)]
            ranks = [
                float(np.squeeze(found.of_rank(tokens, load * 2, slots, spread).time_s))
                for load, slots in zip(used.sum(axis=1), read, strict=True)
            ]
            mean = float(np.squeeze(found.of_rank(tokens, 1.0, read.mean(), spread).time_s))
            assert mean <= took * (1 + 1e-12)
            # The rank that reads most may have less than the mean load, which small matrices feel.
            assert 0.99 * max(ranks) < took < 1.1 * max(ranks)
            assert time_s(bound, tokens) <= took * (1 + 1e-12)


def test_bounds_of_reads_hold_for_any_slots() -> None:
    dice = np.random.default_rng(5)
    shares = zipf(16, 1.1, 0.5)
    loads, group = ExpertLoads(source="test", layers=(0,), shares=(shares,)), ExpertGroup(4, 4, 0)
    bound = bound_of(loads, 2, group)
    for _ in range(50):
        found = balance_of(loads, 2, group, [dice.permutation(16).reshape(4, 4)])
        for name in ("touched_fullest", "touched_most"):
            assert (np.array(getattr(bound, name)) <= np.array(getattr(found, name)) * (1 + 1e-9)).all()


def test_a_given_imbalance_is_the_most_that_a_rank_of_that_load_can_read() -> None:
    # A rank of 4 of 32 experts with 1.5 times the mean load, however its experts share that.
    dice = np.random.default_rng(6)
    for tokens in (1.0, 8.0, 100.0):
        limit = touched_experts(tokens, num_experts=32, num_experts_per_tok=4, ep=8, imbalance=1.5)
        for used in dice.dirichlet(np.ones(4), size=200) * (1.5 * 4 / 8):
            assert (1 - (1 - used) ** tokens).sum() <= limit * (1 + 1e-12)
        alike = np.full(4, 1.5 * 4 / 32)
        assert (1 - (1 - alike) ** tokens).sum() == pytest.approx(limit)


def test_more_imbalance_takes_longer(problems: Any) -> None:
    found = part(problems.make(num_experts=32, num_experts_per_tok=4), None, constants=FITTED)
    for tokens in DECODED:
        times = [float(np.squeeze(found.of_rank(tokens, each).time_s)) for each in (1.0, 1.2, 2.0, 5.0, 8.0)]
        assert (np.diff(times) > 0).all()


def test_spread_of_loads_by_hand() -> None:
    assert load_spread(((0.25,) * 4,), 0) == pytest.approx(0.0)
    # Mean 1/4, variance (0.15^2 + 3 x 0.05^2) / 4 = 0.0075: 0.12 of the squared mean.
    assert load_spread(((0.4, 0.2, 0.2, 0.2),), 0) == pytest.approx(0.12)
    # Two copies of 0.2 each leave nothing.
    assert load_spread(((0.4, 0.2, 0.2, 0.2),), 1) == pytest.approx(0.0)
    assert load_spread(((0.97, 0.01, 0.01, 0.01),), 0) == 1.0


def test_a_balance_needs_a_number_for_every_count_of_tokens() -> None:
    loads = ExpertLoads(source="test", layers=(0,), shares=((0.5, 0.5),))
    found = bound_of(loads, 1, ExpertGroup(2, 2, 0))
    with pytest.raises(ValueError, match="81 numbers of touched slots"):
        replace(found, touched_most=(1.0,))
