r"""Times of collectives: latency of the rounds plus bytes over the link, tier by tier.

A group of :math:`n = m k` ranks on :math:`k` nodes works in two tiers: the :math:`m` ranks of a node
over the scale-up links, and equal ranks of different nodes over their own NICs. Reduce-scatter and
all-gather take :math:`\lceil\log_2 n\rceil` rounds and move :math:`(n-1)/n` of the tensor, an
all-reduce is one after the other (recursive halving and doubling). Nothing overlaps with computing.

References
----------
Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH",
Int. J. High Performance Computing Applications 19(1), 2005, doi:10.1177/1094342005051521.
"""

from __future__ import annotations

import numpy as np

from autoparallel.performance.links import Fabric, Group, LinkRate
from autoparallel.performance.operators.cost import OperatorCost, Quantity


def _inverse_bandwidth(rate: LinkRate, ranks: Quantity) -> Quantity:
    """Seconds a byte takes; in a mesh only the links to the group's own ranks carry it."""
    if rate.peers:
        used = np.maximum(ranks - 1, 1.0) / rate.peers
        return 1.0 / (rate.bandwidth_bytes_per_s * used)
    return 1.0 / rate.bandwidth_bytes_per_s


def _cost(latency_s: Quantity, link_s: Quantity, sent_bytes: Quantity) -> OperatorCost:
    return OperatorCost(latency_s + link_s, 0.0, sent_bytes, 0.0, link_s, latency_s)


class Collective:
    """Collectives of a group, its geometry worked out once for all messages.

    Parameters
    ----------
    group : Group
        Ranks by node; arrays of any shape, with which every message broadcasts.
    fabric : Fabric
        Links of a GPU.
    """

    def __init__(self, group: Group, fabric: Fabric) -> None:
        local, nodes = group.local, group.nodes
        up, out = _inverse_bandwidth(fabric.up, local), 1.0 / fabric.out.bandwidth_bytes_per_s
        share_up, share_out = 1.0 - 1.0 / local, (1.0 - 1.0 / nodes) / local
        self._rounds_s = (
            np.ceil(np.log2(local)) * fabric.up.latency_s + np.ceil(np.log2(nodes)) * fabric.out.latency_s
        )
        self._moved = share_up + share_out
        self._s_per_byte = share_up * up + share_out * out
        ranks = local * nodes
        self._local_share = (local - 1.0) / ranks
        self._remote_share = 1.0 - local / ranks
        self._exchange_s = np.where(
            nodes > 1, fabric.out.latency_s, np.where(local > 1, fabric.up.latency_s, 0.0)
        )
        self._exchange_up, self._exchange_out = self._local_share * up, self._remote_share * out
        self._ring_s_per_byte = np.where(nodes > 1, out, up)

    def all_reduce(self, tensor_bytes: Quantity) -> OperatorCost:
        """Sum a tensor of ``tensor_bytes`` over the ranks, all of which end up with it."""
        return _cost(
            2.0 * self._rounds_s, (2.0 * tensor_bytes) * self._s_per_byte, (2.0 * tensor_bytes) * self._moved
        )

    def all_gather(self, tensor_bytes: Quantity) -> OperatorCost:
        """Every rank ends up with a tensor of ``tensor_bytes`` of which each held a part.

        A reduce-scatter of such a tensor costs the same.
        """
        return _cost(self._rounds_s, tensor_bytes * self._s_per_byte, tensor_bytes * self._moved)

    reduce_scatter = all_gather

    def all_to_all(self, held_bytes: Quantity) -> OperatorCost:
        """Every rank holds ``held_bytes`` and sends an equal part of them to each other rank.

        Scale-up links and NICs work at the same time; the slower counts.
        """
        link_s = np.maximum(held_bytes * self._exchange_up, held_bytes * self._exchange_out)
        sent = held_bytes * (self._local_share + self._remote_share)
        return _cost(self._exchange_s, link_s, sent)

    def ring_step(self, block_bytes: Quantity) -> OperatorCost:
        """Every rank passes ``block_bytes`` on; where the ring leaves the node, NICs set the pace."""
        return _cost(self._exchange_s, block_bytes * self._ring_s_per_byte, block_bytes)


def hop(message_bytes: Quantity, rate: LinkRate) -> OperatorCost:
    """Cost of sending ``message_bytes`` from every GPU of a stage to its peer in the next one."""
    inverse = _inverse_bandwidth(rate, 2.0)
    return _cost(rate.latency_s, message_bytes * inverse, message_bytes)
