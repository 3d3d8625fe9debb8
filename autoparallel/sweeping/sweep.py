"""A sweep from end to end: load every cell, skip what is done, search the others, keep every answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError, noting
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.overrides import OVERRIDE, dotted_path
from autoparallel.reading import read_text
from autoparallel.staging import make_folder, write_file
from autoparallel.sweeping.executors import Answer
from autoparallel.sweeping.grid import OVER, Axis, Cell, cells_of
from autoparallel.sweeping.table import Row, row_of
from autoparallel.sweeping.task import FAILED, FAULT, Task

Executor = Callable[[Mapping[str, str]], Iterator[Answer]]
Progress = Callable[[int, int, str], None]
SWEEP_SCHEMA = "autoparallel.sweep/1"
ANSWERS = "cells"


@dataclass(frozen=True)
class Sweep:
    """The cells of a sweep: those that are problems, and those that are none.

    Attributes
    ----------
    tasks : dict of Cell to Task
        Cells with a problem to search.
    faults : dict of Cell to str
        Cells whose values make no problem, and why.
    """

    axes: tuple[Axis, ...]
    tasks: Mapping[Cell, Task]
    faults: Mapping[Cell, str]

    @property
    def repeated(self) -> int:
        """Cells whose problem is also another cell's: an axis that changes nothing."""
        return len(self.tasks) - len({task.problem.fingerprint for task in self.tasks.values()})


def load_sweep(
    path: Path,
    axes: Sequence[Axis],
    overrides: Sequence[str] = (),
    *,
    trials: int | None = None,
    seed: int | None = None,
) -> Sweep:
    """Load the problem of every cell.

    Raises
    ------
    ProblemError
        No cell is a problem, or an axis is also set to one value.
    """
    _check_settled(axes, overrides, trials=trials, seed=seed)
    tasks: dict[Cell, Task] = {}
    faults: dict[Cell, str] = {}
    first: ProblemError | None = None
    for cell in cells_of(axes):
        try:
            problem = load_problem(path, (*overrides, *cell.overrides))
        except ProblemError as error:
            named = ProblemError([_named(fault, axes) for fault in error.faults])
            first = first or named
            faults[cell] = "; ".join(str(fault) for fault in named.faults)
            continue
        tasks[cell] = _task(problem, trials, seed)
    if first is not None and not tasks:
        raise first
    return Sweep(tuple(axes), tasks, faults)


def _check_settled(axes: Sequence[Axis], overrides: Sequence[str], **tuning: int | None) -> None:
    """Refuse an axis whose values something else would replace, or that would replace it."""
    settled: dict[tuple[str, ...] | None, str] = {
        **{dotted_path(override.partition("=")[0]): "--set" for override in overrides},
        **{("search", name): f"--{name}" for name, value in tuning.items() if value is not None},
    }
    faults = []
    for axis in axes:
        path = dotted_path(axis.key) or ()
        for other, option in settled.items():
            if other and path[: len(other)] == other[: len(path)]:
                faults.append(Fault(f"is given by {option} too: give it once", file=OVER, key=axis.key))
    if faults:
        raise ProblemError(faults)


def _named(fault: Fault, axes: Sequence[Axis]) -> Fault:
    """A fault of a value of an axis, which the problem's reader takes for one of ``--set``."""
    of_axis = any(fault.key.startswith(axis.key) for axis in axes)
    return replace(fault, file=OVER) if fault.file == OVERRIDE and of_axis else fault


def _task(problem: Problem, trials: int | None, seed: int | None) -> Task:
    search = problem.search
    return Task(problem, search.trials if trials is None else trials, search.seed if seed is None else seed)


def run(sweep: Sweep, folder: Path, executor: Executor, progress: Progress | None = None) -> tuple[Row, ...]:
    """Search every cell that has no answer in the folder yet; the rows in the order of the grid.

    Raises
    ------
    SweepError
        The executor failed; the answers so far are kept.
    OutputError
        An answer cannot be written.

    Notes
    -----
    Whatever ends it has a note of what is saved.
    """
    answers = folder / ANSWERS
    done = {task.name: found for task in sweep.tasks.values() if (found := kept_answer(answers, task))}
    failed: dict[str, dict[str, Any]] = {}
    names = {task.name: cell for cell, task in sweep.tasks.items()}
    missing = {task.name: task.to_json() for task in sweep.tasks.values() if task.name not in done}
    if missing:
        make_folder(answers)
    with noting(lambda: _saved(len(done), len(names), answers)):
        for name, answer in executor(missing) if missing else ():
            if isinstance(answer, BaseException):
                failed[name] = {"status": FAILED, "reason": f"{type(answer).__name__}: {answer}"}
            else:
                write_file(answers / name, answer, overwrite=True)
                done[name] = json.loads(answer)
            if progress:
                progress(len(done) + len(failed), len(names), str(names[name]))
    by_cell = {
        cell: row_of(cell, task.problem, done.get(task.name) or failed[task.name])
        for cell, task in sweep.tasks.items()
    }
    wrong = {cell: Row(cell, FAULT, reason) for cell, reason in sweep.faults.items()}
    return tuple({**by_cell, **wrong}[cell] for cell in cells_of(sweep.axes))


def kept_answer(answers: Path, task: Task) -> dict[str, Any] | None:
    """The answer of an earlier run to the same question, by the same version."""
    try:
        found = json.loads(read_text(answers / task.name))
    except (OSError, ValueError, RecursionError):
        return None
    return found if task.answers(found) else None


def all_saved(sweep: Sweep, rows: Sequence[Row], folder: Path) -> str:
    """What is saved of a sweep that has run, in words."""
    failed = {row.cell for row in rows if row.status == FAILED}
    done = {task.name for cell, task in sweep.tasks.items() if cell not in failed}
    cells = {task.name for task in sweep.tasks.values()}
    return _saved(len(done), len(cells), folder / ANSWERS)


def _saved(done: int, cells: int, answers: Path) -> str:
    return f"{done} of {cells} cells are saved in {answers}: the same command goes on from there"
