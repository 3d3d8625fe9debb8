"""Workloads: distributions of lengths, traces, arrivals, and what is wrong with each."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.domain.workload import Lengths, Workload
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.trace_file import read_trace, trace_lengths

Write = Callable[[str], Path]

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:46.6805900,100,1
"""
MOONCAKE = [
    {"timestamp": 0, "input_length": 1000, "output_length": 10, "hash_ids": [0, 1]},
    {"timestamp": 1500, "input_length": 600, "output_length": 20, "hash_ids": [0, 2]},
]
LINES = "\n".join(json.dumps(row) for row in MOONCAKE)


@pytest.fixture
def workload(small_problem: str, write: Write) -> Callable[[str], Workload]:
    """The workload of a problem with another [workload]."""
    start, _, rest = small_problem.partition("[workload]")
    _, bracket, others = rest.partition("\n[")

    def build(text: str) -> Workload:
        return load_problem(write(f"{start}[workload]\n{text}{bracket}{others}")).workload

    return build


def lengths(build: Callable[[str], Workload], table: str) -> Lengths:
    return build(f"prompt_tokens = {table}\nconcurrency = 8\n").prompt_tokens


def faults(build: Callable[[str], Workload], text: str) -> str:
    with pytest.raises(ProblemError) as caught:
        build(text)
    return str(caught.value)


def test_fixed_and_uniform_are_as_before(workload: Callable[[str], Workload]) -> None:
    assert lengths(workload, "100") == Lengths.fixed(100)
    uniform = lengths(workload, '{ kind = "uniform", min = 100, max = 300 }')
    assert (uniform.mean, uniform.quantile(0.0), uniform.quantile(1.0)) == (200.0, 100.0, 300.0)


def test_a_lognormal_has_the_figures_it_was_given(workload: Callable[[str], Workload]) -> None:
    # Mean of a log-normal: median exp(sigma^2 / 2); 90 % lie below median exp(1.2816 sigma).
    given = lengths(workload, '{ kind = "lognormal", p50 = 1000, sigma = 0.5 }')
    assert given.quantile(0.5) == pytest.approx(1000, rel=1e-3)
    assert given.mean == pytest.approx(1000 * math.exp(0.125), rel=5e-3)
    assert given.quantile(0.9) == pytest.approx(1000 * math.exp(0.64078), rel=5e-3)
    by_mean = lengths(workload, '{ kind = "lognormal", p50 = 1000, mean = 1133.148 }')
    assert by_mean.quantile(0.9) == pytest.approx(given.quantile(0.9), rel=1e-3)
    by_p99 = lengths(workload, '{ kind = "lognormal", p50 = 1000, p99 = 3200, max = 2000 }')
    assert by_p99.max == 2000
    assert by_p99.quantile(0.999) == 2000


def test_quantiles_are_met(workload: Callable[[str], Workload]) -> None:
    given = lengths(workload, '{ kind = "quantiles", p50 = 1000, p90 = 3000, p99 = 4000, mean = 1200 }')
    assert [given.quantile(share) for share in (0.5, 0.9, 0.99)] == [1000, 3000, 4000]
    assert given.mean == 1200
    assert given.max > 4000


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('{ kind = "lognormal", sigma = 1.0 }', "p50: is missing"),
        ('{ kind = "lognormal", p50 = 100 }', "give just one"),
        ('{ kind = "lognormal", p50 = 100, p90 = 90 }', "greater than the median"),
        ('{ kind = "lognormal", p50 = 100, p90 = 200, p99 = 300 }', "give just one"),
        ('{ kind = "quantiles", p50 = 100 }', "two quantiles"),
        ('{ kind = "quantiles", p50 = 100, p90 = 50 }', "cannot be shorter"),
        ('{ kind = "quantiles", p50 = 100, p90 = 200, max = 150 }', "enclose"),
        ('{ kind = "uniform", min = 1, max = 2, p50 = 3 }', "has no meaning"),
    ],
)
def test_lengths_that_contradict_themselves(
    workload: Callable[[str], Workload], table: str, message: str
) -> None:
    assert message in faults(workload, f"prompt_tokens = {table}\nconcurrency = 8\n")


def test_azure(tmp_path: Path) -> None:
    file = tmp_path / "azure.csv"
    file.write_text(AZURE)
    trace = read_trace(file)
    assert trace.arrival_s == pytest.approx((0.0, 4.314579, 60.0))
    assert trace.prompt_tokens == (374, 396, 100)
    assert trace.output_tokens == (44, 109, 1)
    assert trace.prefix_blocks == ()
    assert trace.rate_per_s == pytest.approx(2 / 60)
    assert trace_lengths(trace.prompt_tokens).mean == 290


