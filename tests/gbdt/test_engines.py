"""Histograms, splits and divisions: the loop, NumPy and the compiled engine give the same integers and bytes."""

from typing import Any

import numpy as np
import pytest

from kb.gbdt.binning.bins import Bins, to_bins
from kb.gbdt.binning.mapper import Mapper, find_mappers
from kb.gbdt.growing import engine_numba
from kb.gbdt.growing.engine import NumpyEngine
from kb.gbdt.growing.engine_numba import NumbaEngine
from kb.gbdt.growing.fixed_point import FixedPoint, to_fixed_point
from kb.gbdt.growing.grower import grow
from kb.gbdt.growing.histogram import histogram_loop
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import NO_SPLIT, Split, Sums


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads also share the little that these tests give them."""
    monkeypatch.setattr(engine_numba, "WORTH_SHARING", 0)


def data(seed: int, rows: int = 400, **options: Any) -> tuple[Bins, FixedPoint]:
    bins, fixed, _ = data_and_mappers(seed, rows, **options)
    return bins, fixed


def data_and_mappers(
    seed: int, rows: int, *, max_bin: int = 30, missing: float = 0.1
) -> tuple[Bins, FixedPoint, list[Mapper]]:
    generator = np.random.default_rng(seed)
    values = np.round(generator.standard_normal((rows, 6)), 1)
    values[generator.random(values.shape) < missing] = np.nan
    values[:, 4] = generator.integers(0, 2, rows)
    values[:, 5] = generator.integers(0, 12, rows)
    mappers = find_mappers(values, max_bin=max_bin, categorical=[5])
    bins = to_bins(values, mappers)
    gradients = generator.standard_normal(rows).astype(np.float32) + np.nan_to_num(values[:, 0]).astype(np.float32)
    return bins, to_fixed_point(gradients, generator.uniform(0.1, 1, rows).astype(np.float32)), mappers


def engines(bins: Bins, monotone: Any = None, **rules: Any) -> list[NumpyEngine]:
    directions = np.zeros(6, np.int8) if monotone is None else np.array(monotone, np.int8)
    parameters = TreeParameters(**rules)
    return [
        NumpyEngine(bins, parameters, directions),
        NumbaEngine(bins, parameters, directions, 1),
        NumbaEngine(bins, parameters, directions, 2),
    ]


@pytest.mark.parametrize("max_bin", [30, 300])
def test_histograms_are_the_loops_in_any_order_of_the_rows(max_bin: int) -> None:
    bins, fixed = data(0, 900, max_bin=max_bin)
    generator = np.random.default_rng(1)
    rows = np.sort(generator.permutation(900)[:701])
    wanted = histogram_loop(bins.columns_FN.T.tolist(), fixed.pairs_N2.tolist(), rows.tolist(), bins.width)
    for engine in engines(bins):
        for order in (rows, generator.permutation(rows)):
            engine.begin(fixed, order)
            whole = engine.histogram(0, 701)
            np.testing.assert_array_equal(whole, wanted)
            small, large = engine.siblings(whole, 100, 250)
            np.testing.assert_array_equal(small + large, wanted)
            np.testing.assert_array_equal(small, engine.histogram(100, 250))
        assert not engine.histogram(5, 5).any()


def test_little_work_is_not_shared_and_much_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bins, fixed = data(0, 900)
    (_, _, engine), told = engines(bins), []
    engine.begin(fixed, np.arange(900))
    monkeypatch.setattr(engine_numba, "WORTH_SHARING", 100 * bins.rows_NP.shape[1])
    monkeypatch.setattr(engine_numba.rows_numba, "use_threads", told.append)
    few, many = engine.histogram(0, 99), engine.histogram(99, 900)
    assert told == [1, 2]
    np.testing.assert_array_equal(few + many, engine.histogram(0, 900))


def brute(bins: Bins, fixed: FixedPoint, rows: np.ndarray, feature: int, rules: TreeParameters) -> float:
    """The best gain of a feature with an order, from the rows themselves."""
    g, h = fixed.pairs_N2[rows, 0] * fixed.unit_gradient, fixed.pairs_N2[rows, 1] * fixed.unit_hessian
    bin_ = bins.columns_FN[feature, rows].astype(int)
    missing = bin_ == bins.bins_F[feature] - 1 if bins.missing_F[feature] else np.zeros(len(rows), bool)
    best = NO_SPLIT

    def worth(side: np.ndarray) -> float:
        reduced = max(abs(g[side].sum()) - rules.reg_alpha, 0)
        return reduced**2 / (h[side].sum() + rules.reg_lambda)

    for threshold in range(bins.bins_F[feature]):
        for side in (bin_ <= threshold) & ~missing, (bin_ <= threshold) | missing:
            counts = np.floor(np.array([h[part].sum() for part in (side, ~side)]) * len(rows) / h.sum() + 0.5)
            if min(counts) < rules.min_child_samples or min(h[side].sum(), h[~side].sum()) < rules.min_child_weight:
                continue
            best = max(best, worth(side) + worth(~side) - worth(np.ones(len(rows), bool)) - rules.min_split_gain)
    return best if best > 1e-9 else NO_SPLIT


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "rules", [{}, {"reg_alpha": 2.0, "reg_lambda": 3.0, "min_split_gain": 0.5}, {"min_child_weight": 40.0}]
)
def test_the_best_gain_is_that_of_trying_all_thresholds(seed: int, rules: dict[str, float]) -> None:
    bins, fixed = data(seed)
    rows = np.flatnonzero(np.random.default_rng(seed).random(400) < 0.8)
    for engine in engines(bins, min_child_samples=1, **rules):
        engine.begin(fixed, rows)
        histogram = engine.histogram(0, len(rows))
        gradient, hessian = histogram[0].sum(axis=0).tolist()
        sums = Sums(gradient, hessian, len(rows), fixed.unit_gradient, fixed.unit_hessian)
        gains = engine.thresholds(histogram, sums)[0]
        wanted = [brute(bins, fixed, rows, feature, engine.parameters) for feature in range(5)]
        np.testing.assert_allclose(gains[:5], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("monotone", [None, [1, -1, 0, 1, 0, 0]])
@pytest.mark.parametrize("seed", range(4))
def test_all_engines_find_the_same_split_to_the_byte_and_divide_alike(seed: int, monotone: Any) -> None:
    bins, fixed = data(seed, 1500)
    found = []
    for engine in engines(bins, monotone, min_child_samples=5):
        engine.begin(fixed, np.arange(1500))
        histogram = engine.histogram(0, 1500)
        gradient, hessian = histogram[0].sum(axis=0).tolist()
        sums = Sums(gradient, hessian, 1500, fixed.unit_gradient, fixed.unit_hessian, -0.4, 0.6)
        trace: list[Any] = []
        open_features = np.ones(6, bool)
        while open_features.any():  # the best feature, then the best of the others, and so on
            split, useful = engine.best(histogram, sums, open_features)
            if split is None:
                break
            left = engine.divide(split, 200, 1300)
            trace.append((split, useful.tolist(), left, engine.order_R.tolist()))
            goes = engine.goes_left(split)[bins.columns_FN[split.feature, engine.order_R[200:1300]]]
            assert goes[:left].all()
            assert not goes[left:].any()
            open_features[split.feature] = False
        assert len(trace) >= 3
        found.append(trace)
    assert found[0] == found[1] == found[2]


def test_rows_keep_their_order_on_each_side() -> None:
    bins, fixed = data(7, 1001)
    for engine in engines(bins):
        engine.begin(fixed, np.arange(1001))
        split = Split(1.0, 0, 5, True, 0, 0)
        left = engine.divide(split, 0, 1001)
        assert 0 < left < 1001
        assert (np.diff(engine.order_R[:left]) > 0).all()
        assert (np.diff(engine.order_R[left:]) > 0).all()


def test_scores_get_the_value_of_their_leaf() -> None:
    bins, fixed = data(8, 100)
    for engine in engines(bins):
        engine.begin(fixed, np.random.default_rng(0).permutation(100))
        scores = np.zeros(100)
        engine.add(scores, np.array([1.0, 2.0, 3.0]), np.array([40, 0, 41]), np.array([41, 40, 100]))
        wanted = np.empty(100)
        wanted[engine.order_R] = [2.0] * 40 + [1.0] + [3.0] * 59
        np.testing.assert_array_equal(scores, wanted)


@pytest.mark.parametrize("max_bin", [30, 300])
def test_scores_of_rows_that_were_left_out_get_the_value_of_the_leaf_they_come_to(max_bin: int) -> None:
    bins, fixed, mappers = data_and_mappers(9, 1200, max_bin=max_bin)
    generator = np.random.default_rng(2)
    rows, start = np.flatnonzero(generator.random(1200) < 0.4), generator.standard_normal(1200)
    found = []
    for engine in engines(bins, min_child_samples=3, num_leaves=20, min_data_per_group=5, cat_smooth=1.0):
        grown = grow(engine, mappers, fixed, rows, np.ones(6, bool))
        scores = start.copy()
        engine.add_to_all(scores, grown.tree)
        order = engine.order_R
        for leaf, (first, last) in enumerate(zip(grown.starts_L, grown.stops_L, strict=True)):
            inside = order[first:last]
            np.testing.assert_array_equal(scores[inside], start[inside] + grown.tree.leaf_value_L[leaf])
        found.append(scores.tobytes())
    assert len(set(found)) == 1
