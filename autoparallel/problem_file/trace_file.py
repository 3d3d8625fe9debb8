"""Reads recorded requests: Azure's CSV of 2023 and Mooncake's JSON lines, plain or compressed."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from autoparallel.domain.workload import Lengths, Trace
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.fields import MAX_TOKENS
from autoparallel.problem_file.text_file import file_text

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOONCAKE = ("timestamp", "input_length", "output_length")
HASHES = "hash_ids"
MAX_BYTES = 128 * 1024 * 1024
MAX_REQUESTS = 1_000_000
MAX_FAULTS = 10
# Quantiles that stand for a trace's lengths.
_POINTS = 200


class _Request(NamedTuple):
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    prefix_blocks: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Of prompt and output. [tokens]"""
        return self.prompt_tokens + self.output_tokens


def read_trace(path: str | Path, max_model_len: int | None = None) -> Trace:
    """Read a trace.

    Parameters
    ----------
    path : str or Path
        A CSV file with Azure's columns or JSON lines with Mooncake's fields; ``.gz`` is unpacked.
    max_model_len : int, optional
        Requests of more tokens, prompt and output together, are rejected: counted and left out. [tokens]

    Raises
    ------
    ProblemError
        The file cannot be read, has other columns, no requests, times that fall or are negative,
        or lengths of zero; each with its line.
    """
    file = Path(path)
    text = file_text(file, MAX_BYTES)
    if not text.strip():
        raise ProblemError([Fault("has no requests", file=str(file))])
    if text.count("\n") > MAX_REQUESTS + 1:
        message = f"has more than {MAX_REQUESTS:,} lines: take a part of it"
        raise ProblemError([Fault(message, file=str(file))])
    first = text.lstrip()[0]
    rows = _mooncake(text, str(file)) if first == "{" else _azure(text, str(file))
    recorded = _checked(rows, str(file))
    requests = [one for one in recorded if max_model_len is None or one.tokens <= max_model_len]
    if not requests:
        message = f"has no request of at most {max_model_len:,} tokens, which is workload.max_model_len"
        raise ProblemError([Fault(message, file=str(file))])
    start = requests[0].arrival_s
    blocks = tuple(request.prefix_blocks for request in requests)
    return Trace(
        name=file.name,
        arrival_s=tuple(request.arrival_s - start for request in requests),
        prompt_tokens=tuple(request.prompt_tokens for request in requests),
        output_tokens=tuple(request.output_tokens for request in requests),
        prefix_blocks=blocks if any(blocks) else (),
        rejected=len(recorded) - len(requests),
    )


def trace_lengths(tokens: tuple[int, ...]) -> Lengths:
    """The distribution of a trace's lengths, its mean exact."""
    ordered = sorted(tokens)
    last = len(ordered) - 1
    points = tuple(
        (step / _POINTS, float(ordered[round(last * step / _POINTS)])) for step in range(_POINTS + 1)
    )
    return Lengths(
        kind="trace", min=ordered[0], max=ordered[-1], points=points, average=sum(ordered) / len(ordered)
    )


def _azure(text: str, file: str) -> Iterator[tuple[int, dict[str, Any], Callable[[Any], float]]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        _need(AZURE, reader.fieldnames or (), file)
        for row in reader:
            named = dict(zip(MOONCAKE, (row[key] for key in AZURE), strict=True))
            yield reader.line_num, named, _clock
    except csv.Error as error:
        raise ProblemError([Fault(f"is no CSV: {error}", file=file, line=reader.line_num)]) from None


def _mooncake(text: str, file: str) -> Iterator[tuple[int, dict[str, Any], Callable[[Any], float]]]:
    for line, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        try:
            fields = json.loads(row)
        except (json.JSONDecodeError, RecursionError):
            raise ProblemError([Fault("is not valid JSON", file=file, line=line)]) from None
        if not isinstance(fields, dict):
            raise ProblemError([Fault("is no JSON object", file=file, line=line)])
        _need(MOONCAKE, fields, file, line)
        yield line, fields, _milliseconds


def _need(keys: tuple[str, ...], given: Any, file: str, line: int = 1) -> None:
    missing = [key for key in keys if key not in given]
    if missing:
        both = f"{', '.join(AZURE)} (Azure) or {', '.join(MOONCAKE)} (Mooncake)"
        message = f"no column {', '.join(missing)}: a trace has {both}"
        raise ProblemError([Fault(message, file=file, line=line)])


def _clock(text: Any) -> float:
    """Seconds of a date and time with any number of decimals."""
    whole, _, decimals = str(text).partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()
    return moment + (float(f"0.{decimals}") if decimals else 0.0)


def _milliseconds(value: Any) -> float:
    return float(value) / 1e3


def _checked(rows: Iterator[tuple[int, dict[str, Any], Callable[[Any], float]]], file: str) -> list[_Request]:
    found: list[Fault] = []
    requests: list[_Request] = []
    before = 0.0
    for line, row, seconds in rows:
        try:
            request = _request(row, seconds)
        except (TypeError, ValueError, OverflowError):
            found.append(Fault("is not a time and two whole numbers", file=file, line=line))
        else:
            message = _wrong(request, before if requests else 0.0)
            if message:
                found.append(Fault(message, file=file, line=line))
            before = max(request.arrival_s, before)
            requests.append(request)
        if len(found) >= MAX_FAULTS:
            found.append(Fault("and perhaps more: only the first faults are listed", file=file))
            break
    if not requests and not found:
        found.append(Fault("has no requests", file=file))
    if found:
        raise ProblemError(found)
    return requests


def _request(row: dict[str, Any], seconds: Callable[[Any], float]) -> _Request:
    arrival_s = seconds(row["timestamp"])
    if not math.isfinite(arrival_s):
        raise ValueError(arrival_s)
    prompt, output = (int(row[key]) for key in MOONCAKE[1:])
    blocks = row.get(HASHES) or ()
    return _Request(arrival_s, prompt, output, tuple(int(block) for block in blocks))


def _wrong(request: _Request, before: float) -> str:
    """What is wrong with a request after one at ``before``; empty for nothing."""
    if request.arrival_s < 0:
        return f"the time {request.arrival_s:g} s is negative"
    if request.arrival_s < before:
        return "arrives before the request of the line above: sort the trace by time"
    if request.prompt_tokens <= 0 or request.output_tokens <= 0:
        return "has no tokens: every request has a prompt and an output"
    if max(request.prompt_tokens, request.output_tokens) > MAX_TOKENS:
        return f"has more than {MAX_TOKENS:,} tokens"
    return ""
