"""The operator classes by the kind of table that they read."""

from __future__ import annotations

from collections.abc import Mapping

from autoparallel.calibration.collective_tables import EngineAllReduce, Nccl
from autoparallel.calibration.decode import Decode, MlaDecode
from autoparallel.calibration.exchange import Exchange
from autoparallel.calibration.experts import Experts
from autoparallel.calibration.gemm import Gemm
from autoparallel.calibration.prefill import MlaPrefill, Prefill
from autoparallel.calibration.recipe import OperatorClass

OPERATORS: Mapping[str, OperatorClass] = {
    operator.table: operator
    for operator in (
        Gemm(),
        Experts(),
        Prefill(),
        Decode(),
        MlaPrefill(),
        MlaDecode(),
        Nccl(),
        EngineAllReduce(),
        Exchange(),
    )
}
# Tables of libraries that any engine calls; their rows count for every backend.
SHARED_BACKENDS = ("", "sglang")
SHARED_TABLES = ("collectives", "exchange")
