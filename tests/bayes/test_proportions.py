"""One proportion: Beta beside scipy's, p-values beside exact sums and binomtest, coverage counted in three ways."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from kb.bayes import beta, coin
from kb.bayes import proportions as coverage
from kb.bayes.ab import z_test
from kb.bayes.beta import FLAT, HALDANE, JEFFREYS, Beta, distance_to_normal
from kb.intervals import wilson

shapes = st.floats(0.3, 60)
confidences = st.sampled_from([0.5, 0.8, 0.95, 0.99])


def test_counts_of_numpy_do_not_overflow() -> None:
    few, many = np.uint8(250), np.uint8(255)
    assert Beta(1, 1).updated(few, many) == Beta(251, 256)  # type: ignore[arg-type]
    assert coin.upper_tail(few, many) == coin.upper_tail(250, 255)  # type: ignore[arg-type]
    assert coin.lower_tail(few, many) == coin.lower_tail(250, 255)  # type: ignore[arg-type]
    assert coin.stopped_at_failures(many, few) == coin.stopped_at_failures(255, 250)  # type: ignore[arg-type]
    for method in (wilson, coverage.clopper_pearson, coverage.jeffreys):
        assert method(few, many) == method(250, 255)  # type: ignore[arg-type]
    assert z_test(few, many, many, many) == z_test(250, 255, 255, 255)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"successes must be an integer of at least 0, got np.int64\(-1\)"):
        Beta(1, 1).updated(np.int64(-1), 0)  # type: ignore[arg-type]


@given(shapes, shapes, st.floats(0.01, 0.99))
@settings(max_examples=50)
def test_a_beta_is_that_of_scipy(a: float, b: float, x: float) -> None:
    ours, theirs = Beta(a, b), stats.beta(a, b)
    assert ours.mean == pytest.approx(theirs.mean())
    assert float(ours.log_density(x)) == pytest.approx(theirs.logpdf(x), abs=1e-9)
    assert float(ours.below(x)) == pytest.approx(theirs.cdf(x), abs=1e-12)
    assert float(ours.above(x)) == pytest.approx(theirs.sf(x), abs=1e-12)
    low, high = theirs.interval(0.9)
    assert (ours.equal_tailed(0.9).low, ours.equal_tailed(0.9).high) == pytest.approx((low, high), abs=1e-9)


def test_seven_heads_of_ten() -> None:
    posterior = FLAT.updated(7, 3)
    assert (posterior.a, posterior.b, posterior.mode) == (8, 4, 0.7)
    assert posterior.mean == pytest.approx(2 / 3)
    assert coin.upper_tail(7, 10) == pytest.approx(176 / 1024)
    assert (coin.doubled_p(7, 10), coin.unlikely_p(7, 10)) == pytest.approx((352 / 1024, 352 / 1024))
    shortest = posterior.hpd()
    assert (shortest.low, shortest.high) == pytest.approx((0.41205, 0.90663), abs=1e-5)


@given(shapes, shapes, confidences)
@settings(max_examples=40)
def test_the_shortest_interval(a: float, b: float, confidence: float) -> None:
    assume(not (a <= 1 and b <= 1))
    posterior = Beta(a, b)
    found, tails = posterior.hpd(confidence), posterior.equal_tailed(confidence)
    assert posterior.below(found.high) - posterior.below(found.low) == pytest.approx(confidence, abs=1e-9)
    assert found.high - found.low <= tails.high - tails.low + 1e-9
    grid = beta.hpd_loop(posterior, confidence, points=4000)
    assert (found.low, found.high) == pytest.approx((grid.low, grid.high), abs=2e-3)


def test_modes_and_edges() -> None:
    assert (Beta(1, 3).mode, Beta(3, 1).mode, Beta(0.5, 1).mode, Beta(1, 0.5).mode) == (0, 1, 0, 1)
    assert (Beta(0.5, 4).mode, Beta(4, 0.5).mode) == (0, 1)
    for flat in (Beta(1, 1), Beta(0.5, 0.5)):
        with pytest.raises(ValueError, match="no mode"):
            _ = flat.mode
    with pytest.raises(ValueError, match="no interval"):
        JEFFREYS.hpd()
    with pytest.raises(ValueError, match="no interval"):
        beta.hpd_loop(JEFFREYS)
    assert (Beta(1, 1).hpd(0.9).low, Beta(1, 1).hpd(0.9).high) == pytest.approx((0.05, 0.95))
    assert Beta(1, 5).hpd().low == 0
    assert Beta(5, 1).hpd().high == 1
    # Densities that are infinite at one end: the interval starts there.
    assert (Beta(0.5, 1).hpd().low, Beta(0.5, 1).hpd().high) == pytest.approx((0, 0.95**2))
    assert (Beta(1, 0.5).hpd().low, Beta(1, 0.5).hpd().high) == pytest.approx((1 - 0.95**2, 1))
    assert Beta(2, 3).log_density([-0.1, 1.1]).tolist() == [-math.inf, -math.inf]
    assert Beta(1e9, 1e9).equal_tailed().low == pytest.approx(0.5 - 1.96 / math.sqrt(8e9), abs=1e-8)


def test_improper_priors() -> None:
    assert not HALDANE.proper
    assert HALDANE.updated(7, 3).mean == 0.7
    still = HALDANE.updated(10, 0)
    for question in (lambda: still.mean, lambda: still.below(0.5), still.equal_tailed, still.hpd, lambda: still.mode):
        with pytest.raises(ValueError, match="improper"):
            question()
    for bad in (-1, math.nan, math.inf, "1", True):
        with pytest.raises(ValueError, match="a must be"):
            Beta(bad, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="successes"):
        FLAT.updated(-1, 2)
    for bad in (0, 1, 1.5, math.nan):
        with pytest.raises(ValueError, match="confidence"):
            FLAT.updated(1, 1).hpd(bad)


@given(st.integers(1, 40), st.integers(0, 40), st.sampled_from([0.5, 0.2, 0.9]))
@settings(max_examples=60)
def test_p_values_are_sums_over_outcomes(total: int, successes: int, chance: float) -> None:
    successes = min(successes, total)
    outcomes = [math.comb(total, k) * chance**k * (1 - chance) ** (total - k) for k in range(total + 1)]
    np.testing.assert_allclose(np.exp(coin.log_probabilities(total, chance)), outcomes)
    assert coin.upper_tail(successes, total, chance) == pytest.approx(sum(outcomes[successes:]))
    assert coin.lower_tail(successes, total, chance) == pytest.approx(sum(outcomes[: successes + 1]))
    assert coin.unlikely_p(successes, total, chance) == pytest.approx(stats.binomtest(successes, total, chance).pvalue)
    failures = max(1, total - successes)
    wanted = stats.nbinom.sf(successes - 1, failures, 1 - chance)
    assert coin.stopped_at_failures(successes, failures, chance) == pytest.approx(wanted)


def test_neighbours_that_are_nearly_as_probable_are_told_apart() -> None:
    assert coin.unlikely_p(499, 1000) == pytest.approx(stats.binomtest(499, 1000).pvalue)


def test_two_stopping_rules_as_lindley_and_phillips_have_them() -> None:
    assert coin.upper_tail(9, 12) == pytest.approx(299 / 4096)
    assert coin.stopped_at_failures(9, 3) == pytest.approx(67 / 2048)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: coin.upper_tail(1, 0), "total"),
        (lambda: coin.upper_tail(3, 2), "successes"),
        (lambda: coin.lower_tail(-1, 2), "successes"),
        (lambda: coin.unlikely_p(1, 2, 1.0), "chance"),
        (lambda: coin.stopped_at_failures(1, 0), "failures"),
        (lambda: coverage.wald(3, 2), "successes"),
        (lambda: coverage.jeffreys(1, 2, 1.0), "confidence"),
        (lambda: coverage.coverage(np.zeros((3, 3)), np.array([0.5])), "table"),
        (lambda: coverage.coverage(np.zeros((3, 2)), np.array([0.0])), "proportions"),
        (lambda: coverage.coverage_loop(np.zeros((3, 2)), 1.0), "proportion"),
        (lambda: coverage.average_coverage(np.zeros((3, 2)), HALDANE), "improper"),
        (lambda: distance_to_normal(FLAT, 0.5, 0.0), "deviation"),
        (lambda: distance_to_normal(FLAT, math.nan, 1.0), "mean"),
    ],
)
def test_bad_input(call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=name):
        call()


@given(st.integers(1, 60), st.floats(0, 1), confidences)
@settings(max_examples=40)
def test_clopper_and_pearson_are_those_of_scipy(total: int, part: float, confidence: float) -> None:
    successes = round(part * total)
    ours = coverage.clopper_pearson(successes, total, confidence)
    theirs = stats.binomtest(successes, total).proportion_ci(confidence, method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_bounds_by_hand() -> None:
    half = 1.959964 * math.sqrt(0.21 / 10)
    wald = coverage.wald(7, 10)
    assert (wald.low, wald.high) == pytest.approx((0.7 - half, 0.7 + half), abs=1e-6)
    assert coverage.wald(0, 10).low == coverage.wald(0, 10).high == 0
    assert coverage.clopper_pearson(0, 10).high == pytest.approx(1 - 0.025**0.1)
    assert coverage.jeffreys(0, 10).low == 0
    assert coverage.jeffreys(10, 10).high == 1
    assert coverage.jeffreys(7, 10).low == pytest.approx(stats.beta(7.5, 3.5).ppf(0.025))


@pytest.mark.parametrize("method", [coverage.wald, wilson, coverage.clopper_pearson, coverage.jeffreys])
def test_coverage_by_listing_and_by_drawing(method: coverage.Method) -> None:
    table = coverage.interval_table(method, 15)
    proportions = np.array([0.02, 0.3, 0.5, 0.87])
    listed = coverage.coverage(table, proportions)
    for p, held in zip(proportions.tolist(), listed, strict=True):
        assert held == pytest.approx(coverage.coverage_loop(table, p))
        drawn = coverage.simulated_coverage(table, p, draws=20_000, seed=1)
        assert drawn == pytest.approx(held, abs=5 * math.sqrt(0.25 / 20_000))
    if method is coverage.clopper_pearson:
        assert coverage.coverage(table, np.linspace(0.001, 0.999, 400)).min() >= 0.95


@given(st.integers(1, 12), st.sampled_from([FLAT, JEFFREYS, Beta(8, 2)]), confidences)
@settings(max_examples=8)
def test_credible_intervals_cover_as_said_over_their_own_prior(total: int, prior: Beta, confidence: float) -> None:
    table = coverage.interval_table(coverage.credible(prior), total, confidence)
    assert coverage.average_coverage(table, prior) == pytest.approx(confidence, abs=1e-9)
    middles = (np.arange(20_000) + 0.5) / 20_000
    weighted = coverage.coverage(table, middles) * stats.beta.pdf(middles, 2, 5)
    assert coverage.average_coverage(table, Beta(2, 5)) == pytest.approx(weighted.mean(), abs=1e-3)


def test_distance_to_the_normal_is_half_the_area_between() -> None:
    for posterior, mean, deviation in ((Beta(8, 4), 0.7, 0.14), (Beta(2, 9), 0.1, 0.2), (Beta(300, 700), 0.3, 0.0145)):
        x = np.linspace(-2, 3, 400_001)
        apart = np.abs(np.exp(posterior.log_density(x)) - stats.norm(mean, deviation).pdf(x))
        assert distance_to_normal(posterior, mean, deviation) == pytest.approx(
            integrate.trapezoid(apart, x) / 2, abs=1e-4
        )
    assert distance_to_normal(Beta(1e6, 1e6), 0.5, 0.5 / math.sqrt(2e6)) < 1e-3
    assert distance_to_normal(Beta(1e6, 1e6), 10.0, 0.1) == pytest.approx(1)
