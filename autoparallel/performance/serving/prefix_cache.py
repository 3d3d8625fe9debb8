"""A prefix cache that forgets what was used least recently."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from autoparallel.domain.workload import PREFIX_BLOCK


def cached_tokens(prompts: Sequence[Sequence[int]], capacity_tokens: float) -> list[int]:
    """Tokens of each prompt that the cache holds when it arrives.

    Parameters
    ----------
    prompts : sequence of sequences of int
        Hashes of the blocks of every prompt, each of a block and all before it.
    capacity_tokens : float
        Room of the cache. [tokens]

    Examples
    --------
    >>> cached_tokens([(1, 2), (1, 3), (1, 2)], 10 * 512)
    [0, 512, 1024]
    >>> cached_tokens([(1, 2), (1, 3), (1, 2)], 2 * 512)
    [0, 512, 512]
    """
    room = int(capacity_tokens // PREFIX_BLOCK)
    cache: OrderedDict[int, None] = OrderedDict()
    found = []
    for blocks in prompts:
        hits = 0
        for block in blocks:
            if block not in cache:
                break
            hits += 1
        found.append(hits * PREFIX_BLOCK)
        for block in blocks:
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > room:
            cache.popitem(last=False)
    return found
