"""A table on a terminal that never breaks a number: too narrow, it becomes several below each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

# Longer cells are text, whatever their column: they break between words.
LONGEST_NUMBER = 26
# Text columns are folded down to this many characters before numbers move to a table of their own.
NARROWEST_TEXT = 14


@dataclass(frozen=True)
class FittingTable:
    """Columns of text, the first one and ``words``, and columns of numbers, set to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Yield the table, or as many parts of it as the width asks for, each with the columns of text."""
        shown: list[int] = []
        for column in self._numbers():
            if shown and not self._fits([*shown, column], console, options):
                yield self._drawn(shown)
                shown = []
            shown.append(column)
        yield self._drawn(shown)

    def _is_text(self, column: int) -> bool:
        cells = (row[column] for row in self.rows)
        return column == 0 or self.columns[column] in self.words or any(map(_is_long, cells))

    def _numbers(self) -> list[int]:
        return [column for column in range(len(self.columns)) if not self._is_text(column)]

    def _fits(self, numbers: Iterable[int], console: Console, options: ConsoleOptions) -> bool:
        from rich.measure import Measurement

        # Unbounded, as the measurement would stop at the width that is asked about.
        needed = Measurement.get(console, options.update(width=10_000), self._drawn(numbers)).minimum
        foldable = sum(
            max(self._longest_word(column) - NARROWEST_TEXT, 0)
            for column in range(len(self.columns))
            if self._is_text(column)
        )
        return needed - foldable <= options.max_width

    def _longest_word(self, column: int) -> int:
        cells = (self.columns[column], *(row[column] for row in self.rows))
        return max((len(word) for cell in cells for word in cell.split()), default=0)

    def _drawn(self, numbers: Iterable[int]) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        drawn = Table(
            box=box.SIMPLE_HEAD, title=self.title, title_justify="left", title_style="bold", pad_edge=False
        )
        chosen = frozenset(numbers)
        kept = [column for column in range(len(self.columns)) if column in chosen or self._is_text(column)]
        for column in kept:
            name = self.columns[column]
            left = column == 0 or name in self.words
            drawn.add_column(
                name, justify="left" if left else "right", overflow="fold", no_wrap=column in chosen
            )
        for row in self.rows:
            drawn.add_row(*(Text(row[column]) for column in kept))
        return drawn


def _is_long(cell: str) -> bool:
    return len(cell) > LONGEST_NUMBER
