"""GPUs and models that a problem can name: one TOML file each, each number with its source."""

from autoparallel.catalog.loader import (
    calibration_names,
    entry_text,
    gpu_names,
    load_calibration,
    load_gpu,
    load_model,
    load_nccl,
    load_residuals,
    model_names,
)

__all__ = [
    "calibration_names",
    "entry_text",
    "gpu_names",
    "load_calibration",
    "load_gpu",
    "load_model",
    "load_nccl",
    "load_residuals",
    "model_names",
]
