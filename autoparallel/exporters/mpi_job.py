"""An instance over several nodes as a job of the Kubeflow MPI operator.

The launcher has no GPU: it starts the ranks on the workers, and the first rank, on the first worker, takes
the requests. Labels are those that the operator gives the pods (kubeflow/mpi-operator,
pkg/apis/kubeflow/v2beta1/constants.go and pkg/controller/mpi_job_controller.go).
"""

from __future__ import annotations

from typing import Any

from autoparallel.exporters.command import Command
from autoparallel.exporters.deployment import Deployment
from autoparallel.exporters.pods import document, escaped, pod, words_of

HEAD = {"training.kubeflow.org/job-role": "worker", "training.kubeflow.org/replica-index": "0"}


def mpi_jobs(deployment: Deployment, name: str, command: Command, config: str) -> list[dict[str, Any]]:
    """A job for every instance; they differ in their names alone."""
    shares = deployment.shares(0)
    gpus = len(shares[0].gpus)
    words = [escaped(word) for word in words_of(command, deployment)]
    # The operator says which hosts there are, and every pod sees its own GPUs.
    start = words.index("--host")
    launch = words[:start] + words[words.index("-x") + 2 :]
    roles = {
        "Launcher": (1, pod(deployment, launch, config=config)),
        "Worker": (len(shares), pod(deployment, gpus=gpus, config=config)),
    }
    replicas = {
        role: {"replicas": count, "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}
        for role, (count, spec) in roles.items()
    }
    spec = {"slotsPerWorker": gpus, "mpiReplicaSpecs": replicas}
    names = [f"{name}-{instance}" for instance in range(deployment.instances)]
    return [document("kubeflow.org/v2beta1", "MPIJob", each, spec=spec) for each in names]
