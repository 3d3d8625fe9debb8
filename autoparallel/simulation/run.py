"""Simulates a plan under its workload, beside what the analysis says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import PERCENTILES
from autoparallel.domain.workload import CLOSED, OPEN, STATIC
from autoparallel.domain.workload import Lengths as Tokens
from autoparallel.errors import Fault, LayoutError, ProblemError
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine
from autoparallel.performance.notes import calibration_notes
from autoparallel.performance.rate import rate
from autoparallel.performance.serving import EngineConstants, engine_of
from autoparallel.performance.serving.capacity import capacity
from autoparallel.performance.serving.engine import decode_share, own_pair
from autoparallel.performance.serving.step import StepTimes
from autoparallel.performance.serving.step_costs import Lengths, StepModel
from autoparallel.simulation.requests import Requests, Share, draw, underway
from autoparallel.simulation.scheduler import Limits, Outcome, Scheduler
from autoparallel.simulation.step_table import StepTable
from autoparallel.simulation.uncertainty import mean_error, rate_error

Array = npt.NDArray[np.float64]
SCHEMA = "autoparallel.simulation/1"
# Share of the requests at either end that the steady state is not measured on.
EDGE = 0.1
# Equal outputs of a closed loop are drawn within this share of their length: if not, more and more of them
# would start together and stay so, which measured engines do not (docs/serving.md).
MIXED = 0.05

# Shares of the requests at which their times are kept.
SHARES = (*(step / 50 for step in range(1, 50)), 0.99, 0.995)


def _quantiles(values: Array) -> tuple[float, ...]:
    known = values[np.isfinite(values)]
    return tuple(np.quantile(known, SHARES).tolist()) if len(known) else ()


def _within(tokens: int, share: float) -> Tokens:
    """Lengths around one, evenly. [tokens]"""
    width = round(share * tokens)
    return Tokens(kind="uniform", min=max(tokens - width, 1), max=tokens + width)


def _between_edges(end_s: Array, started: int) -> tuple[npt.NDArray[np.int64], float]:
    """Requests that end between the edges of a run, in the order of their ends, and how long that is. [s]

    A run begins once all have ended that were on their way.
    """
    order = np.argsort(end_s, kind="stable")[: int(np.isfinite(end_s).sum())]
    ends = end_s[order]
    first, last = (int(share * (len(ends) - 1)) for share in (EDGE, 1 - EDGE))
    own = np.flatnonzero(order < started)
    first = max(first, int(own[-1])) if len(own) else first
    if first >= last:
        return order, max(float(ends[-1]), 1e-9)
    return order[first + 1 : last + 1], max(float(ends[last] - ends[first]), 1e-9)


@dataclass(frozen=True)
class Figures:
    """A time of all requests: mean, the standard error of that, and percentiles. [s]"""

    mean: float
    standard_error: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Array) -> Figures:
        """Of the values that are numbers, in the order of their times; not a number where there are none."""
        known = values[np.isfinite(values)]
        if not len(known):
            return cls(*[float("nan")] * 5)
        return cls(
            float(known.mean()),
            mean_error(known),
            *(float(np.percentile(known, share)) for share in (50, 90, 99)),
        )


@dataclass(frozen=True)
class Simulation:
    """What one instance did with its requests, and what the analysis expects.

    Attributes
    ----------
    ttft_s, tpot_s, e2e_s : Figures
        Over the requests between the edges of the run. [s]
    requests_per_s, output_tokens_per_s_per_gpu : float
        Throughput between the edges. [1/s]
    requests_per_s_error, output_tokens_per_s_per_gpu_error : float
        Standard errors of these. [1/s]
    goodput_fraction : float
        Requests that meet every required time, of all. [1]
    analysis : dict
        The same of the analysis: means and percentiles by name (``ttft_s``, ``ttft_p99_s``),
        ``requests_per_s``, ``output_tokens_per_s_per_gpu``, ``goodput_fraction``, ``capacity`` and
        ``stable_requests_per_s`` of the instance.
    warnings : tuple of str
        What makes the figures less than a steady state.
    shares, ttft_cdf_s, tpot_cdf_s : tuple of float
        Shares of the requests, and the times that they do not exceed. [1], [s]
    """

    engine: str
    layout: dict[str, Any]
    requests: int
    seed: int
    simulated_s: float
    steps: int
    rejected: int
    preempted: int
    ttft_s: Figures
    tpot_s: Figures
    e2e_s: Figures
    requests_per_s: float
    requests_per_s_error: float
    output_tokens_per_s_per_gpu: float
    output_tokens_per_s_per_gpu_error: float
    goodput_fraction: float
    analysis: dict[str, float]
    warnings: tuple[str, ...]
    shares: tuple[float, ...]
    ttft_cdf_s: tuple[float, ...]
    tpot_cdf_s: tuple[float, ...]

    def means(self) -> dict[str, float]:
        """Means and percentiles by the names that the analysis has for them."""
        found = {"goodput_fraction": self.goodput_fraction, "requests_per_s": self.requests_per_s}
        for time, figures in (("ttft", self.ttft_s), ("tpot", self.tpot_s), ("e2e", self.e2e_s)):
            found |= {f"{time}_{mark}_s": getattr(figures, mark) for mark in PERCENTILES}
            found[f"{time}_s"] = figures.mean
        return found

    def to_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        return {"schema": SCHEMA, **asdict(self)}


def require_simulable(problem: Problem) -> None:
    """Refuse a workload that the simulation does not know.

    Raises
    ------
    ProblemError
        The workload is static, or decodes by speculation.
    """
    if problem.workload.speculation is not None:
        message = "is not simulated: a step of the simulation yields a token of every sequence; drop it"
        raise ProblemError([Fault(message, key="workload.speculation")])
    if problem.workload.mode == STATIC:
        message = 'a static batch has no queue to simulate; use mode = "closed", "open" or "saturated"'
        raise ProblemError([Fault(message, key="workload.mode")])


def simulate(
    problem: Problem,
    layout: Layout,
    *,
    requests: int = 10_000,
    seed: int = 0,
    engine: str | None = None,
    batch: int | None = None,
    chunk: int | None = None,
) -> Simulation:
    """Serve requests with one instance of a plan.

    Parameters
    ----------
    problem : Problem
        Its workload is batched continuously.
    layout : Layout
        Arrivals go to its replicas at random; one of these is simulated.
    requests : int
        How many that one serves.
    seed : int
        Of lengths and arrivals.
    engine : str, optional
        By default the problem's, or vLLM.
    batch, chunk : int, optional
        Sequences in service of the instance at most, and tokens of a step of a data parallel rank; by
        default the engine's own.

    Raises
    ------
    ProblemError
        The workload is static, or the engine is not known.
    LayoutError
        The KV space of the plan holds no request, or a step has too few tokens for the sequences.
    """
    require_simulable(problem)
    if engine is not None:
        problem = replace(problem, engine=engine)
    own = engine_of(problem)
    pair = own_pair(problem, layout, batch, chunk)
    if decode_share(problem, pair.batch / layout.dp, pair.chunk or np.inf) > 1.0:
        raise LayoutError([f"a step of {pair.chunk} tokens is too short for the {pair.batch} sequences"])
    return _Run(problem, layout, pair, own).result(requests, seed)


class _Run:
    def __init__(self, problem: Problem, layout: Layout, pair: Pair, engine: EngineConstants) -> None:
        self.problem, self.layout, self.pair, self.engine = problem, layout, pair, engine
        self.workload = problem.workload
        self.machine = Machine(problem)
        chunk = pair.chunk or engine.max_num_batched_tokens
        self.table = PlanTable.of([layout], [pair.batch], [pair.microbatch], [chunk])
        stages = layout.layers_of_stages(problem.model.num_hidden_layers)
        self.times = StepTimes(self.machine, self.table, stages, engine)
        self.lengths = Lengths(
            self.workload.prompt_tokens.mean,
            self.workload.output_tokens.mean,
            float(chunk),
            self.workload.cached_share,
        )
        longest = self.machine.longest_sequence
        room = capacity(self.machine, self.table, stages, engine, longest)
        self.kv_tokens = float(np.asarray(room.sequences).max()) * longest
        shortest = self.workload.prompt_tokens.min + self.workload.output_tokens.min
        self.rank_tokens = self.kv_tokens / layout.dp * (1.0 + 1e-9)
        if self.rank_tokens < shortest:
            raise LayoutError(
                [
                    f"the KV space of a rank holds {self.rank_tokens:,.0f} tokens, "
                    f"and the shortest request has {shortest:,}"
                ]
            )

    def limits(self) -> Limits:
        """What bounds the instance."""
        engine, layout = self.engine, self.layout
        concurrency = None
        if self.workload.mode == CLOSED:
            concurrency = max(round((self.workload.concurrency or 1) / layout.replicas), 1)
        return Limits(
            sequences=self.pair.batch,
            step_tokens=int(self.lengths.step_tokens) * layout.dp * layout.pp,
            piece_tokens=int(self.lengths.step_tokens),
            kv_tokens=self.kv_tokens,
            longest_tokens=self.rank_tokens,
            reserves_longest=engine.reserves_longest,
            prompts_alone=engine.prompts_first,
            concurrency=concurrency,
            delay_s=engine.base_ttft_s,
        )

    def result(self, count: int, seed: int) -> Simulation:
        """Run and measure."""
        limits, workload = self.limits(), self.workload
        if self._equal() and not limits.prompts_alone:
            workload = replace(workload, output_tokens=_within(workload.output_tokens.max, MIXED))
        replicas, ranks = self.layout.replicas, self.layout.dp
        drawn = draw(workload, count, Share(replicas, ranks, self.kv_tokens / ranks), seed)
        model = StepModel(self.times, self.engine, self.table, self.lengths)
        most = min(limits.sequences, max(int(self.kv_tokens), 1), limits.concurrency or count)
        table = StepTable(
            self.times,
            model,
            most_sequences=most,
            most_tokens=limits.step_tokens,
            longest=int(self.machine.longest_sequence),
        )
        started = self._started(limits)
        drawn = underway(drawn, started)
        outcome = Scheduler(table, limits, drawn, seed).run()
        return self._measured(outcome, drawn, started, seed)

    def _started(self, limits: Limits) -> int:
        """Requests that are met on their way: those that would otherwise all start at once.

        Where prompts come first what starts together stays together, as it does in engines; elsewhere
        measured engines mix, even where all requests are equal.
        """
        if self.workload.mode == OPEN or limits.prompts_alone:
            return 0
        room = int(self.kv_tokens / (self.lengths.isl + self.lengths.osl))
        return max(min(limits.sequences, limits.concurrency or limits.sequences, room), 1)

    def _measured(self, outcome: Outcome, drawn: Requests, started: int, seed: int) -> Simulation:
        outputs = drawn.output_tokens.astype(np.float64)
        analysis = self.analysis()
        ttft_s = outcome.first_s - outcome.arrival_s + self.engine.base_ttft_s
        tpot_s = np.where(outputs > 1, (outcome.end_s - outcome.first_s) / np.maximum(outputs - 1, 1), np.nan)
        e2e_s = outcome.end_s - outcome.arrival_s + self.engine.base_ttft_s
        served = np.isfinite(outcome.end_s)
        order, span_s = _between_edges(outcome.end_s, started)
        counts, tokens = np.ones(len(order)), outputs[order] / self.layout.gpus_per_instance
        rates = [float(amounts.sum()) / span_s for amounts in (counts, tokens)]
        errors = [rate_error(outcome.end_s[order], amounts) for amounts in (counts, tokens)]
        return Simulation(
            engine=self.engine.name,
            layout=self.layout.to_dict(),
            requests=len(outputs),
            seed=seed,
            simulated_s=float(np.nanmax(outcome.end_s)),
            steps=outcome.steps,
            rejected=outcome.rejected,
            preempted=outcome.preempted,
            shares=SHARES,
            ttft_cdf_s=_quantiles(ttft_s[order]),
            tpot_cdf_s=_quantiles(tpot_s[order]),
            ttft_s=Figures.of(ttft_s[order]),
            tpot_s=Figures.of(tpot_s[order]),
            e2e_s=Figures.of(e2e_s[order]),
            requests_per_s=rates[0],
            requests_per_s_error=errors[0],
            output_tokens_per_s_per_gpu=rates[1],
            output_tokens_per_s_per_gpu_error=errors[1],
            goodput_fraction=self._goodput(ttft_s, tpot_s, e2e_s, served),
            analysis=analysis,
            warnings=(*self._warnings(outcome, analysis), *calibration_notes(self.problem)),
        )

    def _goodput(self, ttft_s: Array, tpot_s: Array, e2e_s: Array, served: npt.NDArray[np.bool_]) -> float:
        required = self.problem.requirements
        good = served.copy()
        for name, values in (("ttft", ttft_s), ("tpot", np.nan_to_num(tpot_s, nan=0.0)), ("e2e", e2e_s)):
            if (bound := required.bound(name)) is not None:
                good &= values <= bound
        trace = self.workload.trace
        # What is rejected before it reaches the engine's queue is not good either.
        return float(good.mean()) * (1.0 - (trace.rejected_share if trace else 0.0))

    def analysis(self) -> dict[str, float]:
        """What the steady state's analysis says of the same instance."""
        values = rate(self.machine, self.table)
        if values.serving is None:
            raise ValueError("a static batch is not simulated")
        replicas, osl = self.layout.replicas, self.workload.output_tokens.mean
        per_s = float(values.requests_per_s[0]) / replicas
        found = {
            "ttft_s": values.ttft_s,
            "tpot_s": values.tpot_s,
            **{name: column for name, column in values.serving._asdict().items() if name.endswith("_s")},
            "goodput_fraction": values.serving.goodput_fraction,
            "capacity": values.serving.capacity,
        }
        return {
            **{name: float(column[0]) for name, column in found.items() if not name.endswith("per_s")},
            "requests_per_s": per_s,
            "output_tokens_per_s_per_gpu": per_s * osl / self.layout.gpus_per_instance,
            "stable_requests_per_s": float(values.serving.stable_requests_per_s[0]) / replicas,
        }

    def _warnings(self, outcome: Outcome, analysis: dict[str, float]) -> list[str]:
        found = []
        if outcome.rejected:
            found.append(f"{outcome.rejected} requests are longer than the KV space and were rejected")
        if self._equal():
            found.append(self._together())
        if self.workload.mode == OPEN and not np.isfinite(analysis["ttft_s"]):
            stable = analysis["stable_requests_per_s"] * self.layout.replicas
            found.append(
                "the rate is beyond saturation: the queue grows without end; "
                f"{stable:.4g} requests/s are stable"
            )
        return found

    def _equal(self) -> bool:
        """Whether requests of a closed loop could stay together, as all take as long."""
        outputs = self.workload.output_tokens
        return self.workload.mode == CLOSED and outputs.min == outputs.max

    def _together(self) -> str:
        """What is done about equally long outputs."""
        if self.engine.lockstep:
            return (
                "all outputs are equally long: those that start together stay together here, in the analysis "
                f"{self.engine.lockstep:.0%} of them do"
            )
        return (
            "all outputs are equally long: measured engines mix all the same, so here they are drawn within "
            f"{MIXED:.0%} of it"
        )
