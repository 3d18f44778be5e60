"""The exponential of ``exponential``, compiled: the same operations, so the same bytes."""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import numpy as np
from numba import njit, prange

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.losses.exponential import (
    C2,
    C3,
    C4,
    C5,
    HIGHEST,
    LEADS_J,
    LOWEST,
    PER_STEP,
    ROUNDER,
    STEP_LEAD,
    STEP_TRAIL,
    STEPS,
    TRAILS_J,
)


@njit(inline="always", **FLAGS)
def exp(x, leads_J, trails_J):
    """Of one number, with the table at hand."""
    x = LOWEST if x < LOWEST else HIGHEST if x > HIGHEST else x
    shifted = x * PER_STEP + ROUNDER
    places = np.float64(shifted).view(np.int64)
    count = shifted - ROUNDER
    r = (x - count * STEP_LEAD) - count * STEP_TRAIL
    p = r + (r * r) * (C2 + r * (C3 + r * (C4 + r * C5)))
    j = places & (STEPS - 1)
    value = leads_J[j] + (trails_J[j] + leads_J[j] * p)
    m = (places << 13) >> 20
    first = m >> 1
    return value * _power(first) * _power(m - first)


@njit(inline="always", **FLAGS)
def _power(exponent):
    return np.int64((exponent + 1023) << 52).view(np.float64)


@njit(parallel=True, **FLAGS)
def fill(values_N, found_N):
    """The exponential of each number."""
    for row in prange(len(values_N)):
        found_N[row] = exp(values_N[row], LEADS_J, TRAILS_J)
