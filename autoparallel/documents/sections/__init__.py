"""The sections, one file each, in the order of the document; each has a ``section``."""

from __future__ import annotations

from collections.abc import Callable

from autoparallel.documents.blocks import Section
from autoparallel.documents.sections import (
    allocation,
    baseline_issues,
    communication,
    conclusion,
    configuration,
    hardware,
    improvements,
    load_balance,
    memory,
    model,
    performance,
    requirements,
    risks,
    strategy,
    validation,
)
from autoparallel.documents.subject import Subject

# A section that has nothing to say of a subject is ``None``.
SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    model.section,
    hardware.section,
    requirements.section,
    baseline_issues.section,
    strategy.section,
    allocation.section,
    memory.section,
    performance.section,
    communication.section,
    load_balance.section,
    configuration.section,
    validation.section,
    risks.section,
    improvements.section,
    conclusion.section,
)
