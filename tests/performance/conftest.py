"""Problems with round numbers, and every layout that they can have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from autoparallel.domain import Hardware, Layout, Lengths, Link, Model, Problem, Workload
from autoparallel.domain.model import FULL, SPARSE

# 50 TFLOP/s, 800 GB/s, 50 GB/s and 5 us inside a node of 4, 5 GB/s and 10 us between nodes.
CARD = Hardware(
    name="round card",
    memory_gb=10.0,
    memory_bandwidth_gb_per_s=1000.0,
    peak_tflops={"float16": 100.0},
    compute_efficiency=0.5,
    memory_efficiency=0.8,
    reserved_gb=1.0,
    gpus_per_node=4,
    scale_up=Link(bandwidth_gb_per_s=100.0, latency_us=5.0, efficiency=0.5),
    scale_out=Link(bandwidth_gb_per_s=10.0, latency_us=10.0, efficiency=0.5),
)
MIXTURE = Model(
    name="small mixture",
    num_hidden_layers=4,
    hidden_size=64,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=16,
    layer_types=(FULL,) * 4,
    mlp_layer_types=(SPARSE,) * 4,
    vocab_size=1000,
    num_experts=8,
    num_experts_per_tok=2,
    moe_intermediate_size=96,
    weights_dtype="float16",
    expert_weights_dtype="float16",
    attention_weights_dtype="float16",
    embedding_dtype="float16",
    kv_cache_dtype="float16",
    activation_dtype="float16",
)
# Prompts of 96 tokens, 32 at least; the mean context of a decode step is 64 + 32 / 2 = 80 tokens.
WORK = Workload(prompt_tokens=Lengths(kind="uniform", min=32, max=96), output_tokens=Lengths.fixed(32))


class Problems:
    """Makes problems, and lists their layouts."""

    def make(
        self, model: Model = MIXTURE, hardware: Hardware = CARD, workload: Workload = WORK, **changes: Any
    ) -> Problem:
        """A problem; ``changes`` are fields of the model."""
        return Problem(name="small", model=replace(model, **changes), hardware=hardware, workload=workload)

    def dense(self, **changes: Any) -> Problem:
        """A dense model of the same size."""
        fields = {
            "mlp_layer_types": ("dense",) * 4,
            "intermediate_size": 96,
            "num_experts": 0,
            "num_experts_per_tok": 0,
            "moe_intermediate_size": 0,
        }
        return self.make(**{**fields, **changes})

    def mla(self, **changes: Any) -> Problem:
        """Multi-head latent attention, one dense layer, a shared expert."""
        fields = {
            "mlp_layer_types": ("dense", *(SPARSE,) * 3),
            "intermediate_size": 192,
            "shared_expert_intermediate_size": 96,
            "q_lora_rank": 32,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 8,
        }
        return self.make(**{**fields, **changes})

    def layouts(self, problem: Problem, *, batch: int, max_gpus: int = 16) -> Iterator[Layout]:
        """Layouts that the definitions allow, written apart from the solver's rules."""
        model, sizes = problem.model, (1, 2, 3, 4, 8, 16)
        for tp, sp, kind, dp in product(sizes, (1, 2, 4), ("tensor", "ring", "ulysses"), sizes):
            if (kind == "tensor" and sp != tp and sp > 1) or (kind != "tensor" and sp == 1):
                continue
            cp = 1 if kind == "tensor" else sp
            heads = tp * cp if kind == "ulysses" else tp
            kv_heads = model.num_key_value_heads
            shares = model.is_mla or kv_heads % heads == 0 or heads % kv_heads == 0
            stage = tp * cp * dp
            if model.num_attention_heads % heads or not shares or batch % dp or stage > max_gpus:
                continue
            for pp, ep, etp in product((1, 2, 3), sizes, sizes):
                whole = stage % (ep * etp) == 0 and math.lcm(tp * cp, ep * etp) == stage
                split = model.routed_experts % ep == 0 and model.routed_width % etp == 0
                if whole and split and stage * pp <= max_gpus:
                    sp_kind = kind if sp > 1 else None
                    yield Layout(tp=tp, sp=sp, sp_kind=sp_kind, dp=dp, pp=pp, ep=ep, etp=etp)


@pytest.fixture(scope="session")
def problems() -> Problems:
    """Problems with round numbers."""
    return Problems()
