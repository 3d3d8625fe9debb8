"""Dispatch and combine on plain and rail-optimised fabrics, with shared NICs and in one large domain."""

from __future__ import annotations

import numpy as np
import pytest

from autoparallel.domain import Link
from autoparallel.performance.expert_exchange import ExchangeConstants, Routing, exchange
from autoparallel.performance.links import Fabric, Group, group_on_nodes
from autoparallel.performance.operators import OperatorCost

# 50 GB/s and 5 us inside a node, 5 GB/s and 10 us between nodes.
UP = Link(bandwidth_gb_per_s=100.0, latency_us=5.0, efficiency=0.5)
OUT = Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5)
SWITCH = Fabric.of(UP, OUT, 4)
RAILS = Fabric.of(UP, Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5, topology="rail"), 4)
TWO_NODES = Group(4.0, 2.0)
LOW_LATENCY = ExchangeConstants(low_latency=True)


def send(fabric: Fabric, constants: ExchangeConstants, group: Group = TWO_NODES) -> OperatorCost:
    """100 tokens of 1,000 bytes, 2 of 8 experts each."""
    routing = Routing.of(group, 8.0, 2)
    return exchange(100.0, 1000.0, group=group, routing=routing, fabric=fabric, constants=constants)


def test_a_token_crosses_to_a_node_once_by_hand() -> None:
    # 2 (1 - 4/8 x 3/7) = 11/7 nodes, half of them others; 8 (1 - 7/8 x 6/7) = 2 ranks, 3/4 of them others.
    out, up = 100 * 1000 * 11 / 7 / 2, 100 * 1000 * 2 * 3 / 4
    for fabric in (SWITCH, RAILS):
        cost = send(fabric, ExchangeConstants())
        assert cost.bytes == pytest.approx(out + up)
        # 10 us between nodes, 5 us to be forwarded inside.
        assert cost.time_s == pytest.approx(15e-6 + out / 5e9)


def test_low_latency_copies_go_straight_on_a_switch_by_hand() -> None:
    # Two copies a token: 3 of 8 ranks are others of the node, 4 of 8 are elsewhere.
    cost = send(SWITCH, LOW_LATENCY)
    assert cost.bytes == pytest.approx(200e3 * 3 / 8 + 200e3 / 2)
    assert cost.time_s == pytest.approx(10e-6 + 200e3 / 2 / 5e9)


def test_low_latency_copies_change_gpus_first_on_rails_by_hand() -> None:
    # All but a quarter of the copies are for another of the node's rails.
    cost = send(RAILS, LOW_LATENCY)
    assert cost.bytes == pytest.approx(200e3 * 3 / 4 + 200e3 / 2)
    # The detour sets the pace where NICs are as fast as the links inside.
    fast = RAILS._replace(out=RAILS.up)
    assert send(fast, LOW_LATENCY).memory_s == pytest.approx(200e3 * 3 / 4 / 50e9)


def test_shared_nics_slow_what_crosses() -> None:
    # One NIC for the node's 4 GPUs: a quarter of 5 GB/s each.
    shared = Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5, nics_per_node=1)
    cost = send(Fabric.of(UP, shared, 4), LOW_LATENCY)
    assert cost.time_s == pytest.approx(10e-6 + 4 * 200e3 / 2 / 5e9)


def test_a_rack_that_is_one_domain_uses_no_nic() -> None:
    # 64 ranks of an NVL72: one node, whatever its NICs; over nodes of 8 the same exchange crosses.
    rack = Fabric.of(UP, Link(bandwidth_gb_per_s=1e-3, latency_us=1e6), 72)
    group = group_on_nodes(np.array(64.0), 1.0, 64.0, 72)
    assert (float(group.local), float(group.nodes)) == (64.0, 1.0)
    routing = Routing.of(group, 256.0, 8)
    cost = exchange(100.0, 1000.0, group=group, routing=routing, fabric=rack, constants=ExchangeConstants())
    assert float(cost.time_s) < 5e-6 + 100 * 1000 * 8 / 50e9
