"""Adds the loads of experts to a workload: read from a file, or drawn up by Zipf's law."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from autoparallel.domain.expert_loads import ExpertLoads
from autoparallel.domain.model import Model
from autoparallel.domain.search_space import SearchSpace
from autoparallel.domain.workload import Workload
from autoparallel.errors import ProblemError
from autoparallel.problem_file.expert_loads_file import (
    Pairs,
    read_coactivation,
    read_expert_loads,
    sparse_layers,
)
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.workload_schema import ExpertLoadsSection, WorkloadSection

# Every two experts of a layer may be asked for: so many have a table of 32 MB.
MAX_EXPERTS = 2048
LOADS = ("workload", "expert_loads")


def add_expert_loads(
    workload: Workload | None,
    section: WorkloadSection,
    bad: frozenset[str],
    model: Model,
    space: SearchSpace,
    faults: Faults,
) -> Workload | None:
    """The workload with its experts' loads, if it names any; notes what cannot be."""
    law, pairs = section.expert_loads, section.expert_coactivation
    if law is None:
        if "expert_loads" in bad:
            return workload
        if pairs is not None:
            faults.add(("workload", "expert_coactivation"), "needs expert_loads beside it")
        if any(space.redundant_experts):
            message = "copies of experts need workload.expert_loads, which says of which ones"
            faults.add(("search", "redundant_experts"), message)
        return workload
    if not _fits(section, law, model, faults):
        return workload
    folder = Path(faults.document.file).parent
    try:
        if law.kind == "zipf":
            shares = zipf_shares(model, law)
        else:
            shares = read_expert_loads(folder / str(law.file), model)
        together: tuple[Pairs, ...] = read_coactivation(folder / pairs, model) if pairs else ()
    except ProblemError as error:
        faults.found.extend(error.faults)
        return workload
    loads = ExpertLoads(source=_source(law), layers=sparse_layers(model), shares=shares, pairs=together)
    return replace(workload, expert_loads=loads) if workload else None


def zipf_shares(model: Model, law: ExpertLoadsSection) -> tuple[tuple[float, ...], ...]:
    """Zipf's law in every layer, over its experts in a random order.

    No expert is used by more than every token: what the law gives an expert beyond that, the others get.
    """
    ranked = _capped(
        [(place + 1.0) ** -(law.exponent or 0.0) for place in range(model.num_experts)],
        1.0 / model.num_experts_per_tok,
    )
    dice = random.Random(law.seed)
    return tuple(tuple(dice.sample(ranked, len(ranked))) for _ in sparse_layers(model))


def _capped(weights: list[float], most: float) -> list[float]:
    """Shares that fall as the weights do, none above ``most``."""
    for full in range(len(weights)):
        rest = sum(weights[full:])
        share = (1.0 - full * most) / rest
        if weights[full] * share <= most:
            return [most] * full + [weight * share for weight in weights[full:]]
    return [1.0 / len(weights)] * len(weights)


def _fits(section: WorkloadSection, law: ExpertLoadsSection, model: Model, faults: Faults) -> bool:
    """Whether the model has experts to load, and the table what its kind needs."""
    before = len(faults.found)
    if not model.is_moe:
        faults.add(LOADS, "has no meaning for a dense model; drop it")
    elif model.num_experts > MAX_EXPERTS:
        faults.add(LOADS, f"is known for at most {MAX_EXPERTS:,} experts, not {model.num_experts:,}")
    if section.expert_imbalance is not None:
        faults.add(LOADS, "says what expert_imbalance says too; drop one of them")
    needed, other = ("file", "exponent") if law.kind == "file" else ("exponent", "file")
    if getattr(law, needed) is None:
        faults.add((*LOADS, needed), f'is missing: kind = "{law.kind}" needs it')
    if getattr(law, other) is not None:
        faults.add((*LOADS, other), f'has no meaning for kind = "{law.kind}"; drop it')
    return len(faults.found) == before


def _source(law: ExpertLoadsSection) -> str:
    return str(law.file) if law.kind == "file" else f"Zipf's law, exponent {law.exponent:g}, seed {law.seed}"
