"""What an exporter is: a deployment becomes commands and files of one engine."""

from __future__ import annotations

import math

from autoparallel.domain.rank_map import RankedGpu
from autoparallel.domain.workload import CLOSED, OPEN, Lengths
from autoparallel.exporters.command import Command, Variable
from autoparallel.exporters.deployment import Deployment, Share

# The benchmark sends as many requests as fill the batch so often: the first and the last fill are ramps.
WAVES = 4
# Shell variable with the address of what passes requests on to prefill and decode instances.
ROUTER = "ROUTER"
PLAIN_DTYPES = ("float16", "bfloat16", "float32")


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

    def role_words(self, role: str) -> tuple[str, ...]:
        """Flags of an instance that only computes prompts (``prefill``) or only generates (``decode``)."""
        return ()

    def role_notes(self, role: str) -> tuple[str, ...]:
        """What such an instance needs besides its flags."""
        raise NotImplementedError


class NodeByNode(Exporter):
    """An engine that is started on every node of an instance with nearly the same words.

    Attributes
    ----------
    partition : str
        Environment variable for the layers of each stage; set where stages are uneven, because the
        engine places the remainder elsewhere than the plan.
    ports : int
        How far apart the ports of instances on one node are.
    """

    partition: str
    ports = 1

    def server(self, deployment: Deployment) -> list[str]:
        """Program, model, layout and sizes: the same words on every node of every instance."""
        raise NotImplementedError

    def meeting(self, deployment: Deployment, head: Variable, offset: int) -> list[str]:
        """Where the nodes of an instance find each other; ``head`` is the address of the first.

        ``offset`` keeps the ports of instances on one node apart.
        """
        raise NotImplementedError

    def listening(self, share: Share, port: int) -> list[str]:
        """Where requests are taken on a node."""
        return ["--host", "0.0.0.0", "--port", str(port)]

    def environment(self, deployment: Deployment) -> dict[str, str]:
        """Variables besides the visible GPUs and the layers of each stage."""
        return {}

    def commands(self, deployment: Deployment) -> tuple[Command, ...]:
        return tuple(
            self._command(deployment, instance, shares, share)
            for instance in range(deployment.plan.layout.replicas)
            for shares in (deployment.shares(instance, self.rank_order),)
            for share in shares
        )

    def _command(
        self, deployment: Deployment, instance: int, shares: tuple[Share, ...], share: Share
    ) -> Command:
        offset = deployment.place_on_node(instance) * self.ports
        words = self.server(deployment)
        if len(shares) > 1:
            words += ["--nnodes", str(len(shares)), "--node-rank", str(share.place)]
            words += self.meeting(deployment, Variable(f"${address_of(shares[0].node)}"), offset)
        words += self.listening(share, deployment.engine.port + offset)
        environment = {"CUDA_VISIBLE_DEVICES": devices(share.gpus), **self.environment(deployment)}
        if not deployment.has_even_stages:
            environment[self.partition] = ",".join(map(str, deployment.layers_of_stages))
        return Command(
            program="serve",
            words=tuple(words),
            environment=environment,
            instance=instance,
            node=share.node,
            notes=self.notes(deployment),
        )


def above_one(*degrees: tuple[str, int]) -> list[str]:
    """Flags of degrees with their sizes; 1 is every engine's default and is left out.

    Examples
    --------
    >>> above_one(("--pp-size", 2), ("--ep-size", 1))
    ['--pp-size', '2']
    """
    return [word for flag, size in degrees if size > 1 for word in (flag, str(size))]


def bound_sizes(deployment: Deployment) -> tuple[int, int]:
    """Mean prompt and output of the workload, whole tokens."""
    workload = deployment.problem.workload
    return whole_mean(workload.prompt_tokens), whole_mean(workload.output_tokens)


def whole_mean(lengths: Lengths) -> int:
    """Mean of the lengths, at least one token."""
    return max(round(lengths.mean), 1)


def spread(lengths: Lengths) -> float:
    """Half the width, over the mean, of the widest even distribution with this mean inside the lengths.

    Examples
    --------
    >>> spread(Lengths(kind="uniform", min=100, max=300))
    0.5
    """
    return max(min(lengths.mean - lengths.min, lengths.max - lengths.mean) / lengths.mean, 0.0)


def target(deployment: Deployment) -> list[str]:
    """Flags of where the benchmark sends requests: an instance, or the router of prefill and decode."""
    address = ROUTER if deployment.standing.role else address_of(0)
    return ["--host", Variable(f"${address}"), "--port", str(deployment.engine.port)]


def load(deployment: Deployment) -> list[str]:
    """Flags of how many requests arrive, and how.

    At a rate, or as many as the batch at any time: of one instance its share, through a router all.
    """
    workload, plan = deployment.problem.workload, deployment.plan
    instances = deployment.standing.instances if deployment.standing.role else 1
    at_once = requests_at_once(deployment)
    if workload.rate_per_s is not None:
        rate = workload.rate_per_s / plan.layout.replicas * instances
        how = ["--request-rate", f"{rate:.6g}"]
    else:
        how = ["--max-concurrency", str(at_once * instances)]
    return ["--num-prompts", str(WAVES * at_once * instances), *how]


def requests_at_once(deployment: Deployment) -> int:
    """Requests of one instance at any time: its share of a closed loop, or as many as its rate makes."""
    workload, plan = deployment.problem.workload, deployment.plan
    if plan.serving is None:
        return plan.batch
    if workload.mode == CLOSED and workload.concurrency is not None:
        return min(math.ceil(workload.concurrency / plan.layout.replicas), plan.batch)
    return min(math.ceil(plan.serving.running), plan.batch) if workload.mode == OPEN else plan.batch


def benchmark_notes(deployment: Deployment) -> tuple[str, ...]:
    """What the benchmark does otherwise than the workload says."""
    workload, standing = deployment.problem.workload, deployment.standing
    found = [f"One instance of {deployment.instances}, with its share of the requests."]
    if standing.role:
        found = [
            f"A {standing.role} instance answers no request by itself: {ROUTER} is what stands before both "
            f"kinds, and gets the requests of all {deployment.instances} {standing.role} instances."
        ]
    if workload.prompt_tokens.points or workload.output_tokens.points:
        found.append("Lengths are drawn evenly around the workload's means: its tails are not reproduced.")
    return tuple(found)


def devices(gpus: tuple[RankedGpu, ...]) -> str:
    """``CUDA_VISIBLE_DEVICES`` of GPUs in the engine's order of ranks."""
    return ",".join(str(gpu.slot) for gpu in gpus)


def address_of(node: int) -> str:
    """Name of the shell variable that holds a node's address."""
    return f"NODE_{node}"
