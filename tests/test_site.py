"""The documentation site builds without a warning, and holds what was generated from the code."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from playwright.sync_api import Browser

import autoparallel
from autoparallel.cli.application import application
from tests.report.visit import needs_chromium

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


@needs_mkdocs
def test_an_option_without_a_default_shows_none(site: Path) -> None:
    """click marks it by an object of its own, whose name is for nobody's eyes."""
    page = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    assert "Sentinel" not in page
    assert "UNSET" not in page
    assert "<td>None</td>" not in page
    assert page.count('<td class="required">required</td>') == sum(
        isinstance(option, click.Option) and option.required
        for command in application.commands.values()
        for option in command.params
    )


@needs_mkdocs
@needs_chromium
def test_a_browser_searches_it_in_a_folder_and_a_phone_shows_whole_tables(
    site: Path, browser: Browser
) -> None:
    page = browser.new_context(offline=True).new_page()
    page.goto((site / "how-to" / "share.html").as_uri())
    page.click("input.md-search__input")
    page.get_by_text("Type to start searching").wait_for(timeout=30_000)
    page.keyboard.type("journal", delay=50)
    page.get_by_text("matching documents").wait_for(timeout=30_000)
    assert page.locator(".md-search-result__item").count() > 1
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((site / "reference" / "cli.html").as_uri())
    edges = "[...document.querySelectorAll('.options td')].map(cell => cell.getBoundingClientRect().right)"
    assert max(page.evaluate(edges)) <= 390
