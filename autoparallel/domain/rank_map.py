"""Which GPU is in which group of a layout, and which layers and experts it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from autoparallel.domain.layout import Layout

KINDS = ("tp", "cp", "dp", "pp", "ep", "etp", "edp")

# A group of a kind varies that coordinate and shares these.
_SHARED = {
    "tp": ("replica", "pp", "dp", "cp"),
    "cp": ("replica", "pp", "dp", "tp"),
    "dp": ("replica", "pp", "cp", "tp"),
    "pp": ("replica", "dp", "cp", "tp"),
    "ep": ("replica", "pp", "edp", "etp"),
    "etp": ("replica", "pp", "edp", "ep"),
    "edp": ("replica", "pp", "ep", "etp"),
}


@dataclass(frozen=True, kw_only=True)
class RankedGpu:
    """One GPU of a deployment: where it is, its coordinates and what it holds.

    Attributes
    ----------
    rank : int
        Number in the deployment: tp fastest, then cp, dp, pp, replicas slowest.
    node, slot : int
        Node of the deployment, and place in the node.
    replica, pp, dp, cp, tp : int
        Coordinates in the attention layout; ``pp`` is the pipeline stage.
    edp, ep, etp : int
        Coordinates in the expert layout of the same stage.
    layers : range
        Layers of its stage.
    experts : range
        Slots of each sparse layer's routed experts that it holds, all or one ``etp``-th of each: the experts
        of these numbers, unless a placement says otherwise.
    """

    rank: int
    node: int
    slot: int
    replica: int
    pp: int
    dp: int
    cp: int
    tp: int
    edp: int
    ep: int
    etp: int
    layers: range
    experts: range


@dataclass(frozen=True, kw_only=True)
class RankMap:
    """Every GPU of a layout, by rank."""

    layout: Layout
    gpus_per_node: int
    gpus: tuple[RankedGpu, ...]

    @property
    def nodes(self) -> int:
        """Nodes that the deployment touches."""
        return self.gpus[-1].node + 1

    def groups(self, kind: str) -> tuple[tuple[int, ...], ...]:
        """Ranks of every group of a kind, in the order of their first ranks.

        Parameters
        ----------
        kind : str
            ``tp``, ``cp``, ``dp``, ``pp``, ``ep``, ``etp`` or ``edp``.

        Examples
        --------
        >>> layout = Layout(tp=2, dp=2, ep=4)
        >>> rank_map(layout, gpus_per_node=8, layers=2, experts=8).groups("dp")
        ((0, 2), (1, 3))
        """
        members: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for gpu in self.gpus:
            members[tuple(getattr(gpu, name) for name in _SHARED[kind])].append(gpu.rank)
        return tuple(tuple(ranks) for ranks in members.values())


def rank_map(layout: Layout, *, gpus_per_node: int, layers: int, experts: int) -> RankMap:
    """Place every GPU of a layout.

    A stage that fits into a node never straddles two; a larger one starts on a node of its own.
    Instances share a node where several whole ones fit, else each starts on a new node. With ``pp`` in the
    order of the layout, every node of an instance holds an equal slice of all its stages.

    Parameters
    ----------
    layout : Layout
        A layout that the model can have: ``ep`` divides ``experts``, the expert group its stage.
    gpus_per_node : int
        GPUs of one scale-up domain.
    layers, experts : int
        Layers of the model and routed experts of a sparse layer, 1 for a dense model.
    """
    ends = list(accumulate(layout.layers_of_stages(layers), initial=0))
    held = tuple(map(range, ends, ends[1:]))
    places = _places(layout, gpus_per_node)
    gpus = tuple(_ranked_gpu(layout, rank, place, held, experts) for rank, place in enumerate(places))
    return RankMap(layout=layout, gpus_per_node=gpus_per_node, gpus=gpus)


def _ranked_gpu(
    layout: Layout, rank: int, place: tuple[int, int], held: tuple[range, ...], experts: int
) -> RankedGpu:
    stage_number, local = divmod(rank, layout.gpus_per_stage)
    replica, pp = divmod(stage_number, layout.pp)
    dp, tp, cp = _coordinates(local, layout.tp, layout.cp, swapped="cp" in layout.order)
    edp, etp, ep = _coordinates(local, layout.etp, layout.ep, swapped="ep" in layout.order)
    share = (experts + layout.redundant_experts) // layout.ep
    return RankedGpu(
        rank=rank, node=place[0], slot=place[1], replica=replica, pp=pp, dp=dp, cp=cp, tp=tp,
        edp=edp, ep=ep, etp=etp, layers=held[pp], experts=range(ep * share, (ep + 1) * share),
    )  # fmt: skip


def _coordinates(local: int, first: int, second: int, *, swapped: bool) -> tuple[int, int, int]:
    """The slowest coordinate in a stage, and those in two groups of which the first is the faster."""
    if swapped:
        rest, in_second = divmod(local, second)
        slowest, in_first = divmod(rest, first)
    else:
        rest, in_first = divmod(local, first)
        slowest, in_second = divmod(rest, second)
    return slowest, in_first, in_second


def _places(layout: Layout, node_size: int) -> Iterator[tuple[int, int]]:
    """Node and slot of every rank, in rank order."""
    if "pp" in layout.order:
        yield from _slices(layout, node_size // layout.pp)
        return
    stage = layout.gpus_per_stage
    stages_per_node = node_size // stage
    instances_per_node = stages_per_node // layout.pp
    for replica in range(layout.replicas):
        for pp in range(layout.pp):
            if instances_per_node:
                node, instance = divmod(replica, instances_per_node)
                first = (instance * layout.pp + pp) * stage
            elif stages_per_node:
                nodes = -(-layout.pp // stages_per_node)
                node, first = replica * nodes + pp // stages_per_node, pp % stages_per_node * stage
            else:
                node, first = (replica * layout.pp + pp) * -(-stage // node_size), 0
            for local in range(stage):
                yield node + (first + local) // node_size, (first + local) % node_size


def _slices(layout: Layout, width: int) -> Iterator[tuple[int, int]]:
    """Node and slot of every rank where a node holds ``width`` ranks of every stage."""
    nodes = layout.gpus_per_stage // width
    for replica in range(layout.replicas):
        for pp in range(layout.pp):
            for local in range(layout.gpus_per_stage):
                yield replica * nodes + local // width, pp * width + local % width
