"""Plan files: every fault with its place, and nothing that crashes the reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autoparallel.audit.plan_file import read_written_plan
from autoparallel.audit.written import WrittenPlan
from autoparallel.domain import Layout
from autoparallel.domain.problem import Problem
from autoparallel.errors import ProblemError
from autoparallel.planner import evaluate
from autoparallel.results_folder import json_text

Write = Callable[[str], Path]
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


def claim(*lines: str) -> str:
    return "\n".join(("[[claim]]", *lines, ""))


FAULTS = [
    (claim('quantity = "gpuss"', "value = 2", 'unit = "GPUs"'), "claim[0].quantity", 'did you mean "gpus"?'),
    (claim('quantity = "beauty"', "value = 2"), "claim[0].quantity", "unknown claim"),
    (claim("value = 2", 'unit = "GPUs"'), "claim[0].quantity", "is missing"),
    (claim('quantity = "ttft"', "value = 2"), "claim[0].unit", 'is stated in "s" or "ms"'),
    (claim('quantity = "ttft"', "value = 2", 'unit = "sec"'), "claim[0].unit", "not a known unit for ttft"),
    (claim('quantity = "ttft"', "value = 2", 'unit = "GB"'), "claim[0].unit", "no unit of ttft"),
    (claim('quantity = "ttft"', 'value = "2"', 'unit = "s"'), "claim[0].value", "write it without quotes"),
    (claim('quantity = "ttft"', "value = nan", 'unit = "s"'), "claim[0].value", "finite number"),
    (claim('quantity = "ttft"', "value = inf", 'unit = "s"'), "claim[0].value", "finite number"),
    (claim('quantity = "ttft"', "value = 1e300", 'unit = "s"'), "claim[0].value", "at most"),
    (claim('quantity = "ttft"', f"value = 1{'0' * 400}", 'unit = "s"'), "claim[0].value", ""),
    (claim('quantity = "ttft"', "value = true", 'unit = "s"'), "claim[0].value", "must be a number"),
    (claim('quantity = "ttft"', "range = [5, 2]", 'unit = "s"'), "claim[0].range", "swap them"),
    (claim('quantity = "ttft"', "range = [5]", 'unit = "s"'), "claim[0].range", "two numbers"),
    (claim('quantity = "ttft"', "range = [1, 2, 3]", 'unit = "s"'), "claim[0].range", "not 3"),
    (
        claim('quantity = "ttft"', "value = 1", "at_most = 2", 'unit = "s"'),
        "claim[0].at_most",
        "next to value",
    ),
    (claim('quantity = "ttft"', "valeu = 1", 'unit = "s"'), "claim[0].valeu", 'did you mean "value"?'),
    (
        claim('quantity = "ttft"', "value = 1", 'unit = "s"', "tolerance = 2"),
        "claim[0].tolerance",
        "at most 1",
    ),
    (
        claim('quantity = "gpus"', "value = 1", 'unit = "GPUs"', 'of = "baseline"'),
        "claim[0].of",
        "no baseline",
    ),
    (claim('quantity = "gpus"', "value = 1", 'unit = "GPUs"', 'of = "plna"'), "claim[0].of", '"plan"'),
    (claim('quantity = "statement"', "value = 1"), "claim[0].value", "no number and no unit"),
    (claim('quantity = "gpus"', "value = 1", 'unit = "GPUs"', "says = 3"), "claim[0].says", "a string"),
    ("claim = 3\n", "claim", "a list of tables"),
    ('[baseline]\nplan = "nothing.toml"\n', "", "no such file"),
    ("[baseline]\n", "baseline.plan", "is missing"),
    ('[baseline]\nplna = "x"\n', "baseline.plna", 'did you mean "plan"?'),
    ("[layuot]\n", "layuot", 'did you mean "layout"?'),
]


@pytest.mark.parametrize(("text", "key", "says"), FAULTS)
def test_faults(small: Problem, plan_file: Write, text: str, key: str, says: str) -> None:
    # A key at the top has to stand before the tables.
    plan = text + PLAN if text.startswith("claim =") else PLAN + text
    with pytest.raises(ProblemError) as raised:
        read_written_plan(plan_file(plan), small)
    found = [fault for fault in raised.value.faults if fault.key == key and says in fault.message]
    assert found, raised.value
    assert found[0].file.endswith(".toml")
    if key.startswith("claim["):
        assert found[0].line > PLAN.count("\n")


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ('model = "small"', 'model = "large"', "model", 'for model "large", the problem for "small"'),
        ('model = "small"', "", "model", "is missing"),
        ("batch = 32\n", "", "batch", "is missing"),
        ("batch = 32", "batch = 0", "batch", "greater than 0"),
        ("batch = 32", "batch = 32.0", "batch", "write 32"),
        ("dp = 2", "dp = -2", "layout.dp", "greater than 0"),
        ("dp = 2", "replica = 2", "layout.replica", 'did you mean "replicas"?'),
        ("dp = 2", "sp = 2", "layout.sp_kind", "is missing"),
        ("dp = 2", 'sp = 2\nsp_kind = "tensr"', "layout.sp_kind", 'did you mean "tensor"?'),
        ("[layout]", "[layuot]", "layout", "the section [layout] is missing"),
        ("[layout]", "[[layout]]", "layout", "must be a table"),
    ],
)
def test_faults_of_the_plan(
    small: Problem, plan_file: Write, old: str, new: str, key: str, says: str
) -> None:
    with pytest.raises(ProblemError) as raised:
        read_written_plan(plan_file(PLAN.replace(old, new, 1)), small)
    assert any(fault.key == key and says in fault.message for fault in raised.value.faults), raised.value


def test_all_faults_at_once_each_on_its_line(small: Problem, plan_file: Write) -> None:
    text = (
        PLAN.replace("tp = 2", "tpp = 2") + claim('quantity = "x"') + claim('quantity = "ttft"', "value = 1")
    )
    with pytest.raises(ProblemError) as raised:
        read_written_plan(plan_file(text), small)
    lines = text.splitlines()
    assert {(fault.key, fault.line) for fault in raised.value.faults} == {
        ("layout.tpp", lines.index("tpp = 2") + 1),
        ("claim[0].quantity", lines.index('quantity = "x"') + 1),
        ("claim[1].unit", lines.index('quantity = "ttft"')),
    }


@pytest.mark.parametrize(
    "text", ["", "\0", "[[claim", "claim = []", "[layout]\n" * 2, "a" * 5_000_000, "=" * 99]
)
def test_what_is_no_plan_is_refused(small: Problem, plan_file: Write, text: str) -> None:
    with pytest.raises(ProblemError):
        read_written_plan(plan_file(text), small)


def test_too_many_claims(small: Problem, plan_file: Write) -> None:
    with pytest.raises(ProblemError, match="at most 1,000"):
        read_written_plan(plan_file(PLAN + claim('quantity = "statement"') * 1001), small)


def test_a_baseline_that_names_itself_is_read_once(small: Problem, plan_file: Write) -> None:
    written = read_written_plan(plan_file(PLAN + '[baseline]\nplan = "plan.toml"\n'), small)
    assert written.baseline is not None
    assert written.baseline.baseline is None


def test_faults_of_the_baseline_name_its_file(small: Problem, plan_file: Write) -> None:
    plan = plan_file(PLAN + '[baseline]\nplan = "other.toml"\n')
    (plan.parent / "other.toml").write_text(PLAN.replace("small", "large"), encoding="utf-8")
    with pytest.raises(ProblemError) as raised:
        read_written_plan(plan, small)
    assert raised.value.faults[0].file.endswith("other.toml")


class TestPlanJson:
    @pytest.fixture
    def document(self, small: Problem) -> dict[str, object]:
        plan = evaluate(small, Layout(dp=2, ep=2), batch=32, microbatch=16)
        return {**plan.to_dict(), "problem": small.name, "fingerprint": small.fingerprint}

    def read(self, folder: Path, document: dict[str, object], small: Problem) -> WrittenPlan:
        path = folder / "plan.json"
        path.write_text(json_text(document), encoding="utf-8")
        return read_written_plan(path, small)

    def test_its_numbers_are_the_claims(
        self, small: Problem, tmp_path: Path, document: dict[str, object]
    ) -> None:
        written = self.read(tmp_path, document, small)
        assert written.exact
        claims = {one.quantity: one.stated for one in written.claims}
        gpus = claims["gpus"]
        assert gpus is not None
        assert gpus.low == 2

    def test_another_problem(self, small: Problem, tmp_path: Path, document: dict[str, object]) -> None:
        with pytest.raises(ProblemError, match='for problem "other"'):
            self.read(tmp_path, {**document, "problem": "other"}, small)

    def test_a_problem_that_has_changed_is_said(
        self, small: Problem, tmp_path: Path, document: dict[str, object]
    ) -> None:
        assert self.read(tmp_path, document, small).warnings == ()
        assert "has changed" in self.read(tmp_path, document, replace(small, fingerprint="0")).warnings[0]

    @pytest.mark.parametrize("dp", [0, -1, 1.5, "2", None, True, 10**30])
    def test_degrees_that_are_none(
        self, small: Problem, tmp_path: Path, document: dict[str, object], dp: object
    ) -> None:
        layout = document["layout"]
        assert isinstance(layout, dict)
        with pytest.raises(ProblemError):
            self.read(tmp_path, {**document, "layout": {**layout, "dp": dp}}, small)


def test_a_problem_file_is_no_plan(small: Problem, tmp_path: Path) -> None:
    path = tmp_path / "problem.toml"
    path.write_text("[model]\nname = 'x'\n[workload]\nconcurrency = 1\n", encoding="utf-8")
    with pytest.raises(ProblemError, match=r"problem\.toml: is a problem file, not a plan") as caught:
        read_written_plan(path, small)
    assert len(caught.value.faults) == 1
