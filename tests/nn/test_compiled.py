"""The exponential that compiles to vectors, against numpy's."""

import numpy as np
import pytest

pytest.importorskip("numba")

from kb.nn.compiled import exp2


def test_powers_of_two_are_exact_and_others_within_round_off() -> None:
    for whole in (-126, -10, -1, 0, 1, 7, 127):
        assert exp2(np.float32(whole)) == 2.0**whole
    for x in np.linspace(-125.9, 127.4, 4001).astype(np.float32):
        assert abs(exp2(x) / np.exp2(np.float64(x)) - 1) < 4e-7


def test_what_is_far_below_is_nearly_nothing_and_nan_stays_nan() -> None:
    for x in (-127.0, -1e4, -1e30, -np.inf):
        assert 0 <= exp2(np.float32(x)) <= 2.0**-126
    assert np.isnan(exp2(np.float32(np.nan)))
