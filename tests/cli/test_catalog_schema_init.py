"""``autoparallel catalog``, ``schema`` and ``init``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from autoparallel.catalog import gpu_names, load_gpu, model_names
from autoparallel.problem_file import load_problem, problem_schema, template

Run = Callable[..., Result]


def test_the_catalog_lists_everything(run: Run) -> None:
    shown = run("catalog").stdout
    assert all(name in shown for name in (*gpu_names(), *model_names()))
    document = json.loads(run("catalog", "--json").stdout)
    assert [gpu["name"] for gpu in document["gpus"]] == list(gpu_names())
    assert [model["name"] for model in document["models"]] == list(model_names())


def test_an_entry_is_shown_with_its_sources(run: Run) -> None:
    name = gpu_names()[0]
    entry = load_gpu(name)
    assert json.loads(run("catalog", name, "--json").stdout)["gpu"] == entry
    shown = run("catalog", name).stdout
    assert "scale_up.bandwidth_gb_per_s" in shown
    assert str(entry["memory_gb"]) in shown
    assert "source" in shown


def test_a_model_is_shown_too(run: Run) -> None:
    name = model_names()[0]
    assert "num_hidden_layers" in run("catalog", name).stdout
    assert json.loads(run("catalog", name, "--json").stdout)["model"]["name"] == name


def test_an_unknown_entry_is_guessed(run: Run) -> None:
    done = run("catalog", "h100")
    assert done.exit_code == 2
    assert 'did you mean "h100-sxm"?' in done.stderr


@pytest.mark.parametrize("args", [("schema",), ("schema", "--json")])
def test_schema_is_the_problem_files(run: Run, args: tuple[str, ...]) -> None:
    assert json.loads(run(*args).stdout) == problem_schema()


def test_init_writes_a_problem_that_loads(run: Run) -> None:
    done = run("init")
    assert done.exit_code == 0
    assert Path("problem.toml").read_text(encoding="utf-8") == template()
    assert load_problem("problem.toml").name == "problem"
    assert "autoparallel search problem.toml" in done.stderr


def test_init_overwrites_only_when_told(run: Run) -> None:
    Path("mine.toml").write_text("mine", encoding="utf-8")
    done = run("init", "mine.toml")
    assert done.exit_code == 2
    assert "--force" in done.stderr
    assert Path("mine.toml").read_text(encoding="utf-8") == "mine"
    assert json.loads(run("init", "mine.toml", "--force", "--json").stdout)["written"] == "mine.toml"


def test_init_to_stdout(run: Run) -> None:
    assert "model" in tomllib.loads(run("init", "-").stdout)
    assert json.loads(run("init", "-", "--json").stdout)["template"] == template()
    assert not list(Path().iterdir())


def test_init_where_it_cannot(run: Run) -> None:
    Path("folder").mkdir()
    for target in ("no/such/place.toml", "folder"):
        done = run("init", target)
        assert done.exit_code == 2
        assert "Traceback" not in done.output


@pytest.mark.parametrize("name", [gpu_names()[0], model_names()[0]])
def test_an_entry_is_printed_as_the_file_that_it_is(run: Run, name: str) -> None:
    printed = tomllib.loads(run("catalog", name, "--toml").stdout)
    document = json.loads(run("catalog", name, "--json").stdout)
    assert {"name": name, **printed} == (document.get("gpu") or document.get("model"))


def test_a_file_has_a_name_and_is_no_json(run: Run) -> None:
    assert run("catalog", "--toml").exit_code == 2
    assert run("catalog", gpu_names()[0], "--toml", "--json").exit_code == 2
