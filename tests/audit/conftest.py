"""The MoE-10B problem and plans, and plan files written for a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.audit.auditor import Audit, audit
from autoparallel.audit.plan_file import read_written_plan
from autoparallel.domain.problem import Problem
from autoparallel.problem_file import load_problem

PLAN = """\
title = "small plan"
model = "small"
batch = 32
microbatch = 16

[layout]
tp = 2
dp = 2
ep = 4

"""


@pytest.fixture(scope="session")
def moe10b() -> Problem:
    return load_problem(Path(__file__).resolve().parents[2] / "problems" / "moe10b.toml")


@pytest.fixture(scope="session")
def plans() -> Path:
    return Path(__file__).resolve().parents[2] / "problems" / "plans"


@pytest.fixture(scope="session")
def modified(moe10b: Problem, plans: Path) -> Audit:
    return audit(moe10b, read_written_plan(plans / "moe10b-modified.toml", moe10b))


@pytest.fixture
def small(write: Callable[[str], Path], small_problem: str) -> Problem:
    return load_problem(write(small_problem))


@pytest.fixture
def plan_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text as plan.toml and return its path."""

    def write_text(text: str) -> Path:
        path = tmp_path / "plan.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


@pytest.fixture
def audited(small: Problem, plan_file: Callable[[str], Path]) -> Callable[..., Audit]:
    """Audit the small plan with these claims."""

    def run(claims: str, plan: str = PLAN) -> Audit:
        return audit(small, read_written_plan(plan_file(plan + claims), small))

    return run
