"""The documentation site builds without a warning, and holds what was generated from the code."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import autoparallel
from autoparallel.cli.application import application

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="the extra [docs] is not installed"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    root = Path(autoparallel.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        check=False,
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


@needs_mkdocs
def test_every_command_and_option_has_its_reference(site: Path) -> None:
    page = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    for name, command in application.commands.items():
        assert f'id="autoparallel-{name}"' in page, name
        for option in command.params:
            assert all(word in page for word in option.opts if word.startswith("--")), (name, option.name)


@needs_mkdocs
def test_everything_that_the_library_offers_has_its_reference(site: Path) -> None:
    page = (site / "reference" / "library.html").read_text(encoding="utf-8")
    for name in autoparallel.__all__:
        if not name.startswith("__"):
            assert re.search(rf'id="autoparallel\.[\w.]*{name}"', page), name


@needs_mkdocs
def test_nothing_is_fetched_from_a_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://[^"]*"', text), page.name
