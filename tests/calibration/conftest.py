"""Rows of real tables, and tables made from known constants."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoparallel.calibration.operators import OPERATORS
from autoparallel.calibration.recipe import Entry
from autoparallel.calibration.systems import hardware_of
from autoparallel.performance.operators import GemmConstants

DATA = Path(__file__).parent / "data"
# Round numbers near those of an H100.
KNOWN = GemmConstants(
    t0_s=3e-6,
    compute_efficiency=0.8,
    memory_efficiency=0.85,
    activation_efficiency=0.9,
    walk_s_per_element=2e-9,
    walk_limit_s=6e-6,
    overlap="hypot",
)


@pytest.fixture
def ops() -> Path:
    """A folder of measured tables."""
    return DATA / "ops"


@pytest.fixture
def static() -> Path:
    """Static batches of whole engines."""
    return DATA / "static.csv"


@pytest.fixture
def products() -> pd.DataFrame:
    """Matrix products that last exactly as long as the known constants say."""
    sizes = list(product((1, 16, 128, 1024, 8192), (256, 2048, 16384), (512, 4096, 32768)))
    rows = pd.DataFrame(sizes, columns=["m", "n", "k"]).astype(float)
    rows = rows.assign(system="h100_sxm", backend="trtllm", backend_version="1", dtype="bfloat16", kernel="")
    predict = OPERATORS["gemm"].predictor(Entry("gemm", "bfloat16"), rows, hardware_of("h100_sxm"))
    return rows.assign(latency_us=np.asarray(predict(KNOWN)) * 1e6)


@pytest.fixture
def products_folder(tmp_path: Path, products: pd.DataFrame) -> Path:
    """The same as a folder of tables."""
    folder = tmp_path / "ops"
    folder.mkdir()
    products.to_csv(folder / "gemm.csv.gz", index=False)
    return folder
