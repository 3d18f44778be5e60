"""Divisions of categories: the compiled search gives the bytes of the plain one, and both the best that is allowed."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt.growing import categorical, categorical_numba
from kb.gbdt.growing.fixed_point import to_fixed_point
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import Split, Sums, worth


def leaf(seed: int, bins: int, rows: int, *, even: bool = False) -> tuple[np.ndarray, Sums]:
    """The histogram of a feature of so many bins, some of which may be empty, and the sums of the leaf."""
    generator = np.random.default_rng(seed)
    shares = np.ones(bins) if even else generator.exponential(size=bins) ** 2 + 1e-9
    kinds = generator.choice(bins, rows, p=shares / shares.sum())
    gradients = np.round(generator.standard_normal(rows) + generator.standard_normal(bins)[kinds], 1)
    hessians = np.ones(rows) if even else generator.uniform(0.05, 1.0, rows)
    fixed = to_fixed_point(gradients.astype(np.float32), hessians.astype(np.float32))
    histogram = np.zeros((bins, 2), np.int64)
    np.add.at(histogram, kinds, fixed.pairs_N2)
    gradient, hessian = histogram.sum(axis=0).tolist()
    return histogram, Sums(gradient, hessian, rows, fixed.unit_gradient, fixed.unit_hessian)


def by_both(histogram: np.ndarray, sums: Sums, parameters: TreeParameters) -> list[Split | None]:
    return [
        categorical.best_categories(histogram, 3, sums, parameters),
        categorical_numba.Divisions(parameters).best(histogram, 3, sums),
    ]


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**16),
    bins=st.integers(1, 60),
    rows=st.integers(1, 3000),
    rules=st.fixed_dictionaries(
        {},
        optional={
            "min_child_samples": st.integers(0, 100),
            "min_child_weight": st.sampled_from([0.0, 5.0]),
            "min_split_gain": st.sampled_from([0.0, 3.0]),
            "reg_alpha": st.sampled_from([0.0, 2.0]),
            "reg_lambda": st.sampled_from([0.0, 1.5]),
            "cat_smooth": st.sampled_from([0.0, 1.0, 30.0]),
            "cat_l2": st.sampled_from([0.0, 10.0]),
            "max_cat_threshold": st.integers(1, 64),
            "max_cat_to_onehot": st.sampled_from([1, 4, 16]),
            "min_data_per_group": st.sampled_from([1, 10, 100]),
        },
    ),
)
def test_the_compiled_search_gives_the_plain_one_s_bytes(seed: int, bins: int, rows: int, rules: Any) -> None:
    plain, compiled = by_both(*leaf(seed, bins, rows), TreeParameters(**rules))
    assert plain == compiled
    if plain is not None and compiled is not None:
        assert np.float64(plain.gain).tobytes() == np.float64(compiled.gain).tobytes()
        assert plain.categories == compiled.categories


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_of_the_sorted_categories_is_the_best_of_all_divisions(seed: int) -> None:
    histogram, sums = leaf(seed, 9, 4000, even=True)
    free = {"cat_smooth": 0.0, "cat_l2": 0.0, "min_data_per_group": 1, "min_child_samples": 1, "min_child_weight": 0.0}
    units = np.array([sums.unit_gradient, sums.unit_hessian])
    whole = np.array([sums.gradient, sums.hessian]) * units

    def gain(group: tuple[int, ...]) -> float:
        inside = histogram[list(group)].sum(axis=0) * units
        sides = (inside, whole - inside)
        return float(sum(worth(*side, 0.0, 0.0) for side in sides) - worth(*whole, 0.0, 0.0))

    # Bin 0 never goes left, and a side has at most half of the others.
    groups = [group for size in range(1, 5) for group in combinations(range(1, 9), size)]
    best = max(groups, key=gain)
    for found in by_both(histogram, sums, TreeParameters(**free)):
        assert found is not None
        assert set(found.categories) == set(best)
        assert found.gain == pytest.approx(gain(best), rel=1e-9)


def test_no_division_where_one_category_has_all_rows() -> None:
    histogram, sums = leaf(0, 12, 500)
    histogram[5] += histogram.sum(axis=0) - histogram[5]
    histogram[np.arange(12) != 5] = 0
    assert by_both(histogram, sums, TreeParameters()) == [None, None]
