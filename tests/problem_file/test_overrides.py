"""``--set key=value``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem

Write = Callable[[str], Path]


def test_values_replace_and_add(small_problem: str, write: Write) -> None:
    problem = load_problem(
        write(small_problem),
        [
            "search.tp=8",
            "search.ep = [1, 2]",
            "search.sp_kind=ring",
            "workload.concurrency=64",
            "workload.prompt_tokens.max=2048",
            "hardware.scale_up.efficiency=0.9",
            "requirements.throughput_phase=decode",
            'model.name="two words"',
        ],
    )
    assert problem.search.tp == (8,)
    assert problem.search.ep == (1, 2)
    assert problem.search.sp_kind == ("ring",)
    assert problem.workload.concurrency == 64
    assert (problem.workload.prompt_tokens.min, problem.workload.prompt_tokens.max) == (128, 2048)
    assert problem.hardware.scale_up.efficiency == 0.9
    assert problem.hardware.scale_up.bandwidth_gb_per_s == 450
    assert problem.requirements.throughput_phase == "decode"
    assert problem.model.name == "two words"


def test_the_last_one_wins(small_problem: str, write: Write) -> None:
    assert load_problem(write(small_problem), ["search.tp=8", "search.tp=4"]).search.tp == (4,)


def test_bare_words_are_strings(small_problem: str, write: Write) -> None:
    problem = load_problem(write(small_problem), ['model.name=it\'s a = "name" # really'])
    assert problem.model.name == 'it\'s a = "name" # really'


@pytest.mark.parametrize("override", ["search.tp", "=8", "a b=1", "search..tp=1", "x=1\ny=2", ""])
def test_what_is_no_override(small_problem: str, write: Write, override: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load_problem(write(small_problem), [override])
    (fault,) = caught.value.faults
    assert fault.file == "--set"


def test_key_through_a_value(small_problem: str, write: Write) -> None:
    with pytest.raises(ProblemError, match=r"^--set: model\.name\.x: the key goes through a value"):
        load_problem(write(small_problem), ["model.name.x=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.tp=3", "--set: search.tp: 8 attention heads"),
        ("search.tp=", '--set: search.tp: must be a whole number, not ""'),
        ("search.tpp=3", '--set: search.tpp: unknown key; did you mean "tp"?'),
        ("hardware.memory_gb=nan", "--set: hardware.memory_gb: must be a finite number"),
        ("workload.prompt_tokens={min = 1}", "--set: workload.prompt_tokens.kind: is missing"),
        ("hardware.gpu=h100", '--set: hardware.gpu: the catalog has no GPU "h100"; did you mean "h100-sxm"?'),
    ],
)
def test_faults_name_the_override(small_problem: str, write: Write, override: str, message: str) -> None:
    with pytest.raises(ProblemError) as caught:
        load_problem(write(small_problem), [override])
    assert any(str(fault).startswith(message) for fault in caught.value.faults), caught.value


def test_all_broken_overrides_at_once(small_problem: str, write: Write) -> None:
    with pytest.raises(ProblemError) as caught:
        load_problem(write(small_problem), ["a", "b"])
    assert len(caught.value.faults) == 2
