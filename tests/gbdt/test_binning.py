"""Bins: the fast rule is the loop's, LightGBM has as many, and a value's bin is the first whose bound reaches it."""

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt.binning.bins import to_bins
from kb.gbdt.binning.bounds import close_bins, close_bins_loop, different_values, upper_bounds
from kb.gbdt.binning.mapper import Categories, Numbers, find_categories, find_mappers


@settings(max_examples=150)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 40), st.integers(0, 12))
def test_going_from_edge_to_edge_is_going_value_by_value(counts: list[int], most: int, least: int) -> None:
    values, sizes = np.arange(len(counts), dtype=float), np.array(counts)
    assert close_bins(values, sizes, most, least) == close_bins_loop(values, sizes, most, least)


def test_values_that_fill_a_bin_get_one() -> None:
    values, counts = np.arange(10.0), np.array([1, 1, 1, 50, 1, 1, 1, 1, 1, 1])
    bounds = close_bins(values, counts, 4, 1)
    assert bounds == close_bins_loop(values, counts, 4, 1)
    assert 2 < bounds[0] < 3 < bounds[1] < 4


@settings(max_examples=60)
@given(
    st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0, -1.0, 1e-40]), min_size=1, max_size=60),
    st.integers(2, 20),
)
def test_bounds_rise_to_infinity_and_part_the_signs(values: list[float], max_bin: int) -> None:
    bounds = upper_bounds(np.array(values), max_bin, 1)
    assert len(bounds) <= max_bin
    assert bounds[-1] == np.inf
    assert (np.diff(bounds) > 0).all()
    mapper = Numbers(bounds, has_missing=False)
    bins = mapper.to_bins(np.array(values))
    assert all(value <= bounds[bin_] for value, bin_ in zip(values, bins, strict=True))
    assert all(bin_ == 0 or value > bounds[bin_ - 1] for value, bin_ in zip(values, bins, strict=True))


def test_neighbouring_floats_are_one_value_and_nothing_is_zero_by_itself() -> None:
    one = np.nextafter(1.0, 2)
    values, counts = different_values(np.array([-2.0, -1e-40, 0.0, 1.0, one, 3.0]))
    np.testing.assert_array_equal(values, [-2, 0, one, 3])
    np.testing.assert_array_equal(counts, [1, 2, 2, 1])
    np.testing.assert_array_equal(different_values(np.array([-2.0, 1.0]))[1], [1, 0, 1])
    np.testing.assert_array_equal(different_values(np.empty(0))[0], [0])


@pytest.mark.parametrize("seed", range(4))
def test_bounds_beside_values_that_fill_a_bin_are_lightgbms_thresholds(seed: int) -> None:
    """A tree with a leaf for every bin splits at every bound; a target of noise makes it."""
    generator = np.random.default_rng(seed)
    values = np.repeat(np.arange(1.0, 121.0), generator.integers(1, 9, 120))
    heavy = generator.choice(np.arange(5.0, 115.0), 6, replace=False)
    values = np.concatenate([values, np.repeat(heavy, 150)])
    options = {"num_leaves": 200, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0, "max_bin": 20, "verbose": -1}
    data = lightgbm.Dataset(values[:, None], generator.standard_normal(len(values)), params=options)
    frame = lightgbm.train(options, data, num_boost_round=1).model_to_string().splitlines()
    (line,) = (one for one in frame if one.startswith("threshold="))
    theirs = sorted(map(float, line.removeprefix("threshold=").split()))
    ours = upper_bounds(values, 20, 3)
    np.testing.assert_allclose(ours[ours > 1][:-1], theirs, rtol=1e-14)


@pytest.mark.parametrize("kind", ["normal", "rounded", "sparse", "skewed", "missing"])
@pytest.mark.parametrize("max_bin", [15, 255])
def test_lightgbm_has_as_many_bins(kind: str, max_bin: int) -> None:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((3000, 4))
    if kind == "rounded":
        values = np.round(values * 4)
    elif kind == "sparse":
        values[generator.random(values.shape) < 0.8] = 0
    elif kind == "skewed":
        values = np.round(np.exp(2 * values), 1)
    elif kind == "missing":
        values[generator.random(values.shape) < 0.3] = np.nan
    options = {"max_bin": max_bin, "verbose": -1, "feature_pre_filter": False}
    dataset = lightgbm.Dataset(values, np.zeros(len(values)), params=options).construct()
    found = find_mappers(values, max_bin=max_bin)
    assert [mapper.bins for mapper in found] == [dataset.feature_num_bin(feature) for feature in range(4)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("max_bin", [255, 700])
def test_a_table_in_bins_is_each_column_in_bins_in_both_layouts(threads: int, max_bin: int) -> None:
    generator = np.random.default_rng(1)
    values = generator.standard_normal((1500, 5))
    values[generator.random(values.shape) < 0.1] = np.nan
    values[:, 2] = generator.integers(-1, 9, 1500)
    values[:, 3] = np.abs(np.nan_to_num(values[:, 3]))
    mappers = find_mappers(values[:1000], max_bin=max_bin, categorical=[2])
    bins = to_bins(values, mappers, threads)
    for feature, mapper in enumerate(mappers):
        np.testing.assert_array_equal(bins.columns_FN[feature], mapper.to_bins(values[:, feature]))
    np.testing.assert_array_equal(bins.rows_NP[:, :5], bins.columns_FN.T)
    assert not bins.rows_NP[:, 5:].any()
    assert bins.rows_NP.dtype == (np.uint8 if max_bin == 255 else np.uint16)
    assert bins.missing_F.tolist() == [True, True, False, False, True]
    assert bins.categorical_F.tolist() == [False, False, True, False, False]
    # Where the sample had no missing value, NaN is as good as 0.
    strange = values[:1].copy()
    strange[0, 3] = np.nan
    assert to_bins(strange, mappers).columns_FN[3, 0] == mappers[3].to_bins(np.zeros(1))[0]


def test_frequent_categories_come_first_and_others_have_bin_0() -> None:
    values = np.repeat([7.0, 3.0, 5.0, np.nan, -2.0], [50, 80, 6, 4, 3])
    mapper = find_categories(values, 255, 3)
    assert mapper.values == (3, 7, 5)
    assert not mapper.is_full
    np.testing.assert_array_equal(
        mapper.to_bins(np.array([3, 7, 5, 9, -2, np.nan, np.inf, 3.9])), [1, 2, 3, 0, 0, 0, 0, 1]
    )
    assert find_categories(np.array([1.0, 1.0, 2.0, 2.0]), 255, 1) == Categories((1, 2), is_full=True)
    assert find_categories(np.full(3, np.nan), 255, 1).to_bins(np.array([1.0, np.nan])).tolist() == [0, 0]
