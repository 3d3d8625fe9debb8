"""Predictions of single operators, as the benchmark that measured them would see them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from autoparallel.calibration import stand_ins
from autoparallel.calibration.formats import FORMATS, WIRE_BYTES, unknown
from autoparallel.calibration.operators import OPERATORS, SHARED_BACKENDS, SHARED_TABLES
from autoparallel.calibration.recipe import Entry, OperatorClass
from autoparallel.calibration.systems import gpu_of_system, hardware_of
from autoparallel.calibration.tables import LATENCY, STANDS_IN
from autoparallel.domain.hardware import Hardware
from autoparallel.performance.kernels import Kernels, nearest
from autoparallel.problem_file.calibration_choice import constants_in

if TYPE_CHECKING:
    import pandas as pd

# Kernels of other engines, and tables that name none, are predicted with these.
OTHERS = "vllm"
BACKENDS = ("trtllm", "vllm")
COLLECTIVE_FORMATS = ("half", "int8")


def predict_operators(
    kind: str, rows: pd.DataFrame, calibration: Path | None
) -> tuple[pd.DataFrame, Counter[str]]:
    """Predict the rows of a table of operators.

    Returns
    -------
    pandas.DataFrame
        ``key``, ``group``, ``measured``, ``predicted``, ``row`` and ``stands_in``: whose constants predict
        it, empty where its own do.
    Counter
        Rows that could not be predicted, by reason.
    """
    import pandas as pd

    operator = OPERATORS[kind]
    skipped: Counter[str] = Counter()
    parts = [pd.DataFrame(columns=["key", "group", "measured", "predicted", "row", STANDS_IN])]
    shared = SHARED_BACKENDS if kind in SHARED_TABLES else ()
    for (system, backend), group in rows.groupby(["system", "backend"], sort=True):
        if system not in gpu_of_system():
            skipped[f'no GPU of the catalog has system = "{system}"'] += len(group)
            continue
        used = backend if backend in BACKENDS else OTHERS
        hardware = _with_file(hardware_of(str(system), used), calibration)
        prepared = operator.prepared(group)
        for entry, part in _entries(prepared):
            if reason := _unknown(entry, hardware):
                skipped[reason] += len(part)
                continue
            label = " ".join(filter(None, (hardware.calibration, *entry)))
            instead = [stand_ins.of_entry(hardware, entry, _stand_ins(entry))]
            if calibration is None and backend not in shared:
                instead.insert(0, stand_ins.of_backend(str(backend), used))
                label += f" (for {backend or 'no backend'})" if used != backend else ""
            columns = {"group": label, STANDS_IN: "; ".join(filter(None, instead))}
            parts.append(_predicted(operator, entry, part, hardware).assign(**columns))
    filled = [part for part in parts if len(part)] or parts
    return pd.concat(filled, ignore_index=True), skipped


def _entries(prepared: pd.DataFrame) -> Iterator[tuple[Entry, pd.DataFrame]]:
    for (name, form), part in prepared.groupby(["operator", "format"], sort=True):
        yield Entry(str(name), str(form)), part


def _unknown(entry: Entry, hardware: Hardware) -> str:
    """Why an entry cannot be predicted; empty where it can be."""
    if reason := unknown(*entry):
        return reason
    if hardware.calibration and entry.operator not in hardware.kernels:
        return f"{entry.operator} was not measured with this backend on any GPU"
    return ""


def _predicted(operator: OperatorClass, entry: Entry, part: pd.DataFrame, hardware: Hardware) -> pd.DataFrame:
    import pandas as pd

    kernels = Kernels(hardware, as_benchmarked=True)
    constants = kernels.of(operator.constants, entry.operator, _stand_ins(entry))
    seconds = operator.predictor(entry, part, hardware)(constants)
    return pd.DataFrame(
        {
            "key": LATENCY,
            "measured": part[LATENCY].to_numpy(),
            "predicted": seconds * 1e6,
            "row": part.index.to_numpy(),
        }
    )


def _stand_ins(entry: Entry) -> tuple[str, ...]:
    """The format and those that may take its place, the nearest first."""
    first, _, cache_format = entry.format.partition("/")
    if cache_format:
        others = (f"bfloat16/{cache_format}", "bfloat16/bfloat16")
        return (entry.format, *others)
    return (*nearest(first), *FORMATS, *WIRE_BYTES, *COLLECTIVE_FORMATS)


def _with_file(hardware: Hardware, calibration: Path | None) -> Hardware:
    if calibration is None:
        return hardware
    return replace(hardware, kernels=_read(calibration), calibration=calibration.name)


@cache
def _read(calibration: Path) -> dict[str, dict[str, dict[str, object]]]:
    from autoparallel.problem_file.document import read_document

    return dict(constants_in(read_document(calibration).data))  # type: ignore[arg-type]
