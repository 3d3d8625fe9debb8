"""Builds the search space, and refuses candidates of which none can work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autoparallel.domain.layout import ORDERS
from autoparallel.domain.search_space import DEGREES, OBJECTIVES, OPTIMAL, SearchSpace
from autoparallel.domain.workload import STATIC
from autoparallel.problem_file.constraint import ConstraintError, parse
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.fields import ANY_ORDER, USUAL_ORDER
from autoparallel.problem_file.schema import SearchSection

# Without a concurrency nothing else bounds the batch.
DEFAULT_BATCHES = tuple(2**power for power in range(9))


def build_search(section: SearchSection, concurrency: int | None, mode: str, faults: Faults) -> SearchSpace:
    """Build the search space and check what batch and microbatch alone can contradict."""
    given = section.model_dump(exclude_none=True)
    for key in (*DEGREES, "batch", "microbatch", "chunk", "redundant_experts"):
        if key in given:
            given[key] = tuple(sorted(set(given[key])))
    if "sp_kind" in given:
        given["sp_kind"] = tuple(dict.fromkeys(given["sp_kind"]))
    if "prefer" in given:
        # Named objectives first, the others after them, so that every tie is broken.
        given["prefer"] = tuple(dict.fromkeys((*given["prefer"], *OBJECTIVES)))
    if "order" in given:
        given["order"] = _order(given["order"], faults)
    if "constraints" in given:
        given["constraints"] = _readable(given["constraints"], faults)
    for key in _without_meaning(given, mode):
        faults.add(("search", key), f'has no meaning for workload.mode = "{mode}"; drop it')
    if concurrency is None and "batch" not in given and mode == STATIC:
        given["batch"] = DEFAULT_BATCHES
    space = SearchSpace(**given)
    _check_batches(space, concurrency if mode == STATIC else None, faults)
    if space.even_stages and space.optimal_stages:
        faults.add(("search", "stages"), '"optimal" contradicts even_stages = true: leave one of them out')
    return space


def _without_meaning(given: dict[str, Any], mode: str) -> Iterator[str]:
    """Keys that only the other kind of batching has: served plans have even stages in the usual order."""
    if mode == STATIC:
        yield from (key for key in ("chunk",) if key in given)
        return
    decided = {"stages": OPTIMAL, "order": None}
    yield from (key for key in ("microbatch",) if key in given)
    yield from (key for key, value in decided.items() if key in given and given[key] == value)


def _order(names: list[str], faults: Faults) -> tuple[str, ...] | None:
    """The groups that lie closer together than usual; ``None`` for every order."""
    if names in ([USUAL_ORDER], [ANY_ORDER]):
        return () if names == [USUAL_ORDER] else None
    if not set(names) <= set(ORDERS):
        faults.add(("search", "order"), f'"{USUAL_ORDER}" and "{ANY_ORDER}" stand alone')
    return tuple(name for name in ORDERS if name in names)


def _readable(texts: list[str], faults: Faults) -> tuple[str, ...]:
    """The conditions that can be read, each once; the others are faults."""
    good = {}
    for index, text in enumerate(texts):
        try:
            good[" ".join(text.split())] = parse(text)
        except ConstraintError as error:
            faults.add(("search", "constraints", index), f'column {error.column}: "{text}" {error}')
    return tuple(good)


def _check_batches(space: SearchSpace, concurrency: int | None, faults: Faults) -> None:
    batches = space.batch
    if batches and concurrency is not None and min(batches) > concurrency:
        faults.add(
            ("search", "batch"),
            f"no listed batch is within the concurrency of {concurrency}; add one of at most {concurrency}",
        )
    microbatches = space.microbatch
    if not microbatches:
        return
    if batches and not any(batch % micro == 0 for batch in batches for micro in microbatches):
        faults.add(("search", "microbatch"), f"no listed value divides a batch of {_words(batches)}")
    elif not batches and concurrency is not None and min(microbatches) > concurrency:
        faults.add(("search", "microbatch"), f"no listed value is within the concurrency of {concurrency}")
    if space.dp and not any(micro % dp == 0 for micro in microbatches for dp in space.dp):
        faults.add(
            ("search", "dp"),
            f"{_words(space.dp)} ranks do not divide a microbatch of {_words(microbatches)}",
        )


def _words(values: tuple[int, ...]) -> str:
    return " or ".join(str(value) for value in values)
