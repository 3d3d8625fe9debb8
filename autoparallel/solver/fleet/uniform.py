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
    """Units of two kinds in which no instance could be left out without serving less."""
    prefill, decode = (kinds[index] for index in pair)
    if not rate:
        return
    for x in range(1, (gpus - decode.gpus) // prefill.gpus + 1):
        matched = int(x * rate / decode.rates[0])
        for y in (matched, matched + 1):
            size = x * prefill.gpus + y * decode.gpus
            if y and size <= gpus:
                yield Unit(pair, (x, y), size, min(x * rate, y * decode.rates[0]))
