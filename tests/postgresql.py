"""A PostgreSQL server of a test's own, on loopback, run by a user that may run one."""

from __future__ import annotations

import glob
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "p@ss/" + secrets.token_hex(8)


class Server:
    """A server with one database ``searches`` of one user ``me``."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        # PostgreSQL refuses to be root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            shutil.chown(folder, self._user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        """With its password, quoted."""
        quoted = PASSWORD.replace("@", "%40").replace("/", "%2F")
        return f"postgresql://me:{quoted}@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make the cluster, and start."""
        words = self._folder / "password"
        words.write_text(PASSWORD)
        words.chmod(0o644)
        self._run("initdb", "-D", "data", "-U", "me", "-A", "scram-sha-256", f"--pwfile={words}")
        self.start()

    def start(self) -> None:
        places = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        options = f"{places} -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        """Stop at once: sessions are cut off."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", "fast", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )


def why_not() -> str:
    """Why no server can be run here; empty where one can."""
    if _programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


def _programs() -> Path | None:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    path = found[-1] if found else shutil.which("initdb")
    return Path(path).parent if path else None


@contextmanager
def running() -> Iterator[Server]:
    """A server that is gone afterwards."""
    programs = _programs()
    if programs is None:
        raise RuntimeError(why_not())
    folder = Path(tempfile.mkdtemp(prefix="autoparallel-postgresql-"))
    server = Server(programs, folder)
    try:
        server.make()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
