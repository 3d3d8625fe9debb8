"""Builds workload and requirements from their tables."""

from __future__ import annotations

from autoparallel.domain.requirements import Requirements
from autoparallel.domain.workload import Lengths, Workload
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.schema import LengthsSection, RequirementsSection, WorkloadSection

DEFAULT_OUTPUT_TOKENS = 128


def build_workload(section: WorkloadSection, bad: frozenset[str], faults: Faults) -> Workload | None:
    """Build the workload, or note why it cannot be and return ``None``."""
    before = len(faults.found)
    if section.prompt_tokens is None and "prompt_tokens" not in bad:
        faults.add(("workload", "prompt_tokens"), "is missing: say how long the prompts are")
    prompt = _lengths(section.prompt_tokens, "prompt_tokens", faults)
    output = _lengths(section.output_tokens, "output_tokens", faults)
    if bad or len(faults.found) > before or prompt is None:
        return None
    return Workload(
        prompt_tokens=prompt,
        output_tokens=output or Lengths.fixed(DEFAULT_OUTPUT_TOKENS),
        mode=section.mode,
        concurrency=section.concurrency,
        expert_imbalance=section.expert_imbalance or 1.0,
    )


def build_requirements(section: RequirementsSection) -> Requirements:
    """Build the requirements."""
    return Requirements(**section.model_dump())


def _lengths(section: LengthsSection | None, key: str, faults: Faults) -> Lengths | None:
    if section is None:
        return None
    needed = {"fixed": ("tokens",), "uniform": ("min", "max")}[section.kind]
    given = {name for name in ("tokens", "min", "max") if getattr(section, name) is not None}
    for name in sorted(set(needed) - given):
        faults.add(("workload", key, name), f'is missing: kind = "{section.kind}" needs it')
    for name in sorted(given - set(needed)):
        faults.add(("workload", key, name), f'has no meaning for kind = "{section.kind}"; drop it')
    if given != set(needed):
        return None
    low, high = section.tokens or section.min or 0, section.tokens or section.max or 0
    if low > high:
        faults.add(("workload", key), f"min {low} is greater than max {high}; swap them")
        return None
    return Lengths(kind=section.kind, min=low, max=high)
