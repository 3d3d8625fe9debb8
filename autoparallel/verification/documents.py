"""A file of a result beside the one that the same writer makes again: key by key."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from autoparallel.verification.check import SAME, Check

# Numbers smaller than this, seconds or shares, are equal. [s], [1]
TINY = 1e-12
# Differences that are named at most.
_MOST_NAMED = 4


class Difference(NamedTuple):
    """What a file says at a key, and what comes out again."""

    key: str
    stated: str
    computed: str

    def __str__(self) -> str:
        return f"{self.key} says {self.stated}, computed again it is {self.computed}"


def file_check(name: str, text: str, again: str, free: Collection[str] = ()) -> Check:
    """Whether a file says what its writer says again, but for the ``free`` keys, wherever they stand."""
    computed = _content(name, again)
    found = list(differences(_content(name, text), computed, free))
    if not found:
        judged = "all" if not free else f"but for {', '.join(sorted(free))}"
        says = f"{_leaves(computed, free):,} values, {judged}, come out again"
        return Check(name=name, holds=True, says=says)
    rest = len(found) - _MOST_NAMED
    says = "; ".join(map(str, found[:_MOST_NAMED])) + (f"; and {rest:,} more" if rest > 0 else "")
    return Check(name=name, holds=False, says=says)


def differences(
    stated: Any, computed: Any, free: Collection[str] = (), key: str = ""
) -> Iterator[Difference]:
    """Where two documents differ; numbers by more than their rounding."""
    if isinstance(stated, Mapping) and isinstance(computed, Mapping):
        for name in (*computed, *(name for name in stated if name not in computed)):
            if name not in free:
                place = f"{key}.{name}" if key else str(name)
                yield from differences(stated.get(name, _NONE), computed.get(name, _NONE), free, place)
    elif isinstance(stated, list) and isinstance(computed, list):
        if len(stated) != len(computed):
            yield Difference(key, f"{len(stated):,} entries", f"{len(computed):,}")
        for index, (one, other) in enumerate(zip(stated, computed, strict=False)):
            yield from differences(one, other, free, f"{key}[{index}]")
    elif not _same(stated, computed):
        yield Difference(key, _shown(stated), _shown(computed))


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NONE = _Nothing()


def _same(stated: Any, computed: Any) -> bool:
    numbers = [isinstance(one, int | float) and not isinstance(one, bool) for one in (stated, computed)]
    if all(numbers):
        return math.isclose(stated, computed, rel_tol=SAME, abs_tol=TINY)
    return type(stated) is type(computed) and bool(stated == computed)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return f"{len(value):,} entries"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, _Nothing) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _content(name: str, text: str) -> Any:
    """A document, or the lines of a table by column."""
    if not name.endswith(".csv"):
        return json.loads(text)
    rows = enumerate(csv.DictReader(io.StringIO(text, newline="")), start=2)
    return {f"line {n}": {str(column): _cell(cell) for column, cell in row.items()} for n, row in rows}


def _cell(text: Any) -> Any:
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def _leaves(document: Any, free: Collection[str]) -> int:
    if isinstance(document, Mapping):
        return sum(_leaves(value, free) for name, value in document.items() if name not in free)
    return sum(_leaves(value, free) for value in document) if isinstance(document, list) else 1
