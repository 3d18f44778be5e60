"""The estimators: scikit-learn's checks, the same bytes whatever the threads and the order, and bad input."""

import importlib.util
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from kb.gbdt import GBDTClassifier, GBDTRegressor
from kb.gbdt.losses import Squared

WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": "a row of weight 2 is one row to min_child_samples, as in LightGBM"
}


@parametrize_with_checks([GBDTRegressor(), GBDTClassifier()])
def test_scikit_learn_finds_no_fault_at_the_defaults(estimator: Any, check: Any) -> None:
    check(estimator)


# Their tables are so small that by default hardly a tree splits: leaves of 5 rows let them grow, and 20 rounds do.
@parametrize_with_checks(
    [GBDTRegressor(min_child_samples=5, n_estimators=20), GBDTClassifier(min_child_samples=5, n_estimators=20)],
    expected_failed_checks=lambda _: WEIGHTS,
)
def test_scikit_learn_finds_no_fault_with_small_leaves(estimator: Any, check: Any) -> None:
    check(estimator)


def data(rows: int = 1200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((rows, 5))
    values[generator.random(values.shape) < 0.1] = np.nan
    return values, np.nan_to_num(values[:, 0]) + generator.standard_normal(rows)


@pytest.mark.parametrize("objective", ["regression", "regression_l1", "huber", "quantile", "poisson"])
def test_threads_and_the_order_of_the_rows_change_no_byte(objective: str) -> None:
    values, target = data(20_000)
    target = np.floor(np.abs(target)) if objective == "poisson" else target
    natural, shuffled = np.arange(len(values)), np.random.default_rng(1).permutation(len(values))
    found = {
        GBDTRegressor(objective=objective, n_estimators=6, n_jobs=threads)
        .fit(values[rows], target[rows])
        .predict(values)
        .tobytes()
        for threads, rows in ((1, natural), (2, shuffled), (3, natural))
    }
    assert len(found) == 1


def test_without_numba_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values, target = data()
    fast = GBDTRegressor(n_estimators=10).fit(values, target).predict(values)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else find(name))
    slow = GBDTRegressor(n_estimators=10).fit(values, target).predict(values)
    assert fast.tobytes() == slow.tobytes()


def test_goss_keeps_large_gradients_and_predicts_nearly_as_well() -> None:
    values, target = data(4000)
    errors = {}
    for kind in ("gbdt", "goss"):
        model = GBDTRegressor(boosting_type=kind, n_estimators=40, random_state=0).fit(values[:3000], target[:3000])
        errors[kind] = float(np.mean((model.predict(values[3000:]) - target[3000:]) ** 2))
    assert errors["goss"] < 1.05 * errors["gbdt"]
    assert errors["goss"] != errors["gbdt"]


def test_it_works_in_pipelines_in_searches_and_in_files() -> None:
    values, target = data()
    pipeline = make_pipeline(StandardScaler(), GBDTRegressor(n_estimators=10))
    search = GridSearchCV(pipeline, {"gbdtregressor__num_leaves": [3, 15]}, cv=3).fit(values, target)
    assert search.best_score_ > 0.2
    model = search.best_estimator_
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(values), model.predict(values))


def test_a_monotone_prediction_never_falls() -> None:
    generator = np.random.default_rng(2)
    values = generator.uniform(-1, 1, (2000, 2))
    target = values[:, 0] + np.sin(8 * values[:, 0]) + values[:, 1] ** 2
    model = GBDTRegressor(monotone_constraints=[1, 0]).fit(values, target)
    line = np.linspace(-1, 1, 300)
    for second in (-0.9, 0.0, 0.7):
        assert (np.diff(model.predict(np.column_stack([line, np.full(300, second)]))) >= 0).all()


def test_a_loss_of_ones_own_and_constant_features() -> None:
    values, target = data()
    own = GBDTRegressor(objective=Squared(), n_estimators=5).fit(values, target).predict(values)
    np.testing.assert_array_equal(own, GBDTRegressor(n_estimators=5).fit(values, target).predict(values))
    flat = GBDTRegressor(n_estimators=3).fit(np.ones((50, 2)), np.arange(50.0))
    np.testing.assert_allclose(flat.predict(np.zeros((2, 2))), 24.5)
    assert flat.feature_importances_.tolist() == [0, 0]
    empty = GBDTRegressor(n_estimators=3).fit(np.full((50, 2), np.nan), np.arange(50.0))
    np.testing.assert_allclose(empty.predict(np.zeros((2, 2))), 24.5)


GOOD, TARGET = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60.0)


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({"num_leaves": 1}, {}, "num_leaves"),
        ({"n_estimators": 0}, {}, "n_estimators"),
        ({"learning_rate": 0.0}, {}, "learning_rate"),
        ({"learning_rate": float("nan")}, {}, "learning_rate"),
        ({"subsample": 1.5}, {}, "subsample"),
        ({"colsample_bytree": 0.0}, {}, "colsample_bytree"),
        ({"reg_lambda": -1.0}, {}, "reg_lambda"),
        ({"min_child_samples": -1}, {}, "min_child_samples"),
        ({"max_bin": 1}, {}, "max_bin"),
        ({"max_depth": 1.5}, {}, "max_depth"),
        ({"boosting_type": "dart"}, {}, "boosting_type"),
        ({"boosting_type": "goss", "top_rate": 0.9, "other_rate": 0.3}, {}, "top_rate"),
        ({"objective": "l3"}, {}, "objective"),
        ({"objective": "quantile", "alpha": 1.0}, {}, "alpha"),
        ({"objective": "huber", "alpha": 0.0}, {}, "alpha"),
        ({"objective": "poisson"}, {"y": -TARGET}, "poisson"),
        ({"monotone_constraints": [1]}, {}, "monotone_constraints"),
        ({"random_state": "x"}, {}, "random_state"),
        ({}, {"sample_weight": -np.ones(60)}, "[Nn]egative"),
        ({}, {"sample_weight": np.zeros(60)}, "[Ss]ample.weight"),
        ({}, {"init_score": np.ones((60, 2))}, "init_score"),
        ({}, {"categorical_feature": [3]}, "numbered from 0 to 2"),
        ({}, {"categorical_feature": ["a"]}, "named 'a'"),
        ({}, {"categorical_feature": "a"}, "auto"),
        ({}, {"y": np.where(TARGET > 3, np.nan, TARGET)}, "NaN"),
        ({}, {"X": np.where(GOOD > 1, np.inf, GOOD)}, "infinity"),
        ({}, {"X": GOOD[:0], "y": TARGET[:0]}, "0 sample"),
        ({}, {"X": GOOD[:, 0]}, "2D"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], fit: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GBDTRegressor(**options).fit(**({"X": GOOD, "y": TARGET} | fit))


def test_one_class_and_another_table_are_refused() -> None:
    with pytest.raises(ValueError, match="one class"):
        GBDTClassifier().fit(GOOD, np.ones(60))
    model = GBDTRegressor(n_estimators=2).fit(GOOD, TARGET)
    with pytest.raises(ValueError, match="2 features"):
        model.predict(GOOD[:, :2])
    with pytest.raises(ValueError, match="importance_type"):
        _ = model.set_params(importance_type="shap").feature_importances_
