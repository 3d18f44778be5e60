"""Metrics, callbacks and functions of one's own during the fit: LightGBM's numbers, and its stops; and bad input."""

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt import (
    GBDTClassifier,
    GBDTRegressor,
    early_stopping,
    reset_parameter,
)
from tests.gbdt.evaluating import data, pair, same, targets_of

pytestmark = pytest.mark.filterwarnings("ignore::lightgbm.basic.LGBMDeprecationWarning")

METRICS: dict[str, list[Any]] = {
    "numbers": [["l1", "rmse", "huber", "quantile"], "mae", None],
    "two": [["auc", "error"], "logloss", "multi_error"],
    "three": [["error"], "binary_logloss", "softmax"],
}


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_stops_where_lightgbm_stops_with_the_same_numbers(kind: str, seed: int) -> None:
    values, target = data(seed)
    others, their_target = data(seed + 100, 1000)
    y, their_y = targets_of(kind, target), targets_of(kind, their_target)
    ours, theirs = pair(kind, learning_rate=0.3, num_leaves=7, n_estimators=150)
    for model, stop in ((ours, early_stopping), (theirs, lightgbm.early_stopping)):
        stopping: Callable[..., Any] = stop
        model.fit(
            values,
            y,
            eval_set=[(others, their_y), (values, y)],
            eval_names=["other", "own"],
            eval_metric=METRICS[kind][seed],
            callbacks=[stopping(7, verbose=False)],
        )
    assert 1 < ours.best_iteration_ < 143
    same(ours, theirs, others)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("several", [False, True])
def test_sets_as_two_arguments_are_watched_as_lightgbm_does(several: bool) -> None:
    values, target = data(5)
    others, their_target = data(105, 1000)
    tables, targets = ((others, values), (their_target, target)) if several else (others, their_target)
    ours, theirs = pair("numbers", learning_rate=0.3, num_leaves=7, n_estimators=60)
    for model in (ours, theirs):
        model.fit(values, target, eval_X=tables, eval_y=targets, eval_metric=["l1"])
    assert list(ours.evals_result_) == list(theirs.evals_result_)
    same(ours, theirs, others)


