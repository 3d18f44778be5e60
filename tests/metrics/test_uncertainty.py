"""Intervals and the paired test: components by every pair, errors and coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb import metrics


def drawn(seed: int, positives: int, negatives: int, shift: float, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    y = np.repeat([1, 0], [positives, negatives])
    return y, (np.random.default_rng(seed).normal(size=len(y)) + shift * y).round(digits)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(2, 12))
def test_components_and_covariance_equal_the_loop(seed: int, P: int, M: int) -> None:
    y, first = drawn(seed, P, M, 1.0)
    second = first + drawn(seed + 1, P, M, 0.0)[1]
    loops = [metrics.placements_loop(y, score) for score in (first, second)]
    for score, loop in zip((first, second), loops, strict=True):
        for ours, wanted in zip(metrics.placements(y, score), loop, strict=True):
            np.testing.assert_allclose(ours, wanted, atol=1e-12)
    areas, covariance = metrics.delong_covariance(y, first, second)
    wanted = sum(np.cov(np.stack(parts)) / parts[0].size for parts in zip(*loops, strict=True))
    np.testing.assert_allclose(covariance, wanted, atol=1e-12)
    assert areas[1] == pytest.approx(metrics.mann_whitney_auc(y, second))


def test_hanley_and_mcneil_s_error_is_exact_for_exponential_scores() -> None:
    P, M, area = 12, 20, 0.8  # of rates 1 and area / (1 - area)
    rng = np.random.default_rng(0)
    high, low = rng.exponential(size=(4000, P)), rng.exponential((1 - area) / area, size=(4000, M))
    found = (high[:, :, None] > low[:, None, :]).mean(axis=(1, 2))
    assert found.mean() == pytest.approx(area, abs=0.005)
    assert found.std() == pytest.approx(metrics.hanley_mcneil_error(area, P, M), rel=0.04)
    assert metrics.hanley_mcneil_error(1.0, 5, 5) == 0
    y, score = drawn(1, 30, 40, 1.0)
    interval = metrics.hanley_mcneil_interval(y, score)
    reach = 1.959964 * metrics.hanley_mcneil_error(interval.estimate, 30, 40)
    assert (interval.high - interval.low) / 2 == pytest.approx(reach, abs=1e-6)
    assert interval.estimate == pytest.approx(metrics.mann_whitney_auc(y, score))


def test_scales_agree_on_many_rows_and_differ_near_one() -> None:
    y, score = drawn(2, 2000, 2000, 0.7)
    plain, logit = (metrics.delong_interval(y, score, scale=scale) for scale in ("plain", "logit"))
    assert (plain.low, plain.high) == pytest.approx((logit.low, logit.high), abs=4e-4)
    assert plain.high + plain.low == pytest.approx(2 * plain.estimate)
    y, score = np.repeat([1, 0], 10), np.append(np.arange(10) + 8.5, np.arange(10))
    assert metrics.delong_interval(y, score, scale="plain").high > 1 > metrics.delong_interval(y, score).high
    perfect = metrics.delong_interval([1, 1, 1, 0, 0], [4, 3, 5, 2, 1], confidence=0.9)
    assert (perfect.estimate, perfect.low, perfect.high) == (1, pytest.approx(0.05**0.5), 1)
    wrong = metrics.delong_interval([0, 0, 0, 1, 1], [4, 3, 5, 2, 1], confidence=0.9)
    assert (wrong.estimate, wrong.low, wrong.high) == (0, 0, pytest.approx(1 - 0.05**0.5))
    flat = metrics.delong_interval([1, 1, 0, 0], [4, 3, 2, 1], scale="plain")
    assert flat.low == flat.high == 1


def test_intervals_hold_the_area_as_often_as_they_say() -> None:
    area = 0.5 * (1 + math.erf(1.2 / 2))  # of two normals, 1.2 deviations apart
    held = {"delong": 0, "bootstrap": 0}
    for seed in range(300):
        y, score = drawn(seed, 40, 60, 1.2, digits=9)
        delong, bootstrap = (
            metrics.delong_interval(y, score),
            metrics.bootstrap_interval(y, score, draws=200, seed=seed),
        )
        held["delong"] += delong.low <= area <= delong.high
        held["bootstrap"] += bootstrap.low <= area <= bootstrap.high
    assert 0.91 < held["delong"] / 300 < 0.98
    assert 0.88 < held["bootstrap"] / 300 < 0.98


def test_the_bootstrap_draws_rows_of_each_class() -> None:
    y, score = drawn(3, 15, 25, 0.8)
    found = metrics.bootstrap_interval(y, score, draws=4000, confidence=0.8, seed=1)
    rng, areas = np.random.default_rng(5), []
    for _ in range(2000):
        places = np.append(rng.integers(15, size=15), 15 + rng.integers(25, size=25))
        areas.append(metrics.mann_whitney_auc(y[places], score[places]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(areas, [0.1, 0.9])), abs=0.012)
    assert found.estimate == pytest.approx(metrics.mann_whitney_auc(y, score))
    assert metrics.bootstrap_interval(y, score, seed=2) == metrics.bootstrap_interval(y, score, seed=2)


def test_the_paired_test_sees_what_two_intervals_hide() -> None:
    y, score = drawn(4, 150, 150, 1.0, digits=9)
    better = score + 0.15 * y
    found = metrics.delong_test(y, better, score)
    assert found.correlation > 0.9
    assert found.p_value < 1e-4
    assert found.difference.low > 0
    z = found.difference.estimate * 2 * 1.959964 / (found.difference.high - found.difference.low)
    assert found.p_value == pytest.approx(math.erfc(z / math.sqrt(2)), rel=1e-5)
    one, two = metrics.delong_interval(y, better), metrics.delong_interval(y, score)
    assert two.high > one.low
    same = metrics.delong_test(y, score, 2 * score + 1)
    assert (same.p_value, same.difference.estimate, same.difference.high) == (1, 0, 0)
    _, covariance = metrics.delong_covariance(y, better, score)
    wanted = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    assert found.correlation == pytest.approx(wanted)


@pytest.mark.parametrize("other", [[1, 1, 1, 1], [4, 3, 2, 1]])
def test_four_rows_without_spread_are_no_proof(other: list[int]) -> None:
    with pytest.warns(metrics.UndefinedMetricWarning, match="no error"):
        found = metrics.delong_test([0, 0, 1, 1], [1, 2, 3, 4], other)
    assert found.difference.estimate in (0.5, 1)
    assert np.isnan([found.p_value, found.difference.low, found.difference.high]).all()


def test_under_no_difference_p_is_uniform() -> None:
    values = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        y, shared = np.repeat([1, 0], 50), rng.normal(size=100)
        first, second = (y + shared + rng.normal(size=100) for _ in range(2))
        values.append(metrics.delong_test(y, first, second).p_value)
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.09
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


def test_what_is_refused() -> None:
    y, score = drawn(0, 3, 3, 1.0)
    for wrong in ({"confidence": 1.0}, {"confidence": True}, {"scale": "log"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            metrics.delong_interval(y, score, **wrong)
    with pytest.raises(ValueError, match="at least 2 of each class"):
        metrics.delong_interval([1, 0, 0], [1, 2, 3])
    with pytest.raises(ValueError, match="none"):
        metrics.delong_covariance(y)
    with pytest.raises(ValueError, match="draws"):
        metrics.bootstrap_interval(y, score, draws=0)
    for area, P in ((1.1, 3), (0.5, 0)):
        with pytest.raises(ValueError, match=r"area|num_positives"):
            metrics.hanley_mcneil_error(area, P, 3)
