"""Intervals against scipy, published tables and coverage; McNemar against the binomial test."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial

from kb.cot import mcnemar, newcombe, paired_difference, wilson


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=60)
def test_wilson_is_that_of_scipy(total: int, part: float, confidence: float) -> None:
    successes = round(part * total)
    ours = wilson(successes, total, confidence)
    theirs = binomtest(successes, total).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.estimate <= ours.high <= 1


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(successes: int, total: int, low: float, high: float) -> None:
    interval = wilson(successes, total)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(0, 80), st.integers(0, 80))
@settings(max_examples=60)
def test_mcnemar_is_a_binomial_test(only_first: int, only_second: int) -> None:
    flips = only_first + only_second
    wanted = binomtest(only_first, flips).pvalue if flips else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(wanted, rel=1e-9)


def test_mcnemar_of_large_counts() -> None:
    assert mcnemar(5000, 5000) == 1.0
    assert mcnemar(5200, 4800) == pytest.approx(2 * binom.cdf(4800, 10000, 0.5), rel=1e-6)


def test_counts_of_numpy_do_not_overflow() -> None:
    assert mcnemar(np.int64(520), np.int64(480)) == mcnemar(520, 480)
    counts = [200, 90, 60, 100]
    assert newcombe(*(np.uint8(count) for count in counts)) == newcombe(*counts)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    # Airway hyper-responsiveness, Bentur et al. 2009, as in Fagerland, Lydersen and Laake 2014, Statistics in Medicine
    # 33:2850-2875: the square-and-add interval. The others: Newcombe 1998, Statistics in Medicine 17:2635-2650, table
    # III, method 10, as quoted in public tests of others (we have not seen the table itself).
    [
        ((1, 1, 7, 12), -0.507, -0.026),
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((20, 12, 2, 16), 0.0562, 0.3292),
        ((36, 14, 0, 0), 0.1528, 0.4167),
        ((2, 97, 1, 0), 0.8721, 0.9854),
        ((0, 30, 0, 0), 0.8395, 1.0),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((27, 0, 0, 27), -0.0351, 0.0351),
    ],
)
def test_newcombe_as_published(table: tuple[int, int, int, int], low: float, high: float) -> None:
    interval = newcombe(*table)
    digits = 3 if table == (1, 1, 7, 12) else 4
    assert (round(interval.low, digits), round(interval.high, digits)) == (low, high)


@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
@settings(max_examples=80)
def test_newcombe_turns_round_with_the_systems(table: tuple[int, int, int, int]) -> None:
    both, one, two, neither = table
    there, back = newcombe(both, one, two, neither), newcombe(both, two, one, neither)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert -1 <= there.low <= there.estimate <= there.high <= 1
    mirrored = newcombe(neither, two, one, both)
    assert (back.low, back.high) == pytest.approx((mirrored.low, mirrored.high))


def test_newcombe_covers_what_it_should() -> None:
    """Exact coverage over all tables of 25 items, for systems with correlated errors: near 95 %."""
    probabilities, truth, covered = [0.5, 0.2, 0.1, 0.2], 0.1, 0.0
    for both in range(26):
        for one in range(26 - both):
            for two in range(26 - both - one):
                table = (both, one, two, 25 - both - one - two)
                interval = newcombe(*table)
                if interval.low <= truth <= interval.high:
                    covered += math.exp(multinomial.logpmf(table, 25, probabilities))
    assert 0.94 < covered < 0.98


def test_two_systems_on_the_same_items() -> None:
    first = [True] * 6 + [False] * 4
    second = [True] * 3 + [False] * 3 + [True] + [False] * 3
    found = paired_difference(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == (3, 3, 1, 3)
    assert found.difference.estimate == pytest.approx(0.2)
    assert found.p_value == mcnemar(3, 1) == 0.625
    same = paired_difference(first, first)
    assert (same.p_value, same.difference.estimate) == (1.0, 0.0)
    assert same.difference.low < 0 < same.difference.high


def test_a_confidence_next_to_one_is_still_one() -> None:
    interval = wilson(1, 10, math.nextafter(1, 0))
    assert 0 < interval.low < 0.1 < interval.high < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wilson(1, 0), "total must be an integer of at least 1"),
        (lambda: wilson(3, 2), "successes must be at most total, got 3 of 2"),
        (lambda: wilson(1, 2, 95), "confidence must be a number between 0 and 1, got 95"),
        (lambda: wilson(1, 2, math.nan), "confidence must be"),
        (lambda: mcnemar(-1, 2), "only_first must be"),
        (lambda: newcombe(0, 0, 0, 0), "the number of items must be"),
        (lambda: paired_difference([], []), "first and second must be of equal length"),
        (lambda: paired_difference([True], [True, False]), "first and second must be of equal length"),
        (lambda: paired_difference([1], [True]), r"first\[0\] must be True or False, got 1"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
