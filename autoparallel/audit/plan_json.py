"""The plan.json of a search as a written plan: its numbers are the claims."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from autoparallel.audit.units import UNITS
from autoparallel.audit.written import Claim, Stated, WrittenPlan
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.results_folder import PLAN_FILE, read_plan

# A plan.json has all digits of its numbers.
_TOLERANCE = 1e-6


def read_searched_plan(path: Path, problem: Problem) -> WrittenPlan:
    """Read a plan.json, or that of a results folder.

    Raises
    ------
    ProblemError
        It is no plan, or a plan for another problem or of impossible numbers.
    """
    plan = read_plan(path)
    file = path / PLAN_FILE if path.is_dir() else path
    document = json.loads(file.read_text(encoding="utf-8"))
    name = document.get("problem")
    if name is not None and name != problem.name:
        message = f'the plan is for problem "{name}", not "{problem.name}"'
        raise ProblemError([Fault(message, file=str(file), key="problem")])
    _refuse_nonsense(plan, file)
    changed = document.get("fingerprint") not in (None, problem.fingerprint)
    warning = f"{file}: the problem has changed since the plan was made (its fingerprint is another one)"
    return WrittenPlan(
        title=file.parent.name if file.name == PLAN_FILE and file.parent.name else file.stem,
        degrees={key: value for key, value in plan.layout.to_dict().items() if value is not None},
        batch=plan.batch,
        microbatch=plan.microbatch,
        claims=tuple(_claims(plan)),
        exact=True,
        warnings=(warning,) if changed else (),
    )


def _refuse_nonsense(plan: Plan, file: Path) -> None:
    """Refuse what no search writes: degrees that are no counts, numbers that are none."""
    sizes = {**plan.layout.to_dict(), "batch": plan.batch, "microbatch": plan.microbatch}
    kind = sizes.pop("sp_kind")
    faults = [
        Fault(f"must be a whole number from 1, not {str(size)[:40]!r}", file=str(file), key=name)
        for name, size in sizes.items()
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 10**7
    ]
    if kind not in (None, "tensor", "ring", "ulysses"):
        faults.append(
            Fault(f"no kind of sequence parallelism: {str(kind)[:40]!r}", file=str(file), key="sp_kind")
        )
    if not faults:
        return
    raise ProblemError(faults)


def _claims(plan: Plan) -> Iterator[Claim]:
    metrics, memory = plan.metrics, plan.memory
    phases = ("total", "prefill", "decode")
    rows: list[tuple[str, float, str]] = [
        ("gpus", plan.gpus, "GPUs"),
        ("ttft", metrics.ttft_s, "s"),
        ("tpot", metrics.tpot_s, "s"),
        *(
            (
                f"{phase}_throughput_per_gpu",
                getattr(metrics, f"{phase}_tokens_per_ms_per_gpu"),
                "tokens/ms/GPU",
            )
            for phase in phases
        ),
        ("prefill_mfu", metrics.prefill_mfu, "%"),
        ("decode_mfu", metrics.decode_mfu, "%"),
        ("expert_utilisation", metrics.expert_busy_share, "%"),
        ("pipeline_bubble_share", metrics.pipeline_bubble_share, "%"),
        ("weights_memory", memory.weights_bytes, "GB"),
        ("expert_weights_memory", memory.expert_weights_bytes, "GB"),
        ("kv_cache_memory", memory.kv_cache_bytes, "GB"),
        ("activation_memory", memory.activation_bytes, "GB"),
        ("buffer_memory", memory.buffer_bytes, "GB"),
        ("reserved_memory", memory.reserved_bytes, "GB"),
        ("memory", memory.total_bytes, "GB"),
    ]
    for number, (quantity, value, unit) in enumerate(rows, start=1):
        tolerance = 0.0 if unit == "GPUs" else _TOLERANCE
        finite = isinstance(value, int | float) and math.isfinite(value)
        stated = Stated(low=value, high=value, tolerance=tolerance) if finite and unit in UNITS else None
        yield Claim(number=number, quantity=quantity, stated=stated, unit=unit, section=PLAN_FILE)
