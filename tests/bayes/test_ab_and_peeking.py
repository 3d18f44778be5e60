"""P(B > A) in three ways; and rules that stop, by lattice, by listing all tosses, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from kb.bayes import ab, peeking
from kb.bayes.beta import FLAT, HALDANE, JEFFREYS, Beta

whole = st.integers(1, 40)
broken = st.floats(0.4, 40).filter(lambda x: not x.is_integer())


@given(st.permutations([0, 1, 2, 3]), st.lists(whole, min_size=4, max_size=4), st.lists(broken, min_size=3, max_size=3))
@settings(max_examples=15)
def test_one_whole_parameter_is_enough(order: list[int], whole: list[int], broken: list[float]) -> None:
    numbers: list[float] = [float(whole[0]), *broken]
    a, b, c, d = (numbers[place] for place in order)
    first, second = Beta(a, b), Beta(c, d)
    found = ab.chance_b_beats_a(first, second)
    assert found == pytest.approx(ab.chance_b_beats_a_quadrature(first, second), abs=1e-8)
    assert found + ab.chance_b_beats_a(second, first) == pytest.approx(1, abs=1e-9)


def test_chances_by_hand_and_by_drawing() -> None:
    assert ab.chance_b_beats_a(FLAT, Beta(2, 1)) == pytest.approx(2 / 3)
    assert ab.chance_b_beats_a(FLAT, FLAT) == pytest.approx(0.5)
    assert ab.chance_b_beats_a(JEFFREYS, Beta(2.5, 3.5)) == pytest.approx(
        1 - ab.chance_b_beats_a(Beta(2.5, 3.5), JEFFREYS), abs=1e-8
    )
    a, b = FLAT.updated(100, 900), FLAT.updated(125, 875)
    drawn = ab.chance_b_beats_a_draws(a, b, draws=100_000, seed=0)
    assert drawn == pytest.approx(ab.chance_b_beats_a(a, b), abs=0.004)
    # Larger counts than a factorial could hold, and equal ones.
    assert ab.chance_b_beats_a(Beta(1e5, 1e5), Beta(1e5, 1e5)) == pytest.approx(0.5, abs=1e-6)
    assert ab.chance_b_beats_a(Beta(3e6, 3e6), Beta(3e6, 3e6)) == pytest.approx(0.5, abs=1e-6)
    for bad in (
        lambda: ab.chance_b_beats_a(HALDANE, FLAT),
        lambda: ab.chance_b_beats_a_draws(FLAT, HALDANE, draws=1, seed=0),
    ):
        with pytest.raises(ValueError, match="improper"):
            bad()
    near = Beta(0.001, 0.001).updated(0, 10)  # half of it lies below the smallest float
    with pytest.raises(ValueError, match="quantiles"):
        ab.chance_b_beats_a(near, near)


def test_expected_loss_is_the_integral_of_what_is_lost() -> None:
    assert ab.expected_loss(FLAT, FLAT) == pytest.approx(1 / 6)  # E|x - y| / 2 of uniform numbers
    a, b = Beta(3, 6), Beta(5, 4)
    area, _ = integrate.dblquad(
        lambda y, x: (x - y) * math.exp(a.log_density(x) + b.log_density(y)), 0, 1, 0, lambda x: x, epsabs=1e-9
    )
    assert ab.expected_loss(a, b) == pytest.approx(area, abs=1e-7)
    assert ab.expected_loss(b, a) - ab.expected_loss(a, b) == pytest.approx(b.mean - a.mean)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=40)
def test_z_squared_is_pearsons(total_a: int, total_b: int, part_a: float, part_b: float) -> None:
    a, b = round(part_a * total_a), round(part_b * total_b)
    ours = ab.z_test(a, total_a, b, total_b)
    if 0 < a + b < total_a + total_b:
        table = [[a, total_a - a], [b, total_b - b]]
        theirs = stats.chi2_contingency(table, correction=False)
        assert ours.z**2 == pytest.approx(theirs.statistic, abs=1e-9)
        assert ours.p_value == pytest.approx(theirs.pvalue)
    else:
        assert (ours.z, ours.p_value) == (0, 1)
    assert ours.upper_p == pytest.approx(stats.norm.sf(ours.z))


def test_z_by_hand_and_bad_counts() -> None:
    found = ab.z_test(100, 1000, 125, 1000)
    assert found.z == pytest.approx(0.025 / math.sqrt(0.1125 * 0.8875 * 0.002))
    for call, name in ((lambda: ab.z_test(1, 0, 1, 2), "total_a"), (lambda: ab.z_test(1, 2, 3, 2), "successes_b")):
        with pytest.raises(ValueError, match=name):
            call()


LOOKS = [3, 5, 6, 11]
RULES = {
    "fixed": peeking.fixed_level(LOOKS, 0.3),
    "posterior": peeking.posterior_sure(LOOKS, 0.8),
    "e-value": peeking.e_value(LOOKS, 0.4),
    "spending": peeking.spending(LOOKS, peeking.obrien_fleming(0.3)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("chance", [0.5, 0.7])
def test_stopping_by_lattice_by_listing_and_by_drawing(rule: str, chance: float) -> None:
    lattice = peeking.ever_stopped(LOOKS, RULES[rule], chance)
    np.testing.assert_allclose(lattice, peeking.ever_stopped_loop(LOOKS, RULES[rule], chance), atol=1e-12)
    stopped, heads = peeking.simulated(LOOKS, RULES[rule], np.full(20_000, chance), seed=3)
    for look, share in enumerate(lattice):
        assert (stopped <= look).mean() == pytest.approx(share, abs=0.018)
    for look in range(len(LOOKS)):
        assert RULES[rule][look][heads[stopped == look]].all()
    assert heads[stopped == len(LOOKS)].max(initial=0) <= LOOKS[-1]


def test_simulated_heads_are_those_of_the_look() -> None:
    looks = [4, 10]
    stop_high = [np.arange(5) >= 3, np.zeros(11, bool)]  # one side only, so that heads and tails differ
    stopped, heads = peeking.simulated(looks, stop_high, np.full(20_000, 0.7), seed=0)
    assert set(heads[stopped == 0]) == {3, 4}
    early = stats.binom.pmf(np.arange(5), 4, 0.7) * ~stop_high[0]
    never = np.convolve(early / early.sum(), stats.binom.pmf(np.arange(7), 6, 0.7))
    found = heads[stopped == 2]
    assert found.mean() == pytest.approx(never @ np.arange(11), abs=0.06)


def test_five_looks_as_published() -> None:
    # Armitage, McPherson and Rowe 1969, table 2: normal increments, 0.083, 0.107, 0.126, 0.142 for 2 to 5 looks.
    for looks, published in ((1, 0.05), (2, 0.083), (5, 0.142), (10, 0.193)):
        steps = [4000 * (i + 1) for i in range(looks)]
        assert peeking.ever_stopped(steps, peeking.fixed_level(steps), 0.5)[-1] == pytest.approx(published, abs=0.003)


@pytest.mark.parametrize(("chance", "prior"), [(0.5, FLAT), (0.3, Beta(2, 5)), (0.5, JEFFREYS)])
def test_an_e_value_has_mean_one_and_keeps_its_level(chance: float, prior: Beta) -> None:
    for n in (1, 7, 40):
        weights = stats.binom(n, chance).pmf(np.arange(n + 1))
        assert (weights * np.exp(peeking.log_e_values(n, chance, prior))).sum() == pytest.approx(1)
    looks = list(range(1, 301))
    region = peeking.e_value(looks, 0.05, chance, prior)
    assert peeking.ever_stopped(looks, region, chance)[-1] <= 0.05


def test_an_e_value_by_hand() -> None:
    # All heads in two tosses: 1/3 under a flat prior, 1/4 under a fair coin.
    assert np.exp(peeking.log_e_values(2))[2] == pytest.approx((1 / 3) / (1 / 4))


def test_spending_keeps_within_what_may_be_spent() -> None:
    looks = list(range(20, 401, 20))
    spend = peeking.obrien_fleming()
    assert spend(1.0) == pytest.approx(0.05)
    assert spend(0.0) == 0
    assert spend(0.2) == pytest.approx(2 * stats.norm.sf(1.959964 / math.sqrt(0.2)), rel=1e-5)
    for chance in (0.5, 0.2):
        spent = peeking.ever_stopped(looks, peeking.spending(looks, spend, chance), chance)
        assert (spent <= [spend(n / 400) + 1e-12 for n in looks]).all()
        assert spent[-1] > 0.0455


def test_a_posterior_rule_by_hand() -> None:
    # Five heads of five: Beta(6, 1), of which (1/2)^6 lies below 1/2.
    (region,) = peeking.posterior_sure([5], 1 - 1 / 64)
    assert region.tolist() == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: peeking.fixed_level([]), "looks"),
        (lambda: peeking.fixed_level([3, 3]), "rise"),
        (lambda: peeking.fixed_level([0, 3]), "looks"),
        (lambda: peeking.fixed_level([3], 1.0), "level"),
        (lambda: peeking.posterior_sure([3], 0.9, prior=HALDANE), "prior"),
        (lambda: peeking.posterior_sure([3], 1.0), "sure"),
        (lambda: peeking.e_value([3], prior=HALDANE), "improper"),
        (lambda: peeking.spending([3], lambda _: 0.1, 1.0), "chance"),
        (lambda: peeking.ever_stopped([3], [np.zeros(3, dtype=bool)], 0.5), "region"),
        (lambda: peeking.ever_stopped_loop([3], [], 0.5), "region"),
        (lambda: peeking.ever_stopped([2], [np.array([1, 0, 1])], 0.5), "True and False"),
        (lambda: peeking.obrien_fleming(0.0), "level"),
    ],
)
def test_bad_rules(call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=name):
        call()
