"""Runs one command under watch: how it ends, how long and how much it takes, and what it touches."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from unittest import mock

from click.testing import CliRunner

from autoparallel.cli.application import DEBUG, application
from autoparallel.tuning import failures
from tests.fuzz.mutations import CANARY
from tests.fuzz.seeds import SECRET

CPU_S, WALL_S = 10, 60
MEMORY_BYTES = 2 << 30
ANSWERS = range(4)
# What no input may make the program do; names of Python's audit events.
FORBIDDEN = frozenset(
    ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty",
     "subprocess.Popen", "webbrowser.open")
)  # fmt: skip
# Only where the user names a storage on another machine.
NETWORK = frozenset(
    (
        "socket.connect",
        "socket.bind",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.sendto",
        "urllib.Request",
    )
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x9b]")


class TooLongError(BaseException):
    """A command that ran beyond its time; no handler of the program's takes it for its own."""


class Watch:
    """What the running command does that it must not; for this process, from now on.

    Parameters
    ----------
    folder : Path
        Where commands may write.
    """

    def __init__(self, folder: Path) -> None:
        self._inside = f"{folder.resolve()}{os.sep}"
        self._on = self._online = False
        self._seen: list[str] = []
        self.exit_code = 0
        sys.addaudithook(self._heard)
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, _too_long)

    def run(self, argv: Sequence[str], *, online: bool = False) -> str:
        """Run a command line; what was wrong with how it went, empty for nothing.

        ``online`` allows it to look for another machine.
        """
        self._seen, self._online = [], online
        os.environ[DEBUG] = "1"
        try:
            # No server answers here: none is waited for.
            with mock.patch.object(failures, "PATIENCE_S", 0.0), _limited():
                self._on = True
                done = CliRunner().invoke(application, list(argv), prog_name="autoparallel")
        except TooLongError as late:
            return f"runs for more than {CPU_S} s: {_place(late)}"
        finally:
            self._on = False
        self.exit_code = done.exit_code
        if self._seen:
            return self._seen[0]
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return f"{type(done.exception).__name__}: {_place(done.exception)}"
        if done.exit_code not in ANSWERS:
            return f"ends with {done.exit_code}"
        said = [("Traceback", "Traceback" in done.output), ("a secret", SECRET in done.output)]
        said.append(("a control character", _CONTROL.search(done.output) is not None))
        return next((f"prints {what}" for what, does in said if does), "")

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in FORBIDDEN or (event in NETWORK and not self._online):
            self._seen.append(f"{event} {args!r:.80}")
        elif event == "compile" and CANARY in str(args[0]):
            self._seen.append("compiles its input")
        elif event == "open" and isinstance(args[0], str) and (args[2] or 0) & _WRITES:
            path = os.path.realpath(args[0])
            if not path.startswith((self._inside, "/dev/null")):
                self._seen.append(f"writes {path}")


@contextmanager
def _limited() -> Iterator[None]:
    """Memory beyond what there is now, and both clocks: the processor's, and the wall's for what waits."""
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _too_long(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TooLongError


def _place(error: BaseException) -> str:
    """The innermost line of the program that an error passed through."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "autoparallel" in frame.filename
    ]
    if not frames:
        return str(error)[:80]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name} ({str(error)[:60]!r})"
