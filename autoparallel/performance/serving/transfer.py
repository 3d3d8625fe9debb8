"""Moving a prompt's KV cache from a prefill instance to a decode instance.

It starts when the prompt is done (nothing is hidden behind its last layers) and runs over the links
between nodes, every GPU over its own share of the NICs: instances may be on any nodes. A decode rank takes
what it needs of the KV cache from the prefill ranks that hold it, however the two are cut; where decode
ranks hold the same heads, or MLA's latent, each takes a copy of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import AttentionDegrees, PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.serving.capacity import kv_sequence_bytes
from autoparallel.performance.serving.instances import by_stages
from autoparallel.performance.stages import distinct_stages, whole_model

Array = npt.NDArray[np.float64]


class KvSides(NamedTuple):
    """What a request's KV cache asks of the GPUs of each layout, as its sender and as its receiver.

    Attributes
    ----------
    sent_bytes : Array
        By the GPU that sends most, for one copy. [bytes]
    received_bytes : Array
        By the GPU that receives most. [bytes]
    copies : Array
        Of the whole KV cache that all GPUs together receive. [1]
    ranks : Array
        Data parallel ranks, which take turns. [1]
    bandwidth_bytes_per_s, latency_s : float
        Of a GPU's link between nodes.
    """

    sent_bytes: Array
    received_bytes: Array
    copies: Array
    ranks: Array
    bandwidth_bytes_per_s: float
    latency_s: float

    def rows(self, rows: npt.NDArray[np.int64]) -> KvSides:
        """Some layouts."""
        columns = {name: getattr(self, name)[rows] for name in self._fields[:4]}
        return self._replace(**columns)


def kv_sides(machine: Machine, table: PlanTable) -> KvSides:
    """What moving the KV cache of a mean prompt asks of the GPUs of each layout."""
    tokens = machine.workload.prompt_tokens.mean
    single = AttentionPart(machine, AttentionDegrees(1.0, 1.0, 1.0, False, False, 1.0, 1.0))
    whole = float(kv_sequence_bytes(single, whole_model(machine.model), tokens))
    sent, received, copies = (np.zeros(len(table.tp)) for _ in range(3))
    for layers, rows in by_stages(machine, table):
        attention, _ = table.rows(rows).split()
        part = AttentionPart(machine, attention._replace(microbatch=attention.dp, batch=attention.dp))
        holders = attention.tp * attention.cp
        for stage, _ in distinct_stages(machine.model, layers):
            own = kv_sequence_bytes(part, stage, tokens)
            received[rows] = np.maximum(received[rows], own)
            sent[rows] = np.maximum(sent[rows], kv_sequence_bytes(single, stage, tokens) / holders)
        copies[rows] = kv_sequence_bytes(part, whole_model(machine.model), tokens) * holders / whole
    link = machine.fabric.out
    return KvSides(
        sent, received, copies, np.asarray(table.dp), float(link.bandwidth_bytes_per_s), link.latency_s
    )


def transfer_s(sender: KvSides, receiver: KvSides) -> Quantity:
    """From a prefill to a decode instance: the slower side sets the pace. [s]"""
    send_s = sender.sent_bytes * receiver.copies / sender.bandwidth_bytes_per_s
    receive_s = receiver.received_bytes / receiver.bandwidth_bytes_per_s
    return np.maximum(send_s, receive_s) + max(sender.latency_s, receiver.latency_s)


def most_sent_per_s(sender: KvSides, copies: Quantity) -> Quantity:
    """Requests whose KV cache a prefill instance can send, its links never idle. [1/s]"""
    return sender.ranks * sender.bandwidth_bytes_per_s / (sender.sent_bytes * copies)


def most_received_per_s(receiver: KvSides) -> Quantity:
    """Requests whose KV cache a decode instance can receive, its links never idle. [1/s]"""
    return receiver.ranks * receiver.bandwidth_bytes_per_s / receiver.received_bytes
