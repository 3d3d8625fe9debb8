"""``make bench``: the figures of test_speed.py beside the last committed ones, kept, and docs/speed.md.

``python benchmarks/speed.py --quick`` takes a few seconds, prints, and keeps nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from speed_page import HERE, LAST, committed, machine, on, table, write

PYTEST = ("-m", "pytest", str(HERE), "--benchmark-only", "-q", "-o", "addopts=--import-mode=importlib")
QUICK = (
    "-k",
    "plans or solve or help",
    "--benchmark-max-time=0.5",
    "--benchmark-min-rounds=2",
    "--benchmark-warmup=off",
)


def measure(*options: str) -> dict[str, float]:
    """Run the benchmarks; the best time of each, or plans per second, by its name.

    Raises
    ------
    subprocess.CalledProcessError
        A benchmark failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.json"
        command = [sys.executable, *PYTEST, *options, f"--benchmark-json={file}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent)
        measured = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    figures = {one["name"]: one["extra_info"].get("plans_per_s", one["stats"]["min"]) for one in measured}
    others = [
        figures[name] for name in figures if name.startswith("test_search_cold") and "moe10b" not in name
    ]
    return {**figures, **({"slowest search": max(others)} if others else {})}


def main() -> None:
    """Measure, print, and keep."""
    quick = "--quick" in sys.argv[1:]
    last = committed(LAST) or {"figures": {}, "about": None}
    figures, about = measure(*(QUICK if quick else ())), machine()
    sys.stdout.write("\n".join(table(figures, last["figures"])) + f"\n\nNow: {on(about)}\n")
    if last["about"]:
        sys.stdout.write(f"Before: {on(last['about'])}\n")
    if not quick:
        write(LAST, {"about": about, "figures": figures})


if __name__ == "__main__":
    main()
