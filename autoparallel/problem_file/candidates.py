"""Refuses a list of candidates of which the model can use none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autoparallel.domain.layout import RING, TENSOR, ULYSSES
from autoparallel.domain.model import Model
from autoparallel.domain.search_space import SearchSpace
from autoparallel.problem_file.faults import Faults

# Divisors that a message lists before it says "...".
_SHOWN = 12


@dataclass(frozen=True)
class _Check:
    """A degree, what it has to split, and which values can."""

    degree: str
    reason: str
    usable: Callable[[int], bool]
    largest: int


def check_candidates(model: Model, space: SearchSpace, faults: Faults) -> None:
    """Note every degree whose listed candidates all break a rule of the model."""
    for check in _checks(model, space):
        candidates: tuple[int, ...] | None = getattr(space, check.degree)
        if not candidates or any(check.usable(value) for value in candidates):
            continue
        listed = " or ".join(f"{check.degree} = {value}" for value in candidates[:_SHOWN])
        usable = [value for value in range(1, check.largest + 1) if check.usable(value)]
        some = ", ".join(map(str, usable[:_SHOWN])) + (", ..." if len(usable) > _SHOWN else "")
        faults.add(("search", check.degree), f"{check.reason} cannot be split by {listed}; usable: {some}")


def _checks(model: Model, space: SearchSpace) -> Iterator[_Check]:
    heads, kv_heads = model.num_attention_heads, model.num_key_value_heads

    def fits_heads(ranks: int) -> bool:
        shares = kv_heads % ranks == 0 or ranks % kv_heads == 0
        return heads % ranks == 0 and (shares or model.is_mla)

    yield _Check("tp", f"{heads} attention heads ({kv_heads} KV heads)", fits_heads, heads)
    sp_limit, usable = _sequence_ranks(heads, space, fits_heads)
    yield _Check("sp", f"the sequence with sp_kind {' or '.join(space.sp_kind)}", usable, sp_limit)
    layers = model.num_hidden_layers
    if space.even_stages:
        yield _Check("pp", f"{layers} layers in even stages", lambda stages: layers % stages == 0, layers)
    else:
        yield _Check("pp", f"{layers} layers", lambda stages: stages <= layers, layers)
    slots = [model.routed_experts + redundant for redundant in space.redundant_experts]
    shown = " or ".join(map(str, slots[:_SHOWN]))
    noun = f"{shown} slots of routed experts" if any(space.redundant_experts) else f"{shown} routed experts"
    noun = noun if model.is_moe else "a dense model (one FFN)"
    yield _Check("ep", noun, lambda ranks: any(count % ranks == 0 for count in slots), max(slots))
    width = model.routed_width
    noun = "an expert's" if model.is_moe else "the FFN's"
    yield _Check("etp", f"{noun} width of {width}", lambda ranks: width % ranks == 0, min(width, 4096))


def _sequence_ranks(
    heads: int, space: SearchSpace, fits_heads: Callable[[int], bool]
) -> tuple[int, Callable[[int], bool]]:
    """Largest degree worth naming, and whether any allowed kind can use a degree."""

    def usable(ranks: int) -> bool:
        by_tensor = TENSOR in space.sp_kind and fits_heads(ranks) and (not space.tp or ranks in space.tp)
        by_ulysses = ULYSSES in space.sp_kind and any(
            math.gcd(tp * ranks, heads) == tp * ranks for tp in space.tp or (1,)
        )
        return ranks == 1 or RING in space.sp_kind or by_tensor or by_ulysses

    return heads, usable
