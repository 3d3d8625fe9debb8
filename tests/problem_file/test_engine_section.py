"""The section [engine]: optional, checked, part of the fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.domain import EngineOptions
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem

Write = Callable[[str], Path]


def test_no_engine(write: Write, small_problem: str) -> None:
    problem = load_problem(write(small_problem))
    assert problem.engine is None
    assert problem.memory_limit_gb == 64


def test_name_and_options(write: Write, small_problem: str) -> None:
    text = f'{small_problem}\n[engine]\nname = "sglang"\nmodel_path = "a/b"\ngpu_memory_utilization = 0.5\n'
    problem = load_problem(write(text))
    assert problem.engine == "sglang"
    assert problem.engine_options == EngineOptions(model_path="a/b", gpu_memory_utilization=0.5)
    assert problem.memory_limit_gb == 32


def test_it_changes_the_fingerprint(write: Write, small_problem: str) -> None:
    prints = {
        load_problem(write(small_problem + section)).fingerprint
        for section in ("", '\n[engine]\nname = "vllm"\n', '\n[engine]\nname = "sglang"\n')
    }
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ('name = "vlm"', 'did you mean "vllm"?'),
        ("gpu_memory_utilization = 0.9", "is missing; name one of vllm, sglang, trtllm"),
        ('name = "vllm"\ngpu_memory_utilization = 1.5', "at most 1"),
        ('name = "vllm"\ngpu_memory = 0.9', "unknown key"),
        ("name = 3", "must be"),
    ],
)
def test_faults(write: Write, small_problem: str, section: str, says: str) -> None:
    with pytest.raises(ProblemError) as raised:
        load_problem(write(f"{small_problem}\n[engine]\n{section}\n"))
    assert raised.value.faults[0].key.startswith("engine")
    assert says in str(raised.value)
    assert len(raised.value.faults) == 1
