"""Which batches, microbatches and chunks a search may visit."""

from __future__ import annotations

from collections.abc import Iterable

from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.domain.search_space import CHUNKS
from autoparallel.domain.workload import STATIC
from autoparallel.errors import Fault, ProblemError
from autoparallel.solver.candidates import divisors

__all__ = ["Pair", "PairSpace"]

# Without a concurrency: the largest batch that is tried by default, and those of continuous batching.
# [sequences]
LARGEST_BATCH, SERVED_BATCHES = 256, (8, 16, 32, 64, 128, 256, 512, 1024)
# Pairs of a search at most; each is a model of its own.
MAX_PAIRS = 1000


class PairSpace:
    """The domain of the tuner.

    By default a batch is a divisor of the concurrency or a power of two up to it (powers of two up to
    256 without a concurrency, 8 to 1,024 in continuous batching). What goes with it is, in a static
    batch, a microbatch that divides it; in continuous batching the tokens of a step. Where that makes more
    than 1,000 pairs, a batch is the concurrency or a power of two. The problem may name others.

    Attributes
    ----------
    batches : tuple of int
        Candidates, smallest first.
    pairs : tuple of Pair
        Every pair of the domain.

    Raises
    ------
    ProblemError
        The problem's own batches and what goes with them make more than 1,000 pairs.
    """

    def __init__(self, problem: Problem) -> None:
        self._microbatches = problem.search.microbatch
        self._chunks: tuple[int, ...] = ()
        if problem.workload.mode != STATIC:
            self._chunks = tuple(sorted(set(problem.search.chunk or CHUNKS)))
        self._take(problem.search.batch or _default_batches(problem))
        if len(self.pairs) > MAX_PAIRS and problem.search.batch is None:
            self._take((*_powers(self.batches[-1]), self.batches[-1]))
        if len(self.pairs) > MAX_PAIRS:
            second = "chunk" if self._chunks else "microbatch"
            message = (
                f"makes {len(self.pairs):,} pairs with search.{second}, of at most {MAX_PAIRS:,}: list fewer"
            )
            raise ProblemError([Fault(message, key="search.batch")])

    def _take(self, batches: Iterable[int]) -> None:
        self.batches = tuple(batch for batch in sorted(set(batches)) if self.of_batch(batch))
        self.pairs = tuple(pair for batch in self.batches for pair in self.of_batch(batch))

    def of_batch(self, batch: int) -> tuple[Pair, ...]:
        """The pairs of a batch, smallest first."""
        if self._chunks:
            return tuple(Pair(batch, batch, chunk) for chunk in self._chunks)
        return tuple(Pair(batch, size) for size in self.microbatches(batch))

    def microbatches(self, batch: int) -> tuple[int, ...]:
        """Microbatches that divide a batch, smallest first."""
        if self._microbatches is None:
            return divisors(batch)
        return tuple(size for size in sorted(set(self._microbatches)) if batch % size == 0)

    def pair_at(self, batch_index: int, level: float) -> Pair:
        """The pair of a batch and a relative position among those of its batch, 0 the smallest."""
        pairs = self.of_batch(self.batches[batch_index])
        return pairs[min(int(level * len(pairs)), len(pairs) - 1)]

    def position_of(self, pair: Pair) -> tuple[int, float]:
        """Inverse of :meth:`pair_at`."""
        pairs = self.of_batch(pair.batch)
        return self.batches.index(pair.batch), (pairs.index(pair) + 0.5) / len(pairs)


def _default_batches(problem: Problem) -> tuple[int, ...]:
    concurrency, served = problem.workload.concurrency, problem.workload.mode != STATIC
    if concurrency is None and served:
        return SERVED_BATCHES
    largest = concurrency or LARGEST_BATCH
    return (*divisors(largest), *_powers(largest))


def _powers(largest: int) -> tuple[int, ...]:
    """Powers of two up to a number."""
    return tuple(1 << bits for bits in range(largest.bit_length()))
