"""The page of the gallery: its numbers are those of the audit, and none is typed."""

from __future__ import annotations

import re
import runpy
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

AGAIN = "run: python docs/make_gallery.py"
MOST_BYTES = 1_000_000


@pytest.fixture
def made(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the scripts that write the gallery."""
    monkeypatch.syspath_prepend(str(root / "docs"))
    return {
        **vars(import_module("gallery_figures")),
        **runpy.run_path(str(root / "docs" / "make_gallery.py")),
    }


def test_page_and_figures_are_up_to_date(root: Path, made: dict[str, Any]) -> None:
    material = made["material"]()
    page = (root / "docs" / "gallery-moe10b.md").read_text(encoding="utf-8")
    assert page == made["page"](material), AGAIN
    figures = made["drawings"](material.found.problem, material.plan, material.result)
    assert made["fingerprints"](figures) == made["known"](), AGAIN
    pictures = {f"gallery/{name}.svg" for name in figures}
    assert set(re.findall(r"\]\((gallery/[^)]+)\)", page)) == pictures
    for picture in pictures:
        assert ElementTree.parse(root / "docs" / picture).getroot().tag.endswith("svg")


def test_the_whole_audits_are_up_to_date(root: Path, made: dict[str, Any]) -> None:
    for plan, document in made["AUDITS"].items():
        assert (root / "docs" / document).read_text(encoding="utf-8") == made["audit_page"](plan), AGAIN


def test_the_gallery_is_small(root: Path) -> None:
    files = [*(root / "docs").glob("gallery*.md"), *(root / "docs" / "gallery").iterdir()]
    assert sum(file.stat().st_size for file in files) < MOST_BYTES


def test_no_number_is_typed(root: Path) -> None:
    template = (root / "docs" / "gallery-moe10b.md.jinja").read_text(encoding="utf-8")
    typed = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|moe10b|MoE-10B|\.md", "", template, flags=re.S)
    assert re.findall(r"\d+", typed) == []
