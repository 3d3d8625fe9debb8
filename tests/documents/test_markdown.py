"""Markdown: read by a parser, hostile names are text and nothing else."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from autoparallel.documents.blocks import Bullets, Document, Listing, Paragraph, Section, Table
from autoparallel.documents.markdown import escaped, markdown
from autoparallel.documents.subject import Subject
from autoparallel.documents.writer import write_document

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HARMLESS = {
    "h1", "h2", "h3", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "",
}  # fmt: skip


def tags(text: str) -> list[str]:
    """Every element that a parser makes of a text."""
    found = []
    for token in PARSER.parse(text):
        found += [child.tag for child in (token.children or []) if child.nesting >= 0 and child.tag]
        if token.nesting >= 0 and token.type != "inline":
            found.append("html" if "html" in token.type else token.tag)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>", "](javascript:alert(1))", "[a](javascript:b)", "![a](http://b.c)",
        "a | b", "`code`", "```", "# heading", "- item", "+ item", "1. item", "1) item", "> quote", "---",
        "===", "*a* **b** __c__ ~~d~~", "<http://a.b>", "&lt;&#60;", "line\nbreak", "a\n\n# b", "    code",
        "\\", "\\`", "<!-- -->", "<?php", "\tcode", "| a |\n|---|\n| b |", "a\u2028b", "\x1b[31m",
    ],
)  # fmt: skip
def test_no_text_is_markup(text: str) -> None:
    section = Section(
        title=text,
        blocks=(
            Paragraph(text=text),
            Bullets(items=(text,)),
            Table(columns=(text, "b"), rows=((text, text),)),
            Listing(text=f"{text}\n````"),
        ),
    )
    found = tags(markdown(Document(title=text, lead=text, sections=(section,))))
    assert found == [
        "h1", "p", "h2", "p", "ul", "li", "p", "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td",
        "code",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["5 % of 1.2 GB", "a -> b", "<0.1 %", "≥ 15", "+10 %", "0.5", "tokens/ms/GPU"]
)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert escaped(text) == text


def test_what_was_escaped_reads_back() -> None:
    text = "<b> [x](y) `z` | * _ ~ $ & # @ \\ http://a.b www.c.d"
    (_, inline, _) = PARSER.parse(escaped(text))
    assert "".join(child.content for child in inline.children or []) == text


def test_hostile_names_in_a_whole_document(hostile: Subject, best: Subject) -> None:
    text = markdown(write_document(hostile))
    assert set(tags(text)) <= HARMLESS
    assert "<script" not in text.replace("\\<script", "")
    plain = tags(markdown(write_document(best)))
    assert tags(text).count("table") == plain.count("table")
    assert tags(text).count("h2") == plain.count("h2")


@pytest.mark.parametrize("fixture", ["best", "pipeline", "dense"])
def test_documents_parse_as_they_are_meant(fixture: str, request: pytest.FixtureRequest) -> None:
    document = write_document(request.getfixturevalue(fixture))
    found = tags(markdown(document))
    tables = [block for section in document.sections for block in section.blocks if isinstance(block, Table)]
    assert found.count("table") == len(tables)
    assert found.count("tr") == sum(1 + len(block.rows) for block in tables)
    assert set(found) <= HARMLESS
