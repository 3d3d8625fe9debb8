"""Writes the gallery: a page, the whole audits that it tells of, and its figures; no number is typed.

gallery-moe10b.md is its template with the numbers of the audit put in; the audits are what
``autoparallel check --out`` writes; figures that show something else than before are drawn anew.

Run it in the project's folder after a change of the performance model: ``python docs/make_gallery.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from gallery_figures import draw, drawings
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from autoparallel.audit.auditor import Audit, audit
from autoparallel.audit.case import Case
from autoparallel.audit.checks import ORIGIN, VALUE
from autoparallel.audit.comparison import compare
from autoparallel.audit.plan_file import read_written_plan
from autoparallel.audit.verdicts import Judgement, Verdict
from autoparallel.audit.written import PLAN
from autoparallel.documents.audited import audit_document
from autoparallel.documents.markdown import markdown
from autoparallel.domain.plan import Plan
from autoparallel.domain.result import SearchResult
from autoparallel.planner import search
from autoparallel.problem_file import load_problem
from autoparallel.report.wording import brief, gigabytes, number, seconds

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent / "problems"
PAGE = DOCS / "gallery-moe10b.md"
MODIFIED = "moe10b-modified"
# Written plans and the documents of their audits.
AUDITS = {MODIFIED: "gallery-moe10b-audit.md", "moe10b-original": "gallery-moe10b-original-audit.md"}
FAILING = (
    ("parameters", PLAN), ("gpu_idle_share", "baseline"), ("expert_utilisation_gain", PLAN),
    ("parameters_per_gpu", PLAN), ("expert_parameters_per_gpu", PLAN), ("pp_memory_reduction", PLAN),
    ("kv_cache_memory", PLAN), ("memory", PLAN), ("memory_utilisation", PLAN), ("link_bandwidth", PLAN),
    ("throughput", PLAN), ("ttft", PLAN),
)  # fmt: skip
AMBIGUOUS = ("throughput_per_gpu", "tp_communication_reduction", "sequence_shards", "sequences_per_group")


class Story:
    """What the template asks the audit for; a claim is named by its quantity and a part of its sentence."""

    def __init__(self, found: Audit) -> None:
        self.found = found

    def claim(self, quantity: str, of: str = PLAN, text: str = "") -> Verdict:
        """The claim of a quantity that decides least in the plan's favour: no number last, failing first."""
        matching = [
            one
            for one in self.found.verdicts
            if one.claim.quantity == quantity and one.claim.of == of and text in one.claim.says
        ]
        return min(matching, key=lambda one: (one.claim.stated is None, one.verdict == "holds"))

    def says(self, quantity: str, of: str = PLAN, text: str = "") -> str:
        return self.claim(quantity, of, text).claim.says

    def quote(self, quantity: str) -> str:
        return f'"{self.says(quantity)}"'

    def stated(self, quantity: str, of: str = PLAN) -> str:
        return self.claim(quantity, of).claim.stated_text

    def computed(self, quantity: str, of: str = PLAN, text: str = "") -> str:
        return self.claim(quantity, of, text).computed_text

    def label(self, quantity: str, text: str = "") -> str:
        return self.claim(quantity, text=text).label

    def because(self, quantity: str) -> str:
        return self.claim(quantity, text="%" if quantity == "tp_communication_reduction" else "").because

    def formulas(self, quantity: str, of: str = PLAN) -> list[str]:
        return [one.formula for one in self._judgements(quantity, of, VALUE)]

    def origin(self, quantity: str, of: str = PLAN) -> str:
        return self._judgements(quantity, of, ORIGIN)[0].formula

    def reason(self, quantity: str, of: str = PLAN) -> str:
        found = self.claim(quantity, of)
        return (
            f"{found.because}: {self.formulas(quantity, of)[0]}"
            if found.because
            else self.formulas(quantity, of)[0]
        )

    def value(self, quantity: str, words: str) -> str:
        one = next(one for one in self._judgements(quantity, PLAN, VALUE) if one.words == words)
        return one.text(self.claim(quantity).claim.unit)

    def out_of_reach(self) -> str:
        claim = self.claim("throughput_per_gpu", text="≥")
        decode = next(one for one in claim.judgements if one.words == "decode")
        return decode.formula.partition("; ")[2]

    def _judgements(self, quantity: str, of: str, role: str) -> list[Judgement]:
        return [one for one in self.claim(quantity, of).judgements if one.role == role]


_LABELS = ("layout", "GPUs", "TTFT", "tokens/ms/GPU, total", "memory of the fullest GPU")


def _row(plan: Plan) -> tuple[str, ...]:
    return (
        f"`{brief(plan.layout)}`",
        str(plan.gpus),
        seconds(plan.metrics.ttft_s),
        number(plan.metrics.total_tokens_per_ms_per_gpu),
        gigabytes(plan.memory.total_bytes),
    )


class Material(NamedTuple):
    """What the gallery is made of: the audit, the plan in its first reading, and the search beside it."""

    found: Audit
    plan: Plan
    result: SearchResult


def material() -> Material:
    """Audit the plan and search its problem."""
    problem = load_problem(ROOT / "moe10b.toml")
    found = audited(MODIFIED)
    plan = Case(problem=problem, written=found.written, reading=found.readings[0]).plan
    return Material(found, plan, search(problem))


def audited(name: str) -> Audit:
    """The audit of a written plan for the problem."""
    problem = load_problem(ROOT / "moe10b.toml")
    return audit(problem, read_written_plan(ROOT / "plans" / f"{name}.toml", problem))


def audit_page(name: str) -> str:
    """The document of an audit."""
    return markdown(audit_document(audited(name)))


def page(material: Material) -> str:
    """The text of the page."""
    found, plan, best = material.found, material.plan, material.result.best
    figures = drawings(found.problem, plan, material.result)
    rows = list(zip(_LABELS, _row(plan), _row(best), strict=True))
    story = Story(found)
    names = (
        "says",
        "quote",
        "stated",
        "computed",
        "label",
        "because",
        "formulas",
        "origin",
        "reason",
        "value",
    )
    asked: dict[str, Any] = {name: getattr(story, name) for name in (*names, "out_of_reach")}
    environment = Environment(
        loader=FileSystemLoader(DOCS), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    template = environment.get_template(f"{PAGE.name}.jinja")
    comparison = compare(plan, best, names=("the plan", "the best"))
    return template.render(
        audit=found,
        brief=brief,
        failing=FAILING,
        ambiguous=AMBIGUOUS,
        rows=rows,
        comparison=comparison,
        picture=lambda name: f"![{figures[name].alt}](gallery/{name}.svg)\n\n*{figures[name].summary}*",
        **asked,
    )


if __name__ == "__main__":
    everything = material()
    PAGE.write_text(page(everything), encoding="utf-8")
    for plan_name, document in AUDITS.items():
        (DOCS / document).write_text(audit_page(plan_name), encoding="utf-8")
    draw(drawings(everything.found.problem, everything.plan, everything.result))
