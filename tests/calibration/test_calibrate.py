"""The command calibrate: constants, errors on what was left out, and a file that problems can use."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autoparallel.cli.application import application
from autoparallel.problem_file import load_problem

PROBLEM = """\
[model]
name = "llama-3.1-8b"
[hardware]
gpu = "h100-sxm"
calibration = "fitted.toml"
[workload]
prompt_tokens = 128
output_tokens = 8
concurrency = 8
"""


def run(*args: str | Path) -> Result:
    runner = CliRunner(env={"COLUMNS": "120"})
    return runner.invoke(application, [str(arg) for arg in args], prog_name="autoparallel")


def calibrate(folder: Path, *more: str | Path) -> Result:
    return run("calibrate", folder, "--system", "h100_sxm", "--backend", "trtllm", *more)


def test_json(products_folder: Path) -> None:
    answer = json.loads(calibrate(products_folder, "--json").stdout)
    (entry,) = answer["entries"]
    assert (entry["operator"], entry["format"], entry["rows"]) == ("gemm", "bfloat16", 45)
    assert entry["constants"]["t0_s"] == pytest.approx(3e-6, rel=0.02)
    assert set(entry["errors"]) == {"fit", "held_rows", "held_shapes", "roofline"}
    assert entry["errors"]["held_shapes"]["mape"] < 3.0 < entry["errors"]["roofline"]["mape"]


def test_a_problem_takes_the_file(products_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "fitted.toml"
    result = calibrate(products_folder, "--out", out, "--source", "made for this test")
    assert result.exit_code == 0, result.output
    text = tomllib.loads(out.read_text(encoding="utf-8"))
    assert text["provenance"]["source"] == "made for this test"
    assert text["errors"]["gemm"]["bfloat16"]["files"] == ["gemm.csv.gz"]
    (tmp_path / "problem.toml").write_text(PROBLEM, encoding="utf-8")
    hardware = load_problem(tmp_path / "problem.toml").hardware
    assert hardware.calibration == "fitted.toml"
    assert hardware.kernels == {"gemm": text["gemm"]}
    assert calibrate(products_folder, "--out", out).exit_code == 2, "an existing file stays"


def test_the_table_shows_held_out_errors_beside_the_roofline(products_folder: Path) -> None:
    output = calibrate(products_folder).stdout
    assert "unseen shapes" in output
    assert "roofline" in output


def test_real_rows_of_every_table(ops: Path) -> None:
    answer = json.loads(calibrate(ops, "--json").stdout)
    found = {entry["operator"] for entry in answer["entries"]}
    assert {"gemm", "prefill_attention", "prefill_mla", "experts", "all_gather", "all_reduce"} <= found
    assert {"decode_mla", "dispatch_low_latency", "combine_low_latency"} <= found
    assert all(len(entry["fitted"]) <= 8 for entry in answer["entries"])


def test_one_operator_alone(ops: Path) -> None:
    answer = json.loads(calibrate(ops, "--operator", "gemm", "--json").stdout)
    assert [entry["operator"] for entry in answer["entries"]] == ["gemm"]


@pytest.mark.parametrize(
    ("system", "backend", "reason"),
    [("h100_sxm", "none-such", "no rows"), ("abacus", "trtllm", 'system = "abacus"')],
)
def test_nothing_to_fit(products_folder: Path, system: str, backend: str, reason: str) -> None:
    result = run("calibrate", products_folder, "--system", system, "--backend", backend)
    assert result.exit_code == 2
    assert reason in result.output


def test_no_folder_of_tables(tmp_path: Path) -> None:
    assert "no folder" in calibrate(tmp_path / "missing").output
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    result = calibrate(tmp_path)
    assert result.exit_code == 2
    assert "notes.csv" in result.output


def test_a_format_that_nobody_knows_is_named(products_folder: Path, tmp_path: Path) -> None:
    import pandas as pd

    rows = pd.read_csv(products_folder / "gemm.csv.gz")
    folder = tmp_path / "odd"
    folder.mkdir()
    rows.assign(dtype="int3").to_csv(folder / "gemm.csv", index=False)
    result = calibrate(folder)
    assert result.exit_code == 2
    assert 'gemm.csv: dtype "int3" is not known for gemm: 45 rows' in " ".join(result.output.split())
    pd.concat([rows, rows.assign(dtype="int3")]).to_csv(folder / "gemm.csv", index=False)
    answer = json.loads(calibrate(folder, "--json").stdout)
    assert [entry["format"] for entry in answer["entries"]] == ["bfloat16"]
    assert answer["skipped"] == {'gemm.csv: dtype "int3" is not known for gemm': 45}
