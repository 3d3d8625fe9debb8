r"""How many sequences of an open load are in service, and how long those wait that find no slot.

Service slows down with every sequence in it: with :math:`n` in service, :math:`R(n)` leave per second. The
number of sequences is then a birth-death chain with arrivals at :math:`\lambda`,

.. math:: \ln p(n) = \int \ln \frac{\lambda}{R(n)} dn

up to the ``most`` that fit; beyond them it falls by :math:`\rho = \lambda / R(\mathrm{most})` a step.
Arrivals that spread less or more than a Poisson process's scale the variance as they do where all find a
slot, by :math:`1 + (c_a^2 - 1) / (1 + c_s^2)`; Poisson arrivals leave it, whatever the times in service.

References
----------
Kleinrock, "Queueing Systems, Volume 1: Theory", Wiley 1975, sections 3.2 and 3.5; Allen, "Probability,
Statistics and Queueing Theory", Academic Press 1990, section 5.3 (the Allen-Cunneen approximation); Whitt,
"Heavy-traffic approximations for service systems with blocking", AT&T Bell Laboratories Technical Journal
63(5), 1984 (the variance of the number in service, exact for exponential and for fixed times).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.operators.cost import Quantity

Array = npt.NDArray[np.float64]
# Numbers of sequences, evenly spaced in their logarithm, at which the chain is summed.
POINTS = 128


class Occupancy(NamedTuple):
    """Of every plan: share of the requests that wait for a slot, the mean wait of all, and how the number in
    service varies (standard deviation). [1], [s], [1]
    """  # noqa: D205

    queued: Array
    queue_s: Array
    running_sd: Array


def occupancy(
    rate_per_s: Quantity,
    most: Quantity,
    leaving_per_s: Sequence[Quantity],
    arrival_scv: Quantity,
    service_scv: float,
) -> Occupancy:
    """Solve the chain of every plan.

    Parameters
    ----------
    rate_per_s, most : array_like
        Arrivals, and sequences that fit. [1/s], [1]
    leaving_per_s : sequence of array_like
        R at numbers of sequences from 1 to ``most``, evenly spaced in their logarithm. [1/s]
    arrival_scv, service_scv : array_like
        Squared coefficients of variation of the times between arrivals, and of those in service. [1]
    """
    shares = np.linspace(0.0, 1.0, POINTS)[:, None]
    counts = np.asarray(most) ** shares
    known = np.log(np.maximum(np.stack(np.broadcast_arrays(*leaving_per_s)), 1e-300))
    place = shares * (len(known) - 1)
    low = np.minimum(place.astype(np.int64), len(known) - 2)
    part = place - low
    leaving = known[low[:, 0]] * (1.0 - part) + known[low[:, 0] + 1] * part
    slope = np.log(np.maximum(rate_per_s, 1e-300)) - leaving
    width = np.diff(counts, axis=0)
    steps = 0.5 * (slope[1:] + slope[:-1]) * width
    logs = np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)])
    # Constant arrivals and equal lengths would leave no variance at all.
    logs = logs / np.maximum(1.0 + (arrival_scv - 1.0) / (1.0 + service_scv), 0.25)
    chances = np.exp(logs - logs.max(axis=0))
    load = np.minimum(np.exp(slope[-1]), 1.0 - 1e-9)
    inside = 0.5 * (chances[1:] + chances[:-1]) * width
    beyond = chances[-1] * load / (1.0 - load)
    total = inside.sum(axis=0) + beyond + chances[0]
    middle = 0.5 * (counts[1:] + counts[:-1])
    mean = ((inside * middle).sum(axis=0) + beyond * most + chances[0]) / total
    square = ((inside * middle**2).sum(axis=0) + beyond * np.asarray(most) ** 2 + chances[0]) / total
    queued = np.minimum((beyond + chances[-1]) / total, 1.0)
    queue_s = (
        0.5
        * (arrival_scv + service_scv)
        * chances[-1]
        * load
        / (1.0 - load) ** 2
        / total
        / np.maximum(rate_per_s, 1e-300)
    )
    # Less than a nanosecond is no wait.
    queue_s = np.where(queue_s < 1e-9, 0.0, queue_s)
    return Occupancy(np.asarray(queued), queue_s, np.sqrt(np.maximum(square - mean**2, 0.0)))
