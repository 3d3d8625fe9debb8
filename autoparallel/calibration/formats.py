"""Number formats as the measured tables name them."""

from __future__ import annotations

from typing import NamedTuple

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.hardware import Hardware
from autoparallel.performance.operators import Gpu
from autoparallel.problem_file.calibration_constants import OPERATORS, formats_of


class TableFormat(NamedTuple):
    """What a kernel multiplies in, and bytes per value of weights and of activations. [bytes]"""

    compute: str
    weight_bytes: float
    activation_bytes: float


FORMATS = {
    "bfloat16": TableFormat("bfloat16", 2.0, 2.0),
    "float16": TableFormat("bfloat16", 2.0, 2.0),
    "fp8": TableFormat("fp8", 1.0, 1.0),
    "fp8_block": TableFormat("fp8", DTYPES["fp8_block"].bytes, 1.0),
    "nvfp4": TableFormat("fp4", DTYPES["nvfp4"].bytes, DTYPES["nvfp4"].bytes),
    "int4_wo": TableFormat("bfloat16", DTYPES["int4"].bytes, 2.0),
    "w4a16_mxfp4": TableFormat("bfloat16", DTYPES["mxfp4"].bytes, 2.0),
    "w4a8_mxfp4_mxfp8": TableFormat("fp8", DTYPES["mxfp4"].bytes, 1.0),
}
# Formats whose kernels multiply in another one than the weights' own.
COMPUTES_IN = {"int4_wo": "bfloat16", "w4a16_mxfp4": "bfloat16", "w4a8_mxfp4_mxfp8": "fp8"}
# Bytes per value on the wire, scales included: fp8 has a float32 per 128 values.
WIRE_BYTES = {
    "bfloat16": 2.0,
    "float16": 2.0,
    "fp8": 1.0 + 4.0 / 128,
    "nvfp4": 0.5 + 1.0 / 16,
    "fp4": 0.5 + 1.0 / 16,
}


def unknown(operator: str, form: str) -> str:
    """Why rows of an operator and format can be neither fitted nor predicted; empty where they can be."""
    if operator not in OPERATORS:
        return f"{operator} is no operator that is known"
    known = FORMATS if operator.startswith(("gemm", "experts")) else formats_of(operator)
    return "" if form in known else f'dtype "{form}" is not known for {operator}'


def sheet(hardware: Hardware, compute: str) -> Gpu:
    """The data sheet of a GPU that multiplies in a format, or in the next wider one that it has."""
    peak = hardware.peak_tflops[hardware.compute_dtype(compute)]
    return Gpu(peak * 1e12, hardware.memory_bandwidth_gb_per_s * 1e9, hardware.streaming_multiprocessors)
