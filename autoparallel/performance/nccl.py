r"""Collectives over nodes, as NCCL itself estimates them to choose among its algorithms and protocols.

A ring passes all ranks, a tree is a chain inside each node and a binary tree between them; LL, LL128 and
Simple trade bandwidth for latency. The fastest counts. With :math:`p` ranks on each of :math:`N` nodes,
:math:`n = p N`, latencies :math:`a` of a step inside a node and :math:`b` over the network, and :math:`T`
the time of the bytes on the slower of both tiers:

.. math:: t_\text{tree} = t_0 + 2 ((p - 1) a + \log_2(N)\,b) + \frac{T}{e\,c(V)}, \quad
   t_\text{ring} = t_0 + (s - s_b) a + s_b b + \frac{T}{e}

with :math:`s` steps, :math:`s_b` of them over the network. No step over the network is faster than the
link's own latency. ``catalog/nccl.toml`` has the constants; none is fitted here. Kernels of engines, which
write into each other's memory, work inside a node only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from autoparallel.catalog import load_nccl
from autoparallel.performance.links import Fabric, Group
from autoparallel.performance.operators.cost import Quantity

ALL_REDUCE = "all_reduce"
# Links inside a node up to this speed are PCIe, where LL128 may not be used. [bytes/s]
PCIE_BYTES_PER_S = 64e9
_SMALLEST_LOG2 = 6


class _Way(NamedTuple):
    """An algorithm with a protocol on given groups: latency, share of the bandwidth, what it never passes."""

    latency_s: Quantity
    bandwidth_share: float
    most_bytes_per_s: Quantity
    size_shares: tuple[float, ...]


class OverNodes:
    """A collective of ``kind`` (all-reduce, all-gather or reduce-scatter) over groups that span nodes."""

    def __init__(self, kind: str, group: Group, fabric: Fabric) -> None:
        self._ways = tuple(_ways(kind, group, fabric))

    def time_s(self, tensor_bytes: Quantity, link_s: Quantity) -> tuple[Quantity, Quantity]:
        """Time of a tensor, and the latency in it, where the bytes alone take ``link_s``. [s]"""
        times = [_time_s(way, tensor_bytes, link_s) for way in self._ways]
        best, latency_s = times[0], self._ways[0].latency_s
        for time_s, way in zip(times[1:], self._ways[1:], strict=True):
            faster = np.less(time_s, best)
            best, latency_s = np.where(faster, time_s, best), np.where(faster, way.latency_s, latency_s)
        return best, latency_s


def _time_s(way: _Way, tensor_bytes: Quantity, link_s: Quantity) -> Quantity:
    share: Quantity = way.bandwidth_share
    if way.size_shares:
        log2 = np.log2(np.maximum(tensor_bytes, 1.0)) - _SMALLEST_LOG2
        share = share * np.interp(log2, np.arange(len(way.size_shares)), way.size_shares)
    return way.latency_s + np.maximum(link_s / share, tensor_bytes / way.most_bytes_per_s)


def _ways(kind: str, group: Group, fabric: Fabric) -> Iterator[_Way]:
    data = _constants()
    nodes = np.maximum(np.asarray(group.nodes, dtype=np.float64), 2.0)
    local = np.asarray(group.local, dtype=np.float64)
    rounds = 2.0 if kind == ALL_REDUCE else 1.0
    ranks = local * nodes
    steps = rounds * (ranks - 1.0)
    is_pcie = bool(np.all(np.less_equal(fabric.up.sheet_bandwidth_bytes_per_s, PCIE_BYTES_PER_S)))
    limits = np.where(nodes > 2.0, *data["ll_bus_gb_per_s"][::-1]) * 1e9
    for index, protocol in enumerate(data["protocols"]):
        if is_pcie and protocol == "LL128":
            continue
        for name in ("ring", "tree") if kind == ALL_REDUCE else ("ring",):
            table = data[name]
            inside_us = table["pcie_us" if is_pcie else "nvlink_us"][index]
            network_s = np.maximum(table["network_us"][index] * 1e-6, fabric.out.latency_s)
            if name == "ring":
                crossing = np.minimum(rounds * (nodes if kind == ALL_REDUCE else nodes - 1.0), steps)
                inside_us = max(inside_us, data["net_overhead_us"][index])
                latency_s = (steps - crossing) * (inside_us * 1e-6) + crossing * network_s
                of_the_bus: Quantity = ranks / steps
            else:
                latency_s = 2.0 * ((local - 1.0) * (inside_us * 1e-6) + np.ceil(np.log2(nodes)) * network_s)
                of_the_bus = 0.5
            yield _Way(
                latency_s + table["base_us"][index] * 1e-6,
                table["bandwidth_share"][index],
                limits * of_the_bus if protocol == "LL" else np.inf,
                tuple(table["size_shares"][index]) if "size_shares" in table else (),
            )


@cache
def _constants() -> Mapping[str, Any]:
    return load_nccl()