OPTIONS: dict[str, dict[str, Any]] = {
    "first metric": {"first_metric_only": True},
    "a margin": {"min_delta": 0.002},
    "a margin each": {"min_delta": [0.0, 0.01]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_stopping_with_weights_and_start_scores_are_lightgbms(name: str) -> None:
    values, target = data(3)
    others, their_target = data(103, 1000)
    draw = np.random.default_rng(0).uniform
    weights, start, their_start = draw(0.2, 2, 1000), draw(-1, 1, 3000), draw(-1, 1, 1000)
    ours, theirs = pair("numbers", learning_rate=0.3, num_leaves=7)
    for model, stop in ((ours, early_stopping), (theirs, lightgbm.early_stopping)):
        stopping: Callable[..., Any] = stop
        model.fit(
            values,
            target,
            init_score=start,
            eval_set=[(others, their_target), (others, their_target)],
            eval_sample_weight=[weights, None],
            eval_init_score=[None, their_start],
            eval_metric="l1",
            callbacks=[stopping(4, verbose=False, **OPTIONS[name])],
        )
    same(ours, theirs, others)


def test_class_weights_of_a_set_are_lightgbms_and_a_pair_alone_will_do() -> None:
    values, target = data(4)
    others, their_target = data(104, 1000)
    ours, theirs = pair("two", n_estimators=5, class_weight="balanced")
    for model in (ours, theirs):
        model.fit(values, target > 0, eval_set=(others, their_target > 0.5), eval_class_weight=[{0: 1.0, 1: 3.0}])
    same(ours, theirs, others)
    assert ours.best_iteration_ == 0


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_the_last_number_is_the_metric_of_the_predictions(seed: int, rounds: int) -> None:
    values, target = data(seed, 120)
    model = GBDTRegressor(n_estimators=rounds, num_leaves=4)
    model.fit(values[:80], target[:80], eval_set=[(values[80:], target[80:]), (values[80:], target[80:])])
    error = float(np.mean((model.predict(values[80:]) - target[80:].astype(np.float32)) ** 2))
    np.testing.assert_allclose(model.evals_result_["valid_0"]["l2"][-1], error, rtol=1e-12)
    assert model.evals_result_["valid_0"] == model.evals_result_["valid_1"]
    assert len(model.evals_result_["valid_0"]["l2"]) == rounds == model.n_iter_


def test_frames_with_categories_are_judged_like_arrays() -> None:
    pandas = pytest.importorskip("pandas")
    values, target = data(10, 1000)
    codes = np.random.default_rng(0).integers(0, 5, 1000)
    frame = pandas.DataFrame(values).rename(columns=str)
    frame["kind"] = pandas.Categorical(np.array(list("abcde"))[codes])
    model = GBDTRegressor(n_estimators=3).fit(
        frame[:800], target[:800], eval_set=[(frame[800:], target[800:])], eval_metric="l1"
    )
    plain = np.column_stack([values, codes])
    other = GBDTRegressor(n_estimators=3).fit(
        plain[:800],
        target[:800],
        eval_set=[(plain[800:], target[800:])],
        eval_metric="l1",
        categorical_feature=[12],
    )
    assert model.evals_result_ == other.evals_result_


GOOD, TARGET = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60.0)
SETS = [(GOOD[:20] + 0.0, TARGET[:20])]


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({}, {"eval_set": 5}, "eval_set must be a list of pairs"),
        ({}, {"eval_set": [GOOD]}, "eval_set must be a list of pairs"),
        ({}, {"eval_X": GOOD}, "eval_X and eval_y must be given together"),
        ({}, {"eval_y": TARGET}, "eval_X and eval_y must be given together"),
        ({}, {"eval_X": (GOOD,), "eval_y": TARGET}, "both be tuples, or neither"),
        ({}, {"eval_X": (GOOD, GOOD), "eval_y": (TARGET,)}, "equally long, got 2 and 1"),
        ({}, {"eval_X": GOOD, "eval_y": TARGET, "eval_set": [(GOOD, TARGET)]}, "got both"),
        ({}, {"eval_set": [(GOOD[:, :2], TARGET)]}, r"eval_set\[0\].*2 features"),
        ({}, {"eval_set": [(GOOD[:0], TARGET[:0])]}, r"eval_set\[0\].*0 sample"),
        ({}, {"eval_set": [(GOOD[:20], TARGET)]}, r"eval_set\[0\].*inconsistent"),
        ({}, {"eval_set": [(GOOD, np.where(TARGET > 3, np.nan, TARGET))]}, r"eval_set\[0\].*NaN"),
        ({}, {"eval_names": ["a", "b"], "eval_set": SETS}, "eval_names .* each of 1"),
        ({}, {"eval_names": "a", "eval_set": SETS}, "eval_names"),
        ({}, {"eval_names": ["a", "a"], "eval_set": SETS * 2}, "eval_names must differ"),
        ({}, {"eval_sample_weight": [None, None], "eval_set": SETS}, "eval_sample_weight"),
        ({}, {"eval_sample_weight": [np.zeros(20)], "eval_set": SETS}, r"eval_set\[0\].*weight"),
        ({}, {"eval_init_score": [np.zeros(21)], "eval_set": SETS}, "eval_init_score"),
        ({}, {"eval_metric": "l3", "eval_set": SETS}, "eval_metric must be one of.*'l3'"),
        ({}, {"eval_metric": "multi_logloss", "eval_set": SETS}, "does not go with 1 trees"),
        ({}, {"eval_metric": "ndcg", "eval_set": SETS}, "group"),
        ({}, {"eval_metric": lambda y, p: 1.0, "eval_set": SETS}, "eval_metric must return"),
        ({}, {"callbacks": [early_stopping(3)]}, "early_stopping needs at least one eval_set"),
        ({"metric": "None"}, {"callbacks": [early_stopping(3)], "eval_set": SETS}, "early_stopping needs"),
        ({}, {"callbacks": [early_stopping(3, min_delta=[0.1, 0.2])], "eval_set": SETS}, "min_delta"),
        ({}, {"callbacks": [reset_parameter(num_leaves=[3, 4])]}, "only learning_rate"),
        ({}, {"callbacks": [reset_parameter(learning_rate=[0.1])]}, "each of 2 rounds, got 1"),
        ({}, {"callbacks": [reset_parameter(learning_rate=[0.1, -1.0])]}, "learning_rate"),
        ({"verbose": "yes"}, {}, "verbose"),
        ({"objective": lambda y, p: y}, {}, "objective must return"),
        ({"objective": lambda y, p: (y, y[:5])}, {}, r"shape \(60,\), got \(5,\)"),
        ({"objective": lambda y, p: (y, y * np.nan)}, {}, "hessians must be finite"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], fit: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GBDTRegressor(n_estimators=2, **options).fit(**({"X": GOOD, "y": TARGET} | fit))


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({"objective": lambda y: y}, {}, "objective must be a function of 2, 3 or 4"),
        ({}, {"eval_metric": lambda y: y, "eval_set": SETS}, "eval_metric must be a function of 2, 3 or 4"),
        ({"metric": [3]}, {"eval_set": SETS}, "metric must be a name or a list of names"),
        ({}, {"eval_metric": [3], "eval_set": SETS}, "names or functions, got 3"),
        ({}, {"callbacks": [3]}, "callbacks must be functions, got 3"),
    ],
)
def test_wrong_kinds_are_named(options: dict[str, Any], fit: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        GBDTRegressor(n_estimators=2, **options).fit(**({"X": GOOD, "y": TARGET} | fit))


def test_unknown_classes_are_refused() -> None:
    labels = np.where(TARGET > 30, "b", "a")
    with pytest.raises(ValueError, match=r"eval_set\[0\].*classes of the training data, got.*'c'"):
        GBDTClassifier().fit(GOOD, labels, eval_set=[(GOOD, np.where(TARGET > 30, "c", "a"))])
    with pytest.raises(ValueError, match="objective of 2 classes"):
        GBDTClassifier(objective="multiclass").fit(GOOD, labels)
