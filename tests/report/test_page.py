"""The page as text: whole, self-contained, and inert to hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from autoparallel.domain.result import SearchResult
from autoparallel.report.headline import headline
from autoparallel.report.page import render_report

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>"


def outside_plotly(page: str) -> str:
    """The page without plotly's own code."""
    return page.replace(max(re.findall(r"<script>.*?</script>", page, re.DOTALL), key=len), "")


def hostile(result: SearchResult) -> SearchResult:
    problem = replace(
        result.problem,
        name=HOSTILE,
        warnings=(HOSTILE,),
        model=replace(result.problem.model, name=HOSTILE),
        hardware=replace(result.problem.hardware, name=HOSTILE),
    )
    sample = tuple(replace(candidate, fails=(HOSTILE,)) for candidate in result.sample)
    return replace(result, problem=problem, sample=sample, runner_up_reason=HOSTILE)


def test_the_answer_in_one_sentence(result: SearchResult) -> None:
    assert headline(result) == "2 GPUs serve toy: first token within 7.50 s, 60.0 tokens/ms per GPU."
    assert headline(result) in render_report(result)


def test_the_page_loads_nothing(result: SearchResult) -> None:
    page = outside_plotly(render_report(result))
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    assert "default-src 'none'" in page
    assert "@import" not in page


def test_hostile_names_are_text(result: SearchResult) -> None:
    page = outside_plotly(render_report(hostile(result)))
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<!--" not in page
    assert page.count("</script>") == 2


def test_the_data_reads_back(result: SearchResult) -> None:
    page = render_report(hostile(result))
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(text)
    assert len(data["plans"]) == 11
    assert data["plans"][-1]["fails"][0].lower() == HOSTILE.lower()
    assert set(data["figures"]) == set(re.findall(r'data-figure="([^"]+)"', page))


def test_the_same_result_gives_the_same_page(result: SearchResult) -> None:
    assert render_report(result) == render_report(result)


def test_a_result_with_nothing_optional(result: SearchResult) -> None:
    bare = replace(
        result, runner_up=None, runner_up_reason="", binding=(), limits=(), sample=(),
        proof=replace(result.proof, solves=(), complete=False),
        problem=replace(result.problem, warnings=(), fingerprint=""),
    )  # fmt: skip
    page = render_report(bare)
    assert "Runner-up:" not in page
    assert ">sampled</span>" in page
