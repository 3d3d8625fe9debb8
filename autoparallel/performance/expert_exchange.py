r"""Times of dispatch and combine: every token goes to the ranks that hold its experts, and back.

A rank owns :math:`T` tokens of :math:`b` bytes; the expert group has :math:`n = p N` ranks on :math:`N`
nodes. A token crosses to each node that needs it once and is forwarded there over the scale-up links,
once to each rank that needs it (DeepEP's high-throughput kernels); copying takes multiprocessors:

.. math:: \mathrm{sm} = \frac{T}{S}\left(t_t + r (t_c + \frac{b}{e_s B_u})\right), \quad
   \mathrm{up} = \frac{T d_r b (p-1)/p}{e_u B_u}, \quad \mathrm{out} = \frac{T d_n b (N-1)/N}{e_o B_o}

with :math:`d_r, d_n` the expected different ranks and nodes of a token's experts and
:math:`r = d_r + c_n d_n` copies. A low-latency kernel sends each of the ``k`` copies straight to its
expert's rank and starts a group of warps for each expert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from autoparallel.performance.links import Fabric, Group
from autoparallel.performance.operators.cost import OperatorCost, Quantity


@dataclass(frozen=True, kw_only=True)
class ExchangeConstants:
    """Constants of one phase of one kernel on one GPU; the defaults are the links' own.

    Attributes
    ----------
    t0_s, floor_s : float
        Start of the kernel; nothing is faster than the host launches it. [s]
    hop_s : float or None
        Added for each doubling of the nodes; ``None`` takes the links' latencies. [s]
    expert_s : float
        Counters to send and wait for, per expert of the layer. [s]
    fill_tokens : float
        Way of the first token through the kernel, in tokens at one multiprocessor's full speed. [1]
    chunk_s : float
        Start of one chunk of the pipeline; the best number leaves ``sqrt(chunk_s sm)``. [s]
    token_s, copy_s : float
        Time of one multiprocessor per token, and per copy of a token, whatever its size. [s]
    sm_efficiency : float
        Share of the scale-up bandwidth that one multiprocessor copies; 0 where copying is free.
    node_copies : float
        Work of a copy to a node relative to that of a copy to a rank. [1]
    up_efficiency, out_efficiency : float or None
        Shares of the data sheet's bandwidths; ``None`` takes the links' own.
    spine_efficiency, leaf_nodes
        Share of the NIC's bandwidth left to traffic past the first ``leaf_nodes`` nodes; 0 for all.
    sms : float
        Multiprocessors that the kernel uses (all of the GPU's for a low-latency one). [1]
    low_latency, adds : bool
        Traits of the kernel: one copy per expert; copying and links take turns instead of overlapping.
    """

    t0_s: float = 0.0
    floor_s: float = 0.0
    hop_s: float | None = None
    expert_s: float = 0.0
    fill_tokens: float = 0.0
    chunk_s: float = 0.0
    token_s: float = 0.0
    copy_s: float = 0.0
    sm_efficiency: float = 0.0
    node_copies: float = 1.0
    up_efficiency: float | None = None
    out_efficiency: float | None = None
    spine_efficiency: float = 0.0
    leaf_nodes: int = 4
    sms: float = 20.0
    low_latency: bool = False
    adds: bool = False


PLAIN_EXCHANGE = ExchangeConstants()


def distinct_groups(groups: Quantity, num_experts: Quantity, num_experts_per_tok: int) -> Quantity:
    """Expected number of different groups, of ``groups`` equal ones, among a token's experts.

    Experts are drawn without repetition: ``G (1 - C(E - E/G, k) / C(E, k))``.
    """
    elsewhere = num_experts - num_experts / groups
    missed: Quantity = 1.0
    for drawn in range(num_experts_per_tok):
        missed = missed * (np.maximum(elsewhere - drawn, 0.0) / np.maximum(num_experts - drawn, 1.0))
    return groups * (1.0 - missed)


class Routing(NamedTuple):
    """Where tokens go: experts of the layer and of a token, expected different ranks and nodes."""

    num_experts: Quantity
    num_experts_per_tok: int
    ranks: Quantity
    nodes: Quantity

    @classmethod
    def of(cls, group: Group, num_experts: Quantity, num_experts_per_tok: int) -> Routing:
        """Even routing over the ranks of a group."""
        size = group.local * group.nodes
        return cls(
            num_experts,
            num_experts_per_tok,
            distinct_groups(size, num_experts, num_experts_per_tok),
            distinct_groups(group.nodes, num_experts, num_experts_per_tok),
        )


def exchange(
    tokens: Quantity,
    token_bytes: float | Quantity,
    *,
    group: Group,
    routing: Routing,
    fabric: Fabric,
    constants: ExchangeConstants,
) -> OperatorCost:
    """Cost of sending every rank's own tokens to their experts, or of the way back.

    Parameters
    ----------
    tokens : array_like
        Tokens that a rank owns. [tokens]
    token_bytes : array_like
        A token as it is sent, scales included. [bytes]
    """
    c, local, nodes = constants, group.local, group.nodes
    size = local * nodes
    if c.low_latency:
        copies: Quantity = routing.num_experts_per_tok
        inside = 1.0 - 1.0 / local if fabric.rails else (local - 1.0) / size
        up_bytes = tokens * (token_bytes * copies) * inside
        out_bytes = tokens * (token_bytes * copies) * ((size - local) / size)
    else:
        copies = routing.ranks + np.where(nodes > 1, c.node_copies * routing.nodes, 0.0)
        up_bytes = tokens * token_bytes * routing.ranks * (1.0 - 1.0 / local)
        out_bytes = tokens * token_bytes * routing.nodes * (1.0 - 1.0 / nodes)
    up_s = up_bytes / _bandwidth(fabric.up.sheet_to_peers(size), fabric.up.efficiency, c.up_efficiency)
    out_s = out_bytes / _bandwidth(
        fabric.out.sheet_bandwidth_bytes_per_s, fabric.out.efficiency, c.out_efficiency
    )
    if c.spine_efficiency:
        beyond = np.maximum(nodes - c.leaf_nodes, 0.0) / np.maximum(nodes - 1.0, 1.0)
        spine = fabric.out.sheet_bandwidth_bytes_per_s * c.spine_efficiency
        out_s = np.maximum(out_s, out_bytes * beyond / spine)
    together = np.greater(size, 1)
    link_s = up_s + out_s if c.adds and not c.low_latency else np.maximum(up_s, out_s)
    latency_s, busy_s = _latency(c, group, fabric, routing.num_experts), link_s
    if c.token_s or c.copy_s or c.sm_efficiency:
        sm_s, fill_s = _copying(c, tokens, token_bytes, copies, fabric, routing.num_experts)
        busy_s = sm_s + link_s if c.adds else np.maximum(sm_s, link_s)
        latency_s = latency_s + fill_s + np.sqrt(c.chunk_s * sm_s)
    latency_s = np.where(together, np.maximum(latency_s, c.floor_s - busy_s), 0.0)
    busy_s = np.where(together, busy_s, 0.0)
    return OperatorCost(latency_s + busy_s, 0.0, up_bytes + out_bytes, 0.0, busy_s, latency_s)


def _bandwidth(sheet: Quantity, link_efficiency: float, efficiency: float | None) -> Quantity:
    return sheet * (link_efficiency if efficiency is None else efficiency)


def _latency(c: ExchangeConstants, group: Group, fabric: Fabric, num_experts: Quantity) -> Quantity:
    doublings = np.ceil(np.log2(group.nodes))
    if c.hop_s is None:
        # A token that crosses is forwarded inside the node, where ranks share one; straight copies are not.
        forwarded = np.where(group.local > 1, fabric.up.latency_s, 0.0) if not c.low_latency else 0.0
        across = fabric.out.latency_s + forwarded
        links_s = np.where(group.nodes > 1, across, fabric.up.latency_s)
    else:
        links_s = c.hop_s * doublings
    return c.t0_s + links_s + c.expert_s * num_experts


def _copying(
    c: ExchangeConstants,
    tokens: Quantity,
    token_bytes: Quantity,
    copies: Quantity,
    fabric: Fabric,
    num_experts: Quantity,
) -> tuple[Quantity, Quantity]:
    """Time that multiprocessors copy, and until the first token is through. [s]"""
    if c.low_latency:
        used = num_experts / np.ceil(num_experts / c.sms)
        return tokens * (c.token_s + copies * c.copy_s) / used, 0.0
    one_s: Quantity = 0.0
    if c.sm_efficiency:
        one_s = token_bytes / (c.sm_efficiency * fabric.up.sheet_bandwidth_bytes_per_s)
    return tokens * (c.token_s + copies * (c.copy_s + one_s)) / c.sms, c.fill_tokens * one_s
