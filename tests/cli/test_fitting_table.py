"""Tables on terminals of any width: no number is broken, and none is lost."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from autoparallel.cli.tables import table

COLUMNS = ("operator", "format", "rows", "fitted", "unseen rows", "unseen shapes", "roofline")
ROWS = [
    (f"decode_attention_{n}", "bfloat16/fp8", f"{1234 + n}", *(f"{n}{k}.1/1{k}.{n}/123.4" for k in range(4)))
    for n in range(4)
]


def lines(width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(table("Errors, %", COLUMNS, ROWS, words=("format",)))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_no_number_is_broken(width: int) -> None:
    shown = lines(width)
    assert max(map(len, shown)) <= width
    words = [word for line in shown for word in line.split()]
    for row in ROWS:
        for number in row[2:]:
            assert words.count(number) == sum(number in other for other in ROWS), number


def test_one_table_where_there_is_room() -> None:
    assert sum("Errors" in line for line in lines(200)) == 1
    assert sum("Errors" in line for line in lines(60)) > 1


def test_long_cells_are_text_and_stay(capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "a value that is a sentence of its own, far longer than any number"
    Console(width=40).print(table("", ("", "value"), [("what", sentence), ("number", "1,234,567")]))
    assert sentence in " ".join(capsys.readouterr().out.replace("what", "").split())
