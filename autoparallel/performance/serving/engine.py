"""What an engine costs beside its kernels: constants fitted to whole engines, one file each."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from autoparallel.domain.engine import TOTAL, EngineConstants
from autoparallel.domain.layout import Layout
from autoparallel.domain.pair import Pair
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.performance.operators.cost import Quantity

# Whose constants stand in where a problem names no engine.
DEFAULT_ENGINE = "vllm"


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


def engine_of(problem: Problem, name: str | None = None) -> EngineConstants:
    """The constants of the engine that serves a problem: the user's own calibration's, or the catalog's.

    Parameters
    ----------
    name : str, optional
        An engine instead of the problem's.

    Raises
    ------
    ProblemError
        The catalog has no constants of this engine.
    """
    options = problem.engine_options
    chosen = name or problem.engine or DEFAULT_ENGINE
    own = options.constants
    constants = own if own is not None and own.name == chosen else load_engine_constants(chosen)
    share = options.gpu_memory_utilization if problem.engine else None
    return constants if share is None else replace(constants, memory_base=TOTAL, memory_fraction=share)


def decode_tokens(problem: Problem) -> float:
    """Tokens of a step that each sequence needs to decode: none where prompts have steps of their own."""
    speculation = problem.workload.speculation
    if engine_of(problem).prompts_first:
        return 0.0
    return speculation.verified if speculation else 1.0


def decode_share(problem: Problem, sequences: Quantity, chunk: Quantity) -> Quantity:
    """Share of a step of ``chunk`` tokens that so many decoding sequences of a rank take; at most 1. [1]"""
    return decode_tokens(problem) * sequences / chunk


def own_pair(problem: Problem, layout: Layout, batch: int | None = None, chunk: int | None = None) -> Pair:
    """The sizes of a layout, by default the engine's own.

    Parameters
    ----------
    batch, chunk : int, optional
        Sequences in service of an instance, and tokens of a step of a data parallel rank.
    """
    engine = engine_of(problem)
    chunk = engine.max_num_batched_tokens if chunk is None else chunk
    if batch is None:
        most = engine.max_num_seqs
        if needed := decode_tokens(problem):
            most = min(most, int(chunk / needed))
        batch = max(most, 1) * layout.dp
    return Pair(batch, batch, chunk)


def engine_provenance(name: str) -> dict[str, Any]:
    """What the file of an engine says of where its constants come from."""
    return dict(_file(name)["provenance"])


def _file(name: str) -> dict[str, Any]:
    entry = resources.files("autoparallel.catalog") / "serving_engines" / f"{name}.toml"
    return tomllib.loads(entry.read_text(encoding="utf-8"))
