"""The serving engine that a problem's plans are meant for, and what it costs beside its kernels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

ENGINES = ("vllm", "sglang", "trtllm")
TOTAL, FREE_AFTER_WEIGHTS = "total", "free_after_weights"
LONGEST, MEAN = "longest", "mean"
# Share of lockstep from which an engine counts as one that puts prompts first.
PROMPTS_FIRST = 0.5


@dataclass(frozen=True, kw_only=True)
class EngineConstants:
    """Constants of a serving engine; the file of each says where they come from.

    Attributes
    ----------
    backend : str
        Whose kernels it runs, as calibrations name them.
    memory_base, memory_fraction : str, float
        The KV cache's share of memory: of the ``total`` less weights, or of what is
        ``free_after_weights``. [1]
    runtime_gb : float
        Context of the driver, collectives, captured graphs, activations of a full step. [1e9 bytes]
    kv_reservation : str
        KV space that admits a request: of its ``longest`` state, or of its ``mean`` one (it grows, and
        is preempted where the space ends).
    max_num_seqs, max_num_batched_tokens : int
        Sequences of a data parallel rank in service, and tokens of one step.
    step_s : float
        Time of a step, whatever is in it: what the host does before it can launch. [s]
    serial_step_s : float
        What versions before ``overlapped_from`` add to that: they schedule a step after the one before it
        has ended, and not while it runs. [s]
    overlapped_from : str
        First version that schedules ahead; empty: all do.
    layer_s : float
        Time of a step per layer that no kernel accounts for: launches, small kernels. [s]
    sequence_s : float
        Time of a step per sequence of a rank: scheduling, sampling, detokenising, the network. [s]
    kernel_factor, prompt_factor : float
        Time of all kernels over that which their own calibration says, and of prompts besides: what one
        deployment was measured to be off by; 1 in the catalog. [1]
    eager_layer_s, eager_expert_factor : float
        A step with prompts in it is launched kernel by kernel: it lasts no less than this per layer,
        and this many times as long in layers with experts. [s], [1]
    captured_tokens : int
        Tokens up to which a step with prompts is launched as a whole, from captured graphs.
    expert_prefill_factor : float
        Time of the experts on prompts over that of the measured kernels on evenly spread tokens. [1]
    expert_launch_hidden : float
        Share of an expert block's launch that captured graphs hide. [1]
    expert_load_shape : float
        Shape of the gamma distribution of the experts' loads with real tokens; infinite for even. [1]
    interference : float
        Time by which the prompts of others hold up a decoding sequence, over that of their steps. [1]
    lockstep : float
        Share of requests that start, and end, together: where prompts come first, sequences that were
        started at once stay together. [1]
    base_ttft_s : float
        Time of a request outside steps: network, tokenising, queueing, detokenising. [s]
    kernels_from : mapping of str to str
        Formats whose matrix products run another backend's kernels.
    longest_launch_s : float
        Measured products that take longer than this for next to nothing are a benchmark's, not an
        engine's: the other backend's stand in for them. [s]
    residuals : mapping
        By load and quantity, quantiles of what predictions were off by where it was calibrated; empty for
        the catalog's.
    """

    name: str
    backend: str
    memory_base: str
    memory_fraction: float
    runtime_gb: float
    kv_reservation: str
    max_num_seqs: int
    max_num_batched_tokens: int
    step_s: float = 0.0
    serial_step_s: float = 0.0
    overlapped_from: str = ""
    layer_s: float = 0.0
    sequence_s: float = 0.0
    kernel_factor: float = 1.0
    prompt_factor: float = 1.0
    captured_tokens: int = 0
    eager_layer_s: float = 0.0
    eager_expert_factor: float = 1.0
    expert_prefill_factor: float = 1.0
    expert_launch_hidden: float = 0.0
    expert_load_shape: float = math.inf
    interference: float = 1.0
    lockstep: float = 0.0
    base_ttft_s: float = 0.0
    kernels_from: Mapping[str, str] | None = None
    longest_launch_s: float = math.inf
    residuals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def reserves_longest(self) -> bool:
        """Whether a request is admitted only where its longest state fits."""
        return self.kv_reservation == LONGEST

    @property
    def prompts_first(self) -> bool:
        """Whether prompts have steps of their own: running sequences do not decode beside them."""
        return self.lockstep >= PROMPTS_FIRST

    def of_version(self, version: str) -> EngineConstants:
        """The constants of a version, such as ``0.12.0``; empty: of one from before ``overlapped_from``."""
        if not self.overlapped_from or _numbers(version) >= _numbers(self.overlapped_from):
            return self
        return replace(self, step_s=self.step_s + self.serial_step_s)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What a problem says about the engine besides its name.

    Attributes
    ----------
    model_path : str or None
        What the engine loads: a Hugging Face name or a folder; by default the repository of the catalog's
        model, or the model's name.
    checkpoint_dtype : str or None
        Format of the weights that are loaded; by default that of the model's own checkpoint.
    gpu_memory_utilization : float or None
        Share of a GPU's memory that the engine may take; by default all that the plan needs, at least
        the engine's own default.
    decode_context_parallel : int
        Tensor parallel ranks that hold a share of a sequence's KV cache each, where they would hold copies
        of it: of KV heads fewer than tp, or of a latent cache.
    constants : EngineConstants or None
        From a calibration of one's own; by default the catalog's.
    """

    model_path: str | None = None
    checkpoint_dtype: str | None = None
    gpu_memory_utilization: float | None = None
    decode_context_parallel: int = 1
    constants: EngineConstants | None = None
