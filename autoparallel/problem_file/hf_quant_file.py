"""ModelOpt's ``hf_quant_config.json``, which lies next to a ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoparallel.problem_file.hf_config_file import HfConfig, read_json

NAME = "hf_quant_config.json"
_CONFIG = "config.json"


def read_quant_file(config: HfConfig, path: Path) -> Mapping[str, Any] | None:
    """Read the quantisation beside ``path``; ``None`` where there is none.

    A configuration that was renamed to ``MODEL_config.json`` has it in ``MODEL_hf_quant_config.json``.

    Raises
    ------
    ProblemError
        The file is there and cannot be read.
    """
    if not path.name.endswith(_CONFIG):
        return None
    beside = path.with_name(path.name.removesuffix(_CONFIG) + NAME)
    if not beside.is_file():
        return None
    content, _ = read_json(beside)
    table = content.get("quantization")
    if isinstance(table, dict):
        return table
    config.fault(NAME, "has no table quantization, which says what is quantised")
    return None
