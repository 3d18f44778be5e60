"""Races on real tables: the interval is scipy's, splits part the rows, and what is worse than LightGBM is no record."""

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks import boosters
from benchmarks.measurements import gbdt_real_adult, gbdt_real_kdd04
from benchmarks.real_tables import (
    OURS,
    THEIRS,
    THIRD,
    Contender,
    Metric,
    Part,
    interval,
    measure,
    root_of_squares,
    same_trees,
    split,
)
from kb.gbdt import GBDTRegressor


def table(rows: int = 2000) -> Part:
    """Numbers with gaps, and categories, of which one column has more than scikit-learn takes."""
    generator = np.random.default_rng(0)
    X = pd.DataFrame(generator.standard_normal((rows, 3)), columns=["a", "b", "c"])
    X.loc[generator.random(rows) < 0.1, "a"] = np.nan
    few, many = generator.integers(0, 5, rows), generator.integers(0, 400, rows)
    X["few"] = pd.Categorical.from_codes(few, list("vwxyz"))
    X["many"] = pd.Categorical.from_codes(np.where(many == 7, -1, many), [f"n{code}" for code in range(400)])
    return Part(X, 2 * X["b"].to_numpy() + few + generator.standard_normal(rows))


@settings(max_examples=100)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=20).filter(lambda some: np.std(some) > 1e-6))
def test_the_interval_is_that_of_a_t_test(differences: list[float]) -> None:
    found = interval(differences)
    wanted = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [wanted.low, wanted.high], rtol=1e-9, atol=1e-12)
    assert found.mean == pytest.approx(np.mean(differences))


@pytest.mark.parametrize("differences", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")], [[1.0, 2.0]]])
def test_differences_that_have_no_interval_are_named(differences: list[Any]) -> None:
    with pytest.raises(ValueError, match="differences_S must be at least 2 finite numbers"):
        interval(differences)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=5, max_size=30), st.integers(0, 99), st.booleans())
def test_a_split_parts_all_rows_and_leaves_queries_whole(sizes: list[int], seed: int, ranked: bool) -> None:
    query_N = np.repeat(np.arange(len(sizes)), sizes)
    whole = Part(pd.DataFrame({"row": np.arange(len(query_N))}), query_N, np.array(sizes) if ranked else None)
    train, test = split(whole, seed)
    rows = np.concatenate([part.X["row"].to_numpy() for part in (train, test)])
    np.testing.assert_array_equal(np.sort(rows), whole.X["row"])
    for part in (train, test):
        np.testing.assert_array_equal(part.y_N, query_N[part.X["row"]])
        if part.groups_Q is not None:
            named, counts = np.unique(part.y_N, return_counts=True)
            np.testing.assert_array_equal(counts, part.groups_Q)
            np.testing.assert_array_equal(counts, np.array(sizes)[named])
    assert len(train.groups_Q if train.groups_Q is not None else train.y_N) == round(
        0.8 * (len(sizes) if ranked else len(query_N))
    )


def test_trees_are_told_apart_by_their_splits() -> None:
    part = table()
    options: dict[str, Any] = {"n_estimators": 5, "verbose": -1}
    texts = [
        lightgbm.LGBMRegressor(**options, num_leaves=leaves).fit(part.X, part.y_N).booster_.model_to_string()
        for leaves in (7, 9)
    ]
    assert same_trees(texts[0], texts[0]) == [True] * 5
    assert same_trees(*texts) == [False] * 5


def test_a_measurement_has_all_contenders_and_ours_are_lightgbms_trees() -> None:
    metric = Metric("RMSE", root_of_squares, 0.005, relative=True)
    made = measure("small", table(), boosters.regressors(trees=10), [metric], {"more": 1}, splits=3)
    for name in (OURS, THEIRS, THIRD):
        assert [len(made.samples[f"{name} {what}"].values) for what in ("fit", "predict", "RMSE")] == [3, 3, 3]
    assert made.facts["trees that are LightGBM's, by split"] == [10, 10, 10]
    assert made.facts["trees until the first that is not"] == [10, 10, 10]
    assert made.facts["more"] == 1
    assert set(made.ratios) >= {f"fit: {OURS} / {THEIRS}", f"predict: {OURS} / {THIRD}"}


def test_what_is_far_from_lightgbm_is_not_recorded() -> None:
    contenders = boosters.regressors(trees=10)
    contenders[OURS] = Contender(lambda: GBDTRegressor(n_estimators=10, learning_rate=0.01))
    with pytest.raises(AssertionError, match=r"RMSE: .* is not within 0\.005 of LightGBM"):
        measure("small", table(), contenders, [Metric("RMSE", root_of_squares, 0.005, relative=True)], {}, splits=3)


def test_scikit_learn_takes_a_table_once_its_many_categories_are_numbers() -> None:
    part = table()
    third = HistGradientBoostingRegressor(max_iter=2, categorical_features="from_dtype")
    with pytest.raises(ValueError, match="cardinality"):
        third.fit(part.X, part.y_N)
    assert boosters.too_wide(part.X) == ["many"]
    numbers = boosters.few_categories(part.X)
    third.fit(numbers, part.y_N)
    np.testing.assert_array_equal(numbers["many"].isna(), part.X["many"].isna())
    assert str(numbers["few"].dtype) == "category"
    assert boosters.too_wide(table(2).X.drop(columns="many")) == []


def test_metrics_are_what_their_names_say() -> None:
    labels = np.array([0, 1, 1, 0])
    assert gbdt_real_adult.area(Part(None, labels), np.array([[0, 0.1], [0, 0.9], [0, 0.2], [0, 0.3]])) == 0.75
    ranked = Part(None, labels, np.array([2, 2]))
    second = 1 / np.log2(3)  # the relevant document comes second in the first query, and first in the other
    assert gbdt_real_kdd04.gain_of_first(ranked, np.array([2.0, 1.0, 2.0, 1.0])) == pytest.approx((second + 1) / 2)
    assert root_of_squares(Part(None, np.zeros(2)), np.array([3.0, -4.0])) == pytest.approx(np.sqrt(12.5))
