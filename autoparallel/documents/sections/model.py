"""Model Analysis: what is served, counted matrix by matrix."""

from __future__ import annotations

from autoparallel.documents.blocks import Block, Facts, Paragraph, Section, Table
from autoparallel.documents.phrases import data, flops, listed
from autoparallel.documents.subject import Subject
from autoparallel.domain.model import Model
from autoparallel.domain.problem import Problem
from autoparallel.performance.architecture import (
    active_parameters,
    derived_parameters,
    expert_scale,
    flops_per_token,
    kv_bytes_per_token,
    kv_cache_bytes,
    layer_counts,
    parameters_by_part,
)
from autoparallel.performance.attention_weights import attention_projections
from autoparallel.report.wording import count, number, percent


def section(subject: Subject) -> Section:
    """The architecture, its parameters, and what a token costs."""
    problem, model = subject.problem, subject.problem.model
    facts = [
        ("Model", model.name),
        ("Architecture", _architecture(model)),
        ("Attention", _attention(model)),
        *([("Experts", _experts(model))] if model.is_moe else []),
        ("Precision", _precision(model)),
        ("Parameters", _parameters(model)),
        ("Parameters a token uses", _billions(active_parameters(model, scale=expert_scale(model)))),
    ]
    blocks: list[Block] = [Facts(rows=tuple(facts))]
    if sentence := _declared(model):
        blocks.append(Paragraph(text=sentence))
    blocks += [_parts(model), Paragraph(text=_costs(problem))]
    return Section(title="Model Analysis", blocks=tuple(blocks))


def _billions(parameters: float) -> str:
    return f"{number(parameters / 1e9)} billion"


def _parameters(model: Model) -> str:
    counted = f"{_billions(derived_parameters(model))} counted from the architecture"
    if expert_scale(model) == 1.0 or model.declared_parameters is None:
        return counted
    return f"{_billions(model.declared_parameters)} declared, which all estimates use; {counted}"


def _architecture(model: Model) -> str:
    layers = layer_counts(model)
    kinds = []
    if model.is_moe:
        kinds.append(f"{count(layers.routed, 'layer')} of attention and routed experts")
        if layers.dense:
            kinds.append(f"{count(layers.dense, 'layer')} of attention and a dense FFN")
    else:
        kinds.append(
            f"{count(layers.routed, 'layer')} of attention and a dense FFN of {model.intermediate_size:,}"
        )
    vocabulary = f", vocabulary of {model.vocab_size:,}" if model.vocab_size else ""
    return f"{listed(kinds)}, hidden size {model.hidden_size:,}{vocabulary}"


def _attention(model: Model) -> str:
    heads = f"{count(model.num_attention_heads, 'head')} of {model.head_dim}"
    if model.is_mla:
        return f"{heads}, a latent KV cache of {model.kv_lora_rank + model.qk_rope_head_dim} values a token"
    if model.num_key_value_heads == model.num_attention_heads:
        return f"{heads}, keys and values for each"
    return f"{heads}, {count(model.num_key_value_heads, 'head')} of keys and values"


def _experts(model: Model) -> str:
    shared = model.shared_expert_intermediate_size
    return (
        f"{count(model.num_experts, 'routed expert')} of {model.moe_intermediate_size:,} in a layer, "
        f"a token uses {model.num_experts_per_tok}, {model.ffn_matrices} matrices each"
        + (f"; shared experts of {shared:,} together" if shared else "")
    )


def _precision(model: Model) -> str:
    experts = f", experts {model.expert_weights_dtype}" if model.is_moe else ""
    rest = f"KV cache {model.kv_cache_dtype}, activations {model.activation_dtype}"
    return f"weights {model.weights_dtype}{experts}, {rest}"


def _declared(model: Model) -> str:
    """What a declared count does, where it is not the architecture's."""
    declared, derived = model.declared_parameters, derived_parameters(model)
    if declared is None:
        return ""
    factor = max(declared / derived, derived / declared)
    apart = f"{_billions(declared)} parameters are declared, {number(factor)} times apart from the count."
    if model.parameter_basis != "declared":
        return f"{apart} The count is used."
    what = "experts" if model.is_moe else "FFN"
    return (
        f"{apart} The declared number is used: weight bytes and FLOPs of the {what} are scaled by "
        f"{number(expert_scale(model))}, activations keep the widths of the architecture."
    )


def _parts(model: Model) -> Table:
    """Parameters by part of the model: counted and, where the declared number is used, scaled to it."""
    part, layers = parameters_by_part(model), layer_counts(model)
    attention = sum(n * attention_projections(model, kind) for kind, n in layers.attention.items())
    routed = "Routed experts" if model.is_moe else "FFN"
    scale = expert_scale(model)
    rows = [
        ("Attention", attention + model.indexer_layers * part.indexer, 1.0),
        (routed, layers.routed * (part.experts if model.is_moe else part.dense_ffn), scale),
        ("Dense FFN", layers.dense * part.dense_ffn if model.is_moe else 0, 1.0),
        ("Router and shared experts", layers.routed * (part.router + part.shared_experts), 1.0),
        ("Norms", model.num_hidden_layers * part.norms + part.final_norm, 1.0),
        ("Embedding and head", part.embedding + part.head, 1.0),
    ]
    counted, used = sum(size for _, size, _ in rows), sum(size * scaled for _, size, scaled in rows)

    def cells(label: str, size: float, taken: float) -> tuple[str, ...]:
        both = (size, taken) if scale != 1.0 else (size,)
        return (label, *(number(one / 1e6, 4) for one in both), percent(taken / used))

    heads = ("Counted, millions", "Declared basis, millions") if scale != 1.0 else ("Millions of parameters",)
    parts = [cells(label, size, size * scaled) for label, size, scaled in rows if size]
    return Table(columns=("Part", *heads, "Share"), rows=(*parts, cells("Total", counted, used)))


def _costs(problem: Problem) -> str:
    model, lengths = problem.model, problem.workload
    isl, longest = lengths.prompt_tokens.mean, lengths.prompt_tokens.max + lengths.output_tokens.max
    return (
        f"A token of a prompt of mean length ({isl:,.0f}) costs {flops(flops_per_token(model, isl))}. "
        f"It leaves {data(kv_bytes_per_token(model))} of KV cache over all layers; a sequence of the longest "
        f"length, {longest:,} tokens, holds {data(kv_cache_bytes(model, longest))}."
    )
