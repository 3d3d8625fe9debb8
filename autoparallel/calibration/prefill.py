"""Prefill attention, and that of multi-head latent attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autoparallel.calibration.formats import sheet
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
from autoparallel.performance.operators import PrefillAttentionConstants, prefill_attention

if TYPE_CHECKING:
    import pandas as pd

PARAMETERS = {
    "t0_s": Parameter(11e-6, 1e-6, 1e-4),
    "compute_efficiency": Parameter(0.75, 0.1, 2.0),
    "memory_efficiency": Parameter(0.5, 0.05, 1.0),
    "tile_rows": Parameter(90.0, 8.0, 512.0),
    "softmax_dim": Parameter(90.0, 1.0, 400.0),
    "row_s": Parameter(2e-8, 1e-10, 1e-6),
    "kv_row_s": Parameter(4e-8, 1e-10, 1e-6, off_low=0.0),
}
WINDOW = {"window_extra_keys": Parameter(150.0, 1.0, 2000.0)}
SLOW = {"slow_factor": Parameter(3.0, 1.0, 60.0)}
TRAITS = {"overlap": "sum", "tail": "sum"}
# Head dimensions that some kernels run in a generic way.
RARE_HEAD_DIMS = ((64, 256), (192,), (512,))
# DeepSeek's heads: 128 dimensions without position and 64 with, values of 128. (config.json of DeepSeek-V3)
MLA_HEAD_DIM, MLA_V_HEAD_DIM = 192.0, 128.0


def value_bytes(formats: pd.Series) -> Array:
    """Bytes per value of formats of the tables. [bytes]"""
    return np.where(formats == "fp8", 1.0, 2.0)


class Prefill(OperatorClass):
    """Rows of the table context_attention."""

    table = "prefill_attention"
    constants = PrefillAttentionConstants
    shape: tuple[str, ...] = ("heads", "kv_heads", "head_dim", "window_size")

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        dims = {} if "v_head_dim" in rows else {"v_head_dim": rows["head_dim"]}
        return rows.assign(**dims, operator=self.table, format=rows["dtype"] + "/" + rows["kv_dtype"])

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        windowed = WINDOW if (rows["window_size"] > 0).any() else {}
        return Recipe({**PARAMETERS, **windowed}, TRAITS)

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        dims = set(rows["head_dim"].unique())
        rare = [group for group in RARE_HEAD_DIMS if dims > set(group)]
        return (
            (Change({"pack_query_heads": True}), Change({"decode_path_tokens": 1})),
            (Change({"tail": "hypot"}), Change({"overlap": "hypot"}), Change({"overlap": "max"})),
            (Change({"tail": "hypot"}), Change({"overlap": "hypot"}), Change({"overlap": "max"})),
            [
                Change({"slow_head_dims": group}, SLOW, drop=(left_out,))
                for group in rare
                for left_out in ("kv_row_s", "window_extra_keys")
            ],
        )

    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        gpu = sheet(hardware, "fp8" if entry.format.startswith("fp8") else "bfloat16")
        batch, seq, past, heads, kv_heads = floats(rows, "batch", "seq", "past_kv", "heads", "kv_heads")
        head_dim, v_head_dim = floats(rows, "head_dim", "v_head_dim")
        (window,) = floats(rows, "window_size")
        activation, cache = value_bytes(rows["dtype"]), value_bytes(rows["kv_dtype"])

        def predict(constants: PrefillAttentionConstants) -> Array:
            cost = prefill_attention(
                batch,
                seq,
                heads=heads,
                kv_heads=kv_heads,
                head_dim=head_dim,
                v_head_dim=v_head_dim,
                window=np.where(window > 0, window, np.inf),
                past_kv=past,
                gpu=gpu,
                constants=constants,
                activation_bytes=activation,
                kv_bytes=cache,
            )
            return cost.time_s  # type: ignore[return-value]  # an array, since batch is

        return predict


class MlaPrefill(Prefill):
    """Rows of the table context_mla: the attention core alone, without the projections around it."""

    table = "prefill_mla"
    shape = ("heads",)

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        dims = {"head_dim": MLA_HEAD_DIM, "v_head_dim": MLA_V_HEAD_DIM, "window_size": 0.0}
        return super().prepared(rows.assign(kv_heads=rows["heads"], **dims))

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        return Recipe(PARAMETERS, TRAITS)

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        ends = (Change({"tail": "hypot"}), Change({"overlap": "hypot"}), Change({"overlap": "max"}))
        return (ends, ends)
