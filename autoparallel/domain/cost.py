"""What a deployment costs."""

from __future__ import annotations

MS_PER_HOUR = 3.6e6


def usd_per_hour(gpus: int, usd_per_gpu_hour: float | None) -> float | None:
    """Price of a deployment; ``None`` where its GPU has none. [$/h]"""
    return None if usd_per_gpu_hour is None else gpus * usd_per_gpu_hour


def usd_per_million_tokens(tokens_per_ms_per_gpu: float, usd_per_gpu_hour: float | None) -> float | None:
    """Price of a million tokens at a throughput; ``None`` where the GPU has no price. [$]

    Examples
    --------
    >>> round(usd_per_million_tokens(2.0, 3.6), 3)
    0.5
    """
    if usd_per_gpu_hour is None or not tokens_per_ms_per_gpu:
        return None
    return usd_per_gpu_hour / (tokens_per_ms_per_gpu * MS_PER_HOUR) * 1e6
