"""Requests of a workload: lengths and arrivals, drawn or recorded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import CONSTANT, OPEN, TRACE, Lengths, Trace, Workload
from autoparallel.performance.serving.prefix_cache import cached_tokens

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


def draw(workload: Workload, count: int, *, share: float, cache_tokens: float, seed: int) -> Requests:
    """Requests of one of several equal instances.

    Parameters
    ----------
    workload : Workload
        What the whole deployment serves.
    count : int
        Requests; a trace is repeated until there are that many.
    share : float
        Share of the deployment's arrivals that this instance takes. [1]
    cache_tokens : float
        Room of the prefix cache. [tokens]
    seed : int
        Of the random generator.
    """
    random = np.random.default_rng(seed)
    arrival_s = _arrivals(workload, count, share, random)
    trace = workload.trace
    if trace is not None:
        rows = np.arange(count) % len(trace.arrival_s)
        prompts, outputs = np.array(trace.prompt_tokens)[rows], np.array(trace.output_tokens)[rows]
        cached = _cached(trace, cache_tokens)[rows]
    else:
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


def sample(lengths: Lengths, count: int, random: np.random.Generator) -> Integers:
    """Draw lengths. [tokens]"""
    if lengths.points:
        shares, tokens = np.array(lengths.points).T
        drawn = np.rint(np.interp(random.random(count), shares, tokens))
        return np.asarray(np.maximum(drawn, 1.0), dtype=np.int64)
    return np.asarray(random.integers(lengths.min, lengths.max + 1, size=count), dtype=np.int64)


def _arrivals(workload: Workload, count: int, share: float, random: np.random.Generator) -> Array:
    """Times of arrival; all zero where the load itself decides them."""
    if workload.mode != OPEN:
        return np.zeros(count)
    trace = workload.trace
    rate = (workload.request_rate_per_s or (trace.rate_per_s if trace else 1.0)) * share
    if workload.arrivals == TRACE and trace is not None:
        times = np.array(trace.arrival_s)
        rounds, rows = np.divmod(np.arange(count), len(times))
        whole = times[-1] + 1.0 / trace.rate_per_s
        return np.asarray((rounds * whole + times[rows]) * (trace.rate_per_s / rate))
    if workload.arrivals == CONSTANT:
        return np.asarray(np.arange(count) / rate)
    return np.asarray(np.cumsum(random.exponential(1.0 / rate, size=count)))


def _cached(trace: Trace, cache_tokens: float) -> Integers:
    if not trace.prefix_blocks:
        return np.zeros(len(trace.arrival_s), dtype=np.int64)
    return np.array(cached_tokens(trace.prefix_blocks, cache_tokens), dtype=np.int64)
