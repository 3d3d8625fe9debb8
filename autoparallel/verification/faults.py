"""What is wrong with a file of a result, key by key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoparallel.errors import Fault

if TYPE_CHECKING:
    from pydantic import ValidationError

# A file that is wrong throughout says so in so many faults.
MOST_FAULTS = 20


def faults_of(error: ValidationError, file: str, message: str) -> list[Fault]:
    """The first of the faults, each with its place in the document as people write it."""
    return [
        Fault(f"{message}: {found['msg']}", file, key=_key(found["loc"]))
        for found in error.errors(include_url=False, include_input=False)[:MOST_FAULTS]
    ]


def _key(place: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
