"""What of an operator is fitted, and what is chosen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from autoparallel.domain.hardware import Hardware

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[np.float64]
# Constants to the seconds of every row that the predictor was made for.
Predict = Callable[[Any], Array]

MOST_CONSTANTS = 8


class Entry(NamedTuple):
    """One fit: an operator and number format, as ``performance.kernels`` looks them up."""

    operator: str
    format: str


class Parameter(NamedTuple):
    """A positive constant: where its search starts and ends, and its value where it ends at a bound.

    ``off_low`` and ``off_high`` replace a constant that the fit pushed to that bound: the term is off.
    """

    start: float
    low: float
    high: float
    off_low: float | None = None
    off_high: float | None = None


class Change(NamedTuple):
    """Another way to describe the same kernel: traits to set, constants to fit or to leave out."""

    traits: Mapping[str, Any] = {}
    add: Mapping[str, Parameter] = {}
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """The constants to fit, and the traits that go with them and are not fitted.

    Raises
    ------
    ValueError
        More than ``MOST_CONSTANTS`` are fitted.
    """

    parameters: Mapping[str, Parameter]
    traits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.parameters) > MOST_CONSTANTS:
            raise ValueError(f"{len(self.parameters)} constants: {', '.join(self.parameters)}")

    def changed(self, change: Change) -> Recipe:
        """The recipe with a change made to it."""
        kept = {name: value for name, value in self.parameters.items() if name not in change.drop}
        traits = {name: value for name, value in self.traits.items() if name not in change.add}
        return Recipe({**kept, **change.add}, {**traits, **change.traits})


class OperatorClass(ABC):
    """How the rows of one kind of table are cut into entries, predicted and held back.

    Attributes
    ----------
    table : str
        The kind of table (``tables.KINDS``).
    constants : type
        What is fitted.
    shape : tuple of str
        Columns whose values, together, are a shape that is kept back whole.
    starts : int
        Starting points that a fit tries; the first is the recipe's own.
    """

    table: str
    constants: type
    shape: tuple[str, ...]
    starts = 1

    @abstractmethod
    def prepared(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows with the columns ``operator`` and ``format``, and what else follows from the others."""

    @abstractmethod
    def recipe(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Recipe:
        """What is fitted for an entry."""

    @abstractmethod
    def predictor(self, entry: Entry, rows: pd.DataFrame, hardware: Hardware) -> Predict:
        """Seconds of every row as a function of the constants."""

    def alternatives(
        self, entry: Entry, rows: pd.DataFrame, hardware: Hardware
    ) -> Sequence[Sequence[Change]]:
        """Rounds of changes; the best of a round is kept if it makes the fit clearly better."""
        return ()

    def stated(self, entry: Entry) -> Mapping[str, Any]:
        """Values that are written beside the constants and fitted nowhere."""
        return {}


def floats(rows: pd.DataFrame, *columns: str) -> tuple[Array, ...]:
    """Columns as arrays of floating-point numbers."""
    return tuple(rows[column].to_numpy(np.float64) for column in columns)
