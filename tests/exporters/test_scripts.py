"""Scripts do what they say whatever the model is called: bash runs them, with stand-ins for the engines."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoparallel.domain import EngineOptions, Layout
from autoparallel.exporters import exporters
from autoparallel.exporters.command import Command, script
from autoparallel.exporters.export import Export, export

HOSTILE = [
    "$(touch owned)", "`touch owned`", "a'; touch owned; '", 'a" && touch owned', "a b\ttouch owned",
    "--help", "a\ntouch owned\n", "#comment", "*", "~", "${HOME}", "x: {y: [1", "\u202etxt.exe", "naïve/模型",
]  # fmt: skip
PROGRAMS = ("vllm", "python3", "trtllm-serve", "mpirun", "trtllm-bench")


def run(text: str, folder: Path, **environment: str) -> list[str]:
    """The words that the program at the end of a script is called with, itself first."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name in PROGRAMS:
        tool = tools / name
        tool.write_text('#!/bin/sh\nprintf "%s\\0" "$0" "$@"\n', encoding="utf-8")
        tool.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", text], cwd=folder, env={"PATH": path, **environment}, capture_output=True, check=True
    )
    words = done.stdout.decode().split("\0")[:-1]
    return [Path(words[0]).name, *words[1:]]


def exported(cases: Any, engine: str, name: str, layout: Layout) -> Export:
    problem = cases.problem("sparse", 4)
    plan = cases.plan(problem, layout)
    hostile = replace(problem, name=name, engine_options=EngineOptions(model_path=name))
    return export(hostile, plan, exporters()[engine])


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_a_hostile_name_is_one_word(cases: Any, tmp_path: Path, engine: str, name: str) -> None:
    result = exported(cases, engine, name, Layout(tp=8, ep=8))
    expected = f"./{name}" if name.startswith("-") else name
    for file, command in [(f"instance-{c.instance}.node-{c.node}.sh", c) for c in result.commands]:
        words = run(result.files[file], tmp_path, NODE_0="10.0.0.1", NODE_1="10.0.0.2")
        assert expected in words
        assert len(words) == len(command.words)
    assert expected in run(result.files["benchmark.sh"], tmp_path, NODE_0="10.0.0.1", NODE_1="::1")
    assert not (tmp_path / "owned").exists()
    documents = list(yaml.safe_load_all(result.files["kubernetes.yaml"]))
    assert all(document["metadata"]["name"].replace("-", "").isalnum() for document in documents)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pod_of_several_nodes_runs_the_same_words(cases: Any, tmp_path: Path, name: str) -> None:
    result = exported(cases, "vllm", name, Layout(tp=8, ep=8))
    documents = list(yaml.safe_load_all(result.files["kubernetes.yaml"]))
    pods = next(document for document in documents if document["kind"] == "StatefulSet")
    container = pods["spec"]["template"]["spec"]["containers"][0]
    # Kubernetes turns $$( into $( before bash sees it.
    line = container["command"][2].replace("$$(", "$(")
    words = run(line, tmp_path, HOSTNAME=f"{pods['metadata']['name']}-1")
    assert (f"./{name}" if name.startswith("-") else name) in words
    assert words[words.index("--node-rank") + 1] == "1"
    assert words[words.index("--master-addr") + 1].endswith(f"-0.{pods['spec']['serviceName']}")
    assert not (tmp_path / "owned").exists()


def test_a_missing_address_is_asked_for(cases: Any, tmp_path: Path) -> None:
    result = exported(cases, "sglang", "m", Layout(tp=8, ep=8))
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        run(result.files["instance-0.node-1.sh"], tmp_path)
    assert b"NODE_0" in stopped.value.stderr


def test_environment_values_are_quoted(tmp_path: Path) -> None:
    command = Command(program="serve", words=("vllm", "x"), environment={"A": "1 2; touch owned"})
    assert run(script(command), tmp_path) == ["vllm", "x"]
    assert not (tmp_path / "owned").exists()
