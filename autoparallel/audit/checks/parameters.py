"""Parameters of the model and of a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from autoparallel.audit.case import Case
from autoparallel.audit.checks.base import Check, Computed, Quantity, limit, origin, value
from autoparallel.audit.wording import figure, gigabytes
from autoparallel.audit.written import Claim
from autoparallel.domain.dtypes import DTYPES
from autoparallel.performance.architecture import active_parameters, derived_parameters, parameters_by_part

_PART_OF = {"expert_parameters_per_gpu": "parameters_per_gpu", "parameters_per_gpu": "parameters"}


class ParametersCheck(Check):
    """Counts of weights, matrix by matrix."""

    quantities: ClassVar[Mapping[str, Quantity]] = {
        "parameters": Quantity("parameters", "parameters of the model"),
        "active_parameters": Quantity("parameters", "parameters that one token uses"),
        "parameters_per_gpu": Quantity("parameters", "parameters on the fullest GPU"),
        "expert_parameters_per_gpu": Quantity("parameters", "routed experts' parameters on the fullest GPU"),
    }

    def computed(self, claim: Claim, case: Case) -> Iterator[Computed]:
        if claim.quantity == "parameters":
            yield from _whole_model(case)
        elif claim.quantity == "active_parameters":
            model = case.problem.model
            formula = (
                f"all but the experts that a token is not sent to, "
                f"{model.routed_experts - model.routed_experts_per_tok} of {model.routed_experts} a layer"
            )
            yield value("", active_parameters(model), formula)
        else:
            yield from _per_gpu(claim, case)


def _whole_model(case: Case) -> Iterator[Computed]:
    model = case.problem.model
    headless = replace(model, vocab_size=0)
    yield value("counted with embedding and head", derived_parameters(model), _formula(case))
    layers = derived_parameters(headless)
    formula = f"{model.num_hidden_layers} layers = {figure(layers)}"
    yield origin("counted in the layers alone", layers, formula)
    if model.ffn_matrices > 2:
        plain = derived_parameters(replace(headless, ffn_matrices=2))
        yield origin("counted in the layers with two matrices an expert", plain, f"together {figure(plain)}")


def _formula(case: Case) -> str:
    """The count of a model whose layers are all alike; a sum of parts otherwise."""
    model, part = case.problem.model, parameters_by_part(case.problem.model)
    total = derived_parameters(model)
    experts = (
        f"{model.num_experts} experts x {model.ffn_matrices} matrices x {model.hidden_size} x "
        f"{model.moe_intermediate_size} = {figure(part.experts)} a layer"
        if model.is_moe
        else f"FFN {figure(part.dense_ffn)} a layer"
    )
    return (
        f"{model.num_hidden_layers} layers: attention {figure(part.attention)}, {experts}; "
        f"embedding {figure(part.embedding)}, head {figure(part.head)}; together {figure(total)}"
    )


def _per_gpu(claim: Claim, case: Case) -> Iterator[Computed]:
    model, layout = case.problem.model, case.layout
    only_experts = claim.quantity == "expert_parameters_per_gpu"
    bases = [(f"with the {model.parameter_basis} count", case)]
    if model.parameter_basis == "declared":
        bases.append(("with the count of the architecture", case.with_derived_parameters()))
    for words, basis in bases:
        memory = basis.plan.memory
        held = _count(memory.expert_weights_bytes, _expert_dtype(case))
        formula = f"{gigabytes(memory.expert_weights_bytes)} of experts at {_bytes(_expert_dtype(case))} B"
        if not only_experts:
            held += _count(memory.weights_bytes, model.weights_dtype)
            formula += f" + {gigabytes(memory.weights_bytes)} of others at {_bytes(model.weights_dtype)} B"
        split = f"split by ep {layout.ep} x etp {layout.etp} x pp {layout.pp}"
        yield value(words, held, f"{formula} = {figure(held)}, {split}")
    if model.declared_parameters and layout.pp > 1 and not only_experts:
        ways = layout.ep * layout.etp
        number = model.declared_parameters / ways
        formula = (
            f"{figure(model.declared_parameters)} / (ep {layout.ep} x etp {layout.etp}) = {figure(number)}"
        )
        right = model.declared_parameters / (ways * layout.pp)
        formula += f"; with pp {layout.pp} it is {figure(right)}"
        yield origin(f"what is left without dividing by pp {layout.pp}", number, formula)
    whole = case.stated(_PART_OF[claim.quantity])
    if whole:
        formula = f"a part is at most the {figure(whole.high)} that are stated of the whole"
        yield limit("a part larger than its whole", whole.high, formula, rests_on=_PART_OF[claim.quantity])


def _expert_dtype(case: Case) -> str:
    return case.problem.model.expert_weights_dtype


def _bytes(dtype: str) -> str:
    return figure(DTYPES[dtype].bytes)


def _count(size_bytes: float, dtype: str) -> float:
    return size_bytes / DTYPES[dtype].bytes


CHECK = ParametersCheck()
