"""Times of single operators, one file a class, each a function of the operator's shape."""

from autoparallel.performance.operators.cost import Gpu, OperatorCost, bound_of
from autoparallel.performance.operators.decode_attention import (
    DecodeAttentionConstants,
    decode_attention,
    mla_decode,
)
from autoparallel.performance.operators.elementwise import ElementwiseConstants, elementwise
from autoparallel.performance.operators.experts import ExpertConstants, experts, touched_experts
from autoparallel.performance.operators.gemm import GemmConstants, gemm
from autoparallel.performance.operators.prefill_attention import (
    PrefillAttentionConstants,
    keys_per_query,
    prefill_attention,
)

__all__ = [
    "DecodeAttentionConstants",
    "ElementwiseConstants",
    "ExpertConstants",
    "GemmConstants",
    "Gpu",
    "OperatorCost",
    "PrefillAttentionConstants",
    "bound_of",
    "decode_attention",
    "elementwise",
    "experts",
    "gemm",
    "keys_per_query",
    "mla_decode",
    "prefill_attention",
    "touched_experts",
]
