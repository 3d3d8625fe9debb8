"""Launch commands, manifests and benchmarks for serving engines: one module an engine, found here."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoparallel.exporters.base import Exporter

__all__ = ["exporters"]


def exporters() -> dict[str, Exporter]:
    """Every exporter by its engine's name, in the order of the names."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [module.EXPORTER for module in modules if hasattr(module, "EXPORTER")]
    return {exporter.name: exporter for exporter in sorted(found, key=lambda exporter: exporter.name)}
