"""Files of others: limits hold before anything is read whole."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel import reading
from autoparallel.calibration.tables import read_csv
from autoparallel.errors import ProblemError
from autoparallel.importers.plan import MAX_BYTES, import_plan
from autoparallel.problem_file import load_problem
from autoparallel.problem_file.trace_file import MAX_REQUESTS, read_trace
from autoparallel.reading import MAX_RESULT_BYTES, MAX_TABLE_BYTES, MIB, read_bytes, read_text
from autoparallel.results_folder import read_plan


def test_all_of_a_file_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "ten"
    file.write_bytes(b"0123456789")
    assert read_bytes(file, 10) == b"0123456789"
    with pytest.raises(OSError, match="larger than"):
        read_bytes(file, 9)


def test_packed_files_count_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "zeros.gz"
    file.write_bytes(gzip.compress(b"0" * (2 * MIB)))
    assert len(read_text(file, 2 * MIB)) == 2 * MIB
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_bytes(file, MIB)


def test_a_pipe_is_read_if_somebody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(reading, "PIPE_S", 0.1)
    with pytest.raises(OSError, match="a pipe into which nobody writes"):
        read_bytes(pipe, 10)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"0123456789",))
    writer.start()
    monkeypatch.setattr(reading, "PIPE_S", 60)
    assert read_bytes(pipe, 10) == b"0123456789"
    writer.join()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path, 10)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_devices_are_not_read(device: str) -> None:
    with pytest.raises(OSError, match="a device"):
        read_bytes(Path(device), 10)


@pytest.mark.parametrize(
    "key", ["model.config", "hardware.calibration", "workload.trace", "workload.expert_loads"]
)
def test_no_key_of_a_problem_reads_a_device(
    small_problem: str, write: Callable[[str], Path], key: str
) -> None:
    path = write(small_problem.replace("expert_imbalance = 1.0\n", ""))
    with pytest.raises(ProblemError, match="a device"):
        load_problem(path, [f"{key}=/dev/zero"])


def sparse(path: Path, size: int) -> Path:
    """A file that takes no room and is as large as it is said."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    ("read", "most", "name"),
    [
        (read_plan, MAX_RESULT_BYTES, "plan.json"),
        (read_csv, MAX_TABLE_BYTES, "gemm.csv"),
        (read_trace, 128 * MIB, "t"),
    ],
)
def test_what_is_too_large_is_refused_at_once(
    tmp_path: Path, read: Callable[[Path], object], most: int, name: str
) -> None:
    with pytest.raises(ProblemError, match=f"larger than {most // MIB} MiB"):
        read(sparse(tmp_path / name, most + 1))


def test_a_table_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as file:
        for _ in range(MAX_TABLE_BYTES // MIB + 1):
            file.write(b"\n" * MIB)
    with pytest.raises(ProblemError, match="larger than 128 MiB"):
        read_csv(bomb)


def test_a_trace_of_too_many_requests_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("no columns" + "\n" * (MAX_REQUESTS + 2))
    with pytest.raises(ProblemError, match="more than 1,000,000 lines"):
        read_trace(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps({"timestamp": 0, "input_length": float("inf"), "output_length": 1}), "is not a time"),
        (json.dumps({"timestamp": 0, "input_length": 10**10, "output_length": 1}), "more than 1,000,000,000"),
        (f"TIMESTAMP,ContextTokens,GeneratedTokens\n{'9' * 140_000},1,1\n", "is no CSV: field larger"),
    ],
)
def test_numbers_of_a_trace_that_no_request_has(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "trace"
    file.write_text(text)
    with pytest.raises(ProblemError, match=message):
        read_trace(file)


def test_a_command_is_no_book(small_problem: str, write: Callable[[str], Path], tmp_path: Path) -> None:
    problem = load_problem(write(small_problem))
    text = "vllm serve m " + "-tp 2 " * MAX_BYTES
    with pytest.raises(ProblemError, match="more than 256 KiB"):
        import_plan(text, problem)
    for name in ("run.sh", "config.yaml"):
        (tmp_path / name).write_text(text)
        with pytest.raises(ProblemError, match=r"larger than 0.25 MiB"):
            import_plan(str(tmp_path / name), problem)


def test_a_word_beyond_the_basic_plane_is_a_string(small_problem: str, write: Callable[[str], Path]) -> None:
    assert load_problem(write(small_problem), ["model.name=\U0001f600 x"]).model.name == "\U0001f600 x"
