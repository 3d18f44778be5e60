"""The checks that functions share: what passes, what does not, and what the error says."""

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from kb.arguments import is_integer, is_number, require_count, require_positive


@pytest.mark.parametrize(
    ("value", "integer", "number"),
    [(3, True, True), (-1, True, True), (2.0, False, True), (True, False, False), ("3", False, False)]
    + [(value, False, False) for value in (math.nan, math.inf, None, [1], 1j, Fraction(1, 2), Decimal(2))]
    + [(kind(3), True, True) for kind in (np.int8, np.uint16, np.int64, np.uint64)]
    + [(kind(0.5), False, True) for kind in (np.float16, np.float32, np.float64, np.longdouble)]
    + [(np.float32(value), False, False) for value in (math.nan, math.inf)]
    + [(value, False, False) for value in (np.bool_(True), np.array(3), np.array([3]), np.complex64(1))]
    + [(torch.tensor(3), False, False), (torch.tensor(0.5), False, False), (10**400, True, False)],
)
def test_kinds(value: Any, integer: bool, number: bool) -> None:
    assert (is_integer(value), is_number(value)) == (integer, number)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None, math.nan, Fraction(2)])
def test_what_is_no_count_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"layers must be an integer of at least 1, got {value!r}")):
        require_count("layers", value)


def test_counts_pass() -> None:
    require_count("layers", np.uint8(1))
    require_count("layers", np.int64(3), least=3)
    require_count("layers", 1)
    require_count("latent", 0, least=0)


@pytest.mark.parametrize("value", [0, -0.5, True, "2", None, math.nan, math.inf, 10**400])
def test_what_is_not_above_0_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match="scale must be a number above 0, got "):
        require_positive("scale", value)


def test_numbers_above_0_pass() -> None:
    require_positive("scale", 1e-300)
    require_positive("scale", 3)
