"""``autoparallel export`` and ``autoparallel import``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from autoparallel.domain.result import SearchResult
from autoparallel.problem_file import load_problem
from autoparallel.results_folder import json_text, plan_document, result_files

Run = Callable[..., Result]


@pytest.fixture
def folder(found: SearchResult, tmp_path: Path) -> Path:
    """What search writes."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name, text in result_files(found).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def odd(folder: Path) -> Path:
    """The folder with a layout that only SGLang and TensorRT-LLM can say: ep next to etp."""
    file = folder / "plan.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["layout"] |= {"tp": 4, "sp": 1, "sp_kind": None, "dp": 1, "pp": 1, "ep": 2, "etp": 2}
    file.write_text(json.dumps(data), encoding="utf-8")
    return folder


def test_all_engines(run: Run, folder: Path) -> None:
    done = run("export", str(folder), "--engine", "all")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    for engine, files in (("vllm", 4), ("sglang", 4), ("trtllm", 5)):
        written = {path.name for path in (folder / "export" / engine).iterdir()}
        assert len(written) >= files
        assert written >= {"instance-0.node-0.sh", "benchmark.sh", "rank_map.csv", "kubernetes.yaml"}
        assert f"{engine}: wrote" in done.stderr


def test_json_has_the_commands(run: Run, folder: Path, tmp_path: Path) -> None:
    done = run(
        "export", str(folder / "plan.json"), "--engine", "vllm", "--out", str(tmp_path / "out"), "--json"
    )
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["schema"] == "autoparallel.export/1"
    (engine,) = document["engines"]
    assert engine["expressible"]
    assert engine["commands"][0]["argv"][:2] == ["vllm", "serve"]
    assert (tmp_path / "out" / "vllm" / "kubernetes.yaml").exists()
    assert done.stderr == ""


def test_what_an_engine_cannot_express(run: Run, odd: Path) -> None:
    done = run("export", str(odd), "--engine", "vllm", "--json")
    assert done.exit_code == 1
    assert "ep=2 and etp=2: one of them has to be 1" in done.stderr
    assert "Nearest plan that it can" in done.stderr
    (engine,) = json.loads(done.stdout)["engines"]
    assert not engine["expressible"]
    nearest = engine["nearest"]["layout"]
    assert 1 in (nearest["ep"], nearest["etp"])
    assert engine["nearest"]["changed"]
    assert not (odd / "export").exists()


def test_the_nearest_plan_is_written_on_request(run: Run, odd: Path, problem: str) -> None:
    done = run("export", str(odd), "--engine", "vllm", "--nearest", "--json")
    assert done.exit_code == 0
    assert "cannot launch" in done.stderr
    (engine,) = json.loads(done.stdout)["engines"]
    assert not engine["expressible"]
    script = odd / "export" / "vllm" / "instance-0.node-0.sh"
    assert engine["folder"] == str(script.parent)
    read = json.loads(run("import", "--problem", problem, str(script), "--json").stdout)
    assert (read["layout"], read["batch"]) == (engine["nearest"]["layout"], engine["nearest"]["batch"])


