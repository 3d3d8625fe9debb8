"""What a plan has to reach."""

from __future__ import annotations

from dataclasses import dataclass

PHASES = ("prefill", "decode", "total")


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """Limits on a plan, each optional.

    ``throughput_phase`` names the throughput that is meant: prompt tokens over prefill time
    (``prefill``), tokens of a decode step over its time (``decode``), or all tokens of a run over its
    time (``total``).
    """

    ttft_s: float | None = None
    tpot_s: float | None = None
    throughput_tokens_per_ms_per_gpu: float | None = None
    throughput_phase: str = "total"
    max_gpus: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is asked for."""
        limits = (self.ttft_s, self.tpot_s, self.throughput_tokens_per_ms_per_gpu, self.max_gpus)
        return all(limit is None for limit in limits)
