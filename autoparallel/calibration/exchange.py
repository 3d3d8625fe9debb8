"""Dispatch and combine of expert parallelism: DeepEP's kernels, alone and as engines call them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autoparallel.calibration.formats import WIRE_BYTES
from autoparallel.calibration.recipe import (
    Array,
    Change,
    Entry,
    OperatorClass,
    Parameter,
    Predict,
    Recipe,
    floats,
)
from autoparallel.domain.hardware import Hardware
from autoparallel.performance.expert_exchange import ExchangeConstants, Routing, distinct_groups, exchange
from autoparallel.performance.links import Fabric, Group

if TYPE_CHECKING:
    import pandas as pd

BOX = {
    "t0_s": Parameter(3e-5, 1e-6, 1e-3),
    "floor_s": Parameter(5e-5, 1e-6, 2e-3),
    "hop_s": Parameter(2e-5, 1e-7, 2e-4),
    "expert_s": Parameter(2e-8, 1e-11, 1e-6, off_low=0.0),
    "fill_tokens": Parameter(10.0, 0.1, 1e4),
    "chunk_s": Parameter(1e-5, 1e-8, 1e-3),
    "token_s": Parameter(5e-7, 1e-10, 1e-4, off_low=0.0),
    "copy_s": Parameter(2e-7, 1e-10, 1e-4, off_low=0.0),
    "sm_efficiency": Parameter(0.03, 0.001, 1.0),
    "node_copies": Parameter(1.0, 0.01, 10.0),
    "up_efficiency": Parameter(0.6, 0.02, 3.0),
    "out_efficiency": Parameter(0.9, 0.1, 1.5),
    "spine_efficiency": Parameter(0.3, 0.02, 3.0),
}
LOW_LATENCY = ("t0_s", "token_s", "copy_s", "up_efficiency")
ACROSS_NODES = ("t0_s", "hop_s", "chunk_s", "sm_efficiency", "node_copies", "out_efficiency")
IN_ENGINE = ("t0_s", "fill_tokens", "token_s", "copy_s", "sm_efficiency", "floor_s")
ONE_NODE = ("t0_s", "fill_tokens", "chunk_s", "token_s", "copy_s", "sm_efficiency", "up_efficiency")
# Multiprocessors that a high-throughput kernel takes where a row does not say. (DeepEP's default)
DEFAULT_SMS = 20.0
# DeepSeek's router sends a token to four nodes at most, and so does the benchmark.
NODE_LIMIT = 4.0
KINDS = {
    "v2_context": "v2_prefill",
    "v2_generation": "v2_decode",
    "_ll": "low_latency",
    "": "high_throughput",
}


class Exchange(OperatorClass):
    """Rows of the tables deepep and moe_all_to_all."""

    table = "exchange"
    constants = ExchangeConstants
    shape = ("num_tokens",)
    starts = 3

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        kind = [next(KINDS[mark] for mark in KINDS if mark in str(name)) for name in rows["comm_backend"]]
        low_latency = np.array([name == "low_latency" for name in kind])
        combine = (rows["phase"] == "combine").to_numpy()
        by_engine = (rows["backend"] != "sglang").to_numpy()
        # Engines' own default: low latency sends fp8, high throughput 16 bits; what comes back has 16 bits.
        sent = np.where(low_latency | ~by_engine, "fp8", "bfloat16")
        sent = np.where(combine, "bfloat16", sent)
        stated = rows["comm_dtype"].astype(str)
        form = np.where(stated.isin(list(WIRE_BYTES)), stated, sent)
        carried = np.where(combine & ~low_latency, "bfloat16", form)
        operator = rows["phase"] + "_" + np.array(kind) + np.where(by_engine, "_engine", "")
        sms = rows["sms"].fillna(0.0).to_numpy(np.float64)
        return rows.assign(
            operator=operator,
            format=form,
            value_bytes=[WIRE_BYTES[name] for name in carried],
            low_latency=low_latency,
            kernel_sms=np.where(sms > 0, sms, DEFAULT_SMS),
        )

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        across = rows["node_num"].max() > 1
        engine = entry.operator.endswith("_engine")
        traits: dict[str, object] = {"sms": DEFAULT_SMS}
        if rows["low_latency"].any():
            names = (*LOW_LATENCY, *(("hop_s", "out_efficiency") if across else ("expert_s",)))
            names = (*names, "floor_s") if engine else names
            traits = {"low_latency": True, "sms": float(hardware.streaming_multiprocessors)}
        elif across:
            beyond = rows["node_num"].max() > NODE_LIMIT
            names = (*ACROSS_NODES, "spine_efficiency") if beyond else ACROSS_NODES
        else:
            names = IN_ENGINE if engine else ONE_NODE
        box = {name: BOX[name] for name in names}
        fastest = float(rows["latency_us"].min()) * 1e-6
        box["t0_s"] = box["t0_s"]._replace(start=min(max(0.8 * fastest, 2e-6), 9e-4))
        if "floor_s" in box:
            low = float(np.percentile(rows["latency_us"], 10)) * 1e-6
            box["floor_s"] = box["floor_s"]._replace(start=min(max(low, 2e-6), 1.9e-3))
        return Recipe(box, traits)

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        return ((Change({"adds": True}),),)

    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        tokens, hidden, value_bytes, sms = floats(
            rows, "num_tokens", "hidden_size", "value_bytes", "kernel_sms"
        )
        ranks, nodes = floats(rows, "ep_size", "node_num")
        low_latency = bool(rows["low_latency"].any())
        group = Group(ranks / nodes, nodes)
        routing = _routing(rows, limited=not low_latency)
        fabric = Fabric.of(hardware.scale_up, hardware.scale_out, hardware.gpus_per_node)

        def predict(constants: ExchangeConstants) -> Array:
            used = constants if low_latency else replace(constants, sms=sms)  # type: ignore[arg-type]
            cost = exchange(
                tokens, hidden * value_bytes, group=group, routing=routing, fabric=fabric, constants=used
            )
            return np.asarray(cost.time_s)

        return predict


def _routing(rows: pd.DataFrame, *, limited: bool) -> Routing:
    """Expected ranks and nodes of a token's experts, the router's limit of nodes kept."""
    ranks, nodes, count, topk = floats(rows, "ep_size", "node_num", "num_experts", "topk")
    reached = np.minimum(nodes, NODE_LIMIT) if limited else nodes
    within = count * reached / nodes
    to_ranks, to_nodes = np.empty(len(rows)), np.empty(len(rows))
    for k in np.unique(topk):
        used = topk == k
        to_ranks[used] = distinct_groups((reached * ranks / nodes)[used], within[used], int(k))
        to_nodes[used] = distinct_groups(reached[used], within[used], int(k))
    return Routing(count, topk, to_ranks, to_nodes)  # type: ignore[arg-type]  # topk by row
