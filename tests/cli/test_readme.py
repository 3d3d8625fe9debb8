"""The README shows what a search prints today."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from click.testing import Result


def words(text: str) -> str:
    """The text however wide the terminal is: rules of tables and breaks of lines left out."""
    return " ".join(re.sub("─+", " ", text).split())


def test_the_sample_of_a_search_is_what_it_prints(run: Callable[..., Result], root: Path) -> None:
    (sample,) = re.findall(r"```text\n(2 GPUs: .*?)```", (root / "README.md").read_text("utf-8"), re.DOTALL)
    printed = words(run("search", str(root / "problems" / "moe10b.toml")).stdout)
    parts = [words(part) for part in sample.split("\n\n")]
    assert len(parts) > 4
    assert [part for part in parts if part not in printed] == []
