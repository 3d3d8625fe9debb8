"""Every audit check, one module each, found by looking through this package."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from autoparallel.audit.checks.base import ASSUMED, LIMIT, ORIGIN, VALUE, Check, Computed, Quantity

__all__ = [
    "ASSUMED", "CHECKS", "LIMIT", "ORIGIN", "QUANTITIES", "VALUE", "Check", "Computed", "Quantity",
    "check_of",
]  # fmt: skip

CHECKS: tuple[Check, ...] = tuple(
    import_module(f"{__name__}.{name}").CHECK
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name != "base"
)
QUANTITIES: dict[str, Quantity] = {
    name: quantity for check in CHECKS for name, quantity in sorted(check.quantities.items())
}
_CHECK_OF = {name: check for check in CHECKS for name in check.quantities}


def check_of(quantity: str) -> Check:
    """The check that knows a quantity."""
    return _CHECK_OF[quantity]
