"""Deployment Configuration: what has to be set."""

from __future__ import annotations

from autoparallel.documents.blocks import Facts, Section
from autoparallel.documents.subject import Subject
from autoparallel.domain.plan import Plan
from autoparallel.report.wording import count


def section(subject: Subject) -> Section:
    """Every setting of the plan."""
    problem, plan, layout = subject.problem, subject.plan, subject.plan.layout
    load, model = problem.workload, problem.model
    sequence = f"{layout.sp} ({layout.sp_kind})" if layout.sp > 1 else "1"
    rows = [
        ("GPUs", f"{layout.gpus:,}: {count(layout.replicas, 'instance')} of {layout.gpus_per_instance:,}"),
        ("Tensor parallel", f"{layout.tp}"),
        ("Sequence parallel", sequence),
        ("Data parallel in an instance", f"{layout.dp}"),
        ("Pipeline stages", f"{layout.pp}"),
        *(
            [("Expert parallel", f"{layout.ep}"), ("Expert tensor parallel", f"{layout.etp}")]
            if model.is_moe
            else [("FFN tensor parallel", f"{layout.etp}")]
        ),
        (
            "Batch",
            f"{plan.batch:,} sequences in an instance, {plan.batch // layout.dp:,} on a data parallel rank",
        ),
        _second(plan),
        ("Longest sequence", f"{load.prompt_tokens.max + load.output_tokens.max:,} tokens"),
        (
            "KV cache",
            f"room for {plan.batch // layout.dp:,} sequences of that length on a data parallel rank"
            if plan.serving is None
            else f"{plan.serving.capacity:,.0f} sequences in service of an instance at most",
        ),
        (
            "Formats",
            f"weights {model.weights_dtype}, KV cache {model.kv_cache_dtype}, "
            f"activations {model.activation_dtype}",
        ),
    ]
    if model.is_moe:
        rows.append(("Expert top-k", f"{model.num_experts_per_tok} of {model.num_experts}"))
    return Section(title="Deployment Configuration", blocks=(Facts(rows=tuple(rows)),))


def _second(plan: Plan) -> tuple[str, str]:
    """What goes with the batch."""
    if plan.serving is not None:
        return "Tokens of a step", f"{plan.serving.max_num_batched_tokens:,} of a data parallel rank"
    return "Microbatch", f"{plan.microbatch:,} sequences, {plan.batch // plan.microbatch:,} in a batch"
