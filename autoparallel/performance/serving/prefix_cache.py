r"""A prefix cache that forgets what was used least recently, at all of its sizes at once.

A block is found where the cache has room for it and for all that were used since: its reuse distance. One
pass over a trace gives the distances of all blocks, and so the hits of every size. Of a prompt's blocks the
last are forgotten first, as engines do, so what is found is always the start of a prompt.

Every replica, and every data parallel rank of it, has a cache of its own, and sees its share of the requests
alone (:mod:`router`).

References
----------
Mattson, Gecsei, Slutz, Traiger, "Evaluation techniques for storage hierarchies", IBM Systems Journal 9(2),
1970, doi:10.1147/sj.92.0078; Claude, Navarro, Ordóñez, "The wavelet matrix", Information Systems 47, 2015,
doi:10.1016/j.is.2014.06.002 (counts in ranges).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import PREFIX_BLOCK, Trace, Workload
from autoparallel.performance.serving.router import routed

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class PrefixReuse(NamedTuple):
    """Blocks of all prompts: the request of each, the cache that would hold it, and its tokens.

    ``needed`` is a number of blocks; a block that was never used before has one beyond all.
    """

    rows: Integers
    needed: Integers
    tokens: Integers

    def cached_tokens(self, room_tokens: float, requests: int) -> Integers:
        """Tokens of each request's prompt that a cache holds when it arrives."""
        room = min(int(room_tokens // PREFIX_BLOCK), len(self.needed))
        found = np.where(self.needed <= room, self.tokens, 0)
        return np.bincount(self.rows, found, minlength=requests).astype(np.int64)


@lru_cache(maxsize=1)
def prefix_reuse(trace: Trace, streams: int = 1, seed: int = 0) -> PrefixReuse:
    """Caches that every block of a trace's prompts needs, the requests routed to so many streams.

    Examples
    --------
    >>> lengths = {"prompt_tokens": (1024,) * 3, "output_tokens": (1,) * 3}
    >>> prompts = ((1, 2), (1, 3), (1, 2))
    >>> trace = Trace(name="t", arrival_s=(0.0,) * 3, **lengths, prefix_blocks=prompts)
    >>> prefix_reuse(trace).cached_tokens(10 * 512, 3).tolist()
    [0, 512, 1024]
    >>> prefix_reuse(trace).cached_tokens(2 * 512, 3).tolist()
    [0, 512, 512]
    """
    stream = routed(trace, streams, seed)
    order = np.argsort(stream, kind="stable")
    numbers, starts = _numbered(trace)
    counts = np.diff(starts)[order]
    first = np.repeat(np.cumsum(counts) - counts, counts)
    rows, place = np.repeat(order, counts), np.arange(len(numbers)) - first
    blocks = numbers[starts[rows] + place]
    last_first = first + np.repeat(counts, counts) - 1 - place
    used = np.empty_like(blocks)
    used[last_first] = blocks * streams + stream[rows]
    before = _used_before(used)
    own = before[last_first]
    since = _count(before + 1, first, own + 1) - (own + 1)
    never = len(blocks) + 1
    needed = np.where((own >= 0) & (own < first), since + 1, never)
    # The start of a prompt has to be found for what follows to be.
    base = np.repeat(np.arange(len(counts)), counts) * (never + 1)
    needed = np.maximum.accumulate(needed + base) - base
    tokens = np.clip(np.array(trace.prompt_tokens)[rows] - place * PREFIX_BLOCK, 0, PREFIX_BLOCK)
    return PrefixReuse(rows, needed, tokens)


@lru_cache(maxsize=1)
def _numbered(trace: Trace) -> tuple[Integers, Integers]:
    """All blocks by small numbers, and where each request's begin."""
    number: dict[int, int] = {}
    blocks = [number.setdefault(block, len(number)) for block in chain.from_iterable(trace.prefix_blocks)]
    starts = np.cumsum([0, *(len(blocks) for blocks in trace.prefix_blocks)])
    return np.array(blocks, dtype=np.int64), starts.astype(np.int64)


def _used_before(used: Integers) -> Integers:
    """Where each was used the last time before; -1 where never."""
    order = np.argsort(used, kind="stable")
    before = np.full(len(used), -1)
    same = used[order[1:]] == used[order[:-1]]
    before[order[1:][same]] = order[:-1][same]
    return before


def _count(values: Integers, ends: Integers, most: Integers) -> Integers:
    """How many of the first ``ends`` values are at most ``most``, for many of both."""
    found, start, end = np.zeros_like(ends), np.zeros_like(ends), ends
    for bit in reversed(range(int(values.max(initial=0)).bit_length())):
        ones = (values >> bit & 1).astype(bool)
        zeros = np.concatenate([[0], np.cumsum(~ones)])
        low, high = zeros[start], zeros[end]
        larger = (most >> bit & 1).astype(bool)
        found = found + np.where(larger, high - low, 0)
        start = np.where(larger, zeros[-1] + start - low, low)
        end = np.where(larger, zeros[-1] + end - high, high)
        values = np.concatenate([values[~ones], values[ones]])
    return found + end - start


@lru_cache(maxsize=16)
def _hits(trace: Trace, streams: int) -> tuple[Integers, Array]:
    """Sizes of a stream's cache, and the share of all prompt tokens that is found from each size on."""
    reuse = prefix_reuse(trace, streams)
    sizes, size = np.unique(reuse.needed, return_inverse=True)
    total = float(sum(trace.prompt_tokens))
    shares = np.cumsum(np.bincount(size, reuse.tokens, minlength=len(sizes))) / total
    known = sizes <= len(reuse.needed)
    # The last token of a prompt is always computed.
    return sizes[known], np.minimum(shares[known], 1.0 - 1.0 / total)


def cached_share(workload: Workload, streams: Array, room_tokens: Array) -> Array:
    """Share of the prompts that prefix caches hold: assumed, or a trace's in the room there is.

    Parameters
    ----------
    workload : Workload
        What the whole deployment serves.
    streams : Array
        Caches that it is served by, of each plan. [1]
    room_tokens : Array
        Room of each of them. [tokens]
    """
    assumed, trace = np.full(len(room_tokens), workload.cached_share), workload.trace
    if trace is None or not trace.prefix_blocks:
        return assumed
    # Exact where the streams are a power of two; between, hits fall evenly with the logarithm.
    doubled = np.log2(streams)
    low, part = np.floor(doubled), doubled % 1.0
    found = np.zeros(len(room_tokens))
    for rows, power, weight in ((part < 1.0, low, 1.0 - part), (part > 0.0, low + 1.0, part)):
        for each in np.unique(power[rows]):
            own = rows & (power == each)
            sizes, shares = _hits(trace, 1 << int(each))
            fit = np.searchsorted(sizes, np.floor(room_tokens[own] / PREFIX_BLOCK), side="right")
            found[own] += weight[own] * np.concatenate([[0.0], shares])[fit]
    return np.asarray(np.maximum(assumed, found))
