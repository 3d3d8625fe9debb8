"""Robust fits of a few positive constants."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoparallel.calibration.recipe import Array, Change, OperatorClass, Predict, Recipe

# Residual and scale beyond which a row counts as an outlier, one stage after the other: logarithms of the
# ratio first, since they bear any start, then relative errors, which are what is reported.
STAGES = (("log", 0.3), ("log", 0.1), ("relative", 0.05))
# Tables up to this size are cheap enough to be polished on the mean error itself. [rows]
POLISHED_ROWS = 2200
POLISH_RUNS = 800
# A change of form has to lower the mean error by this factor, or the simpler one stays.
CLEARLY_BETTER = 0.985
# Rows that alternatives are compared on. [rows]
COMPARED_ROWS = 1500


def fit(
    kind: type,
    recipe: Recipe,
    predict: Predict,
    measured_s: Array,
    *,
    start: Any = None,
    starts: int = 1,
) -> Any:
    """Fit the constants of a recipe.

    Parameters
    ----------
    kind : type
        Dataclass of the constants.
    predict : callable
        Constants to seconds, one for each of ``measured_s``.
    start : constants, optional
        Where the search begins; by default the recipe's own starting values.
    starts : int
        Starting points in all, the others drawn around the first with a fixed seed.

    Returns
    -------
    constants
        An instance of ``kind``.
    """
    if not recipe.parameters:
        return kind(**recipe.traits)
    search = _Search(kind, recipe, predict, measured_s)
    first = search.logarithms(start)
    random = np.random.default_rng(0)
    points = [first, *(first + random.normal(0.0, 0.7, len(first)) for _ in range(starts - 1))]
    found = [search.least_squares(point) for point in points]
    best = min(found, key=search.mean_error)
    if len(measured_s) <= POLISHED_ROWS:
        best = min((best, search.polished(best)), key=search.mean_error)
    return search.constants(best, final=True)


class _Search:
    """A fit in the logarithms of its constants."""

    def __init__(self, kind: type, recipe: Recipe, predict: Predict, measured_s: Array) -> None:
        self.kind, self.recipe, self.predict, self.measured_s = kind, recipe, predict, measured_s
        self.names = tuple(recipe.parameters)
        bounds = [(parameter.low, parameter.high) for parameter in recipe.parameters.values()]
        self.low, self.high = np.log(np.array(bounds)).T

    def logarithms(self, start: Any) -> Array:
        """Logarithms of the starting values."""
        values = []
        for name, parameter in self.recipe.parameters.items():
            given = parameter.start if start is None else getattr(start, name)
            finite = given is not None and 0.0 < given < np.inf
            values.append(given if finite else parameter.start)
        return np.log(np.array(values, dtype=np.float64))

    def constants(self, point: Array, *, final: bool = False) -> Any:
        """The constants at a point; the final ones with terms at their bound switched off."""
        values = dict(zip(self.names, np.exp(point).tolist(), strict=True))
        if final:
            for name, parameter in self.recipe.parameters.items():
                if parameter.off_low is not None and values[name] < 1.05 * parameter.low:
                    values[name] = parameter.off_low
                if parameter.off_high is not None and values[name] > 0.95 * parameter.high:
                    values[name] = parameter.off_high
        return self.kind(**{**self.recipe.traits, **values})

    def relative(self, point: Array) -> Array:
        """Relative errors."""
        return np.asarray(self.predict(self.constants(point)) / self.measured_s - 1.0)

    def logarithmic(self, point: Array) -> Array:
        """Logarithms of predicted over measured."""
        ratio = np.maximum(self.predict(self.constants(point)), 1e-12) / self.measured_s
        return np.asarray(np.log(ratio))

    def mean_error(self, point: Array) -> float:
        """Mean absolute relative error."""
        return float(np.mean(np.abs(self.relative(point))))

    def inside(self, point: Array) -> Array:
        """The point, moved inside its bounds."""
        return np.clip(point, self.low + 1e-6, self.high - 1e-6)

    def least_squares(self, point: Array) -> Array:
        """Robust least squares, stage by stage."""
        from scipy.optimize import least_squares

        for residual, scale in STAGES:
            solved = least_squares(
                self.logarithmic if residual == "log" else self.relative,
                self.inside(point),
                bounds=(self.low, self.high),
                loss="soft_l1",
                f_scale=scale,
                x_scale="jac",
                max_nfev=80,
            )
            point = self.inside(solved.x)
        return point

    def polished(self, point: Array) -> Array:
        """The mean absolute error's own minimum nearby."""
        from scipy.optimize import minimize

        solved = minimize(
            lambda moved: self.mean_error(np.clip(moved, self.low, self.high)),
            point,
            method="Nelder-Mead",
            options={"maxfev": POLISH_RUNS, "xatol": 1e-4, "fatol": 1e-6},
        )
        return np.asarray(np.clip(solved.x, self.low, self.high))


def chosen_recipe(operator: OperatorClass, recipe: Recipe, rounds: Any, make: Any) -> Recipe:
    """Try changes to a recipe, round by round, and keep those that make the fit clearly better.

    Parameters
    ----------
    rounds : sequence of sequences of Change
        Alternatives of the operator class.
    make : callable
        Returns the predictor and the measurements [s] of the rows to compare on.
    """
    if not any(rounds):
        return recipe
    predict, measured_s = make()

    def error(tried: Recipe) -> float:
        constants = fit(operator.constants, tried, predict, measured_s)
        return float(np.mean(np.abs(predict(constants) / measured_s - 1.0)))

    best = error(recipe)
    for changes in rounds:
        tried = [recipe.changed(change) for change in changes if _fits(recipe, change)]
        errors = [error(candidate) for candidate in tried]
        if errors and min(errors) < CLEARLY_BETTER * best:
            best = min(errors)
            recipe = tried[errors.index(best)]
    return recipe


def _fits(recipe: Recipe, change: Change) -> bool:
    kept = set(recipe.parameters) - set(change.drop)
    return len(kept | set(change.add)) <= 8
