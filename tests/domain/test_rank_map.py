"""The rank map: coordinates, groups, placement on nodes, what a GPU holds."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.domain.layout import Layout
from autoparallel.domain.rank_map import KINDS, RankMap, rank_map

PLAN = Layout(tp=2, sp=2, sp_kind="tensor", dp=4, pp=2, ep=4, etp=2)


def placed(layout: Layout, node: int = 8) -> RankMap:
    return rank_map(layout, gpus_per_node=node, layers=16, experts=16)


def places(layout: Layout, node: int = 8) -> list[tuple[int, int]]:
    return [(gpu.node, gpu.slot) for gpu in placed(layout, node).gpus]


def test_the_plan_of_16_gpus_by_hand() -> None:
    ranks = placed(PLAN)
    # Stage 0 is ranks 0-7: tp pairs (0,1) (2,3) (4,5) (6,7); experts fold etp pairs the same way, so
    # the expert rank of 5 is 2 and it holds experts 8-11 of 16 in layers 0-7.
    assert ranks.groups("tp")[:3] == ((0, 1), (2, 3), (4, 5))
    assert ranks.groups("dp")[:2] == ((0, 2, 4, 6), (1, 3, 5, 7))
    assert ranks.groups("pp")[0] == (0, 8)
    assert ranks.groups("ep")[0] == (0, 2, 4, 6)
    assert ranks.groups("edp")[0] == (0,)
    assert ranks.gpus[5].experts == range(8, 12)
    assert ranks.gpus[5].layers == range(8)
    assert ranks.gpus[13].layers == range(8, 16)
    assert ranks.nodes == 2


def test_expert_groups_fold_over_attention_ranks() -> None:
    # tp 4, dp 2; etp 2, ep 2, edp 2: expert coordinates of local rank 6 = (edp 1, ep 1, etp 0).
    ranks = placed(Layout(tp=4, dp=2, ep=2, etp=2))
    gpu = ranks.gpus[6]
    assert (gpu.tp, gpu.dp, gpu.etp, gpu.ep, gpu.edp) == (2, 1, 0, 1, 1)
    assert ranks.groups("edp") == ((0, 4), (1, 5), (2, 6), (3, 7))


def test_context_ranks_are_an_axis_between_tp_and_dp() -> None:
    ranks = placed(Layout(tp=2, sp=2, sp_kind="ring", dp=2, ep=8))
    assert ranks.groups("cp")[:2] == ((0, 2), (1, 3))
    assert ranks.groups("dp")[:2] == ((0, 4), (1, 5))


def test_a_stage_that_fits_never_straddles_nodes() -> None:
    # Stages of 3 in nodes of 8: two stages a node, slots 6 and 7 stay empty.
    assert places(Layout(dp=3, pp=3))[5:7] == [(0, 5), (1, 0)]


def test_whole_instances_share_a_node() -> None:
    # Instances of 2 x 2 GPUs: two of them a node, the third starts the next one.
    layout = Layout(dp=2, pp=2, ep=2, replicas=3)
    assert [places(layout)[rank] for rank in (0, 4, 7, 8)] == [(0, 0), (0, 4), (0, 7), (1, 0)]


def test_an_instance_larger_than_a_node_starts_on_a_new_node() -> None:
    # Three stages of 4 take 1.5 nodes; the next instance starts on node 2.
    layout = Layout(dp=4, pp=3, ep=4, replicas=2)
    assert [places(layout)[rank] for rank in (8, 12)] == [(1, 0), (2, 0)]


def test_a_stage_larger_than_a_node_starts_on_a_new_node() -> None:
    layout = Layout(dp=12, pp=2, ep=4)
    assert [places(layout)[rank] for rank in (7, 8, 11, 12)] == [(0, 7), (1, 0), (1, 3), (2, 0)]


@pytest.mark.parametrize(
    ("given", "held"),
    [
        (None, [range(3), range(3, 5), range(5, 7)]),
        ((1, 4, 2), [range(1), range(1, 5), range(5, 7)]),
    ],
)
def test_layers_of_stages(given: tuple[int, ...] | None, held: list[range]) -> None:
    placed = rank_map(Layout(pp=3, layers=given), gpus_per_node=8, layers=7, experts=1)
    assert [gpu.layers for gpu in placed.gpus] == held


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    degree = st.sampled_from([1, 2, 3, 4])
    tp, sp, dp, pp, replicas = (draw(degree) for _ in range(5))
    kind = draw(st.sampled_from(["ring", "ulysses"])) if sp > 1 else None
    stage = tp * sp * dp
    etp = draw(st.sampled_from([n for n in range(1, stage + 1) if stage % n == 0]))
    ep = draw(st.sampled_from([n for n in range(1, stage // etp + 1) if stage // etp % n == 0]))
    return Layout(tp=tp, sp=sp, sp_kind=kind, dp=dp, pp=pp, ep=ep, etp=etp, replicas=replicas)


@given(layouts(), st.integers(1, 9))
def test_groups_of_every_kind_partition_the_gpus(layout: Layout, node: int) -> None:
    ranks = rank_map(layout, gpus_per_node=node, layers=12, experts=layout.ep * 2)
    for kind in KINDS:
        groups = ranks.groups(kind)
        assert sorted(rank for group in groups for rank in group) == list(range(layout.gpus))
        assert {len(group) for group in groups} == {getattr(layout, kind)}


@given(layouts(), st.integers(1, 9))
def test_every_gpu_has_a_place_of_its_own(layout: Layout, node: int) -> None:
    ranks = rank_map(layout, gpus_per_node=node, layers=12, experts=layout.ep * 2)
    assert len({(gpu.node, gpu.slot) for gpu in ranks.gpus}) == layout.gpus
    assert max(gpu.slot for gpu in ranks.gpus) < node


@given(layouts(), st.integers(1, 12))
def test_stages_straddle_as_few_nodes_as_possible(layout: Layout, node: int) -> None:
    ranks = rank_map(layout, gpus_per_node=node, layers=12, experts=layout.ep * 2)
    touched = {(gpu.replica, gpu.pp, gpu.node) for gpu in ranks.gpus}
    nodes_of_stage = Counter((replica, pp) for replica, pp, _ in touched)
    assert set(nodes_of_stage.values()) == {math.ceil(layout.gpus_per_stage / node)}


@given(layouts())
def test_every_expert_of_every_layer_is_held_by_each_expert_group(layout: Layout) -> None:
    experts = layout.ep * 2
    ranks = rank_map(layout, gpus_per_node=8, layers=12, experts=experts)
    copies = Counter((layer, expert) for gpu in ranks.gpus for layer in gpu.layers for expert in gpu.experts)
    assert set(copies) == {(layer, expert) for layer in range(12) for expert in range(experts)}
    assert set(copies.values()) == {layout.etp * layout.edp * layout.replicas}
