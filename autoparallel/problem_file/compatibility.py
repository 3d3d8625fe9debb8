"""Checks that the hardware can compute with the model's number formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autoparallel.domain.dtypes import DTYPES
from autoparallel.domain.hardware import Hardware
from autoparallel.domain.model import Model
from autoparallel.problem_file.faults import Faults

_FORMATS = (
    "weights_dtype",
    "expert_weights_dtype",
    "attention_weights_dtype",
    "embedding_dtype",
    "activation_dtype",
)


def check_dtypes(model: Model, hardware: Hardware, given: Mapping[str, Any], faults: Faults) -> None:
    """Note every format of the model that the GPU has no units for, not even wider ones.

    ``given`` are the keys of ``[model]``: a fault of a default is one of ``weights_dtype``.
    """
    noted = set()
    for key in _FORMATS:
        dtype = getattr(model, key)
        place = key if key in given else "weights_dtype"
        if _computes(hardware, dtype) or (place, dtype) in noted:
            continue
        noted.add((place, dtype))
        usable = ", ".join(name for name in DTYPES if _computes(hardware, name))
        faults.add(
            ("model", place),
            f'{hardware.name} cannot compute with "{dtype}": its peak_tflops has '
            f"{', '.join(hardware.peak_tflops)}; usable: {usable}",
        )


def _computes(hardware: Hardware, dtype: str) -> bool:
    try:
        hardware.compute_dtype(DTYPES[dtype].compute)
    except KeyError:
        return False
    return True
