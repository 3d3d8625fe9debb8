"""Where studies are kept: opens a storage by its URL."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import optuna

from autoparallel.errors import StorageError
from autoparallel.tuning.failures import Notice, failures, is_restart, patience_to_begin_s, patiently
from autoparallel.tuning.journal import Journal, is_journal
from autoparallel.tuning.urls import shown

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

FORMS = "a journal file's path, sqlite:///FILE, postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"
SQLITE = "sqlite:///"
EXTRA = "pip install 'autoparallel[storage]' brings it"
CONNECT_S = 10
CHECK_SERVER = "check that the server runs, and the storage's host, port, user and database"
CHECK_FILE = "name a file in a folder that can be written"
_POSTGRESQL = re.compile(r"^postgres(ql)?(\+psycopg)?://", re.IGNORECASE)


@contextmanager
def opened(url: str, *, make: bool, notice: Notice | None = None) -> Iterator[BaseStorage]:
    """Open the storage of a URL, and close it; ``make`` a journal or SQLite file where there is none.

    A server that restarts is waited for, one that nobody runs for a few seconds.

    Raises
    ------
    StorageError
        The URL is of no known form, its driver is not installed, nothing answers there, or the file is
        something else's; the message holds no secret of the URL.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def begin() -> BaseStorage:
        _check_file(url, make=make)
        return _open(url)

    hint = CHECK_SERVER if "://" in url.removeprefix(SQLITE) else CHECK_FILE
    storage = patiently(begin, url, notice, passing=is_restart, patience=patience_to_begin_s, hint=hint)
    try:
        yield storage
    finally:
        with suppress(*failures()):
            _close(storage)


def between_tries(storage: BaseStorage) -> Callable[[], None]:
    """What lets a storage forget a connection that was lost."""
    return storage.remove_session if isinstance(storage, optuna.storages.RDBStorage) else lambda: None


def _check_file(url: str, *, make: bool) -> None:
    """Refuse what is no file to keep a search in before it is opened: a pipe would wait for ever."""
    name = url.removeprefix(SQLITE)
    if "://" in name or not name.strip():
        return
    file = Path(name)
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        if make:
            return
        raise StorageError(
            f"{shown(url)}: there is no such file; autoparallel search PROBLEM --storage ... begins one"
        ) from None
    if stat.S_ISDIR(mode):
        raise StorageError(f"{shown(url)} is a folder: name a file in it, such as {shown(url)}/study.journal")
    if not stat.S_ISREG(mode):
        raise StorageError(f"{shown(url)} is a device or a pipe, not a file: name {FORMS}")
    if not url.startswith(SQLITE) and not is_journal(file):
        raise StorageError(
            f"{shown(url)} holds something else than a search and is left as it is: "
            "name a new file, or one that a search has begun"
        )


def _open(url: str) -> BaseStorage:
    if _POSTGRESQL.match(url):
        _require("psycopg", "PostgreSQL")
        address = _POSTGRESQL.sub("postgresql+psycopg://", url)
        options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_S}}
        return optuna.storages.RDBStorage(address, engine_kwargs=options)
    if url.startswith(SQLITE):
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": CONNECT_S}})
    if url.startswith("grpc://"):
        return _proxy(url)
    if "://" in url or not url.strip():
        raise StorageError(f"{shown(url)!r} is no storage: name {FORMS}")
    return optuna.storages.JournalStorage(Journal(Path(url)))


def _close(storage: BaseStorage) -> None:
    if isinstance(storage, optuna.storages.RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
    elif isinstance(storage, optuna.storages.GrpcStorageProxy):
        storage.close()


def _proxy(url: str) -> BaseStorage:
    _require("grpc", "gRPC")
    place = urlsplit(url)
    if place.hostname is None or place.port is None:
        raise StorageError(f"{shown(url)!r} names no host and port: write grpc://HOST:PORT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        proxy = optuna.storages.GrpcStorageProxy(host=place.hostname, port=place.port)
    try:
        proxy.wait_server_ready(timeout=CONNECT_S)
    except ConnectionError:
        proxy.close()
        raise ConnectionError(f"nothing answers there within {CONNECT_S} s") from None
    return proxy


def _require(module: str, what: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise StorageError(f"a storage in {what} needs {module}, which is not installed: {EXTRA}")
