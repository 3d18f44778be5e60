"""LightGBM reads the text and says what the estimator says, and does with it what it does with its own."""

import datetime
import warnings
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kb.gbdt import GBDTClassifier, GBDTRegressor
from kb.gbdt.files.lightgbm_text import bits, feature_names
from kb.gbdt.losses import Quantile, Squared


def table(seed: int, missing: float = 0.1, rows: int = 800) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((rows, 6))
    values[:, 4] = np.round(values[:, 4])
    values[:, 5] = generator.integers(0, 70, rows)
    target = 2 * values[:, 0] + values[:, 1] * values[:, 2] + values[:, 5] % 3 + generator.standard_normal(rows)
    values[generator.random(values.shape) < missing] = np.nan
    return values, target


def new_rows(seed: int) -> np.ndarray:
    """Rows with what training may not have had: no values, unknown and strange categories, zeros, ends of the range."""
    values, _ = table(seed)
    values[0], values[1], values[2], values[3] = np.nan, 0.0, 1e308, -1e308
    values[4:12, 5] = [1000, -1, 2.7, -0.5, 1e12, -0.0, 69.999, 31]
    values[12:16, 0] = [1e-40, -1e-40, -0.0, 1e-300]
    return values


CASES: dict[str, dict[str, Any]] = {
    "regression": {},
    "regression_l1": {"objective": "regression_l1"},
    "huber": {"objective": "huber", "alpha": 1.3},
    "quantile": {"objective": "quantile", "alpha": 0.3},
    "poisson": {"objective": "poisson"},
    "binary": {},
    "multiclass": {},
    "monotone": {"monotone_constraints": [1, -1, 0, 0, 1, 0]},
    "goss": {"boosting_type": "goss"},
    "one leaf": {"min_split_gain": 1e12},
    "two leaves": {"num_leaves": 2},
    "a loss of the package": {"objective": Squared()},
}


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("name", CASES)
def test_predictions_are_the_same(name: str, missing: float) -> None:
    for seed in (0, 1):
        values, target = table(seed, missing)
        options = {"n_estimators": 12, "min_data_per_group": 5, "cat_smooth": 1.0} | CASES[name]
        kinds = {"binary": np.digitize(target, [0.0]), "multiclass": np.digitize(target, [0.0, 1.0])}
        model: Any = (GBDTClassifier if name in kinds else GBDTRegressor)(**options)
        target = np.floor(np.abs(target)) if name == "poisson" else kinds.get(name, target)
        weights = np.random.default_rng(seed).uniform(0.1, 3, len(values)) if seed else None
        model.fit(values, target, sample_weight=weights, categorical_feature=[] if name == "monotone" else [5])
        booster = lightgbm.Booster(model_str=model.to_lightgbm_text())
        new = new_rows(seed + 10)
        raw = model.predict(new, raw_score=True)
        np.testing.assert_allclose(booster.predict(new, raw_score=True), raw, rtol=1e-15, atol=0)
        ours = model.predict_proba(new) if name in kinds else model.predict(new)
        ours = ours[:, 1] if name == "binary" else ours
        np.testing.assert_allclose(booster.predict(new), ours, rtol=1e-15, atol=0)


def frame() -> tuple[pandas.DataFrame, np.ndarray]:
    generator = np.random.default_rng(0)
    N = 900
    columns = {
        "a number": generator.standard_normal(N),
        "größe": generator.standard_normal(N),
        "letter": pandas.Categorical(generator.choice(list("uvwxyz"), N)),
        "digit": pandas.Categorical(generator.choice([3, 1, 7, 9, 11, 13], N)),
        "truth": pandas.Categorical(generator.choice([True, False], N)),
    }
    found = pandas.DataFrame(columns)
    target = found["größe"] + found["letter"].cat.codes % 3 + (found["digit"].astype(int) > 4)
    found.loc[:50, "a number"] = np.nan
    found.loc[60:90, "letter"] = None
    return found, target.to_numpy() + 0.1 * generator.standard_normal(N)


def test_lightgbm_finds_a_frames_categories() -> None:
    found, target = frame()
    model = GBDTRegressor(n_estimators=12, min_data_per_group=10, cat_smooth=1.0).fit(found, target)
    booster = lightgbm.Booster(model_str=model.to_lightgbm_text())
    assert booster.feature_name() == ["a_number", "größe", "letter", "digit", "truth"]
    other = found.copy()
    other["letter"] = pandas.Categorical(np.resize(["z", "u", "new"], len(found)))
    other["digit"] = pandas.Categorical(np.resize([13, 2, 1], len(found)))
    for rows in (found, other):
        np.testing.assert_array_equal(booster.predict(rows), model.predict(rows))


