"""Histograms of gradients: for each feature and bin, the sums over the rows of a leaf.

A split between two bins needs only these sums, so a leaf's rows are read once, and not once for each threshold. The
sums are integers (see ``fixed_point``). Here are the loop that says what is meant, and a version in NumPy; the fast one
is in ``histogram_numba``.

Source: Ke et al. 2017, LightGBM, algorithm 1.
Shapes: N rows, R rows of the leaf, F features, B bins of the feature that has most.
"""

from collections.abc import Sequence

import numpy as np


def histogram_loop(
    bins_NF: Sequence[Sequence[int]], pairs_N2: Sequence[Sequence[int]], rows_R: Sequence[int], B: int
) -> list[list[list[int]]]:
    """The sums of a leaf as nested lists [F, B, 2], in Python's integers."""
    histogram = [[[0, 0] for _ in range(B)] for _ in bins_NF[0]]
    for row in rows_R:
        gradient, hessian = pairs_N2[row]
        for feature, bin_ in enumerate(bins_NF[row]):
            histogram[feature][bin_][0] += gradient
            histogram[feature][bin_][1] += hessian
    return histogram


def histogram(columns_FN: np.ndarray, pairs_N2: np.ndarray, rows_R: np.ndarray, B: int) -> np.ndarray:
    """The sums of a leaf, int64 [F, B, 2].

    Args:
        columns_FN: Bins by feature, unsigned integers below B.
        pairs_N2: int64, gradient and second derivative of each row.
        rows_R: Which rows are in the leaf.
        B: The most bins.
    """
    F = len(columns_FN)
    sums_FB2, pairs_R2 = np.zeros((F, B, 2), np.int64), pairs_N2[rows_R]
    for feature in range(F):
        np.add.at(sums_FB2[feature], columns_FN[feature, rows_R], pairs_R2)
    return sums_FB2
