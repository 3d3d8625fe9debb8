"""Files that appear whole or not at all: made in a hidden place and renamed into theirs at the end."""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autoparallel.errors import OutputError

SUPERSEDED = "superseded"


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
            try:
                (self.folder / name).write_text(text, encoding="utf-8", newline="\n")
            except OSError as error:
                raise _cannot_write(self.folder / name, error) from error
            self.names.append(name)
        self.outdated += instead_of

    def supersede(self, source: str, made_of_it: Sequence[str]) -> None:
        """Where ``source`` changes, move the files and what was made of the old ones aside, together."""
        self.source, self.made_of_it = source, tuple(made_of_it)

    def publish(self) -> None:
        """Rename what was written into place; the last one written comes last."""
        if not self.target.exists() and self._renamed():
            return
        for name in self.names:
            if (self.target / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} in it is a folder")
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


def write_file(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write one file whole or not at all.

    Raises
    ------
    OutputError
        The file exists and must not be overwritten, or its folder cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; --force overwrites it")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path}: {reason}; choose another folder") from error
    finally:
        partial.unlink(missing_ok=True)


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
