"""Several results side by side: one row each, and the fronts behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.report.wording import brief
from autoparallel.results_folder import plan_path, read_plan, read_problem
from autoparallel.verification.front_file import FrontRow, front_rows

SCHEMA = "autoparallel.report/1"
FRONT_FILE = "front.csv"
# Columns of the table: name, heading, unit of its number (empty for words).
COLUMNS = (
    ("name", "Result", ""),
    ("model", "Model", ""),
    ("weights", "Weights", ""),
    ("gpu", "GPU", ""),
    ("engine", "Engine", ""),
    ("mode", "Load", ""),
    ("gpus", "GPUs", "GPUs"),
    ("layout", "Layout", ""),
    ("batch", "Batch", "sequences"),
    ("ttft_s", "TTFT", "s"),
    ("tpot_s", "TPOT", "s"),
    ("tokens_per_ms_per_gpu", "Tokens/ms/GPU", "tokens/ms/GPU"),
    ("memory_gb", "Memory, GB", "GB"),
    ("usd_per_hour", "$/hour", "$"),
    ("usd_per_million_tokens", "$/M tokens", "$"),
)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One result: its problem, its best plan, its front, and the row that it is in the table."""

    name: str
    problem: Problem
    plan: Plan
    front: tuple[FrontRow, ...]

    @property
    def row(self) -> dict[str, Any]:
        """The cells of :data:`COLUMNS`, numbers in their units; ``None`` where nothing is known."""
        problem, plan = self.problem, self.plan
        cost, rate = plan.cost, plan.metrics.total_tokens_per_ms_per_gpu
        return {
            "name": self.name,
            "model": problem.model.name,
            "weights": problem.model.weights_dtype,
            "gpu": problem.hardware.name,
            "engine": problem.engine or "any",
            "mode": problem.workload.mode,
            "gpus": plan.gpus,
            "layout": brief(plan.layout),
            "batch": plan.batch,
            "ttft_s": plan.metrics.ttft_s,
            "tpot_s": plan.metrics.tpot_s,
            "tokens_per_ms_per_gpu": rate,
            "memory_gb": plan.memory.total_bytes / 1e9,
            "usd_per_hour": cost and cost.usd_per_hour,
            "usd_per_million_tokens": cost and cost.usd_per_million_tokens,
        }


def read_compared(
    folders: Sequence[Path], left_out: Callable[[Path, ProblemError], None] | None = None
) -> tuple[Compared, ...]:
    """The results of some folders, named by their folders, apart where these have one name.

    Parameters
    ----------
    left_out : callable, optional
        Told of a folder that holds no whole result, and why; by default one ends all.

    Raises
    ------
    ProblemError
        A folder, or with ``left_out`` every one, holds no whole result.
    """
    names = [folder.resolve().name for folder in folders]
    called = [
        name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, start=1)
    ]
    found, faults = [], []
    for name, folder in zip(called, folders, strict=True):
        try:
            found.append(_compared(name, folder))
        except ProblemError as error:
            if left_out is None:
                raise
            faults.append((folder, error))
    if not found:
        raise ProblemError([fault for _, refused in faults for fault in refused.faults])
    for folder, fault in faults:
        if left_out is not None:
            left_out(folder, fault)
    return tuple(found)


def _compared(name: str, folder: Path) -> Compared:
    # The plan first: who misses it is told what the folder holds instead.
    plan = read_plan(folder)
    return Compared(
        name=name,
        plan=plan,
        problem=read_problem(folder),
        front=tuple(front_rows(plan_path(folder).with_name(FRONT_FILE))),
    )


def compared_document(results: Sequence[Compared]) -> dict[str, Any]:
    """What ``report --json`` prints."""
    return {"schema": SCHEMA, "results": [result.row for result in results]}
