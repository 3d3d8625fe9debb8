"""Operators with plain constants: hand-worked rooflines on a GPU of 50 TFLOP/s and 800 GB/s."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from autoparallel.performance.operators import (
    DecodeAttentionConstants,
    ElementwiseConstants,
    ExpertConstants,
    GemmConstants,
    Gpu,
    OperatorCost,
    PrefillAttentionConstants,
    bound_of,
    decode_attention,
    elementwise,
    experts,
    gemm,
    keys_per_query,
    mla_decode,
    prefill_attention,
    touched_experts,
)
from autoparallel.performance.operators.cost import Quantity

GPU = Gpu(100e12, 1000e9, 100)
COMPUTE, MEMORY = 50e12, 800e9
GEMM = GemmConstants(compute_efficiency=0.5)
EXPERTS = ExpertConstants(compute_efficiency=0.5)
PREFILL = PrefillAttentionConstants(compute_efficiency=0.5)
DECODE = DecodeAttentionConstants(compute_efficiency=0.5)

Operator = Callable[[Quantity, Gpu], OperatorCost]


def product(m: Quantity, gpu: Gpu = GPU) -> OperatorCost:
    return gemm(m, 1000.0, 500.0, gpu=gpu, constants=GEMM, weight_bytes=2.0, activation_bytes=2.0)


def prefill(batch: Quantity, gpu: Gpu = GPU, seq: float = 100.0, window: float = math.inf) -> OperatorCost:
    return prefill_attention(
        batch, seq, heads=8.0, kv_heads=2.0, head_dim=16.0, v_head_dim=16.0, window=window,
        gpu=gpu, constants=PREFILL, activation_bytes=2.0, kv_bytes=1.0,
    )  # fmt: skip


def decode(batch: Quantity, gpu: Gpu = GPU, window: float = math.inf) -> OperatorCost:
    return decode_attention(
        batch, 100.0, heads=8.0, kv_heads=2.0, head_dim=16.0, window=window,
        gpu=gpu, constants=DECODE, activation_bytes=2.0, kv_bytes=1.0,
    )  # fmt: skip


def latent(batch: Quantity, gpu: Gpu = GPU) -> OperatorCost:
    return mla_decode(
        batch, 100.0, heads=8.0, kv_lora_rank=16, qk_rope_head_dim=4,
        gpu=gpu, constants=DECODE, activation_bytes=2.0, kv_bytes=2.0,
    )  # fmt: skip


def mixture(
    tokens: Quantity,
    gpu: Gpu = GPU,
    *,
    ep: float = 4.0,
    etp: float = 2.0,
    imbalance: float = 1.0,
    scale: float = 1.0,
) -> OperatorCost:
    return experts(
        tokens, hidden_size=64, moe_intermediate_size=96, num_experts=8, num_experts_per_tok=2, etp=etp,
        ep=ep, imbalance=imbalance, gpu=gpu, constants=EXPERTS, weight_bytes=2.0, activation_bytes=2.0,
        weight_scale=scale,
    )  # fmt: skip


def test_gemm_of_many_rows_is_bound_by_arithmetic() -> None:
    # 2 x 2000 x 1000 x 500 = 2e9 FLOPs, 40 us; 2 (2e6 + 1e6 + 0.5e6) = 7e6 bytes, 8.75 us.
    cost = product(2000.0)
    assert (cost.flops, cost.bytes) == (2e9, 7e6)
    assert cost.time_s == pytest.approx(40e-6)
    assert cost.memory_s == pytest.approx(8.75e-6)
    assert bound_of(cost, link=False) == "compute"


def test_gemm_of_one_row_is_bound_by_its_weights() -> None:
    # 1e6 FLOPs, 20 ns; 1e6 bytes of weights and 3,000 of activations: 1.25375 us.
    cost = product(1.0)
    assert cost.time_s == pytest.approx(1.25375e-6)
    assert bound_of(cost, link=False) == "memory"


def test_keys_per_query_by_hand() -> None:
    # Causal: half of 10; after 5 cached ones 5 + 5.
    assert keys_per_query(10.0, math.inf) == 5.0
    assert keys_per_query(10.0, math.inf, 5.0) == 10.0
    # A window of 4: 4 queries grow to 4 keys (8 in all), 6 see 4: 32 of 10.
    assert keys_per_query(10.0, 4.0) == pytest.approx(3.2)
    # After 2 cached: two queries see 2 growing to 4 (6 in all), eight see 4: 38 of 10.
    assert keys_per_query(10.0, 4.0, 2.0) == pytest.approx(3.8)
    # A window that is full before the first new token; one as long as everything.
    assert keys_per_query(10.0, 4.0, 7.0) == pytest.approx(4.0)
    assert keys_per_query(10.0, 15.0, 5.0) == pytest.approx(10.0)


def test_prefill_attention_by_hand() -> None:
    # 3 x 100^2 / 2 pairs x 8 heads x 2 x 32 = 7.68e6 FLOPs, 0.1536 us. Queries and outputs
    # 3 x 100 x 8 x 32 x 2 = 153,600 bytes, keys and values 3 x 100 x 2 x 32 = 19,200: 0.216 us.
    cost = prefill(3.0)
    assert (cost.flops, cost.bytes) == (7.68e6, 172_800.0)
    assert cost.compute_s == pytest.approx(0.1536e-6)
    assert cost.time_s == pytest.approx(0.216e-6)


def test_prefill_attention_grows_with_the_square_of_the_prompt() -> None:
    assert prefill(1.0, seq=10_000.0).flops == pytest.approx(100 * float(prefill(1.0, seq=1000.0).flops))
    assert prefill(1.0, seq=10_000.0, window=100.0).flops == pytest.approx(
        # 100 queries with 50 keys in the mean, 9,900 with 100: 995,000 pairs x 512.
        995_000 * 512
    )


def test_prefill_attention_of_one_token() -> None:
    # Half a pair: the diagonal counts half.
    assert prefill(1.0, seq=1.0).flops == 0.5 * 512


def test_decode_attention_by_hand() -> None:
    # 3 x 100 keys x 8 heads x 64 = 153,600 FLOPs. Cache 3 x 100 x 2 x 32 = 19,200 bytes, queries and
    # outputs 3 x 8 x 32 x 2 = 1,536: 25.92 ns against 3.072.
    cost = decode(3.0)
    assert (cost.flops, cost.bytes) == (153_600.0, 20_736.0)
    assert cost.time_s == pytest.approx(25.92e-9)
    assert decode(3.0, window=10.0).bytes == 1_920 + 1_536
    assert decode(3.0, window=1000.0) == decode(3.0)


def test_mla_decode_by_hand() -> None:
    # Scores over 20 values, outputs over 16: 3 x 100 x 8 x 2 x 36 = 172,800 FLOPs. One cache for all
    # heads, 3 x 100 x 20 x 2 = 12,000 bytes; queries and outputs 3 x 8 x 36 x 2 = 1,728.
    cost = latent(3.0)
    assert (cost.flops, cost.bytes) == (172_800.0, 13_728.0)
    assert cost.time_s == pytest.approx(17.16e-9)


def test_touched_experts_by_hand() -> None:
    # One token touches its 2 of 8; two 8 (1 - 0.75^2) = 3.5, half of that on each of two ranks.
    assert touched_experts(1.0, num_experts=8, num_experts_per_tok=2, ep=1.0) == pytest.approx(2.0)
    assert touched_experts(2.0, num_experts=8, num_experts_per_tok=2, ep=2.0) == pytest.approx(1.75)
    assert touched_experts(1e6, num_experts=8, num_experts_per_tok=2, ep=2.0) == pytest.approx(4.0)
    assert touched_experts(0.0, num_experts=8, num_experts_per_tok=2, ep=2.0) == 0.0
    # A dense FFN is one expert of one.
    assert touched_experts(3.0, num_experts=1, num_experts_per_tok=1, ep=1.0) == 1.0


def test_experts_by_hand() -> None:
    # 100 tokens on 4 expert ranks of 2: 50 pairs a rank, matrices of 3 x 64 x 48 = 9,216 values:
    # 2 x 50 x 9,216 = 921,600 FLOPs. Both experts touched, 2 x 9,216 x 2 = 36,864 bytes; a pair moves
    # (2 x 64 + 3 x 48) 2 = 544: 27,200.
    cost = mixture(100.0)
    assert cost.flops == 921_600.0
    assert cost.bytes == pytest.approx(36_864 + 27_200)
    assert cost.time_s == pytest.approx(64_064 / MEMORY)


def test_experts_chosen_and_sorted_by_hand() -> None:
    # 2 of 8 experts, 8 scores in each of 2 rounds; 100 tokens have 200 pairs, on whatever rank.
    def time_s(constants: ExpertConstants) -> float:
        return float(
            experts(
                100.0, hidden_size=64, moe_intermediate_size=96, num_experts=8, num_experts_per_tok=2,
                etp=2.0, ep=4.0, imbalance=1.0, gpu=GPU._replace(sms=10), constants=constants,
                weight_bytes=2.0, activation_bytes=2.0,
            ).time_s
        )  # fmt: skip

    plain = time_s(EXPERTS)
    assert time_s(replace(EXPERTS, select_s=1e-6)) == pytest.approx(plain + 16e-6)
    assert time_s(replace(EXPERTS, assignment_s=1e-6)) == pytest.approx(plain + 200e-6)
    # A wave of 10 tiles of 128 columns, 2 FLOPs each for 64 + 48 values of 30 tokens more.
    wave, longer = (time_s(replace(EXPERTS, waves=1.0, wave_rows=rows)) for rows in (0.0, 30.0))
    flops = 2 * 30 * 10 * 128 * (64 + 48)
    assert longer - wave == pytest.approx(flops / (GPU.peak_flops_per_s * 0.5))


def test_experts_of_a_step_read_what_they_touch() -> None:
    # Two tokens touch 3.5 experts of 18,432 values, 2 bytes each; 4 pairs of 832 bytes.
    cost = mixture(2.0, ep=1.0, etp=1.0)
    assert cost.bytes == pytest.approx(3.5 * 36_864 + 4 * 832)


def test_fullest_rank_computes_its_share() -> None:
    assert mixture(100.0, imbalance=1.5).flops == pytest.approx(1.5 * 921_600)


def test_declared_scale_is_on_weights_and_flops_not_on_activations() -> None:
    plain, scaled = mixture(100.0), mixture(100.0, scale=10.0)
    assert scaled.flops == pytest.approx(10 * float(plain.flops))
    assert scaled.bytes == pytest.approx(10 * 36_864 + 27_200)


def test_elementwise_by_hand() -> None:
    cost = elementwise(8e6, gpu=GPU, constants=ElementwiseConstants())
    assert cost.time_s == pytest.approx(10e-6)
    assert cost.flops == 0.0


OPERATORS = pytest.mark.parametrize("operator", [product, prefill, decode, latent, mixture])


@OPERATORS
def test_operators_broadcast(operator: Operator) -> None:
    sizes = np.array([[1.0, 7.0, 300.0], [2.0, 64.0, 1e5]])
    table = operator(sizes, GPU)
    assert np.shape(table.time_s) == (2, 3)
    for index, size in np.ndenumerate(sizes):
        alone = operator(float(size), GPU)
        for name in ("time_s", "flops", "bytes"):
            column = np.broadcast_to(getattr(table, name), (2, 3))
            assert column[index] == pytest.approx(float(getattr(alone, name)), rel=1e-12)


@OPERATORS
def test_more_work_is_never_faster_and_a_better_gpu_never_slower(operator: Operator) -> None:
    sizes = np.geomspace(1.0, 1e6, 50)
    times = np.asarray(operator(sizes, GPU).time_s)
    assert (np.diff(times) >= 0).all()
    for better in (GPU._replace(peak_flops_per_s=2e14), GPU._replace(memory_bandwidth_bytes_per_s=2e12)):
        assert (np.asarray(operator(sizes, better).time_s) <= times).all()
    both = GPU._replace(peak_flops_per_s=2e14, memory_bandwidth_bytes_per_s=2e12)
    assert (np.asarray(operator(sizes, both).time_s) < times).all()
