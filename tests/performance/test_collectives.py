"""Collectives with the links' own constants: 50 GB/s and 5 us in a node, 5 GB/s and 10 us between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from autoparallel.domain import Link
from autoparallel.performance.collectives import Collective, CollectiveKernels, hop
from autoparallel.performance.links import Fabric, Group
from autoparallel.performance.operators import OperatorCost, bound_of
from autoparallel.performance.operators.cost import Quantity

UP = Link(bandwidth_gb_per_s=100.0, latency_us=5.0, efficiency=0.5)
OUT = Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5)
FABRIC = Fabric.of(UP, OUT, 8)
KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


def collective(local: Quantity, nodes: Quantity, fabric: Fabric = FABRIC) -> Collective:
    return Collective(Group(local, nodes), fabric, CollectiveKernels())


def run(kind: str, message: Quantity, local: Quantity, nodes: Quantity) -> OperatorCost:
    method: Callable[[Quantity], OperatorCost] = getattr(collective(local, nodes), kind)
    return method(message)


def test_all_reduce_in_a_node_by_hand() -> None:
    # 4 ranks, 100 MB: 2 x 2 rounds of 5 us, 2 x 3/4 x 100 MB = 150 MB over 50 GB/s = 3 ms.
    cost = run("all_reduce", 100e6, 4.0, 1.0)
    assert cost.time_s == pytest.approx(3.02e-3)
    assert cost.bytes == pytest.approx(150e6)
    assert bound_of(cost, link=True) == "link"


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter"])
def test_halves_of_an_all_reduce_by_hand(kind: str) -> None:
    # 2 rounds of 5 us, 75 MB.
    cost = run(kind, 100e6, 4.0, 1.0)
    assert cost.time_s == pytest.approx(1.51e-3)
    assert cost.bytes == pytest.approx(75e6)


def test_all_to_all_in_a_node_by_hand() -> None:
    # Everyone sends at once, three quarters of what it holds: 5 us and 75 MB.
    cost = run("all_to_all", 100e6, 4.0, 1.0)
    assert cost.time_s == pytest.approx(1.505e-3)
    assert cost.bytes == pytest.approx(75e6)


def test_all_reduce_between_nodes_by_hand() -> None:
    # 4 ranks on each of 2 nodes: inside as above 3 ms and 20 us; a quarter, 25 MB, crosses, 2 x 1/2 of
    # it at 5 GB/s: 5 ms and 2 x 10 us. Both tiers at once: 5 ms + 40 us. 2 x 7/8 of 100 MB are sent.
    cost = run("all_reduce", 100e6, 4.0, 2.0)
    assert cost.time_s == pytest.approx(5.04e-3)
    assert cost.bytes == pytest.approx(175e6)


def test_all_to_all_between_nodes_by_hand() -> None:
    # Of 100 MB 3/8 go inside the node, 0.75 ms; half leaves it from every rank, 50 MB: 10 ms.
    cost = run("all_to_all", 100e6, 4.0, 2.0)
    assert cost.time_s == pytest.approx(10e-3 + 15e-6)
    assert cost.bytes == pytest.approx(87.5e6)


def test_rails_send_what_crosses_over_the_node_first() -> None:
    # All 100 MB are for one of 4 rails: 3/4 of them change GPUs inside the node, 75 MB over 50 GB/s, 1.5 ms;
    # half of them cross at 5 GB/s, 10 ms. 5 us inside, 10 us between.
    rails = collective(4.0, 2.0, FABRIC._replace(rails=True)).all_to_all(100e6)
    assert rails.bytes == pytest.approx(75e6 + 50e6)
    assert rails.time_s == pytest.approx(10e-3 + 15e-6)
    # With NICs as fast as the links inside, the detour sets the pace.
    fast = FABRIC._replace(rails=True, out=FABRIC.up)
    assert collective(4.0, 2.0, fast).all_to_all(100e6).memory_s == pytest.approx(1.5e-3)
    # Collectives whose equal ranks meet between nodes keep to their rails anyway.
    assert collective(4.0, 2.0, FABRIC._replace(rails=True)).all_reduce(1e6) == run(
        "all_reduce", 1e6, 4.0, 2.0
    )


def test_one_rank_a_node_uses_nics_alone() -> None:
    # 2 x 1/2 x 100 MB at 5 GB/s, 2 x 10 us.
    assert run("all_reduce", 100e6, 1.0, 2.0).time_s == pytest.approx(20.02e-3)


def test_hop_by_hand() -> None:
    cost = hop(100e6, FABRIC.out)
    assert cost.time_s == pytest.approx(20.01e-3)
    assert cost.bytes == 100e6
    assert hop(100e6, FABRIC.up).time_s == pytest.approx(2.005e-3)


def test_ring_step_by_hand() -> None:
    assert collective(4.0, 1.0).ring_step(1e6).time_s == pytest.approx(25e-6)
    # The slowest hop of a ring that leaves the node is over a NIC.
    assert collective(4.0, 2.0).ring_step(1e6).time_s == pytest.approx(210e-6)


def test_mesh_gives_a_pair_its_share() -> None:
    # 7 links of 14 GB/s: a pair has 14 x 0.5 = 7 GB/s, 8 ranks all of them.
    mesh = Link(bandwidth_gb_per_s=98.0, latency_us=0.0, efficiency=0.5, topology="mesh")
    fabric = Fabric.of(mesh, OUT, 8)
    assert hop(7e6, fabric.up).time_s == pytest.approx(1e-3)
    assert collective(2.0, 1.0, fabric).all_gather(14e6).time_s == pytest.approx(1e-3)
    assert collective(8.0, 1.0, fabric).all_gather(56e6).time_s == pytest.approx(1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_one_device_is_free(kind: str) -> None:
    cost = run(kind, 100e6, 1.0, 1.0)
    assert (cost.time_s, cost.bytes) == (0.0, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_collectives_broadcast(kind: str) -> None:
    messages = np.array([[1e3], [1e8]])
    local, nodes = np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0])
    table = run(kind, messages, local, nodes)
    assert np.shape(table.time_s) == (2, 3)
    for column in range(3):
        alone = run(kind, 1e8, float(local[column]), float(nodes[column]))
        assert np.asarray(table.time_s)[1, column] == pytest.approx(float(alone.time_s), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_faster_links_and_shorter_messages_are_never_slower(kind: str) -> None:
    local, nodes = np.array([2.0, 3.0, 4.0, 8.0]), np.array([1.0, 1.0, 2.0, 4.0])
    base = np.asarray(run(kind, 1e6, local, nodes).time_s)
    assert (np.asarray(run(kind, 5e5, local, nodes).time_s) < base).all()
    for better in (
        Fabric.of(Link(bandwidth_gb_per_s=200.0, latency_us=5.0, efficiency=0.5), OUT, 8),
        Fabric.of(UP, Link(bandwidth_gb_per_s=20.0, latency_us=10.0, efficiency=0.5), 8),
        Fabric.of(UP, Link(bandwidth_gb_per_s=10.0, latency_us=1.0, efficiency=0.5), 8),
    ):
        faster = np.asarray(getattr(collective(local, nodes, better), kind)(1e6).time_s)
        assert (faster <= base).all()
        assert (faster < base).any()


def test_fewer_nics_slow_what_crosses_by_hand() -> None:
    # Two NICs of 10 GB/s, half of it reached, for 8 GPUs that all send: 1.25 GB/s each.
    out = Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5, nics_per_node=2)
    few = Fabric.of(UP, out, 8)
    # 8 ranks on each of 2 nodes, 100 MB: an eighth crosses, 2 x 1/2 x 12.5 MB at 1.25 GB/s = 10 ms; the
    # node takes 2 x 7/8 x 100 MB at 50 GB/s = 3.5 ms; 2 x 3 rounds of 5 us, 2 x 1 of 10 us.
    assert collective(8.0, 2.0, few).all_reduce(100e6).time_s == pytest.approx(10e-3 + 50e-6)
    # The same where 4 of the node's GPUs are this group's and 4 another's.
    assert collective(4.0, 2.0, few).all_reduce(100e6).time_s == pytest.approx(20e-3 + 40e-6)
    # Half of what is held leaves the node: 50 MB at 1.25 GB/s.
    assert collective(8.0, 2.0, few).all_to_all(100e6).time_s == pytest.approx(40e-3 + 15e-6)
    # Of 8 ranks in a ring one sends to the next node, with a NIC of its own; of 4 rings 4, on two NICs.
    assert collective(8.0, 2.0, few).ring_step(1e6).time_s == pytest.approx(10e-6 + 0.2e-3)
    assert collective(2.0, 2.0, few).ring_step(1e6).time_s == pytest.approx(10e-6 + 0.4e-3)
    # Inside a node there are no NICs.
    assert collective(8.0, 1.0, few).all_reduce(1e6) == collective(8.0, 1.0).all_reduce(1e6)
