"""Times of single operators, one file a class, each a function of the operator's shape."""

from autoparallel.performance.operators.attention import (
    AttentionConstants,
    decode_attention,
    mla_decode,
    prefill_attention,
)
from autoparallel.performance.operators.cost import OperatorCost, bound_of
from autoparallel.performance.operators.elementwise import ElementwiseConstants, elementwise
from autoparallel.performance.operators.experts import ExpertConstants, experts, touched_experts
from autoparallel.performance.operators.gemm import GemmConstants, gemm

__all__ = [
    "AttentionConstants",
    "ElementwiseConstants",
    "ExpertConstants",
    "GemmConstants",
    "OperatorCost",
    "bound_of",
    "decode_attention",
    "elementwise",
    "experts",
    "gemm",
    "mla_decode",
    "prefill_attention",
    "touched_experts",
]
