"""Entries of engines: whole, with sources, and equal to what was read from the engines themselves."""

from __future__ import annotations

import pytest

from autoparallel.catalog.engines import load_engine
from autoparallel.domain.engine import ENGINES


@pytest.mark.parametrize("name", ENGINES)
def test_entries(name: str) -> None:
    engine = load_engine(name)
    assert set(engine.rules) == {
        "sequence_parallel",
        "attention_dp",
        "expert_fold",
        "decode_context",
        "placement",
    }
    assert all(rule.sentence and rule.source for rule in engine.rules.values())
    assert engine.version in engine.image
    assert engine.abilities.ring in ("never", "mla")
    assert engine.abilities.attention_dp in ("any", "whole_stage")


@pytest.mark.parametrize(
    ("engine", "program", "flag", "value"),
    [
        ("vllm", "serve", "-tp", "int"),
        ("vllm", "serve", "-ep", "switch"),
        ("vllm", "serve", "--max-num-batched-tokens", "size"),
        ("vllm", "bench", "--random-range-ratio", "text"),
        ("sglang", "serve", "--attn-dp-size", "int"),
        ("sglang", "serve", "--expert-parallel-size", "int"),
        ("sglang", "bench", "--max-concurrency", "int"),
        ("trtllm", "config", "enable_attention_dp", "switch"),
    ],
)
def test_flags(engine: str, program: str, flag: str, value: str) -> None:
    assert load_engine(engine).flags[program][flag].value == value


def test_negative_spellings_turn_off() -> None:
    assert (
        load_engine("vllm").flags["serve"]["--disable-expert-parallel"].negates == "--enable-expert-parallel"
    )


@pytest.mark.parametrize("name", ENGINES)
def test_what_negates_exists(name: str) -> None:
    for flags in load_engine(name).flags.values():
        assert all(flag.negates in flags for flag in flags.values() if flag.negates)
