"""Decode attention, and that of multi-head latent attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autoparallel.calibration.formats import sheet
from autoparallel.calibration.prefill import value_bytes
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
from autoparallel.performance.operators import DecodeAttentionConstants, decode_attention, mla_decode

if TYPE_CHECKING:
    import pandas as pd

BASE = {
    "t0_s": Parameter(1e-5, 1e-6, 1e-4),
    "doubling_s": Parameter(5e-7, 1e-9, 1e-4, off_low=0.0),
    "unit_s": Parameter(3e-6, 1e-8, 1e-4),
    "query_head_s": Parameter(5e-8, 1e-10, 1e-5, off_low=0.0),
    "memory_efficiency": Parameter(0.9, 0.05, 1.0),
}
L2_HIT = {"l2_hit_cost": Parameter(0.5, 0.05, 1.2)}
WINDOW = {"window_extra_keys": Parameter(100.0, 1.0, 1000.0)}
FALLBACK = {
    "fallback_unit_s": Parameter(1.5e-6, 1e-8, 1e-4),
    "fallback_efficiency": Parameter(1.5, 0.05, 20.0),
}
SLOW = {"slow_start_s": Parameter(2e-6, 1e-8, 1e-4)}
SPLIT = {"split_s": Parameter(1e-5, 1e-8, 1e-4)}
MLA = {
    "compute_efficiency": Parameter(0.8, 0.05, 1.2),
    "min_heads": Parameter(16.0, 1.0, 128.0),
    "walk_s_per_token": Parameter(1e-10, 1e-12, 1e-6, off_low=0.0),
}
# TensorRT-LLM's grouped kernels take up to 32 query heads per KV head, and not one alone.
GROUPED = {"max_group": 32.0, "fallback_ungrouped": True}
# With an fp8 cache on Hopper heads of 64 and those that are alone have kernels of their own.
APART = {"slow_start_dim": 64, "fallback_reads_all": True}
# DeepSeek's latent and its position part. (config.json of DeepSeek-V3)
KV_LORA_RANK, QK_ROPE_HEAD_DIM = 512.0, 64.0


class Decode(OperatorClass):
    """Rows of the table generation_attention."""

    table = "decode_attention"
    constants = DecodeAttentionConstants
    shape: tuple[str, ...] = ("heads", "kv_heads", "head_dim", "window_size")

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(operator=self.table, format=rows["dtype"] + "/" + rows["kv_dtype"])

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        windowed = WINDOW if (rows["window_size"] > 0).any() else {}
        return Recipe({**BASE, **L2_HIT, **windowed}, _traits(hardware))

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        drop = ("window_extra_keys",)
        whole = {"window_shortens_walk": False}
        split = {**FALLBACK, **SPLIT}
        dropped = ("window_extra_keys", "l2_hit_cost")
        late = {**GROUPED, **APART}
        kernels = (
            Change(GROUPED, FALLBACK, drop),
            Change({**GROUPED, **whole}, FALLBACK, drop),
            Change(GROUPED, split, dropped),
            Change({**GROUPED, **whole}, split, dropped),
            Change({"fallback_windowed": True}, FALLBACK, drop),
            Change(late, {**FALLBACK, **SLOW}, dropped),
        )
        return (kernels,)

    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        gpu = sheet(hardware, "fp8" if entry.format.startswith("fp8") else "bfloat16")
        batch, context, heads, kv_heads = floats(rows, "batch", "kv_len", "heads", "kv_heads")
        head_dim, window = floats(rows, "head_dim", "window_size")
        cache = value_bytes(rows["kv_dtype"])

        def predict(constants: DecodeAttentionConstants) -> Array:
            cost = decode_attention(
                batch,
                context,
                heads=heads,
                kv_heads=kv_heads,
                head_dim=head_dim,
                window=np.where(window > 0, window, np.inf),
                gpu=gpu,
                constants=constants,
                activation_bytes=2.0,
                kv_bytes=cache,
            )
            return cost.time_s  # type: ignore[return-value]  # an array, since batch is

        return predict


class MlaDecode(Decode):
    """Rows of the table generation_mla: the attention core alone, in its absorbed form."""

    table = "decode_mla"
    shape = ("heads",)

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        return Recipe({**BASE, **MLA}, _traits(hardware))

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        return ()

    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        gpu = sheet(hardware, "fp8" if entry.format.startswith("fp8") else "bfloat16")
        batch, context, heads = floats(rows, "batch", "kv_len", "heads")
        cache = value_bytes(rows["kv_dtype"])

        def predict(constants: DecodeAttentionConstants) -> Array:
            cost = mla_decode(
                batch,
                context,
                heads=heads,
                kv_lora_rank=KV_LORA_RANK,
                qk_rope_head_dim=QK_ROPE_HEAD_DIM,
                gpu=gpu,
                constants=constants,
                activation_bytes=2.0,
                kv_bytes=cache,
            )
            return cost.time_s  # type: ignore[return-value]  # an array, since batch is

        return predict


def _traits(hardware: Hardware) -> dict[str, object]:
    """The benchmark repeats itself: what fits the cache is found there."""
    return {"overlap": "hypot", "l2_bytes": hardware.l2_cache_mb * 1e6}
