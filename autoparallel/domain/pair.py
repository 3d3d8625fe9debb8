"""The sizes that are tuned around a layout."""

from __future__ import annotations

from typing import NamedTuple


class Pair(NamedTuple):
    """How much an instance has in service, and how much of it is worked on at once.

    Attributes
    ----------
    batch : int
        Sequences in service in one instance: of continuous batching at most, ``max_num_seqs`` of all its
        data parallel ranks together.
    microbatch : int
        Sequences in one pipeline slot; the batch in continuous batching, where the engine fills slots
        by itself.
    chunk : int or None
        Continuous batching: tokens of one step of a data parallel rank, ``max_num_batched_tokens``, which
        bound the pieces that prompts are computed in. ``None`` in a static batch.
    """

    batch: int
    microbatch: int
    chunk: int | None = None

    def __str__(self) -> str:
        second = f"microbatch {self.microbatch}" if self.chunk is None else f"chunk {self.chunk}"
        return f"batch {self.batch}, {second}"
