"""The command validate: errors by group, reasons for what was left out, a tolerance, a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from autoparallel.calibration import validate
from autoparallel.cli.application import application

TABLES = ("gemm", "context_attention", "generation_attention", "moe", "nccl", "deepep", "all_reduce_custom")


def run(*args: str | Path) -> Result:
    words = ["validate", *(str(arg) for arg in args)]
    return CliRunner().invoke(application, words, prog_name="autoparallel")


def answer(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(path, "--json").stdout)
    return found


@pytest.mark.parametrize("name", [*TABLES, "context_mla", "generation_mla", "moe_all_to_all"])
def test_operators(ops: Path, name: str) -> None:
    found = answer(ops / f"{name}.csv")
    assert set(found) == {"rows", "skipped", "metrics"}
    assert found["rows"] == len(pd.read_csv(ops / f"{name}.csv"))
    metrics = found["metrics"]["latency_us"]
    assert set(metrics) == {"mape", "median_ape", "p90_ape", "bias", "n"}
    assert metrics["n"] == found["rows"]
    assert metrics["mape"] < 25.0


def test_static_batches(static: Path) -> None:
    found = answer(static)
    assert found["rows"] == 4
    assert not found["skipped"]
    assert set(found["metrics"]) == {"ttft_ms", "output_tokens_per_s_per_gpu"}
    assert found["metrics"]["output_tokens_per_s_per_gpu"]["mape"] < 40.0


def test_rows_in_another_order_and_without_optional_columns(ops: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(ops / "gemm.csv").drop(columns=["kernel", "backend_version"])
    path = tmp_path / "rows.csv"
    rows.sample(frac=1.0, random_state=0)[sorted(rows.columns)].to_csv(path, index=False)
    found, straight = (answer(file)["metrics"]["latency_us"] for file in (path, ops / "gemm.csv"))
    assert found == pytest.approx(straight)


def test_predictions_stay_beside_their_measurements(ops: Path) -> None:
    values = validate(ops / "nccl.csv").values
    raw = pd.read_csv(ops / "nccl.csv")
    assert values["measured"].tolist() == raw["latency_us"][values["row"]].tolist()


def test_what_stands_in_is_said(ops: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(ops / "gemm.csv").head(4).assign(dtype="bfloat16")
    rows["system"] = ["h100_sxm", "h20_sxm", "h100_sxm", "a100_sxm"]
    rows["backend"] = ["sglang", "vllm", "trtllm", "vllm"]
    rows.loc[3, "dtype"] = "nvfp4"
    path = tmp_path / "rows.csv"
    rows.to_csv(path, index=False)
    told = {
        "no constants of sglang: those of vllm": 1,
        "nothing was measured on h20-sxm with vllm: constants of other GPUs": 1,
        "gemm was not measured in nvfp4: constants of bfloat16": 1,
    }
    assert answer(path)["stand_ins"] == told
    text = " ".join(run(path).stdout.split())
    assert all(sentence in text for sentence in told)
    rows[["system", "backend"]] = "h100_sxm", ""
    rows.assign(dtype="bfloat16").to_csv(path, index=False)
    assert answer(path)["stand_ins"] == {"no constants of a table without backend: those of vllm": 4}


def test_an_engine_on_a_gpu_that_nobody_measured(static: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.read_csv(static).head(2).assign(gpu="MI300X", engine="vllm").to_csv(path, index=False)
    assert list(answer(path)["stand_ins"].values()) == [2]


def test_skipped_rows_have_reasons(ops: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(ops / "gemm.csv").head(6)
    rows["system"] = ["h100_sxm"] * 3 + ["abacus"] * 3
    rows.loc[0, "dtype"] = "ternary"
    rows.loc[1, "latency_us"] = np.nan
    path = tmp_path / "rows.csv"
    rows.to_csv(path, index=False)
    found = answer(path)
    assert found["rows"] == 6
    assert found["metrics"]["latency_us"]["n"] == 1
    assert sorted(found["skipped"].values()) == [1, 1, 3]
    assert any("abacus" in reason for reason in found["skipped"])
    assert any("ternary" in reason for reason in found["skipped"])


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("model", "nobody/nothing-1b", "nothing-1b"),
        ("gpu", "Abacus 3000", "Abacus"),
        ("load", "bursty", "bursty"),
        ("weights_dtype", "ternary", "ternary"),
        ("concurrency", "", "concurrency is missing"),
        ("isl", "long", "isl is no number"),
        ("gpus", "3", "number of gpus"),
        ("tp", "0.5", "tp is no whole number"),
        ("etp", "0.5", "etp is no whole number"),
        ("concurrency", "0.5", "concurrency is no whole number"),
    ],
)
def test_static_rows_that_cannot_be_predicted(
    static: Path, tmp_path: Path, column: str, value: str, reason: str
) -> None:
    rows = pd.read_csv(static, dtype=str)
    rows.loc[0, column] = value
    path = tmp_path / "rows.csv"
    rows.to_csv(path, index=False)
    found = answer(path)
    ((named, count),) = found["skipped"].items()
    assert reason in named
    assert count == 1


def test_an_unmeasured_gpu_is_predicted_with_defaults_and_says_so(ops: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.read_csv(ops / "gemm.csv").assign(system="b300_sxm").to_csv(path, index=False)
    ((_, group),) = validate(path).groups()
    assert group.startswith("default trtllm")


def test_tolerance(ops: Path) -> None:
    assert run(ops / "gemm.csv", "--tolerance", "30").exit_code == 0
    assert run(ops / "gemm.csv", "--tolerance", "0.5").exit_code == 1


def test_nothing_predicted_misses_every_tolerance(ops: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.read_csv(ops / "gemm.csv").assign(system="abacus").to_csv(path, index=False)
    assert run(path).exit_code == 0
    assert run(path, "--tolerance", "1000").exit_code == 1


def test_the_page(ops: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = run(ops / "gemm.csv", "--plot", page)
    assert result.exit_code == 0
    assert "median" in result.stdout
    text = page.read_text(encoding="utf-8")
    assert "Content-Security-Policy" in text
    assert "h100_sxm trtllm gemm bfloat16" in text
    assert "http://" not in text[: text.index("<script")]


def test_a_calibration_of_ones_own(ops: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[gemm.bfloat16]\nt0_s = 1.0\n")
    found = json.loads(run(ops / "gemm.csv", "--calibration", own, "--json").stdout)
    assert found["metrics"]["latency_us"]["bias"] > 1e4


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("a,b\n1,2\n")
    for file in (path, tmp_path / "missing.csv"):
        result = run(file)
        assert result.exit_code == 2
        assert file.name in result.output
    folder = run(tmp_path)
    assert folder.exit_code == 2
    assert "is a folder; name a table in it" in folder.output
