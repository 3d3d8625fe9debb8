"""Number formats: how many bytes a value takes and which peak of a GPU computes with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dtype:
    """A number format.

    Attributes
    ----------
    name : str
        The name used in problem files.
    bytes : float
        Bytes per value, block scales included. [bytes]
    compute : str
        Key into :attr:`Hardware.peak_tflops` of the units that multiply it.
    """

    name: str
    bytes: float
    compute: str


# Scales: fp8_block one float32 per 128 x 128 block (DeepSeek-V3 report, arXiv 2412.19437, section 3.3);
# nvfp4 one fp8 per 16 values, mxfp4 one 8-bit exponent per 32 values (OCP Microscaling Formats 1.0);
# mxfp8 one 8-bit exponent per 32 values (the same); int4 one float16 scale and one 4-bit zero point per
# 128 values (AWQ, arXiv 2306.00978), int4_g64 and int4_g32 per 64 and 32; those with _sym have no zero
# point (symmetric quantisation, as of compressed-tensors' Kimi-K2 Thinking and GPTQ's `sym`).
DTYPES = {
    dtype.name: dtype
    for dtype in (
        Dtype("float32", 4.0, "float32"),
        Dtype("float16", 2.0, "float16"),
        Dtype("bfloat16", 2.0, "bfloat16"),
        Dtype("fp8", 1.0, "fp8"),
        Dtype("fp8_block", 1.0 + 4.0 / (128 * 128), "fp8"),
        Dtype("mxfp8", 1.0 + 1.0 / 32, "fp8"),
        Dtype("int8", 1.0, "int8"),
        Dtype("int4", 0.5 + 2.5 / 128, "int4"),
        Dtype("int4_g64", 0.5 + 2.5 / 64, "int4"),
        Dtype("int4_g32", 0.5 + 2.5 / 32, "int4"),
        Dtype("int4_sym", 0.5 + 2.0 / 128, "int4"),
        Dtype("int4_g64_sym", 0.5 + 2.0 / 64, "int4"),
        Dtype("int4_g32_sym", 0.5 + 2.0 / 32, "int4"),
        Dtype("mxfp4", 0.5 + 1.0 / 32, "fp4"),
        Dtype("nvfp4", 0.5 + 1.0 / 16, "fp4"),
    )
}

# What multiplies a format that the GPU has no units for: widened after loading. [first that exists]
WIDER = {
    "int4": ("int8", "fp8", "bfloat16", "float16"),
    "fp4": ("fp8", "bfloat16", "float16"),
    "fp8": ("bfloat16", "float16"),
    "int8": ("bfloat16", "float16"),
    "bfloat16": ("float16",),
    "float16": ("bfloat16",),
    "float32": (),
}


def activation_dtype_for(weights_dtype: str) -> str:
    """The activation and KV cache format that engines use by default next to these weights."""
    return weights_dtype if DTYPES[weights_dtype].bytes >= 2 else "bfloat16"
