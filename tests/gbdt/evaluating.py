"""What tests of evaluation share: data without ties, both libraries' estimators, and all that a fit leaves behind."""

import warnings
from typing import Any

import lightgbm
import numpy as np

from kb.gbdt import GBDTClassifier, GBDTRegressor

QUIET = {"verbose": -1, "n_jobs": 1}
Pair = tuple[np.ndarray, np.ndarray]


def data(seed: int, rows: int = 3000) -> Pair:
    """Features of 0 and 1, between whose thresholds there is always a row: no two of them gain the same."""
    generator = np.random.default_rng(seed)
    values = (generator.random((rows, 12)) < 0.4).astype(float)
    merit = values @ np.linspace(0.1, 1, 12) + values[:, 0] * values[:, 11] - 2.5
    return values, merit + generator.standard_normal(rows)


def pair(kind: str, **options: Any) -> tuple[Any, Any]:
    """Our estimator and LightGBM's."""
    mine, theirs = (
        (GBDTRegressor, lightgbm.LGBMRegressor) if kind == "numbers" else (GBDTClassifier, lightgbm.LGBMClassifier)
    )
    return mine(**options), theirs(**options, **QUIET)


def targets_of(kind: str, target: np.ndarray) -> np.ndarray:
    if kind == "numbers":
        return target
    return np.array(["low", "mid", "top"])[np.digitize(target, [0.0] if kind == "two" else [-0.5, 0.7])]


def predicted(model: Any, values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM's sklearn wrapper speaks of functions
        return np.asarray(model.predict_proba(values) if hasattr(model, "predict_proba") else model.predict(values))


def same(ours: Any, theirs: Any, values: np.ndarray) -> None:
    """Assert that all that a fit leaves behind agrees."""
    assert list(ours.evals_result_) == list(theirs.evals_result_)
    for name, found in theirs.evals_result_.items():
        assert list(ours.evals_result_[name]) == list(found)
        for metric, numbers in found.items():
            np.testing.assert_allclose(ours.evals_result_[name][metric], numbers, rtol=1e-9, atol=1e-12)
    assert ours.best_iteration_ == theirs.best_iteration_
    assert ours.n_estimators_ == theirs.n_estimators_
    assert ours.best_score_.keys() == theirs.best_score_.keys()
    for name, scores in theirs.best_score_.items():
        assert ours.best_score_[name].keys() == scores.keys()
        np.testing.assert_allclose(list(ours.best_score_[name].values()), list(scores.values()), rtol=1e-9)
    np.testing.assert_allclose(predicted(ours, values), predicted(theirs, values), rtol=1e-9, atol=1e-12)
