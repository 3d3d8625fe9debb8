"""What the tutorial tells a new user to type works, in the order of the page, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = ("tutorial.md", "how-to/gpu.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_page_works(page: str, root: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", (root / "docs" / page).read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    command = tmp_path / "autoparallel"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m autoparallel "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(root)}
    folder = tmp_path / "work"
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-euxo", "pipefail"],
        input="\n".join(blocks),
        check=False,
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
