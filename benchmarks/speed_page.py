"""Writes docs/speed.md from what was measured last: benchmarks/last.json and benchmarks/peers.json."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
LAST, PEERS, PAGE = HERE / "last.json", HERE / "peers.json", HERE.parent / "docs" / "speed.md"


HEAD = """\
Written by `make bench` and `make bench-peers`. What is measured and how: [Speed](../benchmarks/README.md)."""
BESIDE = """\
AIConfigurator {version} from PyPI and `autoparallel fleet`, one after the other on the same machine, from
the command line to the printed answer. Each is asked for the most requests per second that so many GPUs
serve with prompts of 4,000 and outputs of 1,000 tokens, a TTFT of at most 2 s and the TPOT named, by
aggregated instances or by prefill and decode instances, for TensorRT-LLM, without pipelines. On {on}.
"""
COLUMNS = (
    "asked",
    "theirs: wall, CPU",
    "ours: wall, CPU",
    "their CPU time over ours",
    "theirs finds",
    "ours finds",
)
DIFFERENCE = """
What is found differs because the models of time differ, and because theirs repeats one unit of prefill
and decode workers over all GPUs, while a fleet may mix instances."""


class Figure(NamedTuple):
    """A measured figure: its benchmark, what it says, unit, what is wanted, whether more is better."""

    benchmark: str
    what: str
    unit: str
    wanted: float
    more_is_better: bool = False


FIGURES = (
    Figure("test_plans_per_second", "whole plans estimated, one core", "plans/s", 1e6, more_is_better=True),
    Figure(
        "test_served_plans_per_second[load1-percentiles]",
        "plans under an open load, with percentiles, one core",
        "plans/s",
        2e4,
        more_is_better=True,
    ),
    Figure("test_one_layout_solve[64]", "one layout solve of moe10b, up to 64 GPUs, cold", "s", 0.05),
    Figure("test_one_layout_solve[1024]", "the same up to 1,024 GPUs", "s", 0.2),
    Figure("test_search_cold[moe10b]", "`search problems/moe10b.toml`, cold, report written", "s", 5.0),
    Figure("slowest search", "the slowest of the other bundled problems, cold", "s", 15.0),
    Figure("test_help", "`autoparallel --help`", "s", 0.3),
)


def machine() -> dict[str, str]:
    """What the figures were measured on; versions of what does the work."""
    from importlib.metadata import version

    names = Path("/proc/cpuinfo")
    text = names.read_text(encoding="utf-8") if names.exists() else ""
    found = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return {
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores of {found[1] if found else platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "ortools")},
    }


def read(path: Path) -> dict[str, Any] | None:
    """What a file of figures holds, if there is one."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def committed(path: Path) -> dict[str, Any] | None:
    """The same as it was committed last; what lies there where there is no repository."""
    command = ["git", "show", f"HEAD:./{path.name}"]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else read(path)


def write(path: Path, figures: Mapping[str, Any]) -> None:
    """Keep figures, and bring the page up to date."""
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(page(read(LAST), read(PEERS)), encoding="utf-8")


def shown(value: float, unit: str) -> str:
    """A figure for people."""
    if unit == "plans/s":
        return f"{value / 1e6:.2f} million/s" if value >= 5e5 else f"{value:,.0f}/s"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def table(now: Mapping[str, float], before: Mapping[str, float]) -> list[str]:
    """The figures beside those of before; a ratio above 1 is faster."""
    lines = ["| what | measured | wanted | times as fast as before |", "| --- | ---: | ---: | ---: |"]
    for figure in FIGURES:
        if figure.benchmark not in now:
            continue
        value, old = now[figure.benchmark], before.get(figure.benchmark)
        ratio = "" if old is None else f"{value / old if figure.more_is_better else old / value:.2f}"
        wanted = shown(figure.wanted, figure.unit)
        lines.append(f"| {figure.what} | {shown(value, figure.unit)} | {wanted} | {ratio} |")
    return lines


def on(about: Mapping[str, str]) -> str:
    """Where and when something was measured."""
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "numpy", "ortools"))
    return f"{about['machine']}, {versions}, {about['date']}"


def page(last: Mapping[str, Any] | None, peers: Mapping[str, Any] | None) -> str:
    """The page of the documentation."""
    lines = ["# Measured speed", "", HEAD]
    if last:
        without = [line.rpartition(" | ")[0] + " |" for line in table(last["figures"], {})]
        lines += ["", f"On {on(last['about'])}, the best of several runs:", "", *without]
    if peers:
        lines += ["", "## Beside AIConfigurator", "", *_beside(peers)]
    return "\n".join(lines) + "\n"


def _beside(peers: Mapping[str, Any]) -> list[str]:
    lines = [BESIDE.format(version=peers["version"], on=on(peers["about"]))]
    lines += [f"| {' | '.join(COLUMNS)} |", "| --- | ---: | ---: | ---: | --- | --- |"]
    for row in peers["rows"]:
        theirs, ours = row["theirs"], row["ours"]
        times = (f"{run['wall_s']:.1f} s, {run['cpu_s']:.1f} s" for run in (theirs, ours))
        found = (f"{run['requests_per_s']:.1f} requests/s, {run['how']}" for run in (theirs, ours))
        cells = (row["asked"], *times, f"{theirs['cpu_s'] / ours['cpu_s']:.1f}", *found)
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, DIFFERENCE]
