"""Fits the constants of ``performance`` to measured tables, and checks predictions against measurements.

A table of single operators (``tables``) is cut into entries: one operator, number format, GPU and kernel
library. Each entry has a recipe (``recipe``) of at most eight constants, fitted by ``fitting`` and judged on
rows and whole shapes that it did not see (``holdout``). One module per operator class says what its rows
mean. Nothing in ``performance`` knows about any of this.
"""

from autoparallel.calibration.fits import CalibrationResult, calibrate
from autoparallel.calibration.validation import Validation, validate

__all__ = ["CalibrationResult", "Validation", "calibrate", "validate"]
