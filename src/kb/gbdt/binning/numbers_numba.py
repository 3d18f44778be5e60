"""Putting numbers in bins on both cores: what ``Numbers.to_bins`` says, in one pass over the table.

A binary search without branches: with 256 bounds, padded by infinity, eight comparisons decide. A single search waits
for each of them; so all rows of a block take one step before any takes the next, and the processor has many in flight.

Shapes: N rows, F features, P features with padding, B bounds, a power of two, R rows of a block.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import numpy as np
from numba import njit, prange

from kb.gbdt.growing.histogram_numba import FLAGS

_BLOCK = 512  # rows


@njit(parallel=True, **FLAGS)
def fill(values_NF, bounds_FB, missing_bin_F, is_number_F, columns_FN, rows_NP):
    """Write the bins of all features with an order, in both layouts; a missing bin of -1 counts NaN as 0."""
    N, F = values_NF.shape
    for block in prange((N + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min((block + 1) * _BLOCK, N)
        value_R, place_R = np.empty(stop - start, np.float64), np.empty(stop - start, np.int32)
        for feature in range(F):
            if is_number_F[feature]:
                for place in range(stop - start):
                    value_R[place] = values_NF[start + place, feature]
                _search(value_R, bounds_FB[feature], missing_bin_F[feature], place_R)
                columns_FN[feature, start:stop] = place_R
            for row in range(start, stop):
                rows_NP[row, feature] = columns_FN[feature, row]


@njit(**FLAGS)
def _search(value_R, bounds_B, missing_bin, place_R):
    """Write the bin of each value."""
    place_R[:] = 0
    step = len(bounds_B) // 2
    while step:
        for row in range(len(value_R)):
            value = value_R[row]
            bound = bounds_B[place_R[row] + step - 1]
            place_R[row] += np.int32(step) * np.int32(bound < (0.0 if value != value else value))
        step //= 2
    if missing_bin >= 0:
        for row in range(len(value_R)):
            if value_R[row] != value_R[row]:
                place_R[row] = missing_bin
