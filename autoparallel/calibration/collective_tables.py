"""Collectives of one node: NCCL's, and the engines' own all-reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

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
from autoparallel.performance.collectives import ALL_REDUCE, ALL_TO_ALL, CollectiveConstants, Tier
from autoparallel.performance.links import Fabric

if TYPE_CHECKING:
    import pandas as pd

PARAMETERS = {
    "t0_s": Parameter(4e-6, 1e-7, 1e-4),
    "step_s": Parameter(1e-6, 1e-8, 2e-5),
    "efficiency": Parameter(0.75, 0.02, 1.3),
    "own_share": Parameter(0.3, 0.01, 3.0),
    "chunk_s": Parameter(1e-6, 1e-9, 1e-3),
}
FAST = {"fast_efficiency": Parameter(0.3, 0.005, 1.3), "start_s": Parameter(1e-5, 1e-7, 1e-3)}
CONTENTION = {"contention": Parameter(1.0, 0.05, 4.0)}
SWITCH = {"switch_efficiency": Parameter(0.6, 0.05, 1.5)}
FLOOR = {"floor_s": Parameter(2e-5, 1e-6, 1e-4)}
EAGER = "all_reduce_engine_eager"
NAMES = {"alltoall": ALL_TO_ALL, "all_to_all": ALL_TO_ALL}
SIXTEEN_BITS = ("half", "bfloat16", "float16")
# Links up to this speed are PCIe, where ranks share their path. [GB/s one way]
PCIE_GB_PER_S = 64.0


class Nccl(OperatorClass):
    """Rows of the table nccl; ``message_bytes`` is the whole tensor, as nccl-tests count it."""

    table = "collectives"
    constants = CollectiveConstants
    shape = ("message_bytes",)
    starts = 4

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        form = rows["dtype"].where(~rows["dtype"].isin(SIXTEEN_BITS), "half")
        return rows.assign(operator=rows["op"].replace(NAMES), format=form)

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        recipe = Recipe(PARAMETERS)
        if entry.operator == ALL_TO_ALL:
            recipe = recipe.changed(Change({"step_s": 0.0}, FAST, ("chunk_s", "step_s")))
        return _by_wire(recipe, hardware)

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        switched = entry.operator == ALL_REDUCE and hardware.scale_up.bandwidth_gb_per_s > PCIE_GB_PER_S
        return ((Change(add=SWITCH),),) if switched else ()

    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        kind = (
            entry.operator if entry.operator in (ALL_TO_ALL, "all_gather", "reduce_scatter") else ALL_REDUCE
        )
        fabric = Fabric.of(hardware.scale_up, hardware.scale_out, hardware.gpus_per_node)
        message, ranks = floats(rows, "message_bytes", "n_gpus")

        def predict(constants: CollectiveConstants) -> Array:
            tier = Tier(kind, ranks, fabric.up, constants)
            transfer_s = tier.transfer_s(message)
            return np.asarray(transfer_s + tier.wait_s(transfer_s))

        return predict


class EngineAllReduce(Nccl):
    """Rows of the table all_reduce_custom: one-shot and two-shot kernels of an engine.

    A kernel that the host launches anew each time is an operator of its own: engines replay graphs in
    decode.
    """

    table = "all_reduce_engine"

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        eager = rows["kernel"].astype(str).str.contains("eager")
        return rows.assign(operator=np.where(eager, EAGER, self.table), format="half")

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        recipe = Recipe(PARAMETERS).changed(Change({"one_shot": True}, FAST, ("chunk_s",)))
        if entry.operator == EAGER:
            recipe = recipe.changed(Change({"step_s": 0.0}, FLOOR, ("step_s",)))
        return _by_wire(recipe, hardware)


def _by_wire(recipe: Recipe, hardware: Hardware) -> Recipe:
    """PCIe shares its path among the ranks instead of having a copy to hide."""
    if hardware.scale_up.bandwidth_gb_per_s > PCIE_GB_PER_S:
        return recipe
    return recipe.changed(Change(add=CONTENTION, drop=("own_share",)))