@pytest.mark.parametrize("packed", [False, True])
def test_mooncake(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / ("trace.jsonl.gz" if packed else "trace.jsonl")
    file.write_bytes(gzip.compress(LINES.encode()) if packed else LINES.encode())
    trace = read_trace(file)
    assert trace.arrival_s == (0.0, 1.5)
    assert trace.prefix_blocks == ((0, 1), (0, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no requests"),
        ("TIMESTAMP,ContextTokens\n", "GeneratedTokens"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "no requests"),
        (AZURE.replace(",44", ",0"), ":2: has no tokens"),
        (AZURE.replace("374", "-1"), ":2: has no tokens"),
        (AZURE.replace("18:16:46", "18:15:46"), ":4: arrives before"),
        (AZURE.replace("396", "many"), ":3: is not a time"),
        (AZURE.replace("2023-11-16 18:15:50.9951690", "later"), ":3: is not a time"),
        (LINES.replace('"timestamp": 0', '"timestamp": -5'), ":1: the time -0.005 s is negative"),
        (LINES.replace('"output_length": 20', '"output": 20'), ":2: no column output_length"),
        (LINES + "\n{broken", ":3: is not valid JSON"),
        (LINES.replace('"timestamp": 0', '"timestamp": NaN'), ":1: is not a time"),
    ],
)
def test_traces_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "trace"
    file.write_text(text)
    with pytest.raises(ProblemError) as caught:
        read_trace(file)
    assert message in str(caught.value)


def test_a_trace_gives_lengths_and_arrivals(tmp_path: Path, workload: Callable[[str], Workload]) -> None:
    (tmp_path / "azure.csv").write_text(AZURE)
    found = workload('mode = "open"\ntrace = "azure.csv"\n')
    assert found.arrivals == "trace"
    assert found.trace is not None
    assert found.prompt_tokens.mean == 290
    assert found.output_tokens.max == 109
    text = 'mode = "open"\ntrace = "azure.csv"\nprompt_tokens = 5\n'
    assert "follows from the trace" in faults(workload, text)
    assert "there is no such file" in faults(workload, 'mode = "open"\ntrace = "missing.csv"\n')


def test_long_requests_of_a_trace_are_rejected_and_counted(
    tmp_path: Path, workload: Callable[[str], Workload]
) -> None:
    rows = [{"timestamp": t, "input_length": 100 + t, "output_length": 10} for t in range(1, 9)]
    rows.append({"timestamp": 9, "input_length": 90_000, "output_length": 10})
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = 'mode = "open"\ntrace = "long.jsonl"\n'
    every, some = workload(text), workload(f"{text}max_model_len = 118\n")
    assert every.trace is not None
    assert some.trace is not None
    assert (every.longest_tokens, every.trace.rejected) == (90_010, 0)
    assert (some.longest_tokens, some.trace.rejected, some.trace.rejected_share) == (118, 1, 1 / 9)
    assert "no request of at most 99 tokens" in faults(workload, f"{text}max_model_len = 99\n")


def test_an_engine_may_keep_room_for_longer_requests(workload: Callable[[str], Workload]) -> None:
    text = 'mode = "open"\nprompt_tokens = 5\noutput_tokens = 4\nrequest_rate_per_s = 1.0\nmax_model_len = '
    assert workload(f"{text}9\n").longest_tokens == 9
    assert workload(f"{text}4096\n").longest_tokens == 4096
    assert "max_model_len: is less than the longest request of the workload, 9" in faults(
        workload, f"{text}8\n"
    )
    static = 'mode = "static"\nconcurrency = 2\nprompt_tokens = 5\nmax_model_len = 4096\n'
    assert "max_model_len: has no meaning for a static batch" in faults(workload, static)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('mode = "closed"\nprompt_tokens = 5\n', "concurrency: is missing"),
        ('mode = "open"\nprompt_tokens = 5\n', "request_rate_per_s: is missing"),
        ("prompt_tokens = 5\nrequest_rate_per_s = 1.0\n", 'has no meaning for mode = "static"'),
        ("prompt_tokens = 5\ncached_share = 0.5\n", "cached_share: has no meaning for a static batch"),
        ('mode = "open"\nprompt_tokens = 5\nrequest_rate_per_s = 1.0\narrivals = "trace"\n', "needs a trace"),
        ('mode = "often"\nprompt_tokens = 5\n', "is not known"),
    ],
)
def test_arrivals_that_cannot_be(workload: Callable[[str], Workload], text: str, message: str) -> None:
    assert message in faults(workload, text)


def test_a_share_that_is_cached_changes_the_fingerprint(small_problem: str, write: Write) -> None:
    served = small_problem.replace('mode = "static"', 'mode = "closed"')
    problem = load_problem(write(served))
    other = load_problem(write(served.replace("[workload]", "[workload]\ncached_share = 0.5", 1)))
    assert problem.fingerprint != other.fingerprint
    assert problem.workload.arrivals == "poisson"


def test_a_trace_that_arrives_at_once_has_no_rate(
    tmp_path: Path, workload: Callable[[str], Workload]
) -> None:
    at_once = [{**row, "timestamp": 0} for row in MOONCAKE]
    (tmp_path / "once.jsonl").write_text("\n".join(map(json.dumps, at_once)), encoding="utf-8")
    text = 'mode = "open"\ntrace = "once.jsonl"\n'
    assert "request_rate_per_s: is missing" in faults(workload, text)
    assert workload(f"{text}request_rate_per_s = 2.0\n").rate_per_s == 2.0


@pytest.mark.parametrize("line", ['stages = "optimal"', 'order = "any"', "microbatch = 4"])
def test_what_only_static_batches_decide_is_refused(write: Write, small_problem: str, line: str) -> None:
    key = line.split(maxsplit=1)[0]
    served = small_problem.replace('mode = "static"', 'mode = "closed"') + line + "\n"
    with pytest.raises(ProblemError) as caught:
        load_problem(write(served))
    (fault,) = caught.value.faults
    assert (fault.key, fault.message) == (
        f"search.{key}",
        'has no meaning for workload.mode = "closed"; drop it',
    )
