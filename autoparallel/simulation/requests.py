"""Requests of a workload: lengths and arrivals, drawn or recorded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import CONSTANT, OPEN, TRACE, Lengths, Trace, Workload
from autoparallel.performance.serving.prefix_cache import prefix_reuse
from autoparallel.performance.serving.router import routed

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Requests(NamedTuple):
    """Columns of requests, in the order of their arrival.

    ``cached_tokens`` of a prompt are found in the prefix cache. [s], [tokens]
    """

    arrival_s: Array
    prompt_tokens: Integers
    output_tokens: Integers
    cached_tokens: Integers

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.arrival_s)

    @property
    def cached_share(self) -> float:
        """Share of all prompt tokens that the cache holds. [1]"""
        return float(self.cached_tokens.sum() / self.prompt_tokens.sum())


class Share(NamedTuple):
    """What one of several equal instances takes of a deployment's requests: a router sends each to any of
    them at random, and there to one of its data parallel ``ranks``, whose prefix cache has ``room_tokens``.
    """  # noqa: D205

    replicas: int = 1
    ranks: int = 1
    room_tokens: float = 0.0


def draw(workload: Workload, count: int, share: Share, seed: int) -> Requests:
    """Requests of one instance.

    Parameters
    ----------
    workload : Workload
        What the whole deployment serves.
    count : int
        Requests; a trace is repeated until there are that many.
    share : Share
        The instance's.
    seed : int
        Of the random generator.
    """
    random = np.random.default_rng(seed)
    trace = workload.trace
    if trace is not None:
        rounds, rows, cached = _recorded(trace, count, share, seed)
        prompts, outputs = np.array(trace.prompt_tokens)[rows], np.array(trace.output_tokens)[rows]
    if trace is not None and workload.mode == OPEN and workload.arrivals == TRACE:
        arrival_s = _recorded_arrivals(workload, trace, rounds, rows)
    else:
        arrival_s = _arrivals(workload, count, share.replicas, random)
    if trace is None:
        prompts = sample(workload.prompt_tokens, count, random)
        outputs = sample(workload.output_tokens, count, random)
        cached = np.zeros(count, dtype=np.int64)
    assumed = np.floor(prompts * workload.cached_share).astype(np.int64)
    # The last token of a prompt is always computed: its logits are needed.
    cached = np.minimum(np.maximum(cached, assumed), prompts - 1)
    return Requests(arrival_s, prompts, outputs, cached)


def underway(requests: Requests, count: int) -> Requests:
    """The first ``count`` as if they were met on their way: even shares of their outputs are left."""
    left = (np.arange(count) + 0.5) / count
    outputs = requests.output_tokens.copy()
    outputs[:count] = np.maximum(np.ceil(outputs[:count] * left[: len(outputs)]), 1)
    return requests._replace(output_tokens=outputs)


def _recorded(trace: Trace, count: int, share: Share, seed: int) -> tuple[Integers, Integers, Integers]:
    """Round, row and cached tokens of a trace's requests, one replica's part after the other's.

    So every request is served once before any is again.
    """
    streams, size = share.replicas * share.ranks, len(trace.arrival_s)
    replica = routed(trace, streams, seed) // share.ranks
    cycle, place = np.divmod(np.arange(count), size)
    rows = np.argsort(replica, kind="stable")[place]
    cached = np.zeros(size, dtype=np.int64)
    if trace.prefix_blocks:
        cached = prefix_reuse(trace, streams, seed).cached_tokens(share.room_tokens, size)
    return cycle * share.replicas + replica[rows], rows, cached[rows]


def _recorded_arrivals(workload: Workload, trace: Trace, rounds: Integers, rows: Integers) -> Array:
    """The trace's times, stretched to the deployment's rate. [s]"""
    times, rate = np.array(trace.arrival_s), workload.request_rate_per_s or trace.rate_per_s
    whole = times[-1] + 1.0 / trace.rate_per_s
    return np.asarray((rounds * whole + times[rows]) * (trace.rate_per_s / rate))


def sample(lengths: Lengths, count: int, random: np.random.Generator) -> Integers:
    """Draw lengths. [tokens]"""
    if lengths.points:
        shares, tokens = np.array(lengths.points).T
        drawn = np.rint(np.interp(random.random(count), shares, tokens))
        return np.asarray(np.maximum(drawn, 1.0), dtype=np.int64)
    return np.asarray(random.integers(lengths.min, lengths.max + 1, size=count), dtype=np.int64)


def _arrivals(workload: Workload, count: int, replicas: int, random: np.random.Generator) -> Array:
    """Times of arrival; all zero where the load itself decides them."""
    if workload.mode != OPEN:
        return np.zeros(count)
    trace = workload.trace
    rate = workload.request_rate_per_s or (trace.rate_per_s if trace else 1.0)
    if workload.arrivals == CONSTANT:
        # Others take those between.
        turns = np.cumsum(random.geometric(1.0 / replicas, size=count))
        return np.asarray((turns - turns[0]) / rate)
    return np.asarray(np.cumsum(random.exponential(replicas / rate, size=count)))
