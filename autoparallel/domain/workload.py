"""What the deployment has to serve."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from autoparallel.domain.expert_loads import ExpertLoads

STATIC, CLOSED, OPEN, SATURATED = "static", "closed", "open", "saturated"
MODES = (STATIC, CLOSED, OPEN, SATURATED)
MTP = "mtp"
CONSTANT, POISSON, TRACE = "constant", "poisson", "trace"
ARRIVALS = (CONSTANT, POISSON, TRACE)
# Tokens of a block that a trace names by one hash, where it names any (Mooncake's).
PREFIX_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """A distribution of token counts.

    Attributes
    ----------
    kind : str
        ``fixed`` has ``min == max``, ``uniform`` the integers between; ``lognormal``, ``quantiles`` and
        ``trace`` are given by points.
    points : tuple of (float, float)
        Shares of the requests, rising from 0 to 1, and the lengths that they do not exceed; between them
        lengths grow evenly. Empty for ``fixed`` and ``uniform``.
    average : float or None
        Mean length where points alone would not tell it exactly. [tokens]

    Examples
    --------
    >>> Lengths(kind="uniform", min=100, max=300).quantile(0.25)
    150.0
    >>> Lengths(kind="quantiles", min=10, max=90, points=((0.0, 10.0), (0.5, 20.0), (1.0, 90.0))).mean
    35.0
    """

    kind: str
    min: int
    max: int
    points: tuple[tuple[float, float], ...] = ()
    average: float | None = None

    @property
    def mean(self) -> float:
        """Mean length. [tokens]"""
        if self.average is not None:
            return self.average
        if not self.points:
            return (self.min + self.max) / 2
        pairs = zip(self.points, self.points[1:], strict=False)
        return sum((above[0] - below[0]) * (above[1] + below[1]) / 2 for below, above in pairs)

    def quantile(self, share: float) -> float:
        """The length that a share of the requests does not exceed. [tokens]"""
        points = self.points or ((0.0, float(self.min)), (1.0, float(self.max)))
        shares = [point[0] for point in points]
        upper = min(max(bisect_right(shares, share), 1), len(points) - 1)
        (low, below), (high, above) = points[upper - 1], points[upper]
        inside = (share - low) / (high - low) if high > low else 1.0
        return below + (above - below) * min(max(inside, 0.0), 1.0)

    @classmethod
    def fixed(cls, tokens: int) -> Lengths:
        """Every length the same."""
        return cls(kind="fixed", min=tokens, max=tokens)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Recorded requests, in the order of their arrival.

    Attributes
    ----------
    name : str
        Name of the file.
    arrival_s : tuple of float
        Since the first request. [s]
    prompt_tokens, output_tokens : tuple of int
        Lengths. [tokens]
    prefix_blocks : tuple of tuple of int
        Hashes of the prompt's blocks of :data:`PREFIX_BLOCK` tokens, each of a block and all before it:
        equal ones can be found in a prefix cache. Empty where the trace names none.
    rejected : int
        Requests that were recorded, but are longer than the engine takes: they are not among the others.
    """

    name: str
    arrival_s: tuple[float, ...]
    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    prefix_blocks: tuple[tuple[int, ...], ...] = ()
    rejected: int = 0

    @property
    def rejected_share(self) -> float:
        """Share of the recorded requests that is rejected. [1]"""
        return self.rejected / (self.rejected + len(self.arrival_s))

    @property
    def rate_per_s(self) -> float:
        """Requests per second over the whole trace. [1/s]"""
        span = self.arrival_s[-1] - self.arrival_s[0]
        return (len(self.arrival_s) - 1) / span if span > 0 else float("inf")


@dataclass(frozen=True, kw_only=True)
class Speculation:
    """Speculative decoding: a draft proposes tokens, and the model checks all of them in one step.

    Attributes
    ----------
    draft_tokens : int
        Tokens that the draft proposes in every step, of every sequence.
    acceptance : float
        Chance that a proposed token is accepted where all before it were. [1]
    draft_share : float
        Time of the draft's pass over one token beside the model's, and its weights and KV cache beside the
        model's: 1 / layers for one of its own layers (multi-token prediction). [1]
    draft : str
        ``mtp`` for the model's own prediction layers, or what the engine loads as draft model.

    Notes
    -----
    Leviathan, Kalman, Matias, "Fast inference from transformers via speculative decoding", ICML 2023,
    arXiv 2211.17192, equation 1.
    """

    draft_tokens: int
    acceptance: float
    draft_share: float
    draft: str = MTP

    @property
    def verified(self) -> float:
        """Tokens of a sequence that the model computes in a step. [tokens]"""
        return self.draft_tokens + 1.0

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens that a step yields: the accepted ones, and one of the model's own. [tokens]

        Examples
        --------
        >>> Speculation(draft_tokens=3, acceptance=0.5, draft_share=0.0).tokens_per_step
        1.875
        """
        accepted = range(self.draft_tokens + 1)
        return sum((self.acceptance**count for count in accepted), start=0.0)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests and how they arrive.

    Attributes
    ----------
    mode : str
        ``static``: a batch enters and leaves together. Batched continuously: ``closed``, as many requests
        at any time as the ``concurrency``; ``open``, at a rate, whatever is in service; ``saturated``,
        all at once.
    concurrency : int or None
        Sequences that the whole deployment must have in service at once.
    prompt_tokens, output_tokens : Lengths
        ISL and OSL of a request.
    expert_imbalance : float
        Load of the fullest expert rank over the mean load; 1 when tokens spread evenly. With
        ``expert_loads`` a factor on what follows from them, 1 but for a what-if.
    request_rate_per_s : float or None
        Arrivals at the whole deployment (open). [1/s]
    arrivals : str
        ``poisson``, ``constant``, or as in the ``trace``, whose times are then stretched to the rate.
    trace : Trace or None
        Recorded requests; lengths are then theirs.
    cached_share : float
        Share of a prompt that a prefix cache is assumed to hold. [1]
    expert_loads : ExpertLoads or None
        How tokens fall on the experts of every layer; ``None`` where only ``expert_imbalance`` is known.
    max_model_len : int or None
        Prompt and output of the longest request that the engine takes; ``None``: of the workload's longest.
        [tokens]
    speculation : Speculation or None
        Speculative decoding; ``None``: a step yields one token.
    """

    prompt_tokens: Lengths
    output_tokens: Lengths
    mode: str = STATIC
    concurrency: int | None = None
    expert_imbalance: float = 1.0
    request_rate_per_s: float | None = None
    arrivals: str = POISSON
    trace: Trace | None = None
    cached_share: float = 0.0
    max_model_len: int | None = None
    speculation: Speculation | None = None
    expert_loads: ExpertLoads | None = None

    @property
    def longest_tokens(self) -> int:
        """Prompt and output of the longest request that memory is kept for. [tokens]"""
        if self.max_model_len is not None:
            return self.max_model_len
        if self.trace is None:
            return self.prompt_tokens.max + self.output_tokens.max
        requests = zip(self.trace.prompt_tokens, self.trace.output_tokens, strict=True)
        return max(prompt + output for prompt, output in requests)

    @property
    def rate_per_s(self) -> float | None:
        """Arrivals of an open load, a trace's own where nothing else is said. [1/s]"""
        if self.mode != OPEN:
            return None
        return self.request_rate_per_s or (self.trace.rate_per_s if self.trace else None)
