r"""Single requests of a steady state: what a share of them does not exceed, and how many meet every bound.

A panel of requests stands for all of them. Each has lengths of its own, at even shares of their
distribution, and a place of its own, at even shares, in everything that chance decides: whether others'
prompts are ahead of it and for how long, where in a step it comes, how many prompts hold it up while it
decodes, how long it waits for a slot. The places are points of a lattice, the same for every plan, so that
plans compare without noise.

A wait that not all requests have is exponential among those that have it, the heavy-traffic limit
(Kingman 1961); the wait for a slot behind :math:`q` others in a closed loop is a sum of :math:`q` intervals,
a gamma variable. What others' prompts add to a token is a gamma variable too, of the variance
:math:`\lambda\,\mathrm{TPOT}\,E[\delta^2] / (O - 1)` of prompts at the times of a Poisson process
(in an open load over the square of the share of time that decoding has, as in a busy period), and of that of
the number in service.

References
----------
Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods", SIAM 1992, chapter 5,
doi:10.1137/1.9781611970081; Wilson and Hilferty, "The distribution of chi-square", Proc. National Academy
of Sciences 17(12), 1931, doi:10.1073/pnas.17.12.684.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.requirements import PERCENTILES
from autoparallel.domain.workload import Lengths, Workload
from autoparallel.performance.serving.load import OPEN, ServingEstimates

Array = npt.NDArray[np.float64]
# Requests of a panel, and plans worked on at once.
SIZE, CHUNK = 256, 512
# Generalised golden ratio of five dimensions: the root of x^6 = x + 1.
_RATIO = 1.134724138


class Panel(NamedTuple):
    """Requests that stand for all: a column each.

    Attributes
    ----------
    prompt, output : Array
        Lengths. [tokens]
    ahead, step, slot : Array
        Places, as shares between 0 and 1: in the waits for prompts ahead, for the running step, for a slot.
    slot_normal, held : Array
        Places as normal variables: in the wait for a slot, and among the times by which others' prompts
        hold a sequence up.
    """

    prompt: Array
    output: Array
    ahead: Array
    step: Array
    slot: Array
    slot_normal: Array
    held: Array


def panel_of(workload: Workload) -> Panel:
    """The panel of a workload; requests of a trace keep both of their lengths."""
    shares = (np.arange(SIZE) + 0.5) / SIZE
    lattice = np.modf(0.5 + np.outer(_RATIO ** -np.arange(1.0, 6.0), np.arange(1, SIZE + 1)))[0]
    output_share, ahead, step, slot, held = lattice
    if workload.trace is not None:
        prompts, outputs = (
            np.array(tokens, dtype=np.float64)
            for tokens in (workload.trace.prompt_tokens, workload.trace.output_tokens)
        )
        rows = np.argsort(prompts, kind="stable")[(shares * len(prompts)).astype(np.int64)]
        lengths = prompts[rows], outputs[rows]
    else:
        lengths = _at(workload.prompt_tokens, shares), _at(workload.output_tokens, output_share)
    return Panel(*lengths, ahead, step, slot, _normal(slot), _normal(held))


def _normal(shares: Array) -> Array:
    normal = NormalDist()
    return np.array([normal.inv_cdf(share) for share in shares])


def _at(lengths: Lengths, shares: Array) -> Array:
    return np.array([max(lengths.quantile(float(share)), 1.0) for share in shares])


class Bounds(NamedTuple):
    """What a request may take at most to be a good one; infinite where nothing is asked. [s]"""

    ttft_s: float
    tpot_s: float
    e2e_s: float


class Spread(NamedTuple):
    """Percentiles by name (``ttft_p99_s``), and the share of the requests that meet every bound. [s], [1]"""

    percentiles: Mapping[str, Array]
    good: Array


class Conditions(NamedTuple):
    """What besides the steady state decides how requests differ: of each plan.

    Attributes
    ----------
    kind : str
        ``closed``, ``open`` or ``saturated``.
    isl, chunk, cached_share : array_like
        Mean prompt, tokens of a step of a rank, share of a prompt that is cached. [tokens], [1]
    interference, base_ttft_s : float
        Of the engine. [1], [s]
    pp : array_like
        Pipeline stages. [1]
    arrival_scv : array_like
        Squared coefficient of variation of the times between prompts; in a closed loop they come as others
        end. [1]
    queue_shape : array_like
        Of the gamma distribution of the waits for a slot in a closed loop. [1]
    prompts_alone : bool
        Whether prompts have steps of their own.
    """

    kind: str
    isl: float
    chunk: Array
    cached_share: Array
    interference: float
    base_ttft_s: float
    pp: Array
    arrival_scv: Array
    queue_shape: Array
    prompts_alone: bool = False

    def beside_s(self, decode_step_s: Array) -> Array:
        """What decoding sequences take of a step with prompts. [s]"""
        return np.zeros_like(decode_step_s) if self.prompts_alone else decode_step_s


def spread(panel: Panel, steady: ServingEstimates, conditions: Conditions, bounds: Bounds) -> Spread:
    """Percentiles and goodput of every plan."""
    size = len(steady.ttft_s)
    names = [f"{time}_{mark}_s" for time in ("ttft", "tpot", "e2e") for mark in PERCENTILES]
    columns = {name: np.empty(size) for name in names}
    good = np.empty(size)
    for start in range(0, size, CHUNK):
        rows = slice(start, start + CHUNK)
        some = ServingEstimates(*(column[rows] for column in steady))
        times = request_times(panel, some, _of(conditions, rows))
        good[rows] = _met(times, bounds).mean(axis=1)
        for name, values in zip(("ttft", "tpot", "e2e"), times, strict=True):
            for mark, column in zip(PERCENTILES, quantiles(values), strict=True):
                columns[f"{name}_{mark}_s"][rows] = column
    return Spread(columns, good)


def _of(conditions: Conditions, rows: slice) -> Conditions:
    return conditions._replace(
        chunk=conditions.chunk[rows],
        cached_share=conditions.cached_share[rows],
        pp=conditions.pp[rows],
        arrival_scv=conditions.arrival_scv[rows],
        queue_shape=conditions.queue_shape[rows],
    )


def _met(times: tuple[Array, Array, Array], bounds: Bounds) -> npt.NDArray[np.bool_]:
    # Beyond saturation nobody is served in any time.
    met = np.isfinite(times[0])
    for values, bound in zip(times, bounds, strict=True):
        if np.isfinite(bound):
            met &= values <= bound
    return met


def quantiles(values: Array) -> list[Array]:
    """The percentiles of every row, straight between the places of the panel's requests."""
    places = [share * SIZE - 0.5 for share in PERCENTILES.values()]
    lows = [int(place) for place in places]
    ranked = np.partition(values, sorted({*lows, *(low + 1 for low in lows)}), axis=1)
    pairs = ((low, place - low) for place, low in zip(places, lows, strict=True))
    # No difference of neighbours: beyond saturation both are infinite.
    return [(1.0 - part) * ranked[:, low] + part * ranked[:, low + 1] for low, part in pairs]


