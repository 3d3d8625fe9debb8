"""A model as people look at it: runs of equal layers, parameters by part, bytes by module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.model import LINEAR, SPARSE, Model
from autoparallel.performance.architecture import layer_counts, parameters_by_part
from autoparallel.performance.attention_weights import attention_projections

COUNTING_RULE = (
    "parameters are all weights of the language model: biases, norms, the embedding and an untied head "
    "included, layers for multi-token prediction and vision parts not. Active are those that a token is "
    "multiplied with: in a dense model all; in one with experts all but the experts that the token is not "
    "sent to and the embedding, of which it looks up one row. The head counts."
)


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """Successive layers that are equal, from ``first`` to ``last``, counted from 0.

    ``window`` is what they see of the context, 0 for all of it [tokens]; ``parameters`` and
    ``active_parameters`` are those of one layer [1].
    """

    first: int
    last: int
    attention: str
    window: int
    ffn: str
    parameters: int
    active_parameters: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """Weights of one kind in the whole model, and their format. [1]"""

    name: str
    parameters: int
    dtype: str

    @property
    def bytes(self) -> float:
        """Memory that they take, block scales included. [bytes]"""
        return self.parameters * DTYPES[self.dtype].bytes


def layer_runs(model: Model) -> tuple[LayerRun, ...]:
    """Group successive equal layers."""
    kinds = zip(model.layer_types, model.mlp_layer_types, strict=True)
    runs, first = [], 0
    for (attention, ffn), group in groupby(kinds):
        last = first + sum(1 for _ in group) - 1
        runs.append(_run(model, first, last, (attention, ffn)))
        first = last + 1
    return tuple(runs)


def _run(model: Model, first: int, last: int, kinds: tuple[str, str]) -> LayerRun:
    part, (attention, ffn) = parameters_by_part(model), kinds
    always = attention_projections(model, attention) + part.norms
    # An indexer that only some layers have is told with the parts.
    if model.indexer_layers == model.num_hidden_layers:
        always += part.indexer
    chosen: float = part.dense_ffn
    total = part.dense_ffn
    if ffn == SPARSE:
        total = part.router + part.shared_experts + part.experts
        share = model.num_experts_per_tok / model.num_experts
        chosen = part.router + part.shared_experts + part.experts * share
    window = model.window_of(attention)
    return LayerRun(
        first=first,
        last=last,
        attention=_attention_words(model, attention),
        window=int(window) if window < float("inf") else 0,
        ffn=_ffn_words(model, ffn),
        parameters=always + total,
        active_parameters=always + chosen,
    )


def _attention_words(model: Model, kind: str) -> str:
    words = kind.replace("_", " ")
    if kind == LINEAR or not model.is_mla:
        return words
    return f"{words}, latent" + (f", indexer of {model.index_topk} tokens" if model.indexer_layers else "")


def _ffn_words(model: Model, kind: str) -> str:
    if kind != SPARSE:
        return f"dense, {model.intermediate_size} wide"
    shared = model.shared_expert_intermediate_size
    beside = f", shared {shared} wide" if shared else ""
    experts = f"{model.num_experts_per_tok} of {model.num_experts} experts"
    return f"{experts}, {model.moe_intermediate_size} wide{beside}"


def parts(model: Model) -> tuple[Part, ...]:
    """All weights of the model by part; their sum is its parameters."""
    return tuple(part for part in _parts(model) if part.parameters)


def _parts(model: Model) -> Iterator[Part]:
    part, layers = parameters_by_part(model), layer_counts(model)
    small, vocabulary = model.activation_dtype, model.embedding_dtype
    attention = sum(n * attention_projections(model, kind) for kind, n in layers.attention.items())
    dense = layers.dense if model.is_moe else layers.routed
    routed = layers.routed if model.is_moe else 0
    norms = model.num_hidden_layers * part.norms + part.final_norm
    yield Part(name="embedding", parameters=part.embedding, dtype=vocabulary)
    yield Part(name="attention", parameters=attention, dtype=model.attention_weights_dtype)
    yield Part(
        name="indexer", parameters=model.indexer_layers * part.indexer, dtype=model.attention_weights_dtype
    )
    yield Part(name="dense_ffn", parameters=dense * part.dense_ffn, dtype=model.weights_dtype)
    yield Part(name="router", parameters=routed * part.router, dtype=small)
    yield Part(name="shared_experts", parameters=routed * part.shared_experts, dtype=model.weights_dtype)
    yield Part(name="experts", parameters=routed * part.experts, dtype=model.expert_weights_dtype)
    yield Part(name="norms", parameters=norms, dtype=small)
    yield Part(name="head", parameters=part.head, dtype=vocabulary)
