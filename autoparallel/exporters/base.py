"""What an exporter is: a deployment becomes commands and files of one engine."""

from __future__ import annotations

from autoparallel.domain.rank_map import RankedGpu
from autoparallel.domain.workload import OPEN, Lengths
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


def spread(lengths: Lengths) -> float:
    """Half the width, over the mean, of the widest even distribution with this mean inside the lengths.

    Examples
    --------
    >>> spread(Lengths(kind="uniform", min=100, max=300))
    0.5
    """
    return max(min(lengths.mean - lengths.min, lengths.max - lengths.mean) / lengths.mean, 0.0)


def arrivals(deployment: Deployment) -> tuple[str, ...]:
    """Flags of how requests arrive at one instance: at a rate, or as many as its batch at any time."""
    workload, plan = deployment.problem.workload, deployment.plan
    if workload.mode == OPEN and workload.request_rate_per_s is not None:
        return ("--request-rate", f"{workload.request_rate_per_s / plan.layout.replicas:.6g}")
    return ("--max-concurrency", str(plan.batch))


def benchmark_notes(deployment: Deployment) -> tuple[str, ...]:
    """What the benchmark does otherwise than the workload says."""
    workload = deployment.problem.workload
    found = [f"One instance of {deployment.plan.layout.replicas}, with its share of the requests."]
    if workload.prompt_tokens.points or workload.output_tokens.points:
        found.append("Lengths are drawn evenly around the workload's means: its tails are not reproduced.")
    return tuple(found)


def devices(gpus: tuple[RankedGpu, ...]) -> str:
    """``CUDA_VISIBLE_DEVICES`` of GPUs in the engine's order of ranks."""
    return ",".join(str(gpu.slot) for gpu in gpus)


def address_of(node: int) -> str:
    """Name of the shell variable that holds a node's address."""
    return f"NODE_{node}"
