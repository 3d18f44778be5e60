"""What is done with each row, on both cores: dividing a leaf, adding a tree to the scores, rounding derivatives.

Which way a row goes is as good as random, so a branch would be mispredicted every other time: each row is written to
both sides, and only the place of one of them moves on.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import math

import numba
import numpy as np
from numba import njit, prange

from kb.gbdt.binning.bins import aligned
from kb.gbdt.growing.fixed_point import FixedPoint, scale_exponents
from kb.gbdt.growing.histogram_numba import FLAGS


def use_threads(count: int) -> None:
    """Let the next loops run in so many threads, or as many as numba has."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def to_fixed_point(gradients_N: np.ndarray, hessians_N: np.ndarray) -> FixedPoint:
    """What :func:`kb.gbdt.growing.fixed_point.to_fixed_point` does."""
    largest = _largest(gradients_N, hessians_N)
    exponents = scale_exponents(largest, len(gradients_N))
    pairs_N2 = aligned((len(gradients_N), 2), np.int64)
    _scale(gradients_N, hessians_N, *(math.ldexp(1.0, exponent) for exponent in exponents), pairs_N2)
    return FixedPoint(pairs_N2, *(math.ldexp(1.0, -exponent) for exponent in exponents))


@njit(parallel=True, **FLAGS)
def _largest(gradients_N, hessians_N):
    """The largest size of each; infinite where one is not a number."""
    largest_g, largest_h = 0.0, 0.0
    for row in prange(len(gradients_N)):
        g, h = abs(np.float64(gradients_N[row])), abs(np.float64(hessians_N[row]))
        largest_g = max(largest_g, g if g == g else np.inf)
        largest_h = max(largest_h, h if h == h else np.inf)
    return largest_g, largest_h


@njit(parallel=True, **FLAGS)
def _scale(gradients_N, hessians_N, factor_g, factor_h, pairs_N2):
    for row in prange(len(gradients_N)):
        pairs_N2[row, 0] = np.int64(np.rint(gradients_N[row] * factor_g))
        pairs_N2[row, 1] = np.int64(np.rint(hessians_N[row] * factor_h))


@njit(parallel=True, **FLAGS)
def add(scores_N, order_R, values_L, stops_L, threads):
    """Add the value of each leaf to the scores of its rows; leaves are in the order of their places."""
    R = len(order_R)
    for thread in prange(threads):
        first, last = R * thread // threads, R * (thread + 1) // threads
        leaf = np.searchsorted(stops_L, first, side="right")
        for place in range(first, last):
            while place >= stops_L[leaf]:
                leaf += 1
            scores_N[order_R[place]] += values_L[leaf]


@njit(parallel=True, **FLAGS)
def add_to_all(scores_N, rows_NP, feature_K, left_K, right_K, left_KB, values_L):
    """Send each row down a tree by its bins, and add the value of its leaf to its score."""
    for row in prange(len(scores_N)):
        node = np.int64(0 if len(feature_K) else -1)
        while node >= 0:
            goes_left = left_KB[node, rows_NP[row, feature_K[node]]]
            node = np.int64(left_K[node] if goes_left else right_K[node])
        scores_N[row] += values_L[-1 - node]


@njit(parallel=True, **FLAGS)
def divide(column_N, order_N, spare_N, start, stop, goes_left_B, counts_V):
    """Put the rows of order_N[start:stop] that go left first; returns how many these are."""
    V, R = len(counts_V), stop - start
    for thread in prange(V):
        first, last = start + R * thread // V, start + R * (thread + 1) // V
        left, right = first, first
        for place in range(first, last):
            row = order_N[place]
            goes = np.int64(goes_left_B[column_N[row]])
            order_N[left] = row  # never beyond what has been read
            spare_N[right] = row
            left += goes
            right += 1 - goes
        counts_V[thread] = left - first
    total = counts_V.sum()
    # The left parts move up to each other, in turn, as they may overlap; the right parts come after them.
    target = start + counts_V[0]
    for thread in range(1, V):
        first = start + R * thread // V
        for place in range(counts_V[thread]):
            order_N[target + place] = order_N[first + place]
        target += counts_V[thread]
    for thread in prange(V):
        first, last = start + R * thread // V, start + R * (thread + 1) // V
        rights = (last - first) - counts_V[thread]
        before = (first - start) - counts_V[:thread].sum()
        order_N[start + total + before : start + total + before + rights] = spare_N[first : first + rights]
    return total
