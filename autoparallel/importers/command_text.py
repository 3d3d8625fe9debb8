"""Finds the engine's command in a text: a line that somebody typed, or a script."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

from autoparallel.domain.engine import ENGINES
from autoparallel.errors import Fault, ProblemError

# Words by which a command starts, by engine; what stands before them starts other programs.
STARTS = {
    "vllm": (("vllm", "serve"), ("-m", "vllm.entrypoints.openai.api_server")),
    "sglang": (("-m", "sglang.launch_server"), ("sglang", "serve")),
    "trtllm": (("trtllm-serve", "serve"), ("trtllm-serve",)),
}
# Images that start an engine by themselves: what follows their name are its words.
_IMAGES = {"vllm": re.compile(r"(?:.*/)?vllm-openai(?:-[\w.-]+)?(?:[:@].*)?")}
# Where a shell ends a command or sends what it prints elsewhere.
_ENDS = re.compile(r"(?:\d?>>?|&>|<).*|\|\|?|&&?|;;?")
_CONTINUED = re.compile(r"\\\r?\n")


class FoundCommand(NamedTuple):
    """The engine, the words after its program, and the variables that are set before it."""

    engine: str
    words: tuple[str, ...]
    environment: Mapping[str, str]


def find_command(text: str, engine: str | None = None, *, file: str = "") -> FoundCommand:
    """The first command of an engine in a text; the text itself where ``engine`` is named.

    Raises
    ------
    ProblemError
        No engine is started there, or a quotation mark is not closed.
    """
    environment: dict[str, str] = {}
    for statement in _CONTINUED.sub(" ", text).splitlines():
        words = _words(statement, file)
        environment |= _variables(words)
        for name in (engine,) if engine else ENGINES:
            if (rest := _after_start(words, name)) is not None:
                before = words[: len(words) - len(rest)]
                return FoundCommand(name, _to_the_end(rest), environment | _of_container(before))
    if engine is not None and not text.lstrip().startswith("#"):
        return FoundCommand(engine, tuple(_words(_CONTINUED.sub(" ", text), file)), {})
    known = "vllm serve, the image vllm-openai, python -m sglang.launch_server, sglang serve or trtllm-serve"
    raise ProblemError([Fault(f"starts no engine that is known ({known}); --engine names one", file=file)])


def _words(statement: str, file: str) -> list[str]:
    try:
        return shlex.split(statement, comments=True)
    except ValueError as error:
        if statement.lstrip().startswith("#"):
            return []
        raise ProblemError([Fault(f"cannot be read as a command: {error}", file=file)]) from None


def _variables(words: list[str]) -> dict[str, str]:
    """Variables that a statement sets, on its own, exported, or before a command."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            found[name] = value
        elif word not in ("export", "env"):
            break
    return found


def _of_container(words: list[str]) -> dict[str, str]:
    """Variables that ``docker run`` sets."""
    found = {}
    for option, setting in pairwise(words):
        name, equals, value = setting.partition("=")
        if option in ("-e", "--env") and equals and name.isidentifier():
            found[name] = value
    return found


def _to_the_end(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of one command, of which a shell may have made more on the same line."""
    end = next((index for index, word in enumerate(words) if _ENDS.fullmatch(word)), len(words))
    kept = words[:end]
    closed = next((index for index, word in enumerate(kept) if word.endswith(";")), None)
    return kept if closed is None else (*kept[:closed], kept[closed].rstrip(";"))


def _after_start(words: list[str], engine: str) -> tuple[str, ...] | None:
    """The words after an engine's program, or after an image that starts it."""
    for start in STARTS[engine]:
        for index in range(len(words)):
            head = words[index : index + len(start)]
            if len(head) == len(start) and (head[0].rsplit("/", 1)[-1], *head[1:]) == start:
                return tuple(words[index + len(start) :])
    image = _IMAGES.get(engine)
    named = (index for index, word in enumerate(words) if image and image.fullmatch(word))
    place = next(named, None)
    return None if place is None else tuple(words[place + 1 :])
