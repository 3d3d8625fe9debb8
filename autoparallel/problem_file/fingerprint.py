"""A hash of what a problem says, however it is written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from autoparallel.domain.problem import Problem
from autoparallel.domain.workload import Workload


def fingerprint(problem: Problem) -> str:
    """Return the SHA-256 of the problem's canonical JSON, as 64 hexadecimal digits.

    File name, comments, order of keys, warnings and sources do not count; everything that can change
    an answer does. Constants of kernels may be infinite.
    """
    content = {
        "model": asdict(problem.model),
        "hardware": {
            key: value
            for key, value in asdict(problem.hardware).items()
            if key not in ("sources", "l2_cache_mb")
        },
        "workload": _workload(problem.workload),
        "requirements": asdict(problem.requirements),
        "search": asdict(problem.search),
    }
    if problem.engine is not None:
        content["engine"] = {"name": problem.engine, **asdict(problem.engine_options)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _workload(workload: Workload) -> dict[str, Any]:
    """What a workload says; what came later and says nothing leaves older fingerprints as they were."""
    content = asdict(workload)
    for name in ("request_rate_per_s", "arrivals", "trace", "cached_share"):
        if content[name] == Workload.__dataclass_fields__[name].default:
            del content[name]
    for lengths in (content["prompt_tokens"], content["output_tokens"]):
        if not lengths["points"]:
            del lengths["points"], lengths["average"]
    return content
