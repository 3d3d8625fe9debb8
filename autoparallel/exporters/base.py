"""What an exporter is: a deployment becomes commands and files of one engine."""

from __future__ import annotations

from autoparallel.domain.rank_map import RankedGpu
from autoparallel.exporters.command import Command
from autoparallel.exporters.deployment import Deployment


class Exporter:
    """One engine. A module of this package with an instance as ``EXPORTER`` is found by it."""

    name: str

    def commands(self, deployment: Deployment) -> tuple[Command, ...]:
        """Launch commands, one for every instance and node on which something has to be started."""
        raise NotImplementedError

    def benchmark(self, deployment: Deployment) -> Command:
        """The engine's own benchmark, with the problem's workload, against one instance."""
        raise NotImplementedError

    def rank_order(self, gpu: RankedGpu) -> tuple[int, ...]:
        """Key by which the engine numbers the GPUs of an instance."""
        return (gpu.pp, gpu.dp, gpu.cp, gpu.tp)

    def config_files(self, deployment: Deployment) -> dict[str, str]:
        """Files besides the scripts that the commands read, by name."""
        return {}

    def notes(self, deployment: Deployment) -> tuple[str, ...]:
        """What the engine does otherwise than the plan assumes, and how numbers were converted."""
        raise NotImplementedError


def bound_sizes(deployment: Deployment) -> tuple[int, int]:
    """Mean prompt and output of the workload, whole tokens."""
    workload = deployment.problem.workload
    return max(round(workload.prompt_tokens.mean), 1), max(round(workload.output_tokens.mean), 1)


def devices(gpus: tuple[RankedGpu, ...]) -> str:
    """``CUDA_VISIBLE_DEVICES`` of GPUs in the engine's order of ranks."""
    return ",".join(str(gpu.slot) for gpu in gpus)


def address_of(node: int) -> str:
    """Name of the shell variable that holds a node's address."""
    return f"NODE_{node}"
