r"""Times of collectives: rounds of latency plus bytes over the links, inside nodes and between them.

A group of :math:`n = p N` ranks on :math:`N` nodes works in two tiers: the :math:`p` ranks of a node over
the scale-up links, and equal ranks of different nodes over their own NICs, each with its :math:`1/p` of
the tensor. Chunks of a message are on both tiers at once: latencies add up, the slower tier sets the
pace. Nothing overlaps with computing. Where constants were fitted inside a node, which says nothing of the
network, groups over nodes take NCCL's own estimate (:mod:`~autoparallel.performance.nccl`) instead of the
sum of both tiers, but for all-to-all. In one tier, for a tensor of :math:`V` bytes,

.. math:: t = \max\left(t_f,\ t_0 + h\,\alpha + \min(\mathrm{bulk}, \mathrm{fast})\right), \quad
   \mathrm{bulk} = s + \sqrt{c V / B} + \frac{k V (n - 1 + o)}{n\,e B}

with ``k`` 2 for an all-reduce, else 1, and ``h`` rounds: :math:`\lceil\log_2 n\rceil` by default
(recursive halving and doubling), neighbours :math:`n - 1` where ``step_s`` was fitted.

References
----------
Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH",
Int. J. High Performance Computing Applications 19(1), 2005, doi:10.1177/1094342005051521.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoparallel.performance.links import Fabric, Group, LinkRate
from autoparallel.performance.nccl import OverNodes
from autoparallel.performance.operators.cost import OperatorCost, Quantity

ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL = (
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "all_to_all",
)


@dataclass(frozen=True, kw_only=True)
class CollectiveConstants:
    """Constants of one collective of one library on one GPU; the defaults are the link's own.

    Attributes
    ----------
    t0_s : float
        Start of the kernel and first handshake. [s]
    step_s : float or None
        One hop to the next rank; ``None`` takes the link's latency per round. [s]
    efficiency : float or None
        Share of the data sheet's bandwidth that large messages reach; ``None`` takes the link's.
    own_share : float
        Cost of a rank's own n-th of the tensor relative to one that is sent. [1]
    fast_efficiency : float
        As ``efficiency``, of the low-latency protocol; 0 where there is none.
    start_s, chunk_s : float
        Start of the bandwidth protocol's pipeline, and of one chunk of it. [s]
    switch_efficiency : float
        As ``efficiency``, of an all-reduce that the switch adds up; 0 where it does not.
    contention : float
        Bandwidth falls as ``(2/n)^contention`` where the ranks of a server share their path (PCIe); of the
        server that was measured alone, so other servers are predicted without.
    floor_s : float
        Nothing is faster than the host launches it. [s]
    one_shot : bool
        The fast way of an all-reduce: everyone reads everything.
    """

    t0_s: float = 0.0
    step_s: float | None = None
    efficiency: float | None = None
    own_share: float = 0.0
    fast_efficiency: float = 0.0
    start_s: float = 0.0
    chunk_s: float = 0.0
    switch_efficiency: float = 0.0
    contention: float = 0.0
    floor_s: float = 0.0
    one_shot: bool = False


PLAIN = CollectiveConstants()


class Tier:
    """One collective over ``ranks`` that all reach each other over one kind of link.

    What does not depend on the message is worked out once.
    """

    def __init__(self, kind: str, ranks: Quantity, rate: LinkRate, constants: CollectiveConstants) -> None:
        c, n = constants, np.asarray(ranks, dtype=np.float64)
        twice = 2.0 if kind == ALL_REDUCE else 1.0
        self.together = n > 1.0
        bandwidth = rate.to_peers(n) if c.efficiency is None else rate.sheet_to_peers(n)
        per_byte = 1.0 / bandwidth
        if c.contention:
            per_byte = per_byte * (np.maximum(n, 2.0) * 0.5) ** c.contention
        self.constants = c
        self.sent_share = twice * (1.0 - 1.0 / n)
        efficiency = 1.0 if c.efficiency is None else c.efficiency
        work = (self.sent_share + (twice * c.own_share) / n) / efficiency
        if c.switch_efficiency and kind == ALL_REDUCE:
            work = np.minimum(work, (1.0 + 1.0 / n) / c.switch_efficiency)
        self.s_per_byte = np.where(self.together, work * per_byte, 0.0)
        rounds = np.ceil(np.log2(n)) if c.step_s is None else n - 1.0
        steps = np.where(self.together, 1.0, 0.0) if kind == ALL_TO_ALL else twice * rounds
        step_s = rate.latency_s if c.step_s is None else c.step_s
        self.latency_s = np.where(self.together, c.t0_s, 0.0) + steps * step_s
        self.chunk_s_per_byte = c.chunk_s / rate.sheet_bandwidth_bytes_per_s
        reads = (n - 1.0) if c.one_shot else 1.0
        self.fast_s_per_byte = reads * per_byte / c.fast_efficiency if c.fast_efficiency else None

    def transfer_s(self, tensor_bytes: Quantity) -> Quantity:
        """Time on the links. [s]"""
        c = self.constants
        time_s = tensor_bytes * self.s_per_byte
        if c.chunk_s:
            time_s = time_s + np.where(self.together, np.sqrt(tensor_bytes * self.chunk_s_per_byte), 0.0)
        if c.start_s:
            time_s = time_s + np.where(self.together, c.start_s, 0.0)
        if self.fast_s_per_byte is not None:
            time_s = np.minimum(time_s, tensor_bytes * self.fast_s_per_byte)
        return time_s

    def wait_s(self, transfer_s: Quantity) -> Quantity:
        """Latency, no less than what is left of the launch from the host. [s]"""
        if not self.constants.floor_s:
            return self.latency_s
        return np.where(self.together, np.maximum(self.latency_s, self.constants.floor_s - transfer_s), 0.0)


@dataclass(frozen=True)
class CollectiveKernels:
    """Constants of every collective inside a node; of several ways to do an all-reduce the fastest counts."""

    all_reduce: Sequence[CollectiveConstants] = (PLAIN,)
    all_gather: CollectiveConstants = PLAIN
    reduce_scatter: CollectiveConstants = PLAIN
    all_to_all: CollectiveConstants = PLAIN


class Collective:
    """Collectives of a group, its geometry worked out once for all messages.

    Parameters
    ----------
    group : Group
        Ranks by node; arrays of any shape, with which every message broadcasts.
    fabric : Fabric
        Links of a GPU.
    kernels : CollectiveKernels
        Constants inside a node; between nodes the link's own count, and NCCL's of what was fitted.
    """

    def __init__(self, group: Group, fabric: Fabric, kernels: CollectiveKernels) -> None:
        self.group, self.fabric, self.kernels = group, fabric, kernels
        self._tiers: dict[tuple[str, int], tuple[Tier, Tier]] = {}
        self._over_nodes: dict[str, OverNodes] = {}
        self._spans = np.greater(group.nodes, 1.0)

    @property
    def is_symmetric(self) -> bool:
        """Whether a reduce-scatter costs what an all-gather of the same tensor does."""
        return self.kernels.all_gather == self.kernels.reduce_scatter

    def all_reduce(self, tensor_bytes: Quantity) -> OperatorCost:
        """Sum a tensor of ``tensor_bytes`` over the ranks, all of which end up with it."""
        first, *others = (
            self._cost(ALL_REDUCE, index, constants, tensor_bytes)
            for index, constants in enumerate(self.kernels.all_reduce)
        )
        for other in others:
            faster = np.less(other.time_s, first.time_s)
            first = OperatorCost(*(np.where(faster, b, a) for a, b in zip(first, other, strict=True)))
        return (
            first if self.kernels.all_reduce == (PLAIN,) else self._by_nccl(ALL_REDUCE, first, tensor_bytes)
        )

    def all_gather(self, tensor_bytes: Quantity) -> OperatorCost:
        """Every rank ends up with a tensor of ``tensor_bytes`` of which each held a part."""
        return self._gathered(ALL_GATHER, self.kernels.all_gather, tensor_bytes)

    def reduce_scatter(self, tensor_bytes: Quantity) -> OperatorCost:
        """Every rank ends up with its part of the sum of tensors of ``tensor_bytes``."""
        if self.is_symmetric:
            return self.all_gather(tensor_bytes)
        return self._gathered(REDUCE_SCATTER, self.kernels.reduce_scatter, tensor_bytes)

    def _gathered(self, kind: str, constants: CollectiveConstants, tensor_bytes: Quantity) -> OperatorCost:
        cost = self._cost(kind, 0, constants, tensor_bytes)
        return cost if constants == PLAIN else self._by_nccl(kind, cost, tensor_bytes)

    def _by_nccl(self, kind: str, inside: OperatorCost, tensor_bytes: Quantity) -> OperatorCost:
        """What was measured inside a node; where a group leaves it, NCCL's own estimate."""
        if not np.any(self._spans):
            return inside
        if kind not in self._over_nodes:
            self._over_nodes[kind] = OverNodes(kind, self.group, self.fabric)
        # Of several ways of an all-reduce the last is NCCL's.
        up, out = self._tiers[kind, max(index for name, index in self._tiers if name == kind)]
        link_s = np.maximum(tensor_bytes * up.s_per_byte, tensor_bytes / self.group.local * out.s_per_byte)
        time_s, latency_s = self._over_nodes[kind].time_s(tensor_bytes, link_s)
        across = OperatorCost(time_s, 0.0, inside.bytes, 0.0, time_s - latency_s, latency_s)
        return OperatorCost(*(np.where(self._spans, b, a) for a, b in zip(inside, across, strict=True)))

    def all_to_all(self, held_bytes: Quantity) -> OperatorCost:
        """Every rank holds ``held_bytes`` and sends an equal part of them to each other rank."""
        return self._cost(ALL_TO_ALL, 0, self.kernels.all_to_all, held_bytes)

    def ring_step(self, block_bytes: Quantity) -> OperatorCost:
        """Every rank passes ``block_bytes`` on; where the ring leaves the node, NICs set the pace.

        One rank of each ring on a node sends to the next node.
        """
        up, out = self.fabric.up, self.fabric.out_while(self.fabric.gpus_per_node / self.group.local)
        leaves = np.greater(self.group.nodes, 1)
        inverse = np.where(leaves, 1.0 / out.bandwidth_bytes_per_s, 1.0 / up.to_peers(2.0))
        latency_s = np.where(leaves, out.latency_s, up.latency_s)
        link_s = block_bytes * inverse
        return OperatorCost(latency_s + link_s, 0.0, block_bytes, 0.0, link_s, latency_s)

    def _cost(
        self, kind: str, index: int, constants: CollectiveConstants, tensor_bytes: Quantity
    ) -> OperatorCost:
        if (kind, index) not in self._tiers:
            inside = Tier(kind, self.group.local, self.fabric.up, constants)
            self._tiers[kind, index] = inside, Tier(kind, self.group.nodes, self.fabric.out, PLAIN)
        up, out = self._tiers[kind, index]
        # All-to-all keeps its local part inside the node and sends the rest straight from every rank, on
        # rails by way of the GPU whose rail it takes.
        straight = kind == ALL_TO_ALL and not self.fabric.rails
        to_node = tensor_bytes / self.group.nodes if straight else tensor_bytes
        across = tensor_bytes if kind == ALL_TO_ALL else tensor_bytes / self.group.local
        up_s, out_s = up.transfer_s(to_node), out.transfer_s(across)
        link_s = np.maximum(up_s, out_s)
        latency_s = up.wait_s(up_s) + out.wait_s(out_s)
        sent = to_node * up.sent_share + across * out.sent_share
        return OperatorCost(latency_s + link_s, 0.0, sent, 0.0, link_s, latency_s)


def hop(message_bytes: Quantity, rate: LinkRate) -> OperatorCost:
    """Cost of sending ``message_bytes`` from every GPU of a stage to its peer in the next one."""
    link_s = message_bytes * (1.0 / rate.to_peers(2.0))
    return OperatorCost(rate.latency_s + link_s, 0.0, message_bytes, 0.0, link_s, rate.latency_s)
