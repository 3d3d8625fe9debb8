"""Performance Requirements: what was asked, of what load, and what no layout can pass."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Bullets, Facts, Heading, Paragraph, Section
from autoparallel.documents.subject import Subject
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import SERVED
from autoparallel.domain.workload import STATIC, Lengths
from autoparallel.report.wording import count, given, number, rule_label

# Of what continuous batching can be asked, what is a lower limit.
LEAST = ("goodput_fraction", "request_rate_per_s")


def section(subject: Subject) -> Section:
    """Requirements, workload and physical limits."""
    problem = subject.problem
    blocks: list[Block] = [Facts(rows=(*_asked(problem), *_load(problem)))]
    if problem.requirements.is_empty:
        blocks.append(
            Paragraph(text="Nothing is required of time, throughput or GPUs; the memory has to hold it.")
        )
    blocks += [
        Paragraph(
            text="TTFT is checked for a full batch of the longest prompts, throughput and TPOT at the mean "
            "lengths."
            if problem.workload.mode == STATIC
            else "Times are those of single requests under continuous batching, their waits included."
        ),
        Heading(text="Limits that no layout passes"),
        Bullets(
            items=tuple(
                f"{limit.name.capitalize()}: {number(limit.value)} {limit.unit}; {limit.sentence}."
                for limit in subject.limits
            )
        ),
    ]
    return Section(title="Performance Requirements", blocks=tuple(blocks))


def _asked(problem: Problem) -> list[tuple[str, str]]:
    asked = problem.requirements
    rows = [
        ("Time to first token (TTFT)", asked.ttft_s, "at most {} s"),
        ("Time per output token (TPOT)", asked.tpot_s, "at most {} s"),
        (
            f"Throughput per GPU, {asked.throughput_phase}",
            asked.throughput_tokens_per_ms_per_gpu,
            "at least {} tokens/ms",
        ),
        ("GPUs", asked.max_gpus, "at most {}"),
    ]
    served = (
        (rule_label(name), getattr(asked, name), "at least {}" if name in LEAST else "at most {} s")
        for name in SERVED
    )
    return [
        (label, words.format(given(limit))) for label, limit, words in (*rows, *served) if limit is not None
    ]


def _load(problem: Problem) -> list[tuple[str, str]]:
    load = problem.workload
    rows = [
        ("Prompt length (ISL)", _lengths(load.prompt_tokens)),
        ("Output length (OSL)", _lengths(load.output_tokens)),
        ("Batching", load.mode),
    ]
    if load.rate_per_s is not None:
        recorded = f", arrivals of the trace {load.trace.name}" if load.trace else ""
        rows.insert(0, ("Request rate", f"{number(load.rate_per_s)} per s{recorded}"))
    if load.concurrency is not None:
        rows.insert(0, ("Sequences in service", f"{load.concurrency:,} at once"))
    if problem.model.is_moe:
        even = load.expert_imbalance == 1
        spread = (
            "the mean: tokens spread evenly" if even else f"{given(load.expert_imbalance)} times the mean"
        )
        if load.expert_loads is not None:
            spread = f"follows from loads by expert: {load.expert_loads.source}"
        rows.append(("Load of the fullest expert rank", spread))
    return rows


def _lengths(lengths: Lengths) -> str:
    if lengths.min == lengths.max:
        return count(lengths.min, "token")
    return f"{lengths.min:,} to {lengths.max:,} tokens, {lengths.kind}; {lengths.mean:,.0f} on the mean"
