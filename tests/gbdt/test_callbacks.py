"""Callbacks: ours against LightGBM's, LightGBM's in our fit, what they write, and bad input."""

from collections.abc import Callable
from typing import Any

import lightgbm
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kb.datasets
from kb.gbdt import (
    GBDTRegressor,
    early_stopping,
    log_evaluation,
    record_evaluation,
    reset_parameter,
)
from kb.gbdt.evaluating.callbacks import CallbackEnv, EarlyStopException, EvalResult
from tests.gbdt.evaluating import data, pair, same

pytestmark = pytest.mark.filterwarnings("ignore::lightgbm.basic.LGBMDeprecationWarning")


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


@pytest.mark.parametrize(("verbose", "allowed", "shown"), [(1, True, True), (0, True, False), (1, False, False)])
def test_a_bar_is_drawn_only_where_it_is_wanted(
    verbose: int, allowed: bool, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kb.datasets, "shows_progress", lambda: allowed)
    GBDTRegressor(n_estimators=2, verbose=verbose).fit(*data(12, 60))
    assert ("boosting" in capsys.readouterr().err) == shown


def test_a_callbacks_own_error_is_not_taken_for_a_stop() -> None:
    def broken(env: CallbackEnv) -> None:
        raise RuntimeError(f"round {env.iteration}")

    with pytest.raises(RuntimeError, match="round 0"):
        GBDTRegressor(n_estimators=2).fit(*data(12, 60), callbacks=[broken])


def test_arguments_of_callbacks_are_refused() -> None:
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
