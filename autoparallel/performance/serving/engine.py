"""What an engine costs beside its kernels: constants fitted to whole engines, one file each."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from autoparallel.errors import Fault, ProblemError

TOTAL, FREE_AFTER_WEIGHTS = "total", "free_after_weights"
LONGEST, MEAN = "longest", "mean"


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
    layer_s : float
        Time of a step per layer that no kernel accounts for: launches, small kernels. [s]
    sequence_s : float
        Time of a step per sequence of a rank: scheduling, sampling, detokenising, the network. [s]
    eager_layer_s, eager_expert_factor : float
        A step with prompts in it is launched kernel by kernel: it lasts no less than this per layer,
        and this many times as long in layers with experts. [s], [1]
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
    layer_s: float = 0.0
    sequence_s: float = 0.0
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

    @property
    def reserves_longest(self) -> bool:
        """Whether a request is admitted only where its longest state fits."""
        return self.kv_reservation == LONGEST


def engine_names() -> tuple[str, ...]:
    """Engines whose constants the catalog has, sorted."""
    folder = resources.files("autoparallel.catalog") / "serving_engines"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")))


@cache
def load_engine_constants(name: str) -> EngineConstants:
    """Read an engine's constants.

    Raises
    ------
    ProblemError
        The catalog has no constants of this engine.
    """
    if name not in engine_names():
        known = ", ".join(engine_names())
        raise ProblemError([Fault(f'no constants of the engine "{name}"; there are those of {known}')])
    return EngineConstants(name=name, **_file(name)["constants"])


def engine_provenance(name: str) -> dict[str, Any]:
    """What the file of an engine says of where its constants come from."""
    return dict(_file(name)["provenance"])


def _file(name: str) -> dict[str, Any]:
    entry = resources.files("autoparallel.catalog") / "serving_engines" / f"{name}.toml"
    return tomllib.loads(entry.read_text(encoding="utf-8"))
