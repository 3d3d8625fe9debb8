"""Rates of many instances, of which only the best of every size matters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from autoparallel.performance.serving.instances import Array, InstanceRates, Instances

Rows = npt.NDArray[np.int64]
# Layouts of a size that are rated at once; others are left out where their bound is no better.
BLOCK = 48


def rates_by_promise(instances: Instances, sizes: Rows, beaten: Array | None = None) -> InstanceRates:
    """Rates of aggregated instances; layouts that cannot be the best of their size have none.

    Parameters
    ----------
    sizes : Rows
        Of every instance: those with the same number compete.
    beaten : Array, optional
        Rate of every instance that no fleet would take it with. [1/s]
    """
    stable = instances.stable_rates()
    rates = InstanceRates(*(np.zeros(len(stable)) for _ in InstanceRates._fields))
    beaten = np.zeros(len(stable)) if beaten is None else beaten
    best = dict(zip(sizes.tolist(), beaten.tolist(), strict=True))
    for rows in _by_promise(stable, sizes):
        hopeful = rows[stable[rows] > [best[size] for size in sizes[rows].tolist()]]
        if not len(hopeful):
            continue
        found = instances.aggregated(hopeful, stable)
        for column, values in zip(rates, found, strict=True):
            column[hopeful] = values
        for size, rate in zip(sizes[hopeful].tolist(), found.requests_per_s.tolist(), strict=True):
            best[size] = max(best[size], rate)
    return rates


def _by_promise(bounds: Array, sizes: Rows) -> Iterator[Rows]:
    """Layouts a block of every size at a time, the most promising first."""
    order = np.lexsort((-bounds, sizes))
    first = np.searchsorted(sizes[order], sizes[order], side="left")
    place = np.arange(len(order)) - first
    for start in range(0, int(place.max(initial=-1)) + 1, BLOCK):
        yield order[(place >= start) & (place < start + BLOCK)]
