"""The groups of a deployment as a tree of text: real ranks, layers and experts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from autoparallel.documents.phrases import ranks, share_of_rank, span
from autoparallel.domain.plan import Plan
from autoparallel.domain.rank_map import RankedGpu, RankMap
from autoparallel.report.wording import count

# GPUs that are listed one by one; the stages after them say which they have.
MOST_GPUS = 64


@dataclass(frozen=True, kw_only=True)
class Node:
    """A line of the tree and the lines below it."""

    text: str
    below: tuple[Node, ...] = ()


def grouping_tree(placed: RankMap, plan: Plan, *, is_moe: bool) -> str:
    """The tree as text; equal instances after the first are one line."""
    layout = placed.layout
    first = [gpu for gpu in placed.gpus if gpu.replica == 0]
    branches = [_instance(first, placed, plan, is_moe)]
    if layout.replicas > 1:
        rest = [gpu for gpu in placed.gpus if gpu.replica > 0]
        which = "instance 1" if layout.replicas == 2 else f"instances 1–{layout.replicas - 1}"
        branches.append(Node(text=f"{which}: the same on {_gpus(rest)}, {_nodes(rest)}"))
    root = f"deployment: {count(layout.gpus, 'GPU')} on {count(placed.nodes, 'node')}"
    return "\n".join((root, *_lines(branches)))


def _instance(gpus: list[RankedGpu], placed: RankMap, plan: Plan, is_moe: bool) -> Node:
    stages = _by(gpus, lambda gpu: gpu.pp)
    below = []
    listed = 0
    for stage, members in stages.items():
        head = f"stage {stage}: layers {span(members[0].layers)}, {_gpus(members)}, {_nodes(members)}"
        if listed and listed + len(members) > MOST_GPUS:
            below.append(Node(text=head))
            continue
        listed += len(members)
        below.append(Node(text=head, below=(*_attention(members, plan), *_experts(members, placed, is_moe))))
    text = f"instance 0: {_gpus(gpus)}, {_nodes(gpus)}, {count(plan.batch, 'sequence')}"
    return Node(text=text, below=tuple(below))


def _attention(members: list[RankedGpu], plan: Plan) -> Iterator[Node]:
    """The data parallel ranks of attention, each with its tp and cp group."""
    for dp, group in list(_by(members, lambda gpu: gpu.dp).items())[:MOST_GPUS]:
        head = f"attention dp {dp}: {_gpus(group)}, {share_of_rank(plan)}"
        yield Node(
            text=head, below=tuple(_leaf(gpu, plan) for gpu in group[:MOST_GPUS]) if len(group) > 1 else ()
        )


def _leaf(gpu: RankedGpu, plan: Plan) -> Node:
    parts = [f"tp {gpu.tp}"] if plan.layout.tp > 1 else []
    parts += [f"cp {gpu.cp}"] if plan.layout.cp > 1 else []
    return Node(text=f"GPU {gpu.rank}: {', '.join(parts)}")


def _experts(members: list[RankedGpu], placed: RankMap, is_moe: bool) -> Iterator[Node]:
    """The expert groups of the stage, each with who holds what."""
    layout = placed.layout
    part = f", 1/{layout.etp} of each" if layout.etp > 1 else ""
    word = "expert slots" if layout.redundant_experts else "experts"
    for edp, group in _by(members, lambda gpu: gpu.edp).items():
        name = "experts" if is_moe else "FFN"
        own = f" edp {edp}" if layout.edp > 1 else ""
        text = f"{name}{own}: {_gpus(group)}"
        if not is_moe:
            yield Node(text=f"{text}{', 1/' + str(layout.etp) + ' of each' if layout.etp > 1 else ', whole'}")
            continue
        holders = _by(group, lambda gpu: gpu.ep)
        yield Node(
            text=text,
            below=tuple(
                Node(text=f"ep {ep}: {_gpus(held)}, {word} {span(held[0].experts)}{part}")
                for ep, held in list(holders.items())[:MOST_GPUS]
            ),
        )


def _by(gpus: Iterable[RankedGpu], key: Callable[[RankedGpu], int]) -> dict[int, list[RankedGpu]]:
    groups: dict[int, list[RankedGpu]] = defaultdict(list)
    for gpu in gpus:
        groups[key(gpu)].append(gpu)
    return dict(groups)


def _gpus(gpus: list[RankedGpu]) -> str:
    return f"GPU{'s' if len(gpus) > 1 else ''} {ranks([gpu.rank for gpu in gpus])}"


def _nodes(gpus: list[RankedGpu]) -> str:
    nodes = sorted({gpu.node for gpu in gpus})
    return f"node{'s' if len(nodes) > 1 else ''} {ranks(nodes)}"


def _lines(nodes: Iterable[Node], indent: str = "") -> Iterator[str]:
    nodes = list(nodes)
    for place, node in enumerate(nodes):
        last = place == len(nodes) - 1
        yield f"{indent}{'└── ' if last else '├── '}{node.text}"
        yield from _lines(node.below, indent + ("    " if last else "│   "))
