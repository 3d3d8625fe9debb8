"""The FFN of the routed experts on one GPU; a dense FFN is one expert that every token uses."""

from __future__ import annotations

import math

import numpy as np

from autoparallel.performance.operators.cost import Gpu, OperatorCost, Quantity, Roofline, roofline

ExpertConstants = Roofline


def touched_experts(
    tokens: Quantity, *, num_experts: int, num_experts_per_tok: int, ep: Quantity
) -> Quantity:
    """Experts of one rank that at least one of ``tokens`` uses: ``E / ep (1 - (1 - k/E)^tokens)``.

    Expected value for tokens that choose ``k`` of ``E`` experts evenly and independently.
    """
    if num_experts_per_tok >= num_experts:
        return num_experts / ep
    missed = np.exp(tokens * math.log1p(-num_experts_per_tok / num_experts))
    return (num_experts / ep) * (1.0 - missed)


def experts(
    tokens: Quantity,
    *,
    hidden_size: int,
    moe_intermediate_size: int,
    num_experts: int,
    num_experts_per_tok: int,
    etp: Quantity,
    ep: Quantity,
    imbalance: Quantity,
    gpu: Gpu,
    constants: ExpertConstants,
    weight_bytes: float,
    activation_bytes: float,
    ffn_matrices: int = 3,
    weight_scale: float = 1.0,
) -> OperatorCost:
    """Cost of the routed experts of the fullest rank.

    Parameters
    ----------
    tokens : array_like
        Tokens of the expert group, all its ranks together. [tokens]
    etp, ep : array_like
        Tensor parallel ranks of an expert, expert parallel ranks. [1]
    imbalance : array_like
        Load of the fullest rank over the mean. [1]
    weight_scale : float
        Factor on weight bytes and FLOPs (a declared parameter count). [1]

    Notes
    -----
    A rank computes ``tokens k / ep * imbalance`` token-expert pairs and reads the weights of the
    experts that the group's tokens touch, no more.
    """
    width = moe_intermediate_size / etp
    pairs = tokens * (num_experts_per_tok * imbalance) / ep
    matrix = width * (ffn_matrices * hidden_size)
    touched = touched_experts(tokens, num_experts=num_experts, num_experts_per_tok=num_experts_per_tok, ep=ep)
    flops = (2.0 * weight_scale) * pairs * matrix
    activations = (2 * hidden_size + ffn_matrices * width) * activation_bytes
    moved = touched * matrix * (weight_bytes * weight_scale) + pairs * activations
    return roofline(flops, moved, gpu, constants)
