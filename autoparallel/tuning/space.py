"""Which batches and microbatches a search may visit."""

from __future__ import annotations

from typing import NamedTuple

from autoparallel.domain.problem import Problem
from autoparallel.solver.candidates import divisors

# Largest batch that is tried by default where the workload names no concurrency. [sequences]
LARGEST_BATCH = 256


class Pair(NamedTuple):
    """Sequences in service in one instance, and in one of its pipeline slots."""

    batch: int
    microbatch: int


class PairSpace:
    """The domain of the tuner.

    By default a batch is a divisor of the concurrency or a power of two up to it (powers of two up to
    256 without a concurrency), and a microbatch a divisor of its batch; the problem may name others.

    Attributes
    ----------
    batches : tuple of int
        Candidates, smallest first.
    pairs : tuple of Pair
        Every pair of the domain.
    """

    def __init__(self, problem: Problem) -> None:
        self._microbatches = problem.search.microbatch
        batches = problem.search.batch or _default_batches(problem.workload.concurrency)
        self.batches = tuple(batch for batch in sorted(set(batches)) if self.microbatches(batch))
        self.pairs = tuple(Pair(batch, size) for batch in self.batches for size in self.microbatches(batch))

    def microbatches(self, batch: int) -> tuple[int, ...]:
        """Microbatches that divide a batch, smallest first."""
        if self._microbatches is None:
            return divisors(batch)
        return tuple(size for size in sorted(set(self._microbatches)) if batch % size == 0)

    def pair_at(self, batch_index: int, level: float) -> Pair:
        """The pair of a batch and a relative position among its microbatches, 0 the smallest."""
        batch = self.batches[batch_index]
        sizes = self.microbatches(batch)
        return Pair(batch, sizes[min(int(level * len(sizes)), len(sizes) - 1)])

    def position_of(self, pair: Pair) -> tuple[int, float]:
        """Inverse of :meth:`pair_at`."""
        sizes = self.microbatches(pair.batch)
        return self.batches.index(pair.batch), (sizes.index(pair.microbatch) + 0.5) / len(sizes)


def _default_batches(concurrency: int | None) -> tuple[int, ...]:
    largest = concurrency or LARGEST_BATCH
    powers = (1 << bits for bits in range(largest.bit_length()))
    return tuple({*divisors(largest), *(power for power in powers if power <= largest)})
