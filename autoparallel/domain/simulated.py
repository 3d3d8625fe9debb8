"""What the event simulation says of a plan, next to the analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """One plan, served request by request by one of its instances.

    Attributes
    ----------
    plan : str
        ``best`` or ``runner_up``.
    requests, seed, rejected, preempted : int
        What was simulated, and how many requests did not fit or had to start again.
    analysis, simulated : mapping of str to float
        Means and percentiles by name (``ttft_s``, ``ttft_p99_s``), ``goodput_fraction`` and
        ``requests_per_s`` of the instance. [s], [1], [1/s]
    shares : tuple of float
        Shares of the requests at which the distributions below are given. [1]
    ttft_s, tpot_s : tuple of float
        What these shares do not exceed in the simulation. [s]
    warnings : tuple of str
        What makes the simulation less than a steady state.
    """

    plan: str
    requests: int
    seed: int
    rejected: int
    preempted: int
    analysis: Mapping[str, float]
    simulated: Mapping[str, float]
    shares: tuple[float, ...]
    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    @property
    def differences(self) -> dict[str, float]:
        """How far the analysis is above the simulation, relatively; what is zero in either is left out."""
        pairs = ((name, self.analysis[name], found) for name, found in self.simulated.items())
        return {name: said / found - 1.0 for name, said, found in pairs if said and found}

    def to_dict(self) -> dict[str, Any]:
        """As JSON-compatible data."""
        return {**asdict(self), "differences": self.differences}
