"""Engines under load: predicted as measured, counted where they cannot be, and chosen between."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from autoparallel.calibration.choice import choose
from autoparallel.calibration.serving import predict
from autoparallel.calibration.serving_fit import FITTED, Belief, fit_engine
from autoparallel.calibration.serving_loads import predict_loads, typed
from autoparallel.calibration.serving_models import Formats, measured_model
from autoparallel.cli.application import application
from autoparallel.performance.serving import load_engine_constants
from autoparallel.problem_file.hardware_section import catalog_hardware

ROW: dict[str, Any] = {
    "engine": "vllm",
    "engine_version": "1",
    "model": "Qwen/Qwen3-32B",
    "gpu": "H100-SXM-80GB",
    "gpus": "4",
    "tp": "4",
    "pp": "1",
    "dp": "1",
    "ep": "1",
    "etp": "4",
    "weights_dtype": "bfloat16",
    "kv_cache_dtype": "",
    "load": "closed",
    "concurrency": "16",
    "request_rate_per_s": "",
    "isl": "1024",
    "osl": "256",
    "ttft_ms": "150",
    "tpot_ms": "12",
    "output_tokens_per_s_per_gpu": "",
}


def frame(*changes: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([{**ROW, **change} for change in changes], dtype=object)


def test_a_closed_loop_is_predicted_near_what_such_rows_measure() -> None:
    # Four H100s decode 16 sequences of a 32B model in 16 bits: 16 GB of weights each at some 2.8 TB/s are
    # 6 ms, with communication and prompts about 12; engines measure 10 to 13.
    values, skipped = predict_loads(frame({}))
    assert not skipped
    assert set(values.key) == {"ttft_ms", "tpot_ms"}
    assert 9 < float(values.predicted[values.key == "tpot_ms"].iloc[0]) < 14
    assert 60 < float(values.predicted[values.key == "ttft_ms"].iloc[0]) < 300


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "nobody/nothing-1b"}, "not in the catalog"),
        ({"weights_dtype": "ternary"}, "not in the catalog"),
        ({"gpu": "Abacus"}, "GPU not in the catalog"),
        ({"engine": "lmdeploy"}, "no constants of this engine"),
        ({"concurrency": ""}, "no concurrency"),
        ({"concurrency": "many"}, "no concurrency"),
        ({"load": "open"}, "no request rate"),
        ({"isl": "0"}, "no prompt or output length"),
        ({"osl": "inf"}, "no prompt or output length"),
        ({"tp": "2.5"}, "no layout"),
        ({"tp": "3", "etp": "3", "gpus": "3"}, "does not split"),
        ({"ep": "3"}, "hang together"),
        ({"gpus": "2"}, "number of gpus"),
        ({"tp": "1", "etp": "1", "gpus": "1", "isl": "2000000"}, "KV space"),
        ({"ttft_ms": "", "tpot_ms": ""}, "nothing measured"),
    ],
)
def test_what_cannot_be_predicted_is_counted(change: dict[str, Any], reason: str) -> None:
    values, skipped = predict_loads(frame(change, {}))
    assert set(values.row) == {1}
    assert sum(skipped.values()) == 1
    assert reason in next(iter(skipped))


def test_a_rate_beyond_saturation_has_no_first_token() -> None:
    values, skipped = predict_loads(frame({"load": "open", "request_rate_per_s": "500"}))
    assert set(values.key) == {"tpot_ms"}
    assert skipped == {"ttft_ms alone: the rate is beyond saturation": 1}


def test_loads_without_their_optional_columns() -> None:
    rows = frame({"load": "saturated", "output_tokens_per_s_per_gpu": "700"})
    values, skipped = predict_loads(rows.drop(columns=["etp", "pp", "dp", "kv_cache_dtype", "ttft_ms"]))
    assert not skipped
    assert set(values.key) == {"tpot_ms", "output_tokens_per_s_per_gpu"}


def test_formats_of_published_checkpoints() -> None:
    def model(name: str, weights: str, engine: str = "vllm", kv: str = "") -> Any:
        return measured_model(name, Formats(weights, kv, engine))

    llama = model("meta-llama/Llama-3.1-70B", "fp8")
    assert (llama.weights_dtype, llama.kv_cache_dtype, llama.activation_dtype) == ("fp8", "fp8", "bfloat16")
    assert model("meta-llama/Llama-3.1-70B", "fp8", "sglang").kv_cache_dtype == "bfloat16"
    assert model("Qwen/Qwen3-235B-A22B", "fp8").expert_weights_dtype == "fp8_block"
    assert model("Qwen/Qwen3-235B-A22B", "fp8", "trtllm").expert_weights_dtype == "fp8"
    assert model("deepseek-ai/DeepSeek-R1", "fp8", "trtllm").weights_dtype == "fp8_block"
    assert model("MiniMaxAI/MiniMax-M2.5", "fp8").weights_dtype == "fp8_block"
    assert model("meta-llama/Llama-4-Maverick", "fp8").expert_weights_dtype == "fp8"
    deepseek = model("deepseek-ai/DeepSeek-R1", "fp4", "trtllm")
    assert (deepseek.expert_weights_dtype, deepseek.attention_weights_dtype) == ("nvfp4", "bfloat16")
    oss = model("openai/gpt-oss-120b", "fp4", "trtllm")
    formats = oss.expert_weights_dtype, oss.attention_weights_dtype, oss.kv_cache_dtype
    assert formats == ("mxfp4", "bfloat16", "bfloat16")
    assert model("openai/gpt-oss-120b", "fp4", "trtllm", "fp8").kv_cache_dtype == "fp8"
    assert model("meta-llama/Llama-2-7b-hf", "float16").weights_dtype == "float16"


def test_a_fit_finds_the_constants_that_made_the_rows() -> None:
    vllm = load_engine_constants("vllm")
    made = typed(
        frame(
            *(
                {"concurrency": str(n), "tp": str(tp), "etp": str(tp), "gpus": str(tp), "osl": str(osl)}
                for n in (4, 16, 64)
                for tp in (2, 4, 8)
                for osl in (128, 512)
            )
        )
    )
    truth = replace(vllm, layer_s=16e-6, sequence_s=50e-6, base_ttft_s=0.02)
    predicted = predict(made, engines=lambda name: truth).values
    made["ttft_ms"], made["tpot_ms"] = predicted.ttft_ms, predicted.tpot_ms
    names = ("layer_s", "sequence_s", "base_ttft_s")
    few = tuple(each for each in FITTED if each.name in names)
    open_minded = tuple(each._replace(spread=10 * each.spread) for each in few)
    found = fit_engine(made, vllm, catalog_hardware, Belief(open_minded, 0.3))
    for name in names:
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.1)
    drawn = fit_engine(made, vllm, catalog_hardware, Belief(few, 0.3))
    for each in few:
        # What is expected of constants draws them, and never past it.
        value, true = getattr(drawn, each.name), getattr(truth, each.name)
        assert min(each.expected, true) <= value <= max(each.expected, true) * 1.05


def curve(tp: int, throughput: float) -> list[dict[str, Any]]:
    """A layout whose time per token grows with the concurrency, at a throughput per GPU of its own."""
    degrees = {"tp": str(tp), "etp": str(tp), "gpus": str(tp)}
    rows = []
    for concurrency in (4, 16, 64):
        tpot_ms = 1e3 * (0.05 + concurrency / tp / throughput)
        rows.append({**degrees, "concurrency": str(concurrency), "tpot_ms": str(tpot_ms), "ttft_ms": "1"})
    return rows


def test_a_choice_loses_what_the_best_layout_had_more() -> None:
    better, worse = curve(2, 300.0), curve(4, 100.0)
    chosen = choose(typed(frame(*better, *worse)))
    assert chosen is not None
    assert chosen.groups == 1
    assert 0 < chosen.decisions <= 31
    assert chosen.fewest_gpus == 0.0
    assert chosen.random > 0
    assert choose(typed(frame(*better))) is None


def test_the_command_prints_errors_and_choice(tmp_path: Path) -> None:
    file = tmp_path / "measured.csv"
    frame(*curve(2, 300.0), *curve(4, 100.0)).to_csv(file, index=False)
    shown = CliRunner().invoke(application, ["validate", str(file), "--choice", "--json"])
    document = json.loads(shown.output)
    assert shown.exit_code == 0
    assert document["rows"] == 6
    assert document["metrics"]["tpot_ms"]["n"] == 6
    assert document["choice"]["groups"] == 1
    words = CliRunner().invoke(application, ["validate", str(file), "--choice"]).output
    assert "by prediction" in words


def test_versions_that_schedule_ahead_hide_what_the_host_does() -> None:
    vllm = load_engine_constants("vllm")
    serial = vllm.step_s + vllm.serial_step_s
    assert vllm.of_version("0.12.0").step_s == serial
    assert vllm.of_version("").step_s == serial
    assert vllm.of_version("0.14.1") is vllm
    assert vllm.of_version("1.2") is vllm
    rows = typed(frame({"engine_version": "0.12.0"}, {"engine_version": "0.18.0"}))
    old, new = predict(rows).values.tpot_ms
    assert old == pytest.approx(new + vllm.serial_step_s * 1e3, rel=0.05)


def test_a_short_piece_of_a_prompt_rides_in_a_captured_step() -> None:
    def first_token_ms(isl: str, captured: int) -> float:
        constants = replace(load_engine_constants("vllm"), captured_tokens=captured, eager_layer_s=1e-3)
        rows = typed(frame({"isl": isl, "concurrency": "1"}))
        return float(predict(rows, engines=lambda name: constants).values.ttft_ms.iloc[0])

    assert first_token_ms("200", 0) > first_token_ms("200", 512) + 20
    assert first_token_ms("2000", 0) == first_token_ms("2000", 512)


def test_the_command_counts_rows_within_their_intervals(tmp_path: Path) -> None:
    file = tmp_path / "measured.csv"
    frame({}, {"tpot_ms": "100"}).to_csv(file, index=False)
    shown = CliRunner().invoke(application, ["validate", str(file), "--intervals", "--json"])
    held = {each["key"]: each for each in json.loads(shown.output)["intervals"]}
    assert (held["tpot_ms"]["rows"], held["tpot_ms"]["share"]) == (2, 0.5)
    assert held["ttft_ms"]["load"] == "closed"
    assert 0 < held["tpot_ms"]["half_width"] < held["ttft_ms"]["half_width"]
    assert "half width" in CliRunner().invoke(application, ["validate", str(file), "--intervals"]).output
