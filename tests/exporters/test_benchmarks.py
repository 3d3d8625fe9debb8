"""Benchmarks draw lengths that the server takes, whatever the workload; each engine's own rule is played."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.catalog.engines import load_engine
from autoparallel.domain import Layout, Lengths, Problem
from autoparallel.domain.workload import Speculation
from autoparallel.exporters import exporters
from autoparallel.exporters.base import whole_mean
from autoparallel.exporters.deployment import Deployment
from autoparallel.exporters.export import export
from autoparallel.exporters.sglang import drawn_lengths
from autoparallel.exporters.vllm import SPECIAL_TOKENS, range_ratio

EXPORTERS = exporters()


@st.composite
def lengths(draw: st.DrawFn, most: int = 20_000) -> Lengths:
    ends = sorted((draw(st.integers(1, most)), draw(st.integers(1, most))))
    if ends[0] == ends[1]:
        return Lengths.fixed(ends[0])
    return Lengths(kind="uniform", min=ends[0], max=ends[1])


def deployment(cases: Any, prompts: Lengths, outputs: Lengths) -> Deployment:
    problem: Problem = cases.problem("sparse")
    workload = replace(problem.workload, prompt_tokens=prompts, output_tokens=outputs)
    plan = cases.plan(problem, Layout())
    return Deployment(replace(problem, workload=workload), plan, load_engine("sglang"))


@settings(max_examples=300)
@given(prompts=lengths(), outputs=lengths())
def test_vllm_draws_nothing_longer_than_the_longest(prompts: Lengths, outputs: Lengths) -> None:
    # vllm 0.33.0, benchmarks/datasets/utils.py get_sampling_params: floor and ceil around the mean.
    for one in (prompts, outputs):
        mean, ratio = whole_mean(one), range_ratio(one)
        assert 0 <= ratio < 1
        assert math.ceil(mean * (1 + ratio)) <= one.max
        # Whatever a tokenizer adds is taken off the mean before; a token has to be left.
        if mean > SPECIAL_TOKENS:
            assert math.floor((mean - SPECIAL_TOKENS) * (1 - ratio)) >= 1


@settings(max_examples=300)
@given(prompts=lengths(), outputs=lengths(2_000))
def test_sglang_draws_nothing_longer_than_the_context(cases: Any, prompts: Lengths, outputs: Lengths) -> None:
    made = deployment(cases, prompts, outputs)
    draws = drawn_lengths(made)
    # sglang 0.5.23, srt/managers/tokenizer_manager.py: the longest of both together are refused above it.
    assert draws.prompt + draws.output <= made.longest_sequence
    assert 0 <= draws.ratio <= 1
    # benchmark/datasets/common.py compute_random_lens: from int(longest x ratio) to the longest, evenly.
    for longest, one in ((draws.prompt, prompts), (draws.output, outputs)):
        shortest = max(int(longest * draws.ratio), 1)
        assert (shortest + longest) / 2 == pytest.approx(one.mean, abs=2 + 1e-4 * longest)
    assert draws.prompt <= prompts.max


def test_the_plans_workload_is_drawn_within_the_context(cases: Any) -> None:
    """Prompts of 128 to 10,240, outputs of 128: 2 (5,184 + 128) / (1 + r) = 10,368, so r = 0.0247."""
    made = deployment(cases, Lengths(kind="uniform", min=128, max=10_240), Lengths.fixed(128))
    assert drawn_lengths(made) == (10_118, 249, 0.0247)


def test_drafts_are_counted_with_a_requests_tokens(cases: Any) -> None:
    problem = cases.problem("sparse")
    drafts = Speculation(draft_tokens=3, acceptance=0.8, draft_share=0.02, draft="mtp")
    drafting = replace(problem, workload=replace(problem.workload, speculation=drafts))
    plan = cases.plan(problem, Layout(tp=2, etp=2))
    for one, length in ((problem, "10368"), (drafting, "10372")):
        words = export(one, plan, EXPORTERS["sglang"]).commands[0].words
        assert words[words.index("--context-length") + 1] == length


def test_trtllms_benchmark_over_nodes_is_started_by_mpi(cases: Any) -> None:
    made = export(cases.problem("sparse", 4), cases.plan(cases.problem("sparse", 4), Layout(tp=8, ep=8)),
                  EXPORTERS["trtllm"])  # fmt: skip
    words = made.benchmark.words
    assert words[:6] == ("mpirun", "--allow-run-as-root", "-n", "8", "--host", "$NODE_0:4,$NODE_1:4")
    assert words[words.index("trtllm-llmapi-launch") + 1] == "trtllm-bench"
    assert made.benchmark.environment == made.commands[0].environment
    one = export(cases.problem("sparse", 8), cases.plan(cases.problem("sparse", 8), Layout(tp=8, ep=8)),
                 EXPORTERS["trtllm"])  # fmt: skip
    assert one.benchmark.words[0] == "trtllm-bench"
