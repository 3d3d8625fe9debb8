"""``autoparallel report``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_several_results_make_one_page(run: Run, root: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.html"
    done = run("report", f"{root}/results/moe10b", f"{root}/results/mixtral-8x7b-h100", "--out", str(page))
    assert done.exit_code == 0
    assert "mixtral-8x7b" in done.stdout
    assert str(page) in done.stderr
    assert page.read_text(encoding="utf-8").count("<tr data-row=") == 2


def test_rows_as_json(run: Run, root: Path, tmp_path: Path) -> None:
    done = run("report", f"{root}/results/moe10b", "--json", "--out", f"{tmp_path}/page.html")
    (row,) = json.loads(done.stdout)["results"]
    assert row["gpus"] == 2
    assert not (tmp_path / "page.html").exists()


def test_what_is_no_result_is_named(run: Run, tmp_path: Path) -> None:
    done = run("report", str(tmp_path))
    assert done.exit_code == 2
    assert str(tmp_path) in done.stderr
    assert run("report").exit_code == 2


def test_a_damaged_result_is_named_and_left_out(run: Run, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "results" / "moe10b", tmp_path / "other")
    shutil.copy(root / "results" / "mixtral-8x7b-h100" / "problem.json", tmp_path / "other")
    done = run("report", f"{root}/results/moe10b", f"{tmp_path}/other", "--json")
    assert done.exit_code == 0
    assert [row["name"] for row in json.loads(done.stdout)["results"]] == ["moe10b"]
    assert f"Left out: {tmp_path}/other/problem.json: fingerprint: is not the problem" in done.stderr
    assert run("report", f"{tmp_path}/other").exit_code == 2


def test_a_page_takes_the_place_of_a_page_alone(run: Run, root: Path, tmp_path: Path) -> None:
    result, notes = f"{root}/results/moe10b", tmp_path / "notes.toml"
    notes.write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    for name, says in (
        ("notes.toml", "notes.toml exists; --force overwrites it"),
        ("pipe", "is a device or a pipe, not a file"),
        (".", "is a folder; name a file, such as"),
    ):
        done = run("report", result, "--out", str(tmp_path / name))
        assert done.exit_code == 2
        assert says in done.stderr
    assert notes.read_text() == "mine"
    assert run("report", result, "--out", str(notes), "--force").exit_code == 0
    # Its own page it writes anew without a question.
    assert run("report", result, "--out", str(notes)).exit_code == 0
    assert run("report", result, "--out", str(tmp_path / "pipe"), "--force").exit_code == 2
    assert (tmp_path / "pipe").is_fifo()


def test_fleets_and_sweeps_among_results_are_left_out(run: Run, root: Path, tmp_path: Path) -> None:
    for name, file in (("fleet", "fleet.json"), ("sweep", "cells.csv")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("", encoding="utf-8")
    done = run("report", f"{root}/results/moe10b", f"{tmp_path}/fleet", f"{tmp_path}/sweep", "--json")
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["results"]) == 1
    assert "fleet holds a fleet, not a plan (export reads it)." in done.stderr
    assert "sweep holds a sweep, not a plan." in done.stderr
    for command in ("report", "verify", "document", "export"):
        alone = run(command, f"{tmp_path}/sweep")
        assert alone.exit_code == 2
        assert "sweep: holds a sweep, not a plan; name a folder that search wrote" in alone.stderr
