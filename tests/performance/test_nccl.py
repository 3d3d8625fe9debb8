"""Collectives over nodes: NCCL's own formula by hand, and what others measured."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoparallel.domain import Link
from autoparallel.domain.layout import Layout
from autoparallel.performance.collectives import Collective
from autoparallel.performance.kernels import Kernels
from autoparallel.performance.links import Fabric, Group
from autoparallel.performance.nccl import ALL_REDUCE, OverNodes
from autoparallel.performance.notes import node_notes
from autoparallel.planner import evaluate
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.hardware_section import catalog_hardware

ROOT = Path(__file__).resolve().parents[2]
FAST = Fabric.of(
    Link(bandwidth_gb_per_s=450.0, latency_us=2.0), Link(bandwidth_gb_per_s=50.0, latency_us=1.0), 8
)
SLOW = Fabric.of(
    Link(bandwidth_gb_per_s=450.0, latency_us=2.0), Link(bandwidth_gb_per_s=50.0, latency_us=10.0), 8
)


def over(fabric: Fabric, local: float, nodes: float, tensor: float, link_s: float, kind: str) -> float:
    time_s, _ = OverNodes(kind, Group(local, nodes), fabric).time_s(tensor, link_s)
    return float(time_s)


def test_a_tree_by_hand() -> None:
    # LL: 6.8 us, 2 x 7 steps of 0.6 us in the node, 2 x log2(2) of 5 us between: 25.2 us. The same with
    # hops of the link's own 10 us: 35.2 us.
    assert over(FAST, 8.0, 2.0, 8.0, 0.0, ALL_REDUCE) == pytest.approx(25.2e-6, rel=1e-4)
    assert over(SLOW, 8.0, 2.0, 8.0, 0.0, ALL_REDUCE) == pytest.approx(35.2e-6, rel=1e-4)
    # On 4 nodes twice as many hops.
    assert over(SLOW, 8.0, 4.0, 8.0, 0.0, ALL_REDUCE) == pytest.approx(55.2e-6, rel=1e-4)


def test_a_ring_by_hand() -> None:
    # LL: 6.6 us, 15 steps of which one crosses: 14 of 1 us (the host posts each) and 10 us.
    assert over(SLOW, 8.0, 2.0, 8.0, 0.0, "all_gather") == pytest.approx(30.6e-6, rel=1e-4)


def test_large_messages_are_as_fast_as_the_links() -> None:
    """A ring with Simple has all the bandwidth; 8.4 us, 26 steps of 3.4 us and 4 of 14 us beside it."""
    latency = 8.4e-6 + 26 * 3.4e-6 + 4 * 14e-6
    assert over(SLOW, 8.0, 2.0, 2.0**33, 1.0, ALL_REDUCE) == pytest.approx(1.0 + latency)


def test_more_bytes_never_take_less_time() -> None:
    sizes = np.logspace(1, 10, 400)
    for kind in (ALL_REDUCE, "all_gather"):
        times, _ = OverNodes(kind, Group(8.0, 2.0), SLOW).time_s(sizes, sizes / 200e9)
        assert np.all(np.diff(times) > 0)


def collective(gpu: str, local: float, nodes: float, backend: str = "vllm") -> Collective:
    hardware = catalog_hardware(gpu, backend)
    fabric = Fabric.of(hardware.scale_up, hardware.scale_out, hardware.gpus_per_node)
    return Collective(Group(np.float64(local), np.float64(nodes)), fabric, Kernels(hardware).collectives)


PRINTED = list(
    csv.DictReader((ROOT / "docs" / "nccl_over_nodes.csv").read_text(encoding="utf-8").splitlines())
)


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: f"{row['gpu']}-{row['collective']}-{row['bytes']}")
def test_what_others_printed(row: dict[str, str]) -> None:
    """None of it is fitted. From PyTorch medium messages take up to three times as long."""
    measured = collective(row["gpu"], float(row["gpus_of_a_node"]), float(row["nodes"]))
    time_us = float(getattr(measured, row["collective"])(float(row["bytes"])).time_s) * 1e6
    least = 0.3 if "PyTorch" in row["source"] else 0.9
    assert least < time_us / float(row["latency_us"]) < 1.3


def test_kernels_of_an_engine_work_inside_a_node_only() -> None:
    """The engine's own all-reduce is faster than NCCL's in a node; over nodes it is of no use."""
    for backend in ("vllm", "trtllm"):
        ours = collective("h100-sxm", 8, 2, backend)
        by_nccl = replace(ours.kernels, all_reduce=ours.kernels.all_reduce[-1:])
        alone = Collective(ours.group, ours.fabric, by_nccl)
        sizes = np.logspace(1, 9, 30)
        assert ours.all_reduce(sizes).time_s == pytest.approx(alone.all_reduce(sizes).time_s)


def test_groups_inside_a_node_are_as_before() -> None:
    mixed = collective("h100-sxm", 8, 1)
    both = Collective(Group(np.array([8.0, 8.0]), np.array([1.0, 2.0])), mixed.fabric, mixed.kernels)
    inside, across = np.asarray(both.all_reduce(65536.0).time_s)
    assert inside == pytest.approx(float(mixed.all_reduce(65536.0).time_s))
    assert across == pytest.approx(float(collective("h100-sxm", 8, 2).all_reduce(65536.0).time_s))


def test_a_plan_over_nodes_says_what_it_rests_on() -> None:
    problem = load_problem(ROOT / "problems" / "llama-3.1-405b-32xh100.toml")
    over_nodes = evaluate(problem, Layout(tp=16, etp=16, pp=1), batch=16, microbatch=16)
    inside = evaluate(problem, Layout(tp=8, etp=8, pp=2), batch=16, microbatch=8)
    assert "tp = 16 spans 2 nodes" in node_notes(problem, over_nodes)[0]
    assert not node_notes(problem, inside)