def test_lightgbm_uses_the_trees_as_its_own(tmp_path: Path) -> None:
    values, target = table(2)
    model = GBDTRegressor(n_estimators=8).fit(values, target, categorical_feature=[5])
    model.save_lightgbm(tmp_path / "model.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.txt"]
    booster = lightgbm.Booster(model_file=tmp_path / "model.txt")
    again = lightgbm.Booster(model_str=booster.model_to_string())
    np.testing.assert_array_equal(again.predict(values), model.predict(values))
    for kind in ("split", "gain"):
        importances = model.set_params(importance_type=kind).feature_importances_
        np.testing.assert_allclose(booster.feature_importance(kind), importances, rtol=1e-6)
    assert booster.num_trees() == 8
    frame = booster.trees_to_dataframe()
    leaves = np.concatenate([tree.leaf_count_L for trees in model.model_.trees for tree in trees])
    assert sorted(frame[frame.left_child.isna()]["count"].tolist()) == sorted(leaves.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = lightgbm.Dataset(values, target, categorical_feature=[5])
        more = lightgbm.train({"verbose": -1, "num_threads": 1}, data, 4, init_model=booster)
    assert more.num_trees() == 12
    np.testing.assert_allclose(more.predict(values, num_iteration=8), model.predict(values), rtol=1e-12)


REFITTED: dict[str, dict[str, Any]] = {
    "regression": {"reg_lambda": 3.0, "learning_rate": 0.2},
    "quantile": {"objective": Quantile(0.3)},
    "poisson": {"objective": "poisson"},
}


@pytest.mark.parametrize("name", REFITTED)
def test_lightgbm_refits_the_trees_as_its_own(name: str) -> None:
    values, target = table(5)
    target = np.floor(np.abs(target)) if name == "poisson" else target
    options = {"n_estimators": 6} | REFITTED[name]
    model, theirs = GBDTRegressor(**options), lightgbm.LGBMRegressor(**options, verbose=-1, n_jobs=1)
    if name == "quantile":
        theirs.set_params(objective="quantile", alpha=0.3)
    texts = [model.fit(values, target).to_lightgbm_text(), theirs.fit(values, target).booster_.model_to_string()]
    boosters = [lightgbm.Booster(model_str=text) for text in texts]
    new = [booster.refit(values[:400], np.roll(target, 7)[:400]).predict(values) for booster in boosters]
    np.testing.assert_allclose(new[0], new[1], rtol=1e-9, atol=1e-9)
    assert np.abs(new[0] - boosters[0].predict(values)).max() > 1e-3


def test_lightgbm_refits_several_classes() -> None:
    values, target = table(6)
    labels = np.digitize(target, [0.0, 1.0])
    model = GBDTClassifier(n_estimators=3).fit(values, labels)
    booster = lightgbm.Booster(model_str=model.to_lightgbm_text())
    new = booster.refit(values, labels, decay_rate=1.0).predict(values)  # all of the old leaves, nothing of new ones
    np.testing.assert_allclose(new, model.predict_proba(values), rtol=1e-12)


def test_a_loss_that_lightgbm_does_not_know_has_raw_scores() -> None:
    class Own(Squared):
        name = "own"

        def predict(self, scores_NC: np.ndarray) -> np.ndarray:
            return np.exp(scores_NC[:, 0])

    values, target = table(3)
    model = GBDTRegressor(objective=Own(), n_estimators=3).fit(values, target)
    booster = lightgbm.Booster(model_str=model.to_lightgbm_text())
    np.testing.assert_array_equal(booster.predict(values), model.predict(values, raw_score=True))


@given(st.sets(st.integers(0, 5000), max_size=50))
def test_bits_hold_a_set(places: set[int]) -> None:
    words = bits(places)
    assert {
        32 * word + bit for word, value in enumerate(words.tolist()) for bit in range(32) if value >> bit & 1
    } == places


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (None, ["Column_0", "Column_1"]),
        (["a b", 'c:{d}=[e],"f"'], ["a_b", "c__d___e___f_"]),
        (["a b", "a_b"], ["Column_0", "Column_1"]),  # two that would become one
        (["", "x"], ["Column_0", "Column_1"]),
    ],
)
def test_names_have_nothing_that_means_something(names: Any, wanted: list[str]) -> None:
    assert feature_names(names, 2) == wanted


def test_what_the_text_cannot_hold_is_refused() -> None:
    values, target = table(4)
    values[:, 5] += 20_000_000
    options: dict[str, Any] = {"n_estimators": 2, "min_data_per_group": 5, "cat_smooth": 1.0}
    model = GBDTRegressor(**options).fit(values, target, categorical_feature=[5])
    with pytest.raises(ValueError, match="categories must be from 0 to 16777216"):
        model.to_lightgbm_text()
    with pytest.raises(ValueError, match="categories must be from 0"):
        bits([3, -1])
    days = [datetime.date(2020, 1, day) for day in (1, 2)]
    found = pandas.DataFrame({"day": pandas.Categorical(np.resize(days, 100)), "x": np.arange(100.0)})
    model = GBDTRegressor(n_estimators=1).fit(found, np.arange(100.0))
    with pytest.raises(TypeError, match="categories must be numbers or strings"):
        model.to_lightgbm_text()
