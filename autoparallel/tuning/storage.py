"""Where studies are kept: opens a storage by its URL, and keeps the URL's secrets out of every text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import optuna

from autoparallel.errors import StorageError
from autoparallel.tuning.journal import Journal

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

FORMS = "a journal file's path, sqlite:///FILE, postgresql://USER@HOST/DATABASE or grpc://HOST:PORT"
SQLITE = "sqlite:///"
EXTRA = "pip install 'autoparallel[storage]' brings it"
CONNECT_S = 10
# What Optuna raises over a file that something else wrote to.
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
HIDDEN = "***"
_SHORT = 3
_CREDENTIALS = re.compile(r"://(.*)@", re.DOTALL)
# A password behind which the host is missing, and a URL that has lost its beginning.
_HOST_MISSING = re.compile(r"://[^/?#@:\[\]]*:(?!\d+(?:[/?#]|$))([^/?#]+)")
_SCHEME_MISSING = re.compile(r":(.+)@", re.DOTALL)
_POSTGRESQL = re.compile(r"^postgres(ql)?(\+psycopg)?://", re.IGNORECASE)


@contextmanager
def opened(url: str, *, make: bool) -> Iterator[BaseStorage]:
    """Open the storage of a URL, and close it; ``make`` a journal or SQLite file where there is none.

    Raises
    ------
    StorageError
        The URL is of no known form, its driver is not installed, or nothing answers there; the message
        holds no secret of the URL.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = url.removeprefix(SQLITE)
    with explained(url):
        if not make and "://" not in file and not Path(file).is_file():
            raise StorageError(
                f"{shown(url)}: there is no such file; autoparallel search PROBLEM --storage ... begins one"
            )
        storage = _open(url)
    try:
        yield storage
    finally:
        with suppress(*failures()):
            _close(storage)


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
        raise StorageError(f"nothing answers at {shown(url)} within {CONNECT_S} s") from None
    return proxy


def _require(module: str, what: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise StorageError(f"a storage in {what} needs {module}, which is not installed: {EXTRA}")


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Whatever a storage raises becomes a :class:`StorageError` without secrets."""
    try:
        yield
    except failures() as error:
        raise StorageError(f"the storage {shown(url)} failed: {reason(error, url)}") from None


def failures() -> tuple[type[Exception], ...]:
    """What storages, drivers and damaged files raise."""
    from sqlalchemy.exc import SQLAlchemyError

    kinds = (SQLAlchemyError, optuna.exceptions.OptunaError, OSError, ImportError, *DAMAGED)
    try:
        import grpc
    except ImportError:
        return kinds
    return (*kinds, grpc.RpcError)


def is_passing(error: Exception) -> bool:
    """Whether a failure may be over in a moment: a database that restarts, not a disk that is full."""
    if isinstance(error, (OSError, ImportError, *DAMAGED)):
        return isinstance(error, ConnectionError | TimeoutError)
    return re.search(r"full|no space|readonly|read-only", str(_innermost(error)), re.IGNORECASE) is None


def reason(error: Exception, url: str) -> str:
    """A failure in one line, without secrets."""
    inner = _innermost(error)
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    details = getattr(inner, "details", None)  # gRPC's own text is a page
    lines = (str(details()) if callable(details) else str(inner)).strip().splitlines()
    return hidden(lines[0] if lines else type(inner).__name__, url)


def _innermost(error: Exception) -> BaseException:
    """Optuna wraps SQLAlchemy's errors, which wrap the driver's."""
    cause: BaseException = error
    while (inner := getattr(cause, "orig", None) or cause.__cause__) is not None:
        cause = inner
    return cause


def shown(url: str) -> str:
    """A storage URL without what may be secret: credentials and options."""
    if "://" not in url:
        return _SCHEME_MISSING.sub(f":{HIDDEN}@", url)
    if not _CREDENTIALS.search(url) and (match := _HOST_MISSING.search(url)):
        url = url.replace(match[1], HIDDEN)
    # An "@" or a "?" inside a password hides more, never less.
    address, question, _ = _CREDENTIALS.sub(f"://{HIDDEN}@", url).partition("?")
    return f"{address}?{HIDDEN}" if question else address


def hidden(text: str, url: str) -> str:
    """A text in which no secret of a storage URL is left, as it stands there or decoded."""
    secrets = {url: shown(url)}
    if match := _CREDENTIALS.search(url):
        user, _, password = match[1].partition(":")
        for secret in (match[1], password, user):
            secrets |= {secret: HIDDEN, unquote(secret): HIDDEN}
    elif match := (_HOST_MISSING if "://" in url else _SCHEME_MISSING).search(url):
        secrets |= {match[1]: HIDDEN, unquote(match[1]): HIDDEN}
    if "://" in url:
        secrets |= {value: HIDDEN for _, value in parse_qsl(url.partition("?")[2])}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        # A short one would be found inside other words.
        pattern = re.escape(secret) if len(secret) > _SHORT else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(pattern, secrets[secret], text)
    return text
