"""Gradients as integers, so that their sums do not depend on the order in which they are added.

Floating-point addition rounds, so a histogram that is filled by two threads, by a GPU or from shuffled rows differs in
its last digits, and where two splits are nearly equal a different tree grows. Sums of 64-bit integers are exact. Each
round has its own scale, a power of two, chosen such that no sum over all rows can overflow; multiplying by it is exact,
and what is rounded away is below the last digit of the largest gradient by some twenty binary places.

Source: Shi et al. 2022, Quantized Training of Gradient Boosting Decision Trees, for integer histograms (there with few
bits, for speed).
Shapes: N rows.
"""

# Fields end in their shapes.
# ruff: noqa: N815

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

BITS = 62  # of a sum, besides its sign; one is left free, so that two such sums can be subtracted


class FixedPoint(NamedTuple):
    """Gradients and second derivatives of a round, as integers.

    Attributes:
        pairs_N2: int64, gradient and second derivative of each row, side by side as the histogram reads them; an array
            of the engine's kind, which may lie on another device.
        unit_gradient: What 1 stands for in the first column, a power of two.
        unit_hessian: The same for the second column.
    """

    pairs_N2: Any
    unit_gradient: float
    unit_hessian: float


def to_fixed_point(gradients_N: np.ndarray, hessians_N: np.ndarray) -> FixedPoint:
    """Write gradients and second derivatives as integers.

    Args:
        gradients_N: Finite numbers.
        hessians_N: Finite numbers.

    Raises:
        ValueError: shapes differ, there are no rows, or a number is not finite.
    """
    if gradients_N.ndim != 1 or gradients_N.shape != hessians_N.shape or not len(gradients_N):
        raise ValueError(f"two vectors of one length are wanted, got {gradients_N.shape} and {hessians_N.shape}")
    columns = gradients_N, hessians_N
    exponents = scale_exponents([float(np.max(np.abs(values_N))) for values_N in columns], len(gradients_N))
    pairs_N2 = np.empty((len(gradients_N), 2), np.int64)
    for column, values_N in enumerate(columns):
        scaled_N = np.ldexp(values_N.astype(np.float64), exponents[column])
        np.rint(scaled_N, out=pairs_N2[:, column], casting="unsafe")
    return FixedPoint(pairs_N2, *(math.ldexp(1.0, -exponent) for exponent in exponents))


def scale_exponents(largest: Sequence[float], rows: int) -> list[int]:
    """Those of gradients and of second derivatives, by the largest size of each.

    Raises:
        ValueError: one is not finite.
    """
    for name, value in zip(("gradients", "hessians"), largest, strict=True):
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, the largest is {value}")
    return [scale_exponent(value, rows) for value in largest]


def scale_exponent(largest: float, rows: int) -> int:
    """The largest k for which the sum of ``rows`` numbers up to ``largest`` times 2^k stays below 2^BITS."""
    if largest == 0:
        return 0
    return BITS - math.frexp(largest)[1] - math.frexp(rows)[1]
