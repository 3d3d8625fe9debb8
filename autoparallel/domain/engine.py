"""The serving engine that a problem's plans are meant for."""

from __future__ import annotations

from dataclasses import dataclass

ENGINES = ("vllm", "sglang", "trtllm")


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What a problem says about the engine besides its name.

    Attributes
    ----------
    model_path : str or None
        What the engine loads: a Hugging Face name or a folder; by default the model's name.
    gpu_memory_utilization : float or None
        Share of a GPU's memory that the engine may take; by default all that the plan needs, at least
        the engine's own default.
    """

    model_path: str | None = None
    gpu_memory_utilization: float | None = None
