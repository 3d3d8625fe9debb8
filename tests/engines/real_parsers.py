"""Runs generated commands through the engines' own parsers, and writes the shipped tables of flags.

Runs in a virtual environment of its own that ``make check-engines`` makes, where vLLM and SGLang are
installed without what needs a GPU; nothing of autoparallel is imported here.

    python real_parsers.py dump vllm FLAGS.toml
    python real_parsers.py check FOLDER

``check`` takes every file ``*.argv.json`` below FOLDER: ``{"engine", "program", "argv", "model"}``. Where
``model`` is a folder with a config.json, the command is made into the engine's whole configuration too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

# Without it vLLM finds no device and its parser cannot be built.
os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
MOST_CHOICES = 32


class CapturedParser(Exception):  # noqa: N818 - not an error: carries a parser out of a main function
    """The parser that a program's main function built."""


def vllm_serve() -> argparse.ArgumentParser:
    """``vllm serve``."""
    parser = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser()
    made: argparse.ArgumentParser = import_module("vllm.entrypoints.common.cli_args").make_arg_parser(parser)
    return made


def vllm_bench() -> argparse.ArgumentParser:
    """``vllm bench serve``."""
    parser: argparse.ArgumentParser = import_module("vllm.utils.argparse_utils").FlexibleArgumentParser()
    import_module("vllm.benchmarks.serve").add_cli_args(parser)
    return parser


def sglang_serve() -> argparse.ArgumentParser:
    """``python -m sglang.launch_server``."""
    parser = argparse.ArgumentParser()
    import_module("sglang.srt.server_args").ServerArgs.add_cli_args(parser)
    return parser


def sglang_bench() -> argparse.ArgumentParser:
    """``python -m sglang.benchmark.serving``, whose parser is local to its main function."""
    _stand_in_for_torchvision()
    module = import_module("sglang.benchmark.serving")

    class Capturing(argparse.ArgumentParser):
        def parse_args(self, *args: Any, **options: Any) -> Any:
            raise CapturedParser(self)

    module.__dict__["ArgumentParser"] = Capturing
    try:
        module.cli_main()
    except CapturedParser as captured:
        parser: argparse.ArgumentParser = captured.args[0]
        parser.__class__ = argparse.ArgumentParser
        return parser
    raise RuntimeError("sglang.benchmark.serving parsed nothing")


def _stand_in_for_torchvision() -> None:
    """Images are decoded with it; its wheels do not fit a CPU build of PyTorch, and flags do not need it."""
    for name in (
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.functional",
        "torchvision.io",
    ):
        sys.modules.setdefault(name, _stand_in(name))


def _stand_in(name: str) -> ModuleType:
    """A module that has whatever is asked of it."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__getattr__ = lambda _name: MagicMock()  # type: ignore[method-assign]
    return module


PARSERS: dict[tuple[str, str], Callable[[], argparse.ArgumentParser]] = {
    ("vllm", "serve"): vllm_serve,
    ("vllm", "bench"): vllm_bench,
    ("sglang", "serve"): sglang_serve,
    ("sglang", "bench"): sglang_bench,
}


def table(engine: str) -> str:
    """All flags of an engine as TOML: the name, its other names, what value it takes."""
    lines = [f"# Flags of {engine}, read from its own parsers by tests/engines/real_parsers.py."]
    for (name, program), build in PARSERS.items():
        if name == engine:
            lines += ["", f"[{program}]", *sorted({line for a in build()._actions for line in _rows(a)})]
    return "\n".join(lines) + "\n"


def _rows(action: argparse.Action) -> Iterator[str]:
    """One line for a flag; negative spellings of a switch get lines of their own."""
    names = [name for name in action.option_strings if name.startswith("-")]
    if not names or "--help" in names:
        return
    switch = action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction)
    negative = [
        name for name in names if switch and name.startswith(("--no-", "--disable-")) and len(names) > 1
    ]
    plain = [name for name in names if name not in negative] or negative
    if plain == negative:
        negative = []
    first = max(plain, key=lambda name: (name.startswith("--"), -names.index(name)))
    entry = {"also": [name for name in plain if name != first], "value": _value(action, switch)}
    choices = [str(choice) for choice in action.choices or ()]
    if 0 < len(choices) <= MOST_CHOICES and not switch:
        entry["choices"] = sorted(choices)
    yield _line(first, {key: value for key, value in entry.items() if value})
    for name in negative:
        yield _line(name, {"value": "switch", "negates": first})


def _value(action: argparse.Action, switch: bool) -> str:
    if switch:
        return "switch"
    if action.nargs in ("+", "*"):
        return "list"
    if action.nargs == "?":
        return "optional"
    kind = getattr(action.type, "__name__", "")
    return {"int": "int", "float": "float", "human_readable_int": "size"}.get(kind, "text")


def _line(name: str, entry: dict[str, Any]) -> str:
    fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in entry.items())
    return f"{json.dumps(name)} = {{ {fields} }}"


def check(folder: Path) -> int:
    """Run every command of a folder through its parser; the number of those that it refuses."""
    parsers: dict[tuple[str, str], argparse.ArgumentParser] = {}
    refused = done = deep = 0
    for file in sorted(folder.rglob("*.argv.json")):
        command = json.loads(file.read_text(encoding="utf-8"))
        key = command["engine"], command["program"]
        if key not in PARSERS:
            continue
        if key not in parsers:
            parsers[key] = PARSERS[key]()
        done += 1
        deep += bool(command["model"]) and key[1] == "serve"
        if fault := _fault(parsers[key], key, command):
            refused += 1
            sys.stderr.write(f"{file.name}: {fault}\n  {' '.join(command['argv'])}\n")
    sys.stdout.write(
        f"{done} commands, {deep} of them made into the engine's configuration, {refused} refused\n"
    )
    return refused if done else 1


def _fault(parser: argparse.ArgumentParser, key: tuple[str, str], command: dict[str, Any]) -> str:
    try:
        found = parser.parse_args(command["argv"])
    except SystemExit as stopped:
        return f"the parser of {key[0]} {key[1]} ended with {stopped.code}"
    configure = {("vllm", "serve"): _configure_vllm, ("sglang", "serve"): _configure_sglang}.get(key)
    if configure is None or not command["model"]:
        return ""
    try:
        configure(found, command["model"])
    except (ValueError, AssertionError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _configure_vllm(found: argparse.Namespace, model: str) -> None:
    """All checks of sizes that vLLM makes before it starts a process."""
    found.model, found.model_tag, found.skip_tokenizer_init = model, None, True
    # Number formats are the GPU's affair, and there is none.
    found.dtype, found.kv_cache_dtype = "bfloat16", "auto"
    arguments = import_module("vllm.engine.arg_utils").AsyncEngineArgs.from_cli_args(found)
    arguments.create_engine_config(headless=found.headless)


def _configure_sglang(found: argparse.Namespace, model: str) -> None:
    """All checks of sizes that SGLang makes before it starts a process."""
    found.model_path, found.tokenizer_path, found.skip_tokenizer_init = model, model, True
    found.dtype, found.device = "bfloat16", "cuda"
    # transformers looks for torchvision when these are first used; the stand-in would mislead it.
    import_module("transformers").AutoProcessor  # noqa: B018
    _stand_in_for_torchvision()
    arguments = import_module("sglang.srt.server_args").ServerArgs.from_cli_args(found)
    arguments.resolve_once()
    arguments.check_server_args()


def main(words: list[str]) -> int:
    """Run one of the two commands."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if words[0] == "dump":
        Path(words[2]).write_text(table(words[1]), encoding="utf-8")
        return 0
    return min(check(Path(words[1])), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
