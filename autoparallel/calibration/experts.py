"""Expert blocks: the FFN of one rank's experts, its tokens spread by a stated distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from autoparallel.calibration.formats import COMPUTES_IN, FORMATS, sheet
from autoparallel.calibration.recipe import (
    Array,
    Change,
    Entry,
    OperatorClass,
    Parameter,
    Predict,
    Recipe,
    floats,
)
from autoparallel.domain.hardware import Hardware
from autoparallel.performance.operators import ExpertConstants, experts
from autoparallel.performance.operators.experts import TILE
from autoparallel.performance.routing import dealt_load, expected_imbalance, expected_touched

if TYPE_CHECKING:
    import pandas as pd

PARAMETERS = {
    "t0_s": Parameter(2e-5, 1e-6, 2e-4),
    "group_s": Parameter(2e-8, 1e-10, 1e-6, off_low=0.0),
    "compute_efficiency": Parameter(0.8, 0.05, 1.0),
    "memory_efficiency": Parameter(0.85, 0.03, 1.0),
    "activation_efficiency": Parameter(0.4, 0.01, 20.0),
    "scatter_efficiency": Parameter(4.0, 0.05, 100.0),
    "short_columns": Parameter(30.0, 0.01, 2000.0, off_low=0.0),
    "waves": Parameter(1.0, 0.01, 10.0, off_low=0.0),
}
# TensorRT-LLM's kernels for many tokens in these formats: time goes with the scores that are looked at and
# the pairs that are sorted, rather than with experts and bytes. Half a tile of tokens fills a wave. (nominal)
SORTED = frozenset({"bfloat16", "fp8", "nvfp4", "w4a16_mxfp4"})
SORTING = Change(
    traits={"wave_rows": TILE / 2.0},
    add={"select_s": Parameter(2e-9, 1e-11, 1e-7), "assignment_s": Parameter(5e-10, 1e-12, 1e-7)},
    drop=("group_s", "scatter_efficiency"),
)
# Nemotron's experts, (hidden size, width), are plain: two matrices instead of three. TensorRT-LLM's kernels
# say so by their name, vLLM's do not. (config.json of NVIDIA-Nemotron-3, hidden_act relu2)
PLAIN = frozenset({(2048, 5120), (8192, 5120), (2688, 1856), (1024, 2688), (4096, 2688)})


class Experts(OperatorClass):
    """Rows of the table moe; TensorRT-LLM's kernel for few tokens is an operator of its own."""

    table = "experts"
    constants = ExpertConstants
    shape = ("hidden_size", "inter_size", "topk", "num_experts")

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        kernel = rows["kernel"].astype(str)
        alpha = rows["distribution"].str.extract(r"power_law_([0-9.]+)")[0].astype(float).fillna(0.0)
        named = zip(rows["hidden_size"], rows["inter_size"], strict=True)
        plain = np.array([pair in PLAIN for pair in named]) | kernel.str.contains("nongated").to_numpy()
        quick = kernel.str.contains("min_latency")
        imbalance, touched = _loads(np.asarray(alpha, dtype=np.float64), rows)
        return rows.assign(
            operator=np.where(quick, "experts_min_latency", "experts"),
            format=rows["dtype"],
            matrices=np.where(plain, 2.0, 3.0),
            imbalance=imbalance,
            touched=touched,
            spread=(alpha > 0).astype(float),
        )

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        recipe, library = Recipe(PARAMETERS, {"overlap": "hypot"}), rows["backend"].iloc[0]
        sorts = entry.operator == "experts" and entry.format in SORTED and library == "trtllm"
        return recipe.changed(SORTING) if sorts else recipe

    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        form = FORMATS[entry.format]
        gpu = sheet(hardware, form.compute)
        tokens, hidden, width, count, topk, etp, ep = floats(
            rows,
            "num_tokens",
            "hidden_size",
            "inter_size",
            "num_experts",
            "topk",
            "moe_tp_size",
            "moe_ep_size",
        )
        imbalance, touched, spread, matrices = floats(rows, "imbalance", "touched", "spread", "matrices")

        def predict(constants: ExpertConstants) -> Array:
            cost = experts(
                tokens,
                hidden_size=hidden,
                moe_intermediate_size=width,
                num_experts=count,
                num_experts_per_tok=topk,
                etp=etp,
                ep=ep,
                imbalance=imbalance,
                gpu=gpu,
                constants=constants,
                weight_bytes=form.weight_bytes,
                activation_bytes=form.activation_bytes,
                ffn_matrices=matrices,
                touched=touched,
                load_spread=spread,
            )
            return cost.time_s  # type: ignore[return-value]  # an array, since tokens are

        return predict

    def stated(self, entry: Entry) -> Mapping[str, Any]:
        named = COMPUTES_IN.get(entry.format)
        return {"computes_in": named} if named else {}


def _loads(alpha: Array, rows: pd.DataFrame) -> tuple[Array, Array]:
    """Imbalance and touched experts of the rank that was timed."""
    count, topk, ep, tokens = floats(rows, "num_experts", "topk", "moe_ep_size", "num_tokens")
    shape = {"num_experts": count, "num_experts_per_tok": topk, "ep": ep, "tokens": tokens}
    dealt, dealt_touched = dealt_load(**shape)
    skewed = alpha > 0
    imbalance = np.where(skewed, expected_imbalance(alpha, **shape), dealt)
    return imbalance, np.where(skewed, expected_touched(alpha, **shape), dealt_touched)
