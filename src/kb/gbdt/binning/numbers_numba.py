"""Putting numbers in bins on both cores: what ``Numbers.to_bins`` says, in one pass over the table.

A binary search without branches: with 256 bounds, padded by infinity, eight comparisons decide.

Shapes: N rows, F features, P features with padding, B bounds, a power of two.
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
    B = bounds_FB.shape[1]
    for block in prange((N + _BLOCK - 1) // _BLOCK):
        last = min((block + 1) * _BLOCK, N)
        for feature in range(F):
            if is_number_F[feature]:
                bounds_B, missing = bounds_FB[feature], missing_bin_F[feature]
                for row in range(block * _BLOCK, last):
                    value = np.float64(values_NF[row, feature])
                    is_missing = value != value
                    value = 0.0 if is_missing else value
                    place, step = 0, B // 2
                    while step:
                        place += step * np.int64(bounds_B[place + step - 1] < value)
                        step //= 2
                    columns_FN[feature, row] = missing if is_missing and missing >= 0 else place
            for row in range(block * _BLOCK, last):
                rows_NP[row, feature] = columns_FN[feature, row]
