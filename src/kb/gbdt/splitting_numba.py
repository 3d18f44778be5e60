"""Splits on both cores: what ``splitting`` says, feature by feature in compiled loops.

The search does the same floating-point operations in the same order as ``splitting``, and no others, so that both give
the same bytes; the compiler is not allowed to reorder or to contract them.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from kb.gbdt.histogram_numba import FLAGS
from kb.gbdt.splitting import EPSILON, NO_SPLIT


class Rules(NamedTuple):
    """What the search must know of :class:`kb.gbdt.parameters.TreeParameters`."""

    min_child_samples: int
    min_child_weight: float
    min_split_gain: float
    reg_alpha: float
    reg_lambda: float


@njit(**FLAGS)
def _worth(gradient, hessian, l1, l2):
    reduced = max(abs(gradient) - l1, 0.0)
    return reduced * reduced / (hessian + l2)


@njit(**FLAGS)
def _value(gradient, hessian, l1, l2, low, high):
    value = -np.sign(gradient) * max(abs(gradient) - l1, 0.0) / (hessian + l2)
    return min(max(value, low), high)


@njit(**FLAGS)
def _worth_at(gradient, hessian, l1, l2, value):
    reduced = np.sign(gradient) * max(abs(gradient) - l1, 0.0)
    return -(2.0 * reduced * value + (hessian + l2) * value * value)


@njit(**FLAGS)
def _gain(left_g, left_h, sums, rules, monotone, constrained, needed):
    """What a cut gains; NO_SPLIT where it breaks a rule on second derivatives, a constraint, or gains too little."""
    l1, l2 = rules.reg_alpha, rules.reg_lambda
    g_left, h_left = left_g * sums.unit_gradient, left_h * sums.unit_hessian + EPSILON
    g_right = (sums.gradient - left_g) * sums.unit_gradient
    h_right = (sums.hessian - left_h) * sums.unit_hessian + EPSILON
    if min(h_left, h_right) < rules.min_child_weight:
        return NO_SPLIT
    if constrained:
        left = _value(g_left, h_left, l1, l2, sums.low, sums.high)
        right = _value(g_right, h_right, l1, l2, sums.low, sums.high)
        if monotone * (right - left) < 0:
            return NO_SPLIT
        gain = _worth_at(g_left, h_left, l1, l2, left) + _worth_at(g_right, h_right, l1, l2, right)
    else:
        gain = _worth(g_left, h_left, l1, l2) + _worth(g_right, h_right, l1, l2)
    gain -= needed
    return gain if gain > 0 else NO_SPLIT


@njit(parallel=True, **FLAGS)
def search(histogram_FB2, bins_F, missing_F, monotone_F, constrained, sums, rules, found_F4, gain_F):
    """The best threshold of each feature: found_F4 has it, whether missing goes left, and the sums on the left."""
    hessian = sums.hessian * sums.unit_hessian + 2 * EPSILON
    factor = sums.rows / hessian
    needed = _worth(sums.gradient * sums.unit_gradient, hessian, rules.reg_alpha, rules.reg_lambda)
    needed += rules.min_split_gain
    for feature in prange(len(bins_F)):
        sums_B2 = histogram_FB2[feature]
        apart = missing_F[feature] and bins_F[feature] > 2
        last = bins_F[feature] - 1 - apart
        best = NO_SPLIT
        right_g, right_h, right_rows = np.int64(0), np.int64(0), np.int64(0)
        for bin_ in range(last, 0, -1):
            right_g += sums_B2[bin_, 0]
            right_h += sums_B2[bin_, 1]
            right_rows += np.int64(np.floor(sums_B2[bin_, 1] * sums.unit_hessian * factor + 0.5))
            if right_rows < rules.min_child_samples:
                continue
            if sums.rows - right_rows < rules.min_child_samples:
                break
            left_g, left_h = sums.gradient - right_g, sums.hessian - right_h
            gain = _gain(left_g, left_h, sums, rules, monotone_F[feature], constrained, needed)
            if gain > best:
                best = gain
                found_F4[feature, 0], found_F4[feature, 1] = bin_ - 1, apart or not missing_F[feature]
                found_F4[feature, 2], found_F4[feature, 3] = left_g, left_h
        if apart:
            left_g, left_h, left_rows = np.int64(0), np.int64(0), np.int64(0)
            for bin_ in range(last + 1):
                left_g += sums_B2[bin_, 0]
                left_h += sums_B2[bin_, 1]
                left_rows += np.int64(np.floor(sums_B2[bin_, 1] * sums.unit_hessian * factor + 0.5))
                if left_rows < rules.min_child_samples:
                    continue
                if sums.rows - left_rows < rules.min_child_samples:
                    break
                gain = _gain(left_g, left_h, sums, rules, monotone_F[feature], constrained, needed)
                if gain > best:
                    best = gain
                    found_F4[feature, 0], found_F4[feature, 1] = bin_, 0
                    found_F4[feature, 2], found_F4[feature, 3] = left_g, left_h
        gain_F[feature] = best
