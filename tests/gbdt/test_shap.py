"""Contributions of features: the enumeration's, LightGBM's on the same trees, and exact where paths are long."""

import math
from fractions import Fraction
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt import GBDTClassifier, GBDTRegressor
from kb.gbdt.prediction import shap, shap_numba
from kb.gbdt.tree import Model


def table(seed: int, rows: int = 500, features: int = 6) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = np.round(generator.standard_normal((rows, features)), 1)
    values[:, -1] = generator.integers(0, 12, rows)
    target = 2 * values[:, 0] + values[:, 1] * values[:, 2] + values[:, -1] % 3 + generator.standard_normal(rows)
    values[generator.random(values.shape) < 0.1] = np.nan
    return values, target


def missing_of(model: Model) -> np.ndarray:
    return np.array([mapper.has_missing for mapper in model.mappers], bool)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(2, 24), st.sampled_from([-1, 2, 4]))
def test_leaf_by_leaf_is_coalition_by_coalition(seed: int, leaves: int, depth: int) -> None:
    values, target = table(seed, 300)
    options = {"num_leaves": leaves, "max_depth": depth, "min_data_per_group": 5, "cat_smooth": 1.0}
    model = GBDTRegressor(n_estimators=1, learning_rate=1.0, min_child_samples=3, n_jobs=1, **options)
    found = model.fit(values, target, categorical_feature=[5]).model_
    fast = shap_numba.contributions(found, values[:4], 1)[:, 0]
    for row in range(4):
        slow = shap.contributions_by_coalitions(found.trees[0][0], values[row], missing_of(found))
        np.testing.assert_allclose(fast[row], slow, rtol=1e-11, atol=1e-11)


def test_two_features_by_hand() -> None:
    """Four equal corners with 0, 0, 0 and 4: what both do together is shared alike."""
    values = np.tile(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), (10, 1))
    target = 4.0 * values[:, 0] * values[:, 1]
    model = GBDTRegressor(n_estimators=1, learning_rate=1.0, min_child_samples=5, min_child_weight=0.0)
    found = model.fit(values, target).predict(values[:4], pred_contrib=True)
    np.testing.assert_allclose(found, [[-0.5, -0.5, 1], [-1.5, 0.5, 1], [0.5, -1.5, 1], [1.5, 1.5, 1]], atol=1e-12)


CASES: dict[str, dict[str, Any]] = {
    "regression": {},
    "poisson": {"objective": "poisson"},
    "quantile": {"objective": "quantile", "alpha": 0.3},
    "bagging": {"subsample": 0.5, "subsample_freq": 1},
    "many leaves": {"num_leaves": 120, "min_child_samples": 2},
    "one leaf": {"min_split_gain": 1e12},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_numbers_are_lightgbms(name: str, weighted: bool) -> None:
    values, target = table(3, 800, 15)
    target = np.floor(np.abs(target)) if name == "poisson" else target
    weights = np.random.default_rng(0).uniform(0.1, 3, len(values)) if weighted else None
    model = GBDTRegressor(n_estimators=10, **CASES[name])
    model.fit(values, target, sample_weight=weights, categorical_feature=[14])
    check_against_lightgbm(model, values[:300])


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_lightgbms(classes: int) -> None:
    values, target = table(4)
    labels = np.array(["low", "mid", "top"])[np.digitize(target, [0.0, 1.5][: classes - 1])]
    model = GBDTClassifier(n_estimators=6).fit(values, labels, categorical_feature=[5])
    check_against_lightgbm(model, values[:200])


def check_against_lightgbm(model: Any, values: np.ndarray) -> None:
    """Assert that contributions are LightGBM's and sum to the scores, of all rounds and of some."""
    booster = lightgbm.Booster(model_str=model.to_lightgbm_text())
    for some in ({}, {"start_iteration": 2, "num_iteration": 3}):
        found = model.predict(values, pred_contrib=True, **some)
        np.testing.assert_allclose(found, booster.predict(values, pred_contrib=True, **some), rtol=1e-9, atol=1e-9)
        scores = model.predict(values, raw_score=True, **some)
        sums = found.reshape(len(values), model.model_.classes, -1).sum(axis=2)
        np.testing.assert_allclose(sums.reshape(scores.shape), scores, rtol=1e-12, atol=1e-12)


def exact_shares(holds: list[bool], shares: list[float]) -> list[float]:
    """What a leaf of value 1 gives each feature: the sum over all coalitions, by their sizes, in whole fractions."""
    M, found = len(shares), []
    for j in range(M):
        sizes = [Fraction(1)]  # by the number of features in the coalition
        for i in range(M):
            if i != j:
                inside, outside = int(holds[i]), Fraction(shares[i])
                longer = zip([*sizes, Fraction(0)], [Fraction(0), *sizes], strict=True)
                sizes = [one * outside + before * inside for one, before in longer]
        weights = [Fraction(math.factorial(k) * math.factorial(M - 1 - k), math.factorial(M)) for k in range(M)]
        total = sum(weight * size for weight, size in zip(weights, sizes, strict=True))
        found.append(float((int(holds[j]) - Fraction(shares[j])) * total))
    return found


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 1000)), min_size=1, max_size=36))
def test_a_leafs_shares_are_exact(features: list[tuple[bool, int]]) -> None:
    holds, shares = [hold for hold, _ in features], [share / 1000 for _, share in features]
    path = shap.Path(list(range(len(shares))), shares, [], [], [], 1.0)
    found = shap.leaf_shares(np.array([holds]), path)[0]
    np.testing.assert_allclose(found, exact_shares(holds, shares), rtol=1e-11, atol=1e-300)


