"""What a plan has to reach."""

from __future__ import annotations

from dataclasses import dataclass, fields

PHASES = ("prefill", "decode", "total")
TIMES = ("ttft", "tpot", "e2e")
# Shares of the requests for which a time can be required, and how a name says it.
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
QUANTILES = tuple(f"{time}_{mark}_s" for time in TIMES for mark in PERCENTILES)
# Of continuous batching alone: a static batch has no requests that come and go.
SERVED = (*QUANTILES, "e2e_s", "goodput_fraction", "request_rate_per_s")


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Limits on a plan, each optional.

    ``throughput_phase`` names the throughput that is meant: prompt tokens over prefill time
    (``prefill``), tokens of a decode step over its time (``decode``), or all tokens of a run over its
    time (``total``).

    In continuous batching ``ttft_s``, ``tpot_s`` and ``e2e_s`` bound means, ``ttft_p99_s`` and its like what
    that share of the requests does not exceed; ``goodput_fraction`` is the share of the requests that must
    meet every :meth:`bound`; ``request_rate_per_s`` what the deployment has to serve.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    throughput_tokens_per_ms_per_gpu: float | None = None
    throughput_phase: str = "total"
    max_gpus: int | None = None
    ttft_p50_s: float | None = None
    ttft_p90_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p90_s: float | None = None
    tpot_p99_s: float | None = None
    e2e_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p90_s: float | None = None
    e2e_p99_s: float | None = None
    goodput_fraction: float | None = None
    request_rate_per_s: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is asked for."""
        names = (field.name for field in fields(self) if field.name != "throughput_phase")
        return all(getattr(self, name) is None for name in names)

    @property
    def asks_of_requests(self) -> bool:
        """Whether anything is asked of single requests, so that their spread has to be known."""
        names = (*QUANTILES, "goodput_fraction")
        return any(getattr(self, name) is not None for name in names)

    def bound(self, time: str) -> float | None:
        """What a request may take to count as good: the highest percentile that is asked, or the mean. [s]

        Examples
        --------
        >>> Requirements(ttft_s=1.0, ttft_p90_s=2.0).bound("ttft"), Requirements(tpot_s=0.1).bound("tpot")
        (2.0, 0.1)
        """
        asked = (getattr(self, f"{time}_{mark}_s") for mark in reversed(PERCENTILES))
        mean: float | None = getattr(self, f"{time}_s")
        return next((limit for limit in asked if limit is not None), mean)
