"""Reads what a document is about: a plan, its problem, and what the search said of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.reading import read_text
from autoparallel.results_folder import (
    PROBLEM_FILE,
    plan_path,
    read_plan,
    read_plan_data,
    read_problem,
    size_faults,
)


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """A layout with its sizes, before anything is estimated for it; the chunk is continuous batching's."""

    layout: Layout
    batch: int
    microbatch: int
    chunk: int | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A plan as it was stored, and the problem it is for.

    Attributes
    ----------
    ttft_s, throughput : float
        What the file says of the plan, to tell whether the model has changed since. [s], [tokens/ms/GPU]
    proof : str
        The proof in a sentence; empty where no search made the plan.
    """

    problem: Problem
    plan: Arrangement
    ttft_s: float
    throughput: float
    runner_up: Arrangement | None = None
    runner_up_reason: str = ""
    proof: str = ""
    warnings: tuple[str, ...] = ()


def read_source(result: Path, problem_path: Path | None = None) -> Source:
    """Read a results folder or a plan.json.

    Parameters
    ----------
    result : Path
        A folder that ``search`` wrote, or a plan.json.
    problem_path : Path, optional
        The problem file, where the result does not hold its problem or another one is meant.

    Raises
    ------
    ProblemError
        The plan or its problem cannot be read, or they do not belong together.
    """
    file, data, plan = plan_path(result), read_plan_data(result), read_plan(result)
    problem, warnings = _problem(result, data, problem_path)
    second = data.get("runner_up")
    return Source(
        problem=problem,
        plan=Arrangement(layout=plan.layout, **plan.pair._asdict()),
        ttft_s=float(plan.metrics.ttft_s),
        throughput=float(plan.metrics.total_tokens_per_ms_per_gpu),
        runner_up=_runner_up(second, file) if isinstance(second, Mapping) else None,
        runner_up_reason=str(data.get("runner_up_reason") or ""),
        proof=_proof(file.with_name("proof.json"), data),
        warnings=warnings,
    )


def _problem(
    result: Path, data: Mapping[str, Any], problem_path: Path | None
) -> tuple[Problem, tuple[str, ...]]:
    """The problem of a result, or the one that was given, and what to warn of."""
    from autoparallel.problem_file import load_problem

    kept = plan_path(result).with_name(PROBLEM_FILE)
    if problem_path is None:
        if not kept.is_file():
            message = "the result does not hold its problem; name the problem file with --problem"
            raise ProblemError([Fault(message, file=str(kept))])
        return read_problem(result), ()
    problem = load_problem(problem_path)
    fingerprint = data.get("fingerprint")
    if fingerprint in (None, problem.fingerprint):
        return problem, ()
    name = _model_of(kept)
    if name and name != problem.model.name:
        message = f"the plan is for the model {name}, the problem for {problem.model.name}"
        raise ProblemError([Fault(message, file=str(problem_path), key="model.name")])
    return problem, (
        "The plan was found for a problem of another fingerprint; all is computed for the one given.",
    )


def _model_of(file: Path) -> str:
    """The name of the model in a problem.json, empty where that cannot be told."""
    try:
        data = json.loads(read_text(file))
        return str(data["model"]["name"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return ""


def _runner_up(data: Mapping[str, Any], file: Path) -> Arrangement:
    degrees = data.get("layout")
    known = Layout.__dataclass_fields__
    named = {key: degrees[key] for key in known if key in degrees} if isinstance(degrees, Mapping) else {}
    layout, batch, microbatch = Layout(**named), data.get("batch"), data.get("microbatch")
    if wrong := size_faults(layout, batch, microbatch, str(file), key="runner_up."):
        raise ProblemError(wrong)
    serving = data.get("serving")
    chunk = serving.get("max_num_batched_tokens") if isinstance(serving, Mapping) else None
    if chunk is not None and (not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1):
        message = "must be a whole number from 1"
        raise ProblemError([Fault(message, str(file), key="runner_up.serving.max_num_batched_tokens")])
    return Arrangement(
        layout=layout, batch=int(data["batch"]), microbatch=int(data["microbatch"]), chunk=chunk
    )


def _proof(file: Path, data: Mapping[str, Any]) -> str:
    """The statement of the proof that belongs to the plan."""
    try:
        proof = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(proof, dict) or not data.get("fingerprint"):
        return ""
    return str(proof.get("statement", "")) if proof.get("fingerprint") == data["fingerprint"] else ""
