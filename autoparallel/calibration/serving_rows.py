"""Predictions of whole engines: under load, and static batches, that start and end together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from autoparallel.calibration.serving import calibrated_hardware
from autoparallel.calibration.serving_loads import COLUMNS, predict_loads, under_load
from autoparallel.calibration.serving_names import (
    BACKENDS,
    FORMATS,
    UnknownError,
    gpu_name,
    model_name,
)
from autoparallel.calibration.stand_ins import of_gpu
from autoparallel.calibration.tables import STANDS_IN
from autoparallel.domain.layout import Layout
from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import estimate
from autoparallel.performance.machine import Machine
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.document import read_document
from autoparallel.problem_file.engine_calibration import is_engine_calibration

if TYPE_CHECKING:
    import pandas as pd

STATIC = "static"
MEASURED = ("ttft_ms", "tpot_ms", "output_tokens_per_s_per_gpu")
TEMPLATE = "static_row.toml"


class StaticRow(NamedTuple):
    """A static batch on one deployment."""

    problem: Problem
    layout: Layout
    batch: int
    osl: float


def predict_serving(
    frame: pd.DataFrame, calibration: Path | None, *, backend: str | None = None
) -> tuple[pd.DataFrame, Counter[str]]:
    """Predict the rows of a table of whole engines.

    Parameters
    ----------
    calibration : Path or None
        Constants for every row; by default the catalog's.
    backend : str, optional
        Whose kernels to take instead of the row's engine's, such as ``"none"`` for a roofline.

    Returns
    -------
    pandas.DataFrame
        ``key``, ``group``, ``measured``, ``predicted``, ``row`` and ``stands_in``.
    Counter
        Rows that could not be predicted, by reason.
    """
    import pandas as pd

    found: list[dict[str, Any]] = []
    loaded = under_load(frame)
    values, skipped = predict_loads(frame[loaded], calibration, backend=backend)
    static_rows = frame[~loaded]
    for index, cells in zip(static_rows.index, static_rows.to_dict("records"), strict=True):
        row = {str(name): value for name, value in cells.items() if isinstance(value, str) and value.strip()}
        try:
            measured = dict(_measured(row))
            if not measured:
                raise UnknownError("nothing measured: no " + ", ".join(MEASURED))
            static = static_row(row, calibration, backend)
            predicted = predict(static)
        except UnknownError as reason:
            skipped[str(reason)] += 1
            continue
        except ProblemError as error:
            skipped[error.faults[0].message] += 1
            continue
        group = f"{row['gpu']} {row['model'].rpartition('/')[2]} {static.problem.model.weights_dtype}"
        found += [
            {"key": key, "group": group, "measured": value, "predicted": predicted[key], "row": index}
            for key, value in measured.items()
        ]
    static_values = pd.DataFrame(found, columns=list(COLUMNS))
    parts = [part for part in (values, static_values) if len(part)]
    whole = pd.concat(parts, ignore_index=True) if parts else static_values
    whole[STANDS_IN] = [
        "" if calibration or backend else _stand_in(frame["gpu"][row], frame.get("engine", {}).get(row))
        for row in whole["row"]
    ]
    return whole, skipped


def _stand_in(gpu: str, engine: object) -> str:
    """Whose constants predict an engine's kernels on a GPU that nobody measured."""
    name = engine.lower() if isinstance(engine, str) else "vllm"
    return of_gpu(calibrated_hardware(gpu_name(gpu), BACKENDS.get(name, "vllm")))


def static_row(row: Mapping[str, str], calibration: Path | None, backend: str | None = None) -> StaticRow:
    """The problem and the plan that a row stands for.

    Raises
    ------
    UnknownError
        The row lacks something, or names what the catalog does not have.
    ProblemError
        Its model and GPU do not go together.
    """
    load = row.get("load", STATIC)
    if load != STATIC:
        raise UnknownError(f'load = "{load}" is not predicted yet')
    batch, isl, osl = _count(row, "concurrency"), _number(row, "isl"), _number(row, "osl")
    degrees = {key: _count(row, key, 1) for key in ("tp", "pp", "dp", "ep")}
    stage = degrees["tp"] * degrees["dp"]
    etp = _count(row, "etp", max(degrees["tp"] // degrees["ep"], 1))
    if "gpus" in row and _count(row, "gpus") != stage * degrees["pp"]:
        raise UnknownError("tp, pp and dp do not make the number of gpus")
    if stage % (degrees["ep"] * etp):
        raise UnknownError("ep and etp do not tile the GPUs of a stage")
    if batch % degrees["dp"]:
        raise UnknownError("concurrency is no multiple of dp")
    overrides: dict[str, str | int] = {
        "model.name": model_name(row["model"]),
        "model.weights_dtype": _format(row.get("weights_dtype", "bfloat16")),
        "model.embedding_dtype": "bfloat16",
        "model.activation_dtype": "bfloat16",
        "model.kv_cache_dtype": _format(row.get("kv_cache_dtype", "bfloat16")),
        "hardware.gpu": gpu_name(row["gpu"]),
        "hardware.backend": backend or BACKENDS.get(row.get("engine", "vllm").lower(), "vllm"),
        "workload.concurrency": batch,
        "workload.prompt_tokens": round(isl),
        "workload.output_tokens": max(round(osl), 1),
    }
    if calibration is not None and not is_engine_calibration(read_document(calibration).data):
        overrides["hardware.calibration"] = str(calibration.resolve())
    texts = [f"{key}={_toml(value)}" for key, value in overrides.items()]
    with resources.as_file(resources.files("autoparallel.calibration") / TEMPLATE) as template:
        problem = load_problem(template, texts)
    layout = Layout(tp=degrees["tp"], pp=degrees["pp"], dp=degrees["dp"], ep=degrees["ep"], etp=etp)
    return StaticRow(problem, layout, batch, osl)


def predict(row: StaticRow) -> dict[str, float]:
    """TTFT and TPOT in ms, and output tokens/s/GPU, of a static batch."""
    slots = row.layout.pp if row.batch % (row.layout.pp * row.layout.dp) == 0 else 1
    table = PlanTable.of([row.layout], [row.batch], [row.batch // slots])
    plan = estimate(Machine(row.problem), table)
    tokens_per_s = row.batch * row.osl / float(plan.run_s[0])
    return {
        "ttft_ms": float(plan.ttft_s[0]) * 1e3,
        "tpot_ms": float(plan.tpot_s[0]) * 1e3,
        "output_tokens_per_s_per_gpu": tokens_per_s / row.layout.gpus,
    }


def _measured(row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for key in MEASURED:
        if key in row and (value := _number(row, key)) > 0:
            yield key, value


def _number(row: Mapping[str, str], key: str, default: float | None = None) -> float:
    if key not in row:
        if default is None:
            raise UnknownError(f"{key} is missing")
        return default
    try:
        value = float(row[key])
    except ValueError:
        raise UnknownError(f"{key} is no number") from None
    if not np.isfinite(value) or value <= 0:
        raise UnknownError(f"{key} is not positive")
    return value


def _count(row: Mapping[str, str], key: str, default: int | None = None) -> int:
    value = _number(row, key, default)
    if value != int(value):
        raise UnknownError(f"{key} is no whole number")
    return int(value)


def _format(name: str) -> str:
    known = FORMATS.get(name.lower())
    if known is None:
        raise UnknownError(f'number format "{name}" is not known')
    return known


def _toml(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
