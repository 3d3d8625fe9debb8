"""Groups on nodes: the formulas agree with the rank map, GPU by GPU."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from autoparallel.domain.hardware import Link
from autoparallel.domain.layout import Layout
from autoparallel.domain.rank_map import rank_map
from autoparallel.performance.links import Fabric, group_on_nodes

POWERS = (1, 2, 4, 8, 16, 32)


def layouts(sizes: tuple[int, ...], *, limit: int) -> list[Layout]:
    return [
        Layout(tp=tp, sp=cp, sp_kind="ring" if cp > 1 else None, dp=dp, ep=ep, etp=etp)
        for tp, cp, dp, ep, etp in product(sizes, repeat=5)
        if tp * cp * dp <= limit
        and tp * cp * dp % (ep * etp) == 0
        and math.lcm(tp * cp, ep * etp) == tp * cp * dp
    ]


def counted(layout: Layout, kind: str, node: int) -> tuple[int, int]:
    """Nodes of the widest group of a kind, and GPUs of the fullest node of any of its groups."""
    ranks = rank_map(layout, gpus_per_node=node, layers=1, experts=32 * 3)
    spread = [[ranks.gpus[rank].node for rank in group] for group in ranks.groups(kind)]
    return max(len(set(nodes)) for nodes in spread), max(
        nodes.count(name) for nodes in spread for name in nodes
    )


def formula(layout: Layout, kind: str, node: int) -> tuple[int, int]:
    size, stride = {
        "tp": (layout.tp, 1),
        "cp": (layout.cp, layout.tp),
        "etp": (layout.etp, 1),
        "ep": (layout.ep, layout.etp),
    }[kind]
    group = group_on_nodes(float(size), float(stride), float(layout.gpus_per_stage), node)
    return int(group.nodes), int(group.local)


def test_groups_by_hand() -> None:
    # 16 ranks side by side fill two nodes of 8; 8 ranks two apart lie four to a node.
    assert group_on_nodes(16.0, 1.0, 16.0, 8) == (8, 2)
    assert group_on_nodes(8.0, 2.0, 16.0, 8) == (4, 2)
    # Four ranks eight apart are alone on their nodes; four side by side share one.
    assert group_on_nodes(4.0, 8.0, 32.0, 8) == (1, 4)
    assert group_on_nodes(4.0, 1.0, 32.0, 8) == (4, 1)


@pytest.mark.parametrize("kind", ["tp", "cp", "ep", "etp"])
def test_powers_of_two_are_exact(kind: str) -> None:
    for layout, node in product(layouts(POWERS, limit=32), (4, 8)):
        assert formula(layout, kind, node) == counted(layout, kind, node), (layout, node)


@pytest.mark.parametrize("kind", ["tp", "cp", "ep", "etp"])
def test_odd_sizes_are_never_placed_better_than_they_are(kind: str) -> None:
    # Where groups straddle nodes the formula takes a whole node more rather than a part of one less.
    for layout in layouts((1, 2, 3, 6, 8), limit=48):
        assert formula(layout, kind, 8)[0] >= counted(layout, kind, 8)[0], layout


def test_nics_are_shared_by_hand() -> None:
    # Two NICs of 10 GB/s for 8 GPUs: 2.5 GB/s each while all send, 5 while 4 do, a whole NIC for 2 or 1.
    up = Link(bandwidth_gb_per_s=100.0, latency_us=5.0)
    out = Link(bandwidth_gb_per_s=10.0, latency_us=10.0, nics_per_node=2)
    fabric = Fabric.of(up, out, 8)
    assert fabric.out.bandwidth_bytes_per_s == 2.5e9
    senders = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    shares = np.asarray(fabric.out_while(senders).bandwidth_bytes_per_s)
    assert shares.tolist() == [10e9, 10e9, 5e9, 2.5e9, 2.5e9]


def test_a_nic_for_each_gpu_is_its_own() -> None:
    up, out = Link(bandwidth_gb_per_s=100.0, latency_us=5.0), Link(bandwidth_gb_per_s=10.0, latency_us=10.0)
    plain = Fabric.of(up, out, 8)
    assert plain.out_while(np.array([1.0, 8.0])) == plain.out
    assert Fabric.of(up, Link(bandwidth_gb_per_s=10.0, latency_us=10.0, nics_per_node=8), 8) == plain
    # Two for each GPU are twice as fast, however few send.
    both = Fabric.of(up, Link(bandwidth_gb_per_s=10.0, latency_us=10.0, nics_per_node=16), 8)
    assert both.out_while(1.0).bandwidth_bytes_per_s == both.out.bandwidth_bytes_per_s == 20e9
