"""Continuous batching, analytically: what an engine reaches once its load is steady."""

from autoparallel.performance.serving.engine import EngineConstants, load_engine_constants
from autoparallel.performance.serving.kernels import as_in_engine, engine_hardware
from autoparallel.performance.serving.steady import Load, ServingEstimates, serve

__all__ = [
    "EngineConstants",
    "Load",
    "ServingEstimates",
    "as_in_engine",
    "engine_hardware",
    "load_engine_constants",
    "serve",
]
