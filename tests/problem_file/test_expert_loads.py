"""Loads of experts: from files and by Zipf's law, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.domain.workload import Workload
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.resolved import read_resolved, resolved_document
from autoparallel.results_folder import json_text

Build = Callable[..., Workload]
LAYERS, EXPERTS = 8, 16


def rows(load: Callable[[int, int], float] = lambda layer, expert: 1 + expert) -> list[str]:
    return [f"{layer},{expert},{load(layer, expert)}" for layer in range(LAYERS) for expert in range(EXPERTS)]


def loads_text(lines: list[str], head: str = "layer,expert,load") -> str:
    return "\n".join([head, *lines]) + "\n"


@pytest.fixture
def build(small_problem: str, write: Callable[[str], Path], tmp_path: Path) -> Build:
    """The workload of a problem with other lines for its expert imbalance, and files beside it."""

    def built(lines: str, search: str = "", **files: str) -> Workload:
        for name, text in files.items():
            (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
        text = small_problem.replace("expert_imbalance = 1.0\n", lines)
        return load_problem(write(text.replace("trials = 16\n", f"trials = 16\n{search}"))).workload

    return built


def messages(error: pytest.ExceptionInfo[ProblemError]) -> str:
    return "\n".join(str(fault) for fault in error.value.faults)


def test_loads_of_a_file_become_shares(build: Build) -> None:
    loads = build('expert_loads = "loads.csv"\n', loads=loads_text(rows())).expert_loads
    assert loads is not None
    assert loads.layers == tuple(range(LAYERS))
    assert loads.shares[3][:3] == pytest.approx([1 / 136, 2 / 136, 3 / 136])
    assert loads.pairs == ()
    assert loads.source == "loads.csv"


def test_zipf_by_hand(build: Build) -> None:
    loads = build('expert_loads = { kind = "zipf", exponent = 1.0, seed = 3 }\n').expert_loads
    assert loads is not None
    harmonic = sum(1 / n for n in range(1, 17))
    for layer in loads.shares:
        assert sorted(layer, reverse=True) == pytest.approx([1 / n / harmonic for n in range(1, 17)])
    assert len(set(loads.shares)) == LAYERS
    same = build('expert_loads = { kind = "zipf", exponent = 1.0, seed = 3 }\n').expert_loads
    assert same == loads
    assert build('expert_loads = { kind = "zipf", exponent = 0.0 }\n').expert_loads is not None


def test_no_expert_is_used_by_more_than_every_token(build: Build) -> None:
    loads = build('expert_loads = { kind = "zipf", exponent = 2.0 }\n').expert_loads
    assert loads is not None
    # The law alone gives 62 %, but every token uses 2 experts: at most half. The others keep their ratios.
    ranked = sorted(loads.shares[0], reverse=True)
    assert ranked[0] == pytest.approx(0.5)
    assert sum(ranked) == pytest.approx(1)
    assert ranked[1] / ranked[2] == pytest.approx(9 / 4)


def test_pairs_become_shares(build: Build) -> None:
    lines = 'expert_loads = "loads.csv"\nexpert_coactivation = "pairs.csv"\n'
    pairs = "\n".join(["layer,expert_a,expert_b,count", *(f"{n},4,1,3\n{n},2,5,1" for n in range(LAYERS))])
    loads = build(lines, loads=loads_text(rows()), pairs=pairs).expert_loads
    assert loads is not None
    assert loads.pairs[7] == ((1, 4, 0.75), (2, 5, 0.25))


def test_a_resolved_problem_keeps_the_loads(small_problem: str, write: Callable[[str], Path]) -> None:
    law = 'expert_loads = { kind = "zipf", exponent = 1.2, seed = 1 }\n'
    problem = load_problem(write(small_problem.replace("expert_imbalance = 1.0\n", law)))
    assert read_resolved(json_text(resolved_document(problem))) == problem
    other = load_problem(write(small_problem.replace("expert_imbalance = 1.0\n", law.replace("1.2", "1.3"))))
    assert other.fingerprint != problem.fingerprint


FILE_FAULTS = [
    (rows()[:-1], "layer 7 lacks expert 15"),
    (rows()[:-16], "layer 7 lacks all its experts"),
    ([*rows(), "3,4,1"], "csv:130: expert 4 of layer 3 was given already"),
    (["0,16,1", *rows()], "csv:2: expert 16 is unknown: the model has 0 to 15"),
    (["8,1,1", *rows()], "csv:2: layer 8 is not in the model"),
    (["0,1,-2", *rows()], "load must be a finite number of at least 0, not -2"),
    (["0,1,nan", *rows()], "load must be a finite number of at least 0, not nan"),
    (["0,1,inf", *rows()], "load must be a finite number of at least 0, not inf"),
    (["0,1.5,1", *rows()], "expert must be a whole number, not '1.5'"),
    (["0,1", *rows()], "load must be a number, not ''"),
    (rows(lambda layer, expert: 0), "the loads of layer 0 add up to 0"),
    (rows(lambda layer, expert: 90 if expert == 2 else 1),
     "expert 2 of layer 0 has 85.7% of its layer's load; where every token uses 2"),
    ([*rows(), *rows(), "0,0,0"], "only the first faults are listed"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "message"), FILE_FAULTS)
def test_faults_of_a_file_name_the_line(build: Build, lines: list[str], message: str) -> None:
    with pytest.raises(ProblemError) as error:
        build('expert_loads = "loads.csv"\n', loads=loads_text(lines))
    assert message in messages(error)
    assert "loads.csv" in messages(error)


@pytest.mark.parametrize(
    ("lines", "search", "message"),
    [
        ('expert_loads = "none.csv"\n', "", "none.csv: there is no such file"),
        ('expert_loads = { kind = "zipf" }\n', "", 'exponent: is missing: kind = "zipf" needs it'),
        ('expert_loads = { kind = "zipf", exponent = -1 }\n', "", "must be at least 0"),
        ('expert_loads = { kind = "zipf", exponent = nan }\n', "", "must be a finite number"),
        ('expert_loads = { kind = "zpif", exponent = 1 }\n', "", 'did you mean "zipf"?'),
        ('expert_loads = { kind = "file", file = "a.csv", exponent = 1 }\n', "", "has no meaning"),
        ('expert_loads = "x.csv"\nexpert_imbalance = 1.2\n', "", "drop one of them"),
        ('expert_coactivation = "x.csv"\n', "", "needs expert_loads"),
        ("", "redundant_experts = 16\n", "copies of experts need workload.expert_loads"),
        ('expert_loads = { kind = "zipf", exponent = 1 }\n', "redundant_experts = [0, -4]\n", "at least 0"),
        ('expert_loads = { kind = "zipf", exponent = 1 }\n', "redundant_experts = 4\nep = 3\n",
         "20 slots of routed experts cannot be split by ep = 3; usable: 1, 2, 4, 5, 10, 20"),
    ],
)  # fmt: skip
def test_faults_of_the_section_name_the_key(build: Build, lines: str, search: str, message: str) -> None:
    with pytest.raises(ProblemError) as error:
        build(lines, search)
    assert message in messages(error)


def test_other_columns_and_pairs_of_one_are_named(build: Build) -> None:
    with pytest.raises(ProblemError) as error:
        build('expert_loads = "loads.csv"\n', loads=loads_text(rows(), "layer,expert,tokens"))
    assert "no column load: the first line has to be layer,expert,load" in messages(error)
    lines = 'expert_loads = "loads.csv"\nexpert_coactivation = "pairs.csv"\n'
    with pytest.raises(ProblemError) as error:
        build(lines, loads=loads_text(rows()), pairs="layer,expert_a,expert_b,count\n0,1,1,2\n")
    assert "csv:2: a token does not use expert 1 twice" in messages(error)


def test_a_dense_model_has_no_experts_to_load(small_problem: str, write: Callable[[str], Path]) -> None:
    text = small_problem.replace("num_experts = 16\nnum_experts_per_tok = 2\nmoe_", "")
    text = text.replace("expert_imbalance = 1.0", 'expert_loads = { kind = "zipf", exponent = 1 }')
    with pytest.raises(ProblemError) as error:
        load_problem(write(text))
    assert "has no meaning for a dense model" in messages(error)
