"""A Kubernetes manifest for a deployment.

Instances on one node become one Deployment, an instance over several nodes a StatefulSet whose pods find
each other by name. GPUs of a pod are numbered from 0, whatever node it lands on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autoparallel.exporters.base import address_of
from autoparallel.exporters.command import Command, comment, quoted
from autoparallel.exporters.deployment import Deployment

GPU = "nvidia.com/gpu"
CONFIG_FOLDER = "/config"


def manifest(deployment: Deployment, commands: Sequence[Command], configs: dict[str, str]) -> str:
    """The manifest as YAML with its notes as comments.

    Parameters
    ----------
    commands : sequence of Command
        All launch commands of the deployment.
    configs : dict
        Files that the commands read, by name.
    """
    name = _dns_name(f"{deployment.problem.name}-{deployment.engine.name}")
    documents: list[dict[str, Any]] = []
    if configs:
        documents.append(_document("v1", "ConfigMap", f"{name}-config", data=configs))
    first = [command for command in commands if command.instance == 0]
    gpus = [len(share.gpus) for share in deployment.shares(0)]
    if len(gpus) == 1:
        replicas = deployment.plan.layout.replicas
        documents.append(_deployment(deployment, name, first[0], gpus[0], replicas, bool(configs)))
    elif len(first) == 1:
        documents += [_mpi_job(deployment, name, commands, gpus)]
    else:
        documents += _stateful_sets(deployment, name, commands, gpus[0])
    documents.append(_service(deployment, name))
    head = [*first[0].notes, "Storage for weights, tokens and tolerations are the cluster's: add them."]
    if len(gpus) > 1 and len(first) == 1:
        head.append("MPIJob needs the Kubeflow MPI operator.")
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
    deployment: Deployment, name: str, command: Command, gpus: int, replicas: int, has_config: bool
) -> dict[str, Any]:
    pod = _pod(deployment, _arguments(command, deployment), gpus, _environment(command))
    if has_config:
        container = pod["containers"][0]
        container["workingDir"] = CONFIG_FOLDER
        container["volumeMounts"].append({"name": "config", "mountPath": CONFIG_FOLDER})
        pod["volumes"].append({"name": "config", "configMap": {"name": f"{name}-config"}})
    labels = {"app": name, "role": "head"}
    return _document(
        "apps/v1",
        "Deployment",
        name,
        spec={
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    )


def _stateful_sets(
    deployment: Deployment, name: str, commands: Sequence[Command], gpus: int
) -> list[dict[str, Any]]:
    """For each instance a StatefulSet whose pod number is the node rank, and a service for its names."""
    found = []
    for instance in range(deployment.plan.layout.replicas):
        own = [command for command in commands if command.instance == instance]
        set_name = f"{name}-{instance}"
        head = f"{set_name}-0.{set_name}"
        cases = [f"{rank}) exec {_line(command, deployment)} ;;" for rank, command in enumerate(own)]
        lines = [f"export {address_of(own[0].node)}={head}", 'case "${HOSTNAME##*-}" in', *cases, "esac"]
        pod = _pod(deployment, ["/bin/bash", "-c", "\n".join(lines)], gpus, _environment(own[0]))
        labels = {"app": name, "instance": str(instance)}
        found.append(
            _document(
                "v1",
                "Service",
                set_name,
                spec={"clusterIP": "None", "publishNotReadyAddresses": True, "selector": labels},
            )
        )
        found.append(
            _document(
                "apps/v1",
                "StatefulSet",
                set_name,
                spec={
                    "serviceName": set_name,
                    "replicas": len(own),
                    "podManagementPolicy": "Parallel",
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            )
        )
    return found


def _mpi_job(
    deployment: Deployment, name: str, commands: Sequence[Command], gpus: Sequence[int]
) -> dict[str, Any]:
    """One MPI job for the first instance; others differ in their name alone."""
    words = list(commands[0].words)
    start = words.index("trtllm-llmapi-launch")
    launch = ["mpirun", "-n", str(sum(gpus)), *words[start:]]
    mount = {"name": "config", "mountPath": CONFIG_FOLDER}
    volume = {"name": "config", "configMap": {"name": f"{name}-config"}}
    template = {}
    for role, count, container in (
        ("Launcher", 1, {"command": launch, "workingDir": CONFIG_FOLDER}),
        ("Worker", len(gpus), {"resources": {"limits": {GPU: gpus[0]}}, "workingDir": CONFIG_FOLDER}),
    ):
        pod = {
            "containers": [
                {"name": "engine", "image": deployment.engine.image, **container, "volumeMounts": [mount]}
            ],
            "volumes": [volume],
        }
        labels = {"app": name, **({"role": "head"} if role == "Launcher" else {})}
        template[role] = {"replicas": count, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return _document(
        "kubeflow.org/v2beta1", "MPIJob", name, spec={"slotsPerWorker": gpus[0], "mpiReplicaSpecs": template}
    )


def _service(deployment: Deployment, name: str) -> dict[str, Any]:
    """One address for all instances; of an instance over several nodes the first pod serves."""
    selector = {"app": name}
    if len(deployment.shares(0)) > 1:
        selector["apps.kubernetes.io/pod-index"] = "0"
    else:
        selector["role"] = "head"
    port = deployment.engine.port
    return _document(
        "v1", "Service", name, spec={"selector": selector, "ports": [{"port": port, "targetPort": port}]}
    )


def _pod(
    deployment: Deployment, command: list[str], gpus: int, environment: list[dict[str, str]]
) -> dict[str, Any]:
    return {
        "containers": [
            {
                "name": "engine",
                "image": deployment.engine.image,
                "command": command,
                "env": environment,
                "ports": [{"containerPort": deployment.engine.port}],
                "resources": {"limits": {GPU: gpus}},
                # Ranks of a pod talk through shared memory.
                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
            }
        ],
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }


def _arguments(command: Command, deployment: Deployment) -> list[str]:
    # Kubernetes would put variables in place of $(NAME).
    return [word.replace("$(", "$$(") for word in _at_first_port(command, deployment)]


def _line(command: Command, deployment: Deployment) -> str:
    line = " ".join(quoted(word) for word in _at_first_port(command, deployment))
    return line.replace("$(", "$$(")


def _at_first_port(command: Command, deployment: Deployment) -> list[str]:
    """Every pod has an address of its own, so all can take the engine's port."""
    words = list(command.words)
    if "--port" in words:
        words[words.index("--port") + 1] = str(deployment.engine.port)
    return words


def _environment(command: Command) -> list[dict[str, str]]:
    """The environment with the GPUs of the pod in the order of the command's, numbered from 0."""
    environment = dict(command.environment)
    slots = [int(slot) for slot in environment.pop("CUDA_VISIBLE_DEVICES").split(",")]
    places = [sorted(slots).index(slot) for slot in slots]
    if places != sorted(places):
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, places))
    return [{"name": name, "value": value} for name, value in environment.items()]


def _document(api: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields}


def _dns_name(text: str) -> str:
    """A name that Kubernetes takes: lower case letters, digits and dashes, a letter first.

    Examples
    --------
    >>> _dns_name("My_Plan: v2"), _dns_name("$(x)"), _dns_name("8x7b")
    ('my-plan-v2', 'x', 'plan-8x7b')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-")
    return plain if plain[:1].isalpha() else f"plan-{plain}".strip("-")
