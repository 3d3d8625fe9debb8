"""What follows from what a file says: inheritance, defaults, warnings, fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.catalog import load_gpu
from autoparallel.domain import Lengths
from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem

Write = Callable[[str], Path]

REST = """
[workload]
concurrency = 8
prompt_tokens = 512
output_tokens = 64
expert_imbalance = 1.0
[requirements]
ttft_s = 1
"""


def test_catalog_model_and_gpu(write: Write) -> None:
    problem = load_problem(write('[model]\nname = "mixtral-8x7b"\n[hardware]\ngpu = "h100-sxm"\n' + REST))
    assert problem.model.num_experts == 8
    assert problem.model.head_dim == 128
    assert problem.model.intermediate_size == 0
    assert problem.hardware.name == "h100-sxm"
    assert problem.hardware.memory_gb == 85.9
    assert dict(problem.hardware.sources) == load_gpu("h100-sxm")["sources"]
    assert problem.warnings == ()


def test_single_fields_of_the_catalog_can_be_overridden(write: Write) -> None:
    problem = load_problem(
        write(
            '[model]\nname = "mixtral-8x7b"\nweights_dtype = "fp8"\nnum_hidden_layers = 16\n'
            '[hardware]\ngpu = "h100-sxm"\nmemory_gb = 94\nscale_out = { efficiency = 0.5 }\n'
            "peak_tflops = { fp8 = 1000 }\n" + REST
        )
    )
    assert problem.model.num_hidden_layers == 16
    assert problem.model.weights_dtype == "fp8"
    assert problem.hardware.memory_gb == 94
    assert (problem.hardware.scale_out.bandwidth_gb_per_s, problem.hardware.scale_out.efficiency) == (50, 0.5)
    assert (problem.hardware.peak_tflops["fp8"], problem.hardware.peak_tflops["bfloat16"]) == (1000, 989)


def test_sizes_of_its_own_make_a_model_its_own(small_problem: str, write: Write) -> None:
    problem = load_problem(write(small_problem.replace('"small"', '"mixtral-8x7b"')))
    assert problem.model.vocab_size == 1000


def test_gpu_of_a_file(tmp_path: Path, write: Write) -> None:
    (tmp_path / "card.toml").write_text(
        'source = "own measurement"\nmemory_gb = 10\nmemory_bandwidth_gb_per_s = 100\nmemory_efficiency = 1\n'
        "peak_tflops = { bfloat16 = 10 }\ncompute_efficiency = 1\nreserved_gb = 0\ngpus_per_node = 1\n"
        "scale_up = { bandwidth_gb_per_s = 1, latency_us = 1, efficiency = 1 }\n"
        "scale_out = { bandwidth_gb_per_s = 1, latency_us = 1, efficiency = 1 }\n"
    )
    path = write('[model]\nname = "qwen3-32b"\n[hardware]\ngpu = "card.toml"\n' + REST)
    assert load_problem(path).hardware.name == "card"
    (tmp_path / "card.toml").write_text("memory_gb = 10\nmemory_bandwith = -1\n")
    with pytest.raises(ProblemError) as caught:
        load_problem(path)
    (fault,) = caught.value.faults
    assert (Path(fault.file).name, fault.line, fault.key) == ("card.toml", 2, "memory_bandwith")


def test_formats_follow_the_weights(small_problem: str, write: Write) -> None:
    model = load_problem(write(small_problem)).model
    assert {model.kv_cache_dtype, model.activation_dtype, model.embedding_dtype} == {"float16"}
    assert {model.expert_weights_dtype, model.attention_weights_dtype} == {"float16"}
    model = load_problem(write(small_problem), ["model.weights_dtype=int4"]).model
    assert {model.kv_cache_dtype, model.activation_dtype, model.embedding_dtype} == {"bfloat16"}
    assert {model.expert_weights_dtype, model.attention_weights_dtype} == {"int4"}
    problem = load_problem(
        write(small_problem), ["model.activation_dtype=float32", "hardware.peak_tflops.float32=9"]
    )
    assert problem.model.kv_cache_dtype == "float32"


def test_layers_of_a_model(small_problem: str, write: Write) -> None:
    overrides = [
        "model.intermediate_size=1024",
        "model.first_k_dense_replace=2",
        "model.moe_layer_freq=2",
        "model.mlp_only_layers=[6]",
        "model.n_shared_experts=2",
        "model.sliding_window=128",
    ]
    model = load_problem(write(small_problem), overrides).model
    kinds = ["sparse" if layer in (2, 4) else "dense" for layer in range(8)]
    assert list(model.mlp_layer_types) == kinds
    assert model.shared_expert_intermediate_size == 1024
    assert set(model.layer_types) == {"sliding_attention"}


def test_dense_model_has_no_experts(small_problem: str, write: Write) -> None:
    text = small_problem.replace("num_experts = 16\nnum_experts_per_tok = 2\nmoe_", "")
    model = load_problem(write(text)).model
    assert not model.is_moe
    assert (model.routed_experts, model.routed_width) == (1, 512)


def test_lengths(small_problem: str, write: Write) -> None:
    workload = load_problem(write(small_problem)).workload
    assert workload.prompt_tokens == Lengths(kind="uniform", min=128, max=1024)
    assert workload.output_tokens == Lengths.fixed(64)
    table = ['workload.output_tokens={kind = "fixed", tokens = 64}']
    assert load_problem(write(small_problem), table).workload == workload


def test_search_space(small_problem: str, write: Write) -> None:
    search = load_problem(write(small_problem), ["search.tp=[4, 2, 4]", "search.prefer=ttft_s"]).search
    assert search.tp == (2, 4)
    assert search.prefer == ("ttft_s", "gpus", "throughput")


def test_batches_without_concurrency(small_problem: str, write: Write) -> None:
    path = write(small_problem.replace("concurrency = 32\n", ""))
    problem = load_problem(path)
    assert problem.search.batch == (1, 2, 4, 8, 16, 32, 64, 128, 256)
    assert len(problem.warnings) == 1
    assert load_problem(path, ["search.batch=[7]"]).search.batch == (7,)
    assert load_problem(path, ["search.batch=[7]"]).warnings == ()


NOT_CALIBRATED = (
    "not calibrated: nothing was measured on card with trtllm; its kernels take the shares of its data sheet "
    "that other GPUs reached. Without streaming_multiprocessors, costs per multiprocessor are left out. "
    "{} is given alone and not used; both make a roofline."
)


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("vocab_size = 1000\n", "model.vocab_size is not given: embedding and output head are not counted."),
        ('weights_dtype = "float16"\n', "model.weights_dtype is not given: bfloat16 is assumed."),
        ("reserved_gb = 2\n", "hardware.reserved_gb is not given: 2 GB of each GPU are set aside."),
        ("compute_efficiency = 0.6\n", NOT_CALIBRATED.format("memory_efficiency")),
        ("memory_efficiency = 0.8\n", NOT_CALIBRATED.format("compute_efficiency")),
        ("output_tokens = 64\n", "workload.output_tokens is not given: 128 tokens are assumed."),
        (
            "ttft_s = 10.0\n",
            "no requirements are given: the answer is the front, its first plan only a preference.",
        ),
        (
            "expert_imbalance = 1.0\n",
            "workload.expert_imbalance is not given: tokens are assumed to spread evenly over the experts.",
        ),
    ],
)
def test_defaults_that_matter_are_warned_of(
    small_problem: str, write: Write, line: str, warning: str
) -> None:
    assert load_problem(write(small_problem)).warnings == ()
    assert load_problem(write(small_problem.replace(line, ""))).warnings == (warning,)


def test_link_efficiency_is_warned_of(small_problem: str, write: Write) -> None:
    text = small_problem.replace("latency_us = 10, efficiency = 0.7", "latency_us = 10")
    (warning,) = load_problem(write(text)).warnings
    assert warning.startswith("hardware.scale_out.efficiency is not given")


def test_fingerprint_is_of_the_content(small_problem: str, write: Write) -> None:
    first = load_problem(write(small_problem)).fingerprint
    shuffled = small_problem.replace("num_hidden_layers = 8\n", "# eight layers\n").replace(
        "vocab_size", "num_hidden_layers = 8\nvocab_size"
    )
    model, hardware = shuffled.split("[hardware]")
    same = "[hardware]" + hardware.replace("ttft_s = 10.0", "ttft_s = 10") + "\n" + model
    assert load_problem(write(same)).fingerprint == first
    assert len(first) == 64
    assert load_problem(write(small_problem), ["search.tp=2"]).fingerprint != first
    assert load_problem(write(small_problem), ["requirements.ttft_s=11"]).fingerprint != first


def test_name_is_that_of_the_file(small_problem: str, write: Write) -> None:
    assert load_problem(write(small_problem)).name == "problem"


def test_nics_are_between_nodes(small_problem: str, write: Write) -> None:
    with pytest.raises(ProblemError, match=r"scale_up\.nics_per_node: is of the links between nodes"):
        load_problem(write(small_problem), ["hardware.scale_up.nics_per_node=4"])
    with pytest.raises(ProblemError, match=r"scale_out\.nics_per_node: must be greater than 0"):
        load_problem(write(small_problem), ["hardware.scale_out.nics_per_node=0"])
    assert load_problem(write(small_problem)).hardware.scale_out.nics_per_node is None
    problem = load_problem(write(small_problem), ["hardware.scale_out.nics_per_node=4"])
    assert problem.hardware.scale_out.nics_per_node == 4


@pytest.mark.parametrize(("link", "topology"), [("scale_up", "rail"), ("scale_out", "mesh")])
def test_a_topology_belongs_to_its_link(small_problem: str, write: Write, link: str, topology: str) -> None:
    with pytest.raises(ProblemError, match=f'hardware.{link}.topology: "{topology}" is a topology'):
        load_problem(write(small_problem), [f'hardware.{link}.topology="{topology}"'])
    other = "scale_out" if link == "scale_up" else "scale_up"
    problem = load_problem(write(small_problem), [f'hardware.{other}.topology="{topology}"'])
    assert getattr(problem.hardware, other).topology == topology


def test_a_default_that_is_written_out_says_nothing(small_problem: str, write: Write) -> None:
    first = load_problem(write(small_problem)).fingerprint
    assert load_problem(write(small_problem), ["search.max_gpus=1024"]).fingerprint == first
    assert load_problem(write(small_problem), ["workload.expert_imbalance=1.0"]).fingerprint == first
    assert load_problem(write(small_problem), ["search.max_gpus=1023"]).fingerprint != first
