"""``autoparallel evaluate`` and its layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

from autoparallel import planner
from autoparallel.cli.layout_option import KEYS, LAYOUT
from autoparallel.domain import Layout
from autoparallel.problem_file import load_problem

Run = Callable[..., Result]
SIZES = ("--batch", "16", "--microbatch", "8")


def test_json_is_what_the_library_says(run: Run, problem: str) -> None:
    done = run("evaluate", problem, "--layout", "dp=2,ep=2", *SIZES, "--json")
    assert done.exit_code == 0
    # Concurrency 32 in batches of 16: two replicas.
    plan = planner.evaluate(load_problem(problem), Layout(dp=2, ep=2, replicas=2), batch=16, microbatch=8)
    document = json.loads(done.stdout)
    assert {key: document[key] for key in plan.to_dict()} == json.loads(json.dumps(plan.to_dict()))


def test_people_read_tables(run: Run, problem: str) -> None:
    done = run("evaluate", problem, "--layout", "tp=2,sp=2,sp_kind=tensor,ep=2", *SIZES)
    assert done.exit_code == 0
    for part in (
        "tp=2 sp=2(tensor) ep=2 replicas=2",
        "meets every requirement",
        "Prefill",
        "Decode",
        "bound by",
    ):
        assert part in done.stdout


def test_a_plan_that_misses_a_requirement_is_still_an_answer(run: Run, problem: str) -> None:
    done = run("evaluate", problem, "--layout", "dp=2,ep=2", *SIZES, "--set", "requirements.ttft_s=1e-6")
    assert done.exit_code == 0
    assert "misses a requirement" in done.stdout
    assert "MISSED" in done.stdout


@pytest.mark.parametrize(("layout", "says"), [("tp=3", "head"), ("ep=5,dp=5", "expert")])
def test_an_impossible_layout_is_bad_input(run: Run, problem: str, layout: str, says: str) -> None:
    done = run("evaluate", problem, "--layout", layout, *SIZES, "--json")
    assert done.exit_code == 2
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "LayoutError"
    assert any(says in violation for violation in error["violations"])


@pytest.mark.parametrize("option", [("--batch", "0"), ("--microbatch", "1.5"), ("--batch", "99999999999")])
def test_sizes_are_counts(run: Run, problem: str, option: tuple[str, str]) -> None:
    sizes = {"--batch": "16", "--microbatch": "8", **dict([option])}
    done = run("evaluate", problem, "--layout", "tp=1", *(word for pair in sizes.items() for word in pair))
    assert done.exit_code == 2
    assert option[0] in done.stderr


class TestLayoutOption:
    def test_degrees(self) -> None:
        read = LAYOUT.convert(" tp=2, sp=2 ,sp_kind=ring,replicas=3", None, None)
        assert read == {"tp": 2, "sp": 2, "sp_kind": "ring", "replicas": 3}

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("tpp=2", 'did you mean "tp"?'),
            ("replica=2", 'did you mean "replicas"?'),
            ("tp", "write it as tp=2"),
            ("tp=", "write it as tp=2"),
            ("", "there is no degree ''"),
            ("tp=0", "whole number"),
            ("tp=-2", "whole number"),
            ("tp=2.0", "whole number"),
            ("tp=²", "whole number"),
            ("tp=99999999999999999999", "whole number"),
            ("tp=1234567890123", "whole number"),
            ("tp=2,tp=4", "given twice"),
            ("sp_kind=tensr", 'did you mean "tensor"?'),
            ("cp=2", "follows from sp"),
        ],
    )
    def test_faults(self, text: str, says: str) -> None:
        with pytest.raises(click.BadParameter) as raised:
            LAYOUT.convert(text, None, None)
        assert says in raised.value.message

    def test_all_faults_at_once(self) -> None:
        with pytest.raises(click.BadParameter) as raised:
            LAYOUT.convert("tpp=2,ep=x,dp=2", None, None)
        assert raised.value.message.count(";") == 2


def test_layers_of_the_stages(run: Run, problem: str) -> None:
    count = load_problem(problem).model.num_hidden_layers
    done = run("evaluate", problem, "--layout", f"layers=1+{count - 1}", *SIZES, "--json")
    assert done.exit_code == 0
    layout = json.loads(done.stdout)["layout"]
    assert (layout["pp"], layout["layers"]) == (2, [1, count - 1])


@pytest.mark.parametrize(
    ("layers", "code", "words"),
    [
        ("layers=1+x", 2, "layers are whole numbers with a plus between them"),
        ("layers=1+1000", 2, "layers=1+1000 is no split of"),
        ("pp=3,layers=1+1", 2, "into pp=3 stages"),
    ],
)
def test_layers_that_are_no_split(run: Run, problem: str, layers: str, code: int, words: str) -> None:
    done = run("evaluate", problem, "--layout", layers, *SIZES)
    assert done.exit_code == code
    assert words in " ".join(done.stderr.split())


def test_what_the_engine_cannot_launch_is_estimated_and_said(run: Run, problem: str) -> None:
    """Ring: no flag of SGLang's. What no machine could do stays an error."""
    ring = ("evaluate", problem, "--layout", "sp=2,sp_kind=ring,ep=2", *SIZES)
    named = (*ring, "--set", "engine.name=sglang")
    assert run(*ring, "--json").exit_code == 0
    done = run(*named, "--json")
    assert done.exit_code == 0
    warnings = json.loads(done.stdout)["warnings"]
    assert "SGLang 0.5.23 cannot launch it: sp=2 (ring) has no flag" in warnings
    assert json.loads(done.stdout)["metrics"] == json.loads(run(*ring, "--json").stdout)["metrics"]
    assert "SGLang 0.5.23 cannot launch it: sp=2 (ring) has no flag." in " ".join(run(*named).stdout.split())
    assert run("evaluate", problem, "--layout", "tp=3", *SIZES, "--set", "engine.name=sglang").exit_code == 2


def test_help_names_every_key_of_a_layout(run: Run) -> None:
    shown = run("evaluate", "--help").stdout
    assert [key for key in KEYS if key not in shown] == []


@pytest.mark.parametrize(("concurrency", "replicas"), [(100, 1), (1, 1), (5000, 3)])
def test_a_closed_load_has_the_engines_own_batch(
    run: Run, tmp_path: Path, concurrency: int, replicas: int
) -> None:
    """vLLM's max_num_seqs of 1,024 for each of two data parallel ranks, whatever is in service."""
    problem = tmp_path / "closed.toml"
    problem.write_text(
        '[model]\nname = "llama-3.1-8b"\n[hardware]\ngpu = "h100-sxm"\n[engine]\nname = "vllm"\n[workload]\n'
        f'mode = "closed"\nconcurrency = {concurrency}\nprompt_tokens = 500\noutput_tokens = 100\n'
    )
    for given in ([], ["--batch", "2048"]):
        result = run("evaluate", str(problem), "--layout", "dp=2,etp=2", "--json", *given)
        assert result.exit_code == 0, result.stderr
        plan = json.loads(result.stdout)
        assert (plan["batch"], plan["layout"]["replicas"]) == (2048, replicas)
        assert plan["meets"]["concurrency"]
