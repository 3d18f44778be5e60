"""Rounds in which nothing can be split, draws of no rows or of one feature, and alphas: LightGBM's models."""

from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

from kb.gbdt import GBDTClassifier, GBDTRegressor


def assert_lightgbms(X: np.ndarray, y: np.ndarray, classes: bool = False, **options: Any) -> None:
    """Assert that predictions and the number of rounds are LightGBM's."""
    pair: Any = (GBDTClassifier, lightgbm.LGBMClassifier) if classes else (GBDTRegressor, lightgbm.LGBMRegressor)
    options["n_jobs"] = 1  # small tables: threads would wait for each other
    ours, theirs = pair[0](**options).fit(X, y), pair[1](**options, verbose=-1).fit(X, y)
    assert ours.n_iter_ == theirs.n_iter_
    said = [model.predict_proba(X) if classes else model.predict(X) for model in (ours, theirs)]
    np.testing.assert_allclose(said[0], said[1], rtol=1e-9, atol=1e-10)


def numbers(seed: int, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    X = generator.standard_normal((rows, 4))
    return X, X[:, 0] + generator.standard_normal(rows)


@pytest.mark.parametrize("load", [load_wine, load_iris, load_breast_cancer])
def test_classes_that_are_told_apart_entirely(load: Any) -> None:
    X, y = load(return_X_y=True)
    assert_lightgbms(X, y, classes=True, n_estimators=300)


@pytest.mark.parametrize("objective", ["regression", "huber", "regression_l1", "quantile"])
@pytest.mark.parametrize(("rows", "gain"), [(500, 30.0), (30, 0.0)])
def test_splits_that_gain_too_little_and_tables_that_are_too_small(objective: str, rows: int, gain: float) -> None:
    assert_lightgbms(*numbers(0, rows), objective=objective, min_split_gain=gain, n_estimators=40)


def test_a_class_without_splits_says_nothing_beside_others_that_have_some() -> None:
    X, y = numbers(1)
    assert_lightgbms(X, np.digitize(y, [-1, 1]), classes=True, min_child_weight=10, n_estimators=60)


@pytest.mark.parametrize("seed", range(4))
def test_small_draws_of_rows(seed: int) -> None:
    X, y = numbers(seed, 90)
    options = {"subsample": 0.5, "subsample_freq": 1 + seed % 3, "random_state": seed}
    assert_lightgbms(X, y, n_estimators=60, **options)


@pytest.mark.parametrize("seed", [3, 5, 8])
def test_rounds_without_splits_do_not_count_towards_the_next_draw(seed: int) -> None:
    X, y = numbers(seed, 45)  # the first draw has too few rows for two leaves, later ones have enough
    options = {"subsample": 0.5, "subsample_freq": 3, "random_state": seed, "min_child_samples": 11}
    assert GBDTRegressor(**options, n_estimators=1).fit(X, y).model_.trees[0][0].leaves == 1
    assert_lightgbms(X, y, n_estimators=40, **options)


def test_a_draw_of_no_rows_grows_nothing() -> None:
    X, y = numbers(2, 3000)
    assert_lightgbms(X, y, subsample=0.001, subsample_freq=1, n_estimators=30)


@pytest.mark.parametrize("features", [1, 2, 3, 4])
def test_a_share_of_few_features_can_be_one(features: int) -> None:
    X, y = numbers(3)
    assert_lightgbms(X[:, :features], y, colsample_bytree=0.3, n_estimators=30)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_alpha_is_of_32_bits(alpha: float) -> None:
    assert_lightgbms(*numbers(4), objective="quantile", alpha=alpha)
