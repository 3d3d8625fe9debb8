"""Every kind of fault: what the message says, and which line and key it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoparallel.errors import ProblemError
from autoparallel.problem_file import load_problem

Write = Callable[[str], Path]

# (text to replace, its replacement, key, part of the message); the line is that of the replacement.
FAULTS = [
    # wrong types
    (
        "num_hidden_layers = 8",
        'num_hidden_layers = "8"',
        "model.num_hidden_layers",
        "write it without quotes",
    ),
    ("num_hidden_layers = 8", "num_hidden_layers = 8.0", "model.num_hidden_layers", "not 8.0; write 8"),
    (
        "num_hidden_layers = 8",
        "num_hidden_layers = true",
        "model.num_hidden_layers",
        "whole number, not true",
    ),
    ("hidden_size = 256", "hidden_size = [256]", "model.hidden_size", "must be a whole number, not a list"),
    ("memory_gb = 64", 'memory_gb = "lots"', "hardware.memory_gb", 'must be a number, not "lots"'),
    ('name = "card"', "name = 7", "hardware.name", "must be a string, not 7"),
    ("peak_tflops = { float16 = 400 }", "peak_tflops = 400", "hardware.peak_tflops", "must be a table"),
    ("trials = 16", 'even_stages = "yes"', "search.even_stages", "must be true or false"),
    ('name = "card"', 'name = ""', "hardware.name", "must not be empty"),
    ("trials = 16", "tp = []", "search.tp", "must not be empty"),
    # sizes that cannot be
    ("hidden_size = 256", "hidden_size = 0", "model.hidden_size", "must be greater than 0, not 0"),
    ("hidden_size = 256", "hidden_size = -256", "model.hidden_size", "must be greater than 0, not -256"),
    ("num_experts = 16", "num_experts = -1", "model.num_experts", "must be at least 0, not -1"),
    ("memory_gb = 64", "memory_gb = 0", "hardware.memory_gb", "must be greater than 0"),
    ("memory_gb = 64", "memory_gb = -64", "hardware.memory_gb", "must be greater than 0, not -64"),
    ("memory_gb = 64", "memory_gb = nan", "hardware.memory_gb", "must be a finite number, not nan"),
    ("ttft_s = 10.0", "ttft_s = inf", "requirements.ttft_s", "must be a finite number, not inf"),
    ("ttft_s = 10.0", "ttft_s = 1e999", "requirements.ttft_s", "must be a finite number"),
    (
        "num_hidden_layers = 8",
        "num_hidden_layers = 1_000_000_000_000",
        "model.num_hidden_layers",
        "at most 10,000",
    ),
    (
        "num_hidden_layers = 8",
        f"num_hidden_layers = 1{'0' * 400}",
        "model.num_hidden_layers",
        "more than 15 digits",
    ),
    ("hidden_size = 256", "hidden_size = 1_000_001", "model.hidden_size", "at most 1,000,000"),
    ("concurrency = 32", "concurrency = 99_999_999", "workload.concurrency", "at most 10,000,000"),
    (
        "compute_efficiency = 0.6",
        "compute_efficiency = 60",
        "hardware.compute_efficiency",
        "must be at most 1, not 60",
    ),
    ("expert_imbalance = 1.0", "expert_imbalance = 0.5", "workload.expert_imbalance", "must be at least 1"),
    ("reserved_gb = 2", "reserved_gb = 64", "hardware.reserved_gb", "leave nothing of 64 GB"),
    # unknown names
    ("hidden_size = 256", "hiden_size = 256", "model.hiden_size", 'did you mean "hidden_size"?'),
    ("num_experts = 16", "num_local_experts = 16", "model.num_local_experts", 'did you mean "num_experts"?'),
    ("memory_gb = 64", "xyzzy = 64", "hardware.xyzzy", "unknown key; known ones: `autoparallel schema`"),
    (
        "scale_up = { bandwidth_gb_per_s",
        "scale_up = { bandwith_gb_per_s",
        "hardware.scale_up.bandwith_gb_per_s",
        "bandw",
    ),
    (
        "scale_up = { bandwidth_gb_per_s = 450,",
        "scale_up = {",
        "hardware.scale_up.bandwidth_gb_per_s",
        "is missing",
    ),
    ("[requirements]", "[requirement]", "requirement", 'unknown section; did you mean "requirements"?'),
    ('weights_dtype = "float16"', 'weights_dtype = "fp16"', "model.weights_dtype", 'did you mean "float16"?'),
    (
        'weights_dtype = "float16"',
        'weights_dtype = "bfloat61"',
        "model.weights_dtype",
        'did you mean "bfloat16"?',
    ),
    ('weights_dtype = "float16"', "weights_dtype = 16", "model.weights_dtype", "must be one of float32"),
    ('mode = "static"', 'mode = "statik"', "workload.mode", 'did you mean "static"?'),
    ("trials = 16", 'prefer = ["gpu"]', "search.prefer[0]", 'did you mean "gpus"?'),
    ("trials = 16", 'stages = "optimum"', "search.stages", 'did you mean "optimal"?'),
    ("trials = 16", 'even_stages = true\nstages = "optimal"', "search.stages", "contradicts even_stages"),
    ("trials = 16", 'sp_kind = "rings"', "search.sp_kind", 'did you mean "ring"?'),
    (
        "peak_tflops = { float16 = 400 }",
        "peak_tflops = { flaot16 = 400 }",
        "hardware.peak_tflops.flaot16",
        "float16",
    ),
    ('name = "card"', 'gpu = "h100_sxm"', "hardware.gpu", 'no GPU "h100_sxm"; did you mean "h100-sxm"?'),
    ('name = "card"', 'gpu = "unobtainium"', "hardware.gpu", "choose one of: a100-80gb-sxm"),
    # fields that contradict each other
    ("num_key_value_heads = 4", "num_key_value_heads = 3", "model.num_key_value_heads", "divisor of 8"),
    ("hidden_size = 256", "hidden_size = 257", "model.head_dim", "257 is no multiple of the 8 heads"),
    (
        "num_experts_per_tok = 2",
        "num_experts_per_tok = 17",
        "model.num_experts_per_tok",
        "cannot use 17 of 16",
    ),
    ("moe_intermediate_size = 512", "", "model.moe_intermediate_size", "a model with 16 experts needs it"),
    ("num_experts = 16", "", "model.num_experts_per_tok", "is given without num_experts"),
    ("vocab_size = 1000", "first_k_dense_replace = 1", "model.intermediate_size", "layers without experts"),
    (
        "vocab_size = 1000",
        "first_k_dense_replace = 9",
        "model.first_k_dense_replace",
        "do not fit into 8 layers",
    ),
    ("vocab_size = 1000", "mlp_only_layers = [8]", "model.mlp_only_layers", "they are 0 to 7"),
    (
        "vocab_size = 1000",
        'layer_types = ["full_attention"]',
        "model.layer_types",
        "lists 1 layers, the model has 8",
    ),
    (
        "vocab_size = 1000",
        "kv_lora_rank = 64",
        "model.v_head_dim",
        "latent attention (kv_lora_rank) needs it",
    ),
    ("vocab_size = 1000", "q_lora_rank = 64", "model.q_lora_rank", "give kv_lora_rank too"),
    ("vocab_size = 1000", 'parameter_basis = "declared"', "model.declared_parameters", "needs it"),
    (
        "output_tokens = 64",
        'output_tokens = { kind = "fixed" }',
        "workload.output_tokens.tokens",
        "is missing",
    ),
    ("min = 128, max", "min = 2048, max", "workload.prompt_tokens", "min 2048 is greater than max 1024"),
    ('"uniform", min', '"uniform", tokens = 5, min', "workload.prompt_tokens.tokens", "has no meaning"),
    (
        "output_tokens = 64",
        "output_tokens = -64",
        "workload.output_tokens",
        "must be greater than 0, not -64",
    ),
    ("{ float16 = 400 }", "{ fp8 = 400 }", "model.weights_dtype", 'card cannot compute with "float16"'),
    ('weights_dtype = "float16"', 'weights_dtype = "float32"', "model.weights_dtype", "usable: float16"),
    # candidates of which none can work
    (
        "trials = 16",
        "tp = [3, 5]",
        "search.tp",
        "8 attention heads (4 KV heads) cannot be split by tp = 3 or tp = 5",
    ),
    ("trials = 16", "tp = 16", "search.tp", "usable: 1, 2, 4, 8"),
    (
        "trials = 16",
        "ep = 3",
        "search.ep",
        "16 routed experts cannot be split by ep = 3; usable: 1, 2, 4, 8, 16",
    ),
    ("trials = 16", "etp = 3", "search.etp", "an expert's width of 512 cannot be split by etp = 3"),
    ("trials = 16", "pp = 9", "search.pp", "8 layers cannot be split by pp = 9"),
    ("trials = 16", "pp = 3\neven_stages = true", "search.pp", "8 layers in even stages"),
    ("trials = 16", 'sp = 3\nsp_kind = "ulysses"', "search.sp", "the sequence with sp_kind ulysses"),
    ("trials = 16", "batch = [64, 128]", "search.batch", "no listed batch is within the concurrency of 32"),
    ("trials = 16", "microbatch = 3\nbatch = 8", "search.microbatch", "no listed value divides a batch of 8"),
    ("trials = 16", "microbatch = 4\ndp = 8", "search.dp", "8 ranks do not divide a microbatch of 4"),
]


@pytest.mark.parametrize(("old", "new", "key", "message"), FAULTS)
def test_fault_is_named_with_its_place(
    small_problem: str, write: Write, old: str, new: str, key: str, message: str
) -> None:
    text = small_problem.replace(old, new, 1)
    assert text != small_problem
    path = write(text)
    with pytest.raises(ProblemError) as caught:
        load_problem(path)
    faults = {fault.key: fault for fault in caught.value.faults}
    assert key in faults, caught.value
    assert message in faults[key].message
    assert faults[key].file == str(path)
    assert _stands_at(text, faults[key].line, key)
    assert len(set(map(str, caught.value.faults))) == len(caught.value.faults)


def _stands_at(text: str, line: int, key: str) -> bool:
    """Whether the line has the key, or heads the table where the key is missing."""
    parts = [part.split("[")[0] for part in key.split(".")]
    found = text.splitlines()[line - 1]
    return any(part in found for part in parts[1:]) or found.startswith(f"[{parts[0]}")


@pytest.mark.parametrize("section", ["model", "hardware", "workload"])
def test_missing_section(small_problem: str, write: Write, section: str) -> None:
    before, rest = small_problem.split(f"[{section}]")
    path = write(before + "[" + rest.split("\n[", 1)[1])
    with pytest.raises(ProblemError) as caught:
        load_problem(path)
    assert [str(fault) for fault in caught.value.faults] == [
        f"{path}: {section}: the section [{section}] is missing"
    ]


def test_section_that_is_no_table(small_problem: str, write: Write) -> None:
    with pytest.raises(ProblemError, match=r"search: must be a table: write \[search\]"):
        load_problem(write("search = 3\n" + small_problem.replace("[search]\ntrials = 16\n", "")))


def test_missing_keys_are_named_at_their_section(small_problem: str, write: Write) -> None:
    text = small_problem.replace("hidden_size = 256\n", "").replace("memory_gb = 64\n", "")
    with pytest.raises(ProblemError) as caught:
        load_problem(write(text.replace("prompt_tokens", "# prompt_tokens")))
    places = {fault.key: text.splitlines()[fault.line - 1] for fault in caught.value.faults}
    assert places == {
        "model.hidden_size": "[model]",
        "hardware.memory_gb": "[hardware]",
        "workload.prompt_tokens": "[workload]",
    }


def test_all_faults_come_at_once(small_problem: str, write: Write) -> None:
    text = (
        small_problem.replace("num_attention_heads = 8", "num_attention_heads = 7")
        .replace("num_experts = 16", "num_experts = 15")
        .replace("num_key_value_heads = 4", "num_key_value_heads = 7\nhead_dim = 32")
        .replace("memory_gb = 64", "memory_gb = -64")
        .replace("ttft_s = 10.0", "tfft_s = 10.0")
        .replace("trials = 16", "tp = [2]\nep = 4")
    )
    with pytest.raises(ProblemError) as caught:
        load_problem(write(text))
    messages = {fault.key: fault.message for fault in caught.value.faults}
    assert set(messages) == {"hardware.memory_gb", "requirements.tfft_s", "search.tp", "search.ep"}
    assert "7 attention heads" in messages["search.tp"]
    assert messages["search.tp"].endswith("usable: 1, 7")
    assert messages["search.ep"] == "15 routed experts cannot be split by ep = 4; usable: 1, 3, 5, 15"


def test_unknown_catalog_model(small_problem: str, write: Write) -> None:
    _, hardware = small_problem.split("[hardware]")
    with pytest.raises(ProblemError) as caught:
        load_problem(write('[model]\nname = "mixtrl-8x7b"\n[hardware]' + hardware))
    (fault,) = caught.value.faults
    assert (fault.line, fault.key) == (2, "model.name")
    assert 'did you mean "mixtral-8x7b"?' in fault.message
    assert "num_hidden_layers" in fault.message


def test_dense_model_has_no_expert_parallelism(small_problem: str, write: Write) -> None:
    text = small_problem.replace("num_experts = 16\nnum_experts_per_tok = 2\nmoe_", "")
    with pytest.raises(
        ProblemError, match=r"a dense model \(one FFN\) cannot be split by ep = 2; usable: 1$"
    ):
        load_problem(write(text), ["search.ep=2"])


def test_fault_of_an_inherited_value_says_where_it_is_from(small_problem: str, write: Write) -> None:
    _, hardware = small_problem.split("[hardware]")
    text = '[model]\nname = "llama-3.1-8b"\nnum_attention_heads = 12\n[hardware]' + hardware
    with pytest.raises(ProblemError) as caught:
        load_problem(write(text))
    messages = {fault.key: (fault.line, fault.message) for fault in caught.value.faults}
    line, message = messages["model.num_key_value_heads"]
    assert line == 1
    assert "8 KV heads do not divide the 12 attention heads" in message
    assert message.endswith('(from the catalog\'s "llama-3.1-8b")')
