"""Reads how tokens fall on experts: loads by layer and expert, and which experts tokens use together."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from autoparallel.domain.model import SPARSE, Model
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.text_file import file_text

LOADS, PAIRS = ("layer", "expert", "load"), ("layer", "expert_a", "expert_b", "count")
MAX_BYTES = 128 * 1024 * 1024
MAX_PAIRS = 4_000_000
MAX_FAULTS = 10
# Shares of a file that was rounded may pass what they can be by so much.
ROUNDED = 1e-3

Pairs = tuple[tuple[int, int, float], ...]


class _Row(NamedTuple):
    """One line of a file: a layer, its experts, and a number."""

    line: int
    layer: int
    experts: tuple[int, ...]
    value: float


def sparse_layers(model: Model) -> tuple[int, ...]:
    """The layers of a model that have routed experts, counted from 0."""
    return tuple(layer for layer, kind in enumerate(model.mlp_layer_types) if kind == SPARSE)


def read_expert_loads(path: Path, model: Model) -> tuple[tuple[float, ...], ...]:
    """Shares of every layer's load by expert, from a CSV with the columns of ``LOADS``.

    Raises
    ------
    ProblemError
        The file cannot be read or has other columns; an expert is unknown, missing or given twice; a load is
        negative or no number, a layer has none at all, or an expert more than every token can give it.
    """
    layers, file = sparse_layers(model), str(path)
    loads: dict[int, dict[int, float]] = {layer: {} for layer in layers}
    found = _Faults(file)
    for row in _rows(path, LOADS, model, found, most=2 * len(layers) * model.num_experts):
        expert = row.experts[0]
        if expert in loads[row.layer]:
            found.add(f"expert {expert} of layer {row.layer} was given already", row.line)
        loads[row.layer][expert] = row.value
    found.raise_any()
    for layer in layers:
        _check_layer(layer, loads[layer], model, found)
    found.raise_any()
    return tuple(_shares([loads[layer][expert] for expert in range(model.num_experts)]) for layer in layers)


def read_coactivation(path: Path, model: Model) -> tuple[Pairs, ...]:
    """Shares of every layer's pairs of experts of one token, from a CSV with the columns of ``PAIRS``.

    Raises
    ------
    ProblemError
        As for :func:`read_expert_loads`; also a pair of an expert with itself.
    """
    counts: dict[int, dict[tuple[int, int], float]] = {layer: {} for layer in sparse_layers(model)}
    found = _Faults(str(path))
    for row in _rows(path, PAIRS, model, found, most=MAX_PAIRS):
        first, second = sorted(row.experts)
        if first == second:
            found.add(f"a token does not use expert {first} twice", row.line)
        elif (first, second) in counts[row.layer]:
            found.add(f"experts {first} and {second} of layer {row.layer} were given already", row.line)
        counts[row.layer][first, second] = row.value
    found.raise_any()
    for layer, pairs in counts.items():
        if not sum(pairs.values()) > 0:
            found.add(f"layer {layer} has no pair of experts with a count above 0")
    found.raise_any()
    return tuple(_pair_shares(pairs) for pairs in counts.values())


class _Faults:
    """The first faults of a file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Fault] = []

    def add(self, message: str, line: int = 0) -> None:
        """Note a fault; enough of them end the reading."""
        self.found.append(Fault(message, file=self.file, line=line))
        if len(self.found) >= MAX_FAULTS:
            self.found.append(Fault("and perhaps more: only the first faults are listed", file=self.file))
            self.raise_any()

    def raise_any(self) -> None:
        """End with what was found."""
        if self.found:
            raise ProblemError(self.found)


def _rows(path: Path, columns: tuple[str, ...], model: Model, found: _Faults, *, most: int) -> Iterator[_Row]:
    """The rows of a file that say something of the model's experts; the others are faults."""
    reader = csv.DictReader(io.StringIO(file_text(path, MAX_BYTES)))
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        if missing := [name for name in columns if name not in names]:
            found.add(f"no column {', '.join(missing)}: the first line has to be {','.join(columns)}", 1)
            found.raise_any()
        reader.fieldnames = names
        known = frozenset(sparse_layers(model))
        for count, cells in enumerate(reader, start=1):
            if count > most:
                found.add(f"has more than {most:,} rows, more than the model can have", reader.line_num)
                found.raise_any()
            if row := _row(cells, columns, reader.line_num, found, model, known):
                yield row
    except csv.Error as error:
        found.add(f"is no CSV: {error}", reader.line_num)
        found.raise_any()


def _row(
    cells: dict[str, str],
    columns: tuple[str, ...],
    line: int,
    found: _Faults,
    model: Model,
    known: frozenset[int],
) -> _Row | None:
    *places, value = columns
    numbers = [_number(cells[name], name, int, line, found) for name in places]
    amount = _number(cells[value], value, float, line, found)
    if amount is None or any(number is None for number in numbers):
        return None
    layer, *experts = (int(number) for number in numbers if number is not None)
    if not math.isfinite(amount) or amount < 0:
        found.add(f"{value} must be a finite number of at least 0, not {amount:g}", line)
    elif layer not in known:
        what = "has no routed experts" if 0 <= layer < model.num_hidden_layers else "is not in the model"
        last = model.num_hidden_layers - 1
        found.add(f"layer {layer} {what} (layers are counted from 0 to {last})", line)
    elif wrong := [expert for expert in experts if not 0 <= expert < model.num_experts]:
        found.add(f"expert {wrong[0]} is unknown: the model has 0 to {model.num_experts - 1}", line)
    else:
        return _Row(line, layer, tuple(experts), float(amount))
    return None


def _number(
    text: str | None, name: str, kind: Callable[[str], float], line: int, found: _Faults
) -> float | None:
    try:
        return kind((text or "").strip())
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        found.add(f"{name} must be {noun}, not {(text or '')[:40]!r}", line)
        return None


def _check_layer(layer: int, loads: dict[int, float], model: Model, found: _Faults) -> None:
    missing = [expert for expert in range(model.num_experts) if expert not in loads]
    if missing:
        some = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        what = "all its experts" if len(missing) == model.num_experts else f"expert {some}"
        found.add(f"layer {layer} lacks {what}; an expert without tokens has load 0")
        return
    total = sum(loads.values())
    if not 0 < total < math.inf:
        found.add(f"the loads of layer {layer} add up to {total:g}")
        return
    expert = max(loads, key=loads.__getitem__)
    most = 1.0 / model.num_experts_per_tok
    if loads[expert] > most * total * (1.0 + ROUNDED):
        found.add(
            f"expert {expert} of layer {layer} has {loads[expert] / total:.1%} of its layer's load; where "
            f"every token uses {model.num_experts_per_tok} experts none can have more than {most:.1%}"
        )


def _shares(loads: list[float]) -> tuple[float, ...]:
    total = math.fsum(loads)
    return tuple(load / total for load in loads)


def _pair_shares(pairs: dict[tuple[int, int], float]) -> Pairs:
    total = math.fsum(pairs.values())
    return tuple((a, b, count / total) for (a, b), count in sorted(pairs.items()) if count)
