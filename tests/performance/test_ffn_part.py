"""The FFN half of a layer and the ends of the model, worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoparallel.domain import Layout, Problem, Workload
from autoparallel.performance.attention_part import AttentionPart
from autoparallel.performance.degrees import PlanTable
from autoparallel.performance.ffn_part import (
    CommonFfn,
    ExpertPart,
    embedding_terms,
    head_terms,
    is_dispatched,
)
from autoparallel.performance.machine import Machine
from autoparallel.performance.operators import OperatorCost
from autoparallel.performance.terms import Term


class Parts:
    """Both halves of one layout."""

    def __init__(self, problem: Problem, microbatch: int = 8, **degrees: Any) -> None:
        table = PlanTable.of([Layout(**degrees)], [microbatch], [microbatch])
        attention, experts = table.split()
        self.machine = Machine(problem)
        self.attention = AttentionPart(self.machine, attention)
        self.common = CommonFfn(self.attention)
        self.experts = ExpertPart(self.machine, experts)


def costs(terms: list[Term]) -> dict[str, OperatorCost]:
    """Terms by name, as scalars."""
    return {
        term.name: OperatorCost(*(float(value.flat[0]) if hasattr(value, "flat") else float(value)
                                  for value in term.cost))
        for term in terms
    }  # fmt: skip


def skewed(problem: Problem, imbalance: float) -> Workload:
    work = problem.workload
    return Workload(
        prompt_tokens=work.prompt_tokens, output_tokens=work.output_tokens, expert_imbalance=imbalance
    )


@pytest.mark.parametrize(
    ("tp", "ep", "etp", "dispatched"),
    [(1, 1, 1, False), (4, 4, 1, False), (4, 2, 2, False), (4, 2, 1, False), (2, 4, 1, True), (2, 2, 2, True),
     (1, 1, 2, True), (1, 2, 1, True), (4, 3, 1, True)],
)  # fmt: skip
def test_tokens_are_sent_where_the_expert_group_leaves_the_tp_group(
    tp: int, ep: int, etp: int, dispatched: bool
) -> None:
    assert bool(is_dispatched(float(tp), float(ep), float(etp))) is dispatched


def test_routed_layer_by_hand(problems: Any) -> None:
    # 4 sequences x 64 tokens on each of 2 x 2 ranks; the router 2 x 256 x 64 x 8, on every tp rank.
    parts = Parts(problems.make(), tp=2, dp=2, ep=4)
    routed = costs(parts.common.routed_layer(parts.machine.prefill))
    assert routed["router"].flops == 2 * 256 * 64 * 8
    # The stage's 512 tokens are one expert group's: 512 x 2 / 4 pairs x 2 x 18,432.
    experts = costs(parts.experts.compute(parts.machine.prefill))
    assert experts["experts"].flops == 256 * 2 * 18_432


def test_tensor_sequence_parallelism_splits_the_router(problems: Any) -> None:
    parts = Parts(problems.make(), tp=4, sp=4, sp_kind="tensor", ep=4)
    assert costs(parts.common.routed_layer(parts.machine.prefill))["router"].flops == 2 * 128 * 64 * 8


def test_dispatch_by_hand(problems: Any) -> None:
    # 512 tokens, 128 of them each of 4 ranks' own, 128 bytes each. Two of 8 experts, 2 on each rank:
    # a given rank is missed with 6/8 x 5/7 = 15/28, so a token needs 4 x 13/28 = 13/7 ranks; 3/4 of
    # them are others.
    parts = Parts(problems.make(), tp=2, dp=2, ep=4)
    sent = costs(parts.experts.dispatch(parts.machine.prefill))
    for name in ("expert dispatch", "expert combine"):
        assert sent[name].bytes == pytest.approx(128 * 128 * 13 / 7 * 0.75)
        assert sent[name].time_s == pytest.approx(5e-6 + sent[name].bytes / 50e9)
    assert sent["expert shard all-gather"].time_s == 0.0
    # Every tp rank gets its 256 tokens of 128 bytes back, half of them from the other.
    gather = costs([parts.common.gather(parts.machine.prefill)])["token all-gather"]
    assert gather.bytes == 256 * 128 / 2


def test_tensor_sequence_parallelism_leaves_combined_tokens_split(problems: Any) -> None:
    parts = Parts(problems.make(), tp=2, sp=2, sp_kind="tensor", dp=2, ep=4)
    assert parts.common.gather(parts.machine.prefill).cost.time_s == 0


def test_dispatch_between_nodes_sends_a_token_to_a_node_once(problems: Any) -> None:
    # Nodes of 4: 8 ranks of one expert, every rank owns 64 tokens of 128 bytes. A token needs
    # 8 (1 - 7/8 x 6/7) = 2 ranks, and 2 (1 - 4/8 x 3/7) = 11/7 nodes, half of them others.
    parts = Parts(problems.make(), dp=8, ep=8)
    sent = costs(parts.experts.dispatch(parts.machine.prefill))["expert dispatch"]
    up, out = 64 * 128 * 2 * 0.75, 64 * 128 * 11 / 7 / 2
    assert sent.bytes == pytest.approx(up + out)
    # It waits for the NIC and, to be forwarded, for a link inside.
    assert sent.time_s == pytest.approx(10e-6 + 5e-6 + out / 5e9)


def test_uneven_placement_does_not_multiply_ranks(problems: Any) -> None:
    # Three expert ranks, side by side on nodes of 4, some groups 2 + 1: a token needs one of them with
    # 1 - 4/6 x 3/5 = 0.6.
    parts = Parts(problems.make(num_experts=6), microbatch=6, tp=2, dp=3, ep=3)
    assert float(np.max(parts.experts.groups.hit)) == pytest.approx(0.6)


def test_shards_of_an_expert_gather_its_tokens(problems: Any) -> None:
    # ep 2, etp 2: each of two expert ranks needs a token with 1 - 4/8 x 3/7 = 11/14: 512 tokens of
    # 128 bytes, half of them from the other shard.
    parts = Parts(problems.make(), dp=4, ep=2, etp=2)
    sent = costs(parts.experts.dispatch(parts.machine.prefill))
    for name in ("expert shard all-gather", "expert shard reduce-scatter"):
        assert sent[name].bytes == pytest.approx(512 * 128 * 11 / 14 / 2)


def test_dense_ffn_split_wider_than_attention_gathers_tokens(problems: Any) -> None:
    # dp 2, etp 2: both ranks need all 512 tokens, and send nothing over an expert group of one.
    parts = Parts(problems.dense(), dp=2, etp=2)
    sent = costs(parts.experts.dispatch(parts.machine.prefill))
    assert sent["expert dispatch"].time_s == 0.0
    assert sent["expert shard all-gather"].bytes == 512 * 128 / 2
    products = costs(parts.experts.compute(parts.machine.prefill))
    # Gate and up as one product, then down; each rank has half of the 96 columns.
    assert products["ffn up"].flops == 512 * 2 * 64 * 2 * 48
    assert products["ffn down"].flops == 512 * 2 * 48 * 64


def test_skew_weighs_on_the_fullest_rank(problems: Any) -> None:
    even = problems.make()
    odd = problems.make(workload=skewed(even, 1.5))
    same, fullest = Parts(even, dp=4, ep=4), Parts(odd, dp=4, ep=4)
    prefill = same.machine.prefill
    assert costs(fullest.experts.compute(prefill))["experts"].flops == pytest.approx(
        1.5 * costs(same.experts.compute(prefill))["experts"].flops
    )
    # Its links carry 1.5 times the mean too.
    assert costs(fullest.experts.dispatch(prefill))["expert dispatch"].memory_s == pytest.approx(
        1.5 * costs(same.experts.dispatch(prefill))["expert dispatch"].memory_s
    )


def test_no_rank_receives_a_token_twice(problems: Any) -> None:
    # Two ranks are hit with 11/14 each; four times that is more than every token.
    even = problems.make()
    parts = Parts(problems.make(workload=skewed(even, 4.0)), dp=2, ep=2)
    prefill = parts.machine.prefill
    assert costs(parts.experts.dispatch(prefill))["expert dispatch"].bytes == pytest.approx(256 * 128)


def test_skew_needs_several_expert_ranks(problems: Any) -> None:
    even = problems.make()
    one, skew = Parts(even, tp=2, etp=2), Parts(problems.make(workload=skewed(even, 1.5)), tp=2, etp=2)
    prefill = one.machine.prefill
    assert skew.experts.compute(prefill)[0].cost.flops == one.experts.compute(prefill)[0].cost.flops


def test_dense_layer_of_a_mixture_by_hand(problems: Any) -> None:
    # tp 2: 512 tokens, 64 -> 2 x 96 -> 64, and an all-reduce of 65,536 bytes.
    parts = Parts(problems.mla(), tp=2, ep=2)
    dense = costs(parts.common.dense_layer(parts.machine.prefill))
    assert dense["dense ffn up"].flops == 2 * 512 * 64 * 2 * 96
    assert dense["dense ffn down"].flops == 2 * 512 * 96 * 64
    assert dense["ffn all-reduce"].bytes == 65_536


def test_shared_experts_are_laid_out_like_attention(problems: Any) -> None:
    parts = Parts(problems.mla(), tp=2, dp=2, ep=4)
    shared = costs(parts.common.routed_layer(parts.machine.prefill))
    assert shared["shared experts up"].flops == 2 * 256 * 64 * 2 * 48
    # Their parts are added up over tp, whatever happens to routed tokens.
    assert costs([parts.common.gather(parts.machine.prefill)])["shared experts all-reduce"].bytes == 32_768


def test_ends_of_the_model_by_hand(problems: Any) -> None:
    # tp 4: lookup reads and writes 65,536 bytes; sums over the ranks' parts of the vocabulary; one row
    # of 1,000 logits a sequence, 250 on each rank.
    parts = Parts(problems.make(), tp=4, ep=4)
    embedding = embedding_terms(parts.attention, parts.machine.prefill)
    head = head_terms(parts.attention, parts.machine.prefill)
    assert costs(embedding)["embedding"].bytes == 131_072
    assert costs(embedding)["embedding all-reduce"].bytes == 98_304
    assert costs(head)["head"].flops == 2 * 8 * 64 * 250
    assert costs(head)["logits all-gather"].bytes == 0.75 * 8 * 1000 * 2


def test_tensor_sequence_parallelism_scatters_the_embedding(problems: Any) -> None:
    parts = Parts(problems.make(), tp=4, sp=4, sp_kind="tensor", ep=4)
    embedding = embedding_terms(parts.attention, parts.machine.prefill)
    assert costs(embedding)["embedding all-reduce"].bytes == 49_152


def test_head_of_context_parallel_ranks_shares_the_rows(problems: Any) -> None:
    # 3 sequences over 2 ranks: two on the fuller.
    parts = Parts(problems.make(), microbatch=3, sp=2, sp_kind="ring", ep=2)
    head = head_terms(parts.attention, parts.machine.decode)
    assert costs(head)["head"].flops == 2 * 2 * 64 * 1000


def test_model_without_a_vocabulary_has_no_ends(problems: Any) -> None:
    parts = Parts(problems.make(vocab_size=0))
    assert embedding_terms(parts.attention, parts.machine.prefill) == []
    assert head_terms(parts.attention, parts.machine.prefill) == []
