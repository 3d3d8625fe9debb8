"""Fits find the constants that a table was made from, also among outliers, and always the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from autoparallel.calibration.fitting import chosen_recipe, fit
from autoparallel.calibration.gemm import PARAMETERS
from autoparallel.calibration.holdout import folds_of, held_out
from autoparallel.calibration.operators import OPERATORS
from autoparallel.calibration.recipe import Change, Entry, Parameter, Recipe
from autoparallel.calibration.systems import hardware_of
from autoparallel.performance.operators import GemmConstants

GEMM, ENTRY = OPERATORS["gemm"], Entry("gemm", "bfloat16")
RECIPE = Recipe(PARAMETERS, {"overlap": "hypot"})
KNOWN = {"t0_s": 3e-6, "compute_efficiency": 0.8, "memory_efficiency": 0.85, "walk_limit_s": 6e-6}


def fitted(rows: pd.DataFrame) -> GemmConstants:
    predict = GEMM.predictor(ENTRY, rows, hardware_of("h100_sxm"))
    found = fit(GemmConstants, RECIPE, predict, rows["latency_us"].to_numpy() * 1e-6)
    assert isinstance(found, GemmConstants)
    return found


def test_known_constants_are_found(products: pd.DataFrame) -> None:
    found = fitted(products)
    for name, value in KNOWN.items():
        assert getattr(found, name) == pytest.approx(value, rel=0.02)
    assert found.overlap == "hypot"


def test_a_tenth_of_outliers_moves_them_little(products: pd.DataFrame) -> None:
    tenth = np.arange(len(products)) % 10 == 0
    slow = products.assign(latency_us=products["latency_us"] * np.where(tenth, 5.0, 1.0))
    found = fitted(slow)
    for name, value in KNOWN.items():
        assert getattr(found, name) == pytest.approx(value, rel=0.1)


def test_the_same_rows_give_the_same_constants(products: pd.DataFrame) -> None:
    noisy = products.assign(
        latency_us=products["latency_us"] * np.random.default_rng(1).uniform(0.9, 1.1, len(products))
    )
    assert fitted(noisy) == fitted(noisy)


def test_a_term_at_its_bound_is_switched_off(products: pd.DataFrame) -> None:
    # No walk limit in the table: the fit pushes it up until it is off.
    endless = products.assign(latency_us=1.0 + products["k"] * 1e-2)
    predict = GEMM.predictor(ENTRY, endless, hardware_of("h100_sxm"))
    found = fit(GemmConstants, RECIPE, predict, endless["latency_us"].to_numpy() * 1e-6)
    assert found.walk_limit_s == np.inf


def test_nine_constants_are_refused() -> None:
    nine = {f"c{number}": Parameter(1.0, 0.1, 10.0) for number in range(9)}
    with pytest.raises(ValueError, match="9 constants"):
        Recipe(nine)


def test_a_change_is_kept_only_where_it_helps(products: pd.DataFrame) -> None:
    predict = GEMM.predictor(ENTRY, products, hardware_of("h100_sxm"))
    measured_s = products["latency_us"].to_numpy() * 1e-6

    def make() -> object:
        return predict, measured_s

    worse, better = Change({"overlap": "sum"}), Change({"overlap": "hypot"})
    assert chosen_recipe(GEMM, RECIPE, [[worse]], make).traits["overlap"] == "hypot"
    summed = RECIPE.changed(worse)
    assert chosen_recipe(GEMM, summed, [[better]], make).traits["overlap"] == "hypot"


def test_rows_of_a_group_are_held_back_together() -> None:
    folds = folds_of(np.array([1, 1, 2, 3, 3, 3, 4]), 2)
    assert folds[0] == folds[1]
    assert len(set(folds[3:6])) == 1
    assert set(folds) == {0, 1}


def test_what_was_held_back_is_predicted_from_the_rest(products: pd.DataFrame) -> None:
    folds = folds_of(products["n"].to_numpy(), 3)
    hardware = hardware_of("h100_sxm")
    predicted = held_out(GEMM, ENTRY, products, hardware, RECIPE, fitted(products), folds)
    assert predicted is not None
    assert predicted * 1e6 == pytest.approx(products["latency_us"].to_numpy(), rel=0.02)
    # An outlier does not bend its own prediction.
    row = np.arange(len(products))
    spoilt = products.assign(latency_us=products["latency_us"] * np.where(row == 0, 100.0, 1.0))
    again = held_out(GEMM, ENTRY, spoilt, hardware, RECIPE, fitted(products), (row % 5).astype(float))
    assert again is not None
    assert again[0] * 1e6 == pytest.approx(products["latency_us"][0], rel=0.05)


def test_one_group_alone_cannot_be_held_back(products: pd.DataFrame) -> None:
    folds = folds_of(np.zeros(len(products)), 5)
    hardware = hardware_of("h100_sxm")
    assert held_out(GEMM, ENTRY, products, hardware, RECIPE, fitted(products), folds) is None
