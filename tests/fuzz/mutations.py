"""Damage done to texts: to bytes, lines and values, each a small step from something that works."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

# A file that appears where input is run as code.
CANARY = "canary"
# What parsers, tables, pages and shells stumble over.
_SHORT = r"""0 -1 1 2 3 7 1e400 -1e-400 nan inf -inf 1.5 0.0 true null none 9223372036854775807
9223372036854775808 10000000 1000000 10007 0x10 1_0 007 [] {} [[]] "" '' "word" word "..
1979-05-27 "\u0000" "/dev/zero" "/dev/stdin" "/etc/passwd" "../../../etc/passwd" "~" "."
"a/b/c.toml" %s%n é 😀"""


def words(text: str) -> list[str]:
    """The words of a text; as a list of strings they would fill a page."""
    return text.split()


VALUES = (
    *words(_SHORT),
    *(
        "[1, 2, 1]",
        "{ min = 1 }",
        '"<script>alert(1)</script>"',
        '"](javascript:alert(1))"',
        '"\u202e\u2028"',
    ),
    *('"=cmd()"', '"$(touch canary)"', "`touch canary`", "__import__('os').system('touch canary')"),
    *(
        '"!!python/object/apply:os.system [touch canary]"',
        "1" * 5000,
        "9" * 140_000,
        "[" * 3000,
        "{'a':" * 3000,
        "(" * 300,
    ),
)
# Longer than any file that is read whole may be.
LONGEST = 5_000_000
_VALUE = re.compile(r'"[^"\n]*"|[-+]?\d[\d_.eE+-]*|\b(?:true|false|null)\b')
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Step = Callable[[str, Random], str]


def mutated(text: str, other: str, random: Random) -> bytes:
    """A text after one to four steps; ``other`` is what it may be crossed with."""
    for _ in range(random.choice((1, 1, 1, 1, 2, 4))):
        text = (
            random.choice(_STEPS)(text, random) if random.random() < 0.95 else _crossed(text, other, random)
        )
    data = text.encode("utf-8", "surrogatepass")
    return _damaged(data, random) if random.random() < 0.08 else data


def _value(text: str, random: Random) -> str:
    return _substitute(_VALUE, text, random, random.choice(VALUES))


def _near(text: str, random: Random) -> str:
    """A number becomes another one of the text, or a small one."""
    numbers = _NUMBER.findall(text)
    return _substitute(_NUMBER, text, random, random.choice([*numbers, "0", "1", "2", "3", "64", "0.5"]))


def _number(text: str, random: Random) -> str:
    """A number becomes one of another size."""
    found = [match for match in _VALUE.finditer(text) if match[0][0] not in '"tfn']
    if not found:
        return text
    match = random.choice(found)
    digits = match[0].replace("_", "")
    changed = random.choice(
        (f"-{digits}", f"{digits}0", f"{digits}000000", f"{digits}.5", digits[:-1], f"{digits}1")
    )
    return text[: match.start()] + changed + text[match.end() :]


def _word(text: str, random: Random) -> str:
    words = _WORD.findall(text)
    return _substitute(_WORD, text, random, random.choice([*words, *VALUES]) if words else "")


def _substitute(pattern: re.Pattern[str], text: str, random: Random, value: str) -> str:
    found = list(pattern.finditer(text))
    if not found:
        return text + value
    match = random.choice(found)
    return text[: match.start()] + value + text[match.end() :]


def _lines(text: str, random: Random) -> str:
    """A line goes, comes again, comes very often, or moves."""
    lines = text.splitlines(keepends=True) or [""]
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    line = lines[at]
    match random.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(to, line)
        case 2:
            lines[at] = line * min(random.choice((2, 100, 20_000)), LONGEST // (len(line) + 1) + 1)
        case 3:
            lines[at], lines[to] = lines[to], lines[at]
        case _:
            lines[at] = line.rstrip("\n") + random.choice((",", ",1", "#", "\r", " ", "\n\n", "\x00")) + "\n"
    return "".join(lines)


def _piece(text: str, random: Random) -> str:
    """A piece goes, doubles, or something stands in its place."""
    start = random.randrange(len(text) + 1)
    end = min(len(text), start + random.choice((0, 1, 4, 40, 4000)))
    put = random.choice(
        ("", "", text[start:end] * 2, random.choice(VALUES), random.choice("[]{}=,.\"'#\n\\\t:-()"))
    )
    return text[:start] + put + text[end:]


def _crossed(text: str, other: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other) + 1) :]


def _damaged(data: bytes, random: Random) -> bytes:
    """Bytes that are no text, a byte order mark, or half of a file."""
    at = random.randrange(len(data) + 1)
    put = random.choice((b"\xff", b"\x00", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r\n", b"\x1b[31m", None))
    return data[:at] if put is None else data[:at] + put + data[at:]


_STEPS: tuple[Step, ...] = (_value, _near, _near, _near, _number, _word, _lines, _piece)
