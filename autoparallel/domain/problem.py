"""A problem: everything that a search needs to know."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoparallel.domain.engine import EngineOptions
from autoparallel.domain.fleet import FleetOptions
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.model import Model
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.search_space import SearchSpace
from autoparallel.domain.workload import CLOSED, OPEN, STATIC, Workload


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Model, hardware, workload, requirements and search space.

    ``name`` is the stem of the problem file; ``warnings`` lists what the file leaves to defaults that
    a user should know of; ``fingerprint`` is a hash of the problem's content. ``engine`` names the
    serving engine that has to be able to launch every plan, ``None`` where any layout will do; ``fleet``
    says what a fleet is made of and has to serve, ``None`` where the problem asks for none.
    """

    name: str
    model: Model
    hardware: Hardware
    workload: Workload
    requirements: Requirements = field(default_factory=Requirements)
    search: SearchSpace = field(default_factory=SearchSpace)
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""
    engine: str | None = None
    engine_options: EngineOptions = field(default_factory=EngineOptions)
    fleet: FleetOptions | None = None

    @property
    def prefer(self) -> tuple[str, ...]:
        """The order in which plans are compared."""
        if self.search.prefer:
            return self.search.prefer
        if self.workload.concurrency is None and self.workload.mode != OPEN:
            return ("throughput", "ttft_s", "gpus")
        return ("gpus", "throughput", "ttft_s")

    @property
    def rank_order_is_fixed(self) -> bool:
        """Whether a serving engine runs the plans: it numbers ranks in the usual order."""
        return self.engine is not None or self.workload.mode != STATIC

    @property
    def max_gpus(self) -> int:
        """GPUs of the largest deployment that the search looks at."""
        return min(self.search.max_gpus, self.requirements.max_gpus or self.search.max_gpus)

    @property
    def memory_limit_gb(self) -> float:
        """What a plan may take of a GPU: all of it, or what the engine is told to keep to. [1e9 bytes]"""
        share = self.engine_options.gpu_memory_utilization if self.engine else None
        return self.hardware.memory_gb * (share or 1.0)

    def sequences_of(self, batch: int) -> int:
        """Sequences that a deployment of instances of ``batch`` serves at once."""
        served = self.replicas_for(batch) * batch
        return served if self.workload.concurrency is None else min(served, self.workload.concurrency)

    @property
    def replicas_vary(self) -> bool:
        """Whether a layout is rated with several numbers of replicas: neither batch nor problem decides."""
        load = self.workload
        open_rate = load.mode == OPEN and load.rate_per_s is not None
        return self.search.replicas is None and (load.mode == CLOSED or open_rate)

    def replicas_for(self, batch: int) -> int:
        """Instances of ``batch`` sequences that the deployment has."""
        if self.search.replicas is not None:
            return self.search.replicas
        if self.workload.concurrency is None:
            return 1
        return math.ceil(self.workload.concurrency / batch)
