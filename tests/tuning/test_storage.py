"""Storage URLs: which are known, and that no text tells their secrets."""

from __future__ import annotations

import errno
import json
import os
import time
from importlib import util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import StudyDirection
from sqlalchemy.exc import OperationalError

from autoparallel.errors import StorageError
from autoparallel.tuning import failures
from autoparallel.tuning.failures import is_passing, is_restart, patience_to_begin_s, patiently
from autoparallel.tuning.journal import Journal
from autoparallel.tuning.storage import opened
from autoparallel.tuning.urls import hidden, shown, url_in

URL = "postgresql://alice:s3cr%40t@db.example:5432/searches?sslmode=require&sslpassword=hush"
LINES = [{"op_code": 0, "worker_id": "w", "number": number} for number in range(3)]


def test_a_url_is_shown_without_credentials_and_options() -> None:
    assert shown(URL) == "postgresql://***@db.example:5432/searches?***"
    assert shown("results/moe10b/study.journal") == "results/moe10b/study.journal"
    assert shown("grpc://host:1") == "grpc://host:1"
    # A password is hidden where its host or the scheme is missing, too; a port is none.
    assert shown("postgresql://bob:secret") == "postgresql://bob:***"
    assert shown("bob:secret@host/x") == "bob:***@host/x"
    assert shown("postgresql://host:5432/x") == "postgresql://host:5432/x"
    assert (
        hidden('invalid value "secret" for port', "postgresql://bob:secret") == 'invalid value "***" for port'
    )
    # Unquoted separators inside a password do not end the credentials early.
    assert shown("postgresql://bob:a/b@c?d@h/x") == "postgresql://***@h/x"


@pytest.mark.parametrize(
    "text",
    [
        f"could not parse {URL}",
        'password authentication failed for user "alice"',
        "rejected s3cr@t and s3cr%40t",
        "alice:s3cr%40t is wrong; invalid sslpassword hush",
    ],
)
def test_a_text_loses_every_secret(text: str) -> None:
    clean = hidden(text, URL)
    assert not [secret for secret in ("alice", "s3cr", "hush") if secret in clean]
    assert "***" in clean


@given(st.text(st.characters(codec="ascii", exclude_characters="?\0"), min_size=4))
def test_any_password_is_hidden(password: str) -> None:
    url = f"postgresql://u:{password}@h/x"
    assert password not in hidden(f"<{password}> {url}", url).replace("***", "")


@pytest.mark.parametrize(
    "text", ["SSL was required", "requires sslmode=require within 10 s", "aliceblue, the analyser"]
)
def test_words_that_are_no_secret_stay(text: str) -> None:
    url = "postgresql://alice:s3cr@t@h/x?sslmode=require&connect_timeout=10"
    assert hidden(text, url) == text


@pytest.mark.parametrize("word", [URL, f"--storage={URL}", "alice:s3cr@t@h/x"])
def test_the_url_in_a_word_of_a_command_line_is_found(word: str) -> None:
    assert "s3cr" not in hidden(f"unexpected extra argument ({word})", url_in(word))
    assert url_in("problems/moe10b.toml") == ""


def test_a_url_inside_another_keeps_its_secret() -> None:
    url = "postgresql://user:hunter2@127.0.0.1/x?sslmode=disable"
    assert "hunter2" not in hidden(f'invalid sslmode value: "disable{url}"', url + url)


@pytest.mark.parametrize("word", ["{'a':" * 20_000, "://" * 30_000, ":" * 100_000 + "@", "a" * 100_000])
def test_a_long_word_is_read_at_once(word: str) -> None:
    """Every pattern is linear in what it reads: else this takes minutes."""
    hidden(word, url_in(word))
    assert len(shown(word)) <= len(word) + len("***")


def test_a_short_password_does_not_eat_other_words() -> None:
    assert hidden("password a was wrong at last", "postgresql://u:a@h/x") == "password *** was wrong at last"


def test_the_text_of_a_driver_s_error_is_one_line_without_secrets() -> None:
    def fail() -> None:
        raise OperationalError("SELECT 'hush'", {"p": "s3cr@t"}, OSError("user alice: s3cr@t\nline 2"))

    with pytest.raises(StorageError) as raised:
        patiently(fail, URL, passing=is_restart)
    message = str(raised.value)
    assert message == "the storage postgresql://***@db.example:5432/searches?*** failed: user ***: ***"
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("mongo://me:secret@h/x", "mongo://***@h/x' is no storage"),
        ("", "is no storage"),
        ("grpc://host", "names no host and port"),
        ("grpc://host:port", "failed"),
        ("sqlite:////no/such/folder/x.db", "unable to open"),
        (
            "/no/such/folder/x.journal",
            "No such file or directory; name a file in a folder",
        ),
        (".", ". is a folder: name a file in it, such as ./study.journal"),
        ("sqlite:///.", "is a folder: name a file in it"),
        ("postgresql://me:secret@127.0.0.1:1/x", "Connection refused"),
        ("postgresql://me:secret@127.0.0.1:1/x", "check that the server runs, and the storage's host"),
        ("postgresql://me:secret@[::1/x", "failed"),
        ("postgresql://me:secret@127.0.0.1:1/x?nonsense=secret", "failed"),
    ],
)
def test_what_cannot_be_opened_is_explained(monkeypatch: pytest.MonkeyPatch, url: str, part: str) -> None:
    monkeypatch.setattr(failures, "PATIENCE_S", 0.0)
    with pytest.raises(StorageError, match=r"\S") as raised:
        opened(url, make=True).__enter__()
    assert part in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("url", "module"), [("postgresql://h/x", "psycopg"), ("grpc://h:1", "grpc")])
