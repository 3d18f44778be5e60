"""Splits on both cores: what ``splitting`` says, feature by feature in compiled loops.

The search does the same floating-point operations in the same order as ``splitting``, and no others, so that both give
the same bytes; the compiler is not allowed to reorder or to contract them.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import EPSILON, NO_SPLIT, Shape, Sums


class Rules(NamedTuple):
    """What the search must know of :class:`kb.gbdt.growing.parameters.TreeParameters`."""

    min_child_samples: int
    min_child_weight: float
    min_split_gain: float
    reg_alpha: float
    reg_lambda: float


def rules_of(parameters: TreeParameters) -> Rules:
    """The rules that compiled loops read."""
    return Rules(
        parameters.min_child_samples,
        float(parameters.min_child_weight),
        float(parameters.min_split_gain),
        float(parameters.reg_alpha),
        float(parameters.reg_lambda),
    )


class Search:
    """:func:`kb.gbdt.growing.splitting.best_thresholds`, compiled.

    Args:
        shape: Of the features.
        parameters: The rules.
    """

    def __init__(self, shape: Shape, parameters: TreeParameters) -> None:
        self.shape, self.constrained = shape, bool(shape.monotone_F.any())
        self.rules = rules_of(parameters)
        F = len(shape.bins_F)
        self.found_F4, self.gain_F = np.zeros((F, 4), np.int64), np.zeros(F)

    def thresholds(
        self, histogram_FB2: np.ndarray, sums: Sums
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The best threshold of each feature; all but the gains are overwritten by the next search."""
        found_F4 = self.found_F4
        search(histogram_FB2, *self.shape, self.constrained, sums, self.rules, found_F4, self.gain_F)
        return self.gain_F.copy(), found_F4[:, 0], found_F4[:, 1], found_F4[:, 2:]


@njit(**FLAGS)
def worth(gradient, hessian, l1, l2):
    """What a leaf with such sums is worth."""
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
        gain = worth(g_left, h_left, l1, l2) + worth(g_right, h_right, l1, l2)
    gain -= needed
    return gain if gain > 0 else NO_SPLIT


@njit(**FLAGS)
def _scan(sums_B2, first, stop, step, factor, sums, rules, monotone, constrained, needed):
    """The best cut on a way through the bins: its gain, the last bin on the left, and the sums on the left.

    Upwards what was passed is the left side, downwards the right one; of equal cuts the first counts.
    """
    best, threshold, best_g, best_h = NO_SPLIT, np.int64(0), np.int64(0), np.int64(0)
    passed_g, passed_h, rows = np.int64(0), np.int64(0), np.int64(0)
    for bin_ in range(first, stop, step):
        passed_g += sums_B2[bin_, 0]
        passed_h += sums_B2[bin_, 1]
        rows += np.int64(np.floor(sums_B2[bin_, 1] * sums.unit_hessian * factor + 0.5))
        if rows < rules.min_child_samples:
            continue
        if sums.rows - rows < rules.min_child_samples:
            break
        left_g = passed_g if step > 0 else sums.gradient - passed_g
        left_h = passed_h if step > 0 else sums.hessian - passed_h
        gain = _gain(left_g, left_h, sums, rules, monotone, constrained, needed)
        if gain > best:
            best, threshold, best_g, best_h = gain, np.int64(bin_ if step > 0 else bin_ - 1), left_g, left_h
    return best, threshold, best_g, best_h


@njit(parallel=True, **FLAGS)
def search(histogram_FB2, bins_F, missing_F, monotone_F, constrained, sums, rules, found_F4, gain_F):
    """The best threshold of each feature: found_F4 has it, whether missing goes left, and the sums on the left."""
    hessian = sums.hessian * sums.unit_hessian + 2 * EPSILON
    factor = sums.rows / hessian
    needed = worth(sums.gradient * sums.unit_gradient, hessian, rules.reg_alpha, rules.reg_lambda)
    needed += rules.min_split_gain
    for feature in prange(len(bins_F)):
        sums_B2, monotone = histogram_FB2[feature], monotone_F[feature]
        apart = missing_F[feature] and bins_F[feature] > 2
        last = bins_F[feature] - 1 - apart
        down = _scan(sums_B2, last, 0, -1, factor, sums, rules, monotone, constrained, needed)
        found, missing_left = down, apart or not missing_F[feature]
        if apart:
            up = _scan(sums_B2, 0, last + 1, 1, factor, sums, rules, monotone, constrained, needed)
            if up[0] > down[0]:
                found, missing_left = up, False
        gain_F[feature] = found[0]
        found_F4[feature, 0], found_F4[feature, 1] = found[1], missing_left
        found_F4[feature, 2], found_F4[feature, 3] = found[2], found[3]
