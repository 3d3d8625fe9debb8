"""The documents say what the code does: every schema that is printed stands in docs/schema.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = re.compile(r"autoparallel\.[a-z_]+/[0-9]+")


def test_every_schema_is_described_and_every_description_has_its_schema() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "autoparallel").rglob("*.py"))
    document = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    printed = set(SCHEMA.findall(code))
    assert len(printed) > 10
    assert set(SCHEMA.findall(document)) == printed
    headings = "\n".join(line for line in document.splitlines() if line.startswith("## "))
    assert set(SCHEMA.findall(headings)) == printed
