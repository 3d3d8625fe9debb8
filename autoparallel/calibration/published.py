"""Printed figures of communication between nodes and over a rack, against the fitted constants.

No constant was fitted to any of them. Sources print bandwidths of their own kind; each is turned back
into the time that it stands for:

* DeepEP counts a token once for each different rank (one node) or node (several) of its experts, its
  own included, and divides by the time. Its router keeps to four nodes in version 1, to none in 2.
* nccl-tests' bus bandwidth and the one-sided all-to-all's logical bandwidth come with the time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from autoparallel.calibration.exchange import NODE_LIMIT
from autoparallel.calibration.formats import WIRE_BYTES
from autoparallel.calibration.systems import hardware_of
from autoparallel.calibration.tables import STANDS_IN
from autoparallel.domain.hardware import Hardware
from autoparallel.performance.collectives import Collective
from autoparallel.performance.expert_exchange import Routing, distinct_groups, exchange
from autoparallel.performance.kernels import Kernels
from autoparallel.performance.links import Fabric, Group

if TYPE_CHECKING:
    import pandas as pd

# Experts of DeepEP's tests and of the one-sided all-to-all's benchmark.
EXPERTS, TOPK = 256.0, 8
# Multiprocessors of DeepEP's own tests, version 1.
TEST_SMS = 24.0
# Tokens of a rank up to which engines take a low-latency exchange.
FEW_TOKENS = 128.0
# An H800 is an H100 with fewer NVLinks: 400 GB/s both ways (shared gpus.csv: tumgag.com).
H800_UP_GB_PER_S = 200.0
# Google's a3-mega: a NIC of 200 Gbit/s for each GPU.
A3_MEGA_OUT_GB_PER_S = 25.0
LARGE_BYTES = 256 * 2**20
_TOKENS = re.compile(r"(?:batch )?(\d+)(K?) tokens per (?:rank|batch), hidden (\d+)")


class Row(NamedTuple):
    """A printed figure: what was sent, among how many GPUs, and what is printed."""

    op: str
    gpu: str
    gpus: int
    dtype: str
    shape: str
    latency_us: float
    bandwidth_gb_per_s: float


def predict_published(frame: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    """Predict the rows of the table of printed figures.

    Returns
    -------
    pandas.DataFrame
        ``key`` (``latency_us``), ``group``, ``measured``, ``predicted``, ``row`` and ``stands_in``.
    Counter
        Rows that could not be predicted, by reason.
    """
    import pandas as pd

    found: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    for index, cells in zip(frame.index, frame.to_dict("records"), strict=True):
        row = _row({str(key): value for key, value in cells.items()})
        known = next((read for mark, read in _KINDS.items() if mark in row.op), None)
        times = known(row) if known else None
        if times is None or not times[0] > 0:
            skipped["no figure of an operation that is known"] += 1
            continue
        group = f"{row.op}, {row.gpu.split(' (')[0]}{_share(row)}"
        found.append(
            {
                "key": "latency_us",
                "group": group,
                "measured": times[0],
                "predicted": times[1],
                "row": index,
                STANDS_IN: "no constants of H800: those of h100_sxm" if "H800" in row.gpu else "",
            }
        )
    return pd.DataFrame(found, columns=["key", "group", "measured", "predicted", "row", STANDS_IN]), skipped


def _row(cells: Mapping[str, Any]) -> Row:
    def number(key: str) -> float:
        try:
            return float(cells.get(key, np.nan))
        except (TypeError, ValueError):
            return float("nan")

    op, gpu, dtype, shape = (str(cells.get(key, "")) for key in ("op", "gpu", "dtype", "shape_or_bytes"))
    gpus = number("n_gpus")
    return Row(
        op,
        gpu,
        int(gpus) if gpus >= 1 else 1,
        {"bf16": "bfloat16"}.get(dtype, dtype),
        shape,
        number("latency_us"),
        number("bandwidth_GBps"),
    )


def _share(row: Row) -> str:
    """Apart: messages so large that only bandwidth counts, not the latency of a network that is unlike."""
    size = row.shape.split(" ")[0]
    return ", from 256 MiB" if size.isdigit() and "bytes" in row.shape and int(size) >= LARGE_BYTES else ""


Times = tuple[float, float] | None


def _normal(row: Row) -> Times:
    """DeepEP 1, high throughput: bandwidth over NVLink in a node, over the network otherwise. [us]"""
    return _high_throughput(row, _h800(), TEST_SMS, NODE_LIMIT)


def _version_2(row: Row) -> Times:
    """DeepEP 2, against the kernels of version 1: the newer ones need fewer multiprocessors. [us]"""
    system = "h100_sxm" if row.gpu.startswith("SM90") else "b200_sxm"
    return _high_throughput(row, hardware_of(system, "trtllm"), TEST_SMS, np.inf)


def _high_throughput(row: Row, hardware: Hardware, sms: float, most_nodes: float) -> Times:
    sent = _sent(row)
    if sent is None:
        return None
    tokens, token_bytes = sent
    group = _group(row.gpus, hardware)
    routing = _routing(group, most_nodes)
    times = routing.nodes if float(group.nodes) > 1 else routing.ranks
    measured_us = tokens * float(times) * token_bytes / (row.bandwidth_gb_per_s * 1e3)
    constants = Kernels(hardware).exchange(_direction(row), low_latency=False)
    cost = exchange(
        tokens,
        token_bytes,
        group=group,
        routing=routing,
        fabric=_fabric(hardware),
        constants=replace(constants, sms=sms),
    )
    return measured_us, float(cost.time_s) * 1e6


def _low_latency(row: Row) -> Times:
    """DeepEP 1, low latency: the time is printed. [us]"""
    return _timed(row, _h800(), low_latency=True)


def _one_sided(row: Row) -> Times:
    """TensorRT-LLM's one-sided all-to-all in a rack, against the kernels that were measured there. [us]"""
    sent = _sent(row)
    return sent and _timed(row, hardware_of("gb200", "trtllm"), low_latency=sent[0] <= FEW_TOKENS)


