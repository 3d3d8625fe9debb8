"""Documents of continuous batching: the load that was asked, and circumstances with the plan's own chunk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoparallel.documents.sections import load_balance, memory, performance, requirements
from autoparallel.documents.sections.rationale import DIMENSIONS
from autoparallel.documents.source import Arrangement, Source
from autoparallel.documents.subject import Subject, examine
from autoparallel.documents.what_if import edges, longer_prompts, outcomes
from autoparallel.domain import Layout, Lengths, Plan, Problem, Requirements, Workload
from autoparallel.planner import evaluate


@pytest.fixture
def arrivals(moe10b: Problem) -> Problem:
    """The MoE-10B problem under 4 requests a second."""
    workload = Workload(
        mode="open",
        request_rate_per_s=4.0,
        prompt_tokens=Lengths(kind="uniform", min=128, max=2048),
        output_tokens=Lengths(kind="uniform", min=16, max=240),
    )
    asked = Requirements(ttft_p99_s=5.0, goodput_fraction=0.9)
    search = replace(moe10b.search, max_gpus=4, batch=(16,), chunk=(512,))
    return replace(moe10b, workload=workload, requirements=asked, search=search)


def subject_of(problem: Problem, plan: Plan) -> Subject:
    source = Source(
        problem=problem,
        plan=Arrangement(layout=plan.layout, **plan.pair._asdict()),
        ttft_s=plan.metrics.ttft_s,
        throughput=plan.metrics.total_tokens_per_ms_per_gpu,
    )
    return examine(source)


def text(section: object) -> str:
    return repr(section)


def test_load_and_requirements_are_told(arrivals: Problem) -> None:
    plan = evaluate(arrivals, Layout(replicas=2), batch=16, chunk=512)
    subject = subject_of(arrivals, plan)
    told = text(requirements.section(subject))
    for words in ("4.00 per s", "Time to first token, 99 %", "at most 5 s", "Requests within every bound"):
        assert words in told
    assert "prompts of others" in text(performance.section(subject))
    assert "sequences in service on the mean" in text(load_balance.section(subject))
    instances = next(each for each in DIMENSIONS if each.degree == "replicas")
    assert "4.00 arrive" in " ".join(instances.reasons(subject))


def test_free_memory_is_counted_in_sequences_of_the_length_that_the_cache_has(arrivals: Problem) -> None:
    plan = evaluate(arrivals, Layout(), batch=16, chunk=512)
    assert plan.serving is not None
    told = text(memory.section(subject_of(arrivals, plan)))
    free = arrivals.memory_limit_gb * 1e9 - plan.memory.total_bytes
    room = int(free / plan.memory.kv_cache_bytes * plan.serving.running)
    assert f"{room:,} more sequences of mean length" in told


def test_circumstances_have_the_plan_s_chunk_and_more_requests(arrivals: Problem) -> None:
    plan = evaluate(arrivals, Layout(replicas=2), batch=16, chunk=512)
    found = {outcome.name: outcome for outcome in outcomes(arrivals, plan)}
    longer = found["prompts 20 % longer"].plan
    assert longer == evaluate(longer_prompts(arrivals, 1.2), Layout(replicas=2), batch=16, chunk=512)
    more = found["25 % more requests (5 per s) on the same GPUs"]
    assert more.plan is not None
    assert more.plan.metrics.requests_per_s == pytest.approx(5.0)
    assert "25 % more requests (5 per s) with 3 instances" in found
    edge = edges(arrivals, plan)[0]
    assert edge.name == "Request rate"
    assert edge.factor > 1.0
