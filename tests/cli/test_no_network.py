"""No command asks a network for anything, nor runs another program, nor unpickles."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoparallel.cli.application import application

DATA = Path(__file__).resolve().parents[1] / "calibration" / "data"
CONFIG = Path(__file__).resolve().parents[1] / "problem_file" / "configs" / "Qwen--Qwen3-0.6B_config.json"
# Python reads it at its start, in every process that a command begins, too.
HOOK = """
import sys
EVENTS = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname",
          "urllib.Request", "os.system", "os.exec", "pickle.find_class")
def heard(event, args):
    # Processes of one machine talk over a socket that is a file, and unpickle what they send each other.
    if event in EVENTS and not (event.startswith("socket") and isinstance(args[-1], (str, bytes))) and not (
        event == "pickle.find_class" and "multiprocessing" in sys.modules):
        with open({log!r}, "a") as log:
            log.write(f"{{event}} {{args!r:.200}}\\n")
sys.addaudithook(heard)
"""
LAYOUT = ("--layout", "tp=2", "--batch", "16")
COMMANDS = (
    ("init", "new.toml"),
    ("catalog",),
    ("catalog", "h100-sxm"),
    ("schema",),
    ("model", "config.json"),
    ("search", "problem.toml", "--storage", "kept.log", "--out", "result"),
    ("evaluate", "problem.toml", *LAYOUT),
    ("explain", "problem.toml", "--plot", "tornado.html"),
    ("verify", "result"),
    ("compare", "result", "result"),
    ("check", "problem.toml", "result", "--out", "audit.html"),
    ("document", "result"),
    ("export", "result"),
    ("report", "result", "--out", "compared.html"),
    ("import", "--problem", "problem.toml", "vllm serve m -tp 2"),
    ("simulate", "problem.toml", *LAYOUT, "--requests", "20", "--set", "workload.mode=closed"),
    (
        "fleet",
        "problem.toml",
        "--set",
        "fleet.gpus=2",
        "--set",
        "workload.mode=saturated",
        "--set",
        "requirements.tpot_s=1",
        "--out",
        "fleet",
    ),
    (
        "place",
        "problem.toml",
        "--ep",
        "4",
        "--set",
        "workload.expert_loads={ kind = 'zipf', exponent = 1.0 }",
    ),
    ("sweep", "problem.toml", "--over", "workload.concurrency=8,16", "--out", "sweep"),
    ("validate", "ops/gemm.csv", "--plot", "measured.html"),
    ("calibrate", "ops", "--system", "h100_sxm", "--backend", "trtllm", "--operator", "gemm"),
    ("search", "problem.toml", "--storage", "sqlite:///kept.db", "--trials", "1", "--out", "again"),
    ("worker", "--storage", "kept.log"),
)
PROGRAM = """
import json, sys
from autoparallel.cli.application import application
for argv in json.loads(sys.argv[1]):
    try:
        code = application(argv, prog_name="autoparallel", standalone_mode=False)
    except Exception as error:
        code = error
    print(json.dumps([argv[0], str(code or 0)]))
"""


@pytest.fixture
def folder(tmp_path: Path, small_problem: str) -> Path:
    """What the commands need, and a hook that notes what they touch."""
    text = small_problem.replace("expert_imbalance = 1.0\n", "") + "max_gpus = 8\nbatch = [16]\ntp = [1, 2]\n"
    (tmp_path / "problem.toml").write_text(text, encoding="utf-8")
    shutil.copy(CONFIG, tmp_path / "config.json")
    shutil.copytree(DATA / "ops", tmp_path / "ops")
    (tmp_path / "hook").mkdir()
    hook = HOOK.format(log=str(tmp_path / "heard"))
    (tmp_path / "hook" / "sitecustomize.py").write_text(hook, encoding="utf-8")
    return tmp_path


def run(folder: Path, program: str, *args: str) -> str:
    path = os.pathsep.join(filter(None, (str(folder / "hook"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", program, *args], cwd=folder, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_no_command_leaves_the_machine(folder: Path) -> None:
    assert {argv[0] for argv in COMMANDS} == set(application.commands)
    printed = run(folder, PROGRAM, json.dumps(COMMANDS))
    ends = [json.loads(line) for line in printed.splitlines() if line.startswith('["')]
    # The last one finds nothing left to do, and says so.
    wrong = [end for end in ends if end[1] != "0" and end[0] != "worker"]
    assert wrong == []
    assert len(ends) == len(COMMANDS)
    assert not (folder / "heard").exists(), (folder / "heard").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.getaddrinfo('127.0.0.1', 1)",
        "import socket; socket.socket().connect_ex(('127.0.0.1', 1))",
        "import urllib.request as u; u.build_opener(u.BaseHandler()).open('nothing://x')",
        "import pickle; pickle.loads(pickle.dumps(OSError))",
        "import os; os.system('true')",
        "import subprocess as s, sys; s.run([sys.executable, '-c', 'import os; os.system(\"true\")'])",
    ],
)
def test_the_hook_hears_it(folder: Path, deed: str) -> None:
    run(folder, f"try:\n    {deed}\nexcept OSError:\n    pass")
    assert (folder / "heard").exists()
