"""The page of the gallery: its numbers are those of the audit, and none is typed."""

from __future__ import annotations

import re
import runpy
from pathlib import Path


def test_the_page_is_up_to_date(root: Path) -> None:
    made = runpy.run_path(str(root / "docs" / "make_gallery.py"))
    page = (root / "docs" / "gallery-moe10b.md").read_text(encoding="utf-8")
    assert page == made["page"](), "run: python docs/make_gallery.py"


def test_no_number_is_typed(root: Path) -> None:
    template = (root / "docs" / "gallery-moe10b.md.jinja").read_text(encoding="utf-8")
    typed = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|moe10b|MoE-10B|\.md", "", template, flags=re.S)
    assert re.findall(r"\d+", typed) == []
