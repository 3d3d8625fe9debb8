"""``make check-package``: what is shipped works where nothing else is.

Builds the wheel and the source distribution, looks for every file of data in them, installs each in an empty
environment and runs the first commands and the library's example of the README from another folder.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program and return what it printed; nothing of this checkout is on its path.

    Raises
    ------
    SystemExit
        It failed; shows what it said.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    texts = [str(word) for word in command]
    done = subprocess.run(texts, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"{shlex.join(texts)} ends with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution of a clean copy of what is tracked."""
    source = folder / "source"
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", source, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    return wheel, sdist


def missing(wheel: Path, sdist: Path) -> list[str]:
    """Files of the package that a distribution lacks."""
    files = run("git", "ls-files", "autoparallel", cwd=ROOT).splitlines()
    with zipfile.ZipFile(wheel) as packed:
        shipped = set(packed.namelist())
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    held = {"wheel": shipped, "source distribution": sources}
    return [f"{name} is not in the {kind}" for kind in held for name in files if name not in held[kind]]


def first_commands() -> list[list[str]]:
    """The commands of the README's first block that begins with ``autoparallel init``."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    block = next(block for block in blocks if block.startswith("autoparallel init"))
    lines = block.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def library_example() -> str:
    """The Python of the README."""
    match = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    if match is None:
        sys.exit("README.md has no example of the library")
    return match[1]


def try_out(distribution: Path, folder: Path) -> None:
    """Install a distribution in an empty environment and use it from another folder."""
    venv.create(folder / "venv", with_pip=True)
    programs, elsewhere = folder / "venv" / "bin", folder / "elsewhere"
    run(programs / "pip", "install", "--quiet", "--disable-pip-version-check", distribution, cwd=folder)
    shutil.copytree(ROOT / "problems", elsewhere / "problems")
    for words in first_commands():
        run(programs / words[0], *words[1:], cwd=elsewhere)
    run(programs / "python", "-c", f"{library_example()}\nassert plan.metrics.ttft_s > 0", cwd=elsewhere)
    report = elsewhere / "results" / "problem" / "report.html"
    if not report.exists() or report.stat().st_size < 1_000_000:
        sys.exit(f"{report.name} was not written whole")


def main(kinds: Sequence[str]) -> None:
    """Check the distributions named, ``wheel`` and ``sdist``."""
    with tempfile.TemporaryDirectory() as base:
        wheel, sdist = build(Path(base))
        if lacking := missing(wheel, sdist):
            sys.exit("\n".join(lacking))
        for kind, distribution in (("wheel", wheel), ("sdist", sdist)):
            if kind in kinds:
                (Path(base) / kind).mkdir()
                try_out(distribution, Path(base) / kind)
                sys.stdout.write(f"{distribution.name}: installs, and runs what the README shows\n")


if __name__ == "__main__":
    main(sys.argv[1:] or ("wheel", "sdist"))
