"""Engines fitted to their own rows: what is found, what is written, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from autoparallel.calibration.residuals import coverage, own_residuals, quantiles, residual_rows
from autoparallel.calibration.serving import predict
from autoparallel.calibration.serving_calibration import calibrate_serving
from autoparallel.calibration.serving_loads import predict_loads, typed
from autoparallel.catalog import load_residuals
from autoparallel.cli.application import application
from autoparallel.errors import ProblemError
from autoparallel.performance.intervals import CALIBRATED, SHARES
from autoparallel.performance.serving import load_engine_constants
from autoparallel.problem_file.engine_calibration import read_engine_calibration
from tests.calibration.test_serving import ROW, frame

POINTS = [
    {
        "concurrency": str(n),
        "tp": str(tp),
        "etp": str(tp),
        "gpus": str(tp),
        "isl": isl,
        "engine_version": "0.18",
    }
    for n, tp, isl in ((4, 2, "1024"), (16, 2, "4096"), (64, 4, "1024"), (8, 4, "4096"), (32, 8, "2048"))
]
TRUTH = replace(load_engine_constants("vllm"), kernel_factor=1.2, base_ttft_s=0.03)


def made(*changes: dict[str, Any]) -> pd.DataFrame:
    """Rows as a deployment would measure them whose kernels are a fifth slower."""
    rows = frame(*(changes or POINTS))
    told = predict(typed(rows), engines=lambda _: TRUTH).values
    for column in ("ttft_ms", "tpot_ms"):
        rows[column] = told[column].astype(str)
    return rows


def run(*arguments: object) -> Result:
    return CliRunner().invoke(application, ["calibrate", *map(str, arguments)])


def test_a_few_rows_of_ones_own_help_on_others() -> None:
    (fit,) = calibrate_serving(made())
    assert not fit.afresh
    errors = fit.errors()
    assert errors["closed", "tpot_ms"]["before"].mape > 8
    for column in ("tpot_ms", "ttft_ms"):
        found = errors["closed", column]
        assert found["fit"].mape < found["unseen"].mape < found["before"].mape / 2
    other = made({"concurrency": "24", "tp": "4", "etp": "4", "gpus": "4", "isl": "3000", "osl": "900"})
    before, after = (
        predict(typed(other), engines=lambda _, engine=engine: engine).values.tpot_ms.iloc[0]  # type: ignore[misc]
        for engine in (fit.before, fit.engine)
    )
    truth = float(other.tpot_ms.iloc[0])
    assert abs(after - truth) < 0.5 * abs(before - truth)


def test_rows_that_agree_with_the_catalog_change_little() -> None:
    rows = frame(*POINTS)
    told = predict(typed(rows)).values
    rows["tpot_ms"], rows["ttft_ms"] = told.tpot_ms.astype(str), told.ttft_ms.astype(str)
    (fit,) = calibrate_serving(rows)
    for name in fit.fitted:
        assert getattr(fit.engine, name) == pytest.approx(getattr(fit.before, name), rel=0.02)


def test_the_version_that_was_measured_is_the_one_that_is_meant() -> None:
    vllm = load_engine_constants("vllm")
    (fit,) = calibrate_serving(made(*({**point, "engine_version": "0.12"} for point in POINTS[:2])))
    assert fit.before.step_s == vllm.step_s + vllm.serial_step_s
    assert (fit.engine.serial_step_s, fit.engine.overlapped_from) == (0.0, "")


def test_rows_that_nothing_explains_are_left_out_and_named() -> None:
    rows = pd.concat([made(), made({**POINTS[0], "model": "meta-llama/Llama-3.1-70B"})], ignore_index=True)
    rows.loc[rows.model.str.contains("70B"), "tpot_ms"] = "500"
    (fit,) = calibrate_serving(rows)
    ((reason, count),) = fit.left_out.items()
    assert count == 1
    assert "Llama-3.1-70B on H100-SXM-80GB: a factor of" in reason
    assert len(fit.rows) == len(POINTS)


def test_models_are_left_out_whole_afresh() -> None:
    rows = pd.concat(
        [made(), made(*({**point, "model": "meta-llama/Llama-3.1-70B"} for point in POINTS))],
        ignore_index=True,
    )
    (fit,) = calibrate_serving(rows, afresh=True)
    assert [set(fold.rows.model) for fold in fit.folds] == [
        {"Qwen/Qwen3-32B"},
        {"meta-llama/Llama-3.1-70B"},
    ]
    assert "kernel_factor" not in fit.fitted
    assert set(residual_rows([fit]).model) == set(rows.model)


def test_coverage_is_of_models_without_which_the_intervals_were_made() -> None:
    shared = {"engine": "vllm", "load": "closed", "level": CALIBRATED, "quantity": "tpot_s"}
    even = np.linspace(-0.1, 0.1, 21)
    rows = pd.concat(
        [
            pd.DataFrame({**shared, "model": name, "residual": even + shift})
            for name, shift in (("a", 0.0), ("b", 1.0))
        ]
    )
    found = coverage(rows)["closed", "tpot_s"]
    assert found.rows == 42
    # Each is judged by the other alone: b is far above a's interval, and a below b's.
    assert found.share < 0.3
    same = rows.assign(residual=np.tile(even, 2))
    assert coverage(same)["all", "all"].share == pytest.approx(0.8, abs=0.06)


def test_quantiles_count_models_by_the_root_of_their_rows() -> None:
    few, many = np.full(4, 0.5), np.full(36, -0.5)
    rows = pd.DataFrame(
        {"engine": "vllm", "model": ["a"] * 4 + ["b"] * 36, "residual": np.concatenate([few, many])}
    )
    found = dict(zip(SHARES, quantiles(rows), strict=True))
    # Weights 4 / 2 and 36 / 6: the few are the upper quarter, not the upper tenth.
    assert found[0.1] == -0.5
    assert found[0.9] == 0.5
    assert found[0.5] == 0.0


def test_residuals_of_ones_own_are_narrower_where_the_rows_are_closer() -> None:
    (fit,) = calibrate_serving(made())
    usual = load_residuals()[CALIBRATED]
    own = own_residuals(fit, usual)
    assert own["closed"]["rows"] == 3 * len(POINTS)
    assert all(
        abs(mine) <= abs(theirs)
        for mine, theirs in zip(own["closed"]["tpot_s"], usual["closed"]["tpot_s"], strict=True)
    )


def test_what_is_written_is_what_predicts(tmp_path: Path) -> None:
    rows, out = tmp_path / "my.csv", tmp_path / "my.toml"
    made().to_csv(rows, index=False)
    result = run("--serving", rows, "--out", out, "--source", "our cluster", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    (engine,) = document["engines"]
    assert engine["rows"] == len(POINTS)
    assert engine["constants"]["kernel_factor"]["after"] > 1.05
    constants = read_engine_calibration(out)
    after = engine["constants"]["base_ttft_s"]["after"]
    assert constants.base_ttft_s == pytest.approx(after, rel=0.01)
    assert set(constants.residuals) == {"closed"}
    values, _ = predict_loads(made(), out)
    plain, _ = predict_loads(made())
    error = (values.predicted / values.measured - 1).abs().mean()
    assert error < 0.5 * (plain.predicted / plain.measured - 1).abs().mean()
    assert 'source = "our cluster"' in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--serving", "--system", "h100_sxm"), "are for tables of operators"),
        (("--engine", "vllm"), "need --serving"),
        ((), "need --system and --backend"),
        (("--serving", "--engine", "vlm"), "no constants of the engine"),
        (("--serving", "--engine", "sglang"), "no rows of sglang"),
        (("--serving", "--out", "nowhere"), "is no folder"),
        (("--serving", "--out", "nowhere/my.toml"), "is no folder"),
    ],
)
def test_refusals(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    rows = tmp_path / "my.csv"
    made(POINTS[0]).to_csv(rows, index=False)
    result = run(rows, *options)
    assert result.exit_code == 2
    assert says in result.output


def test_a_file_that_is_there_is_kept_before_minutes_are_spent(tmp_path: Path) -> None:
    rows, out = tmp_path / "my.csv", tmp_path / "my.toml"
    made(POINTS[0]).to_csv(rows, index=False)
    out.write_text("mine", encoding="utf-8")
    result = run("--serving", rows, "--out", out)
    assert result.exit_code == 2
    assert "--force overwrites it" in result.output


def test_several_engines_need_a_folder(tmp_path: Path) -> None:
    rows = tmp_path / "my.csv"
    frame({}, {"engine": "trtllm"}).to_csv(rows, index=False)
    result = run("--serving", rows, "--out", tmp_path / "one.toml")
    assert result.exit_code == 2
    assert "trtllm, vllm make a file each" in result.output


def test_tables_of_operators_are_no_engines(tmp_path: Path) -> None:
    rows = tmp_path / "gemm.csv"
    rows.write_text(
        "system,backend,dtype,m,n,k,latency_us\nh100_sxm,vllm,bfloat16,1,2,3,4\n", encoding="utf-8"
    )
    result = run("--serving", rows)
    assert result.exit_code == 2
    assert "is no table of whole engines" in result.output


def test_rows_by_the_names_of_the_catalog_and_why_none_can_be_used() -> None:
    own = {**ROW, "model": "qwen3-32b", "gpu": "h100-sxm"}
    assert not predict(typed(pd.DataFrame([own], dtype=object))).skipped.any()
    cases = (
        ({"gpu": "h100"}, "1 of them: GPU not in the catalog: h100"),
        ({"load": "clozed"}, '1 of them: load "clozed"'),
        ({"ttft_ms": "-3", "tpot_ms": "0", "output_tokens_per_s_per_gpu": ""}, "1 of them: nothing measured"),
    )
    for change, words in cases:
        with pytest.raises(ProblemError, match=words):
            calibrate_serving(pd.DataFrame([{**own, **change}], dtype=object))
