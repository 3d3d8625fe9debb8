"""A subject becomes a document: the sections in their order."""

from __future__ import annotations

from autoparallel.documents.blocks import Document
from autoparallel.documents.sections import SECTIONS
from autoparallel.documents.subject import Subject
from autoparallel.report.wording import count, number, seconds


def write_document(subject: Subject) -> Document:
    """The deployment plan of a subject."""
    plan, name = subject.plan, subject.problem.model.name
    verb = "serves" if plan.gpus == 1 else "serve"
    lead = (
        f"{count(plan.gpus, 'GPU')} {verb} {name}: first token within {seconds(plan.metrics.ttft_s)}, "
        f"{number(plan.metrics.total_tokens_per_ms_per_gpu)} tokens/ms per GPU."
    )
    sections = (section(subject) for section in SECTIONS)
    return Document(
        title=f"Deployment plan for {name}",
        lead=lead,
        sections=tuple(section for section in sections if section is not None),
    )
