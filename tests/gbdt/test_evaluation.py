"""Metrics, callbacks and functions of one's own during the fit: LightGBM's numbers, and its stops; and bad input."""

import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kb.datasets
from kb.gbdt import (
    GBDTClassifier,
    GBDTRegressor,
    early_stopping,
    log_evaluation,
    record_evaluation,
    reset_parameter,
)
from kb.gbdt.callbacks import CallbackEnv, EarlyStopException, EvalResult
from kb.gbdt.losses import Squared

QUIET = {"verbose": -1, "n_jobs": 1}
Pair = tuple[np.ndarray, np.ndarray]
pytestmark = pytest.mark.filterwarnings("ignore::lightgbm.basic.LGBMDeprecationWarning")


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


def test_lightgbms_callbacks_work_here() -> None:
    values, target = data(5)
    others, their_target = data(105, 1000)
    ours, theirs = pair("numbers", num_leaves=7)
    found: list[dict[str, Any]] = [{}, {}]
    for model, record in zip((ours, theirs), found, strict=True):
        callbacks = [
            lightgbm.early_stopping(5, verbose=False),
            lightgbm.record_evaluation(record),
            lightgbm.reset_parameter(learning_rate=lambda number: 0.5 * 0.97**number),
            lightgbm.log_evaluation(0),
        ]
        model.fit(values, target, eval_set=[(others, their_target)], callbacks=callbacks)
    same(ours, theirs, others)
    assert found[0] == ours.evals_result_
    assert found[0].keys() == found[1].keys()


@pytest.mark.parametrize("schedule", [[0.5, 0.2, 0.1, 0.4], lambda number: 0.5 / (1 + number)])
def test_learning_rates_by_round_are_lightgbms(schedule: Any) -> None:
    values, target = data(6)
    ours, theirs = pair("numbers", n_estimators=4)
    record: dict[str, Any] = {}
    ours.fit(
        values,
        target,
        eval_set=[(values, target)],
        callbacks=[record_evaluation(record), reset_parameter(learning_rate=schedule)],
    )
    theirs.fit(
        values, target, eval_set=[(values, target)], callbacks=[lightgbm.reset_parameter(learning_rate=schedule)]
    )
    same(ours, theirs, values)
    assert record == ours.evals_result_


def test_what_is_written_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    values, target = data(7, 400)
    model = GBDTRegressor(n_estimators=60, learning_rate=0.5)
    model.fit(
        values[:300],
        target[:300],
        eval_set=[(values[300:], target[300:])],
        callbacks=[log_evaluation(2), early_stopping(3)],
    )
    lines = capsys.readouterr().out.splitlines()
    best, score = model.best_iteration_, model.best_score_["valid_0"]["l2"]
    numbers = model.evals_result_["valid_0"]["l2"]
    assert lines[:-2] == [f"[{n}]\tvalid_0's l2: {numbers[n - 1]:g}" for n in range(2, best + 4, 2)]
    assert lines[-2:] == [f"Early stopping, best round: {best}", f"[{best}]\tvalid_0's l2: {score:g}"]
    assert len(numbers) == best + 3
    GBDTRegressor(n_estimators=3).fit(
        values, target, eval_set=[(values, target)], callbacks=[early_stopping(2), log_evaluation(0)]
    )
    assert capsys.readouterr().out == "Only training data to look at: no early stopping\n"


class Model:
    """What a callback gets that asks for nothing."""

    train_data_name = "own"

    def reset_parameter(self, parameters: dict[str, Any]) -> None:
        raise AssertionError


def stop_of(callback: Callable[[CallbackEnv], None], rounds: list[list[EvalResult]]) -> Any:
    """At which round a callback ends a fit, which round it says was best, and with which numbers."""
    for number, results in enumerate(rounds):
        try:
            callback(CallbackEnv(Model(), {}, number, 0, len(rounds), results))
        except (EarlyStopException, lightgbm.callback.EarlyStopException) as stop:
            return number, stop.best_iteration, [one.metric_value for one in stop.best_score]
    return None


