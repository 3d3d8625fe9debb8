"""Groups of ranks on nodes, and the links they communicate over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoparallel.domain.hardware import Link
from autoparallel.performance.hops import Hops
from autoparallel.performance.operators.cost import Quantity


class LinkRate(NamedTuple):
    """A link of one GPU, one way.

    ``peers`` is the number of links that a mesh's bandwidth is the sum of, 0 for a switch.
    """

    sheet_bandwidth_bytes_per_s: Quantity
    latency_s: float
    efficiency: float = 1.0
    peers: int = 0

    @property
    def bandwidth_bytes_per_s(self) -> Quantity:
        """What large messages reach. [bytes/s]"""
        return self.sheet_bandwidth_bytes_per_s * self.efficiency

    def sheet_to_peers(self, ranks: Quantity) -> Quantity:
        """Data-sheet bandwidth to the other ranks of a group: in a mesh only the links to them. [bytes/s]"""
        if not self.peers:
            return self.sheet_bandwidth_bytes_per_s
        return self.sheet_bandwidth_bytes_per_s * np.maximum(ranks - 1.0, 1.0) / self.peers

    def to_peers(self, ranks: Quantity) -> Quantity:
        """What large messages to the other ranks of a group reach. [bytes/s]"""
        return self.sheet_to_peers(ranks) * self.efficiency


class Fabric(NamedTuple):
    """The links of a GPU inside its node (``up``) and between nodes (``out``).

    ``out`` is what a GPU has of its node's ``nics`` while all GPUs of the node send, as they do in a
    group that spans nodes: it fills them. With ``rails`` the NICs of equal GPUs of all nodes share a
    switch, and no others: what is for another GPU of another node goes over the scale-up links first.
    """

    up: LinkRate
    out: LinkRate
    gpus_per_node: int
    rails: bool = False
    nics: float = 0.0

    @classmethod
    def of(cls, scale_up: Link, scale_out: Link, gpus_per_node: int) -> Fabric:
        """From the hardware's own words and units."""
        peers = gpus_per_node - 1 if scale_up.topology == "mesh" else 0
        nics = scale_out.nics_per_node or gpus_per_node
        out = _scaled(_rate(scale_out, 0), nics / gpus_per_node)
        return cls(_rate(scale_up, peers), out, gpus_per_node, scale_out.topology == "rail", float(nics))

    def out_while(self, senders: Quantity) -> LinkRate:
        """What a GPU has of its node's NICs while ``senders`` of the node's GPUs send.

        An equal share of all NICs, but no more than its own part of them or one whole NIC.
        """
        if self.nics >= self.gpus_per_node:
            return self.out
        share = np.minimum(self.nics / np.minimum(senders, self.gpus_per_node), 1.0)
        return _scaled(self.out, share * self.gpus_per_node / self.nics)


def _rate(link: Link, peers: int) -> LinkRate:
    return LinkRate(link.bandwidth_gb_per_s * 1e9, link.latency_us * 1e-6, link.efficiency, peers)


def _scaled(rate: LinkRate, factor: Quantity) -> LinkRate:
    return rate._replace(sheet_bandwidth_bytes_per_s=rate.sheet_bandwidth_bytes_per_s * factor)


class Group(NamedTuple):
    """Ranks that communicate: ``local`` of them inside a node, on ``nodes`` nodes."""

    local: Quantity
    nodes: Quantity


def group_on_nodes(ranks: Quantity, stride: Quantity, gpus_per_stage: Quantity, gpus_per_node: int) -> Group:
    """How a group of ``ranks``, each ``stride`` apart, lies on the nodes of its pipeline stage.

    Parameters
    ----------
    ranks, stride : array_like
        Size of the group, and distance of its ranks in the order of the stage's GPUs. [1]
    gpus_per_stage : array_like
        GPUs of the stage; one that fits into a node never straddles two. [1]

    Notes
    -----
    Blocks of ``ranks * stride`` GPUs follow each other; where they do not fit evenly into nodes, the
    worst-placed group counts.
    """
    block = ranks * stride
    blocks_per_node = gpus_per_node / block
    fits = (gpus_per_stage <= gpus_per_node) | (blocks_per_node == np.floor(blocks_per_node))
    reach = np.clip(np.floor(gpus_per_node / stride), 1.0, ranks)
    nodes = np.where(fits, 1.0, np.maximum(np.ceil(ranks / reach), 2.0))
    nodes = np.minimum(nodes, ranks)
    return Group(np.ceil(ranks / nodes), nodes)


class Placement(NamedTuple):
    """How the groups of layouts lie on nodes.

    Attributes
    ----------
    gpus_per_node : int
        GPUs of one scale-up domain. [1]
    order : tuple of str
        Groups that lie closer together than usual, as in ``Layout.order``.
    pp : int
        Stages that share every node where ``pp`` is one of them. [1]
    """

    gpus_per_node: int
    order: tuple[str, ...] = ()
    pp: int = 1

    @property
    def width(self) -> int:
        """GPUs of one stage that a node has room for. [1]"""
        return self.gpus_per_node // self.pp if "pp" in self.order else self.gpus_per_node

    def tp(self, tp: Quantity, cp: Quantity, gpus_per_stage: Quantity) -> Group:
        """A tensor parallel group."""
        return group_on_nodes(tp, cp if "cp" in self.order else 1.0, gpus_per_stage, self.width)

    def cp(self, tp: Quantity, cp: Quantity, gpus_per_stage: Quantity) -> Group:
        """A context parallel group."""
        return group_on_nodes(cp, 1.0 if "cp" in self.order else tp, gpus_per_stage, self.width)

    def etp(self, etp: Quantity, ep: Quantity, gpus_per_stage: Quantity) -> Group:
        """Ranks that share an expert."""
        return group_on_nodes(etp, ep if "ep" in self.order else 1.0, gpus_per_stage, self.width)

    def ep(self, etp: Quantity, ep: Quantity, gpus_per_stage: Quantity) -> Group:
        """Ranks that share out the experts."""
        return group_on_nodes(ep, 1.0 if "ep" in self.order else etp, gpus_per_stage, self.width)

    def copies(self, copies: Quantity, ranks: Quantity, gpus_per_stage: Quantity) -> Group:
        """Ranks of one kind in all ``dp`` copies of attention, or ``edp`` of experts, of ``ranks`` each."""
        return group_on_nodes(copies, ranks, gpus_per_stage, self.width)

    def hops(self, pp: int, gpus_per_stage: Quantity) -> Hops:
        """Hops between neighbouring stages, each node holding as many whole stages as fit into it."""
        fit = self.pp if "pp" in self.order else np.floor(self.gpus_per_node / gpus_per_stage)
        return Hops(pp, np.clip(fit, 1, pp).astype(np.int64))
