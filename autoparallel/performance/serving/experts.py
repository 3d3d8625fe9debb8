r"""The routed experts on real tokens, whose loads differ from expert to expert.

With loads that follow a gamma distribution of shape :math:`c` and mean :math:`\lambda = n k / E` tokens,
the chance that an expert has a token at all is :math:`1 - (1 + \lambda/c)^{-c}`; even routing is the
limit :math:`c \to \infty`. The fullest of ``ep`` ranks of :math:`E_r` experts is
:math:`z_{ep} / \sqrt{c E_r}` above the mean, :math:`z` the expected largest of ``ep`` normal variables.
"""

from __future__ import annotations

import numpy as np

from autoparallel.performance.ffn_part import ExpertPart
from autoparallel.performance.machine import Phase
from autoparallel.performance.operators import OperatorCost
from autoparallel.performance.operators.cost import Quantity

# Expected largest of 1, 2, 4, ... 64 normal variables (H. L. Harter, Biometrika 48, 1961, table 1).
_LARGEST = (0.0, 0.564, 1.029, 1.424, 1.766, 2.070, 2.344)


def touched_share(load: Quantity, shape: float) -> Quantity:
    """Share of the experts that have a token, at a mean load of ``load`` tokens an expert. [1]"""
    if np.isinf(shape):
        return 1.0 - np.exp(-load)
    return 1.0 - (1.0 + load / shape) ** -shape


def rank_imbalance(ep: Quantity, experts_per_rank: Quantity, shape: float) -> Quantity:
    """Load of the fullest of ``ep`` ranks over the mean, with many tokens. [1]"""
    largest = np.interp(np.log2(np.maximum(ep, 1.0)), np.arange(len(_LARGEST)), _LARGEST)
    return 1.0 + largest / np.sqrt(shape * experts_per_rank)


def expert_cost(part: ExpertPart, tokens: Phase, shape: float) -> OperatorCost:
    """Cost of one layer's experts on the tokens of a step; the FFN of a dense model is two products."""
    model, d = part.machine.model, part.degrees
    group = part.group_tokens(tokens)
    if not model.is_moe:
        up, down = part.dense_ffn(group)
        return OperatorCost(*(a + b for a, b in zip(up, down, strict=True)))
    if part.groups.balance is not None:
        return part.slowest(group)
    ranks = model.num_experts / d.ep
    load = group * (model.num_experts_per_tok / model.num_experts)
    typical = rank_imbalance(d.ep, ranks, shape)
    imbalance = np.maximum(typical, part.imbalance)
    # The engines' constants were fitted with what the mean rank reads; what a rank has beyond their
    # typical skew it reads as well.
    touched = touched_share(load * (imbalance / typical), shape) * ranks
    # With less than a token an expert the fullest rank is hardly fuller than the others.
    imbalance = 1.0 + (imbalance - 1.0) * np.minimum(load, 1.0)
    return part.of_rank(group, imbalance, touched)
