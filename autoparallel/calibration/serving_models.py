"""The model and GPU of a measured engine, from the names that its table gives them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import NamedTuple

from autoparallel import catalog
from autoparallel.domain.model import Model
from autoparallel.errors import ProblemError
from autoparallel.problem_file.model_file import load_model_file

TRTLLM, SGLANG = "trtllm", "sglang"
# Formats that tables name, and those of their values. A checkpoint of blocks is named fp8 as well.
PLAIN = {"bfloat16": "bfloat16", "float16": "float16", "bf16": "bfloat16", "fp16": "float16"}
NARROW = {"fp8": "fp8", "fp4": "nvfp4", "nvfp4": "nvfp4", "fp8_block": "fp8_block"}
ACTIVATIONS = "bfloat16"


class Formats(NamedTuple):
    """What a row says of formats; ``kv_cache`` is empty where it says nothing."""

    weights: str
    kv_cache: str
    engine: str


@cache
def gpu_names() -> dict[str, str]:
    """Catalog GPUs by the names of measured tables, and by their own."""
    return {**{name: name for name in catalog.gpu_names()}, **_names()["gpus"]}


def measured_model(name: str, formats: Formats) -> Model:
    """Build a model as it was measured.

    Raises
    ------
    KeyError
        No configuration has this name, or the format of the weights is not known.
    """
    model = _architecture(name)
    if _is_own_mixture(model):
        # gpt-oss is published with its experts in mxfp4 and nothing else; rows name what it multiplies in.
        return replace(model, kv_cache_dtype=_kv_cache(formats, narrow=False))
    if formats.weights in PLAIN:
        return _in_format(model, PLAIN[formats.weights], _kv_cache(formats, narrow=False))
    weights = NARROW[formats.weights]
    blocks = weights == "fp8" and _published_in_blocks(name, model, formats.engine)
    narrow = not blocks and formats.engine != SGLANG
    return _in_format(model, "fp8_block" if blocks else weights, _kv_cache(formats, narrow=narrow))


def _in_format(model: Model, dtype: str, kv_cache: str) -> Model:
    plain = dtype if dtype in PLAIN.values() else ACTIVATIONS
    # The four-bit checkpoints of models with latent attention leave attention in 16 bits.
    attention = ACTIVATIONS if model.is_mla and dtype == "nvfp4" else dtype
    return replace(
        model,
        weights_dtype=dtype,
        expert_weights_dtype=dtype,
        attention_weights_dtype=attention,
        embedding_dtype=plain,
        activation_dtype=plain,
        kv_cache_dtype=kv_cache if kv_cache != ACTIVATIONS else plain,
    )


def _is_own_mixture(model: Model) -> bool:
    return model.expert_weights_dtype == "mxfp4"


def _published_in_blocks(name: str, model: Model, engine: str) -> bool:
    """Whether the fp8 checkpoint that is commonly run has block scales.

    DeepSeek's and others' own is in blocks; Qwen's mixtures have one beside it, which TensorRT-LLM's
    rows do not run.
    """
    own = model.weights_dtype == "fp8_block" or model.is_mla
    return own or (name.startswith("Qwen/") and model.is_moe and engine != TRTLLM)


def _kv_cache(formats: Formats, *, narrow: bool) -> str:
    """What a row states, else what NVIDIA's quantised checkpoints say, which hold scales for it."""
    if formats.kv_cache == "fp8":
        return "fp8"
    if formats.kv_cache:
        return ACTIVATIONS
    return "fp8" if narrow else ACTIVATIONS


@cache
def _architecture(name: str) -> Model:
    if name in catalog.model_names():
        name = str(catalog.load_model(name)["repository"])
    file = f"{_names()['models'].get(name, name).replace('/', '--')}_config.json"
    entry = resources.files("autoparallel.catalog") / "configs" / file
    if not entry.is_file():
        raise KeyError(name)
    with resources.as_file(entry) as path:
        try:
            return load_model_file(path).model
        except ProblemError as error:
            raise KeyError(name) from error


@cache
def _names() -> dict[str, dict[str, str]]:
    entry = resources.files("autoparallel.catalog") / "measured_names.toml"
    return tomllib.loads(entry.read_text(encoding="utf-8"))
