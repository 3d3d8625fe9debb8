"""The exceptions of autoparallel: what can go wrong, each with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


class AutoparallelError(Exception):
    """Base of every error that autoparallel raises on purpose.

    ``exit_code`` is what the command line returns for it.
    """

    exit_code = 2


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: where, what, and what to do.

    ``line`` counts from 1 and is 0 where no line can be named; ``key`` is the dotted path of the
    field, empty for a fault of the whole file.
    """

    message: str
    file: str = ""
    line: int = 0
    key: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ProblemError(AutoparallelError):
    """An input file that cannot be used; ``faults`` lists everything wrong with it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class LayoutError(AutoparallelError):
    """A layout, batch or microbatch that the model or the hardware cannot have."""

    def __init__(self, violations: Sequence[str]) -> None:
        self.violations = tuple(violations)
        super().__init__("\n".join(self.violations))


class OutputError(AutoparallelError):
    """A result that cannot be written where the user asked for it."""


class StorageError(AutoparallelError):
    """A storage of searches that cannot be opened or used, or a study in it that is not for us."""


class SweepError(AutoparallelError):
    """A sweep that cannot run, or not any further: no scheduler, a process that was killed."""


@dataclass(frozen=True)
class Conflict:
    """One rule that keeps a problem from having a plan, and what would have to give.

    ``best`` is the best value that any plan reaches for the rule's quantity when this rule alone is
    dropped; ``None`` where dropping it alone does not help.
    """

    rule: str
    sentence: str
    limit: float | None = None
    best: float | None = None
    unit: str = ""


class TimeLimitError(AutoparallelError):
    """The time of a search was over before it had a plan."""

    exit_code = 1


class InfeasibleError(AutoparallelError):
    """No plan meets the requirements; ``conflicts`` says which rules are in each other's way."""

    exit_code = 3

    def __init__(self, message: str, conflicts: Sequence[Conflict] = ()) -> None:
        self.conflicts = tuple(conflicts)
        super().__init__(message)


@contextmanager
def noting(saved: Callable[[], str]) -> Iterator[None]:
    """Add to whatever ends a piece of work, Ctrl-C too, a note of what is saved already.

    Who knew it better, because it was closer, has the word: there is one note.
    """
    try:
        yield
    except BaseException as end:
        if not notes_of(end) and (note := saved()):
            end.add_note(note)
        raise


def notes_of(error: BaseException) -> str:
    """What was noted of an error, in one text."""
    return ". ".join(getattr(error, "__notes__", ()))
