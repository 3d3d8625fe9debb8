"""What an answer rests on, in sentences."""

from __future__ import annotations

from dataclasses import replace

from autoparallel.domain import Lengths
from autoparallel.domain.result import SearchResult
from autoparallel.domain.workload import Speculation
from autoparallel.report.assumptions import assumptions


def test_sentences(result: SearchResult) -> None:
    told = dict(assumptions(result.problem))
    assert told["Model"] == "toy: 16 layers, hidden 512, 16 experts, top 2"
    assert told["GPU"] == "card: 64 GB, 1,800 GB/s at 80 %, compute at 60 % of its peak"
    assert told["Links"] == "450 GB/s at 70 % inside a node of 8, 50 GB/s at 70 % between nodes"
    assert told["Workload"] == (
        "prompts of 128 to 10,240 tokens (uniform), outputs of 128 tokens, 128 requests at once; "
        "static batching"
    )
    assert told["Intervals"] == (
        "80 % of measurements are expected within; 54 residuals of static batches, 3 models, with a roofline "
        "instead of calibrated kernels"
    )
    assert told["Preferred"] == "fewest GPUs, then highest throughput per GPU, then lowest TTFT"


def test_a_declared_count_that_disagrees_is_told(result: SearchResult) -> None:
    # Attention 4 * 512^2, experts 16 * 3 * 512 * 1024, router 512 * 16, norms: 26.2e6 a layer, 0.42e9 in all.
    model = replace(result.problem.model, declared_parameters=4.2e9, parameter_basis="declared")
    told = dict(assumptions(replace(result.problem, model=model)))
    assert told["Parameters"] == (
        "4.20 billion declared, which is used; 0.420 billion counted from the architecture, 10.0 times apart"
    )


def test_without_concurrency(result: SearchResult) -> None:
    workload = replace(result.problem.workload, concurrency=None, prompt_tokens=Lengths.fixed(1024))
    told = dict(assumptions(replace(result.problem, workload=workload)))
    assert told["Workload"] == "prompts of 1,024 tokens, outputs of 128 tokens; static batching"


def test_speculative_decoding_is_told(result: SearchResult) -> None:
    drafting = Speculation(draft_tokens=3, acceptance=0.5, draft_share=0.02)
    workload = replace(result.problem.workload, speculation=drafting)
    told = dict(assumptions(replace(result.problem, workload=workload)))
    assert told["Speculation"] == (
        "3 tokens proposed a step, each accepted with 50 %: 1.88 tokens a step; the draft is 2 % of the model"
    )
