"""The best split of a leaf from its histograms, for features with an order: the rule, feature by feature.

With G and H the sums of gradients and second derivatives on a side, a leaf is worth G² / (H + λ), and a split gains
what its two sides are worth beyond the whole. Rows whose value is missing stand in a bin of their own, the last, and
are tried on both sides. Where gains are equal, LightGBM's order decides: higher thresholds with missing values on the
left come first, then lower ones with missing values on the right.

Sources: Chen and Guestrin 2016, XGBoost, equations 6 and 7; LightGBM's documentation of ``min_data_in_leaf`` (rows of a
bin are inferred from its second derivatives).
Shapes: F features, B bins, T thresholds.
"""

# Fields end in their shapes.
# ruff: noqa: N815

from typing import Any, NamedTuple

import numpy as np

from kb.gbdt.growing.parameters import TreeParameters

NO_SPLIT = -np.inf
EPSILON = 1e-15  # beside sums of second derivatives, so that an empty side divides by no zero


class Split(NamedTuple):
    """How a leaf is divided.

    Attributes:
        gain: Beyond what a split must gain; NO_SPLIT where there is none.
        feature: Which feature.
        threshold: Rows of bins up to this one go left.
        missing_left: Whether rows whose value is missing go left.
        gradient, hessian: The sums on the left, in fixed point.
        categories: Of a split by category, the bins that go left; else empty.
        l2: The L2 penalty under which the sides' values are taken.
    """

    gain: float
    feature: int
    threshold: int
    missing_left: bool
    gradient: int
    hessian: int
    categories: tuple[int, ...] = ()
    l2: float = 0.0


class Sums(NamedTuple):
    """What is known of a leaf as a whole.

    Attributes:
        gradient, hessian: Its sums, in fixed point.
        rows: How many rows it has.
        unit_gradient, unit_hessian: What 1 stands for.
        low, high: Between which its values must lie, for monotone constraints.
    """

    gradient: int
    hessian: int
    rows: int
    unit_gradient: float
    unit_hessian: float
    low: float = -np.inf
    high: float = np.inf


class Shape(NamedTuple):
    """What the search must know of the features.

    Attributes:
        bins_F: How many bins each has, that of missing values included.
        missing_F: Whether the last bin holds missing values.
        monotone_F: 1 where the prediction must not fall as the feature grows, -1 where it must not rise, else 0.
    """

    bins_F: np.ndarray
    missing_F: np.ndarray
    monotone_F: np.ndarray


def worth(gradient: Any, hessian: Any, l1: float, l2: float) -> Any:
    """What a leaf with such sums is worth, G² / (H + λ) with |G| less the L1 penalty."""
    reduced = np.maximum(np.abs(gradient) - l1, 0.0)
    return reduced * reduced / (hessian + l2)


def leaf_value(gradient: Any, hessian: Any, l1: float, l2: float) -> Any:
    """The number that a leaf with such sums adds to a prediction, -G / (H + λ) with |G| less the L1 penalty."""
    return -np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0.0) / (hessian + l2)


def worth_at(gradient: np.ndarray, hessian: np.ndarray, l1: float, l2: float, value: np.ndarray) -> np.ndarray:
    """What a leaf with such sums is worth where its value is not the best one."""
    reduced = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0.0)
    return -(2.0 * reduced * value + (hessian + l2) * value * value)


