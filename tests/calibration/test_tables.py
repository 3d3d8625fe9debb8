"""Tables are told apart by their columns, in any order, and bad input is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from autoparallel.calibration.tables import SERVING, kind_of, read_table
from autoparallel.errors import ProblemError

FILES = {
    "gemm": "gemm",
    "context_attention": "prefill_attention",
    "generation_attention": "decode_attention",
    "context_mla": "prefill_mla",
    "generation_mla": "decode_mla",
    "moe": "experts",
    "nccl": "collectives",
    "all_reduce_custom": "all_reduce_engine",
    "deepep": "exchange",
    "moe_all_to_all": "exchange",
}


@pytest.mark.parametrize(("name", "kind"), FILES.items())
def test_kinds(ops: Path, name: str, kind: str) -> None:
    table = read_table(ops / f"{name}.csv")
    assert table.kind == kind
    assert len(table.rows) > 20
    assert not table.skipped


@pytest.mark.parametrize("name", FILES)
def test_columns_in_another_order(ops: Path, tmp_path: Path, name: str) -> None:
    frame = pd.read_csv(ops / f"{name}.csv")
    shuffled = tmp_path / "table.csv.gz"
    frame[sorted(frame.columns, reverse=True)].to_csv(shuffled, index=False)
    assert read_table(shuffled).kind == FILES[name]


def test_a_table_of_engines(static: Path) -> None:
    assert kind_of(pd.read_csv(static).columns, static) == SERVING
    with pytest.raises(ProblemError, match="whole engines"):
        read_table(static)


def test_optional_columns_have_defaults(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("batch,seq,heads,kv_heads,head_dim,latency_us\n1,128,8,2,128,10\n")
    rows = read_table(path).rows
    assert rows.loc[0, "window_size"] == 0.0
    assert rows.loc[0, "kv_dtype"] == "bfloat16"


def test_rows_that_lack_something_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "m,n,k,dtype,latency_us\n1,2,3,bf16,4\n1,2,,bf16,4\n1,2,3,bf16,-4\n1,2,x,bf16,nan\n1,2,3,bf16,\n"
    )
    table = read_table(path)
    assert len(table.rows) == 1
    assert table.rows.loc[0, "dtype"] == "bfloat16"
    assert sum(table.skipped.values()) == 4
    assert set(table.skipped) == {
        "k is missing or not a number in range",
        "latency_us is missing or not a number in range",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no CSV table"),
        (b"m,n,dtype,latency_us\n1,2,bf16,3\n", "for gemm it lacks k"),
        (
            b"a,b,latency_us\n1,2,3\n",
            r"the tables and their columns are exchange \(ep_size, hidden_size, topk",
        ),
        (
            b"a,b,latency_us\n1,2,3\n",
            r"gemm \(m, n, k, latency_us\); serving \(model, gpu, isl, osl\); printed \(",
        ),
        (b"a,b\n1,2\n", "no table that is known"),
        (b"\xff\xfe\x00", "no CSV table"),
        (b'm,n,k,latency_us\n"1,2,3,4\n', "no CSV table"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(ProblemError, match=reason) as caught:
        read_table(path)
    assert caught.value.faults[0].file == str(path)


def test_a_broken_archive_and_a_missing_file(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(b"m,n,k,latency_us\n1,2,3,4\n" * 100)[:40])
    with pytest.raises(ProblemError, match="cannot be read"):
        read_table(broken)
    with pytest.raises(ProblemError, match="no such file"):
        read_table(tmp_path / "missing.csv")
