"""Reads the words of a command by an engine's table of flags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoparallel.catalog.engines import Flag
from autoparallel.catalog.spelling import closest
from autoparallel.errors import Fault, ProblemError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT]?i?)")
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
LARGEST_SIZE = 2**31 - 1


class Given(dict[str, Any]):
    """Values by name, which remember what of them somebody looked at."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__(values or {})
        self.looked_at: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.looked_at.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.looked_at.add(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default where there is none."""
        self.looked_at.add(name)
        return super().get(name, default)

    @property
    def left(self) -> list[str]:
        """What nobody looked at, in the order of the text; of a table its keys."""
        tables = {name.rpartition(".")[0] for name in self}
        return [name for name in self if name not in self.looked_at | tables]


@dataclass
class Values:
    """Values of flags by the flag's first name, and the words that belong to none.

    ``environment`` are the variables that the text sets before the command.
    """

    file: str = ""
    given: Given = field(default_factory=Given)
    positional: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)

    def count(self, name: str, default: int = 1) -> int:
        """A size; a fault and the default where it is below 1."""
        value = self.given.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_SIZE:
            self.fault(f"{name}: must be a whole number from 1 to {LARGEST_SIZE:,}, not {value}")
            return default
        return value

    def check_share(self, name: str) -> None:
        """A fault where a share of memory is given and is none."""
        value = self.given.get(name)
        if value is not None and not 0 < value <= 1:
            self.fault(f"{name}: must be above 0 and at most 1, not {value:g}")

    def switch(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.given.get(name, False) is True

    def fault(self, message: str) -> None:
        """Note something wrong."""
        self.faults.append(Fault(message, file=self.file))

    def done(self) -> None:
        """Raise everything that is wrong.

        Raises
        ------
        ProblemError
            Lists every fault.
        """
        if self.faults:
            raise ProblemError(self.faults)


def read_flags(words: Sequence[str], flags: Mapping[str, Flag], *, file: str = "") -> Values:
    """Assign every word to a flag; unknown flags and wrong values become faults."""
    values = Values(file)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-" or _is_number(word):
            values.positional.append(word)
            continue
        name, equals, attached = word.partition("=")
        flag = _flag(name, flags)
        if flag is None:
            values.fault(_unknown(name, flags))
            _skip_value(rest)
        elif flag.value == "switch":
            _switch(flag, attached if equals else None, values)
        else:
            given = [attached] if equals else _taken(flag, rest)
            _assign(flag, name, given, values)
    return values


def _flag(name: str, flags: Mapping[str, Flag]) -> Flag | None:
    """The flag of a name.

    As the engines' parsers do, it takes underscores for dashes, keys of a table after a dot, and a
    beginning that only one flag has.
    """
    base = name.split(".", maxsplit=1)[0]
    flag = flags.get(name) or flags.get(base) or flags.get(base.replace("_", "-"))
    if flag is None and base.startswith("--") and len(base) > 2:
        plain = base.replace("_", "-")
        begun = {found.name: found for other, found in flags.items() if other.startswith((base, plain))}
        flag = next(iter(begun.values())) if len(begun) == 1 else None
    return flag


def _unknown(name: str, flags: Mapping[str, Flag]) -> str:
    guess = closest(name, flags)
    hint = f'; did you mean "{guess}"?' if guess else ""
    return f"{name}: unknown flag{hint or '; one of another version can be left out'}"


def _switch(flag: Flag, attached: str | None, values: Values) -> None:
    if attached is not None and attached.lower() not in ("true", "false"):
        values.fault(f"{flag.name}: is a switch and takes no value")
    on = attached is None or attached.lower() == "true"
    values.given[flag.negates or flag.name] = on != bool(flag.negates)


def _taken(flag: Flag, rest: list[str]) -> list[str]:
    """The values that follow a flag."""
    most = len(rest) if flag.value == "list" else 1
    taken: list[str] = []
    while rest and len(taken) < most and (not rest[0].startswith("-") or _is_number(rest[0])):
        taken.append(rest.pop(0))
    return taken


def _skip_value(rest: list[str]) -> None:
    if rest and not rest[0].startswith("-"):
        rest.pop(0)


def _assign(flag: Flag, name: str, given: list[str], values: Values) -> None:
    if not given and flag.value not in ("optional", "list"):
        values.fault(f"{name}: its value is missing")
        return
    if flag.value == "list":
        values.given[flag.name] = given
        return
    text = given[0] if given else ""
    value = _converted(flag.value, text)
    if value is None:
        kind = "a number" if flag.value == "float" else "a whole number"
        hint = "; write the number in place of the shell variable" if "$" in text else ""
        values.fault(f"{name}: must be {kind}, not {text!r}{hint}")
    elif flag.choices and text not in flag.choices:
        guess = closest(text, flag.choices)
        hint = f'did you mean "{guess}"?' if guess else f"choose one of: {', '.join(flag.choices)}"
        values.fault(f"{name}: {text!r} is not known; {hint}")
    else:
        values.given[flag.name] = value


def _converted(kind: str, text: str) -> Any:
    if kind == "int":
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
    if kind == "float":
        return float(text) if _is_number(text) else None
    return size(text) if kind == "size" else text


def size(text: str) -> int | None:
    """A count that may have a unit, ``None`` where it is none.

    Examples
    --------
    >>> size("8k"), size("8K"), size("auto")
    (8000, 8192, None)
    """
    match = _SIZE.fullmatch(text)
    if not match:
        return None
    number, unit = match.groups()
    scale = _UNITS.get(unit.lower(), 1) if unit in ("", *"kmgt") else _BINARY.get(unit[0].upper(), 1)
    return int(float(number) * scale)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", text) is not None
