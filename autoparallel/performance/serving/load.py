"""How an instance is driven, and what its steady state comes to: a column each of a table of plans."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.performance.operators.cost import Quantity
from autoparallel.performance.serving.length_mix import LengthMix

CLOSED, OPEN, SATURATED = "closed", "open", "saturated"

Array = npt.NDArray[np.float64]


class Load(NamedTuple):
    """How an instance of each plan is driven; arrays of the table's length, or one value for all.

    Attributes
    ----------
    kind : str
        ``closed``, ``open`` or ``saturated``.
    isl, osl : array_like
        Mean prompt and output tokens. [tokens]
    concurrency : array_like
        Requests in the instance or before it (closed). [1]
    rate_per_s : array_like
        Requests that arrive at the instance (open). [1/s]
    arrival_scv : array_like
        Squared coefficient of variation of the times between arrivals, 0 constant and 1 Poisson. [1]
    mix : LengthMix
        How the lengths differ.
    requests_per_slot : float
        Requests that each slot of the concurrency serves while it is measured: the first of them start
        at once. Infinite: the steady state alone. [1]
    max_num_seqs, max_num_batched_tokens : array_like or None
        Of a data parallel rank; the engine's own where ``None``.
    cached_share : array_like
        Share of a prompt that the prefix cache holds already. [1]
    """

    kind: str
    isl: Quantity
    osl: Quantity
    concurrency: Quantity = 1.0
    rate_per_s: Quantity = 0.0
    arrival_scv: Quantity = 1.0
    mix: LengthMix = LengthMix()
    requests_per_slot: float = np.inf
    max_num_seqs: Quantity | None = None
    max_num_batched_tokens: Quantity | None = None
    cached_share: Quantity = 0.0

    @property
    def service_scv(self) -> float:
        """Squared coefficient of variation of the times in service. [1]"""
        return self.mix.output_scv


class ServingEstimates(NamedTuple):
    """One array a quantity, of one instance.

    Attributes
    ----------
    capacity : Array
        Sequences that run at most: by KV space and ``max_num_seqs``; below 1 nothing runs. [1]
    running : Array
        Sequences in service. [1]
    decode_step_s, prompt_s, token_s : Array
        A step without prompts, what one request's prompt adds to its steps, and a token without others'
        prompts: a step yields several by speculation. [s]
    tpot_s, queue_s, ttft_s, e2e_s : Array
        Means: per token after the first; wait for a slot; to the first token, that wait included; to
        the last. Infinite where the rate cannot be served. [s]
    requests_per_s, output_tokens_per_s_per_gpu : Array
        Throughput. [1/s]
    stable_requests_per_s : Array
        The highest rate that could be served. [1/s]
    own_s, prompt_attention_s : Array
        From the start of a prompt's first step to the end of its last, and its attention's part of that,
        which grows with the square of its length. [s]
    found_s, beside_s, ahead_s : Array
        Means: the step that a request finds running; what others' prompts add to its own steps; and its wait
        for those before, once admitted. [s]
    met, prompts_ahead, queued : Array
        Shares of the requests that find a step with prompts running, that wait for others' prompts, and for a
        slot. [1]
    tpot_sd_s, most_tpot_s : Array
        Standard deviation of TPOT as the number of sequences in service varies, and TPOT with all slots
        taken: infinite where that number does not vary. [s]
    recomputed_tokens : Array
        Tokens of a request that are computed again, as it is preempted, in the mean. [tokens]
    """

    capacity: Array
    running: Array
    decode_step_s: Array
    prompt_s: Array
    token_s: Array
    tpot_s: Array
    queue_s: Array
    ttft_s: Array
    e2e_s: Array
    requests_per_s: Array
    output_tokens_per_s_per_gpu: Array
    stable_requests_per_s: Array
    own_s: Array
    prompt_attention_s: Array
    found_s: Array
    beside_s: Array
    ahead_s: Array
    met: Array
    prompts_ahead: Array
    queued: Array
    tpot_sd_s: Array
    most_tpot_s: Array
    recomputed_tokens: Array
