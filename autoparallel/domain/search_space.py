"""Which degrees, batches and microbatches a search looks at."""

from __future__ import annotations

from dataclasses import dataclass

DEGREES = ("tp", "sp", "dp", "pp", "ep", "etp")
SP_KINDS = ("tensor", "ring", "ulysses")
EVEN, OPTIMAL = "even", "optimal"
STAGES = (EVEN, OPTIMAL)
# Tokens of a step that are tried by default in continuous batching.
CHUNKS = (2048, 4096, 8192, 16384)
OBJECTIVES = ("gpus", "throughput", "ttft_s")


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Candidates of every decision; ``None`` stands for the default candidates.

    Attributes
    ----------
    tp, sp, dp, pp, ep, etp : tuple of int or None
        Candidates of a degree; one value pins it.
    batch, microbatch : tuple of int or None
        Candidates of the sequences in service in one instance and, of static batches, in one pipeline slot.
    chunk : tuple of int or None
        Candidates of the tokens of a step of a data parallel rank, in continuous batching.
    replicas : int or None
        Instances; ``None`` takes as many as the concurrency needs.
    max_gpus : int
        Largest deployment that is looked at; of a fleet, the largest instance.
    even_stages : bool
        Whether ``pp`` has to divide the layers.
    stages : str
        ``even``: layers over stages as even as can be; ``optimal``: the best split of every layout.
    constraints : tuple of str
        Conditions that every layout has to meet, in the language of ``problem_file.constraint``.
    order : tuple of str or None
        Groups that lie closer together on the network than usual in every layout, as in ``Layout.order``;
        ``None`` looks at every order.
    redundant_experts : tuple of int
        Candidates of a layer's slots beyond one for each expert.
    prefer : tuple of str
        Order of ``gpus``, ``throughput``, ``ttft_s`` in which plans are compared; empty for the default.
    """

    tp: tuple[int, ...] | None = None
    sp: tuple[int, ...] | None = None
    sp_kind: tuple[str, ...] = SP_KINDS
    dp: tuple[int, ...] | None = None
    pp: tuple[int, ...] | None = None
    ep: tuple[int, ...] | None = None
    etp: tuple[int, ...] | None = None
    batch: tuple[int, ...] | None = None
    microbatch: tuple[int, ...] | None = None
    replicas: int | None = None
    max_gpus: int = 1024
    even_stages: bool = False
    stages: str = EVEN
    trials: int = 64
    seed: int = 0
    prefer: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    chunk: tuple[int, ...] | None = None
    order: tuple[str, ...] | None = ()
    redundant_experts: tuple[int, ...] = (0,)

    @property
    def pinned_order(self) -> tuple[str, ...]:
        """The one order that is looked at; the usual one where there are several."""
        return self.order or ()

    @property
    def optimal_stages(self) -> bool:
        """Whether the split of the layers over the stages is a decision."""
        return self.stages == OPTIMAL
