"""The page as text: self-contained and inert."""

from __future__ import annotations

import json
import re

from autoparallel.documents.page import html
from autoparallel.documents.subject import Subject
from autoparallel.documents.writer import write_document


def outside_plotly(page: str) -> str:
    return page.replace(max(re.findall(r"<script>.*?</script>", page, re.DOTALL), key=len), "")


def test_it_loads_nothing(best: Subject) -> None:
    page = outside_plotly(html(write_document(best)))
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", page) == []
    assert "default-src 'none'" in page
    assert "@import" not in page


def test_hostile_names_are_text(hostile: Subject) -> None:
    page = outside_plotly(html(write_document(hostile)))
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert "&lt;script&gt;alert(1)" in page
    assert "![x]" in page


def test_the_figures_are_there(pipeline: Subject, best: Subject) -> None:
    for subject, count in ((pipeline, 6), (best, 4)):
        page = html(write_document(subject))
        (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
        assert set(json.loads(data)) == set(re.findall(r'data-figure="([^"]+)"', page))
        assert len(json.loads(data)) == count


def test_the_same_subject_gives_the_same_page(best: Subject) -> None:
    assert html(write_document(best)) == html(write_document(best))
