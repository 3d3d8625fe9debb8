"""The language of search.constraints: what it means, and what it refuses, with the column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.constraint import GROUPS, NAMES, ConstraintError, parse

Write = Callable[[str], Path]
VALUES = {name: index + 2 for index, name in enumerate(NAMES)} | {f"nodes of {kind}": 1 for kind in GROUPS}


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("tp <= 8", "tp <= 8"),
        ("1 < tp < 4 and (dp == 5 or pp > 9)", "1 < tp < 4 and (dp == 5 or pp > 9)"),
        ("not tp == 2", "not tp == 2"),
        ("ep in [6, 7]", "ep in [6, 7]"),
        ("ep not in [6, 7]", "ep not in [6, 7]"),
        ("tp + dp * ep - etp == 29", "tp + dp * ep - etp == 29"),
        ("(tp + dp) * ep % 5 // tp == 1", "(tp + dp) * ep % 5 // tp == 1"),
        ("20 - tp - dp == 13", "20 - tp - dp == 13"),
        ("tp == 2 or dp == 1 and pp == 1", "tp == 2 or dp == 1 and pp == 1"),
    ],
)
def test_it_means_what_python_means(text: str, python: str) -> None:
    expected = eval(python, {}, dict(VALUES))  # the test's own words
    assert bool(parse(text).holds(VALUES)) is expected


def test_arrays_are_looked_at_elementwise() -> None:
    values = {**VALUES, "tp": np.array([1, 2, 4, 8])}
    found = parse("tp in [2, 4] and not tp == 4 or tp > 7").holds(values)
    np.testing.assert_array_equal(found, [False, True, False, True])


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "ends too early"),
        ("tp <=", 6, "ends too early"),
        ("tp", 1, "not a condition"),
        ("tp = 8", 4, '"=="'),
        ("tp / 2 == 1", 4, '"//"'),
        ("tq < 3", 1, "it knows tp"),
        ("group xx inside a node", 7, "it knows tp"),
        ("tp <= 8.5", 8, ".5"),
        ("not tp", 5, "is a number"),
        ("tp < dp < (pp > 1)", 12, "is a condition"),
        ("tp % (dp - 4) == 0", 7, "divides by"),
        ("tp // 0 == 0", 7, "divides by"),
        ("tp // redundant_experts == 1", 7, "may be 0"),
        ("tp < 99999999999", 6, "beyond"),
        ("__import__('os')", 11, "does not expect"),
        ("tp == 1 " * 40, 201, "longer than"),
    ],
)
def test_what_it_refuses(text: str, column: int, words: str) -> None:
    with pytest.raises(ConstraintError) as error:
        parse(text)
    assert words in str(error.value)
    assert error.value.column == column


WORDS = [
    *NAMES,
    *[
        "(",
        ")",
        "[",
        "]",
        ",",
        "==",
        "<",
        "//",
        "%",
        "*",
        "-",
        "7",
        "0",
        "group",
        "inside",
        "a",
        "node",
        "in",
        "not",
        "and",
        "or",
    ],
]


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    column = None
    try:
        holds = parse(text).holds(VALUES)
    except ConstraintError as error:
        column = error.column
    assert holds in (True, False) if column is None else 1 <= column <= len(text) + 1


def test_faults_name_the_place(write: Write, small_problem: str) -> None:
    text = small_problem + 'constraints = ["tp <= 8",\n "tp <=> 8", "ep + 1"]\n'
    with pytest.raises(ProblemError) as error:
        load_problem(write(text))
    second, third = error.value.faults
    assert second.key == "search.constraints[1]"
    assert second.line == third.line == text[: text.index("<=>")].count("\n") + 1
    assert second.message.startswith('column 6: "tp <=> 8"')


def test_one_condition_needs_no_list(write: Write, small_problem: str) -> None:
    text = small_problem + 'constraints = "tp  <= 8"\n'
    assert load_problem(write(text)).search.constraints == ("tp <= 8",)