def test_a_plan_for_another_model_is_refused(run: Run, folder: Path, problem: str, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    text = Path(problem).read_text(encoding="utf-8")
    other.write_text(text.replace('name = "small"', 'name = "large"', 1), encoding="utf-8")
    done = run("export", str(folder), "--problem", str(other))
    assert done.exit_code == 2
    assert "the plan is for the model small, the problem for large" in done.stderr
    # Of the same model it is estimated again.
    other.write_text(text.replace("memory_gb = 64", "memory_gb = 640", 1), encoding="utf-8")
    again = run("export", str(folder), "--problem", str(other), "--engine", "vllm")
    assert (again.exit_code, "another fingerprint" in again.stderr) == (0, True)


def test_the_others_are_written_all_the_same(run: Run, odd: Path) -> None:
    done = run("export", str(odd), "--engine", "all")
    assert done.exit_code == 1
    assert sorted(path.name for path in (odd / "export").iterdir()) == ["sglang", "trtllm"]


def test_the_problems_engine_is_the_default(run: Run, folder: Path, problem: str) -> None:
    named = Path(problem).with_name("named.toml")
    named.write_text(
        Path(problem).read_text(encoding="utf-8") + '[engine]\nname = "sglang"\n', encoding="utf-8"
    )
    done = run("export", str(folder), "--problem", str(named))
    assert done.exit_code == 0
    assert [path.name for path in (folder / "export").iterdir()] == ["sglang"]


def test_a_plan_without_its_problem_asks_for_it(
    run: Run, folder: Path, problem: str, found: SearchResult
) -> None:
    (folder / "problem.json").unlink()
    done = run("export", str(folder), "--engine", "vllm")
    assert done.exit_code == 2
    assert "problem.json" in done.stderr
    assert "--problem" in done.stderr
    assert run("export", str(folder), "--engine", "vllm", "--problem", problem).exit_code == 0
    alone = folder / "alone.json"
    alone.write_text(json_text(plan_document(found)), encoding="utf-8")
    assert run("export", str(alone), "--engine", "vllm", "--problem", problem).exit_code == 0


@pytest.mark.parametrize("args", [("nowhere",), (".", "--engine", "vlm"), ()])
def test_bad_usage(run: Run, args: tuple[str, ...]) -> None:
    assert run("export", *args).exit_code == 2


def test_an_exported_plan_comes_back(run: Run, folder: Path, problem: str, found: SearchResult) -> None:
    assert run("export", str(folder), "--engine", "all").exit_code == 0
    for engine, name in (
        ("vllm", "instance-0.node-0.sh"),
        ("sglang", "instance-0.node-0.sh"),
        ("trtllm", "config.yaml"),
    ):
        done = run("import", "--problem", problem, str(folder / "export" / engine / name), "--json")
        assert done.exit_code == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["layout"] == found.best.layout.to_dict()
        assert (document["batch"], document["microbatch"]) == (found.best.batch, found.best.microbatch)


def test_import_writes_a_plan_file_to_check(run: Run, problem: str, tmp_path: Path) -> None:
    command = "vllm serve m -tp 2 -ep --max-num-seqs 16"
    done = run("import", "--problem", problem, command, "--out", str(tmp_path / "plan.toml"))
    assert done.exit_code == 0
    assert done.stdout == ""
    assert f"evaluate {problem} --layout tp=2,ep=2,replicas=2 --batch 16 --microbatch 16" in done.stderr
    checked = run("check", problem, str(tmp_path / "plan.toml"))
    assert checked.exit_code in (0, 1), checked.stderr
    again = run("import", "--problem", problem, command, "--out", str(tmp_path / "plan.toml"))
    assert again.exit_code == 2
    assert "--force" in again.stderr


def test_words_after_two_dashes(run: Run, problem: str) -> None:
    done = run("import", "--problem", problem, "--", "vllm", "serve", "a model", "-tp", "2", "-ep")
    assert done.exit_code == 0
    assert "ep = 2" in done.stdout


def test_unknown_flags_are_named(run: Run, problem: str) -> None:
    done = run(
        "import", "--problem", problem, "vllm serve m --max-num-seq 4 --tensor-paralel-size 8", "--json"
    )
    assert done.exit_code == 2
    faults = [fault["message"] for fault in json.loads(done.stdout)["error"]["faults"]]
    assert faults == ['--tensor-paralel-size: unknown flag; did you mean "--tensor-parallel-size"?']


def test_a_problem_that_names_an_engine_is_searched_for_it(run: Run, problem: str, tmp_path: Path) -> None:
    text = Path(problem).read_text(encoding="utf-8")
    text += 'etp = [2]\nep = [1, 2]\n\n[engine]\nname = "vllm"\nmodel_path = "org/model"\n'
    Path(problem).write_text(text, encoding="utf-8")
    assert load_problem(problem).engine == "vllm"
    done = run("search", problem, "--out", str(tmp_path / "r"), "-q", "--json")
    assert done.exit_code == 0, done.stderr
    layout = json.loads(done.stdout)["best"]["layout"]
    assert (layout["ep"], layout["etp"]) == (1, 2)
    exported = run("export", str(tmp_path / "r"), "--json")
    assert exported.exit_code == 0
    (engine,) = json.loads(exported.stdout)["engines"]
    assert engine["commands"][0]["argv"][:3] == ["vllm", "serve", "org/model"]
