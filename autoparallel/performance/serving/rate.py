"""Plans under a workload that is batched continuously, in the columns of every other plan."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.workload import OPEN
from autoparallel.performance.architecture import flops_per_token
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import Estimates, ServingColumns, estimate
from autoparallel.performance.machine import Machine
from autoparallel.performance.memory import MemoryRows
from autoparallel.performance.serving.capacity import capacity, held_memory
from autoparallel.performance.serving.length_mix import length_mix
from autoparallel.performance.serving.load import Load, ServingEstimates
from autoparallel.performance.serving.panel import (
    Bounds,
    Conditions,
    Panel,
    Spread,
    panel_of,
    request_times,
    spread,
)
from autoparallel.performance.serving.prefix_cache import cached_share
from autoparallel.performance.serving.router import arrival_scv
from autoparallel.performance.serving.steady import lengths_of, serve

Array = npt.NDArray[np.float64]
# Times in service never are quite equal: steps of all lengths lie between. [1]
LEAST_SCV = 0.02


def rate_served(machine: Machine, table: PlanTable, *, spreads: bool = True) -> Estimates:
    """Rate plans by the steady state of continuous batching.

    Parameters
    ----------
    machine : Machine
        Of a workload that is batched continuously.
    table : PlanTable
        Plans with the chunk of each.
    spreads : bool
        Whether percentiles and goodput are worked out; not numbers otherwise.
    """
    served = Served(machine, table)
    serving = served.serving(served.spread() if spreads else None)
    return Estimates(**served.columns(), **served.memory(), serving=serving)


class Served:
    """The steady state of a table of plans, and what follows from it."""

    def __init__(self, machine: Machine, table: PlanTable) -> None:
        if machine.engine is None or table.chunk is None:
            raise ValueError("a static batch has no steady state")
        self.machine, self.engine, self.table, self.chunk = machine, machine.engine, table, table.chunk
        self.workload = machine.workload
        self.panel: Panel = panel_of(self.workload)
        self.kv_tokens = self._kv_tokens()
        self.cached_share = self._cached_share()
        self.load = self._load()
        self.context = float(lengths_of(self.load, self.engine).context)
        self.steady: ServingEstimates = serve(machine, self.engine, table, self.load)

    def _kv_tokens(self) -> Array:
        """Room of an instance's KV cache. [tokens]"""
        longest = self.machine.longest_sequence
        room = np.empty(len(self.table.tp))
        for layers, rows in self.table.by_stages(self.machine.model.num_hidden_layers):
            some = capacity(self.machine, self.table.rows(rows), layers, self.engine, longest)
            room[rows] = some.sequences * longest
        return room

    def _cached_share(self) -> Array:
        """Share of the prompts that the prefix caches of all ranks hold. [1]"""
        dp = np.asarray(self.table.dp, dtype=np.float64)
        return cached_share(self.workload, self.table.replicas * dp, self.kv_tokens / dp)

    def _load(self) -> Load:
        workload, table = self.workload, self.table
        return Load(
            kind=workload.mode,
            isl=workload.prompt_tokens.mean,
            osl=workload.output_tokens.mean,
            concurrency=np.maximum((workload.concurrency or 1) / table.replicas, 1.0),
            rate_per_s=(workload.rate_per_s or 0.0) / table.replicas,
            arrival_scv=arrival_scv(workload, table.replicas),
            mix=length_mix(workload),
            max_num_seqs=table.batch / table.dp,
            max_num_batched_tokens=self.chunk,
            cached_share=self.cached_share,
        )

    def spread(self) -> Spread:
        """Percentiles and goodput."""
        asked = self.machine.problem.requirements
        limits = (asked.bound(time) for time in ("ttft", "tpot", "e2e"))
        bounds = Bounds(*(math.inf if limit is None else limit for limit in limits))
        return spread(self.panel, self.steady, self.conditions(), bounds)

    def conditions(self) -> Conditions:
        """What makes the requests of these plans differ."""
        load, steady = self.load, self.steady
        queue = np.asarray(load.concurrency) - steady.running
        return Conditions(
            kind=load.kind,
            isl=float(load.isl),
            chunk=self.chunk,
            cached_share=self.cached_share,
            interference=self.engine.interference,
            prompts_alone=self.engine.prompts_first,
            base_ttft_s=self.engine.base_ttft_s,
            pp=np.asarray(self.table.pp, dtype=np.float64),
            arrival_scv=np.full(
                len(queue), load.arrival_scv if load.kind == OPEN else min(load.service_scv, 1.0)
            ),
            queue_shape=np.maximum(queue, 1.0) / max(load.service_scv, LEAST_SCV),
        )

    def columns(self) -> dict[str, Array]:
        """The columns that static batches have too, of the whole deployment."""
        machine, table, steady, model = self.machine, self.table, self.steady, self.machine.model
        isl, osl = (float(length) for length in (self.load.isl, self.load.osl))
        slot = np.maximum(steady.running / table.pp, table.dp)
        as_static = estimate(machine, table._replace(batch=slot * table.pp, microbatch=slot))
        per_s = steady.requests_per_s * table.replicas
        run_s = steady.running / steady.requests_per_s
        per_ms_and_gpu = per_s / (as_static.gpus * 1e3)
        peak = machine.expert_gpu.peak_flops_per_s
        head = 2.0 * model.vocab_size * model.hidden_size
        computed = isl * (1.0 - self.cached_share)
        prefill_flops = computed * flops_per_token(model, isl) + head
        decode_flops = flops_per_token(model, 1.0, self.context, with_head=True)
        prefill_moved = as_static.prefill_bandwidth_utilisation * as_static.prefill_s / (slot * table.pp)
        return {
            "ttft_s": steady.ttft_s,
            "tpot_s": steady.tpot_s,
            "prefill_s": np.maximum(run_s - max(osl - 1.0, 0.0) * steady.tpot_s, 0.0),
            "run_s": run_s,
            "requests_per_s": per_s,
            "prefill_tokens_per_ms_per_gpu": per_ms_and_gpu * isl,
            "decode_tokens_per_ms_per_gpu": per_ms_and_gpu * osl,
            "total_tokens_per_ms_per_gpu": per_ms_and_gpu * (isl + osl),
            "prefill_mfu": per_ms_and_gpu * (1e3 / peak) * prefill_flops,
            "decode_mfu": per_ms_and_gpu * (1e3 / peak) * osl * decode_flops,
            "prefill_bandwidth_utilisation": np.minimum(prefill_moved * steady.requests_per_s, 1.0),
            "decode_bandwidth_utilisation": np.minimum(
                as_static.decode_bandwidth_utilisation * as_static.tpot_s / steady.tpot_s, 1.0
            ),
            "expert_ranks_per_token": as_static.expert_ranks_per_token,
            "expert_busy_share": as_static.expert_busy_share,
            "pipeline_bubble_share": np.zeros(len(per_s)),
            "gpus": as_static.gpus,
        }

    def memory(self) -> dict[str, Array]:
        """What the fullest GPU holds: the sequences in service, at least one that is as long as any."""
        table = self.table
        columns = np.empty((len(MemoryRows._fields), len(table.tp)))
        for layers, rows in table.by_stages(self.machine.model.num_hidden_layers):
            held = held_memory(
                self.machine, table.rows(rows), layers, self.engine, self.steady.running[rows], self.context
            )
            for column, values in zip(columns, held, strict=True):
                column[rows] = values
        return dict(zip(MemoryRows._fields, columns, strict=True))

    def _too_long(self) -> Array:
        """Share of the requests that are rejected, by the engine or for a rank's KV cache. [1]"""
        trace, panel = self.workload.trace, self.panel
        lengths, rejected = panel.prompt + panel.output, 0.0
        if trace is not None:
            lengths = np.array(trace.prompt_tokens) + np.array(trace.output_tokens, dtype=np.float64)
            rejected = trace.rejected_share
        # What fills the cache to the last token fits, whatever rounding says.
        room = self.kv_tokens / np.asarray(self.table.dp) * (1.0 + 1e-9)
        held = np.searchsorted(np.sort(lengths), room, side="right") / len(lengths)
        return np.asarray(1.0 - held * (1.0 - rejected))

    def serving(self, spread_s: Spread | None) -> ServingColumns:
        """The columns that continuous batching adds; what needs a spread is not a number without one."""
        steady, replicas = self.steady, self.table.replicas
        nothing = np.full(len(replicas), np.nan)
        percentiles = {} if spread_s is None else spread_s.percentiles
        too_long = self._too_long()
        good = nothing if spread_s is None else spread_s.good * (1.0 - too_long)
        own = {
            "capacity": steady.capacity,
            "running": steady.running,
            "queue_s": steady.queue_s,
            "e2e_s": steady.e2e_s,
            "goodput_fraction": good,
            "goodput_requests_per_s": good * steady.requests_per_s * replicas,
            "stable_requests_per_s": steady.stable_requests_per_s * replicas,
            "too_long_fraction": too_long,
            "recomputed_tokens": steady.recomputed_tokens,
        }
        names = ServingColumns._fields
        return ServingColumns(
            *(own[name] if name in own else percentiles.get(name, nothing) for name in names)
        )


def times_of_requests(machine: Machine, layout: Layout, pair: Pair) -> tuple[Array, Array, Array]:
    """TTFT, TPOT and time to the last token of the panel's requests under one plan, each sorted. [s]"""
    chunk = [] if pair.chunk is None else [pair.chunk]
    served = Served(machine, PlanTable.of([layout], [pair.batch], [pair.microbatch], chunk))
    ttft_s, tpot_s, e2e_s = request_times(served.panel, served.steady, served.conditions())
    return np.sort(ttft_s[0]), np.sort(tpot_s[0]), np.sort(e2e_s[0])
