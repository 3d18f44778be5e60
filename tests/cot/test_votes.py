"""Votes by hand and by brute force; stopping rules against scipy's Beta, quadrature and Monte Carlo."""

import itertools
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from kb.cot import (
    beta_confidence,
    dirichlet_confidence,
    is_decided,
    majority,
    probability_weights,
    weighted,
    when_confident,
    when_decided,
)


def test_a_vote_by_hand() -> None:
    vote = majority([Fraction(18), None, Fraction(26), Fraction(18), None])
    assert (vote.answer, vote.count, vote.total, vote.unanswered) == (18, 2, 5, 2)
    assert vote.counts == ((18, 2), (26, 1))
    assert vote.share == 0.4
    assert vote.weight_share == pytest.approx(2 / 3)


def test_of_equal_ones_the_first_wins() -> None:
    assert majority([2, 1, 1, 2]).answer == 2
    assert majority([1, 2, 2, 1]).answer == 1
    assert weighted([2, 1, 1, 1], [0.75, 0.25, 0.25, 0.25]).answer == 2
    assert weighted(["b", "a"], [0, 0]).answer == "b"


@pytest.mark.parametrize("answers", [[], [None, None]])
def test_nothing_read_wins_nothing(answers: list[None]) -> None:
    vote = majority(answers)
    assert (vote.answer, vote.count, vote.total, vote.unanswered) == (None, 0, len(answers), len(answers))
    assert (vote.share, vote.weight_share) == (0.0, 0.0)


def test_weights_can_turn_a_vote() -> None:
    vote = weighted([1, 1, 2], [0.1, 0.2, 0.9])
    assert (vote.answer, vote.count, vote.weights) == (2, 1, pytest.approx((0.3, 0.9)))


@given(st.lists(st.sampled_from([None, 1, 2, 3]), max_size=12), st.randoms())
@settings(max_examples=100)
def test_a_vote_counts_all(answers: list[int | None], rng: Any) -> None:
    vote = majority(answers)
    assert vote.total == len(answers) == sum(count for _, count in vote.counts) + vote.unanswered
    assert vote.count == max((answers.count(one) for one in (1, 2, 3)), default=0)
    others = list(answers)
    rng.shuffle(others)
    assert sorted(majority(others).counts) == sorted(vote.counts)


def test_weights_of_probabilities() -> None:
    assert probability_weights([-2.0, -3.0], [4, 3]) == pytest.approx([math.exp(-0.5), math.exp(-1)])
    assert probability_weights([-1000.0, -1001.0], [4, 3], normalised=False) == pytest.approx([1, math.exp(-1)])
    assert probability_weights([0.0], [0]) == [1.0]
    assert probability_weights([], []) == []
    assert probability_weights([-math.inf, -1.0], [2, 1]) == pytest.approx([0, math.exp(-1)])


@given(st.lists(st.sampled_from([None, 1, 2]), max_size=6), st.integers(0, 4))
@settings(max_examples=60)
def test_decided_is_when_no_future_changes_it(answers: list[int | None], remaining: int) -> None:
    now = majority(answers).answer
    futures = itertools.product([None, 1, 2, 3], repeat=remaining)
    unchanged = all(majority([*answers, *future]).answer == now for future in futures)
    assert is_decided(answers, remaining) == unchanged


@given(st.lists(st.integers(0, 40), max_size=5))
@settings(max_examples=60)
def test_beta_is_that_of_scipy(counts: list[int]) -> None:
    first, second = sorted([*counts, 0, 0], reverse=True)[:2]
    assert beta_confidence(counts) == pytest.approx(stats.beta.sf(0.5, first + 1, second + 1), abs=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=60)
def test_dirichlet_of_two_is_beta(first: int, second: int) -> None:
    assert dirichlet_confidence([first, second], unseen=0) == pytest.approx(beta_confidence([first, second]), abs=1e-8)


