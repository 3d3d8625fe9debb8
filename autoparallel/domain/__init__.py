"""What the program talks about: frozen dataclasses without input, output or physics."""

from autoparallel.domain.engine import EngineOptions
from autoparallel.domain.hardware import Hardware, Link
from autoparallel.domain.layout import Layout
from autoparallel.domain.model import Model
from autoparallel.domain.pair import Pair
from autoparallel.domain.plan import Memory, Metrics, Operation, Plan, ServingMetrics
from autoparallel.domain.problem import Problem
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.search_space import SearchSpace
from autoparallel.domain.workload import Lengths, Workload

__all__ = [
    "EngineOptions",
    "Hardware",
    "Layout",
    "Lengths",
    "Link",
    "Memory",
    "Metrics",
    "Model",
    "Operation",
    "Pair",
    "Plan",
    "Problem",
    "Requirements",
    "SearchSpace",
    "ServingMetrics",
    "Workload",
]
