"""Problem files and Hugging Face configurations, read into the domain with every fault in its place.

Nothing is imported until it is used: validation needs pydantic, which takes its time to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoparallel.problem_file.form import problem_schema, template
    from autoparallel.problem_file.hf_config import read_config
    from autoparallel.problem_file.loader import load_problem
    from autoparallel.problem_file.model_file import load_model_file

__all__ = ["load_model_file", "load_problem", "problem_schema", "read_config", "template"]

_MODULES = {
    "load_model_file": "model_file",
    "load_problem": "loader",
    "problem_schema": "form",
    "read_config": "hf_config",
    "template": "form",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
