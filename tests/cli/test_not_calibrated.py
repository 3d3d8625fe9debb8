"""On a GPU that nobody measured every answer says so, to people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoparallel.cli.application import application

PROBLEM = """\
[model]
name = "llama-3.1-8b"
[hardware]
gpu = "mi300x"
[workload]
{mode}
prompt_tokens = 256
output_tokens = 32
concurrency = 8
[requirements]
ttft_s = 5
[search]
tp = [1, 2]
dp = 1
pp = 1
batch = 8
microbatch = 8
"""
LAYOUT = ("--layout", "tp=2,etp=2")
COMMANDS = {
    "search": ("search", "static.toml", "--out", "again"),
    "evaluate": ("evaluate", "static.toml", *LAYOUT, "--batch", "8", "--microbatch", "8"),
    "explain": ("explain", "static.toml"),
    "check": ("check", "static.toml", "result"),
    "compare": ("compare", "result", "result"),
    "document": ("document", "result"),
    "export": ("export", "result", "--engine", "vllm"),
    "verify": ("verify", "result"),
    "simulate": ("simulate", "served.toml", *LAYOUT, "--requests", "50"),
}


def run(*args: str) -> Result:
    return CliRunner().invoke(application, list(args), prog_name="autoparallel")


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the problem, static and served, and the result of a search."""
    path = tmp_path_factory.mktemp("unmeasured")
    monkeypatch.chdir(path)
    (path / "static.toml").write_text(PROBLEM.format(mode=""))
    served = PROBLEM.format(mode='mode = "closed"').replace("microbatch = 8\n", "")
    (path / "served.toml").write_text(served)
    assert run("search", "static.toml", "--out", "result").exit_code == 0
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so(folder: Path, command: str) -> None:
    told = run(*COMMANDS[command])
    assert told.exit_code == 0, told.output
    assert "not calibrated" in " ".join(told.stderr.split())
    as_json = run(*COMMANDS[command], "--json")
    assert as_json.exit_code == 0, as_json.output
    assert "not calibrated" in json.dumps(json.loads(as_json.stdout))


def test_report_document_and_plan_say_so(folder: Path) -> None:
    assert run("document", "result").exit_code == 0
    for name in ("report.html", "plan.json", "deployment-plan.md", "deployment-plan.html"):
        assert "not calibrated" in (folder / "result" / name).read_text(encoding="utf-8"), name


def test_the_catalog_says_whose_kernels_were_measured(folder: Path) -> None:
    assert "not calibrated" in " ".join(run("catalog", "mi300x").stdout.split())
    assert "trtllm, vllm" in run("catalog", "h100-sxm").stdout
    assert "a roofline" in run("catalog", "plan-card").stdout
