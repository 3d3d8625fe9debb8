"""The plan.json of a search as a written plan: its numbers are the claims."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from autoparallel.audit.written import Claim, Stated, WrittenPlan
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.errors import Fault, ProblemError
from autoparallel.reading import read_text
from autoparallel.results_folder import PLAN_FILE, plan_path, read_plan

# A plan.json has all digits of its numbers.
_TOLERANCE = 1e-6


def read_searched_plan(path: Path, problem: Problem) -> WrittenPlan:
    """Read a plan.json, or that of a results folder.

    Raises
    ------
    ProblemError
        It is no plan, or a plan for another problem or of impossible numbers.
    """
    plan, file = read_plan(path), plan_path(path)
    document = json.loads(read_text(file))
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
        chunk=plan.pair.chunk,
        claims=tuple(_claims(plan)),
        exact=True,
        warnings=(warning,) if changed else (),
    )


def _claims(plan: Plan) -> Iterator[Claim]:
    metrics, memory = plan.metrics, plan.memory
    phases = ("total", "prefill", "decode")
    rows: list[tuple[str, float, str]] = [
        ("gpus", plan.gpus, "GPUs"),
        # A static batch is rated at its longest prompts, continuous batching by the mean of all requests.
        ("ttft_longest_prompts" if plan.serving is None else "ttft", metrics.ttft_s, "s"),
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
