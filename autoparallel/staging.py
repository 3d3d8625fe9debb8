"""Files that appear whole or not at all: made in a hidden place and renamed into theirs at the end."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from autoparallel.errors import OutputError

SUPERSEDED = "superseded"
# Stands in every page that is written for its own sake, so that it alone is replaced without a question.
PAGE_MARK = '<meta name="generator" content="autoparallel">'
_HEAD = "<head>"
# What this process has written so far: told where it is stopped after that.
WRITTEN: dict[Path, None] = {}


@dataclass
class Staging:
    """Files on their way into a folder.

    Attributes
    ----------
    superseded : Path, optional
        Where an earlier result and what was made of it went, once the files are published.
    """

    target: Path
    folder: Path
    names: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    source: str = ""
    made_of_it: tuple[str, ...] = ()
    superseded: Path | None = None

    def write(self, files: Mapping[str, str], *, instead_of: Sequence[str] = ()) -> None:
        """Write files under their names into the staging folder.

        Parameters
        ----------
        instead_of : sequence of str
            Patterns of files of an earlier run, which go where they are not written again.

        Raises
        ------
        OutputError
            The disk is full or the folder cannot be written any more.
        """
        for name, text in files.items():
            self.add(name, partial(_write_text, text))
        self.outdated += instead_of

    def add(self, name: str, writer: Callable[[Path], bool]) -> bool:
        """Let ``writer`` write a file; it says whether there is one.

        Raises
        ------
        OutputError
            As :meth:`write`.
        """
        try:
            made = writer(self.folder / name)
        except OSError as error:
            raise _cannot_write(self.target / name, error) from error
        if made:
            self.names.append(name)
        return made

    def supersede(self, source: str, made_of_it: Sequence[str]) -> None:
        """Where ``source`` changes, move the files and what was made of the old ones aside, together."""
        self.source, self.made_of_it = source, tuple(made_of_it)

    def publish(self) -> None:
        """Rename what was written into place; the last one written comes last."""
        if not self.target.exists() and self._renamed():
            WRITTEN[self.target] = None
            return
        for name in self.names:
            if (self.target / name).exists() and not (self.target / name).is_file():
                raise OSError(errno.EINVAL, f"{name} in it is no file")
        WRITTEN[self.target] = None
        self._move_aside()
        for name in self.names:
            (self.folder / name).replace(self.target / name)
        for path in (path for pattern in self.outdated for path in self.target.glob(pattern)):
            if path.name not in self.names:
                path.unlink()

    def _renamed(self) -> bool:
        """Whether the folder as a whole could take its place; another run may have been there first."""
        try:
            self.folder.rename(self.target)
        except OSError:
            if not self.target.is_dir():
                raise
            return False
        return True

    def _move_aside(self) -> None:
        there = [name for name in self.made_of_it if (self.target / name).exists()]
        old = self.target / self.source
        if not there or (old.is_file() and old.read_bytes() == (self.folder / self.source).read_bytes()):
            return
        aside, number = self.target / SUPERSEDED, 1
        while aside.exists():
            number += 1
            aside = self.target / f"{SUPERSEDED}-{number}"
        aside.mkdir()
        for name in (*self.names, *there):
            if (self.target / name).exists():
                (self.target / name).rename(aside / name)
        self.superseded = aside


def _write_text(text: str, path: Path) -> bool:
    path.write_text(text, encoding="utf-8", newline="\n")
    return True


@contextmanager
def staged(target: Path) -> Iterator[Staging]:
    """Open a folder for writing before the work starts; publish it where the work succeeds.

    Parameters
    ----------
    target : Path
        The folder. Where it exists, its other files stay.

    Raises
    ------
    OutputError
        The folder cannot be made or written.
    """
    target = Path(target)
    beside = target if target.exists() else target.parent
    stage = Staging(target, beside / f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        made = _make_parents(beside)
        stage.folder.mkdir()
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        yield stage
        try:
            stage.publish()
        except OSError as error:
            raise _cannot_write(target, error) from error
    finally:
        shutil.rmtree(stage.folder, ignore_errors=True)
        _remove_empty(made)


def write_page(path: Path, page: str, *, overwrite: bool = False) -> None:
    """Write a page whole or not at all; in place of an earlier page of ours without a question.

    Raises
    ------
    OutputError
        As :func:`write_file`.
    """
    check_file(path, overwrite=overwrite, page=True)
    write_file(path, page.replace(_HEAD, f"{_HEAD}\n{PAGE_MARK}", 1), overwrite=True)


def write_file(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write one file whole or not at all.

    Raises
    ------
    OutputError
        As :func:`check_file`, or its folder cannot be written.
    """
    check_file(path, overwrite=overwrite)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose another folder") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    WRITTEN[path] = None


def check_file(path: Path, *, overwrite: bool, page: bool = False) -> None:
    """Refuse to write a file that would take the place of something else.

    Parameters
    ----------
    overwrite : bool
        Any file may be replaced; a device or a pipe never.
    page : bool
        A page that :func:`write_page` has written may be replaced.

    Raises
    ------
    OutputError
        It is a folder, a device or a pipe, or exists and must not be overwritten.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file, such as {path / 'NAME'}")
    if not path.exists():
        return
    if not path.is_file():
        raise OutputError(f"{path} is a device or a pipe, not a file; name another")
    if not overwrite and not (page and _is_own_page(path)):
        raise OutputError(f"{path} exists; --force overwrites it")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _is_own_page(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return PAGE_MARK.encode() in file.read(1000)
    except OSError:
        return False


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and what is missing above it; the ones made, deepest first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"cannot write {path}: {reason}; choose another folder with --out")