@pytest.mark.parametrize("counts", [(3, 1, 1), (5, 4, 0), (10, 2, 2), (0, 0, 0), (40, 30, 1)])
def test_dirichlet_of_three_by_quadrature(counts: tuple[int, int, int]) -> None:
    """Over the simplex itself: the leader above both others."""
    density = stats.dirichlet([count + 1 for count in counts])
    above, _ = integrate.dblquad(
        lambda second, first: density.pdf([first, second, max(1 - first - second, 0)]),
        1 / 3,
        1,
        lambda first: max(0.0, 1 - 2 * first),
        lambda first: min(first, 1 - first),
        epsabs=1e-7,
    )
    assert dirichlet_confidence(counts, unseen=0) == pytest.approx(above, abs=1e-5)


def test_dirichlet_of_many_by_monte_carlo() -> None:
    counts = [7, 5, 5, 2, 1]
    draws_NA = np.random.default_rng(0).dirichlet([count + 1 for count in (*counts, 0, 0)], 200_000)
    share = float((draws_NA.argmax(1) == 0).mean())
    # Four standard errors of 200,000 draws.
    assert dirichlet_confidence(counts, unseen=2) == pytest.approx(share, abs=0.0045)
    assert dirichlet_confidence([0] * 8, unseen=0) == pytest.approx(1 / 8, abs=1e-9)
    assert dirichlet_confidence([5], unseen=0) == pytest.approx(1, abs=1e-9)


def test_where_nothing_was_counted_nobody_is_sure() -> None:
    assert beta_confidence([]) == pytest.approx(1 / 2)
    assert dirichlet_confidence([]) == pytest.approx(1 / 2, abs=1e-9)
    assert dirichlet_confidence([], unseen=3) == pytest.approx(1 / 4, abs=1e-9)


def test_stop_rules() -> None:
    assert when_decided()([1, 1, 1], 2)
    assert not when_decided()([1, 1, 1], 4)
    # 3 of 3: Beta(4, 1) above 1/2 is 15/16; 4 of 4: 31/32.
    assert not when_confident(0.95)([1, 1, 1], 37)
    assert when_confident(0.95)([1, 1, 1, 1], 36)
    assert when_confident(0.95)([1, 1, 2], 1)
    assert not when_confident(0.95)([None] * 5, 3)
    assert not when_confident(0.95, by="dirichlet")([1, 1, 1], 37)
    assert when_confident(0.95, by="dirichlet")([1] * 6, 34)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: majority("abc"), TypeError, "answers must be a sequence"),
        (lambda: majority([[1]]), TypeError, r"answers\[0\] must be hashable"),
        (lambda: majority([(1, [2])]), TypeError, r"answers\[0\] must be hashable, got tuple"),
        (lambda: majority([1, np.float32("nan")]), ValueError, r"answers\[1\] must be a finite number"),
        (lambda: majority([Decimal("nan")]), ValueError, r"answers\[0\] must be a finite number"),
        (lambda: weighted([1], iter([1])), TypeError, "weights must be a sequence of numbers"),
        (lambda: weighted([1, 2], [1e308, 1e308]), ValueError, "weights must have a finite sum"),
        (lambda: majority([math.nan]), ValueError, r"answers\[0\] must be a finite number"),
        (lambda: weighted([1], [1, 2]), ValueError, "weights must be one for each of 1 answers, got 2"),
        (lambda: weighted([1], [-1]), ValueError, r"weights\[0\] must be a finite number of at least 0, got -1"),
        (lambda: weighted([1], [math.nan]), ValueError, r"weights\[0\] must be"),
        (lambda: probability_weights([None], [3]), ValueError, "a back end that gives none"),
        (lambda: probability_weights([0.5], [3]), ValueError, r"log_probabilities\[0\] must be a number of at most 0"),
        (lambda: probability_weights([math.nan], [3]), ValueError, r"log_probabilities\[0\]"),
        (lambda: probability_weights([-1.0], []), ValueError, "num_tokens must be 1 counts"),
        (lambda: is_decided([1], -1), ValueError, "remaining must be"),
        (lambda: beta_confidence([-1]), ValueError, r"counts\[0\] must be"),
        (lambda: dirichlet_confidence([], unseen=0), ValueError, "counts must hold at least one answer"),
        (lambda: when_confident(1.0), ValueError, "threshold must be a number between 0 and 1"),
        (lambda: when_confident(0.9, by="gamma"), ValueError, "by 'gamma' is not known"),
    ],
)
def test_bad_input(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
