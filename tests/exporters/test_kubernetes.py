"""Manifests: every instance is there once, under a name of its own, and the service finds what serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from autoparallel.domain import Layout
from autoparallel.exporters import exporters
from autoparallel.exporters.export import Export, export
from autoparallel.exporters.fleet import read_members
from autoparallel.exporters.kubernetes import _dns_name

ROOT = Path(__file__).resolve().parent.parent.parent
FLEET = ROOT / "results" / "fleet-deepseek-v3-64xh200"
EXPORTERS = exporters()
Documents = list[dict[str, Any]]


def documents(made: Export) -> Documents:
    return list(yaml.safe_load_all(made.files["kubernetes.yaml"]))


def of_kind(found: Documents, kind: str) -> Documents:
    return [one for one in found if one["kind"] == kind]


@pytest.fixture(scope="module")
def fleet() -> dict[str, tuple[Export, int]]:
    return {
        member.standing.name: (
            export(member.problem, member.plan, EXPORTERS["sglang"], member.standing),
            member.standing.instances,
        )
        for member in read_members(FLEET)
    }


class TestFleet:
    def test_nothing_overwrites_anything(self, fleet: dict[str, tuple[Export, int]]) -> None:
        every = [one for made, _ in fleet.values() for one in documents(made)]
        names = [(one["kind"], one["metadata"]["name"]) for one in every]
        assert len(names) == len(set(names)) > len(fleet) > 1
        selectors = [str(one["spec"]["selector"]) for one in of_kind(every, "Service")]
        assert len(set(selectors)) == len(selectors)

    def test_there_are_as_many_instances_as_the_fleet_has(self, fleet: dict[str, tuple[Export, int]]) -> None:
        assert max(instances for _, instances in fleet.values()) > 1
        for made, instances in fleet.values():
            (one,) = of_kind(documents(made), "Deployment")
            assert one["spec"]["replicas"] == instances

    def test_the_benchmark_asks_the_router_for_all(self, fleet: dict[str, tuple[Export, int]]) -> None:
        rates = set()
        for made, _ in fleet.values():
            words = made.benchmark.words
            assert words[words.index("--host") + 1] == "$ROUTER"
            assert made.benchmark.variables == ("ROUTER",)
            rates.add(float(words[words.index("--request-rate") + 1]))
        # Every request passes one instance of each kind.
        assert max(rates) == pytest.approx(min(rates), rel=1e-3)


def selected(service: dict[str, Any], pods: Documents) -> Documents:
    """Labels of the pods that a service sends to."""
    wanted = service["spec"]["selector"].items()
    return [labels for labels in pods if wanted <= labels.items()]


def mpi_pods(job: dict[str, Any]) -> Documents:
    """Labels of a job's pods as the operator sets them (kubeflow/mpi-operator, newWorker, defaultLabels)."""
    found = []
    for role, spec in job["spec"]["mpiReplicaSpecs"].items():
        own = spec["template"]["metadata"]["labels"]
        for index in range(spec["replicas"]):
            labels = {**own, "training.kubeflow.org/job-name": job["metadata"]["name"],
                      "training.kubeflow.org/job-role": role.lower()}  # fmt: skip
            index_label = {"training.kubeflow.org/replica-index": str(index)} if role == "Worker" else {}
            found.append({**labels, **index_label})
    return found


class TestMpiJobs:
    @pytest.fixture
    def found(self, cases: Any) -> Documents:
        problem = cases.problem("sparse", 4)
        plan = cases.plan(problem, Layout(tp=8, ep=8, replicas=3))
        return documents(export(problem, plan, EXPORTERS["trtllm"]))

    def test_every_instance_has_a_job(self, found: Documents) -> None:
        assert len({job["metadata"]["name"] for job in of_kind(found, "MPIJob")}) == 3

    def test_the_service_finds_the_first_worker_of_each(self, found: Documents) -> None:
        pods = [pod for job in of_kind(found, "MPIJob") for pod in mpi_pods(job)]
        (service,) = of_kind(found, "Service")
        assert len(pods) == 3 * (1 + 2)
        assert [pod["training.kubeflow.org/job-role"] for pod in selected(service, pods)] == ["worker"] * 3

    def test_workers_have_gpus_with_shared_memory_and_the_launcher_none(self, found: Documents) -> None:
        roles = of_kind(found, "MPIJob")[0]["spec"]["mpiReplicaSpecs"]
        (worker,) = roles["Worker"]["template"]["spec"]["containers"]
        (launcher,) = roles["Launcher"]["template"]["spec"]["containers"]
        assert worker["resources"]["limits"] == {"nvidia.com/gpu": 4}
        assert {mount["mountPath"] for mount in worker["volumeMounts"]} == {"/dev/shm", "/config"}
        # Without a command of its own the operator starts sshd there.
        assert "command" not in worker
        assert "resources" not in launcher
        assert launcher["command"][:6] == [
            "mpirun", "--allow-run-as-root", "-n", "8", "trtllm-llmapi-launch", "trtllm-serve",
        ]  # fmt: skip


def test_an_instance_over_nodes_is_served_by_its_first_pod(cases: Any) -> None:
    problem = cases.problem("sparse", 4)
    plan = cases.plan(problem, Layout(tp=8, ep=8, replicas=2))
    found = documents(export(problem, plan, EXPORTERS["vllm"]))
    sets = of_kind(found, "StatefulSet")
    assert len(sets) == 2
    # Kubernetes sets the index of a pod of a StatefulSet as a label.
    pods = [
        {**one["spec"]["template"]["metadata"]["labels"], "apps.kubernetes.io/pod-index": str(index)}
        for one in sets
        for index in range(one["spec"]["replicas"])
    ]
    service = next(one for one in of_kind(found, "Service") if "ports" in one["spec"])
    assert len(selected(service, pods)) == 2


def test_long_names_are_told_apart() -> None:
    start = "a-problem-with-a-name-that-is-longer-than-any-other-of-its-kind"
    names = [_dns_name(f"{start}{end}") for end in ("-vllm", "-sglang", "-two-vllm")]
    assert len(set(names)) == 3
    assert all(len(name) <= 40 and name.startswith("a-problem-with-a-name") for name in names)
    assert names == [_dns_name(f"{start}{end}") for end in ("-vllm", "-sglang", "-two-vllm")]
    assert _dns_name("short-vllm") == "short-vllm"
