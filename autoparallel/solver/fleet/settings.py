"""The sizes that instances are launched with: sequences and tokens of a step of a data parallel rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from autoparallel.domain.engine import EngineConstants
from autoparallel.domain.problem import Problem
from autoparallel.domain.search_space import CHUNKS
from autoparallel.performance.serving import engine_of
from autoparallel.solver.candidates import divisors

# What another setting than the engine's own has to gain to be taken.
GAIN = 1e-3


class Setting(NamedTuple):
    """``max_num_seqs`` and ``max_num_batched_tokens`` of a rank, and the ``dp`` of instances it is for."""

    max_num_seqs: int
    max_num_batched_tokens: int
    dp: int | None = None

    def of(self, engine: EngineConstants) -> EngineConstants:
        """An engine that is launched with them."""
        return replace(
            engine, max_num_seqs=self.max_num_seqs, max_num_batched_tokens=self.max_num_batched_tokens
        )


def settings_of(problem: Problem) -> tuple[Setting, ...]:
    """What a fleet's instances are rated with, the engine's own first where it is among them.

    ``search.chunk`` and ``search.batch`` list what there is to choose from. Without a chunk the engine's
    own and the usual ones are tried; without a batch, which more would only delay and fewer only queue for,
    the engine's own ``max_num_seqs``. A batch is an instance's: its data parallel ranks have equal shares.
    """
    engine, search = engine_of(problem), problem.search
    own = engine.max_num_batched_tokens
    chunks = sorted(set(search.chunk or (own, *CHUNKS)), key=lambda chunk: (chunk != own, chunk))
    return tuple(
        Setting(seqs, chunk, dp)
        for chunk in chunks
        for seqs, dp in _sequences(search.batch, engine.max_num_seqs)
    )


def _sequences(batches: tuple[int, ...] | None, own: int) -> Iterator[tuple[int, int | None]]:
    """Sequences of a rank, and the data parallel degree that they are for."""
    if batches is None:
        yield own, None
        return
    yield from ((batch // dp, dp) for batch in sorted(set(batches)) for dp in divisors(batch))
