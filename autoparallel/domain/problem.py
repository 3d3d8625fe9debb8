"""A problem: everything that a search needs to know."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoparallel.domain.hardware import Hardware
from autoparallel.domain.model import Model
from autoparallel.domain.requirements import Requirements
from autoparallel.domain.search_space import SearchSpace
from autoparallel.domain.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Model, hardware, workload, requirements and search space.

    ``name`` is the stem of the problem file; ``warnings`` lists what the file leaves to defaults that
    a user should know of; ``fingerprint`` is a hash of the problem's content.
    """

    name: str
    model: Model
    hardware: Hardware
    workload: Workload
    requirements: Requirements = field(default_factory=Requirements)
    search: SearchSpace = field(default_factory=SearchSpace)
    warnings: tuple[str, ...] = ()
    fingerprint: str = ""

    @property
    def prefer(self) -> tuple[str, ...]:
        """The order in which plans are compared."""
        if self.search.prefer:
            return self.search.prefer
        if self.workload.concurrency is None:
            return ("throughput", "ttft_s", "gpus")
        return ("gpus", "throughput", "ttft_s")

    @property
    def max_gpus(self) -> int:
        """GPUs of the largest deployment that the search looks at."""
        return min(self.search.max_gpus, self.requirements.max_gpus or self.search.max_gpus)

    def replicas_for(self, batch: int) -> int:
        """Instances of ``batch`` sequences that the deployment has."""
        if self.search.replicas is not None:
            return self.search.replicas
        if self.workload.concurrency is None:
            return 1
        return math.ceil(self.workload.concurrency / batch)
