"""The plan.json of a search as a written plan: its numbers are the claims."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from autoparallel.audit.written import Claim, Stated, WrittenPlan
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.search_space import SP_KINDS
from autoparallel.errors import Fault, ProblemError
from autoparallel.problem_file.fields import MAX_SEQUENCES
from autoparallel.results_folder import PLAN_FILE, read_plan

# A plan.json has all digits of its numbers.
_TOLERANCE = 1e-6
# Larger than any time, rate or size, small enough for sums and ratios.
_LARGEST = 1e30


def read_searched_plan(path: Path, problem: Problem) -> WrittenPlan:
    """Read a plan.json, or that of a results folder.

    Raises
    ------
    ProblemError
        It is no plan, or a plan for another problem or of impossible numbers.
    """
    plan, file = read_sound_plan(path), plan_path(path)
    document = json.loads(file.read_text(encoding="utf-8"))
    name = document.get("problem")
    if name is not None and name != problem.name:
        message = f'the plan is for problem "{name}", not "{problem.name}"'
        raise ProblemError([Fault(message, file=str(file), key="problem")])
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


def read_sound_plan(path: Path) -> Plan:
    """Read a plan.json whose sizes are counts and whose numbers are numbers.

    Raises
    ------
    ProblemError
        It is no plan, or lists what no search writes.
    """
    plan = read_plan(path)
    faults = [Fault(message, file=str(plan_path(path)), key=key) for key, message in _nonsense(plan)]
    if faults:
        raise ProblemError(faults[:20])
    return plan


def plan_path(path: Path) -> Path:
    """The plan.json of a results folder, or the file itself."""
    return path / PLAN_FILE if path.is_dir() else path


def _nonsense(plan: Plan) -> Iterator[tuple[str, str]]:
    """Key and fault of everything that cannot be."""
    sizes = {**plan.layout.to_dict(), "batch": plan.batch, "microbatch": plan.microbatch}
    kind = sizes.pop("sp_kind")
    if kind not in (None, *SP_KINDS):
        yield "layout.sp_kind", f"no kind of sequence parallelism: {str(kind)[:40]!r}"
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_SEQUENCES:
            yield name, f"must be a whole number from 1 to {MAX_SEQUENCES:,}, not {str(size)[:40]!r}"
    numbers = [
        *((f"metrics.{name}", number) for name, number in asdict(plan.metrics).items()),
        *((f"memory.{name}", number) for name, number in asdict(plan.memory).items()),
        *(
            (f"operations[{index}].{name}", getattr(one, name))
            for index, one in enumerate(plan.operations)
            for name in ("count", "time_s", "flops", "bytes")
        ),
    ]
    for key, number in numbers:
        if not _is_amount(number):
            yield key, f"must be a number from 0, not {str(number)[:40]!r}"
    for index, one in enumerate(plan.operations):
        if one.phase not in ("prefill", "decode"):
            yield f"operations[{index}].phase", f"must be prefill or decode, not {str(one.phase)[:40]!r}"


def _is_amount(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= _LARGEST


def _claims(plan: Plan) -> Iterator[Claim]:
    metrics, memory = plan.metrics, plan.memory
    phases = ("total", "prefill", "decode")
    rows: list[tuple[str, float, str]] = [
        ("gpus", plan.gpus, "GPUs"),
        ("ttft_longest_prompts", metrics.ttft_s, "s"),
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
        # All are in base units already; the unit is the one that they are shown in.
        stated = Stated(low=value, high=value, tolerance=tolerance)
        yield Claim(number=number, quantity=quantity, stated=stated, unit=unit, section=PLAN_FILE)
