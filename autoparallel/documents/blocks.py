"""What a document is made of. All texts are plain: who sets them makes them inert."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from autoparallel.report.figures.drawing import Drawing


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """Sentences in a list."""

    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Labels and what there is to say of each."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns; the first column and those in ``words`` are text, the others numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()

    def is_number(self, column: int) -> bool:
        """Whether a column is set to the right."""
        return column > 0 and self.columns[column] not in self.words


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Lines whose spaces count, such as a tree."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing, where the format can show one, and its sentence."""

    drawing: Drawing


Block: TypeAlias = Heading | Paragraph | Bullets | Facts | Table | Listing | Figure


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole document: its title, the answer in a sentence, and the sections."""

    title: str
    lead: str
    sections: tuple[Section, ...]

    def to_dict(self) -> dict[str, Any]:
        """The text as JSON-compatible data, a figure by its name and sentence."""
        return {
            "title": self.title,
            "lead": self.lead,
            "sections": [
                {"title": section.title, "blocks": [_block_dict(block) for block in section.blocks]}
                for section in self.sections
            ],
        }


def _block_dict(block: Block) -> dict[str, Any]:
    kind = type(block).__name__.lower()
    if isinstance(block, Figure):
        return {"kind": kind, "name": block.drawing.name, "summary": block.drawing.summary}
    return {"kind": kind, **asdict(block)}
