"""A command line and how it becomes a script that a shell cannot misread."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Variable(str):
    """Shell text with a variable in it, such as ``$NODE_0:20000``; only this package makes them."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """One program to start: what it is called with, where, and why so.

    Attributes
    ----------
    program : str
        ``serve`` or ``bench``: the table of flags that the words come from.
    words : tuple of str
        Program and arguments; a :class:`Variable` is left to the shell.
    environment : mapping of str to str
        Variables of the engine.
    instance, node : int
        Which instance of the deployment, and on which node the command runs.
    notes : tuple of str
        What a reader has to know, one sentence each.
    """

    program: str
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    instance: int = 0
    node: int = 0
    notes: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the shell variables that have to be set, in order."""
        words = [word for word in self.words if isinstance(word, Variable)]
        names = [part.partition(":")[0] for word in words for part in word.split("$")[1:]]
        return tuple(dict.fromkeys(name.split(",")[0] for name in names))

    def shell_line(self) -> str:
        """The command on several lines, every word quoted."""
        return " \\\n  ".join(" ".join(quoted(word) for word in group) for group in _groups(self.words))


def quoted(word: str) -> str:
    """A word as the shell has to read it.

    Examples
    --------
    >>> quoted("a b; rm"), quoted(Variable("$NODE_0:80"))
    ("'a b; rm'", '"$NODE_0:80"')
    """
    return f'"{word}"' if isinstance(word, Variable) else shlex.quote(word)


def _groups(words: Sequence[str]) -> list[list[str]]:
    """A flag and its values go together on a line; what comes before the first flag is the first line."""
    groups: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--") and groups[-1]:
            groups.append([])
        groups[-1].append(word)
    return groups


def comment(text: str) -> str:
    r"""A comment of one line, whatever is in the text.

    Examples
    --------
    >>> comment("a\nrm -rf")
    '# a rm -rf'
    """
    plain = "".join(" " if unicodedata.category(mark)[0] in "CZ" else mark for mark in text)
    return f"# {plain}".rstrip()


def script(command: Command) -> str:
    """The command as a shell script: notes, variables that have to be set, environment, command."""
    lines = ["#!/usr/bin/env bash", *(comment(note) for note in command.notes), "set -euo pipefail"]
    lines += [f': "${{{name}:?set {name} to its address}}"' for name in command.variables]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in command.environment.items()]
    return "\n".join([*lines, f"exec {command.shell_line()}"]) + "\n"
