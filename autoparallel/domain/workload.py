"""What the deployment has to serve."""

from __future__ import annotations

from dataclasses import dataclass

STATIC = "static"


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """A distribution of token counts; ``fixed`` has ``min == max``, ``uniform`` the integers between."""

    kind: str
    min: int
    max: int

    @property
    def mean(self) -> float:
        """Mean length. [tokens]"""
        return (self.min + self.max) / 2

    @classmethod
    def fixed(cls, tokens: int) -> Lengths:
        """Every length the same."""
        return cls(kind="fixed", min=tokens, max=tokens)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests and how they arrive.

    Attributes
    ----------
    concurrency : int or None
        Sequences that the whole deployment must have in service at once.
    prompt_tokens, output_tokens : Lengths
        ISL and OSL of a request.
    expert_imbalance : float
        Load of the fullest expert rank over the mean load; 1 when tokens spread evenly.
    """

    prompt_tokens: Lengths
    output_tokens: Lengths
    mode: str = STATIC
    concurrency: int | None = None
    expert_imbalance: float = 1.0
