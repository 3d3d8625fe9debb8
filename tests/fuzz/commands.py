"""For every kind of input, the command lines that read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from autoparallel.cli.application import application
from tests.fuzz.seeds import AROUND, MEASURED, PROBLEM, RESULT_FILES, TRACED, UNLOADED, seeds

Lines = tuple[tuple[str, ...], ...]
# What the folder holds besides the input.
BASELINE = "moe10b-original.toml"
SMALL, PLAN, RESULT, LOADS, JOURNAL = "small.toml", "plan.toml", "result", "loads.csv", "journal.log"
_OTHERS = {"traced.toml": TRACED, "unloaded.toml": UNLOADED, "around.toml": AROUND, "measured.toml": MEASURED}
_PLAN = (
    'model = "small"\nbatch = 16\n[layout]\ntp = 2\n[[claim]]\nquantity = "tp"\nvalue = 2\nunit = "ranks"\n'
)
_LAYOUT = ("--layout", "tp=2,etp=2", "--batch", "16")
_QUICK = ("--trials", "1", "--quiet", "--out", "out")
_CLOSED = ("--requests", "20", "--set", "workload.mode=closed")
_DRY = "--dry-run"


def prepare(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Write what commands need besides their input; the kinds of input that come of it."""
    texts = {SMALL: PROBLEM, PLAN: _PLAN, LOADS: seeds()["expert_loads"][0], **_OTHERS}
    texts[BASELINE] = seeds()["plan"][-1]
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for more in (("--out", RESULT), ("--out", "kept", "--storage", JOURNAL, "--trials", "2")):
        _run("search", SMALL, "--quiet", *more)
    lines = (folder / JOURNAL).read_text(encoding="utf-8").splitlines(keepends=True)
    return {
        **{name: ((folder / RESULT / name).read_text(encoding="utf-8"),) for name in RESULT_FILES},
        # A search that is done, and one that was killed.
        "journal": ("".join(lines), "".join(lines[: len(lines) * 2 // 3])),
    }


def _run(*argv: str) -> None:
    code = application(list(argv), prog_name="autoparallel", standalone_mode=False)
    if code:
        raise RuntimeError(f"{argv} ends with {code}")


def write_input(folder: Path, kind: str, data: bytes) -> str:
    """Put an input where its command looks for it; the path, or the text that goes on the command line."""
    if kind in _ON_THE_LINE:
        return data.decode("utf-8", "replace").replace("\x00", "")
    name = f"{RESULT}/{kind}" if kind in RESULT_FILES else _FILES.get(kind, "input.toml")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return name


def restore(folder: Path, kind: str, given: Mapping[str, tuple[str, ...]]) -> None:
    """Undo an input to the result."""
    if kind in RESULT_FILES:
        (folder / RESULT / kind).write_text(given[kind][0], encoding="utf-8")


def command_lines(kind: str, place: str) -> Lines:
    """Every command line that reads an input of this kind."""
    return _LINES[kind](place)


def command_line(kind: str, place: str, random: Random) -> tuple[str, ...]:
    """One of them, every other time with its answer in JSON."""
    line = random.choice(_LINES[kind](place))
    # After "--" an option would be a part of the input.
    return (*line, "--json") if "--" not in line and random.random() < 0.5 else line


_ON_THE_LINE = ("constraint", "storage", "layout", "override", "launch")
_TABLES = ("engines", "expert_loads", "coactivation", "trace")
_FILES = {
    "config": "config.json", "operators": "tables/input.csv", "journal": "input.log", "script": "input.sh",
    "configuration": "input.yaml", **dict.fromkeys(_TABLES, "input.csv"),
}  # fmt: skip


def _problem(path: str) -> Lines:
    evaluate, search = ("evaluate", path, *_LAYOUT), ("search", path, *_QUICK)
    # It asks for as long as it may, two minutes without a limit.
    explain = ("explain", path, "-q", "--time-limit", "2")
    return (
        *(evaluate, evaluate, ("search", path, _DRY), search, ("check", path, PLAN), explain),
        ("simulate", path, *_LAYOUT, *_CLOSED),
        ("fleet", path, "--set", "fleet.gpus=2", "--set", "workload.mode=saturated", "-q", "--out", "fleet"),
    )


def _result(_path: str) -> Lines:
    return (
        *(("verify", RESULT), ("compare", RESULT, f"{RESULT}/plan.json"), ("check", SMALL, RESULT)),
        *(("export", RESULT, "--out", "exported"), ("report", RESULT, "--out", "compared.html")),
        *(("compare", PLAN, RESULT, "--problem", SMALL), ("simulate", SMALL, "--plan", RESULT, *_CLOSED)),
        ("document", RESULT, "--out", "documented", "--format", "md"),
    )


def _with(problem: str, key: str, *more: str) -> Callable[[str], Lines]:
    """A problem with the input as the value of a key."""

    def lines(value: str) -> Lines:
        given = (*more, "--set", f"{key}={value}")
        return (("evaluate", problem, *_LAYOUT, *given), ("search", problem, _DRY, *given))

    return lines


def _trace(path: str) -> Lines:
    given = ("--set", f"workload.trace={path}")
    simulate = ("simulate", "traced.toml", *_LAYOUT, *given, "--requests", "20")
    return (*_with("traced.toml", "workload.trace")(path), simulate)


def _constraint(text: str) -> Lines:
    given = ("--set", f"search.constraints={json.dumps(text, ensure_ascii=False)}")
    return (
        ("search", SMALL, _DRY, *given),
        ("evaluate", SMALL, *_LAYOUT, *given),
        ("search", SMALL, *_QUICK, *given),
    )


def _override(text: str) -> Lines:
    given = f"--set={text}"
    return (
        ("evaluate", SMALL, *_LAYOUT, given),
        ("search", SMALL, _DRY, given),
        ("search", SMALL, *_QUICK, given),
    )


def _plan(path: str) -> Lines:
    document = ("check", SMALL, path, "--out", "audit.md", "--force")
    return (("check", SMALL, path), document, ("compare", path, RESULT, "--problem", SMALL))


def _import(source: str) -> Lines:
    return (("import", "--problem", SMALL, "--", source),)


_LINES: Mapping[str, Callable[[str], Lines]] = {
    "problem": _problem,
    "config": lambda path: (("model", path), ("model", path), ("search", "around.toml", _DRY)),
    "calibration": _with("measured.toml", "hardware.calibration"),
    "operators": lambda path: (
        *(("validate", path), ("calibrate", "tables", "--system", "h100_sxm", "--backend", "trtllm")),
    ),
    "engines": lambda path: (("validate", path), ("validate", path, "--choice")),
    "expert_loads": lambda path: (
        *_with("unloaded.toml", "workload.expert_loads")(path),
        (
            "place",
            "unloaded.toml",
            "--ep",
            "4",
            "--set",
            f"workload.expert_loads={path}",
            "--seconds",
            "0.05",
        ),
    ),
    "coactivation": _with(
        "unloaded.toml", "workload.expert_coactivation", f"--set=workload.expert_loads={LOADS}"
    ),
    "trace": _trace,
    "plan": _plan,
    "launch": _import,
    "script": _import,
    "configuration": _import,
    "constraint": _constraint,
    "storage": lambda url: (("worker", f"--storage={url}"), ("search", SMALL, *_QUICK, f"--storage={url}")),
    "layout": lambda text: (("evaluate", SMALL, f"--layout={text}", "--batch", "16"),),
    "override": _override,
    "journal": lambda path: (("worker", "--storage", path), ("search", SMALL, *_QUICK, "--storage", path)),
    **dict.fromkeys(RESULT_FILES, _result),
}
KINDS = tuple(_LINES)
