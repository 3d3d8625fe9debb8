"""The attention half of a layer, term by term: the small mixture of conftest, worked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Layout, Link, Problem
from autoparallel.domain.model import FULL, SLIDING
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.machine import Machine, Phase
from autoparallel.performance.microbatch import attention_terms
from autoparallel.performance.operators import OperatorCost
from autoparallel.performance.terms import COMPUTE, SP, TP


def part(problem: Problem, microbatch: int = 8, **degrees: Any) -> AttentionPart:
    table = PlanTable.of([Layout(**degrees)], [microbatch], [microbatch])
    return AttentionPart(Machine(problem), table.split()[0])


def term(part: AttentionPart, phase: Phase, name: str, layer: str = FULL) -> tuple[str, OperatorCost]:
    """Kind and cost of a term, as scalars."""
    found = next(term for term in part.layer(phase, layer) if term.name == name)
    return found.kind, OperatorCost(*(float(value.flat[0]) if hasattr(value, "flat") else float(value)
                                      for value in found.cost))  # fmt: skip


def cost(part: AttentionPart, phase: Phase, name: str, layer: str = FULL) -> OperatorCost:
    return term(part, phase, name, layer)[1]


def test_projections_of_a_prompt_by_hand(problems: Any) -> None:
    # tp 2, dp 2: 4 sequences x 64 tokens, 4 query and 2 KV heads: 2 x 256 x 64 x (4 + 2 x 2) 16 FLOPs.
    attention = part(problems.make(), tp=2, dp=2, ep=4)
    prefill = attention.machine.prefill
    assert cost(attention, prefill, "qkv projection").flops == 2 * 256 * 64 * 128
    assert cost(attention, prefill, "output projection").flops == 2 * 256 * 64 * 64
    assert cost(attention, prefill, "output projection").bytes == 2 * (256 * 64 + 64 * 64 + 256 * 64)


def test_kv_heads_are_replicated_when_tp_is_larger(problems: Any) -> None:
    # tp 8 of 4 KV heads: one query head and one KV head on every rank.
    attention = part(problems.make(), tp=8)
    assert cost(attention, attention.machine.prefill, "qkv projection").flops == 2 * 512 * 64 * 48


def test_attention_of_a_prompt_by_hand(problems: Any) -> None:
    # 4 sequences x 64^2 / 2 pairs x 4 heads x 4 x 16.
    attention = part(problems.make(), tp=2, dp=2, ep=4)
    assert cost(attention, attention.machine.prefill, "attention").flops == 4 * 2048 * 4 * 64


@pytest.mark.parametrize("kind", ["ring", "ulysses"])
def test_context_parallel_ranks_share_prompt_attention(problems: Any, kind: str) -> None:
    alone, shared = part(problems.make()), part(problems.make(), sp=4, sp_kind=kind, ep=4)
    for name in ("attention", "qkv projection", "output projection"):
        whole = cost(alone, alone.machine.prefill, name).flops
        assert cost(shared, shared.machine.prefill, name).flops == whole / 4


def test_attention_of_a_step_by_hand(problems: Any) -> None:
    # 8 sequences, context 64 + 32 / 2 = 80; a cache of 4 heads x 2 x 16 x 2 = 256 bytes a token;
    # queries and outputs 8 x 8 x 32 x 2.
    attention = part(problems.make())
    step = cost(attention, attention.machine.decode, "attention")
    assert step.bytes == 8 * 80 * 256 + 4096
    assert step.flops == 8 * 80 * 8 * 64


@pytest.mark.parametrize("kind", ["ring", "ulysses"])
def test_context_parallel_ranks_share_the_cache(problems: Any, kind: str) -> None:
    # All 8 sequences' queries against a quarter of the cache.
    attention = part(problems.make(), sp=4, sp_kind=kind, ep=4)
    assert cost(attention, attention.machine.decode, "attention").bytes == 8 * 20 * 256 + 4096


def test_window_bounds_the_cache_that_a_step_reads(problems: Any) -> None:
    problem = problems.make(layer_types=(FULL, SLIDING) * 2, sliding_window=10)
    attention = part(problem)
    assert cost(attention, attention.machine.decode, "attention", SLIDING).bytes == 8 * 10 * 256 + 4096
    shared = part(problem, sp=2, sp_kind="ring", ep=2)
    assert cost(shared, shared.machine.decode, "attention", SLIDING).bytes == 8 * 5 * 256 + 4096


def test_all_reduce_of_the_residual_stream(problems: Any) -> None:
    # tp 4 in one node: 8 x 64 tokens x 64 x 2 = 65,536 bytes; 2 x 3/4 of it at 50 GB/s, 2 x 2 rounds.
    attention = part(problems.make(), tp=4, ep=4)
    kind, reduce = term(attention, attention.machine.prefill, "attention all-reduce")
    assert kind == TP
    assert reduce.bytes == 98_304
    assert reduce.time_s == pytest.approx(20e-6 + 98_304 / 50e9)


def test_tensor_sequence_parallelism_moves_as_much_and_norms_less(problems: Any) -> None:
    plain = part(problems.make(), tp=4, ep=4)
    split = part(problems.make(), tp=4, sp=4, sp_kind="tensor", ep=4)
    prefill = plain.machine.prefill
    kind, reduce = term(split, prefill, "attention all-reduce")
    assert kind == SP
    assert reduce.bytes == cost(plain, prefill, "attention all-reduce").bytes
    norms = "attention norm and residual"
    # Four passes over 65,536 bytes, a quarter of them on each rank.
    assert cost(plain, prefill, norms).bytes == 4 * 65_536
    assert cost(split, prefill, norms).bytes == 65_536


def test_ring_exchange_by_hand(problems: Any) -> None:
    # cp 4: a block of 8 x 16 tokens x 256 bytes, passed on three times. Attention of a block takes
    # less than its 5 us of latency, so the rest shows.
    attention = part(problems.make(), sp=4, sp_kind="ring", ep=4)
    prefill = attention.machine.prefill
    kind, ring = term(attention, prefill, "context parallel exchange")
    block_s = 5e-6 + 32_768 / 50e9
    hidden_s = cost(attention, prefill, "attention").time_s / 4
    assert kind == SP
    assert ring.bytes == 3 * 32_768
    assert 0 < hidden_s < block_s
    assert ring.time_s == pytest.approx(3 * (block_s - hidden_s))


def test_ring_exchange_hides_behind_long_prompts(problems: Any) -> None:
    attention = part(problems.make(), sp=4, sp_kind="ring", ep=4)
    long = Phase("prefill", 100_000.0, 0.0, False)
    exchange = cost(attention, long, "context parallel exchange")
    assert exchange.time_s == 0.0
    assert exchange.bytes == 3 * 8 * 25_000 * 256


def test_ulysses_exchange_by_hand(problems: Any) -> None:
    # cp 4, 128 tokens a rank: 8 + 2 x 4 heads of 16 values in, 8 out, 2 bytes; 3/4 leave the rank.
    attention = part(problems.make(), sp=4, sp_kind="ulysses", ep=4)
    _, exchange = term(attention, attention.machine.prefill, "context parallel exchange")
    assert exchange.bytes == 0.75 * 128 * (16 + 8) * 16 * 2
    assert exchange.time_s == pytest.approx(10e-6 + exchange.bytes / 50e9)


def test_ulysses_replicates_kv_heads_it_cannot_split(problems: Any) -> None:
    # cp 8 of 4 KV heads sends every key and value to two ranks: 8 + 2 x 8 heads in, 8 out.
    attention = part(problems.make(), sp=8, sp_kind="ulysses", ep=8)
    _, exchange = term(attention, attention.machine.prefill, "context parallel exchange")
    assert exchange.bytes == pytest.approx(7 / 8 * 64 * (24 + 8) * 16 * 2)


def test_step_gathers_queries_and_combines_partial_outputs(problems: Any) -> None:
    # 8 sequences x 8 heads x 16 x 2 bytes = 2,048 gathered; outputs with their log-sum-exp, 4 bytes a
    # row, 2,304 exchanged; 3/4 of each leave the rank.
    attention = part(problems.make(), sp=4, sp_kind="ring", ep=4)
    decode = attention.machine.decode
    assert cost(attention, decode, "query all-gather").bytes == 0.75 * 2048
    assert cost(attention, decode, "partial output combine").bytes == 0.75 * 2304


def test_mla_projections_by_hand(problems: Any) -> None:
    # tp 2: latents of 32 + 16 + 4 on every rank, 4 heads of queries (12), keys and values (16).
    attention = part(problems.mla(), tp=2, ep=2)
    prefill, rows = attention.machine.prefill, 2 * 512
    assert cost(attention, prefill, "latent projections").flops == rows * 64 * 52
    assert cost(attention, prefill, "query projection").flops == rows * 32 * 4 * 12
    assert cost(attention, prefill, "kv up-projection").flops == rows * 16 * 4 * 16
    assert cost(attention, prefill, "output projection").flops == rows * 4 * 8 * 64
    # Scores over 12 dimensions, outputs over 8: 8 x 64^2 / 2 x 4 x 2 x 20.
    assert cost(attention, prefill, "attention").flops == 8 * 2048 * 4 * 40


def test_ring_passes_latents_and_every_rank_expands_all(problems: Any) -> None:
    alone, ring = part(problems.mla()), part(problems.mla(), sp=4, sp_kind="ring", ep=4)
    prefill, decode, name = alone.machine.prefill, alone.machine.decode, "kv up-projection"
    assert cost(ring, prefill, name).flops == cost(alone, prefill, name).flops
    assert cost(ring, decode, name).flops == cost(alone, decode, name).flops / 4
    # 128 tokens of 20 values, three times.
    assert cost(ring, prefill, "context parallel exchange").bytes == 3 * 128 * 40


def test_mla_cache_is_read_whole_on_every_tp_rank(problems: Any) -> None:
    one, four = part(problems.mla()), part(problems.mla(), tp=4, ep=4)
    # 8 sequences x 80 tokens x 40 bytes, and 8 or 2 heads of (20 + 16) 2 bytes a sequence.
    decode = one.machine.decode
    assert cost(one, decode, "attention").bytes == 25_600 + 8 * 8 * 72
    assert cost(four, decode, "attention").bytes == 25_600 + 8 * 2 * 72


def test_attention_on_one_gpu_does_not_communicate(problems: Any) -> None:
    attention = part(problems.make())
    for phase in (attention.machine.prefill, attention.machine.decode):
        sent = [term for term in attention.layer(phase, FULL) if term.kind != COMPUTE]
        assert not any(np.any(term.cost.time_s) for term in sent)


def test_an_indexer_bounds_what_attention_reads_and_scores_every_key(problems: Any) -> None:
    # 2 heads of 8 score every key in 8 bits: 4 sequences x 80 keys x 8 bytes and 2 x 2 x 8 FLOPs a key.
    sparse = {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 16, "indexer_layers": 4}
    attention = part(problems.make(**sparse), tp=1, dp=2, ep=2)
    whole = part(problems.make(), tp=1, dp=2, ep=2)
    decode = attention.machine.decode
    assert decode.context == 80
    assert cost(attention, decode, "indexer scores").flops == 4 * 80 * 2 * 2 * 8
    assert cost(attention, decode, "indexer scores").bytes == pytest.approx(4 * (80 * 8 + 2 * 2 * 4))
    # Queries from 64 channels for 2 heads of 8; a key of 8 and a weight for each head from the same 64.
    assert cost(attention, decode, "indexer queries").flops == 2 * 4 * 64 * 2 * 8
    assert cost(attention, decode, "indexer key and head weights").flops == 2 * 4 * 64 * (8 + 2)
    # Attention itself reads 16 of the 80 cached tokens.
    few, all_keys = cost(attention, decode, "attention"), cost(whole, decode, "attention")
    assert few.flops == pytest.approx(all_keys.flops * 16 / 80)
    # Half the layers with an indexer of their own: half of its cost in a mean layer.
    half = part(problems.make(**{**sparse, "indexer_layers": 2}), tp=1, dp=2, ep=2)
    assert cost(half, decode, "indexer scores").flops == 4 * 80 * 2 * 2 * 8 / 2


def test_the_gpus_of_a_stage_share_the_nics_of_their_node(problems: Any) -> None:
    # Nodes of 4 with one NIC of 5 GB/s, stages of 2: both send 8 x 64 tokens of 64 values, 2 bytes each.
    link = Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5, nics_per_node=1)
    own = problems.make()
    shared = replace(own, hardware=replace(own.hardware, scale_out=link))
    attention = part(shared, tp=2, pp=4)
    (across,) = attention_terms(attention, attention.machine.prefill).hop_across
    assert float(np.max(across.cost.time_s)) == pytest.approx(10e-6 + 2 * 65536 / 5e9)
    (across,) = attention_terms(part(own, tp=2, pp=4), attention.machine.prefill).hop_across
    assert float(np.max(across.cost.time_s)) == pytest.approx(10e-6 + 65536 / 5e9)
