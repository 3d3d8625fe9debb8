"""Bytes on a GPU, row by row: the small mixture of conftest, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from autoparallel.domain import Layout, Problem
from autoparallel.domain.model import FULL, SLIDING
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.estimate import estimate
from autoparallel.performance.ffn_part import ExpertPart, is_dispatched
from autoparallel.performance.machine import Machine
from autoparallel.performance.memory import AttentionMemory, ExpertMemory, MemoryRows, stage_memory
from autoparallel.performance.stages import stages


def rows_by_stage(problem: Problem, batch: int = 8, microbatch: int = 8, **degrees: Any) -> list[MemoryRows]:
    """Memory of a GPU of every stage, as scalars."""
    layout = Layout(**degrees)
    table, machine = PlanTable.of([layout], [batch], [microbatch]), Machine(problem)
    attention, experts = table.split()
    halves = AttentionMemory(AttentionPart(machine, attention)), ExpertMemory(ExpertPart(machine, experts))
    dispatched = is_dispatched(table.tp, table.ep, table.etp)
    return [
        MemoryRows(*(float(getattr(row, "flat", [row])[0]) for row in
                     stage_memory(*halves, stage, layout.pp, dispatched)))
        for stage in stages(problem.model, layout.layers_of_stages(problem.model.num_hidden_layers))
    ]  # fmt: skip


def rows(problem: Problem, **degrees: Any) -> MemoryRows:
    (only,) = rows_by_stage(problem, **degrees)
    return only


def test_one_gpu_holds_the_whole_model(problems: Any) -> None:
    # 818,752 parameters of 2 bytes, 589,824 of them experts'. 8 sequences x 128 tokens x 4 x 256 bytes.
    held = rows(problems.make())
    assert held.expert_weights_bytes == 2 * 589_824
    assert held.weights_bytes == 2 * (818_752 - 589_824)
    assert held.kv_cache_bytes == 8 * 128 * 1024
    assert held.buffer_bytes == 0
    assert held.reserved_bytes == 1e9


def test_live_tensors_by_hand(problems: Any) -> None:
    # 8 prompts of 96 tokens: 768 x 64 x 2 = 98,304 bytes of residual stream, twice; the experts' pairs,
    # 1,536 x (64 + 3 x 96) x 2 bytes, are more than attention's 768 x (16 + 8) x 16 x 2.
    assert rows(problems.make()).activation_bytes == 2 * 98_304 + 1_081_344


def test_tensor_parallelism_splits_projections_and_heads(problems: Any) -> None:
    # A layer: projections 24,576 / 2; router 512 and norms 128 on every rank; 128,000 / 2 outside, norm 64.
    held = rows(problems.make(), tp=2, ep=2)
    assert held.weights_bytes == 2 * (4 * (12_288 + 640) + 64_000 + 64)
    assert held.expert_weights_bytes == 589_824
    assert held.kv_cache_bytes == 8 * 128 * 512


def test_kv_heads_replicated_beyond_their_number_cost_memory(problems: Any) -> None:
    # tp 8 of 4 KV heads: one each, twice as much in all.
    assert rows(problems.make(), tp=8, ep=8).kv_cache_bytes == 8 * 128 * 256


@pytest.mark.parametrize("kind", ["ring", "ulysses"])
def test_context_parallelism_splits_the_cache_and_not_the_weights(problems: Any, kind: str) -> None:
    alone, shared = rows(problems.make()), rows(problems.make(), sp=4, sp_kind=kind, ep=4)
    assert shared.kv_cache_bytes == alone.kv_cache_bytes / 4
    assert shared.weights_bytes == alone.weights_bytes


def test_data_parallelism_splits_the_sequences(problems: Any) -> None:
    held = rows(problems.make(), dp=4, ep=4)
    assert held.kv_cache_bytes == 2 * 128 * 1024
    assert held.weights_bytes == rows(problems.make()).weights_bytes


def test_mla_cache_is_on_every_tp_rank(problems: Any) -> None:
    assert rows(problems.mla()).kv_cache_bytes == 8 * 128 * 4 * 40
    assert rows(problems.mla(), tp=4, ep=4).kv_cache_bytes == 8 * 128 * 4 * 40


def test_indexer_of_sparse_attention_keeps_keys_and_weights_on_every_tp_rank(problems: Any) -> None:
    # A key of 32 fp8 values and a float32 scale a token in each of 4 layers; 2 heads of queries from 32
    # latents, a key and 2 weights from 64 values, a norm of 64: 2 x 32 x 32 + 64 x 34 + 64 = 4,288.
    sparse = {"index_n_heads": 2, "index_head_dim": 32, "index_topk": 64, "indexer_layers": 4}
    for degrees in ({}, {"tp": 4, "ep": 4}):
        plain, indexed = rows(problems.mla(), **degrees), rows(problems.mla(**sparse), **degrees)
        assert indexed.kv_cache_bytes - plain.kv_cache_bytes == 8 * 128 * 4 * 36
        assert indexed.weights_bytes - plain.weights_bytes == 2 * 4 * 4288
    stages = rows_by_stage(problems.mla(**sparse), pp=4)
    assert stages[1].kv_cache_bytes == 8 * 128 * (40 + 36)


def test_window_bounds_the_cache(problems: Any) -> None:
    held = rows(problems.make(layer_types=(FULL, SLIDING) * 2, sliding_window=10))
    assert held.kv_cache_bytes == 8 * 256 * (2 * 128 + 2 * 10)


def test_tensor_sequence_parallelism_splits_the_residual_stream(problems: Any) -> None:
    plain = rows(problems.make(), tp=4, ep=4)
    split = rows(problems.make(), tp=4, sp=4, sp_kind="tensor", ep=4)
    assert plain.activation_bytes - split.activation_bytes == 2 * 98_304 * 3 / 4


def test_declared_scale_is_on_expert_bytes(problems: Any) -> None:
    held = rows(problems.make(declared_parameters=1_998_400.0, parameter_basis="declared"))
    assert held.expert_weights_bytes == pytest.approx(3 * 2 * 589_824)
    assert held.activation_bytes == rows(problems.make()).activation_bytes


def test_dense_ffn_counts_as_weights(problems: Any) -> None:
    held = rows(problems.dense(), tp=2, etp=2)
    assert held.expert_weights_bytes == 0
    assert held.weights_bytes == 2 * (4 * (12_288 + 9_216 + 128) + 64_000 + 64)


def test_stages_hold_their_layers_and_ends(problems: Any) -> None:
    # 4 layers on 3 stages: 2 + embedding, 1, 1 + head and norm.
    first, second, last = rows_by_stage(problems.make(), pp=3)
    assert first.weights_bytes == 2 * (2 * (24_576 + 640) + 64_000)
    assert second.weights_bytes == 2 * (24_576 + 640)
    assert last.weights_bytes == 2 * (24_576 + 640 + 64_000 + 64)
    assert [stage.expert_weights_bytes for stage in (first, second, last)] == [589_824, 294_912, 294_912]
    assert [stage.kv_cache_bytes for stage in (first, second, last)] == [524_288, 262_144, 262_144]


def test_tied_head_is_held_again_on_a_stage_of_its_own(problems: Any) -> None:
    tied = problems.make(tie_word_embeddings=True)
    assert rows(problems.make()).weights_bytes - rows(tied).weights_bytes == 2 * 64_000
    _, last = rows_by_stage(tied, pp=2)
    assert last.weights_bytes == rows_by_stage(problems.make(), pp=2)[1].weights_bytes


def test_learned_positions_are_whole_on_every_rank_of_the_first_stage(problems: Any) -> None:
    learned = problems.make(learned_position_embeddings=100)
    for plain, more, rows_of_64 in zip(
        rows_by_stage(problems.make(), pp=2, tp=2), rows_by_stage(learned, pp=2, tp=2), (100, 0), strict=True
    ):
        assert more.weights_bytes - plain.weights_bytes == 2 * 64 * rows_of_64


def test_fullest_gpu_counts(problems: Any) -> None:
    problem = problems.make()
    table = PlanTable.of([Layout(pp=3)], [8], [8])
    values = estimate(Machine(problem), table)
    stage = max(rows_by_stage(problem, pp=3), key=lambda rows: float(rows.total_bytes))
    assert values.memory_bytes[0] == stage.total_bytes
    assert values.kv_cache_bytes[0] == stage.kv_cache_bytes


def test_dispatch_buffers_by_hand(problems: Any) -> None:
    # 768 tokens of 128 bytes, a quarter of them own: 192 x 13/7 copies out, 768 x 13/28 in.
    held = rows(problems.make(), dp=4, ep=4)
    assert held.buffer_bytes == pytest.approx(128 * (192 * 13 / 7 + 768 * 13 / 28))


def test_smaller_microbatches_need_less(problems: Any) -> None:
    whole = rows_by_stage(problems.make(), batch=8, microbatch=8)[0]
    eighth = rows_by_stage(problems.make(), batch=8, microbatch=1)[0]
    assert eighth.activation_bytes == whole.activation_bytes / 8
    assert eighth.kv_cache_bytes == whole.kv_cache_bytes
