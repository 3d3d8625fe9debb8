"""Models, GPUs, engines and formats as tables of whole engines spell them."""

from __future__ import annotations

import re

from autoparallel.catalog import gpu_names, model_names

BACKENDS = {"trtllm": "trtllm", "tensorrt-llm": "trtllm", "vllm": "vllm", "sglang": "vllm"}
FORMATS = {
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "fp4": "nvfp4",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    "int4": "int4",
    "w4a16": "int4",
    "int8": "int8",
}
# What a name says about a checkpoint and not about the architecture.
_SUFFIX = re.compile(
    r"-(hf|instruct|chat|base|it|fp8|fp4|nvfp4|bf16|fp8-dynamic|awq|gptq|v0\.\d|\d{4})(?=-|$)", re.IGNORECASE
)
# Models of the same shape.
SAME_SHAPE = {"llama-3.3-70b": "llama-3.1-70b", "llama-3-70b": "llama-3.1-70b", "llama-3-8b": "llama-3.1-8b"}
# Cards of the same name with another memory or link.
OTHER_CARDS = ("pcie", "40gb", "nvl-94", "h100-nvl")


class UnknownError(ValueError):
    """A row that cannot be predicted; the text says why."""


def model_name(name: str) -> str:
    """The catalog's name of a model of Hugging Face.

    Raises
    ------
    UnknownError
        The catalog does not have it.

    Examples
    --------
    >>> model_name("mistralai/Mixtral-8x7B-v0.1")
    'mixtral-8x7b'
    >>> model_name("meta-llama/Meta-Llama-3.1-70B-Instruct")
    'llama-3.1-70b'
    """
    plain = _SUFFIX.sub("", name.rpartition("/")[2]).lower().removeprefix("meta-")
    plain = SAME_SHAPE.get(plain, plain)
    if plain not in model_names():
        raise UnknownError(f'the catalog has no model "{name}"')
    return plain


def gpu_name(name: str) -> str:
    """The catalog's name of a GPU.

    Raises
    ------
    UnknownError
        The catalog does not have it.

    Examples
    --------
    >>> gpu_name("H200-SXM-141GB")
    'h200-sxm'
    """
    plain = name.lower().replace("_", "-").replace(" ", "-").removeprefix("nvidia-")
    family = plain.partition("-")[0]
    found = [known for known in gpu_names() if known.partition("-")[0] == family]
    if len(found) != 1 or any(mark in plain for mark in OTHER_CARDS):
        raise UnknownError(f'the catalog has no GPU "{name}"')
    return found[0]
