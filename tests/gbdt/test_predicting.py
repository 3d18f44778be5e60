"""Leaves, rounds and stages of predictions: LightGBM's, from the same trees, and the same without numba."""

import importlib.util
from typing import Any

import lightgbm
import numpy as np
import pytest

from kb.gbdt import GBDTClassifier, GBDTRegressor


def table(seed: int, rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, 5))
    values[:, 4] = generator.integers(0, 12, rows)
    target = 2 * values[:, 0] + values[:, 1] * values[:, 2] + values[:, 4] % 3 + generator.standard_normal(rows)
    values[generator.random(values.shape) < 0.1] = np.nan
    return values, target


def fitted(classes: int, rounds: int = 8) -> tuple[Any, lightgbm.Booster, np.ndarray]:
    """An estimator, LightGBM with its trees, and new rows."""
    values, target = table(0)
    options = {"n_estimators": rounds, "min_data_per_group": 10, "cat_smooth": 1.0}
    if classes:
        model: Any = GBDTClassifier(**options)
        model.fit(values, np.digitize(target, [0.0, 1.5][: classes - 1]), categorical_feature=[4])
    else:
        model = GBDTRegressor(**options).fit(values, target, categorical_feature=[4])
    new, _ = table(1, 200)
    new[:6, 4] = [1000, -1, 2.7, -0.5, 1e12, 3.0]
    return model, lightgbm.Booster(model_str=model.to_lightgbm_text()), new


RANGES = [(0, None), (0, 3), (2, None), (3, 2), (-1, 0), (0, 100), (6, 9), (20, None)]


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_scores_and_leaves_of_some_rounds_are_lightgbms(classes: int) -> None:
    model, booster, new = fitted(classes)
    for start, count in RANGES:
        some: dict[str, Any] = {"start_iteration": start, "num_iteration": count}
        np.testing.assert_array_equal(
            model.predict(new, raw_score=True, **some), booster.predict(new, raw_score=True, **some)
        )
    for start, count in RANGES[:-1]:
        some = {"start_iteration": start, "num_iteration": count, "pred_leaf": True}
        leaves = model.predict(new, **some)
        assert leaves.dtype == np.int32
        np.testing.assert_array_equal(leaves, booster.predict(new, **some))
    assert model.predict(new, start_iteration=20, pred_leaf=True).shape == (200, 0)


def test_the_leaves_sum_to_the_scores() -> None:
    model, _, new = fitted(3)
    leaves = model.predict(new, pred_leaf=True)
    trees = [tree for round_ in model.model_.trees for tree in round_]
    said = np.stack([tree.leaf_value_L[leaves[:, place]] for place, tree in enumerate(trees)])
    sums = said.reshape(-1, 3, len(new)).sum(axis=0).T
    np.testing.assert_allclose(sums, model.decision_function(new), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_stages_are_predictions_of_so_many_rounds(classes: int) -> None:
    model, _, new = fitted(classes)
    names = ["predict"] if not classes else ["predict", "predict_proba", "decision_function"]
    for name in names:
        stages = []
        for stage in getattr(model, f"staged_{name}")(new):
            stages.append(stage.copy())
            stage[:] = stage[0]  # what is done to a stage must not reach the next one
        assert len(stages) == 8
        raw = name == "decision_function"
        say = model.predict_proba if raw else getattr(model, name)
        for number, stage in enumerate(stages, start=1):
            np.testing.assert_array_equal(stage, say(new, num_iteration=number, **({"raw_score": True} if raw else {})))


def test_the_best_number_of_rounds_counts_where_none_is_given() -> None:
    model, _, new = fitted(0)
    model.best_iteration_ = 3
    np.testing.assert_array_equal(model.predict(new), model.predict(new, num_iteration=3))
    assert model.predict(new, num_iteration=-1, pred_leaf=True).shape == (200, 8)
    assert model.predict(new, start_iteration=1, pred_leaf=True).shape == (200, 7)


def test_without_numba_leaves_and_contributions_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, new = fitted(3)
    new = new[:40]  # with the odd categories; Python takes its time for every row

    def say() -> list[bytes]:
        kinds: list[dict[str, Any]] = [{"raw_score": True}, {"pred_leaf": True}, {"pred_contrib": True}]
        return [model.predict(new, **kind).tobytes() for kind in kinds]

    fast, find = say(), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba" else find(name))
    assert say() == fast


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_iteration": 1.5}, "start_iteration must be an integer, got 1.5"),
        ({"start_iteration": None}, "start_iteration"),
        ({"num_iteration": "all"}, "num_iteration must be None or an integer, got 'all'"),
        ({"num_iteration": True}, "num_iteration"),
    ],
)
def test_bad_rounds_are_named(options: dict[str, Any], message: str) -> None:
    model, _, new = fitted(0, rounds=2)
    with pytest.raises(ValueError, match=message):
        model.predict(new, **options)
