"""Printed figures of communication: each bandwidth becomes the time it stands for, and is predicted."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from autoparallel.calibration.published import predict_published
from autoparallel.cli.application import application

LOW = "moe_dispatch (DeepEP V1 low-latency, pure RDMA)"
NORMAL = "moe_dispatch (DeepEP V1 normal)"
MANY = "4096 tokens per rank, hidden 7168, top-4 groups, top-8 experts"
FEW = "128 tokens per rank, hidden 7168, top-8"
NCCL = "nccl all_reduce (2 nodes x 8)"
COLUMNS = ["source", "op", "gpu", "n_gpus", "dtype", "shape_or_bytes", "latency_us", "bandwidth_GBps"]
# deepseek-ai/DeepEP docs/legacy.md@dd758ca; lessizzmore/create-a3mega-ztan-fork@02dd8f4
ROWS = [
    ("DeepEP", LOW, "H800", 16, "fp8", FEW, 118, 63),
    ("DeepEP", LOW, "H800", 64, "fp8", FEW, 173, 43),
    ("DeepEP", LOW.replace("dispatch", "combine"), "H800", 256, "bf16", FEW, 360, 40),
    ("DeepEP", NORMAL, "H800", 8, "fp8", MANY, None, 153),
    ("DeepEP", NORMAL, "H800", 16, "fp8", MANY, None, 43),
    ("DeepEP", NORMAL, "H800", 64, "fp8", MANY, None, 51),
    ("NCCL", NCCL, "H100, a3-mega", 16, "fp32", "8589934592 bytes", 47535, 338.82),
]


def frame(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).astype(str)


def test_nothing_was_fitted_and_all_are_near() -> None:
    values, skipped = predict_published(frame(*ROWS))
    assert not skipped
    assert len(values) == len(ROWS)
    error = values["predicted"] / values["measured"] - 1
    assert error.abs().max() < 0.16


def test_a_bandwidth_is_a_time_by_hand() -> None:
    # One node: 8 (1 - C(224, 8) / C(256, 8)) = 5.295 ranks of a token's 8 experts, 7,392 bytes each.
    one = 4096 * 5.295 * 7168 * (1 + 4 / 128) / 153e3
    # Two nodes: 2 (1 - C(128, 8) / C(256, 8)) = 1.993 of them. Eight, of which four at most:
    # 4 (1 - C(96, 8) / C(128, 8)) = 3.63.
    two = 4096 * 1.993 * 7168 * (1 + 4 / 128) / 43e3
    eight = 4096 * 3.63 * 7168 * (1 + 4 / 128) / 51e3
    values, _ = predict_published(frame(*ROWS[3:6]))
    assert list(values["measured"]) == pytest.approx([one, two, eight], rel=2e-3)


def test_rows_that_cannot_be_read_are_counted() -> None:
    odd = [
        ("x", "teleport", "H100", 8, "fp8", FEW, 10, 1),
        ("x", LOW, "H800", 16, "fp9", FEW, 118, 63),
        ("x", LOW, "H800", 16, "fp8", "a lot", 118, 63),
        ("x", LOW, "H800", "many", "fp8", FEW, None, None),
        ("x", NCCL, "H100", 16, "fp32", "large", 10, 1),
    ]
    values, skipped = predict_published(frame(*odd))
    assert values.empty
    assert sum(skipped.values()) == len(odd)


def test_validate_knows_the_table(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    frame(*ROWS).to_csv(path, index=False)
    result = CliRunner().invoke(application, ["validate", str(path), "--json", "--tolerance", "15"])
    answer = json.loads(result.stdout)
    assert (answer["rows"], answer["metrics"]["latency_us"]["n"], result.exit_code) == (7, 7, 0)
    refused = CliRunner().invoke(
        application, ["calibrate", str(tmp_path), "--system", "h100_sxm", "--backend", "trtllm"]
    )
    assert refused.exit_code == 2
    assert "a table of printed figures, not of operators" in " ".join(refused.stderr.split())
