"""A Kubernetes manifest for a deployment.

Instances on one node become one Deployment, an instance over several nodes a StatefulSet whose pods find
each other by name, or an MPI job. GPUs of a pod are numbered from 0, whatever node it lands on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from autoparallel.exporters.base import address_of
from autoparallel.exporters.command import Command, comment, quoted
from autoparallel.exporters.deployment import Deployment
from autoparallel.exporters.mpi_job import HEAD, mpi_jobs
from autoparallel.exporters.pods import document, environment_of, escaped, pod, words_of

# Kubernetes takes 63 characters, of which names of pods and of their parts need some.
LONGEST_NAME = 40
FIRST_POD = {"apps.kubernetes.io/pod-index": "0"}


def manifest(deployment: Deployment, commands: Sequence[Command], configs: dict[str, str]) -> str:
    """The manifest as YAML with its notes as comments.

    Parameters
    ----------
    commands : sequence of Command
        All launch commands of the deployment.
    configs : dict
        Files that the commands read, by name.
    """
    parts = (deployment.problem.name, deployment.standing.name, deployment.engine.name)
    name = _dns_name("-".join(filter(None, parts)))
    documents: list[dict[str, Any]] = []
    if configs:
        documents.append(document("v1", "ConfigMap", f"{name}-config", data=configs))
    config = f"{name}-config" if configs else ""
    first = [command for command in commands if command.instance == 0]
    gpus = [len(share.gpus) for share in deployment.shares(0)]
    head = [*first[0].notes, "Storage for weights, tokens and tolerations are the cluster's: add them."]
    if len(gpus) == 1:
        documents.append(_deployment(deployment, name, first[0], gpus[0], config))
        selected: dict[str, str] = {}
    elif len(first) == 1:
        documents += mpi_jobs(deployment, name, first[0], config)
        selected = HEAD
        head.append("MPIJob needs the Kubeflow MPI operator, and its workers an image that runs sshd.")
    else:
        documents += _stateful_sets(deployment, name, first, gpus[0])
        selected = FIRST_POD
    documents.append(_service(deployment, name, {"app": name, **selected}))
    return "\n".join(map(comment, head)) + "\n" + _yaml(documents)


def _yaml(documents: list[dict[str, Any]]) -> str:
    """YAML without references, scripts as blocks that people can read."""
    import yaml

    class Readable(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Readable.add_representer(str, text)
    return yaml.dump_all(documents, Dumper=Readable, sort_keys=False, width=110)


def _deployment(
    deployment: Deployment, name: str, command: Command, gpus: int, config: str
) -> dict[str, Any]:
    words = [escaped(word) for word in words_of(command, deployment)]
    spec = pod(deployment, words, gpus=gpus, environment=environment_of(command), config=config)
    labels = {"app": name}
    return document(
        "apps/v1",
        "Deployment",
        name,
        spec={
            "replicas": deployment.instances,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    )


def _stateful_sets(
    deployment: Deployment, name: str, commands: Sequence[Command], gpus: int
) -> list[dict[str, Any]]:
    """For each instance a StatefulSet whose pod number is the node rank, and a service for its names.

    Instances differ in their names alone: ``commands`` are those of the first.
    """
    found = []
    for instance in range(deployment.instances):
        set_name = f"{name}-{instance}"
        head = f"{set_name}-0.{set_name}"
        cases = [f"{rank}) exec {_line(command, deployment)} ;;" for rank, command in enumerate(commands)]
        lines = [f"export {address_of(commands[0].node)}={head}", 'case "${HOSTNAME##*-}" in', *cases, "esac"]
        script = ["/bin/bash", "-c", "\n".join(lines)]
        labels = {"app": name, "instance": str(instance)}
        found.append(
            document(
                "v1",
                "Service",
                set_name,
                spec={"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels},
            )
        )
        spec = pod(deployment, script, gpus=gpus, environment=environment_of(commands[0]))
        found.append(
            document(
                "apps/v1",
                "StatefulSet",
                set_name,
                spec={
                    "serviceName": set_name,
                    "replicas": len(commands),
                    "podManagementPolicy": "Parallel",
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": spec},
                },
            )
        )
    return found


def _service(deployment: Deployment, name: str, selector: dict[str, str]) -> dict[str, Any]:
    """One address for all instances; of an instance over several nodes the first pod serves."""
    port = deployment.engine.port
    return document(
        "v1", "Service", name, spec={"selector": selector, "ports": [{"port": port, "targetPort": port}]}
    )


def _line(command: Command, deployment: Deployment) -> str:
    return escaped(" ".join(quoted(word) for word in words_of(command, deployment)))


def _dns_name(text: str) -> str:
    """A name that Kubernetes takes: lower case letters, digits and dashes, a letter first.

    Examples
    --------
    >>> _dns_name("My_Plan: v2"), _dns_name("$(x)"), _dns_name("8x7b")
    ('my-plan-v2', 'x', 'plan-8x7b')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"plan-{plain}".strip("-")
    if len(plain) <= LONGEST_NAME:
        return plain
    # What is cut off tells long names apart.
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{plain[: LONGEST_NAME - len(mark) - 1].strip('-')}-{mark}"
