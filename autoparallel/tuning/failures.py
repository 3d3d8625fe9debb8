"""What storages fail with: told without secrets, and tried again where it may be over in a moment."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

import optuna

from autoparallel.errors import StorageError
from autoparallel.tuning.urls import hidden, shown

T = TypeVar("T")
Notice = Callable[[str], None]
# How long a storage that does not answer is tried again, and how often. [s]
PATIENCE_S = 60.0
PAUSE_S = 0.5
# How long one is tried where nobody listens when it is opened: rather a wrong port than a restart. [s]
BEGIN_S = 5.0
# What Optuna raises over a file that something else wrote to.
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
_LASTING = re.compile(r"full|no space|readonly|read-only", re.IGNORECASE)
# What a server that restarts, or a file that another process locks, says to who comes just then.
_RESTARTS = re.compile(
    r"starting up|shutting down|recovery|refused|reset by peer|closed the connection|terminating|"
    r"is the server running|timeout|database is locked|nothing answers",
    re.IGNORECASE,
)

_REFUSED = re.compile(r"refused|is the server running", re.IGNORECASE)
# Connecting took its time already.
_SILENT = re.compile(r"timeout|nothing answers", re.IGNORECASE)


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
    """Whether a failure of an open storage may be over in a moment: not that of a disk that is full."""
    if isinstance(error, (OSError, ImportError, *DAMAGED)):
        return isinstance(error, ConnectionError | TimeoutError)
    return _LASTING.search(str(_innermost(error))) is None


def is_restart(error: Exception) -> bool:
    """Whether a storage that cannot be opened may be in a moment: not one whose password is wrong."""
    return is_passing(error) and _RESTARTS.search(str(_innermost(error))) is not None


def patience_to_begin_s(error: Exception) -> float:
    """How long a storage that cannot be opened is tried again: briefly where nobody listens. [s]"""
    text = str(_innermost(error))
    if _SILENT.search(text) is not None:
        return 0.0
    return min(BEGIN_S, PATIENCE_S) if _REFUSED.search(text) is not None else PATIENCE_S


def patiently(
    work: Callable[[], T],
    url: str,
    notice: Notice | None = None,
    *,
    passing: Callable[[Exception], bool] = is_passing,
    patience: Callable[[Exception], float] = lambda _: PATIENCE_S,
    between: Callable[[], None] = lambda: None,
    hint: str = "",
) -> T:
    """Do something with a storage, again and again while it is away for a moment.

    Parameters
    ----------
    notice : callable, optional
        Told once that the storage is waited for.
    passing : callable
        Which failures may be over in a moment.
    patience : callable
        For how long after the first failure it is tried again, by default a minute. [s]
    between : callable
        Called before another try.
    hint : str
        What people can do about a failure that lasts.

    Raises
    ------
    StorageError
        It failed for good; the message holds no secret of the URL.
    """
    first = None
    while True:
        try:
            return work()
        except failures() as error:
            now, why = time.monotonic(), reason(error, url)
            allowed = patience(error)
            if not passing(error) or not allowed or (first is not None and now > first + allowed):
                message = f"the storage {shown(url)} failed: {why}"
                raise StorageError(f"{message}; {hint}" if hint else message) from None
            if first is None:
                first = now
                if notice:
                    notice(f"{shown(url)} does not answer ({why}); trying again for {allowed:.0f} s")
            time.sleep(min(PAUSE_S, PATIENCE_S))
            between()


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
