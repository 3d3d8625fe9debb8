"""Whatever a file or an override says: a problem or a ProblemError, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoparallel.domain import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.schema import SECTIONS

KEYS = sorted(
    f"{name}.{key}"
    for name, section in SECTIONS.items()
    for key in (*section.model_fields, "unknown", "name.x")
)
VALUES = [
    *("0", "1", "2", "3", "7", "-1", "1.5", "1e400", "nan", "-inf", "true", "[]", "{}", "[[1]]", "[1, 2, 1]"),
    *(
        '""',
        "word",
        '"config.json"',
        "1979-05-27",
        "9999999999999999999999",
        "{ min = 1 }",
        '["full_attention"]',
    ),
    *("0.5", "8", "16", "sliding_attention", "{ kind = 'fixed', tokens = 3 }", "fp8", '["dense", "sparse"]'),
    *("mixtral-8x7b", "h100-sxm", "..", "/", "\0", "{ fp8 = 1 }", "{ bandwidth_gb_per_s = 1 }"),
]
OVERRIDES = st.lists(st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=6)
ON_ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)


def loads_or_explains(path: Path, overrides: list[str]) -> Problem | None:
    faults: tuple[Fault, ...]
    try:
        return load_problem(path, overrides)
    except ProblemError as error:
        faults = error.faults
    assert faults
    assert all(fault.message and (fault.file or fault.key) for fault in faults)
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("problems")


@ON_ONE_FILE
@given(overrides=OVERRIDES)
def test_any_override(small_problem: str, folder: Path, overrides: list[str]) -> None:
    path = folder / "problem.toml"
    path.write_text(small_problem, encoding="utf-8")
    problem = loads_or_explains(path, overrides)
    if problem is not None:
        assert len(problem.model.layer_types) == problem.model.num_hidden_layers
        assert problem.model.num_attention_heads % problem.model.num_key_value_heads == 0


@ON_ONE_FILE
@given(data=st.data())
def test_any_damage(small_problem: str, folder: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(small_problem)))
    end = data.draw(st.integers(start, min(start + 40, len(small_problem))))
    inserted = data.draw(st.text(alphabet="[]{}=,.\"'#\n\\ a1-", max_size=6))
    path = folder / "damaged.toml"
    path.write_text(small_problem[:start] + inserted + small_problem[end:], encoding="utf-8")
    loads_or_explains(path, [])