def chain(features: int) -> tuple[GBDTRegressor, np.ndarray]:
    """A tree that takes a few rows off by one feature after another, so that one path has them all."""
    rows = 20 * np.arange(features)[:, None] + np.arange(20)
    values, target = np.zeros((100 * features, features)), np.zeros(100 * features)
    values[rows, np.arange(features)[:, None]] = 1.0
    target[rows] = 100.0 - np.arange(features)[:, None]
    options = {"num_leaves": features + 1, "min_child_samples": 5, "min_child_weight": 0.0}
    return GBDTRegressor(n_estimators=1, learning_rate=1.0, **options).fit(values, target), values[::50]


@pytest.mark.parametrize("players", [1, 2, 5, 12, 33, 34, 40, 200])
def test_the_rule_gives_each_size_of_a_coalition_its_weight(players: int) -> None:
    """The integral of t**s (1 - t)**(M - 1 - s) is s! (M - 1 - s)! / M!."""
    points, weights = shap.gauss(players)
    for size in {0, players // 3, players // 2, players - 1}:
        found = (weights * points**size * (1 - points) ** (players - 1 - size)).sum()
        assert math.isclose(found * players * math.comb(players - 1, size), 1.0, rel_tol=1e-9)


def test_long_paths_keep_their_digits() -> None:
    model, values = chain(60)
    assert max(len(path.features_M) for path in shap.paths_of(model.model_.trees[0][0])) == 60
    found = model.predict(values, pred_contrib=True)
    np.testing.assert_allclose(found.sum(axis=1), model.predict(values), rtol=0, atol=1e-11)
    assert shap.contributions(model.model_, values)[:, 0].tobytes() == found.tobytes()
    theirs = lightgbm.Booster(model_str=model.to_lightgbm_text()).predict(values, pred_contrib=True)
    assert np.abs(np.asarray(theirs).sum(axis=1) - model.predict(values)).max() > 1e-3  # UNWIND has lost them


@pytest.mark.parametrize("features", [3, 14])
def test_numpy_and_numba_give_the_same_bytes_with_any_number_of_threads(features: int) -> None:
    generator = np.random.default_rng(1)
    values = generator.standard_normal((5000, features))
    values[generator.random(values.shape) < 0.1] = np.nan
    target = np.nan_to_num(values).sum(axis=1)
    model = GBDTRegressor(n_estimators=2, num_leaves=100, min_child_samples=2).fit(values, target).model_
    wanted = shap.contributions(model, values).tobytes()
    assert {shap_numba.contributions(model, values, threads).tobytes() for threads in (1, 2)} == {wanted}


def test_the_reference_refuses_too_many_features() -> None:
    model, values = chain(17)
    with pytest.raises(ValueError, match="at most 16 features to try all coalitions, got 17"):
        shap.contributions_by_coalitions(model.model_.trees[0][0], values[0], missing_of(model.model_))