def request_times(
    panel: Panel, steady: ServingEstimates, conditions: Conditions
) -> tuple[Array, Array, Array]:
    """TTFT, TPOT and time to the last token: a row a plan, a column a request of the panel. [s]"""
    column = ServingEstimates(*(values[:, None] for values in steady))
    own_s = _own_s(panel, column, conditions)
    ahead_s = exponential(panel.ahead, column.prompts_ahead, column.ahead_s)
    ttft_s = conditions.base_ttft_s + own_s + _running_s(panel, column, conditions) + ahead_s
    ttft_s = ttft_s + _slot_wait_s(panel, column, conditions)
    tpot_s = _tpot_s(panel, column, conditions, own_s)
    return ttft_s, tpot_s, ttft_s + (panel.output - 1.0) * tpot_s


def _running_s(panel: Panel, column: ServingEstimates, conditions: Conditions) -> Array:
    """The wait for the running step, and for the prompts that came while it ran: more, the longer it is."""
    met, scv = np.maximum(column.met, 1e-9), float(panel.prompt.var() / panel.prompt.mean() ** 2)
    own_s = np.maximum(column.prompt_s / conditions.pp[:, None], 1e-12)
    least_s = conditions.beside_s(column.decode_step_s)
    without_s = (1.0 - met) * column.decode_step_s + met * least_s
    longer_s = np.maximum(column.found_s - without_s, 0.0) / met
    # A step with prompts has one at least, and others by chance.
    prompts = np.maximum(longer_s / (conditions.interference * own_s), 1.0)
    shape = prompts**2 / (prompts - 1.0 + prompts * scv + 0.01)
    place = np.clip((panel.ahead - (1.0 - met)) / met, 1e-6, 1.0 - 1e-6)
    with_prompts_s = least_s + longer_s * gamma(normal_at(place), shape)
    found_s = np.where(panel.ahead > 1.0 - met, with_prompts_s, column.decode_step_s)
    beside_s = column.beside_s * found_s / column.found_s
    varies = conditions.arrival_scv[:, None] + scv > 0.0
    beside_s = beside_s * np.where(varies, gamma(panel.slot_normal, beside_s / own_s / (1.0 + scv)), 1.0)
    return np.asarray(panel.step * found_s + beside_s)