def best_thresholds(
    histogram_FB2: np.ndarray, shape: Shape, sums: Sums, parameters: TreeParameters
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The best split of a leaf by each feature, all thresholds at once.

    Args:
        histogram_FB2: int64 sums of gradients and second derivatives.
        shape: Of the features.
        sums: Of the leaf.
        parameters: The rules.

    Returns:
        For each feature the gain (NO_SPLIT where there is none), the threshold, whether missing values go left, and the
        sums on the left in fixed point [F, 2].
    """
    F, B, _ = histogram_FB2.shape
    bins_B, total_2 = np.arange(B), np.array([sums.gradient, sums.hessian])
    # With two bins, one of missing values, there is one threshold, and the missing ones are on its right.
    ordered_F = shape.bins_F - (shape.missing_F & (shape.bins_F > 2))
    valid_FB = bins_B < ordered_F[:, None]
    kept_FB2 = np.where(valid_FB[:, :, None], histogram_FB2, 0)
    counts_FB = _rows_of_bins(kept_FB2[:, :, 1], sums)
    before_FB2, rows_FB = kept_FB2.cumsum(axis=1), counts_FB.cumsum(axis=1)
    rest_FB2, rest_rows_FB = before_FB2[:, -1:] - before_FB2, rows_FB[:, -1:] - rows_FB
    # Missing values on the left: the right side is what is counted.
    thresholds_FB = bins_B < ordered_F[:, None] - 1
    left_FB2 = total_2 - rest_FB2
    gains_FB = _gains(left_FB2, rest_rows_FB, True, thresholds_FB, shape, sums, parameters)
    best_F = B - 1 - gains_FB[:, ::-1].argmax(axis=1)  # of equal ones the last
    features_F = np.arange(F)
    gain_F, left_F2 = gains_FB[features_F, best_F], left_FB2[features_F, best_F]
    missing_left_F = ~(shape.missing_F & (shape.bins_F <= 2))
    # On the right: the left side is, and the last threshold parts the missing values from all others.
    with_missing_FB = valid_FB & (shape.missing_F & (shape.bins_F > 2))[:, None]
    gains_FB = _gains(before_FB2, rows_FB, False, with_missing_FB, shape, sums, parameters)
    other_F = gains_FB.argmax(axis=1)
    better_F = gains_FB[features_F, other_F] > gain_F
    gain_F = np.where(better_F, gains_FB[features_F, other_F], gain_F)
    left_F2 = np.where(better_F[:, None], before_FB2[features_F, other_F], left_F2)
    return gain_F, np.where(better_F, other_F, best_F), missing_left_F & ~better_F, left_F2


def _rows_of_bins(hessian: np.ndarray, sums: Sums) -> np.ndarray:
    """How many rows a bin has, inferred from its share of the second derivatives."""
    factor = sums.rows / (sums.hessian * sums.unit_hessian + 2 * EPSILON)
    return np.floor(hessian * sums.unit_hessian * factor + 0.5).astype(np.int64)


def _gains(
    left_FB2: np.ndarray,
    counted_FB: np.ndarray,
    counted_right: bool,
    open_FB: np.ndarray,
    shape: Shape,
    sums: Sums,
    parameters: TreeParameters,
) -> np.ndarray:
    """What a cut after each bin gains; NO_SPLIT where it is not allowed or gains too little."""
    l1, l2 = parameters.reg_alpha, parameters.reg_lambda
    total = np.array([sums.gradient, sums.hessian])
    units = np.array([sums.unit_gradient, sums.unit_hessian])
    sides = [part * units + (0.0, EPSILON) for part in (left_FB2, total - left_FB2)]
    (g_left, h_left), (g_right, h_right) = ((side[..., 0], side[..., 1]) for side in sides)
    whole = worth(sums.gradient * units[0], sums.hessian * units[1] + 2 * EPSILON, l1, l2)
    with np.errstate(divide="ignore", invalid="ignore"):
        if shape.monotone_F.any():
            low, high = sums.low, sums.high
            left = np.clip(leaf_value(g_left, h_left, l1, l2), low, high)
            right = np.clip(leaf_value(g_right, h_right, l1, l2), low, high)
            gains = worth_at(g_left, h_left, l1, l2, left) + worth_at(g_right, h_right, l1, l2, right)
            gains = np.where(shape.monotone_F[:, None] * (right - left) < 0, NO_SPLIT, gains)
        else:
            gains = worth(g_left, h_left, l1, l2) + worth(g_right, h_right, l1, l2)
    other_FB = sums.rows - counted_FB
    open_FB = open_FB & (np.minimum(counted_FB, other_FB) >= parameters.min_child_samples)
    open_FB &= np.minimum(h_left, h_right) >= parameters.min_child_weight
    gains = gains - (whole + parameters.min_split_gain)
    return np.where(open_FB & (gains > 0), gains, NO_SPLIT)