def _timed(row: Row, hardware: Hardware, *, low_latency: bool) -> Times:
    sent = _sent(row)
    if sent is None:
        return None
    group = _group(row.gpus, hardware)
    constants = Kernels(hardware).exchange(_direction(row), low_latency=low_latency)
    cost = exchange(
        *sent,
        group=group,
        routing=_routing(group, np.inf),
        fabric=_fabric(hardware),
        constants=constants,
    )
    return row.latency_us, float(cost.time_s) * 1e6


def _all_reduce(row: Row) -> Times:
    """NCCL over two nodes with slow NICs. [us]"""
    size = row.shape.split(" ")[0]
    if not size.isdigit():
        return None
    hardware = hardware_of("h100_sxm", "trtllm")
    slow = replace(hardware.scale_out, bandwidth_gb_per_s=A3_MEGA_OUT_GB_PER_S)
    hardware = replace(hardware, scale_out=slow)
    ncclike = replace(Kernels(hardware).collectives, all_reduce=Kernels(hardware).collectives.all_reduce[-1:])
    cost = Collective(_group(row.gpus, hardware), _fabric(hardware), ncclike).all_reduce(float(size))
    return row.latency_us, float(cost.time_s) * 1e6


# What the operations are called, and how each is read.
_KINDS: Mapping[str, Callable[[Row], Times]] = {
    "V1 normal": _normal,
    "V1 low-latency": _low_latency,
    "DeepEP V2": _version_2,
    "NVLinkOneSided": _one_sided,
    "nccl all_reduce": _all_reduce,
}


def _sent(row: Row) -> tuple[float, float] | None:
    """Tokens of a rank, and bytes of one on the wire."""
    shape = _TOKENS.search(row.shape)
    if shape is None or row.dtype not in WIRE_BYTES:
        return None
    return float(shape[1]) * (1024.0 if shape[2] else 1.0), float(shape[3]) * WIRE_BYTES[row.dtype]


def _direction(row: Row) -> str:
    return "combine" if "combine" in row.op else "dispatch"


def _group(gpus: int, hardware: Hardware) -> Group:
    local = min(gpus, hardware.gpus_per_node)
    return Group(np.asarray(float(local)), np.asarray(float(-(-gpus // local))))


def _routing(group: Group, most_nodes: float) -> Routing:
    """Even routing over at most so many nodes for each token."""
    nodes = np.minimum(group.nodes, most_nodes)
    within = EXPERTS * nodes / group.nodes
    return Routing(
        EXPERTS,
        TOPK,
        distinct_groups(nodes * group.local, within, TOPK),
        distinct_groups(nodes, within, TOPK),
    )


def _fabric(hardware: Hardware) -> Fabric:
    return Fabric.of(hardware.scale_up, hardware.scale_out, hardware.gpus_per_node)


@cache
def _h800() -> Hardware:
    hardware = hardware_of("h100_sxm", "trtllm")
    return replace(hardware, scale_up=replace(hardware.scale_up, bandwidth_gb_per_s=H800_UP_GB_PER_S))
