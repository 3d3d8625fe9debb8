"""GPUs and models that a problem can name: one TOML file each, each number with its source."""

from autoparallel.catalog.loader import gpu_names, load_gpu, load_model, model_names

__all__ = ["gpu_names", "load_gpu", "load_model", "model_names"]
