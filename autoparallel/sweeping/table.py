"""The table of a sweep: a row a cell, what it costs, and where the answer changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoparallel.domain.problem import Problem
from autoparallel.sweeping.grid import Axis, Cell
from autoparallel.sweeping.task import PLAN

if TYPE_CHECKING:
    import pandas as pd

PRICE = "usd_per_gpu_hour"
COST = "usd_per_million_tokens"
METRICS = ("ttft_s", "tpot_s", "total_tokens_per_ms_per_gpu", "requests_per_s")
LAYOUT = ("tp", "sp", "sp_kind", "dp", "pp", "ep", "etp", "replicas", "batch", "microbatch")


@dataclass(frozen=True)
class Row:
    """A cell with its answer; ``values`` are the columns of the table besides the settings.

    Attributes
    ----------
    status, reason : str
        ``plan``; ``infeasible``, ``fault`` (of the problem) or ``failed`` (of the search) and why.
    price_source : str
        Where the price of the GPU is from, and when; empty where none is known.
    """

    cell: Cell
    status: str
    reason: str = ""
    fingerprint: str = ""
    price_source: str = ""
    values: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The row by column."""
        columns = dict.fromkeys(("gpus", *LAYOUT, *METRICS, "memory_gb", PRICE, COST, "complete"))
        return {
            **dict(self.cell.settings),
            "status": self.status,
            **columns,
            **(self.values or {}),
            "price_source": self.price_source,
            "reason": self.reason,
            "fingerprint": self.fingerprint,
        }


def row_of(cell: Cell, problem: Problem, answer: Mapping[str, Any]) -> Row:
    """The row of an answer."""
    best, price = answer.get("best"), problem.hardware.usd_per_gpu_hour
    source = "" if price is None else problem.hardware.sources.get(PRICE, "the problem file")
    values = None
    if answer["status"] == PLAN and best is not None:
        metrics, layout = best["metrics"], {**best["layout"], **best}
        values = {
            "gpus": best["gpus"],
            **{name: layout.get(name) for name in LAYOUT},
            **({"chunk": best["serving"]["max_num_batched_tokens"]} if "serving" in best else {}),
            **{name: metrics.get(name) for name in METRICS},
            "memory_gb": best["memory"]["total_bytes"] / 1e9,
            PRICE: price,
            COST: best["cost"][COST],
            "complete": answer["complete"],
        }
    return Row(cell, answer["status"], answer["reason"], problem.fingerprint, source, values)


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """All rows as a table; a count stays one where other cells have none."""
    import pandas as pd

    return pd.DataFrame([row.to_dict() for row in rows]).convert_dtypes()


@dataclass(frozen=True)
class Change:
    """Two neighbours on an axis whose answers differ; ``at`` are the other settings."""

    axis: str
    before: str
    after: str
    at: tuple[tuple[str, str], ...]
    answer_before: str
    answer_after: str


def plan_text(row: Row) -> str:
    """The answer of a row in a line."""
    if row.values is None:
        return row.status
    kept = {name: row.values[name] for name in LAYOUT if row.values.get(name) not in (None, 1)}
    if row.values.get("chunk"):
        kept.pop("microbatch", None)
    kind = f" ({kept.pop('sp_kind')})" if "sp_kind" in kept else ""
    words = [f"{name}={size}" + (kind if name == "sp" else "") for name, size in kept.items()]
    # In continuous batching engines fill pipeline slots by themselves: a chunk is what they are told.
    chunk = [f"chunk={row.values['chunk']}"] if row.values.get("chunk") else []
    gpus = row.values["gpus"]
    return " ".join((f"{gpus:,} GPU{'' if gpus == 1 else 's'}:", *words, *chunk))


def changes(axes: Sequence[Axis], rows: Sequence[Row]) -> Iterator[Change]:
    """Where the answer changes from one value of an axis to the next, the others fixed."""
    answers = {row.cell.settings: plan_text(row) for row in rows}
    for place, axis in enumerate(axes):
        following = dict(zip(axis.values, axis.values[1:], strict=False))
        for settings, before in answers.items():
            value = settings[place][1]
            if value not in following:
                continue
            other = (*settings[:place], (axis.key, following[value]), *settings[place + 1 :])
            if answers[other] != before:
                rest = settings[:place] + settings[place + 1 :]
                yield Change(axis.key, value, following[value], rest, before, answers[other])
