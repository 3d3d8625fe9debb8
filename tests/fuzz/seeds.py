"""What inputs start from: files that ship, one problem that is quickly searched, and its result."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.conftest import ROOT, SMALL_PROBLEM

PROBLEM = SMALL_PROBLEM + "max_gpus = 16\nbatch = [16]\n"
# Others that read a file: of requests, of loads, of constants, of a model.
TRACED = re.sub(r"(prompt|output)_tokens = .*\n", "", PROBLEM).replace("static", "closed")
UNLOADED = PROBLEM.replace("expert_imbalance = 1.0\n", "")
AROUND = """[model]
config = "config.json"
[hardware]
gpu = "h100-sxm"
[workload]
concurrency = 16
prompt_tokens = 100
output_tokens = 10
"""
MEASURED = AROUND.replace('config = "config.json"', 'name = "llama-3.1-8b"')
RESULT_FILES = ("plan.json", "problem.json", "front.csv", "proof.json")
_DATA = ROOT / "tests" / "calibration" / "data"
_ROWS = 12

_AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,374,44
2023-11-16 18:17:04.0319600,396,109
2023-11-16 18:17:04.0781490,879,55
2023-11-16 18:17:09.5123000,91,16
"""
_MOONCAKE = """{"timestamp": 0, "input_length": 675, "output_length": 52, "hash_ids": [0, 1]}
{"timestamp": 100, "input_length": 722, "output_length": 26, "hash_ids": [0, 2]}
{"timestamp": 3000, "input_length": 1283, "output_length": 5, "hash_ids": [0, 1, 3]}
"""
LAUNCHES = (
    "vllm serve m -tp 8 --enable-expert-parallel --max-num-seqs 128",
    "VLLM_USE_V1=1 vllm serve m --tensor-parallel-size=2 --data-parallel-size 4 --max-model-len 4096",
    "python -m vllm.entrypoints.openai.api_server --model m --pipeline-parallel-size 2 -q fp8",
    "python3 -m sglang.launch_server --model-path m --tp 8 --dp 8 --enable-dp-attention --ep-size 8",
    "trtllm-serve m --tp_size 4 --ep_size 2 --max_batch_size 32 --max_num_tokens 8192",
)
CONFIGURATION = """tensor_parallel_size: 4
moe_expert_parallel_size: 2
max_batch_size: 32
enable_attention_dp: true
kv_cache_config: {free_gpu_memory_fraction: 0.9}
"""
SCRIPT = """#!/bin/bash
export VLLM_PP_LAYER_PARTITION=5,3
exec vllm serve m \\
  --pipeline-parallel-size 2 --max-num-seqs 64
"""
CONSTRAINTS = (
    "tp <= 8",
    "ep in [8, 16]",
    "not (tp * ep > 16 or pp == 2)",
    "group ep inside a node",
    "gpus // tp % 2 == 0 and batch >= microbatch * 2",
    "1 < dp <= 4",
)
SECRET = "hunter2-is-secret"
STORAGES = (
    "kept.log",
    "sqlite:///kept.db",
    f"postgresql://user:{SECRET}@127.0.0.1:1/searches?sslmode=disable",
    f"mysql://user:{SECRET}@127.0.0.1/searches",
    f"grpc://user:{SECRET}@host",
    f"https://user:{SECRET}@example.invalid/?token={SECRET}",
)
LAYOUTS = (
    "tp=2,etp=2",
    "dp=2,ep=2",
    "tp=2,sp=2,sp_kind=tensor,dp=4,pp=2,ep=4,etp=2",
    "pp=2,layers=5+3",
    "sp=2,sp_kind=ring,etp=2,replicas=2",
)
OVERRIDES = ("search.tp=8", "hardware.gpu=h100-sxm", "workload.mode=closed", "requirements.ttft_s=2")


def _texts(folder: Path, pattern: str) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8") for path in sorted(folder.glob(pattern)))


def _first_rows(path: Path) -> str:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
    return "".join(text.splitlines(keepends=True)[:_ROWS])


def _expert_loads() -> str:
    rows = (f"{layer},{expert},{expert + 10}\n" for layer in range(8) for expert in range(16))
    return "layer,expert,load\n" + "".join(rows)


def _coactivation() -> str:
    rows = (f"{layer},{one},{one + 1},{one + 2}\n" for layer in range(8) for one in range(15))
    return "layer,expert_a,expert_b,count\n" + "".join(rows)


def _plans() -> Iterator[str]:
    for text in _texts(ROOT / "problems" / "plans", "*.toml"):
        yield text.replace('model = "moe10b"', 'model = "small"').replace("batch = 128", "batch = 16")


@cache
def seeds() -> Mapping[str, tuple[str, ...]]:
    """Texts by kind of input."""
    catalog = ROOT / "autoparallel" / "catalog"
    return {
        "problem": (PROBLEM, PROBLEM.replace("static", "closed"), *_texts(ROOT / "problems", "*.toml")),
        "config": _texts(ROOT / "tests" / "problem_file" / "configs", "*.json"),
        "calibration": _texts(catalog / "calibration", "h100*.toml"),
        "operators": tuple(_first_rows(path) for path in sorted((_DATA / "ops").iterdir())),
        "engines": (_first_rows(_DATA / "static.csv"),),
        "expert_loads": (_expert_loads(),),
        "coactivation": (_coactivation(),),
        "trace": (_AZURE, _MOONCAKE),
        "plan": tuple(_plans()),
        "launch": LAUNCHES,
        "script": (SCRIPT,),
        "configuration": (CONFIGURATION,),
        "constraint": CONSTRAINTS,
        "storage": STORAGES,
        "layout": LAYOUTS,
        "override": OVERRIDES,
    }
