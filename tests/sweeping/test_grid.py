"""Axes and cells."""

from __future__ import annotations

import pytest

from autoparallel.errors import ProblemError
from autoparallel.sweeping.grid import cells_of, parse_axes


def test_every_combination_is_a_cell_the_last_axis_fastest() -> None:
    axes = parse_axes(["a.b=x, y", "c=1,2,3"])
    assert [cell.overrides for cell in cells_of(axes)] == [
        (f"a.b={first}", f"c={second}") for first in "xy" for second in "123"
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("k=[1,2],[3]", ("[1,2]", "[3]")),
        ('k={a=1,b="},"},2', ('{a=1,b="},"}', "2")),
        ("k='x,y',z", ("'x,y'", "z")),
        ("k=a=b,c", ("a=b", "c")),
    ],
)
def test_commas_of_values_stay(text: str, values: tuple[str, ...]) -> None:
    assert parse_axes([text])[0].values == values


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        (["k"], "is not of the form key=value,value"),
        (["=1,2"], "is not of the form"),
        (["k=1,,2"], "is not of the form"),
        (["k="], "is not of the form"),
        (["k=1,1"], "k: a value comes twice"),
        (["k=1", "k=2"], "k: the key has an axis already"),
        (
            [f"{key}={','.join(map(str, range(101)))}" for key in "ab"],
            "10,201 cells, at most",
        ),
    ],
)
def test_what_is_no_grid_is_refused(texts: list[str], part: str) -> None:
    with pytest.raises(ProblemError) as raised:
        parse_axes(texts)
    assert part in str(raised.value)
    assert "--over" in str(raised.value)
