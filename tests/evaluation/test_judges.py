"""Judges: kappa equal to scikit-learn's, and a known bias recovered whatever the pairs are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from kb.evaluation import cohen_kappa, position_bias, simulated_verdicts


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_kappa_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    if len({*first, *second}) == 1:
        with pytest.raises(ValueError, match="kappa"):
            cohen_kappa(first, second)
        return
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_by_hand() -> None:
    # 8 of 10 alike; both say yes to 7 and 7 of 10: by chance 0.49 + 0.09 = 0.58.
    first, second = "yyyyyyynnn", "yyyyyynynn"
    assert cohen_kappa(first, second) == pytest.approx((0.8 - 0.58) / 0.42)
    with pytest.raises(ValueError, match="length"):
        cohen_kappa("ab", "a")


def test_bias_by_hand() -> None:
    straight = [True] * 6 + [False] * 2 + [True, False]
    swapped = [True] * 6 + [False] * 2 + [False, True]
    found = position_bias(straight, swapped)
    assert (found.both_first, found.both_second, found.consistent) == (6, 2, 2)
    assert found.estimate == pytest.approx(math.log(3) / 2)
    assert found.low < found.estimate < found.high
    assert found.consistency == pytest.approx(0.2)


@pytest.mark.parametrize("bias", [-0.8, 0.0, 0.5])
@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_a_known_bias_is_recovered(bias: float, spread: float) -> None:
    advantage = np.random.default_rng(3).normal(0.3, spread, size=20_000)
    found = position_bias(*simulated_verdicts(advantage, bias, seed=4))
    assert found.estimate == pytest.approx(bias, abs=0.06)


def test_the_interval_covers_as_often_as_it_says() -> None:
    advantage = np.random.default_rng(5).normal(0, 1, size=120)
    found = [position_bias(*simulated_verdicts(advantage, 0.5, seed=seed)) for seed in range(300)]
    covered = sum(one.low <= 0.5 <= one.high for one in found)
    assert 0.91 <= covered / 300 <= 0.99


def test_no_contradiction_bounds_nothing() -> None:
    found = position_bias([True, False], [False, True])
    assert (found.estimate, found.low, found.high) == (0.0, -math.inf, math.inf)
    assert position_bias([True], [True]).estimate == math.inf


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="first_wins"):
        position_bias([], [])
    with pytest.raises(ValueError, match="confidence"):
        position_bias([True], [True], confidence=1.0)
    with pytest.raises(ValueError, match="advantage_N"):
        simulated_verdicts(np.zeros((2, 2)), 0.0, seed=0)
    with pytest.raises(ValueError, match="bias"):
        simulated_verdicts(np.zeros(2), math.nan, seed=0)
