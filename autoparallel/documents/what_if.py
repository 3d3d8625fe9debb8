"""The plan under other circumstances: each one evaluated again, none guessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from autoparallel.documents.alternatives import best_with_gpus
from autoparallel.documents.phrases import laid_out
from autoparallel.documents.source import Arrangement
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.plan import Plan
from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import Lengths
from autoparallel.errors import LayoutError
from autoparallel.planner import evaluate
from autoparallel.report.wording import count, given, percent

Vary = Callable[[Problem, float], Problem]

# How far a circumstance is followed before it counts as harmless, and how exactly the edge is found.
MOST_GROWTH, LEAST_SHARE, PRECISION = 16.0, 0.02, 0.005
# How much more load is looked at.
MORE = 1.25


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What becomes of the plan in one circumstance; ``plan`` is ``None`` where none can be launched.

    ``problem`` is the one that the plan was judged by; ``replanned`` says that the layout is another.
    """

    name: str
    problem: Problem
    plan: Plan | None
    replanned: bool = False


@dataclass(frozen=True, kw_only=True)
class Edge:
    """How far a circumstance may go before the first requirement is missed.

    ``factor`` multiplies the circumstance; ``missed`` names what is missed beyond it, empty where
    nothing is as far as was looked.
    """

    name: str
    factor: float
    missed: tuple[str, ...]


def longer_prompts(problem: Problem, factor: float) -> Problem:
    """Prompts ``factor`` times as long."""
    given_ = problem.workload.prompt_tokens
    longer = Lengths(
        kind=given_.kind, min=max(round(given_.min * factor), 1), max=max(round(given_.max * factor), 1)
    )
    return replace(problem, workload=replace(problem.workload, prompt_tokens=longer))


def more_requests(problem: Problem, factor: float) -> Problem:
    """Requests of an open load ``factor`` times as often."""
    rate = (problem.workload.rate_per_s or 0.0) * factor
    return replace(problem, workload=replace(problem.workload, request_rate_per_s=rate))


def imbalance(problem: Problem, factor: float) -> Problem:
    """The fullest expert rank has ``factor`` times the mean load of what the problem assumes."""
    load = problem.workload.expert_imbalance * factor
    return replace(problem, workload=replace(problem.workload, expert_imbalance=load))


def memory_bandwidth(problem: Problem, factor: float) -> Problem:
    """Memory ``factor`` times as fast."""
    hardware = problem.hardware
    return _with(
        problem, replace(hardware, memory_bandwidth_gb_per_s=hardware.memory_bandwidth_gb_per_s * factor)
    )


def links(problem: Problem, factor: float) -> Problem:
    """All links ``factor`` times as fast."""
    up, out = problem.hardware.scale_up, problem.hardware.scale_out
    return _with(
        problem,
        replace(
            problem.hardware,
            scale_up=replace(up, bandwidth_gb_per_s=up.bandwidth_gb_per_s * factor),
            scale_out=replace(out, bandwidth_gb_per_s=out.bandwidth_gb_per_s * factor),
        ),
    )


def compute(problem: Problem, factor: float) -> Problem:
    """Arithmetic ``factor`` times as fast."""
    peaks = {name: peak * factor for name, peak in problem.hardware.peak_tflops.items()}
    return _with(problem, replace(problem.hardware, peak_tflops=peaks))


def _with(problem: Problem, hardware: Hardware) -> Problem:
    return replace(problem, hardware=hardware)


def outcomes(problem: Problem, plan: Plan) -> tuple[Outcome, ...]:
    """The plan in every circumstance that a risk is made of."""
    varied: list[tuple[str, Vary, float]] = [("prompts 20 % longer", longer_prompts, 1.2)]
    if problem.model.is_moe:
        base = problem.workload.expert_imbalance
        varied += [
            (f"fullest expert rank {given(load)} times the mean load", imbalance, load / base)
            for load in (1.2, 1.5)
            if load > base
        ]
    varied += [
        ("memory bandwidth 20 % lower", memory_bandwidth, 0.8),
        ("links 20 % slower", links, 0.8),
        ("compute 20 % slower", compute, 0.8),
    ]
    rows = [
        Outcome(name=name, problem=other, plan=_again(other, plan))
        for name, vary, factor in varied
        for other in (vary(problem, factor),)
    ]
    more = _more_sequences if problem.workload.rate_per_s is None else _more_often
    return (*rows, *more(problem, plan), *_other_gpus(problem, plan))


def _again(problem: Problem, plan: Plan) -> Plan | None:
    try:
        return evaluate(problem, plan.layout, **plan.pair._asdict())
    except LayoutError:
        return None


