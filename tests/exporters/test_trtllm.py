"""What is written for TensorRT-LLM keeps what its sources check, for no parser of it can be installed.

The checks are those of ``BaseLlmArgs`` (``extra = "forbid"``, types) in tensorrt_llm/llmapi/llm_args.py, of
``Mapping.__init__`` in tensorrt_llm/mapping.py, and of the PyTorch backend, which refuses a prompt that is
longer than ``max_num_tokens`` unless prefill is chunked (``_check_arguments`` in llmapi/llm.py).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from autoparallel.catalog.engines import load_engine
from autoparallel.domain import Layout
from autoparallel.exporters import exporters
from autoparallel.exporters.export import export
from autoparallel.importers.flags import read_flags
from autoparallel.importers.plan import import_plan

PUBLISHED = tomllib.loads(
    (Path(__file__).parent / "data" / "trtllm_published.toml").read_text(encoding="utf-8")
)["config"]
TYPES: dict[str, type] = {
    "int": int,
    "float": float,
    "switch": bool,
    "list": list,
    "table": dict,
    "text": str,
}


@settings(max_examples=60)
@given(data=st.data())
def test_a_configuration_keeps_the_engines_checks(cases: Any, data: st.DataObject) -> None:
    kind, node = data.draw(st.sampled_from(("sparse", "dense", "latent"))), data.draw(st.sampled_from((4, 8)))
    layout = data.draw(st.sampled_from(cases.layouts(kind, "trtllm", node)))
    problem = cases.problem(kind, node)
    plan = cases.plan(problem, layout)
    config = yaml.safe_load(export(problem, plan, exporters()["trtllm"]).files["config.yaml"])
    engine = load_engine("trtllm")
    for table, keys in (("config", config), ("kv_cache_config", config["kv_cache_config"])):
        for key, value in keys.items():
            assert type(value) is TYPES[engine.flags[table][key].value]
    tp, pp = config["tensor_parallel_size"], config["pipeline_parallel_size"]
    assert tp * pp == layout.gpus_per_instance
    if problem.model.is_moe:
        assert config["moe_tensor_parallel_size"] * config["moe_expert_parallel_size"] == tp
    stages = config.get("pp_partition", [problem.model.num_hidden_layers / pp] * pp)
    assert (len(stages), sum(stages)) == (pp, problem.model.num_hidden_layers)
    assert config["max_num_tokens"] >= problem.workload.prompt_tokens.max
    assert config["max_num_tokens"] >= config["max_batch_size"]
    assert config["max_seq_len"] == problem.workload.prompt_tokens.max + problem.workload.output_tokens.max
    assert 0 <= config["kv_cache_config"]["free_gpu_memory_fraction"] <= 1


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: Path(one["file"]).stem)
def test_published_configurations_are_understood(
    cases: Any, tmp_path: Path, published: dict[str, Any]
) -> None:
    keys = {**published["sizes"], **published["switches"], **{name: {} for name in published["tables"]}}
    if "kv_cache_config" in published:
        keys["kv_cache_config"] = published["kv_cache_config"]
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(keys), encoding="utf-8")
    problem = cases.problem("sparse", 8)
    found = import_plan(str(file), problem, batch=16, microbatch=8)
    assert found.layout == Layout(**published["layout"])


def test_commands_have_the_spellings_of_old_and_new_releases() -> None:
    flags = load_engine("trtllm").flags
    for program in ("serve", "bench"):
        assert flags[program]["--extra_llm_api_options"] is flags[program]["--config"]
    words = ["--tensor_parallel_size", "8", "--kv_cache_free_gpu_memory_fraction", "0.8", "--backend", "trt"]
    values = read_flags(words, flags["serve"])
    assert values.faults == []
    assert values.given["--tp_size"] == 8
    assert read_flags(["--backend", "cpp"], flags["serve"]).faults != []