NUMBERS = st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0])] * 4), min_size=1, max_size=15)


@given(NUMBERS, st.integers(1, 4), st.booleans(), st.sampled_from([0.0, 0.1, 0.3, [], [0.2], [0.0, 0.1]]))
def test_any_numbers_end_it_when_they_end_lightgbm(numbers: Any, rounds: int, first: bool, delta: Any) -> None:
    places = [("a", "error", False), ("a", "score", True), ("b", "error", False), ("b", "score", True)]
    said = [
        [EvalResult(data, metric, value, more) for (data, metric, more), value in zip(places, row, strict=True)]
        for row in numbers
    ]
    ours, theirs = (made(rounds, first, False, delta) for made in (early_stopping, lightgbm.early_stopping))
    assert stop_of(ours, said) == stop_of(theirs, said) is not None


def test_the_training_data_end_no_fit() -> None:
    flat = [[EvalResult("own", "error", 1.0, False), EvalResult("a", "error", 9.0 - n, False)] for n in range(9)]
    assert stop_of(early_stopping(2, verbose=False), flat) == (8, 8, [1.0, 1.0])


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


@pytest.mark.parametrize(("verbose", "allowed", "shown"), [(1, True, True), (0, True, False), (1, False, False)])
def test_a_bar_is_drawn_only_where_it_is_wanted(
    verbose: int, allowed: bool, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kb.datasets, "shows_progress", lambda: allowed)
    GBDTRegressor(n_estimators=2, verbose=verbose).fit(GOOD, TARGET)
    assert ("boosting" in capsys.readouterr().err) == shown


def test_a_callbacks_own_error_is_not_taken_for_a_stop() -> None:
    def broken(env: CallbackEnv) -> None:
        raise RuntimeError(f"round {env.iteration}")

    with pytest.raises(RuntimeError, match="round 0"):
        GBDTRegressor(n_estimators=2).fit(GOOD, TARGET, callbacks=[broken])


GOOD, TARGET = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60.0)
SETS = [(GOOD[:20] + 0.0, TARGET[:20])]


@pytest.mark.parametrize(
    ("options", "fit", "message"),
    [
        ({}, {"eval_set": 5}, "eval_set must be a list of pairs"),
        ({}, {"eval_set": [GOOD]}, "eval_set must be a list of pairs"),
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
        ({}, {"eval_metric": [3], "eval_set": SETS}, "names or functions, got 3"),
        ({}, {"callbacks": [3]}, "callbacks must be functions, got 3"),
    ],
)
def test_wrong_kinds_are_named(options: dict[str, Any], fit: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        GBDTRegressor(n_estimators=2, **options).fit(**({"X": GOOD, "y": TARGET} | fit))


def test_arguments_of_callbacks_and_unknown_classes_are_refused() -> None:
    for arguments, message in (
        ((0,), "stopping_rounds"),
        ((2.5,), "stopping_rounds"),
        ((3, False, True, -1.0), "min_"),
    ):
        with pytest.raises(ValueError, match=message):
            early_stopping(*arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="period"):
        log_evaluation(-1)
    with pytest.raises(TypeError, match="dict"):
        record_evaluation([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="learning_rate must be a list or a function"):
        reset_parameter(learning_rate=0.1)  # type: ignore[arg-type]
    labels = np.where(TARGET > 30, "b", "a")
    with pytest.raises(ValueError, match=r"eval_set\[0\].*classes of the training data, got.*'c'"):
        GBDTClassifier().fit(GOOD, labels, eval_set=[(GOOD, np.where(TARGET > 30, "c", "a"))])
    with pytest.raises(ValueError, match="objective of 2 classes"):
        GBDTClassifier(objective="multiclass").fit(GOOD, labels)


def test_a_loss_of_ones_own_class_is_judged_by_the_usual_metric() -> None:
    class Own(Squared):
        name = "own"

    model = GBDTRegressor(objective=Own(), n_estimators=2).fit(GOOD, TARGET, eval_set=[(GOOD, TARGET)])
    assert list(model.evals_result_["training"]) == ["l2"]
