"""Words of a command become values of flags; everything wrong is named."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoparallel.catalog.engines import load_engine
from autoparallel.importers.flags import Values, read_flags

VLLM, SGLANG = (load_engine(name).flags["serve"] for name in ("vllm", "sglang"))


def vllm(text: str) -> Values:
    return read_flags(shlex.split(text), VLLM)


@pytest.mark.parametrize(
    "text",
    [
        "m --tensor-parallel-size 8",
        "m --tensor-parallel-size=8",
        "m -tp 8",
        "m -tp=8",
        "m --tensor_parallel_size 8",
        "m --tensor-par 8",
        "--tensor-parallel-size 8 m",
    ],
)
def test_spellings_of_a_flag(text: str) -> None:
    values = vllm(text)
    assert (values.given, values.positional, values.faults) == ({"--tensor-parallel-size": 8}, ["m"], [])


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("-ep", {"--enable-expert-parallel": True}),
        ("--disable-expert-parallel", {"--enable-expert-parallel": False}),
        ("--max-num-batched-tokens 16k", {"--max-num-batched-tokens": 16_000}),
        ("--max-num-batched-tokens 16K", {"--max-num-batched-tokens": 16_384}),
        ("--max-num-batched-tokens 1.5k", {"--max-num-batched-tokens": 1_500}),
        ("--gpu-memory-utilization .9", None),
        ("--gpu-memory-utilization 0.9", {"--gpu-memory-utilization": 0.9}),
        ("--compilation-config.mode 3", {"--compilation-config": "3"}),
        ("--all2all-backend nixl_ep", {"--all2all-backend": "nixl_ep"}),
    ],
)
def test_values(text: str, given: dict[str, object] | None) -> None:
    values = vllm(text)
    if given is not None:
        assert values.given == given
        assert values.faults == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("--tensor-parallel-sise 8", 'did you mean "--tensor-parallel-size"?'),
        ("--tp-sise 8", "unknown flag"),
        ("--zebra", "--zebra: unknown flag"),
        ("--0x7", "--0x7: unknown flag; one of another version can be left out"),
        ("-tp", "-tp: its value is missing"),
        ("-tp eight", "must be a whole number, not 'eight'"),
        ("-tp 8.0", "must be a whole number"),
        ("-tp '$TP'", "write the number in place of the shell variable"),
        ("-tp 99999999999999999999", "must be a whole number"),
        ("--all2all-backend nixl", 'did you mean "nixl_ep"?'),
        ("-ep=3", "is a switch and takes no value"),
        ("--gpu-memory-utilization much", "must be a number"),
    ],
)
def test_faults(text: str, says: str) -> None:
    assert any(says in fault.message for fault in vllm(text).faults)


def test_every_fault_is_found() -> None:
    assert len(vllm("--zebra 1 -tp x --giraffe=2 -pp").faults) == 4


def test_the_value_of_an_unknown_flag_is_not_the_model() -> None:
    assert vllm("--zebra 1 m").positional == ["m"]


def test_a_beginning_of_several_flags_is_none() -> None:
    assert read_flags(["--enable", "1"], SGLANG).faults


@given(words=st.lists(st.text(max_size=12), max_size=8))
def test_nothing_crashes(words: list[str]) -> None:
    values = read_flags(words, VLLM)
    assert all(fault.message for fault in values.faults)


@given(words=st.lists(st.sampled_from([*VLLM, "1", "8", "x", "-1", "{}", "="]), max_size=8))
def test_no_combination_of_flags_crashes(words: list[str]) -> None:
    values = read_flags(words, VLLM)
    assert set(values.given) <= {flag.name for flag in VLLM.values()}
