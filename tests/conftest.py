"""What several tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from tests.report.visit import CHROMIUM

ROOT = Path(__file__).resolve().parent.parent

# Machines that check are shared and slow: no deadline, and the same examples every time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# What is asked of small fleets; [fleet] itself comes after it.
SMALL_FLEET = """\
[model]
name = "llama-3.1-8b"

[hardware]
gpu = "h100-sxm"

[engine]
name = "vllm"

[workload]
prompt_tokens = 2000
output_tokens = 200

[requirements]
ttft_s = 0.5
tpot_s = 0.015
"""

SMALL_PROBLEM = """\
[model]
name = "small"
num_hidden_layers = 8
hidden_size = 256
num_attention_heads = 8
num_key_value_heads = 4
num_experts = 16
num_experts_per_tok = 2
moe_intermediate_size = 512
vocab_size = 1000
weights_dtype = "float16"

[hardware]
name = "card"
memory_gb = 64
memory_bandwidth_gb_per_s = 1800
memory_efficiency = 0.8
peak_tflops = { float16 = 400 }
compute_efficiency = 0.6
reserved_gb = 2
gpus_per_node = 8
scale_up = { bandwidth_gb_per_s = 450, latency_us = 5, efficiency = 0.7 }
scale_out = { bandwidth_gb_per_s = 50, latency_us = 10, efficiency = 0.7 }

[workload]
mode = "static"
concurrency = 32
prompt_tokens = { kind = "uniform", min = 128, max = 1024 }
output_tokens = 64
expert_imbalance = 1.0

[requirements]
ttft_s = 10.0

[search]
trials = 16
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, one for all: Playwright cannot be started a second time beside itself."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def small_problem() -> str:
    """A problem file that has no fault and leaves nothing to a default that matters."""
    return SMALL_PROBLEM


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text as problem.toml and return its path."""

    def write_text(text: str) -> Path:
        path = tmp_path / "problem.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text
