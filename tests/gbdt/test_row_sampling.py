"""GOSS keeps the rows with the largest derivatives, draws from the others, and weighs these so that sums stay right."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt.sampling.row_sampling import Goss


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(1, 300),
    classes=st.integers(1, 3),
    top_rate=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    other_rate=st.sampled_from([0.01, 0.1]),
    ties=st.booleans(),
)
def test_kept_are_the_first_of_all_rows_sorted(
    seed: int, rows: int, classes: int, top_rate: float, other_rate: float, ties: bool
) -> None:
    generator = np.random.default_rng(seed)
    gradients = generator.standard_normal((rows, classes)).astype(np.float32)
    if ties:
        gradients = np.round(gradients)
    hessians = np.ones_like(gradients)
    chosen, factors = Goss(top_rate, other_rate, 1, seed).choose(1, gradients, hessians)
    assert factors is not None
    top, other = max(1, int(rows * top_rate)), max(1, int(rows * other_rate))
    wanted = np.argsort(-np.abs(gradients).sum(axis=1), kind="stable")[:top]
    assert (np.diff(chosen) > 0).all()
    assert set(wanted.tolist()) <= set(chosen.tolist())
    drawn = np.setdiff1d(chosen, wanted)
    assert len(drawn) == min(other, rows - top)
    assert (factors[drawn] == np.float32((rows - top) / other)).all()
    assert (np.delete(factors, drawn) == 1).all()


def test_each_of_the_others_is_drawn_as_often() -> None:
    gradients = np.concatenate([np.full(20, 9.0), np.full(80, 1.0)]).astype(np.float32)[:, None]
    goss, times = Goss(0.2, 0.1, 0, 7), np.zeros(100)
    for number in range(2000):
        chosen, _ = goss.choose(number, gradients, np.ones_like(gradients))
        times[chosen] += 1
    assert (times[:20] == 2000).all()
    # Each of 80 is one of 10 with probability 1/8: 250 times, with a standard deviation of 14.8.
    assert np.abs(times[20:] - 250).max() < 6 * 14.8


def test_the_first_rounds_see_all_rows() -> None:
    goss, gradients = Goss(0.2, 0.1, 3, 0), np.ones((50, 1), np.float32)
    for number, rows in enumerate([50, 50, 50, 15]):
        chosen, factors = goss.choose(number, gradients, gradients)
        assert len(chosen) == rows
        assert (factors is None) == (rows == 50)


@pytest.mark.parametrize("rates", [(-0.1, 0.2), (0.2, -0.1), (0.0, 0.0), (0.8, 0.3)])
def test_refuses(rates: Any) -> None:
    with pytest.raises(ValueError, match="top_rate and other_rate"):
        Goss(*rates, 1, 0)
