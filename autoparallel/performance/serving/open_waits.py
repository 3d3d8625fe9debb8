r"""How long an open load's requests wait within steps: for the running one, and for others' prompts.

A step without prompts lasts :math:`d`, and every prompt that came during the step before adds
:math:`\delta` to it. At a rate :math:`\lambda`, with :math:`\rho = \lambda \delta`, the mean step and the
one that an arrival finds running, which is longer, last

.. math:: s = \frac{d}{1 - \rho}, \qquad
   R = s + \frac{\delta^2}{s} \frac{\mathrm{Var}\,N + \lambda s\,c_p^2}{1 - \rho^2}

with :math:`N` the prompts that come during a step, :math:`\mathrm{Var}\,N = \lambda s` of Poisson arrivals,
and :math:`c_p^2` how prompts' times vary. A request waits for the rest of the running step, R/2, and shares
its own with those that came meanwhile, :math:`\lambda R` others.

That holds where a step has room for all prompts that wait. With room for :math:`K` of them steps are full at
times, and prompts are then served one after the other, each in :math:`\sigma = \delta + d / K`: a queue of

.. math:: m = \frac{\lambda\sigma\,(c_a^2 + c_p^2)}{2\,(1 - \lambda\sigma)}

prompts in the mean. That is more than a step's room with a chance of :math:`e^{-(K - 1) / m}`, and so often
the wait is :math:`d / 2 + m \sigma` instead. With :math:`K = 1` it is the M/G/1 queue with vacations exactly.

Where prompts have steps of their own, and come first, a share :math:`\rho` of the requests finds such a step
running, with the :math:`1 + \lambda R` prompts that come during a step which somebody finds; the others find
one without prompts:

.. math:: R = (1 - \rho)\,d + \rho\,\delta\,(1 + c_p^2 + \lambda R)

and of full steps each prompt takes :math:`\sigma = \delta`.

References
----------
Takagi, "Queueing Analysis, Volume 1: Vacation and Priority Systems", North-Holland 1991, sections 2.2
(vacations) and 2.3 (gated service); Kingman, "The single server queue in heavy traffic", Proc. Cambridge
Philosophical Society 57(4), 1961, doi:10.1017/S0305004100036094.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from autoparallel.performance.operators.cost import Quantity

# Share of its time that an engine can spend on prompts at most.
BUSIEST = 0.999
# How sharply even arrivals begin to meet as they fill the steps.
REGULAR = 4


class Arrivals(NamedTuple):
    """Rate, and squared coefficients of variation of the times between arrivals and of prompts. [1/s], [1]"""

    per_s: Quantity
    scv: Quantity
    prompt_scv: Quantity


class OpenWaits(NamedTuple):
    """Means over an open load's requests.

    Attributes
    ----------
    step_s, found_s : array_like
        A step, and the one that an arrival finds running: it waits for half of that. [s]
    full_s : array_like
        Wait for steps that are full of others' prompts. [s]
    beside : array_like
        Others' prompts that share a prompt's own steps. [1]
    met, full : array_like
        Shares of the requests that find a step with prompts running, and full ones. [1]
    """

    step_s: Quantity
    found_s: Quantity
    full_s: Quantity
    beside: Quantity
    met: Quantity
    full: Quantity


def met_decoding(arrivals: Arrivals, service_scv: float, busy: Quantity) -> Quantity:
    r"""Sequences that a decoding one finds beside it, above their mean over time. [1]

    Prompts hold steps up, so sequences begin in clumps: of :math:`n` in the mean, in steps, the variance is
    :math:`n (c + \rho^2 c_p^2) / (1 - \rho)^2`, with :math:`c = 1 + (c_a^2 - 1) / (1 + c_s^2)` where steps
    are never held up (:mod:`occupancy`). Whoever is among them finds the variance over the mean more.
    """
    alone = 1.0 + (arrivals.scv - 1.0) / (1.0 + service_scv)
    return (alone + busy**2 * arrivals.prompt_scv) / (1.0 - busy) ** 2


def open_waits(
    arrivals: Arrivals, decode_s: Quantity, prompt_s: Quantity, room: Quantity, *, alone: bool = False
) -> OpenWaits:
    """Waits of every plan.

    Parameters
    ----------
    decode_s, prompt_s : array_like
        A step without prompts, and what each of them adds to the next step of all. [s]
    room : array_like
        Prompts that a step has room for. [1]
    alone : bool
        Whether prompts have steps of their own.
    """
    rate, scv, prompt_scv = arrivals
    busy = np.minimum(rate * prompt_s, BUSIEST)
    step_s = decode_s / (1.0 - busy)
    came = rate * step_s
    # Whoever comes at even intervals finds others' prompts only where there is one in every step.
    least = (scv + prompt_scv) / (1.0 + prompt_scv)
    found = least + (1.0 - least) * np.minimum(came, 1.0) ** REGULAR
    if alone:
        met = busy * found
        found_s = ((1.0 - met) * decode_s + met * prompt_s * (1.0 + prompt_scv)) / (1.0 - met * busy)
    else:
        variance = came * (np.maximum(scv, 1.0 - came) + prompt_scv)
        longer_s = step_s - decode_s + prompt_s**2 * variance / (1.0 - busy**2) / step_s
        found_s = decode_s + found * longer_s
        none = np.where(np.asarray(scv) > 0.0, np.exp(-came), np.maximum(1.0 - came, 0.0))
        met = 1.0 - none * (1.0 - busy)
    meanwhile = rate * found_s
    beside = found * np.minimum(meanwhile, 1.0) + np.maximum(meanwhile - 1.0, 0.0)
    alone_s = prompt_s if alone else prompt_s + decode_s / room
    load = np.minimum(rate * alone_s, BUSIEST)
    queue = np.maximum(0.5 * load * (scv + prompt_scv) / (1.0 - load), 1e-9)
    full = np.exp(-np.minimum(np.maximum(room - 1.0, 0.0) / queue, 700.0))
    found_s = decode_s + (1.0 - full) * (found_s - decode_s)
    return OpenWaits(step_s, found_s, full * queue * alone_s, (1.0 - full) * beside, met, full)
