"""Gradients as integers: exact, never too large, and the same however they are made."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kb.gbdt.growing import rows_numba
from kb.gbdt.growing.fixed_point import BITS, FixedPoint, scale_exponent, to_fixed_point


def both(gradients: np.ndarray, hessians: np.ndarray) -> FixedPoint:
    """By NumPy, after it was found equal to the compiled version."""
    plain, compiled = to_fixed_point(gradients, hessians), rows_numba.to_fixed_point(gradients, hessians)
    np.testing.assert_array_equal(plain.pairs_N2, compiled.pairs_N2)
    assert plain[1:] == compiled[1:]
    return plain


@settings(max_examples=50)
@given(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=40), st.integers(0, 3))
def test_a_sum_of_integers_is_the_sum_to_the_last_of_sixty_binary_places(values: list[float], seed: int) -> None:
    numbers = np.array(values, np.float32)
    fixed = both(numbers, np.abs(numbers))
    exact = math.fsum(numbers.astype(float))
    error = abs(int(fixed.pairs_N2[:, 0].sum()) * fixed.unit_gradient - exact)
    assert error <= max(len(values) * fixed.unit_gradient, 1e-15 * abs(exact))
    shuffled = np.random.default_rng(seed).permutation(len(values))
    assert both(numbers[shuffled], np.abs(numbers))[0][:, 0].sum() == fixed.pairs_N2[:, 0].sum()


@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 2**31])
@pytest.mark.parametrize("largest", [1e-300, 1e-3, 0.9999999, 1.0, 3.0, 1e300])
def test_the_sum_of_the_largest_never_overflows_and_uses_the_room(rows: int, largest: float) -> None:
    exponent = scale_exponent(largest, rows)
    total = rows * math.ldexp(largest, exponent)
    assert 2.0 ** (BITS - 2) / 2 < total < 2.0**BITS
    assert 2 * total < 2.0**63, "a difference of two such sums must fit 64 bits"


def test_units_are_powers_of_two_and_zeros_have_one() -> None:
    fixed = both(np.zeros(5, np.float32), np.ones(5, np.float32))
    assert fixed.unit_gradient == 1
    assert math.frexp(fixed.unit_hessian)[0] == 0.5
    assert (fixed.pairs_N2[:, 1] * fixed.unit_hessian == 1).all()


@pytest.mark.parametrize("make", [to_fixed_point, rows_numba.to_fixed_point])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(make, bad: float) -> None:
    values = np.array([1.0, bad, 2.0], np.float32)
    with pytest.raises(ValueError, match="gradients must be finite"):
        make(values, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="hessians must be finite"):
        make(np.ones(3, np.float32), values)


def test_shapes_are_checked() -> None:
    for gradients, hessians in ((np.ones(2), np.ones(3)), (np.ones(0), np.ones(0)), (np.ones((2, 1)), np.ones((2, 1)))):
        with pytest.raises(ValueError, match="two vectors"):
            to_fixed_point(gradients, hessians)
