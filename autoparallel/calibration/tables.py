"""Reads measured tables: told apart by their columns, checked, brought to one spelling."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoparallel.errors import Fault, ProblemError
from autoparallel.reading import MAX_TABLE_BYTES, read_bytes

if TYPE_CHECKING:
    import pandas as pd

LATENCY = "latency_us"
# Column of predictions: whose constants were taken where a row's own kernels have none.
STANDS_IN = "stands_in"
SERVING = "serving"
# Printed figures of communication, each of its source's own kind.
PRINTED = "printed"
PRINTED_COLUMNS = frozenset({"source", "op", "gpu", "n_gpus", "dtype", "shape_or_bytes"})
# Other spellings of a column.
SPELLINGS = {"mla_dtype": "dtype", "kv_cache_dtype": "kv_dtype", "kv_cache": "kv_dtype"}
FORMAT_SPELLINGS = {"bf16": "bfloat16", "fp16": "bfloat16", "float16": "bfloat16", "e4m3": "fp8"}


@dataclass(frozen=True)
class TableKind:
    """A kind of table: the columns that it must have and are numbers or words, and those it may have.

    ``optional`` gives the value of a column that is absent or of a cell that is empty.
    """

    name: str
    numbers: tuple[str, ...]
    words: tuple[str, ...] = ()
    optional: Mapping[str, Any] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def required(self) -> set[str]:
        """Columns that tell the kind."""
        return {*self.numbers, *self.words, LATENCY}


_ANY = {"system": "", "backend": "", "backend_version": "", "kernel": "", "dtype": "bfloat16"}
_ATTENTION = {**_ANY, "kv_dtype": "bfloat16", "window_size": 0.0, "past_kv": 0.0}
_HEADS = ("heads", "kv_heads", "head_dim")
_EXCHANGE = {**_ANY, "node_num": 1.0, "sms": 0.0, "comm_dtype": "default", "comm_backend": "deepep_ht"}
# From the most particular to the least: the first whose columns are all there.
KINDS = (
    TableKind(
        "exchange",
        ("ep_size", "hidden_size", "topk", "num_experts", "num_tokens"),
        ("phase",),
        _EXCHANGE,
    ),
    TableKind(
        "experts",
        ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts"),
        optional={**_ANY, "moe_tp_size": 1.0, "moe_ep_size": 1.0, "distribution": "balanced"},
    ),
    TableKind("collectives", ("n_gpus", "message_bytes"), ("op",), {**_ANY, "nccl_version": ""}),
    TableKind("all_reduce_engine", ("n_gpus", "message_bytes"), optional=_ANY),
    TableKind("prefill_attention", ("batch", "seq", *_HEADS), optional=_ATTENTION),
    TableKind("decode_attention", ("batch", "kv_len", *_HEADS), optional=_ATTENTION),
    TableKind("decode_mla", ("batch", "kv_len", "heads"), optional=_ATTENTION),
    TableKind("prefill_mla", ("batch", "seq", "heads"), optional=_ATTENTION),
    TableKind("gemm", ("m", "n", "k"), optional=_ANY),
)
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Table:
    """Rows of one file that can be used, and how many cannot, by reason."""

    kind: str
    rows: pd.DataFrame
    skipped: Mapping[str, int]
    file: str


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file, compressed or not, as text.

    Raises
    ------
    ProblemError
        There is no such file, or it is no table.
    """
    import pandas as pd

    try:
        data = io.BytesIO(read_bytes(path, MAX_TABLE_BYTES))
        frame = pd.read_csv(data, dtype=str, encoding="utf-8-sig", skipinitialspace=True)
    except FileNotFoundError:
        raise _refused("there is no such file", path) from None
    except IsADirectoryError:
        raise _refused("is a folder; name a table in it", path) from None
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _refused(f"cannot be read: {getattr(error, 'strerror', None) or error}", path) from None
    except (UnicodeDecodeError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise _refused(f"is no CSV table of measurements: {error}", path) from None
    return frame.rename(columns=lambda name: str(name).strip())


def kind_of(columns: Iterable[str], path: Path) -> str:
    """Which kind of table has these columns.

    Raises
    ------
    ProblemError
        None does; the message names what the nearest one lacks, or all tables with their columns.
    """
    found = {SPELLINGS.get(name, name) for name in columns}
    if {"model", "gpu", "isl", "osl"} <= found:
        return SERVING
    if found >= PRINTED_COLUMNS:
        return PRINTED
    for kind in KINDS:
        if kind.required <= found and not found & set(kind.absent):
            return kind.name
    raise _refused(f"is no table that is known: {_lacks(found)}", path)


def _lacks(found: set[str]) -> str:
    """What a table lacks of the kind that it is most likely meant to be; all kinds where none is."""
    shares = {kind.name: len(kind.required & found) / len(kind.required) for kind in KINDS}
    nearest = max(shares, key=lambda name: shares[name])
    if shares[nearest] > 0.5:
        missing = ", ".join(sorted(BY_NAME[nearest].required - found))
        return f"for {nearest} it lacks {missing}"
    tables = [f"{kind.name} ({', '.join([*kind.numbers, *kind.words, LATENCY])})" for kind in KINDS]
    tables += [f"{SERVING} (model, gpu, isl, osl)", f"{PRINTED} ({', '.join(sorted(PRINTED_COLUMNS))})"]
    return f"the tables and their columns are {'; '.join(tables)}"


def read_table(path: Path) -> Table:
    """Read a table of measured operators.

    Raises
    ------
    ProblemError
        It cannot be read, or its columns are those of no table of operators.
    """
    frame = read_csv(path)
    name = kind_of(frame.columns, path)
    if name in (SERVING, PRINTED):
        what = "whole engines" if name == SERVING else "printed figures"
        raise _refused(f"is a table of {what}, not of operators", path)
    return checked(frame, name, path)


def checked(frame: pd.DataFrame, name: str, path: Path) -> Table:
    """Bring the rows of a known kind to one spelling and set aside those that lack something."""
    import pandas as pd

    kind = BY_NAME[name]
    rows = frame.rename(columns={key: value for key, value in SPELLINGS.items() if key in frame})
    for column, default in kind.optional.items():
        rows[column] = rows[column].fillna(str(default)) if column in rows else str(default)
    numbers = (*kind.numbers, *(key for key, value in kind.optional.items() if isinstance(value, float)))
    skipped: dict[str, int] = {}
    good = np.ones(len(rows), dtype=bool)
    for column in (*numbers, LATENCY):
        rows[column] = pd.to_numeric(rows[column], errors="coerce")
        least = 0.0 if column in kind.optional else np.nextafter(0.0, 1.0)
        bad = ~(np.isfinite(rows[column]) & (rows[column] >= least)).to_numpy() & good
        if bad.any():
            skipped[f"{column} is missing or not a number in range"] = int(bad.sum())
        good &= ~bad
    for column in kind.words:
        bad = rows[column].isna().to_numpy() & good
        if bad.any():
            skipped[f"{column} is missing"] = int(bad.sum())
        good &= ~bad
    for column in ("dtype", "kv_dtype"):
        if column in rows:
            rows[column] = rows[column].str.strip().replace(FORMAT_SPELLINGS)
    rows = rows[good].reset_index(drop=True)
    return Table(name, rows.assign(source_file=path.name), skipped, path.name)


def _refused(message: str, path: Path) -> ProblemError:
    return ProblemError([Fault(message, file=str(path))])
