"""Writes constants of engines, and residuals, as TOML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from autoparallel.calibration.accuracy import Accuracy
from autoparallel.calibration.residuals import Coverage
from autoparallel.calibration.serving_calibration import EngineFit
from autoparallel.calibration.toml_text import table
from autoparallel.domain.engine import EngineConstants
from autoparallel.performance.intervals import SHARES
from autoparallel.performance.serving.engine import engine_provenance

TITLES = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
ENGINE_HEADER = """\
# {title}'s own costs beside its kernels, and how it takes memory; written by
#     autoparallel calibrate --serving MEASURED{options}
# The meaning of each constant: autoparallel/domain/engine.py.
"""
RESIDUALS_HEADER = """\
# What predictions were off by, written by
#     autoparallel calibrate --serving MEASURED --afresh --out FOLDER
# Quantiles of ln(measured / predicted) at `shares`, by what is known of the GPU's kernels (calibrated;
# defaults of other GPUs; a roofline) and by load. How they are made: autoparallel/calibration/residuals.py.
"""
DIGITS = 3
_ABOUT = ("name", "residuals")


def engine_text(fit: EngineFit, own: Mapping[str, Mapping[str, Any]], *, source: str, date: str) -> str:
    """The file of an engine: constants, provenance, and residuals of its own where there are any."""
    name = fit.engine.name
    head = ENGINE_HEADER.format(title=TITLES.get(name, name), options=" --afresh" if fit.afresh else "")
    constants = table(("constants",), dict(_constants(fit.engine, fit.fitted)))
    about = table(("provenance",), _provenance(fit, source, date))
    parts = [head, f'engine = "{name}"\n', constants, about]
    parts += [table(("residuals", load), values) for load, values in own.items()]
    return "\n".join(parts)


def _constants(engine: EngineConstants, fitted: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """What is stated and what was fitted, the latter rounded."""
    for each in fields(engine):
        value = getattr(engine, each.name)
        if each.name in _ABOUT or (value == each.default and each.default is not MISSING):
            continue
        yield each.name, float(f"{value:.{DIGITS}g}") if each.name in fitted else value


def _provenance(fit: EngineFit, source: str, date: str) -> dict[str, Any]:
    rows = fit.rows
    kept = engine_provenance(fit.engine.name)
    drawn = "what engines have in common" if fit.afresh else "the catalog's constants"
    about = {
        "fitted": f"{', '.join(fit.fitted)}: robust least squares, drawn to {drawn}",
        **{name: kept[name] for name in kept if name == "assumed" or name in vars(fit.engine)},
        "rows": {str(load): len(part) for load, part in rows.groupby("load", sort=True)},
        "models": sorted(rows.model.unique()),
        "gpus": sorted(rows.gpu.unique()),
        "versions": sorted({str(version) for version in rows.engine_version if isinstance(version, str)}),
        "left_out": [f"{count} rows: {reason}" for reason, count in fit.left_out.items()],
        "source": source,
        "date": date,
    }
    errors = {
        f"{load}.{column}": {name: shares(value) for name, value in found.items()}
        for (load, column), found in fit.errors().items()
    }
    note = "mean, median, 90th percentile of the absolute error, %; unseen: without " + (
        "the row's model" if fit.afresh else "the row"
    )
    return {**about, "errors": {"note": note, **errors}}


def shares(value: Accuracy) -> list[float]:
    """Mean, median and 90th percentile. [%]"""
    return [round(share, 1) for share in (value.mape, value.median_ape, value.p90_ape)]


def residual_text(
    tables: Mapping[tuple[str, str], Mapping[str, Any]],
    held: Mapping[tuple[str, str], Coverage],
    *,
    source: str,
    date: str,
) -> str:
    """The catalog's file of residuals."""
    parts = [RESIDUALS_HEADER, f"shares = {list(SHARES)}\n"]
    parts += [table(path, values) for path, values in tables.items()]
    about = {"source": source, "date": date}
    coverage = {
        f"{load}.{quantity}": [found.rows, round(100 * found.share, 1), round(100 * found.half_width, 1)]
        for (load, quantity), found in held.items()
        if not math.isnan(found.share)
    }
    note = (
        "rows, share of them within their 10-90 % interval and median half-width of it, %: "
        "each interval made without the row's model"
    )
    parts.append(table(("provenance",), {**about, "coverage": {"note": note, **coverage}}))
    return "\n".join(parts)
