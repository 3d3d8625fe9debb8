"""The results folder: whole or not there at all, and readable again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from autoparallel import planner
from autoparallel.domain import Layout, Memory, Metrics, Operation, Plan
from autoparallel.errors import OutputError, ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.resolved import resolved_document
from autoparallel.results_folder import MADE_OF_THE_PLAN, json_text, read_plan, read_problem
from autoparallel.staging import staged, write_file

NAMES = ("ttft_s", "tpot_s", "prefill_s", "run_s", "requests_per_s", "prefill_tokens_per_ms_per_gpu",
         "decode_tokens_per_ms_per_gpu", "total_tokens_per_ms_per_gpu", "prefill_mfu", "decode_mfu",
         "prefill_bandwidth_utilisation", "decode_bandwidth_utilisation", "expert_ranks_per_token",
         "expert_busy_share", "pipeline_bubble_share")  # fmt: skip
PLAN = Plan(
    layout=Layout(tp=2, sp=2, sp_kind="ring", dp=2, ep=4),
    batch=8,
    microbatch=4,
    metrics=Metrics(**{name: 0.1 + number for number, name in enumerate(NAMES)}),
    memory=Memory(
        weights_bytes=1.0, expert_weights_bytes=2.0, kv_cache_bytes=3.0, activation_bytes=4.0,
        buffer_bytes=5.0, reserved_bytes=6.0,
    ),
    meets={"memory": True},
    operations=(
        Operation(name="a", phase="decode", kind="tp", count=1, time_s=0.1, flops=0, bytes=9, bound="link"),
    ),
    prefill_stage_s=(0.1,),
    decode_stage_s=(0.2,),
)  # fmt: skip


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    with staged(tmp_path / "results" / "a") as stage:
        stage.write({"plan.json": "{}", "report.html": "<p>"})
        assert not (tmp_path / "results" / "a").exists()
    assert tree(tmp_path) == ["results", "results/a", "results/a/plan.json", "results/a/report.html"]


def test_what_else_is_in_the_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "plan.json").write_text("old")
    with staged(tmp_path) as stage:
        stage.write({"plan.json": "new"})
        assert (tmp_path / "plan.json").read_text() == "old"
    assert tree(tmp_path) == ["notes.txt", "plan.json"]
    assert (tmp_path / "plan.json").read_text() == "new"


def test_two_runs_into_one_new_folder_both_succeed(tmp_path: Path) -> None:
    with staged(tmp_path / "a") as slow, staged(tmp_path / "a") as fast:
        fast.write({"plan.json": "fast", "proof.json": "fast"})
        slow.write({"plan.json": "slow", "proof.json": "slow"})
    assert tree(tmp_path) == ["a", "a/plan.json", "a/proof.json"]
    assert {(tmp_path / "a" / name).read_text() for name in ("plan.json", "proof.json")} == {"slow"}


def test_files_of_an_earlier_run_make_room(tmp_path: Path) -> None:
    for names in (("one-0.sh", "one-1.sh"), ("one-0.sh",)):
        with staged(tmp_path) as stage:
            stage.write(dict.fromkeys(names, "exec"), instead_of=("one-*.sh",))
        (tmp_path / "mine.sh").write_text("mine")
    assert tree(tmp_path) == ["mine.sh", "one-0.sh"]


def search_again(folder: Path, plan: str) -> Path | None:
    with staged(folder) as stage:
        stage.write({"report.html": "new", "plan.json": plan})
        stage.supersede("plan.json", MADE_OF_THE_PLAN)
    return stage.superseded


def test_what_was_made_of_another_plan_moves_aside_with_it(tmp_path: Path) -> None:
    assert search_again(tmp_path, "one") is None
    (tmp_path / "export" / "vllm").mkdir(parents=True)
    (tmp_path / "deployment-plan.md").write_text("of one")
    assert search_again(tmp_path, "one") is None
    assert (tmp_path / "deployment-plan.md").exists()
    assert search_again(tmp_path, "two") == tmp_path / "superseded"
    assert tree(tmp_path) == ["plan.json", "report.html", "superseded", *(f"superseded/{name}" for name in
        ("deployment-plan.md", "export", "export/vllm", "plan.json", "report.html"))]  # fmt: skip
    assert (tmp_path / "superseded" / "plan.json").read_text() == "one"
    assert search_again(tmp_path, "three") is None
    (tmp_path / "export").mkdir()
    assert search_again(tmp_path, "four") == tmp_path / "superseded-2"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, failure: type[BaseException]) -> None:
    def fail() -> None:
        with staged(tmp_path / "results" / "a") as stage:
            stage.write({"plan.json": "{}"})
            raise failure

    with pytest.raises(failure):
        fail()
    assert tree(tmp_path) == []


def test_a_failure_leaves_the_old_result(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("old")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"report\.html"), staged(tmp_path) as stage:
        stage.write({"plan.json": "new", "report.html": "new"})
    assert tree(tmp_path) == ["plan.json", "report.html"]
    assert (tmp_path / "plan.json").read_text() == "old"


def test_a_file_in_the_way_is_an_error_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="--out"), staged(target):
            pytest.fail("the work started")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError), staged(tmp_path / "a"):
        pytest.fail("the work started")


def test_files_have_the_permissions_of_the_user(tmp_path: Path) -> None:
    with staged(tmp_path / "a") as stage:
        stage.write({"plan.json": "{}"})
    (tmp_path / "other").mkdir()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_write_file_keeps_what_exists(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    write_file(file, "one")
    with pytest.raises(OutputError, match="--force"):
        write_file(file, "two")
    assert file.read_text() == "one"
    write_file(file, "two", overwrite=True)
    assert file.read_text() == "two"
    assert tree(tmp_path) == ["a.toml"]


def test_a_plan_reads_back(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json_text({**PLAN.to_dict(), "problem": "more is ignored"}))
    assert read_plan(tmp_path) == PLAN
    assert read_plan(tmp_path / "plan.json") == PLAN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ("[]", "schema"),
        ('{"schema": "autoparallel.plan/2"}', "schema"),
        ('{"schema": "autoparallel.plan/1"}', "no whole plan"),
        ('{"schema": "autoparallel.plan/1", "layout": 3}', "no whole plan"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ProblemError, match=says):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "key", "says"),
    [
        (("layout", "tp"), "2", "layout.tp", "whole number from 1 to 10,000,000, not '2'"),
        (("layout", "tp"), 0, "layout.tp", "not 0"),
        (("layout", "pp"), True, "layout.pp", "not True"),
        (("layout", "sp_kind"), "diagonal", "layout.sp_kind", "one of tensor, ring, ulysses"),
        (("batch",), 0, "batch", "not 0"),
        (("microbatch",), 1.5, "microbatch", "not 1.5"),
        (("metrics", "ttft_s"), None, "metrics.ttft_s", "a number from 0, not null"),
        (("metrics", "tpot_s"), "soon", "metrics.tpot_s", "not 'soon'"),
        (("memory", "kv_cache_bytes"), -1.0, "memory.kv_cache_bytes", "not -1.0"),
        (("operations", 0, "time_s"), "x", "operations[0].time_s", "not 'x'"),
        (("operations", 0, "phase"), "rest", "operations[0].phase", "prefill or decode"),
        (("operations", 0, "kind"), 3, "operations[0].kind", "a string, not 3"),
        (("prefill_stage_s", 0), [], "prefill_stage_s[0]", "a number"),
        (("meets", "memory"), "yes", "meets.memory", "true or false"),
    ],
)
def test_a_plan_of_impossible_values_is_refused_by_key(
    tmp_path: Path, place: tuple[str | int, ...], value: object, key: str, says: str
) -> None:
    document = json.loads(json_text(PLAN.to_dict()))
    table = document
    for part in place[:-1]:
        table = table[part]
    table[place[-1]] = value
    (tmp_path / "plan.json").write_text(json.dumps(document))
    with pytest.raises(ProblemError) as caught:
        read_plan(tmp_path)
    (fault,) = caught.value.faults
    assert (fault.file, fault.key) == (str(tmp_path / "plan.json"), key)
    assert says in fault.message


@pytest.mark.parametrize("meets", [[1], ["memory"], 3])
def test_a_plan_without_its_tables_is_no_whole_plan(tmp_path: Path, meets: object) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({**PLAN.to_dict(), "meets": meets}))
    with pytest.raises(ProblemError, match="no whole plan"):
        read_plan(tmp_path)


def test_a_missing_or_binary_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="no such file"):
        read_plan(tmp_path / "none.json")
    with pytest.raises(ProblemError, match=r"no result; autoparallel search PROBLEM --out .* writes one"):
        read_plan(tmp_path)
    with pytest.raises(ProblemError, match="no such folder"):
        read_plan(tmp_path / "none")
    (tmp_path / "problem.toml").touch()
    with pytest.raises(ProblemError, match=r"name the folder .* or its plan\.json"):
        read_plan(tmp_path / "problem.toml")
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ProblemError, match="UTF-8"):
        read_plan(tmp_path)


def test_numbers_that_are_not_finite_become_null() -> None:
    text = json_text({"a": float("inf"), "b": [float("nan"), 0.1], "c": (1, "é")})
    assert json.loads(text) == {"a": None, "b": [None, 0.1], "c": [1, "é"]}


@pytest.fixture
def answered(tmp_path: Path, small_problem: str) -> Path:
    """A folder with a plan and the problem that it answers."""
    file = tmp_path / "small.toml"
    file.write_text(small_problem, encoding="utf-8")
    problem = load_problem(file)
    plan = json_text({**PLAN.to_dict(), "fingerprint": problem.fingerprint})
    with staged(tmp_path / "result") as stage:
        stage.write({"problem.json": json_text(resolved_document(problem)), "plan.json": plan})
    return tmp_path / "result"


def test_the_problem_of_a_result_reads_back(answered: Path) -> None:
    problem = load_problem(answered.parent / "small.toml")
    assert read_problem(answered) == problem
    assert read_problem(answered / "plan.json") == problem


def test_the_problem_of_another_plan_is_refused(answered: Path) -> None:
    (answered / "plan.json").write_text(json_text({**PLAN.to_dict(), "fingerprint": "of another"}))
    with pytest.raises(ProblemError, match="fingerprints differ"):
        read_problem(answered)


def test_a_result_without_its_problem_is_refused(answered: Path) -> None:
    (answered / "problem.json").unlink()
    with pytest.raises(ProblemError, match=r"problem\.json: cannot read it"):
        read_problem(answered)
    (answered / "problem.json").write_bytes(b"\xff")
    with pytest.raises(ProblemError, match="UTF-8"):
        read_problem(answered)


def test_a_plan_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("[" * 100_000)
    with pytest.raises(ProblemError, match="no JSON"):
        read_plan(tmp_path)


def test_a_plan_beyond_saturation_reads_back(tmp_path: Path, root: Path) -> None:
    # Times without end are null in the file, and infinite again when it is read.
    asked = ["workload.mode=open", "workload.request_rate_per_s=1e6"]
    problem = load_problem(root / "problems" / "moe10b.toml", asked)
    plan = planner.evaluate(problem, Layout(), batch=16, chunk=2048)
    file = tmp_path / "plan.json"
    file.write_text(json_text(plan.to_dict()), encoding="utf-8")
    again = read_plan(file)
    assert again == plan
    assert again.serving is not None
    assert not again.serving.stable
    document = json.loads(file.read_text(encoding="utf-8"))
    document["serving"]["running"] = "many"
    file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ProblemError, match=r"serving\.running"):
        read_plan(file)
