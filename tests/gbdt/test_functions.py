"""Losses and metrics that are given as functions: LightGBM's conventions and its numbers."""

from typing import Any

import numpy as np
import pytest

from kb.gbdt import GBDTRegressor
from kb.gbdt.losses import Squared
from tests.gbdt.evaluating import Pair, data, pair, predicted, same, targets_of

pytestmark = pytest.mark.filterwarnings("ignore::lightgbm.basic.LGBMDeprecationWarning")


def logistic(y_true: np.ndarray, y_pred: np.ndarray) -> Pair:
    chances = 1 / (1 + np.exp(-y_pred))
    return chances - y_true, chances * (1 - chances)


def softmax(y_true: np.ndarray, y_pred: np.ndarray, weight: np.ndarray | None) -> Pair:
    chances = np.exp(y_pred) / np.exp(y_pred).sum(axis=1, keepdims=True)
    weight = np.ones(len(y_true)) if weight is None else weight
    one_hot = np.eye(y_pred.shape[1])[y_true.astype(int)]
    return (chances - one_hot) * weight[:, None], 2 * chances * (1 - chances) * weight[:, None]


def fourth_power(y_true: np.ndarray, y_pred: np.ndarray) -> Pair:
    error = y_pred - y_true
    return error**3, 3 * error**2 + 0.1


def mean_size(y_true: np.ndarray, y_pred: np.ndarray) -> tuple[str, float, bool]:
    return "mean size", float(np.abs(y_pred).mean() + y_true.mean()), True


def two_values(y_true: np.ndarray, y_pred: np.ndarray, weight: np.ndarray | None) -> list[tuple[str, float, bool]]:
    weight = np.ones(len(y_true)) if weight is None else weight
    return [("first", float(np.average(y_pred.sum(axis=-1), weights=weight)), True), ("shape", y_pred.ndim, False)]


@pytest.mark.parametrize(("kind", "objective"), [("numbers", fourth_power), ("two", logistic), ("three", softmax)])
@pytest.mark.parametrize("weighted", [False, True])
def test_functions_as_losses_and_metrics_are_lightgbms(kind: str, objective: Any, weighted: bool) -> None:
    values, target = data(8)
    others, their_target = data(108, 500)
    weights = np.random.default_rng(0).uniform(0.5, 2, 3000) if weighted else None
    ours, theirs = pair(kind, objective=objective, n_estimators=8, num_leaves=7)
    metric = [mean_size, two_values] if kind == "three" else mean_size
    for model in (ours, theirs):
        model.fit(
            values,
            targets_of(kind, target),
            sample_weight=weights,
            eval_set=[(others, targets_of(kind, their_target)), (values, targets_of(kind, target))],
            eval_metric=metric,
        )
    same(ours, theirs, others)  # with raw scores in the place of probabilities
    found = ours.predict(others)
    np.testing.assert_array_equal(found, predicted(ours, others))
    assert found.shape == ((500, 3) if kind == "three" else (500,))


@pytest.mark.parametrize("kind", ["numbers", "two", "three"])
def test_functions_as_metrics_of_our_losses_get_what_lightgbms_get(kind: str) -> None:
    values, target = data(9)
    ours, theirs = pair(kind, n_estimators=4)
    y = targets_of(kind, target)
    for model in (ours, theirs):
        model.fit(values, y, eval_set=[(values, y)], eval_metric=[mean_size])
    same(ours, theirs, values)


def test_metric_none_leaves_functions_alone() -> None:
    values, target = data(9, 300)
    model = GBDTRegressor(n_estimators=2, metric="None")
    model.fit(values, target, eval_set=[(values, target)], eval_metric=mean_size)
    assert list(model.evals_result_["training"]) == ["mean size"]
    model.set_params(metric=["l1", "l2"]).fit(values, target, eval_set=[(values, target)])
    assert list(model.evals_result_["training"]) == ["l1", "l2"]


def test_a_loss_of_ones_own_class_is_judged_by_the_usual_metric() -> None:
    class Own(Squared):
        name = "own"

    values, target = data(11, 200)
    model = GBDTRegressor(objective=Own(), n_estimators=2).fit(values, target, eval_set=[(values, target)])
    assert list(model.evals_result_["training"]) == ["l2"]
