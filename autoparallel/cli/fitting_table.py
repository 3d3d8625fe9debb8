"""A table on a terminal that never breaks a number or a name, however narrow the terminal.

Too narrow, its columns of numbers become several tables below each other, and where not even one number
fits beside the text, every row becomes lines of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

# Longer cells are text, whatever their column: they break between words.
LONGEST_NUMBER = 26
# What a column takes beside its content: a space before and after, and what parts it from the next.
_BESIDE = 3
# A value may stand beside its heading if so much is left for it.
_LEAST_VALUE = 16


@dataclass(frozen=True)
class FittingTable:
    """Columns of text, the first one and ``words``, and columns of numbers, set to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        """Yield the table, parts of it with the columns of text in each, or its rows as lines."""
        parts = list(self._parts(options.max_width))
        if all(self._widths(part, options.max_width) for part in parts):
            yield from (self._drawn(part, options.max_width) for part in parts)
        else:
            yield from self._stacked(options.max_width)

    def _parts(self, width: int) -> Iterator[list[int]]:
        """The columns of every table: those of text, and as many numbers as fit."""
        texts = [column for column in range(len(self.columns)) if self._is_text(column)]
        part: list[int] = []
        for column in range(len(self.columns)):
            if column in texts:
                continue
            if part and self._widths([*texts, *part, column], width) is None:
                yield sorted([*texts, *part])
                part = []
            part.append(column)
        yield sorted([*texts, *part])

    def _is_text(self, column: int) -> bool:
        cells = (row[column] for row in self.rows)
        return column == 0 or self.columns[column] in self.words or any(map(_is_long, cells))

    def _widths(self, columns: Sequence[int], width: int) -> list[int] | None:
        """Widths of columns in which nothing breaks but between words; ``None`` where they do not fit."""
        room = width - _BESIDE * len(columns) + 1
        ranges = [self._range(column) for column in columns]
        free = room - sum(least for least, _ in ranges)
        if free < 0:
            return None
        widths = [least for least, _ in ranges]
        # Those that want little more get it, the others share what is left.
        order = sorted(range(len(ranges)), key=lambda place: ranges[place][1] - ranges[place][0])
        for left, place in zip(range(len(order), 0, -1), order, strict=True):
            more = min(ranges[place][1] - ranges[place][0], free // left)
            widths[place] += more
            free -= more
        return widths

    def _range(self, column: int) -> tuple[int, int]:
        """The least width in which a column breaks between words alone, numbers nowhere; and its full one."""
        cells = [row[column] for row in self.rows]
        whole = max(map(_width, (self.columns[column], *cells)))
        unbroken = [self.columns[column], *cells] if self._is_text(column) else [self.columns[column]]
        least = max((_width(word) for text in unbroken for word in text.split()), default=0)
        if not self._is_text(column):
            least = max(least, *map(_width, cells)) if cells else least
        return max(least, 1), max(whole, 1)

    def _drawn(self, columns: Sequence[int], width: int) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        drawn = Table(
            box=box.SIMPLE_HEAD, title=self.title, title_justify="left", title_style="bold", pad_edge=False
        )
        for column, taken in zip(columns, self._widths(columns, width) or (), strict=True):
            left = column == 0 or self.columns[column] in self.words
            drawn.add_column(
                self.columns[column], justify="left" if left else "right", overflow="fold", width=taken
            )
        for row in self.rows:
            drawn.add_row(*(Text(row[column]) for column in columns))
        return drawn

    def _stacked(self, width: int) -> Iterator[Text]:
        """The title, and a line for every cell below the first one of its row."""
        from rich.text import Text

        def line(words: str, style: str = "") -> Text:
            return Text(words, style=style, no_wrap=True, overflow="ignore")

        if self.title:
            yield from (line(part, "bold") for part in _folded(self.title, width))
            yield line("")
        aside = max(map(_width, self.columns[1:]), default=0)
        for row in self.rows:
            named = f"{self.columns[0]}  {row[0]}" if self.columns[0] else row[0]
            yield from (line(part) for part in _folded(named, width))
            for heading, cell in zip(self.columns[1:], row[1:], strict=True):
                yield from (line(part) for part in _below(heading, cell, aside, width) if cell)
            yield line("")


def _below(heading: str, cell: str, aside: int, width: int) -> Iterator[str]:
    """A cell beside its heading, or below it where it is too narrow there."""
    room = width - aside - 4
    if room < _LEAST_VALUE or any(_width(word) > room for word in cell.split()):
        yield f"  {heading}"
        yield from (f"    {part}" for part in _folded(cell, width - 4))
        return
    first, *others = _folded(cell, room) or [""]
    yield f"  {heading:<{aside}}  {first}".rstrip()
    yield from (f"{'':{aside + 4}}{part}" for part in others)


def _folded(text: str, width: int) -> list[str]:
    """Lines that break between words; a longer word stays whole, so that it can be copied."""
    fold = textwrap.TextWrapper(max(width, 1), break_long_words=False, break_on_hyphens=False)
    return [part for line in text.splitlines() for part in fold.wrap(line)]


def _width(text: str) -> int:
    """Columns of a terminal that a text takes, its longest line."""
    from rich.cells import cell_len

    return max(map(cell_len, text.splitlines()), default=0)


def _is_long(cell: str) -> bool:
    return len(cell) > LONGEST_NUMBER
