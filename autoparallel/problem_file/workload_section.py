"""Builds workload and requirements from their tables."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from operator import add
from pathlib import Path

from autoparallel.domain.model import Model
from autoparallel.domain.requirements import QUANTILES, SERVED, Requirements
from autoparallel.domain.workload import (
    CLOSED,
    MTP,
    OPEN,
    POISSON,
    STATIC,
    TRACE,
    Lengths,
    Speculation,
    Trace,
    Workload,
)
from autoparallel.errors import ProblemError
from autoparallel.problem_file.faults import Faults
from autoparallel.problem_file.lengths_section import build_lengths
from autoparallel.problem_file.schema import RequirementsSection
from autoparallel.problem_file.trace_file import read_trace, trace_lengths
from autoparallel.problem_file.workload_schema import WorkloadSection

DEFAULT_OUTPUT_TOKENS = 128
# A longest request of so many times the usual ones' tokens is told: plans are laid out for it.
OUTLIER = 4


@dataclass(frozen=True)
class _Requests:
    """What arrives; lengths are ``None`` where nothing says them."""

    prompt: Lengths | None
    output: Lengths | None
    trace: Trace | None = None


def build_workload(section: WorkloadSection, bad: frozenset[str], faults: Faults) -> Workload | None:
    """Build the workload, or note why it cannot be and return ``None``."""
    before = len(faults.found)
    requests = _traced(section, faults) if section.trace else _described(section, bad, faults)
    _check_arrivals(section, bad, faults)
    if bad or len(faults.found) > before or requests.prompt is None:
        return None
    return Workload(
        prompt_tokens=requests.prompt,
        output_tokens=requests.output or Lengths.fixed(DEFAULT_OUTPUT_TOKENS),
        mode=section.mode,
        concurrency=_concurrency(section, faults),
        expert_imbalance=section.expert_imbalance or 1.0,
        request_rate_per_s=section.request_rate_per_s,
        arrivals=section.arrivals or (TRACE if section.trace and section.mode == OPEN else POISSON),
        trace=requests.trace,
        cached_share=section.cached_share or 0.0,
        max_model_len=None if section.mode == STATIC else section.max_model_len,
    )


def add_speculation(
    workload: Workload | None, section: WorkloadSection, model: Model | None, faults: Faults
) -> Workload | None:
    """The workload with its speculative decoding, whose draft may be the model's own prediction layers."""
    given = section.speculation
    if workload is None or given is None or model is None:
        return workload
    share = given.draft_share
    if share is None and model.num_nextn_predict_layers:
        share = model.num_nextn_predict_layers / model.num_hidden_layers
    if share is None:
        message = "is missing: the model has no prediction layers of its own, say how large the draft is"
        faults.add(("workload", "speculation", "draft_share"), message)
        return workload
    speculation = Speculation(
        draft_tokens=given.draft_tokens,
        acceptance=given.acceptance,
        draft_share=share,
        draft=given.draft or MTP,
    )
    return replace(workload, speculation=speculation)


def build_requirements(section: RequirementsSection, mode: str, faults: Faults) -> Requirements:
    """Build the requirements; of single requests a static batch knows nothing."""
    for key in SERVED:
        if mode == STATIC and getattr(section, key) is not None:
            message = 'has no meaning for a static batch; workload.mode = "closed", "open" or "saturated" has'
            faults.add(("requirements", key), message)
    if section.goodput_fraction is not None and not _bounds_times(section):
        faults.add(("requirements", "goodput_fraction"), "counts requests that meet required times: give one")
    return Requirements(**section.model_dump())


def _bounds_times(section: RequirementsSection) -> bool:
    names = ("ttft_s", "tpot_s", "e2e_s", *QUANTILES)
    return any(getattr(section, name) is not None for name in names)


def _concurrency(section: WorkloadSection, faults: Faults) -> int | None:
    """The concurrency where it is the load's: an open or saturated load has what comes in service."""
    if section.mode in (STATIC, CLOSED) or section.concurrency is None:
        return section.concurrency
    faults.notes.append(f'workload.concurrency is not used: mode = "{section.mode}" has none.')
    return None


def _described(section: WorkloadSection, bad: frozenset[str], faults: Faults) -> _Requests:
    if section.prompt_tokens is None and "prompt_tokens" not in bad:
        faults.add(("workload", "prompt_tokens"), "is missing: say how long the prompts are")
    prompt = build_lengths(section.prompt_tokens, "prompt_tokens", faults)
    output = build_lengths(section.output_tokens, "output_tokens", faults)
    if section.max_model_len is not None and prompt is not None:
        longest = prompt.max + (output.max if output else DEFAULT_OUTPUT_TOKENS)
        if section.mode == STATIC:
            message = "has no meaning for a static batch, which holds what its own requests need"
            faults.add(("workload", "max_model_len"), message)
        elif section.max_model_len < longest:
            message = f"is less than the longest request of the workload, {longest:,} tokens"
            faults.add(("workload", "max_model_len"), message)
    return _Requests(prompt, output)


def _traced(section: WorkloadSection, faults: Faults) -> _Requests:
    """Requests as they were recorded: lengths are those of the trace."""
    for key in ("prompt_tokens", "output_tokens"):
        if getattr(section, key) is not None:
            faults.add(("workload", key), "follows from the trace; drop it, or the trace")
    try:
        trace = read_trace(Path(faults.document.file).parent / str(section.trace), section.max_model_len)
    except ProblemError as error:
        faults.found.extend(error.faults)
        return _Requests(None, None)
    if section.mode == OPEN and section.request_rate_per_s is None and math.isinf(trace.rate_per_s):
        message = "is missing: all requests of the trace arrive at once, which is no rate"
        faults.add(("workload", "request_rate_per_s"), message)
    tokens = sorted(map(add, trace.prompt_tokens, trace.output_tokens))
    longest, usual = tokens[-1], tokens[int(0.999 * (len(tokens) - 1))]
    if longest > OUTLIER * usual:
        faults.notes.append(
            f"workload.trace: memory is kept for its longest request, {longest:,} tokens; 99.9 % have at "
            f"most {usual:,}; workload.max_model_len = {usual} rejects longer ones, as an engine would."
        )
    return _Requests(trace_lengths(trace.prompt_tokens), trace_lengths(trace.output_tokens), trace)


def _check_arrivals(section: WorkloadSection, bad: frozenset[str], faults: Faults) -> None:
    mode, own_times = section.mode, section.trace is not None and section.arrivals in (None, TRACE)
    if "mode" in bad:
        return
    if mode == CLOSED and section.concurrency is None and "concurrency" not in bad:
        faults.add(("workload", "concurrency"), 'is missing: mode = "closed" keeps that many in service')
    rate_known = section.request_rate_per_s is not None or "request_rate_per_s" in bad or own_times
    if mode == OPEN and not rate_known:
        faults.add(("workload", "request_rate_per_s"), 'is missing: mode = "open" has requests arrive at it')
    for key in ("request_rate_per_s", "arrivals"):
        if mode != OPEN and getattr(section, key) is not None:
            faults.add(("workload", key), f'has no meaning for mode = "{mode}"; use "open", or drop it')
    if mode == STATIC and section.cached_share:
        message = 'has no meaning for a static batch; workload.mode = "closed", "open" or "saturated" has'
        faults.add(("workload", "cached_share"), message)
    if section.arrivals == TRACE and section.trace is None:
        faults.add(("workload", "arrivals"), "needs a trace; name its file: trace = ...")
