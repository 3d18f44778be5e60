"""The best split of a leaf by a feature without an order.

With few categories one of them is split off. With many, they are sorted by what each would say, its gradients over its
second derivatives, and cut like numbers are: for a fixed objective the best division in two is among these cuts. Rare
categories would come first and last by chance, so a category must have some rows, and cuts are taken from either end
with few categories on the smaller side. Bin 0, of all other categories and of missing values, never goes left.

Sources: Fisher 1958, On Grouping for Maximum Homogeneity; LightGBM's documentation of ``cat_smooth``, ``cat_l2``,
``max_cat_threshold``, ``max_cat_to_onehot`` and ``min_data_per_group``.
Shapes: B bins.
"""

import numpy as np

from kb.gbdt.growing.parameters import TreeParameters
from kb.gbdt.growing.splitting import EPSILON, Split, Sums, worth


def best_categories(histogram_B2: np.ndarray, feature: int, sums: Sums, parameters: TreeParameters) -> Split | None:
    """The best split by the categories of a feature; None where none is allowed or gains anything.

    Args:
        histogram_B2: int64 sums of the feature's bins.
        feature: Its number, for the result.
        sums: Of the leaf.
        parameters: The rules.
    """
    hessian_B = histogram_B2[:, 1] * sums.unit_hessian
    total = sums.hessian * sums.unit_hessian + 2 * EPSILON
    rows_B = np.floor(hessian_B * (sums.rows / total) + 0.5).astype(np.int64)
    l1, l2 = parameters.reg_alpha, parameters.reg_lambda
    needed = float(worth(sums.gradient * sums.unit_gradient, total, l1, l2)) + parameters.min_split_gain
    if len(histogram_B2) <= parameters.max_cat_to_onehot:
        groups: list[tuple[int, ...]] = [(bin_,) for bin_ in range(1, len(histogram_B2))]
        fits = [_fits(rows_B[bin_], hessian_B[bin_], total, sums, parameters) for bin_ in range(1, len(rows_B))]
        candidates = [group for group, fit in zip(groups, fits, strict=True) if fit]
    else:
        l2 += parameters.cat_l2
        candidates = _cuts(histogram_B2, rows_B, hessian_B, total, sums, parameters)
    best: Split | None = None
    for group in candidates:
        gradient, hessian = histogram_B2[list(group)].sum(axis=0).tolist()
        gain = _gain(gradient, hessian, sums, l1, l2) - needed
        if gain > 0 and (best is None or gain > best.gain):
            best = Split(gain, feature, 0, False, gradient, hessian, group, l2)
    return best


def _cuts(
    histogram_B2: np.ndarray,
    rows_B: np.ndarray,
    hessian_B: np.ndarray,
    total: float,
    sums: Sums,
    parameters: TreeParameters,
) -> list[tuple[int, ...]]:
    """The groups that a cut of the sorted categories may send left, from the low end and from the high one."""
    used = np.flatnonzero(rows_B[1:] >= parameters.cat_smooth) + 1
    with np.errstate(invalid="ignore"):  # an empty category without smoothing says 0 / 0, and is sorted last
        says = histogram_B2[used, 0] * sums.unit_gradient / (hessian_B[used] + parameters.cat_smooth)
    ordered = used[np.argsort(says, kind="stable")].tolist()
    most = min(parameters.max_cat_threshold, (len(ordered) + 1) // 2)
    groups = []
    for end in (ordered, ordered[::-1]):
        rows = since_cut = 0
        hessian = EPSILON
        for place, bin_ in enumerate(end[:most]):
            rows += int(rows_B[bin_])
            since_cut += int(rows_B[bin_])
            hessian += float(hessian_B[bin_])
            if rows < parameters.min_child_samples or hessian < parameters.min_child_weight:
                continue
            others = sums.rows - rows
            if others < max(parameters.min_child_samples, parameters.min_data_per_group):
                break
            if total - hessian < parameters.min_child_weight:
                break
            if since_cut >= parameters.min_data_per_group:
                since_cut = 0
                groups.append(tuple(end[: place + 1]))
    return groups


def _fits(rows: int, hessian: float, total: float, sums: Sums, parameters: TreeParameters) -> bool:
    """Whether both sides have the rows and the second derivatives that a leaf must have."""
    enough = min(rows, sums.rows - rows) >= parameters.min_child_samples
    return enough and min(hessian, total - hessian - EPSILON) >= parameters.min_child_weight


def _gain(gradient: int, hessian: int, sums: Sums, l1: float, l2: float) -> float:
    left = worth(gradient * sums.unit_gradient, hessian * sums.unit_hessian + EPSILON, l1, l2)
    right = worth(
        (sums.gradient - gradient) * sums.unit_gradient,
        (sums.hessian - hessian) * sums.unit_hessian + EPSILON,
        l1,
        l2,
    )
    return float(left + right)
