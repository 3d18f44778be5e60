"""The best division of a feature's categories in a compiled loop: what ``categorical`` says, to the byte.

Shapes: B bins, C categories that take part, sorted.
"""

# What a compiled function's arguments are, numba says and not Python.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

from typing import NamedTuple

import numpy as np
from numba import njit

from kb.gbdt.growing.histogram_numba import FLAGS
from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import EPSILON, NO_SPLIT, Split, Sums
from kb.gbdt.growing.splitting_numba import rules_of, worth


class CategoryRules(NamedTuple):
    """What the search must know besides ``Rules``."""

    cat_smooth: float
    cat_l2: float
    max_cat_threshold: int
    max_cat_to_onehot: int
    min_data_per_group: int


class Divisions:
    """:func:`kb.gbdt.growing.categorical.best_categories`, compiled.

    Args:
        parameters: The rules.
    """

    def __init__(self, parameters: TreeParameters) -> None:
        self.rules = rules_of(parameters)
        self.categories = CategoryRules(
            float(parameters.cat_smooth),
            float(parameters.cat_l2),
            parameters.max_cat_threshold,
            parameters.max_cat_to_onehot,
            parameters.min_data_per_group,
        )

    def best(self, histogram_B2: np.ndarray, feature: int, sums: Sums) -> Split | None:
        """The best split by the categories of a feature; None where none is allowed or gains anything."""
        rules, categories = self.rules, self.categories
        if len(histogram_B2) <= categories.max_cat_to_onehot:
            gain, gradient, hessian, bin_ = _best_alone(histogram_B2, sums, rules)
            group: tuple[int, ...] = (bin_,)
            l2 = rules.reg_lambda
        else:
            ordered_B = np.empty(len(histogram_B2), np.int64)
            gain, gradient, hessian, first, stop = _best_cut(histogram_B2, sums, rules, categories, ordered_B)
            taken = ordered_B[first:stop] if first <= stop else ordered_B[stop:first][::-1]
            group, l2 = tuple(taken.tolist()), rules.reg_lambda + categories.cat_l2
        return None if gain == NO_SPLIT else Split(gain, feature, 0, False, gradient, hessian, group, l2)


@njit(**FLAGS)
def _gain(gradient, hessian, sums, l1, l2):
    left = worth(gradient * sums.unit_gradient, hessian * sums.unit_hessian + EPSILON, l1, l2)
    right_g = (sums.gradient - gradient) * sums.unit_gradient
    right_h = (sums.hessian - hessian) * sums.unit_hessian + EPSILON
    return left + worth(right_g, right_h, l1, l2)


@njit(**FLAGS)
def _rows(hessian, sums, factor):
    return np.int64(np.floor(hessian * sums.unit_hessian * factor + 0.5))


@njit(**FLAGS)
def _best_alone(histogram_B2, sums, rules):
    """The category that gains most by being split off: the gain, its sums, and its bin."""
    total = sums.hessian * sums.unit_hessian + 2 * EPSILON
    factor = sums.rows / total
    l1, l2 = rules.reg_alpha, rules.reg_lambda
    needed = worth(sums.gradient * sums.unit_gradient, total, l1, l2) + rules.min_split_gain
    best, best_bin = NO_SPLIT, 0
    for bin_ in range(1, len(histogram_B2)):
        gradient, hessian = histogram_B2[bin_, 0], histogram_B2[bin_, 1]
        rows, weight = _rows(hessian, sums, factor), hessian * sums.unit_hessian
        if min(rows, sums.rows - rows) < rules.min_child_samples:
            continue
        if min(weight, total - weight - EPSILON) < rules.min_child_weight:
            continue
        gain = _gain(gradient, hessian, sums, l1, l2) - needed
        if gain > 0 and gain > best:
            best, best_bin = gain, bin_
    return best, histogram_B2[best_bin, 0], histogram_B2[best_bin, 1], best_bin


@njit(**FLAGS)
def _best_cut(histogram_B2, sums, rules, categories, ordered_B):
    """The best cut of the sorted categories: the gain, the sums on the left, and which of ordered_B these are.

    They lie from one place to a later one, or where the second is the earlier one, from the first down to it.
    """
    total = sums.hessian * sums.unit_hessian + 2 * EPSILON
    factor = sums.rows / total
    l1, l2 = rules.reg_alpha, rules.reg_lambda + categories.cat_l2
    needed = worth(sums.gradient * sums.unit_gradient, total, l1, rules.reg_lambda) + rules.min_split_gain
    C = _sorted(histogram_B2, sums, factor, categories.cat_smooth, ordered_B)
    most = min(categories.max_cat_threshold, (C + 1) // 2)
    least_others = max(rules.min_child_samples, categories.min_data_per_group)
    best, best_g, best_h, best_first, best_stop = NO_SPLIT, np.int64(0), np.int64(0), 0, 0
    for end in range(2):
        rows, since_cut, weight = np.int64(0), np.int64(0), EPSILON
        gradient, hessian = np.int64(0), np.int64(0)
        for place in range(most):
            bin_ = ordered_B[place if end == 0 else C - 1 - place]
            gradient += histogram_B2[bin_, 0]
            hessian += histogram_B2[bin_, 1]
            here = _rows(histogram_B2[bin_, 1], sums, factor)
            rows += here
            since_cut += here
            weight += histogram_B2[bin_, 1] * sums.unit_hessian
            if rows < rules.min_child_samples or weight < rules.min_child_weight:
                continue
            if sums.rows - rows < least_others or total - weight < rules.min_child_weight:
                break
            if since_cut < categories.min_data_per_group:
                continue
            since_cut = np.int64(0)
            gain = _gain(gradient, hessian, sums, l1, l2) - needed
            if gain > 0 and gain > best:
                best, best_g, best_h = gain, gradient, hessian
                best_first, best_stop = (0, place + 1) if end == 0 else (C, C - 1 - place)
    return best, best_g, best_h, best_first, best_stop


@njit(**FLAGS)
def _sorted(histogram_B2, sums, factor, cat_smooth, ordered_B):
    """Put the categories that have rows enough into ordered_B, by what each would say; returns how many."""
    C = 0
    for bin_ in range(1, len(histogram_B2)):
        if _rows(histogram_B2[bin_, 1], sums, factor) >= cat_smooth:
            ordered_B[C] = bin_
            C += 1
    says_C = np.empty(C)
    for place in range(C):
        bin_ = ordered_B[place]
        hessian = histogram_B2[bin_, 1] * sums.unit_hessian
        says_C[place] = histogram_B2[bin_, 0] * sums.unit_gradient / (hessian + cat_smooth)
    ordered_B[:C] = ordered_B[:C][np.argsort(says_C, kind="mergesort")]
    return C
