"""Fleets of one unit over and over, as tools choose them that count workers per replica: to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from autoparallel.domain.fleet import AGGREGATED, DECODE, PREFILL
from autoparallel.solver.fleet.kinds import Kind


class Unit(NamedTuple):
    """``first`` instances of a kind, and ``second`` ones of another that takes their KV caches, or none."""

    kinds: tuple[int, ...]
    instances: tuple[int, ...]
    gpus: int
    rate: float

    def replicas(self, gpus: int) -> int:
        """How often it fits, as if it could lie on any GPUs."""
        return gpus // self.gpus


def best_uniform(kinds: Sequence[Kind], gpus: int, *, per_gpu: bool) -> Unit | None:
    """The best unit for a number of GPUs, or, ``per_gpu``, for itself, whatever its replicas leave idle."""
    if per_gpu:
        return max(_units(kinds, gpus), key=lambda unit: (unit.rate / unit.gpus, -unit.gpus), default=None)
    return max(_units(kinds, gpus), key=lambda u: (u.rate * u.replicas(gpus), -u.gpus), default=None)


def _units(kinds: Sequence[Kind], gpus: int) -> Iterator[Unit]:
    for index, kind in enumerate(kinds):
        if kind.role == AGGREGATED and kind.gpus <= gpus:
            yield Unit((index,), (1,), kind.gpus, kind.rates[0])
    for p, prefill in enumerate(kinds):
        for d, decode in enumerate(kinds):
            if (prefill.role, decode.role) == (PREFILL, DECODE):
                yield from _pairs((p, d), prefill.rates[decode.receives], kinds, gpus)


def _pairs(pair: tuple[int, int], rate: float, kinds: Sequence[Kind], gpus: int) -> Iterator[Unit]:
    """Units of two kinds; of all others one with fewer instances serves as much, or one here more."""
    prefill, decode = (kinds[index] for index in pair)
    other = decode.rates[0]
    if not rate:
        return
    for first in range(1, gpus // min(prefill.gpus, decode.gpus) + 1):
        # As many of the one as match so many of the other, or one more.
        for x, y in (
            *((first, int(first * rate / other) + more) for more in (0, 1)),
            *((int(first * other / rate) + more, first) for more in (0, 1)),
        ):
            size = x * prefill.gpus + y * decode.gpus
            if x and y and size <= gpus:
                yield Unit(pair, (x, y), size, min(x * rate, y * other))
