r"""Sets a document as Markdown in which no text is markup.

Whatever a name contains, it is shown, not obeyed: characters that CommonMark or GitHub's flavour give a
meaning are escaped, and line breaks and control characters become visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from autoparallel.documents.blocks import (
    Block,
    Bullets,
    Document,
    Facts,
    Figure,
    Heading,
    Listing,
    Paragraph,
    Table,
)
from autoparallel.report.wording import printable

# Meaningful wherever they stand; a "<" opens a tag only before these, others start a block or an address.
_ACTIVE = re.compile(r"([\\`*_\[\]|~$&@#]|<(?=[A-Za-z/!?]))")
_AT_START = re.compile(r"^(>|[-+](?=\s|$)|[-=](?=[-=\s]*$)|\d+[.)](?=\s|$))")
_ADDRESS = re.compile(r"(?i)(https?:|ftp:|www)(?=[/.])")


def markdown(document: Document) -> str:
    """The document as Markdown text."""
    parts = [f"# {escaped(document.title, starts=False)}", escaped(document.lead)]
    for section in document.sections:
        parts.append(f"## {escaped(section.title, starts=False)}")
        parts += [_set(block) for block in section.blocks if not isinstance(block, Figure)]
    return "\n\n".join(parts) + "\n"


def escaped(text: str, *, starts: bool = True) -> str:
    r"""A text in which nothing is markup, on one line; ``starts`` where it begins a block.

    Examples
    --------
    >>> print(escaped("a [b](javascript:c) | <i> `d`"))
    a \[b\](javascript:c) \| \<i> \`d\`
    >>> print(escaped("# no heading"), escaped("1. no list"), escaped("www.example.org"))
    \# no heading 1\. no list www\.example.org
    >>> print(escaped("0.5 GB"), escaped("<0.1 %"), escaped("+10 %"), escaped("a -> b"))
    0.5 GB <0.1 % +10 % a -> b
    """
    line = printable(text).replace("\n", "\\n").strip()
    line = _ACTIVE.sub(r"\\\1", line)
    if starts:
        line = _AT_START.sub(lambda found: found[1][:-1] + "\\" + found[1][-1], line)
    return _ADDRESS.sub(
        lambda found: found[1].replace(":", "\\:") if ":" in found[1] else found[1] + "\\", line
    )


def _set(block: Block) -> str:
    """One block; a figure is left out: what it shows stands in words and tables around it."""
    lines: Iterator[str] | list[str] = []
    match block:
        case Heading(text=text):
            lines = [f"### {escaped(text, starts=False)}"]
        case Paragraph(text=text):
            lines = [escaped(text)]
        case Bullets(items=items):
            lines = [f"- {escaped(item)}" for item in items]
        case Facts(rows=rows):
            lines = [
                f"- **{escaped(label, starts=False)}**: {escaped(text, starts=False)}" for label, text in rows
            ]
        case Table():
            lines = _table_lines(block)
        case Listing(text=text):
            lines = _fenced(text)
    return "\n".join(lines)


def _table_lines(table: Table) -> Iterator[str]:
    yield _row(table.columns)
    yield _row(
        ["---:" if table.is_number(column) else ":---" for column in range(len(table.columns))], raw=True
    )
    for row in table.rows:
        yield _row(row)


def _row(cells: tuple[str, ...] | list[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cell if raw else escaped(cell, starts=False) for cell in cells)} |"


def _fenced(text: str) -> list[str]:
    """A listing between fences longer than any run of backticks in it."""
    shown = [printable(line) for line in text.split("\n")]
    longest = max((len(run) for line in shown for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(longest + 1, 3)
    return [f"{fence}text", *shown, fence]
