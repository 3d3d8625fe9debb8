r"""What requests of unlike lengths ask for, in a few numbers.

A time that grows with the square of a prompt's length, as attention's, is longer in the mean than that of
the mean prompt: :math:`E[L^2] > E[L]^2`. Three prompts with shares stand for all of them, the nodes and
weights of Gauss's quadrature for the distribution of lengths: over them the mean of any polynomial up to the
fifth degree is exact, and so are the means of a prompt's time and of its square.

Sequences in service are not like those that come: who makes :math:`O` tokens is in service :math:`O` steps
long, so a step finds them with chances in proportion to it. Their context is in the mean

.. math:: \frac{E[O\,(L + O / 2)]}{E[O]}

and their longest one :math:`E[O\,(L + O)] / E[O]`; their context's square is
:math:`E[O\,(L^2 + L O + O^2 / 3)] / E[O]`.

References
----------
Golub and Welsch, "Calculation of Gauss quadrature rules", Mathematics of Computation 23, 1969,
doi:10.1090/S0025-5718-69-99647-1; Kleinrock, "Queueing Systems, Volume 1: Theory", Wiley 1975, section 5.2
(the residual life).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.workload import Lengths, Workload
from autoparallel.performance.operators.cost import Quantity

Array = npt.NDArray[np.float64]
# Prompts that stand for all, and even shares of a distribution over which its moments are taken.
NODES, SHARES = 3, 2048


class LengthMix(NamedTuple):
    """How lengths differ, relative to their means; by default they do not.

    Attributes
    ----------
    prompts, shares : tuple of float
        Lengths of the prompts that stand for all, over the mean one, and the share of each. [1]
    prompt_in_service, output_in_service : float
        Mean prompt, and mean output, of the sequences that a step finds, over those that come. [1]
    squares : tuple of float
        Mean of their :math:`L^2`, :math:`L O` and :math:`O^2` over those of the mean lengths. [1]
    """

    prompts: tuple[float, ...] = (1.0,)
    shares: tuple[float, ...] = (1.0,)
    prompt_in_service: float = 1.0
    output_in_service: float = 1.0
    squares: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def mean(self, of: Callable[[float], Quantity]) -> Quantity:
        """Mean over all requests of what depends on how many times as long as the mean prompt one is."""
        return self.mean_of([of(longer) for longer in self.prompts])

    def mean_of(self, values: Sequence[Quantity]) -> Quantity:
        """Mean over all requests of what the prompts that stand for them have."""
        weighted = [share * value for share, value in zip(self.shares, values, strict=True)]
        return reduce(np.add, weighted)

    @property
    def output_scv(self) -> float:
        """Squared coefficient of variation of the outputs, and so of the times in service. [1]"""
        return self.output_in_service - 1.0


def length_mix(workload: Workload) -> LengthMix:
    """The lengths of a workload; requests of a trace keep both of theirs."""
    trace = workload.trace
    if trace is not None:
        prompt, output = (_relative(np.array(own)) for own in (trace.prompt_tokens, trace.output_tokens))
        weights = [output * prompt, output * prompt**2, output**2 * prompt]
        together, prompts, products = (float(weight.mean()) for weight in weights)
    else:
        prompt, output = (
            _relative(_even_shares(own)) for own in (workload.prompt_tokens, workload.output_tokens)
        )
        together, prompts, products = 1.0, float((prompt**2).mean()), float((output**2).mean())
    squares = prompts, products, float((output**3).mean())
    return LengthMix(*quadrature(prompt), together, float((output**2).mean()), squares)


def _relative(lengths: Array) -> Array:
    """Lengths over their mean. [1]"""
    return np.asarray(lengths / lengths.mean())


def _even_shares(lengths: Lengths) -> Array:
    """Lengths at even shares of their distribution. [tokens]"""
    points: tuple[tuple[float, float], ...] = lengths.points or (
        (0.0, float(lengths.min)),
        (1.0, float(lengths.max)),
    )
    shares, tokens = np.array(points).T
    return np.asarray(np.maximum(np.interp((np.arange(SHARES) + 0.5) / SHARES, shares, tokens), 1.0))


def quadrature(values: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights of Gauss's quadrature for the distribution of some values.

    Examples
    --------
    >>> nodes, weights = quadrature(np.array([1.0, 2.0, 3.0, 4.0]))
    >>> round(sum(weight * node**5 for node, weight in zip(nodes, weights)), 6)
    325.0
    >>> quadrature(np.array([2.0, 2.0]))
    ((2.0,), (1.0,))
    """
    # Orthogonal polynomials by Stieltjes's recurrence; a distribution of fewer values ends it.
    before, now = np.zeros(len(values)), np.ones(len(values))
    centres: list[float] = []
    scales: list[float] = []
    for _ in range(NODES):
        centres.append(float((now * now * values).mean()))
        beyond = (values - centres[-1]) * now - (scales[-1] * before if scales else 0.0)
        scale = float(np.sqrt((beyond * beyond).mean()))
        if scale < 1e-6:
            break
        scales.append(scale)
        before, now = now, beyond / scale
    size = len(centres)
    matrix = np.diag(centres) + np.diag(scales[: size - 1], 1) + np.diag(scales[: size - 1], -1)
    nodes, vectors = np.linalg.eigh(matrix)
    return tuple(nodes.tolist()), tuple((vectors[0] ** 2).tolist())
