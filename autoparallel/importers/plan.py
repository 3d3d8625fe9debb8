"""A launch command, a script or a configuration becomes a plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.engine import ENGINES
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.importers import sglang, trtllm, vllm
from autoparallel.importers.command_text import FoundCommand, find_command
from autoparallel.importers.flags import Values, read_flags
from autoparallel.importers.imported import Imported, Reading, completed
from autoparallel.importers.manifest import script_of
from autoparallel.importers.stated import stated_notes
from autoparallel.problem_file.document import read_text

READERS: dict[str, Callable[[Values, Problem], Reading]] = {
    "vllm": vllm.read,
    "sglang": sglang.read,
    "trtllm": trtllm.read,
}
YAML = (".yaml", ".yml")
# A command or a configuration of an engine is a page, not a book.
MAX_BYTES = 256 * 1024
CHECK_PATH = "check the path, or put a launch command in quotation marks"
# Where a server is reached, what it is called, what it tells: none of it changes a plan.
AROUND = frozenset({
    "--host", "--port", "--api-key", "--served-model-name", "--trust-remote-code", "--download-dir",
    "--load-format", "--seed", "--headless", "--master-addr", "--master-port", "--data-parallel-address",
    "--data-parallel-rpc-port", "--data-parallel-backend", "--distributed-executor-backend", "--nnodes",
    "--node-rank", "--dist-init-addr", "--tokenizer", "--revision", "--chat-template",
    "--tool-call-parser", "--reasoning-parser", "--enable-auto-tool-choice", "--log-level", "--config",
    "--uvicorn-log-level", "--enable-log-requests", "--disable-log-requests", "--disable-log-stats",
})  # fmt: skip
# Words that a command may have besides its flags: the model.
POSITIONAL = {"vllm": 1, "sglang": 0, "trtllm": 1}


def import_plan(
    source: str, problem: Problem, *, engine: str | None = None,
    batch: int | None = None, microbatch: int | None = None,
) -> Imported:  # fmt: skip
    """Read a plan from a command or a file.

    Parameters
    ----------
    source : str
        A command line, or the path of a script, of a manifest of Kubernetes or Docker Compose, or of a
        TensorRT-LLM configuration (``.yaml``).
    engine : str, optional
        The engine, where the text does not say it.
    batch, microbatch : int, optional
        In place of what the command bounds.

    Raises
    ------
    ProblemError
        Unknown flags, wrong values, contradictions: every one is named.
    LayoutError
        The problem's model cannot have the layout.
    """
    name, values = _values(source, engine)
    reading = READERS[name](values, problem)
    values.done()
    told = tuple(stated_notes(values, problem, load_engine(name)))
    reading = replace(reading, notes=(*reading.notes, *told, *_left_out(values)))
    return completed(name, reading, problem, batch=batch, microbatch=microbatch)


def _left_out(values: Values) -> Iterator[str]:
    """What a plan has no word for, but for where a server is reached and what it is called."""
    if left := [name for name in values.given.left if name not in AROUND]:
        yield f"No part of a plan, and not counted: {', '.join(left)}."


def _values(source: str, engine: str | None) -> tuple[str, Values]:
    path = _path(source)
    if path is None:
        if len(source) > MAX_BYTES:
            raise ProblemError([Fault(f"a command of more than {MAX_BYTES >> 10} KiB is none")])
        return _of_command(find_command(source, engine), "", Path())
    text = read_text(path, otherwise=CHECK_PATH, max_bytes=MAX_BYTES)
    if path.suffix in YAML and (script := script_of(text)) is not None:
        return _of_command(find_command(script, engine, file=str(path)), str(path), path.parent)
    if path.suffix in YAML and engine in (None, "trtllm"):
        values = trtllm.parse(text, load_engine("trtllm"), file=str(path))
        return "trtllm", values
    return _of_command(find_command(text, engine, file=str(path)), str(path), path.parent)


def words_of_config(path: Path) -> tuple[str, ...]:
    """A file of flags in YAML as the words of a command.

    Raises
    ------
    ProblemError
        It cannot be read, or is no table of flags.
    """
    import yaml

    try:
        table = yaml.safe_load(read_text(path, otherwise=CHECK_PATH, max_bytes=MAX_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ProblemError([Fault(f"is no YAML: {reason}", file=str(path))]) from None
    if not isinstance(table, dict):
        message = "must be a table of flags, such as tensor-parallel-size: 8"
        raise ProblemError([Fault(message, file=str(path))])
    return tuple(word for key, value in table.items() for word in _words_of(f"--{key}", value))


def _words_of(flag: str, value: object) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (f"{flag}={str(value).lower()}",)
    if isinstance(value, list):
        return (flag, *map(str, value))
    return (flag, json.dumps(value) if isinstance(value, dict) else str(value))


def _path(source: str) -> Path | None:
    """The file that a source names; a command has blanks, a file that is missing should be named so."""
    path = Path(source)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):
        return None
    single = len(source.split()) == 1 and not source.startswith("-")
    return path if single and source not in ENGINES else None


def _of_command(found: FoundCommand, file: str, folder: Path) -> tuple[str, Values]:
    engine = load_engine(found.engine)
    values = read_flags(found.words, engine.flags["serve"], file=file)
    if found.engine != "trtllm" and "--config" in values.given and not values.faults:
        # What the command says itself comes after it, and counts.
        before = words_of_config(folder / values.given["--config"])
        values = read_flags((*before, *found.words), engine.flags["serve"], file=file)
    values.environment = found.environment
    for word in values.positional[POSITIONAL[found.engine] :]:
        values.fault(f"{word!r}: belongs to no flag")
    if found.engine != "trtllm":
        return found.engine, values
    config = None
    if "--config" in values.given:
        config_path = folder / values.given["--config"]
        text = read_text(config_path, otherwise=CHECK_PATH, max_bytes=MAX_BYTES)
        config = trtllm.parse(text, engine, file=str(config_path))
    return found.engine, trtllm.with_flags(values, config)
