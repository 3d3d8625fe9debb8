"""What a problem asks of a fleet: which GPUs there are, what it has to serve, what is best."""

from __future__ import annotations

from dataclasses import dataclass

from autoparallel.domain.hardware import Hardware

AGGREGATED, PREFILL, DECODE = "aggregated", "prefill", "decode"
ROLES = (AGGREGATED, PREFILL, DECODE)
RATE, GPUS, USD_PER_HOUR, WATTS = "rate", "gpus", "usd_per_hour", "watts"
USD_PER_MILLION_TOKENS, JOULES_PER_REQUEST = "usd_per_million_tokens", "joules_per_request"
# What costs by the hour, for a demand; and by what is served, of a budget or with a demand.
TOTALS = (GPUS, USD_PER_HOUR, WATTS)
RATIOS = (USD_PER_MILLION_TOKENS, JOULES_PER_REQUEST)
FLEET_OBJECTIVES = (RATE, *TOTALS, *RATIOS)
NO_SPARE, ANY_INSTANCE, ONE_OF_EACH_ROLE = "none", "any_instance", "one_of_each_role"
REDUNDANCIES = (NO_SPARE, ANY_INSTANCE, ONE_OF_EACH_ROLE)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """GPUs of one kind.

    ``count`` is ``None`` where there are as many as it takes.
    """

    name: str
    hardware: Hardware
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class FleetOptions:
    """The ``[fleet]`` section.

    Attributes
    ----------
    pools : tuple of Pool
        What there is to build from.
    request_rate_per_s : float or None
        Requests that the fleet has to serve; ``None`` asks for as many as can be. [1/s]
    objective : str
        ``rate`` is maximised, the others are minimised: ``gpus``, ``usd_per_hour`` and ``watts`` of all GPUs
        in use, ``usd_per_million_tokens`` and ``joules_per_request`` of what the fleet serves at most.
    roles : tuple of str
        Kinds of instance that may be used: ``aggregated``, and ``prefill`` with ``decode``.
    redundancy : str
        What may fail without the fleet serving less than it says: nothing, any one instance, or one
        instance of each role at the same time.
    pipelines_across_pools : bool
        Whether stages of one instance may lie in two pools, whose nodes then reach each other over their
        links between nodes.
    """

    pools: tuple[Pool, ...]
    request_rate_per_s: float | None = None
    objective: str = RATE
    roles: tuple[str, ...] = ROLES
    redundancy: str = NO_SPARE
    pipelines_across_pools: bool = False
