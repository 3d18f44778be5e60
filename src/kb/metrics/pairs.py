"""AUC as what it means: of a positive and a negative row, how often the first has the higher score; ties count half.

Unusual: the fast way keeps integers until the last division, so that what it returns is the closest float64 to the
true fraction; the area under the curve adds up rounded pieces and can be off in the last digit. It also sorts values
alone, the negatives and the positives apart, which is much faster than sorting places.

Sources: Hanley and McNeil 1982, The meaning and use of the area under a receiver operating characteristic (ROC) curve;
Mann and Whitney 1947; Zhu et al. 2017, Optimized Cost per Click in Taobao Display Advertising, and Zhou et al. 2018,
Deep Interest Network (areas by user, averaged by impressions). Shapes: N rows, G groups.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kb.metrics.arrays import both_classes, numbers, positives, weights_of


def roc_auc_loop(y_true: Any, y_score: Any, sample_weight: Any = None) -> float:
    """Every pair in turn, P times N steps: the reference. A pair weighs the product of its rows' weights.

    Raises:
        ValueError, TypeError: as of :func:`mann_whitney_auc`.
    """
    positive_N, score_N = positives(y_true), numbers("y_score", y_score)
    both_classes(positive_N, score_N)
    weight_N = weights_of(sample_weight, len(score_N))
    weights = [1.0] * len(score_N) if weight_N is None else weight_N.tolist()
    rows = list(zip(positive_N.tolist(), score_N.tolist(), weights, strict=True))
    won = total = 0.0
    for is_one, high, weight in rows:
        for is_other, low, other in rows:
            if is_one and not is_other:
                total += weight * other
                won += weight * other * (1.0 if high > low else 0.5 if high == low else 0.0)
    return won / total if total else float("nan")


def mann_whitney_auc(y_true: Any, y_score: Any) -> float:
    """The share of pairs in the right order, ties half, rounded once: O(n log n).

    Args:
        y_true: 0 and 1, or -1 and 1, [N].
        y_score: Finite numbers [N].

    Raises:
        ValueError: a class is missing, lengths differ, or a score is not finite.
        TypeError: scores are no real numbers.
    """
    high, low = both_classes(positives(y_true), numbers("y_score", y_score))
    # Twice the pairs won, in integers; whichever class is smaller looks itself up in the other.
    if len(high) <= len(low):
        twice = _below_and_upto(np.sort(high), np.sort(low))
    else:
        twice = 2 * len(high) * len(low) - _below_and_upto(np.sort(low), np.sort(high))
    return twice / (2 * len(high) * len(low))


def _below_and_upto(few: np.ndarray, many: np.ndarray) -> int:
    """Over all of ``few``: how many of ``many`` are smaller, and how many smaller or equal; both sorted."""
    return int(np.searchsorted(many, few, "left").sum()) + int(np.searchsorted(many, few, "right").sum())


@dataclass(frozen=True)
class GroupedAuc:
    """Areas by group, and what is left out.

    Args:
        value: The average over groups with both classes, NaN where there is none.
        areas: Each group's area, NaN where a class is missing, [G] in the order of the sorted groups.
        rows: Each group's number of rows, [G].
        pairs: Each group's number of pairs of a positive and a negative row, [G].
    """

    value: float
    areas: np.ndarray
    rows: np.ndarray
    pairs: np.ndarray

    @property
    def used(self) -> int:
        """Groups with both classes."""
        return int((self.pairs > 0).sum())


def grouped_auc(
    y_true: Any, y_score: Any, groups: Any, *, weigh_by: Literal["rows", "pairs", "groups"] = "rows"
) -> GroupedAuc:
    """The area of each group's own rows, averaged: GAUC of recommenders where groups are users. One sort for all.

    Args:
        y_true: 0 and 1, or -1 and 1, [N].
        y_score: Finite numbers [N].
        groups: Whose row it is, [N].
        weigh_by: Groups weigh as many rows (impressions) or pairs as they have, or all the same.

    Raises:
        ValueError: lengths differ, a score is not finite, a group is NaN, or an unknown ``weigh_by``.
        TypeError: scores are no real numbers.
    """
    if weigh_by not in ("rows", "pairs", "groups"):
        raise ValueError(f"weigh_by must be 'rows', 'pairs' or 'groups', got {weigh_by!r}")
    positive_N, score_N, group_N = positives(y_true), numbers("y_score", y_score), np.asarray(groups)
    if group_N.shape != score_N.shape or positive_N.shape != score_N.shape:
        raise ValueError(f"wanted as many labels, scores and groups, got {positive_N.shape} and {group_N.shape}")
    if (group_N != group_N).any():  # NaN and NaT alone differ from themselves; all would be one group
        raise ValueError("groups must not be NaN: rows whose group is unknown are no group")
    _, place_N = np.unique(group_N, return_inverse=True)
    order_N = np.lexsort((score_N, place_N))
    place_N, score_N, positive_N = place_N[order_N], score_N[order_N], positive_N[order_N]
    starts = np.ones(len(score_N), bool)  # of a run of equal scores in a group
    starts[1:] = (place_N[1:] != place_N[:-1]) | (score_N[1:] != score_N[:-1])
    first = np.flatnonzero(starts)
    ones, zeros = (np.add.reduceat(kind.astype(np.int64), first) for kind in (positive_N, ~positive_N))
    owner = place_N[first]
    rows_G, ones_G = np.bincount(place_N), np.bincount(place_N, positive_N).astype(np.int64)
    zeros_G = rows_G - ones_G
    below = zeros.cumsum() - zeros - (zeros_G.cumsum() - zeros_G)[owner]  # negatives of the same group
    won_G = np.bincount(owner, ones * (2 * below + zeros), len(rows_G)) / 2
    pairs_G = ones_G * zeros_G
    areas_G = np.divide(won_G, pairs_G, out=np.full(len(rows_G), np.nan), where=pairs_G > 0)
    weight_G = {"rows": rows_G, "pairs": pairs_G, "groups": np.ones(len(rows_G))}[weigh_by] * (pairs_G > 0)
    value = float(np.nansum(areas_G * weight_G) / weight_G.sum()) if weight_G.any() else float("nan")
    return GroupedAuc(value, areas_G, rows_G, pairs_G)


@dataclass(frozen=True)
class AucParts:
    """The area of all rows together as an average of two: ``within_share * within + (1 - within_share) * across``.

    Args:
        within: Of pairs from one group.
        across: Of pairs from two groups.
        within_share: Pairs from one group, as a share of all.
    """

    within: float
    across: float
    within_share: float


def within_and_across(y_true: Any, y_score: Any, groups: Any) -> AucParts:
    """Split the area by whether the rows of a pair are from the same group; errors as of the two it is made of."""
    whole = mann_whitney_auc(y_true, y_score)
    by_group = grouped_auc(y_true, y_score, groups, weigh_by="pairs")
    positive_N = positives(y_true)
    share = float(by_group.pairs.sum()) / (int(positive_N.sum()) * int((~positive_N).sum()))
    inside = share * by_group.value if share else 0.0
    return AucParts(by_group.value, (whole - inside) / (1 - share) if share < 1 else float("nan"), share)
