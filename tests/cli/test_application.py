"""The program as a whole: help, failures, exit codes."""

from __future__ import annotations

import json
import os
import pkgutil
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from autoparallel import planner
from autoparallel.cli import commands
from autoparallel.cli.application import application

Run = Callable[..., Result]
# A file each; the word import is Python's own.
COMMANDS = tuple(
    sorted(module.name.removesuffix("_command") for module in pkgutil.iter_modules(commands.__path__))
)
HEAVY = ("numpy", "pandas", "pydantic", "ortools", "optuna", "plotly", "rich", "jinja2")


def test_every_file_of_the_package_is_a_command() -> None:
    assert tuple(sorted(application.commands)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(run: Run, command: str) -> None:
    shown = run(command, "--help")
    assert shown.exit_code == 0
    assert "Example" in shown.stdout
    assert f"autoparallel {command}" in shown.stdout
    assert "--json" in shown.stdout


def test_help_names_the_commands_and_the_completion(run: Run) -> None:
    shown = run("--help")
    assert all(command in shown.stdout for command in COMMANDS)
    assert "_AUTOPARALLEL_COMPLETE=bash_source" in shown.stdout


def test_the_program_without_work_loads_nothing_heavy() -> None:
    script = f"import sys, autoparallel.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version(run: Run) -> None:
    assert run("--version").stdout.startswith("autoparallel, version ")


def test_completion_is_what_the_help_says() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from autoparallel.cli import main; main()"],
        env={**os.environ, "_AUTOPARALLEL_COMPLETE": "zsh_source"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "#compdef autoparallel" in done.stdout


def test_a_misspelt_command_is_guessed(run: Run) -> None:
    done = run("serch")
    assert done.exit_code == 2
    assert "Did you mean 'search'?" in done.stderr


@pytest.mark.parametrize(
    ("failure", "code", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("wheel fell off"), 70, "this is a bug in autoparallel"),
    ],
)
def test_failures_are_messages_and_leave_nothing(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch, failure: BaseException, code: int, says: str
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise failure

    monkeypatch.setattr(planner, "search", fail)
    done = run("search", problem)
    assert done.exit_code == code
    assert says in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert os.listdir() == ["problem.toml"]


def test_a_bug_shows_its_traceback_on_request(
    run: Run, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPARALLEL_DEBUG", "1")
    monkeypatch.setattr(planner, "search", lambda *args, **options: 1 / 0)
    assert isinstance(run("search", problem).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (("search", "none.toml", "--json"), "ProblemError"),
        (("search", "--json"), "usage"),
        (
            ("evaluate", "none.toml", "--json", "--layout", "tp=2", "--batch", "0", "--microbatch", "1"),
            "usage",
        ),
        (("catalog", "h101", "--json"), "usage"),
    ],
)
def test_with_json_a_failure_is_one_document_too(run: Run, args: tuple[str, ...], kind: str) -> None:
    done = run(*args)
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert document["schema"] == "autoparallel.error/1"
    assert document["error"]["kind"] == kind
    assert "Error: " in done.stderr


def test_all_faults_of_a_file_are_listed_with_their_places(run: Run, problem: str) -> None:
    with open(problem, "a", encoding="utf-8") as file:
        file.write("pp = [0]\nmoon = 1\n")
    done = run("search", problem, "--json")
    assert done.exit_code == 2
    faults = json.loads(done.stdout)["error"]["faults"]
    assert {fault["key"] for fault in faults} == {"search.pp[0]", "search.moon"}
    assert all(fault["line"] > 30 for fault in faults)
    assert "2 faults in the input:" in done.stderr


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_search_leaves_nothing(problem: str, signal_name: str) -> None:
    """The signal comes in the middle of the search, from the search's own progress."""
    script = f"""
import os, signal
from autoparallel import planner
from autoparallel.cli import commands
from autoparallel.cli import main
search = planner.search
def interrupted(problem, **options):
    options["progress"] = lambda done, total, message: done and os.kill(os.getpid(), signal.{signal_name})
    return search(problem, **options)
planner.search = interrupted
main()
"""
    folder = os.path.dirname(problem)
    command = [sys.executable, "-c", script, "search", problem, "--out", f"{folder}/out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "\ninterrupted; nothing was written\n"
    assert os.listdir(folder) == ["problem.toml"]


def test_a_reader_that_leaves_early_is_no_failure() -> None:
    program = f"{sys.executable} -c 'from autoparallel.cli import main; main()'"
    done = subprocess.run(
        ["bash", "-c", f"{program} schema | head -c 10"], capture_output=True, text=True, check=True
    )
    assert len(done.stdout) == 10
    assert done.stderr == ""


def program(*args: str) -> list[str]:
    return [sys.executable, "-c", "from autoparallel.cli import main; main()", *args]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    ("args", "code"), [(["catalog"], 2), (["catalog", "--json"], 2), (["catalog", "h101", "--json"], 2)]
)
def test_an_answer_that_cannot_be_written_is_a_message(args: list[str], code: int) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(program(*args), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == code
    assert "Error: " in done.stderr
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("option", ["--help", "--version", "--nonsense"])
@pytest.mark.parametrize("streams", [">/dev/full", ">/dev/full 2>/dev/full", "2>/dev/full"])
def test_help_that_cannot_be_written_is_no_traceback(option: str, streams: str) -> None:
    line = f"{shlex.join(program(option))} {streams}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if streams[0] == "2" and option != "--nonsense" else 2)
    assert "Traceback" not in done.stderr
    assert (
        done.stderr.startswith("Error: cannot write the answer")
        or streams != ">/dev/full"
        or (option == "--nonsense")
    )


@pytest.mark.parametrize("streams", [">&-", "2>&- >/dev/null", "<&- >&- 2>&-"])
def test_closed_streams_are_no_failure(problem: str, streams: str) -> None:
    line = f"{shlex.join(program('search', problem, '--resume'))} {streams}; echo $? >&3"
    folder = os.path.dirname(problem)
    done = subprocess.run(["bash", "-c", f"exec 3>&1; {line}"], cwd=folder, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.stdout == "0\n", done.stderr
    assert "bug" not in done.stderr
    assert os.path.exists(f"{folder}/results/problem/plan.json")


def test_ctrl_c_while_the_program_loads_is_told() -> None:
    script = """
import sys
class Stop:
    def find_spec(self, name, *_):
        if name == "autoparallel.cli.application":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
from autoparallel.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "\ninterrupted; nothing was written\n")


@pytest.mark.parametrize("args", [["catalog"], ["schema"]])
def test_a_closed_pipe_ends_quietly(args: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(program(*args), stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


# What goes wrong every day, and the words that say what to do about it.
NEXT_STEPS = {
    "search nothing.toml": "autoparallel init",
    "search .": "name the file inside it",
    "search problem.toml --set foo": "such as search.tp=8",
    "search problem.toml --set search.tp=3": "usable: 1, 2, 4, 8",
    "search problem.toml --set hardware.gpu=h101": "choose one of:",
    "search problem.toml --set workload.mode=opne": 'did you mean "open"?',
    "search problem.toml --set hardware.memory_gb=1": "reserve less",
    "search problem.toml --storage mysql://a:b@c/d": "name a journal file's path",
    "search problem.toml --out /proc/x -q": "choose another folder with --out",
    "search problem.toml --set search.constraints=tp=3": 'write "=="',
    "evaluate problem.toml": "Missing option '--layout'",
    "evaluate problem.toml --batch 8 --layout tp=2,bogus=1": "choose one of:",
    "verify nowhere": "autoparallel search PROBLEM --out nowhere",
    "report .": "autoparallel search PROBLEM --out . writes one",
    "export nowhere": "autoparallel search PROBLEM --out nowhere",
    "check problem.toml problem.toml": "a plan has a batch and a [layout]",
    "import python --problem problem.toml": "check the path",
    "model .": "name a model's config.json",
    "validate problem.toml": "no CSV table of measurements",
    "calibrate . --system h100_sxm --backend trtllm": "name a folder with",
    "worker": "--storage",
    "worker --storage no.log": "autoparallel search PROBLEM --storage",
    "catalog nope": "choose one of:",
    "simulate problem.toml --layout tp=2": 'use mode = "closed"',
    "fleet problem.toml": "say how many GPUs there are",
    "place problem.toml --ep 4": "say how the experts are loaded",
    "sweep problem.toml --over search.tp": "such as search.tp=1,8",
    "init problem.toml": "--force overwrites it",
    "compare a b": "autoparallel search PROBLEM --out a",
    "explain problem.toml --plot /proc/x.html -q": "choose another folder",
}


@pytest.mark.parametrize("line", NEXT_STEPS)
def test_an_error_says_what_to_do_next(run: Run, problem: str, line: str) -> None:
    done = run(*line.split())
    assert done.exit_code == 2, done.output
    assert NEXT_STEPS[line] in " ".join(done.stderr.split())
