"""Files that are no problem files at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem


def fault_of(path: Path | str) -> str:
    with pytest.raises(ProblemError) as caught:
        load_problem(path)
    (fault,) = caught.value.faults
    return str(fault)


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert fault_of(path).startswith(f"{path}: there is no such file; check the path")


def test_folder(tmp_path: Path) -> None:
    assert fault_of(tmp_path) == f"{tmp_path}: is a folder; name the file inside it"


def test_impossible_name() -> None:
    assert "cannot be read" in fault_of("a\0b.toml")


def test_file_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert "cannot be read" in fault_of(tmp_path / "a" / "b.toml")


def test_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b"[model]\nname = '\xe9t\xe9'\n")
    assert fault_of(path) == f"{path}:2: is not UTF-8 text; save it in that encoding"


def test_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path, small_problem: str) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + small_problem.replace("\n", "\r\n").encode())
    assert load_problem(path).model.num_hidden_layers == 8


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (5 * 1024 * 1024))
    assert fault_of(path) == f"{path}: cannot be read: it is larger than 4 MiB"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[model]\nname =\n", 2),
        ("[model]\nname = 'a'\nname = 'b'\n", 3),
        ("[model\n", 1),
        ("a = 1\n\n[model]\nb = [1,\n2\n", 5),
        ('a = 1\nb = "open\n', 2),
    ],
)
def test_broken_toml_names_the_line(write: Callable[[str], Path], text: str, line: int) -> None:
    path = write(text)
    assert fault_of(path).startswith(f"{path}:{line}: is not valid TOML: ")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, "a = 1" + "0" * 5000])
def test_hostile_toml(write: Callable[[str], Path], text: str) -> None:
    assert "nested too deeply" in fault_of(write(text)) or "not valid TOML" in fault_of(write(text))


def test_empty_file_misses_its_sections(write: Callable[[str], Path]) -> None:
    with pytest.raises(ProblemError) as caught:
        load_problem(write(""))
    assert [fault.key for fault in caught.value.faults] == ["model", "hardware", "workload"]


def test_splits_of_very_many_layers_are_refused(small_problem: str, write: Callable[[str], Path]) -> None:
    path = write(small_problem.replace("trials = 16", 'stages = "optimal"'))
    assert load_problem(path, ["model.num_hidden_layers=512"]).search.optimal_stages
    with pytest.raises(ProblemError, match=r"search\.stages: .* up to 512 layers, not 513"):
        load_problem(path, ["model.num_hidden_layers=513"])
