"""A model as people read it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from autoparallel.cli.tables import table
from autoparallel.report.wording import printable

Document = dict[str, Any]
_SUFFIXES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def model_answer(document: Document) -> Iterator[Any]:
    """Everything that the command tells, in reading order."""
    from rich.padding import Padding
    from rich.text import Text

    def text(words: str, style: str = "") -> Any:
        return Padding(Text(printable(words), style=style), (0, 0, 1, 0))

    yield text(_headline(document), "bold")
    yield _layers(document)
    yield _parts(document)
    yield _cache(document)
    yield text(f"Counted: {document['counting_rule']}")


def amount(count: float) -> str:
    """Write a count with four digits.

    Examples
    --------
    >>> amount(671_026_419_200), amount(8_030_261_248), amount(512)
    ('671.0B', '8.030B', '512')
    """
    for size, suffix in _SUFFIXES:
        if count >= size:
            return f"{count / size:#.4g}{suffix}"
    return f"{count:g}"


def _headline(document: Document) -> str:
    total, active = document["parameters"], document["active_parameters"]
    head = f"{document['name']}: {amount(total)} parameters"
    if active != total:
        head += f", {amount(active)} active{_other_counts(document)}"
    extra = document["mtp_parameters"]
    return head + (f"; {amount(extra)} more for multi-token prediction, not counted" if extra else "")


def _other_counts(document: Document) -> str:
    """What publishers with another rule call active, where it is another number."""
    active = document["active_parameters"]
    others = (
        ("with the embedding", "active_parameters_with_embedding"),
        ("in the layers", "active_parameters_of_layers"),
    )
    told = [f"{amount(document[key])} {words}" for words, key in others if document[key] != active]
    return f" ({', '.join(told)})" if told else ""


def _layers(document: Document) -> Any:
    rows: list[tuple[str, ...]] = []
    for run in document["layers"]:
        first, last, window = run["first"], run["last"], run["window"]
        rows.append(
            (
                f"{first}" if first == last else f"{first} to {last}",
                printable(run["attention"]) + (f", {window:,} tokens" if window else ""),
                printable(run["ffn"]),
                amount(run["parameters"]),
                amount(run["active_parameters"]),
            )
        )
    columns = ("layers", "attention", "FFN", "a layer", "active")
    return table("Layers", columns, _shortened(rows), words=("attention", "FFN"))


def _shortened(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Show a pattern that repeats once: two rows that alternate need not fill a screen."""
    for period in (2, 3, 4):
        pattern = [row[1:] for row in rows[:period]]
        fits = all(row[1:] == pattern[index % period] for index, row in enumerate(rows))
        if fits and len(rows) > 2 * period:
            more = (f"… to {rows[-1][0].rsplit(' ', 1)[-1]}", "the same again", "", "", "")
            return [*rows[: 2 * period], more]
    return rows


def _parts(document: Document) -> Any:
    rows = [
        (
            part["part"].replace("_", " "),
            amount(part["parameters"]),
            part["dtype"],
            f"{part['bytes_per_weight']:.4g}",
            f"{part['bytes'] / 1e9:.2f}",
        )
        for part in document["parts"]
    ]
    total = ("total", amount(document["parameters"]), "", "", f"{document['weight_bytes'] / 1e9:.2f}")
    columns = ("part", "parameters", "format", "bytes each", "GB")
    return table("Weights", columns, [*rows, total], words=("format",))


def _cache(document: Document) -> Any:
    rows = [("of a token, in all layers", f"{document['kv_bytes_per_token']:,.0f}")]
    if document["kv_windows"]:
        rows.append(
            ("of them in layers without a window", f"{document['kv_bytes_per_token_of_full_layers']:,.0f}")
        )
    for window in document["kv_windows"]:
        kind = window["attention"].replace("_", " ")
        label = f"at most, in {window['layers']} layers of {kind} ({window['window']:,} tokens)"
        rows.append((label, f"{window['most_kv_bytes_per_sequence']:,.0f}"))
    if document["indexer_bytes_per_token"]:
        rows.append(("of a token, in the indexers", f"{document['indexer_bytes_per_token']:,.0f}"))
    if document["state_bytes_per_sequence"]:
        rows.append(("state of linear attention", f"{document['state_bytes_per_sequence']:,.0f}"))
    return table(f"KV cache of a sequence, {document['kv_cache_dtype']}", ("", "bytes"), rows)