def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch, url: str, module: str) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(StorageError, match=rf"needs {module}.*autoparallel\[storage\]"):
        opened(url, make=True).__enter__()


def test_a_full_disk_is_not_waited_for_and_a_restart_is() -> None:
    def lost(text: str) -> OperationalError:
        return OperationalError("", {}, OSError(text))

    assert is_passing(lost("server closed the connection unexpectedly"))
    assert not is_passing(lost("database or disk is full"))
    assert not is_passing(OSError(errno.ENOSPC, "No space left on device"))


def test_a_server_that_restarts_is_waited_for_and_a_wrong_password_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failures, "PAUSE_S", 0.0)
    says = ["connection refused", "the database system is starting up"]
    heard: list[str] = []

    def connect() -> str:
        if says:
            raise OperationalError("", {}, OSError(says.pop(0)))
        return "open"

    assert patiently(connect, URL, heard.append, passing=is_restart) == "open"
    place = "postgresql://***@db.example:5432/searches?***"
    assert heard == [f"{place} does not answer (connection refused); trying again for 60 s"]
    for lasting in ("password authentication failed", "could not translate host name", "disk is full"):
        says.append(lasting)
        with pytest.raises(StorageError, match=lasting):
            patiently(connect, URL, heard.append, passing=is_restart)
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("connection failed: Connection refused\n\tIs the server running on that host?", 5.0),
        ("connection timeout expired", 0.0),
        ("the database system is starting up", 60.0),
        ("database is locked", 60.0),
    ],
)
def test_where_nobody_listens_at_the_start_is_told_soon(text: str, seconds: float) -> None:
    assert patience_to_begin_s(OperationalError("", {}, OSError(text))) == seconds


def test_patience_ends_by_what_failed_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was refused and then starts up is waited for; one that stays away is not for long."""
    monkeypatch.setattr(failures, "PAUSE_S", 0.0)
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    says = ["refused", "starting up", "starting up", "starting up"]

    def connect() -> str:
        if says:
            raise OperationalError("", {}, OSError(says.pop(0)))
        return "open"

    assert patiently(connect, URL, passing=is_restart, patience=patience_to_begin_s) == "open"
    says += ["refused"] * 9
    with pytest.raises(StorageError, match="refused"):
        patiently(connect, URL, passing=is_restart, patience=patience_to_begin_s)
    assert len(says) == 6


@pytest.mark.parametrize("content", ["my precious notes, no newline", "failed: 'op_code'\n", "{}\n", "[{"])
@pytest.mark.parametrize("make", [True, False])
def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path, content: str, make: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with (
        pytest.raises(StorageError, match=r"holds something else than a search.*name a new file"),
        opened(str(path), make=make),
    ):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize("content", ["", "{", '{"op_code":', '{"op_code":0,"work'])
def test_what_a_killed_search_left_of_its_first_line_is_a_journal(tmp_path: Path, content: str) -> None:
    path = tmp_path / "study.journal"
    path.write_text(content)
    with opened(str(path), make=True) as storage:
        storage.create_new_study([StudyDirection.MINIMIZE], "s")
    assert json.loads(path.read_text())["study_name"] == "s"


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_pipe_is_refused_before_it_waits_for_ever(tmp_path: Path, form: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(StorageError, match="is a device or a pipe, not a file: name a journal file's path"),
        opened(form.format(tmp_path / "pipe"), make=True),
    ):
        pass


def test_a_path_that_is_too_long_is_explained() -> None:
    with pytest.raises(StorageError, match="File name too long"), opened("a" * 5000, make=False):
        pass


def test_a_journal_that_something_else_wrote_to_is_explained(tmp_path: Path) -> None:
    """An unknown argument of a distribution, inside a line of the right form, is a TypeError of Optuna's."""
    distribution = {"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0, "steep": 1}}
    lines = [
        {"op_code": 0, "worker_id": "w", "study_name": "a", "directions": [1]},
        {"op_code": 4, "worker_id": "w", "study_id": 0, "datetime_start": "2024-01-01T00:00:00"},
        {"op_code": 5, "worker_id": "w", "trial_id": 0, "param_name": "x", "param_value_internal": 0.5,
         "distribution": json.dumps(distribution)},
    ]  # fmt: skip
    path = tmp_path / "damaged.log"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    with pytest.raises(StorageError, match=r"damaged.log failed"), opened(str(path), make=False):
        pass


def test_a_journal_cuts_off_what_a_full_disk_left_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path)
    journal.append_logs(LINES[:1])
    with path.open("ab") as file:
        file.write(b'{"op_code":0,"work')
    assert [*Journal(path).read_logs(0)] == LINES[:1]
    journal.append_logs(LINES[1:])
    assert [*Journal(path).read_logs(0)] == LINES
    assert [json.loads(line) for line in path.read_text().splitlines()] == LINES


def test_a_journal_is_whole_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "study.journal"
    journal = Journal(path)
    journal.append_logs(LINES[:1])
    pwrite = os.pwrite

    def full(file: int, content: bytes, place: int) -> int:
        if len(content) > 10:
            return pwrite(file, content[:10], place)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        journal.append_logs(LINES[1:2])
    assert path.read_text() == json.dumps(LINES[0], separators=(",", ":")) + "\n"
    monkeypatch.undo()
    journal.append_logs(LINES[1:])
    assert [*Journal(path).read_logs(0)] == LINES
