"""Matrix products: ``C[m, n] = A[m, k] B[k, n]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

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
from autoparallel.performance.operators import GemmConstants, gemm

if TYPE_CHECKING:
    import pandas as pd

INF = float("inf")
PARAMETERS = {
    "t0_s": Parameter(3e-6, 5e-7, 5e-4),
    "compute_efficiency": Parameter(0.7, 0.05, 1.0),
    "memory_efficiency": Parameter(0.8, 0.2, 1.0),
    "activation_efficiency": Parameter(0.8, 0.05, 20.0),
    "walk_s_per_element": Parameter(2e-9, 1e-11, 1e-6),
    "walk_limit_s": Parameter(8e-6, 5e-7, 1e-3, off_high=INF),
}
QUANTISATION = {"quantisation_efficiency": Parameter(0.3, 0.02, 50.0, off_high=INF)}
CACHE = {"cache_bytes": Parameter(5e6, 1e5, 3e8, off_low=0.0)}


class Gemm(OperatorClass):
    """Rows of the table gemm."""

    table = "gemm"
    constants = GemmConstants
    shape = ("n", "k")

    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(operator="gemm", format=rows["dtype"])

    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        narrowed = FORMATS[entry.format].activation_bytes < 2.0
        return Recipe({**PARAMETERS, **(QUANTISATION if narrowed else {})}, {"overlap": "hypot"})

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        return ((Change(add=CACHE),),) if hardware.l2_cache_mb >= 96 else ()

    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        form = FORMATS[entry.format]
        gpu = sheet(hardware, form.compute)
        m, k, n = floats(rows, "m", "k", "n")

        def predict(constants: GemmConstants) -> Array:
            cost = gemm(
                m,
                k,
                n,
                gpu=gpu,
                constants=constants,
                weight_bytes=form.weight_bytes,
                activation_bytes=form.activation_bytes,
            )
            return cost.time_s  # type: ignore[return-value]  # an array, since m is

        return predict

    def stated(self, entry: Entry) -> Mapping[str, Any]:
        named = COMPUTES_IN.get(entry.format)
        return {"computes_in": named} if named else {}