def _own_s(panel: Panel, column: ServingEstimates, conditions: Conditions) -> Array:
    """What a request's own prompt takes, at its own length. [s]"""
    longer = panel.prompt / conditions.isl
    attention_s = np.minimum(column.prompt_attention_s, column.prompt_s)
    prompt_s = (column.prompt_s - attention_s) * longer + attention_s * longer**2 / np.mean(longer**2)
    computed = conditions.isl * (1.0 - conditions.cached_share[:, None])
    pieces, mean_pieces = (
        np.maximum(times * computed / conditions.chunk[:, None], 1.0) for times in (longer, 1.0)
    )
    beside_s = conditions.beside_s(column.decode_step_s)
    # No shorter than a step without captured graphs, which the mean prompt shows where it is that short.
    least_s = np.where(column.own_s > beside_s * mean_pieces + column.prompt_s * 1.001, column.own_s, 0.0)
    return np.asarray(np.maximum(beside_s * pieces + prompt_s, least_s))


def _tpot_s(panel: Panel, column: ServingEstimates, conditions: Conditions, own_s: Array) -> Array:
    """What prompts of others add is a gamma variable: few long ones make a long tail."""
    held_s = own_s - conditions.beside_s(column.decode_step_s)
    prompt_s = conditions.interference * np.maximum(held_s, 0.0)
    mean, spread_s = (of(prompt_s, axis=1, keepdims=True) for of in (np.mean, np.var))
    square = spread_s + conditions.arrival_scv[:, None] * mean**2
    per_token = np.maximum(panel.output - 1.0, 1.0)
    variance = column.requests_per_s * column.tpot_s * square / per_token
    if conditions.kind == OPEN:
        # Held up, a sequence meets still more prompts: a busy period, not a fixed time.
        variance = variance * (column.tpot_s / column.token_s) ** 2
    variance = variance + column.tpot_sd_s**2
    added_s = np.maximum(column.tpot_s - column.token_s, 1e-9)
    spread_s = added_s * gamma(panel.held, added_s**2 / np.maximum(variance, 1e-30))
    return np.asarray(np.minimum(column.token_s + spread_s, column.most_tpot_s))


def gamma(normal: Array, shape: Array) -> Array:
    """A gamma variable of mean 1 at the place of a normal one (Wilson and Hilferty)."""
    shape = np.maximum(shape, 0.25)
    return np.asarray(np.maximum(1.0 - 1.0 / (9.0 * shape) + normal / (3.0 * np.sqrt(shape)), 0.0) ** 3)


def normal_at(place: Array) -> Array:
    """The normal variable at a place, to 0.0005 (Abramowitz and Stegun, 26.2.23)."""
    tail = np.sqrt(-2.0 * np.log(np.minimum(place, 1.0 - place)))
    over = 2.515517 + tail * (0.802853 + tail * 0.010328)
    under = 1.0 + tail * (1.432788 + tail * (0.189269 + tail * 0.001308))
    return np.asarray(np.sign(place - 0.5) * (tail - over / under))


def exponential(place: Array, share: Array, mean_s: Array) -> Array:
    """A wait of ``mean_s`` over all requests that a ``share`` of them has, exponential among these. [s]"""
    share = np.maximum(share, 1e-9)
    inside = np.clip((place - (1.0 - share)) / share, 0.0, 1.0 - 1e-9)
    return np.asarray(-np.log1p(-inside) * mean_s / share)


def _slot_wait_s(panel: Panel, column: ServingEstimates, conditions: Conditions) -> Array:
    if conditions.kind == OPEN:
        stable = np.isfinite(column.queue_s)
        waits = exponential(panel.slot, column.queued, np.where(stable, column.queue_s, 0.0))
        return np.where(stable, waits, np.inf)
    return np.asarray(column.queue_s * gamma(panel.slot_normal, conditions.queue_shape[:, None]))
