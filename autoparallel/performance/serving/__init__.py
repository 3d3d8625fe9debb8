"""Continuous batching, analytically: what an engine reaches once its load is steady."""

from autoparallel.domain.engine import EngineConstants
from autoparallel.performance.serving.engine import engine_of, load_engine_constants
from autoparallel.performance.serving.kernels import as_in_engine, engine_hardware
from autoparallel.performance.serving.load import Load, ServingEstimates
from autoparallel.performance.serving.steady import serve

__all__ = [
    "EngineConstants",
    "Load",
    "ServingEstimates",
    "as_in_engine",
    "engine_hardware",
    "engine_of",
    "load_engine_constants",
    "serve",
]