def _more_often(problem: Problem, plan: Plan) -> Iterator[Outcome]:
    """A quarter more requests: on the same GPUs, and with a quarter more instances."""
    often = more_requests(problem, MORE)
    name = f"{percent(MORE - 1)} more requests ({given(often.workload.rate_per_s or 0.0)} per s)"
    yield Outcome(name=f"{name} on the same GPUs", problem=often, plan=_again(often, plan))
    layout = replace(plan.layout, replicas=math.ceil(MORE * plan.layout.replicas))
    grown = _again(often, replace(plan, layout=layout))
    yield Outcome(name=f"{name} with {count(layout.replicas, 'instance')}", problem=often, plan=grown)


def _more_sequences(problem: Problem, plan: Plan) -> Iterator[Outcome]:
    """A quarter more sequences: on the same GPUs with fuller slots, and with the instances they need."""
    layout, slots = plan.layout, plan.batch // plan.microbatch
    served = problem.workload.concurrency or layout.replicas * plan.batch
    wanted = math.ceil(MORE * served)
    microbatch = layout.dp * math.ceil(wanted / (layout.replicas * slots * layout.dp))
    fuller = Arrangement(layout=layout, batch=microbatch * slots, microbatch=microbatch)
    # What the slots round up to is served too; with no concurrency asked for there is none to raise.
    most = max(wanted, fuller.batch)
    more = serving(problem, most) if problem.workload.concurrency else problem
    name = f"{percent(most / served - 1)} more sequences at once ({most:,})"
    try:
        fits = evaluate(more, layout, batch=fuller.batch, microbatch=fuller.microbatch, chunk=plan.pair.chunk)
    except LayoutError:
        fits = None
    yield Outcome(name=f"{name} on the same GPUs, batch {fuller.batch:,}", problem=more, plan=fits)
    needed = math.ceil(wanted / plan.batch)
    if needed > layout.replicas:
        wider = serving(problem, wanted) if problem.workload.concurrency else problem
        grown = evaluate(wider, replace(layout, replicas=needed), **plan.pair._asdict())
        more_gpus = f"with {count(needed, 'instance')} of batch {plan.batch:,}"
        wanted_name = f"{percent(wanted / served - 1)} more sequences at once ({wanted:,}) {more_gpus}"
        yield Outcome(name=wanted_name, problem=wider, plan=grown)


def serving(problem: Problem, sequences: int) -> Problem:
    """The problem with this concurrency."""
    return replace(problem, workload=replace(problem.workload, concurrency=sequences))


def _other_gpus(problem: Problem, plan: Plan) -> Iterator[Outcome]:
    """One GPU less and one more, the layout chosen anew."""
    for gpus, name in ((plan.gpus - 1, "one GPU less"), (plan.gpus + 1, "one GPU more")):
        if gpus < 1:
            yield Outcome(name=f"{name} (none is left)", problem=problem, plan=None, replanned=True)
            continue
        best, told = best_with_gpus(problem, gpus), name
        if best is not None:
            same = (best.layout, best.batch, best.microbatch) == (plan.layout, plan.batch, plan.microbatch)
            anew = "no plan makes better use of it" if same else f"planned anew as {laid_out(best)}"
            told = f"{name}, {anew}" + ("" if same else f", batch {best.batch:,}")
        yield Outcome(name=told, problem=problem, plan=best, replanned=True)


def edges(problem: Problem, plan: Plan) -> tuple[Edge, ...]:
    """How far each circumstance may go; nothing for a plan that misses a requirement already."""
    if not plan.feasible:
        return ()
    growing: list[tuple[str, Vary]] = [("Prompt length", longer_prompts)]
    if problem.workload.rate_per_s is not None:
        growing.insert(0, ("Request rate", more_requests))
    if problem.model.is_moe:
        growing.append(("Load of the fullest expert rank", imbalance))
    shrinking: list[tuple[str, Vary]] = [
        ("Memory bandwidth", memory_bandwidth),
        ("Link bandwidth", links),
        ("Compute", compute),
    ]
    return (
        *(_edge(name, vary, problem, plan, MOST_GROWTH) for name, vary in growing),
        *(_edge(name, vary, problem, plan, LEAST_SHARE) for name, vary in shrinking),
    )


def _edge(name: str, vary: Vary, problem: Problem, plan: Plan, furthest: float) -> Edge:
    """Bisect, on a logarithmic scale, between the circumstance as it is and the furthest one."""
    missed = _missed(vary(problem, furthest), plan)
    if not missed:
        return Edge(name=name, factor=furthest, missed=())
    kept, broken = 0.0, math.log(furthest)
    while abs(broken - kept) > PRECISION:
        middle = (kept + broken) / 2
        if now := _missed(vary(problem, math.exp(middle)), plan):
            broken, missed = middle, now
        else:
            kept = middle
    return Edge(name=name, factor=math.exp(kept), missed=missed)


def _missed(problem: Problem, plan: Plan) -> tuple[str, ...]:
    again = _again(problem, plan)
    return () if again is None else tuple(name for name, met in again.meets.items() if not met)
