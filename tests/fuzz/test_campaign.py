"""Five hundred hostile inputs, and that the watch sees what it watches for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.conftest import ROOT
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import SECRET, seeds

INPUTS = 500
# Each stands for what a command may do wrong, planted into one that does nothing.
PLANTED = {
    "raise RuntimeError('wheel fell off')": "RuntimeError",
    "sys.exit(70)": "ends with 70",
    "list(iter(int, 1))": "runs for more than",
    "time.sleep(100)": "runs for more than",
    "bytearray(3 << 30)": "MemoryError",
    "print('Traceback (most recent call last)')": "prints Traceback",
    f"print({SECRET!r})": "prints a secret",
    "print('\\x1b[31mred')": "prints a control character",
    "socket.create_connection(('127.0.0.1', 1))": "socket.",
    "os.system('true')": "os.system",
    "pickle.loads(pickle.dumps(OSError))": "pickle.find_class",
    "open('/tmp/../outside-of-the-folder', 'w')": "writes /outside-of-the-folder",
    "eval('canary', {'canary': 1})": "compiles its input",
}
_PROGRAM = """
import os, pickle, socket, sys, time
from pathlib import Path
import click
from autoparallel.cli.application import application
from tests.fuzz import watch
@application.command("planted")
def planted(): {}
watch.CPU_S, watch.WALL_S = 2, 4
sys.__stdout__.write(watch.Watch(Path.cwd()).run(["planted"]))
"""


def python(*args: str, folder: Path, timeout_s: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=timeout_s, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_no_input_gets_more_than_an_answer(tmp_path: Path) -> None:
    done = python("-m", "tests.fuzz.campaign", str(INPUTS), folder=tmp_path, timeout_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{INPUTS} inputs, 0 findings" in done.stdout


@pytest.mark.parametrize("planted", PLANTED)
def test_the_watch_sees_what_it_watches_for(tmp_path: Path, planted: str) -> None:
    done = python("-c", _PROGRAM.format(planted), folder=tmp_path, timeout_s=60)
    assert PLANTED[planted] in done.stdout, done.stderr


def test_the_watch_lets_a_command_be(tmp_path: Path) -> None:
    done = python("-c", _PROGRAM.format("print('fine')"), folder=tmp_path, timeout_s=60)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_damage_is_the_same_for_the_same_seed_and_leaves_little_as_it_was() -> None:
    text = seeds()["problem"][0]
    first, again = ([mutated(text, text, Random(number)) for number in range(50)] for _ in range(2))
    assert first == again
    assert sum(data == text.encode() for data in first) < 10
