"""What a deployment costs: money and energy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autoparallel.domain.workload import Workload

S_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the GPUs of a deployment take; ``None`` where their price or power is not known.

    Attributes
    ----------
    usd_per_hour : float or None
        Price of all GPUs, busy or not. [$/h]
    watts : float or None
        Rated power of all GPUs, without the rest of the nodes. [W]
    usd_per_million_output_tokens, usd_per_million_tokens : float or None
        The price over what is served: of output alone, and of prompts and output together. [$]
    joules_per_request : float or None
        Energy of a request at that power. [J]
    """

    usd_per_hour: float | None
    watts: float | None
    usd_per_million_output_tokens: float | None
    usd_per_million_tokens: float | None
    joules_per_request: float | None


def cost_of(
    workload: Workload, requests_per_s: float, *, usd_per_hour: float | None, watts: float | None
) -> Cost:
    """Cost of GPUs that serve requests of a workload at a rate; of nothing served nothing is told.

    Examples
    --------
    >>> from autoparallel.domain.workload import Lengths
    >>> work = Workload(prompt_tokens=Lengths.fixed(3), output_tokens=Lengths.fixed(1))
    >>> cost_of(work, 250.0, usd_per_hour=3.6, watts=500.0).usd_per_million_tokens
    1.0
    """
    served = requests_per_s if math.isfinite(requests_per_s) and requests_per_s > 0 else None
    output = workload.output_tokens.mean
    return Cost(
        usd_per_hour=usd_per_hour,
        watts=watts,
        usd_per_million_output_tokens=_per_million(usd_per_hour, served, output),
        usd_per_million_tokens=_per_million(usd_per_hour, served, workload.prompt_tokens.mean + output),
        joules_per_request=None if watts is None or served is None else watts / served,
    )


def of_all(gpus: int, of_one: float | None) -> float | None:
    """What all GPUs take of what one takes, where that is known."""
    return None if of_one is None else gpus * of_one


def _per_million(usd_per_hour: float | None, served: float | None, tokens: float) -> float | None:
    if usd_per_hour is None or served is None:
        return None
    return usd_per_hour / (served * tokens * S_PER_HOUR) * 1e6
