"""Pods of a Kubernetes manifest: what runs in them, and in what shape it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoparallel.exporters.command import Command
from autoparallel.exporters.deployment import Deployment

GPU = "nvidia.com/gpu"
CONFIG_FOLDER = "/config"
# Ranks of a pod talk through shared memory.
SHARED_MEMORY = {"name": "shm", "emptyDir": {"medium": "Memory"}}


def document(api: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    """One object of a manifest."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **fields}


def pod(
    deployment: Deployment,
    command: Sequence[str] = (),
    *,
    gpus: int = 0,
    environment: Sequence[dict[str, str]] = (),
    config: str = "",
) -> dict[str, Any]:
    """What a pod runs: the engine's image, GPUs with memory for their ranks, and a folder of files.

    Parameters
    ----------
    command : sequence of str
        Empty: what the image, or an operator, starts by itself.
    config : str
        Name of the files, mounted where the command runs.
    """
    container: dict[str, Any] = {"name": "engine", "image": deployment.engine.image}
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, str]] = []
    if command:
        container |= {"command": list(command), "env": list(environment)}
    if gpus:
        container["ports"] = [{"containerPort": deployment.engine.port}]
        container["resources"] = {"limits": {GPU: gpus}}
        volumes.append(SHARED_MEMORY)
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if config:
        container["workingDir"] = CONFIG_FOLDER
        volumes.append({"name": "config", "configMap": {"name": config}})
        mounts.append({"name": "config", "mountPath": CONFIG_FOLDER})
    return {"containers": [{**container, "volumeMounts": mounts}], "volumes": volumes}


def words_of(command: Command, deployment: Deployment) -> list[str]:
    """The words of a command in a pod, which has an address of its own: all can take the engine's port."""
    words = list(command.words)
    if "--port" in words:
        words[words.index("--port") + 1] = str(deployment.engine.port)
    return words


def escaped(text: str) -> str:
    """Text in which Kubernetes puts no variables in place of $(NAME)."""
    return text.replace("$(", "$$(")


def environment_of(command: Command) -> list[dict[str, str]]:
    """The environment with the GPUs of the pod in the order of the command's, numbered from 0."""
    environment = dict(command.environment)
    slots = [int(slot) for slot in environment.pop("CUDA_VISIBLE_DEVICES").split(",")]
    places = [sorted(slots).index(slot) for slot in slots]
    if places != sorted(places):
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, places))
    return [{"name": name, "value": value} for name, value in environment.items()]
