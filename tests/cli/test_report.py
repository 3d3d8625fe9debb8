"""``autoparallel report``."""

from __future__ import annotations

import json
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
